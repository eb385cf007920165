//! Filters of jinja2 whose results differ from those of the same name in minijinja.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

use crate::python_methods::split_lines;

/// `indent(s, width=4, first=False, blank=False)`: like jinja2's, a line end at the end of the text stays.
pub fn indent(
    text: &str,
    width: Option<Value>,
    first: Option<bool>,
    blank: Option<bool>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let width = width.or(kwargs.get("width")?);
    let first = first.or(kwargs.get("first")?).unwrap_or(false);
    let blank = blank.or(kwargs.get("blank")?).unwrap_or(false);
    kwargs.assert_all_used()?;
    let prefix = match &width {
        None => " ".repeat(4),
        Some(width) => match width.as_str() {
            Some(text) => text.to_string(),
            None => " ".repeat(width.as_usize().unwrap_or(0)),
        },
    };
    let text = format!("{text}\n");
    let mut out = String::new();
    for (index, line) in split_lines(&text, false).into_iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let is_indented = if index == 0 { first } else { blank || !line.is_empty() };
        if is_indented {
            out.push_str(&prefix);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// `int(value, default=0, base=10)`: the default for what is not a number, never an error.
pub fn int(value: &Value, default: Option<Value>, base: Option<u32>, kwargs: Kwargs) -> Result<Value, Error> {
    let default = default.or(kwargs.get("default")?).unwrap_or_else(|| Value::from(0));
    let base = base.or(kwargs.get("base")?).unwrap_or(10);
    kwargs.assert_all_used()?;
    if !(2..=36).contains(&base) {
        return Err(Error::new(ErrorKind::InvalidOperation, "int: the base must be from 2 to 36"));
    }
    if value.kind() == ValueKind::Number && value.is_integer() {
        return Ok(value.clone());
    }
    if let Some(text) = value.as_str() {
        let digits = text.trim().replace('_', "");
        let digits = match base {
            16 => digits.trim_start_matches("0x").trim_start_matches("0X"),
            8 => digits.trim_start_matches("0o").trim_start_matches("0O"),
            2 => digits.trim_start_matches("0b").trim_start_matches("0B"),
            _ => &digits,
        };
        if let Ok(number) = i128::from_str_radix(digits, base) {
            return Ok(Value::from(number));
        }
    }
    // Out of the range of i128 the result would be wrong; jinja2 falls back for infinity and NaN too.
    let number = number_of(value).filter(|n| n.abs() < 1e38);
    Ok(number.map_or(default, |n| Value::from(n.trunc() as i128)))
}

/// `float(value, default=0.0)`.
pub fn float(value: &Value, default: Option<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let default = default.or(kwargs.get("default")?).unwrap_or_else(|| Value::from(0.0));
    kwargs.assert_all_used()?;
    Ok(number_of(value).map_or(default, Value::from))
}

/// Python's `float(value)`.
fn number_of(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Bool => Some(if value.is_true() { 1.0 } else { 0.0 }),
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        ValueKind::String => value.as_str()?.trim().replace('_', "").parse().ok(),
        _ => None,
    }
}
