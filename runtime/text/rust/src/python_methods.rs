//! Python methods that templates call on strings and lists. `minijinja_contrib::pycompat` has most of them; here are
//! those that it lacks, takes no keyword arguments for, or does differently.

use minijinja::value::{from_args, Kwargs, Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

pub fn call_python_method(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let own = match value.kind() {
        ValueKind::String => string_method(value.as_str().unwrap_or_default(), method, args)?,
        ValueKind::Seq => list_method(value, method, args)?,
        ValueKind::Map => dict_method(value, method, args)?,
        _ => None,
    };
    match own {
        Some(result) => Ok(result),
        None => unknown_method_callback(state, value, method, args),
    }
}

/// None if the method is not one of ours.
fn string_method(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "title" => {
            let () = from_args(args)?;
            Value::from(title(text))
        }
        "split" | "rsplit" => split(text, method == "rsplit", args)?,
        "splitlines" => {
            let (keep, kwargs): (Option<bool>, Kwargs) = from_args(args)?;
            let named: Option<bool> = kwargs.get("keepends")?;
            kwargs.assert_all_used()?;
            Value::from_iter(split_lines(text, keep.or(named).unwrap_or(false)))
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            if separator.is_empty() {
                return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
            }
            let is_reverse = method == "rpartition";
            let found = if is_reverse { text.rsplit_once(separator) } else { text.split_once(separator) };
            let parts = match found {
                Some((before, after)) => [before, separator, after],
                None if is_reverse => ["", "", text],
                None => [text, "", ""],
            };
            Value::from(Tuple::from(parts.map(Value::from)))
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "swapcase" => {
            let () = from_args(args)?;
            Value::from(text.chars().map(swap_case).collect::<String>())
        }
        "casefold" => {
            let () = from_args(args)?;
            Value::from(text.to_lowercase())
        }
        "ljust" | "rjust" | "center" | "zfill" => pad(text, method, args)?,
        "index" => {
            let (part,): (&str,) = from_args(args)?;
            let at = text.find(part).ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "substring not found"))?;
            Value::from(text[..at].chars().count())
        }
        "count" => {
            let (part,): (&str,) = from_args(args)?;
            Value::from(if part.is_empty() { text.chars().count() + 1 } else { text.matches(part).count() })
        }
        "isdigit" | "isdecimal" => {
            let () = from_args(args)?;
            Value::from(!text.is_empty() && text.chars().all(char::is_numeric))
        }
        _ => return Ok(None),
    }))
}

fn list_method(list: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "index" => {
            let (wanted,): (&Value,) = from_args(args)?;
            let at = list.try_iter()?.position(|item| item == *wanted);
            Value::from(at.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "value is not in list"))?)
        }
        "copy" => {
            let () = from_args(args)?;
            list.clone()
        }
        _ => return Ok(None),
    }))
}

fn dict_method(dict: &Value, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "copy" => {
            let () = from_args(args)?;
            dict.clone()
        }
        _ => return Ok(None),
    }))
}

/// An upper case letter after everything that is not a letter, also inside of words ("don't" gives "Don'T").
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_in_word = false;
    for c in text.chars() {
        if is_in_word {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        is_in_word = c.is_alphabetic();
    }
    out
}

fn swap_case(c: char) -> String {
    if c.is_uppercase() {
        c.to_lowercase().collect()
    } else {
        c.to_uppercase().collect()
    }
}

/// `split(sep=None, maxsplit=-1)` and `rsplit`.
fn split(text: &str, is_reverse: bool, args: &[Value]) -> Result<Value, Error> {
    let (separator, limit, kwargs): (Option<String>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = separator.or(kwargs.get("sep")?);
    let limit = limit.or(kwargs.get("maxsplit")?).unwrap_or(-1);
    kwargs.assert_all_used()?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX - 1);
    let parts: Vec<&str> = match &separator {
        None => split_whitespace(text, limit, is_reverse),
        Some(separator) if separator.is_empty() => {
            return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
        }
        Some(separator) if is_reverse => {
            let mut parts: Vec<&str> = text.rsplitn(limit + 1, separator.as_str()).collect();
            parts.reverse();
            parts
        }
        Some(separator) => text.splitn(limit + 1, separator.as_str()).collect(),
    };
    Ok(Value::from_iter(parts))
}

fn split_whitespace(text: &str, limit: usize, is_reverse: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = if is_reverse { text.trim_end() } else { text.trim_start() };
    while !rest.is_empty() {
        if parts.len() == limit {
            // The last part keeps the whitespace inside of it, and that on its far side is dropped by Python only for
            // the direction in which it was cut.
            parts.push(rest);
            break;
        }
        if is_reverse {
            let start = rest.rfind(char::is_whitespace).map_or(0, |at| at + whitespace_size(&rest[at..]));
            parts.push(&rest[start..]);
            rest = rest[..start].trim_end();
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            parts.push(&rest[..end]);
            rest = rest[end..].trim_start();
        }
    }
    if is_reverse {
        parts.reverse();
    }
    parts
}

fn whitespace_size(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

/// Python breaks lines at more than "\n": the list is in the documentation of `str.splitlines`.
pub fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    const BREAKS: [char; 10] =
        ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(BREAKS) {
        let size = if rest[at..].starts_with("\r\n") { 2 } else { whitespace_size(&rest[at..]) };
        lines.push(&rest[..if keep_ends { at + size } else { at }]);
        rest = &rest[at + size..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// `ljust(width, fill=" ")` and its relatives.
fn pad(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    // Wide enough for every table, too narrow to exhaust memory.
    const MAX_WIDTH: usize = 1 << 16;
    let (width, fill): (usize, Option<String>) = from_args(args)?;
    let fill = fill.unwrap_or_else(|| if method == "zfill" { "0" } else { " " }.to_string());
    let missing = width.min(MAX_WIDTH).saturating_sub(text.chars().count());
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) if method == "zfill" => (&text[..1], digits),
        _ => ("", text),
    };
    let before = match method {
        "ljust" => 0,
        // CPython puts the odd space left only if the width is odd too (stringlib `center`).
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    Ok(Value::from(format!("{sign}{}{digits}{}", fill.repeat(before), fill.repeat(missing - before))))
}
