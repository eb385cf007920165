//! Chat templates in the environment that transformers gives them (`_compile_jinja_template` in its
//! chat_template_utils.py): trim_blocks, lstrip_blocks, loop controls, `raise_exception`, `strftime_now`, `tojson`.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};

use crate::clock::Moment;
use crate::ffi::Outcome;
use crate::python_filters::{float, indent, int};
use crate::python_json::{python_float, tojson};
use crate::python_methods::call_python_method;
use crate::template_source::prepare_source;

const TEMPLATE_NAME: &str = "chat_template";
/// Stops templates that would run forever; a chat of a thousand turns needs less than a hundredth of this.
const MAX_INSTRUCTIONS: u64 = 20_000_000;
const CLOCK_KEY: &str = "strftime_now";

pub struct ChatTemplate {
    environment: Environment<'static>,
}

impl ChatTemplate {
    pub fn compile(source: &str) -> Outcome<Self> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|e| format!("chat template: {e}"))?;
        environment.set_syntax(syntax);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(call_python_method);
        minijinja_contrib::add_to_environment(&mut environment);
        environment.add_filter("tojson", tojson);
        environment.add_filter("indent", indent);
        environment.add_filter("int", int);
        environment.add_filter("float", float);
        environment.add_function("raise_exception", raise_exception);
        environment.add_test("sequence", is_sequence);
        environment.add_test("iterable", |v: &Value| !v.is_none() && v.try_iter().is_ok());
        environment.add_test("integer", |v: &Value| v.kind() == ValueKind::Number && v.is_integer());
        environment.set_formatter(|out, state, value| match python_float(value) {
            Some(text) => out.write_str(&text).map_err(Error::from),
            None => minijinja::escape_formatter(out, state, value),
        });
        environment.set_fuel(Some(MAX_INSTRUCTIONS));
        environment.add_template_owned(TEMPLATE_NAME, prepare_source(source)?).map_err(|e| message_of(&e))?;
        Ok(ChatTemplate { environment })
    }

    pub fn render(&self, messages_json: &str, context_json: &str) -> Outcome<String> {
        let messages: serde_json::Value =
            serde_json::from_str(messages_json).map_err(|e| format!("messages: invalid JSON: {e}"))?;
        if !messages.is_array() {
            return Err("messages: expected a JSON list".to_string());
        }
        let mut context: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(context_json).map_err(|e| format!("template context: invalid JSON object: {e}"))?;
        let moment = match context.shift_remove(CLOCK_KEY) {
            None => None,
            Some(fixed) => Some(Moment::parse(&fixed)?),
        };
        let mut values: Vec<(String, Value)> =
            context.iter().map(|(key, value)| (key.clone(), value_of(value))).collect();
        values.push(("messages".to_string(), value_of(&messages)));
        values.push((
            CLOCK_KEY.to_string(),
            Value::from_function(move |format: String| moment.unwrap_or_else(Moment::now).format(&format)),
        ));
        let template = self.environment.get_template(TEMPLATE_NAME).map_err(|e| message_of(&e))?;
        template.render(Value::from_pairs(values)).map_err(|e| message_of(&e))
    }
}

fn value_of(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(value) => Value::from(*value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Value::from(value),
            (None, Some(value)) => Value::from(value),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(value) => Value::from(value.as_str()),
        serde_json::Value::Array(items) => items.iter().map(value_of).collect(),
        serde_json::Value::Object(fields) => {
            Value::from_pairs(fields.iter().map(|(key, value)| (key.as_str(), value_of(value))))
        }
    }
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// jinja2 calls anything a sequence that has a length and can be indexed: strings and dicts too.
fn is_sequence(value: &Value) -> bool {
    value.is_undefined() || matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map)
}

/// "chat template, line 3: ..." with the causes behind it, in one line.
fn message_of(error: &Error) -> String {
    let place = error.line().map_or("chat template".to_string(), |line| format!("chat template, line {line}"));
    let what = match (error.kind(), error.detail()) {
        (ErrorKind::InvalidOperation, Some(detail)) => detail.to_string(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    let mut message = format!("{place}: {what}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        message.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    message
}
