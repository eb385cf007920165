//! What has to happen to the source of a template before minijinja parses it.

/// jinja2 turns every kind of line end into "\n" before it looks at whitespace control.
pub fn normalize_newlines(source: &str) -> String {
    source.replace("\r\n", "\n").replace('\r', "\n")
}

/// transformers adds a block `{% generation %}` that marks what the assistant said; its text is rendered as it stands.
/// minijinja has no custom blocks, so the tag becomes `{% with %}`, which also opens a scope and renders its body.
/// Whitespace control (`{%-`, `-%}`) stays where it is.
pub fn replace_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let length = token_length(rest);
        let token = &rest[..length];
        match tag_name(token) {
            Some("generation") => out.push_str(&token.replacen("generation", "with", 1)),
            Some("endgeneration") => out.push_str(&token.replacen("endgeneration", "endwith", 1)),
            _ => out.push_str(token),
        }
        rest = &rest[length..];
        if tag_name(token) == Some("raw") {
            let end = raw_length(rest);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    out
}

/// Length of the comment, tag or expression that `source` starts with, or 1 if that brace is plain text.
fn token_length(source: &str) -> usize {
    let closing = match source.as_bytes().get(1) {
        Some(b'#') => "#}",
        Some(b'%') => "%}",
        Some(b'{') => "}}",
        _ => return 1,
    };
    if closing == "#}" {
        return source.find(closing).map_or(source.len(), |at| at + 2);
    }
    // A closing brace inside of a string literal does not count.
    let mut quote = None;
    let mut is_escaped = false;
    for (at, byte) in source.bytes().enumerate().skip(2) {
        match quote {
            Some(_) if is_escaped => is_escaped = false,
            Some(_) if byte == b'\\' => is_escaped = true,
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if byte == b'"' || byte == b'\'' => quote = Some(byte),
            None if source.as_bytes()[at..].starts_with(closing.as_bytes()) => return at + 2,
            None => {}
        }
    }
    source.len()
}

/// Name of a tag without arguments: `{%- generation -%}` gives "generation".
fn tag_name(token: &str) -> Option<&str> {
    let inside = token.strip_prefix("{%")?.strip_suffix("%}")?;
    let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
    let inside = inside.strip_suffix(['-', '+']).unwrap_or(inside);
    Some(inside.trim())
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
