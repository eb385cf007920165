//! Chat template functions of `text.h`. Safety of all: pointers are as that header says.
#![allow(clippy::missing_safety_doc)]

use crate::ffi::{free_handle, handle_in, new_handle, report, text_in, OwnedString};
use crate::template::ChatTemplate;

#[no_mangle]
pub unsafe extern "C" fn llmrt_text_template_new(
    source: *const u8,
    source_size: usize,
    out: *mut *mut ChatTemplate,
    error: *mut OwnedString,
) -> i32 {
    report(out, error, || {
        let source = text_in("chat template", source, source_size)?;
        ChatTemplate::compile(source).map(new_handle)
    })
}

#[no_mangle]
pub unsafe extern "C" fn llmrt_text_template_free(chat_template: *mut ChatTemplate) {
    free_handle(chat_template);
}

#[no_mangle]
pub unsafe extern "C" fn llmrt_text_template_render(
    chat_template: *const ChatTemplate,
    messages_json: *const u8,
    messages_json_size: usize,
    context_json: *const u8,
    context_json_size: usize,
    out: *mut OwnedString,
    error: *mut OwnedString,
) -> i32 {
    report(out, error, || {
        let messages = text_in("messages", messages_json, messages_json_size)?;
        let context = text_in("template context", context_json, context_json_size)?;
        handle_in("chat template", chat_template)?.render(messages, context)
    })
}
