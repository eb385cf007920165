//! What has to happen to the source of a template before minijinja parses it.

use crate::ffi::Outcome;

/// Expressions and `elif` chains become trees as deep as they are long, and trees are walked by recursion: without
/// limits a long one would overflow the stack, which nothing can catch. A thread's usual 8 MiB hold twice as much.
/// Literals do not count; real templates stay below a hundredth of this.
const MAX_TAG_BYTES: usize = 8 << 10;
const MAX_ELIF_TAGS: usize = 1000;

/// jinja2 turns every kind of line end into "\n" before it looks at whitespace control.
///
/// transformers adds a block `{% generation %}` that marks what the assistant said; its text is rendered as it stands.
/// minijinja has no custom blocks, so the tag becomes `{% with %}`, which also opens a scope and renders its body.
/// Whitespace control (`{%-`, `-%}`) stays where it is.
pub fn prepare_source(source: &str) -> Outcome<String> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    let mut elif_tags = 0;
    while let Some(start) = rest.find('{') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let (length, bytes_outside_of_literals) = token_length(rest);
        let token = &rest[..length];
        let line = || out.matches('\n').count() + 1;
        if bytes_outside_of_literals > MAX_TAG_BYTES {
            return Err(format!("chat template, line {}: tag of more than {MAX_TAG_BYTES} bytes", line()));
        }
        let name = tag_name(token);
        elif_tags += usize::from(name == Some("elif"));
        if elif_tags > MAX_ELIF_TAGS {
            return Err(format!("chat template, line {}: more than {MAX_ELIF_TAGS} elif tags", line()));
        }
        match name {
            Some("generation") => out.push_str(&token.replacen("generation", "with", 1)),
            Some("endgeneration") => out.push_str(&token.replacen("endgeneration", "endwith", 1)),
            _ => out.push_str(token),
        }
        rest = &rest[length..];
        if name == Some("raw") {
            let end = raw_length(rest);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Length of the comment, tag or expression that `source` starts with, and how much of it is neither comment nor string
/// literal. A brace that is plain text has the length 1.
fn token_length(source: &str) -> (usize, usize) {
    let closing: &[u8] = match source.as_bytes().get(1) {
        Some(b'#') => return (source.find("#}").map_or(source.len(), |at| at + 2), 0),
        Some(b'%') => b"%}",
        Some(b'{') => b"}}",
        _ => return (1, 0),
    };
    // A closing brace inside of a string literal does not count.
    let mut quote = None;
    let mut is_escaped = false;
    let mut bytes_outside = 0;
    for (at, byte) in source.bytes().enumerate().skip(2) {
        bytes_outside += usize::from(quote.is_none());
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some(_) if byte == b'\\' => is_escaped = true,
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if byte == b'"' || byte == b'\'' => quote = Some(byte),
            None if source.as_bytes()[at..].starts_with(closing) => return (at + 2, bytes_outside),
            None => {}
        }
    }
    (source.len(), bytes_outside)
}

/// First word of a tag: `{%- if x -%}` gives "if".
fn tag_name(token: &str) -> Option<&str> {
    let inside = token.strip_prefix("{%")?.strip_suffix("%}")?;
    let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside).trim_start();
    let end = inside.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inside.len());
    Some(&inside[..end])
}

/// Length of the text up to and with `{% endraw %}`.
fn raw_length(source: &str) -> usize {
    let mut at = 0;
    while let Some(found) = source[at..].find("{%") {
        let start = at + found;
        let end = source[start..].find("%}").map_or(source.len(), |close| start + close + 2);
        if tag_name(&source[start..end]) == Some("endraw") {
            return end;
        }
        at = start + 2;
    }
    source.len()
}
