//! Tokenizer and chat templates of the runtime, behind the C header `runtime/text/text.h`.
//!
//! `ffi` holds the rules of that border (ownership, errors, panics); the `*_ffi` modules hold its functions; the other
//! modules are plain Rust and make `minijinja` render as Python's jinja2 does under transformers.

mod clock;
mod ffi;
mod python_filters;
mod python_json;
mod python_methods;
mod template;
mod template_ffi;
mod template_source;
mod tokenizer;
mod tokenizer_ffi;
