//! Tokenizer functions of `text.h`. Safety of all: pointers are as that header says.
#![allow(clippy::missing_safety_doc)]

use crate::ffi::{free_handle, handle_in, new_handle, report, slice_in, text_in, value_or, OwnedIds, OwnedString};
use crate::tokenizer::{TextTokenizer, KIND_UNKNOWN};

const ADD_SPECIAL: u32 = 1;
const SKIP_SPECIAL: u32 = 1;

#[no_mangle]
pub unsafe extern "C" fn llmrt_text_tokenizer_new(
    json: *const u8,
    json_size: usize,
    out: *mut *mut TextTokenizer,
    error: *mut OwnedString,
) -> i32 {
    report(out, error, || {
        let json = text_in("tokenizer.json", json, json_size)?;
        TextTokenizer::from_json(json).map(new_handle)
    })
}

#[no_mangle]
pub unsafe extern "C" fn llmrt_text_tokenizer_free(tokenizer: *mut TextTokenizer) {
    free_handle(tokenizer);
}

#[no_mangle]
pub unsafe extern "C" fn llmrt_text_encode(
    tokenizer: *const TextTokenizer,
    text: *const u8,
    text_size: usize,
    flags: u32,
    out: *mut OwnedIds,
    error: *mut OwnedString,
) -> i32 {
    report(out, error, || {
        let text = text_in("text to encode", text, text_size)?;
        handle_in("tokenizer", tokenizer)?.encode(text, flags & ADD_SPECIAL != 0)
    })
}

#[no_mangle]
pub unsafe extern "C" fn llmrt_text_decode(
    tokenizer: *const TextTokenizer,
    ids: *const u32,
    ids_size: usize,
    flags: u32,
    out: *mut OwnedString,
    error: *mut OwnedString,
) -> i32 {
    report(out, error, || handle_in("tokenizer", tokenizer)?.decode(slice_in(ids, ids_size), flags & SKIP_SPECIAL != 0))
}

#[no_mangle]
pub unsafe extern "C" fn llmrt_text_vocab_size(tokenizer: *const TextTokenizer) -> u32 {
    tokenizer.as_ref().map_or(0, TextTokenizer::vocab_size)
}

#[no_mangle]
pub unsafe extern "C" fn llmrt_text_token_to_id(
    tokenizer: *const TextTokenizer,
    token: *const u8,
    token_size: usize,
    out: *mut u32,
    error: *mut OwnedString,
) -> i32 {
    report(out, error, || {
        let token = text_in("token", token, token_size)?;
        handle_in("tokenizer", tokenizer)?.token_to_id(token)
    })
}

#[no_mangle]
pub unsafe extern "C" fn llmrt_text_id_to_token(
    tokenizer: *const TextTokenizer,
    id: u32,
    out: *mut OwnedString,
    error: *mut OwnedString,
) -> i32 {
    report(out, error, || handle_in("tokenizer", tokenizer)?.id_to_token(id))
}

#[no_mangle]
pub unsafe extern "C" fn llmrt_text_token_bytes(
    tokenizer: *const TextTokenizer,
    id: u32,
    out: *mut OwnedString,
    error: *mut OwnedString,
) -> i32 {
    report(out, error, || handle_in("tokenizer", tokenizer)?.token_bytes(id))
}

#[no_mangle]
pub unsafe extern "C" fn llmrt_text_token_kind(tokenizer: *const TextTokenizer, id: u32) -> u32 {
    value_or(KIND_UNKNOWN, || tokenizer.as_ref().map_or(KIND_UNKNOWN, |t| t.token_kind(id)))
}
