//! Rules of the C border: what goes in, what comes out, and that no panic crosses it.

use std::any::Any;
use std::panic::{catch_unwind, set_hook, AssertUnwindSafe};
use std::sync::Once;

#[repr(C)]
pub struct OwnedString {
    data: *mut u8,
    size: usize,
}

#[repr(C)]
pub struct OwnedIds {
    data: *mut u32,
    size: usize,
}

pub type Outcome<T> = Result<T, String>;

/// Leaks `values` to C. The matching `take_back` is the only way to free them.
fn give_out<T>(values: Vec<T>) -> (*mut T, usize) {
    if values.is_empty() {
        return (std::ptr::null_mut(), 0);
    }
    let size = values.len();
    (Box::into_raw(values.into_boxed_slice()) as *mut T, size)
}

unsafe fn take_back<T>(data: &mut *mut T, size: &mut usize) {
    if !data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(*data, *size)));
    }
    *data = std::ptr::null_mut();
    *size = 0;
}

impl From<Vec<u8>> for OwnedString {
    fn from(bytes: Vec<u8>) -> Self {
        let (data, size) = give_out(bytes);
        OwnedString { data, size }
    }
}

impl From<String> for OwnedString {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<Vec<u32>> for OwnedIds {
    fn from(ids: Vec<u32>) -> Self {
        let (data, size) = give_out(ids);
        OwnedIds { data, size }
    }
}

/// # Safety
/// `string` is NULL or points to a struct that is zeroed or was filled by this library.
#[no_mangle]
pub unsafe extern "C" fn llmrt_text_string_free(string: *mut OwnedString) {
    if let Some(string) = string.as_mut() {
        take_back(&mut string.data, &mut string.size);
    }
}

/// # Safety
/// `ids` is NULL or points to a struct that is zeroed or was filled by this library.
#[no_mangle]
pub unsafe extern "C" fn llmrt_text_ids_free(ids: *mut OwnedIds) {
    if let Some(ids) = ids.as_mut() {
        take_back(&mut ids.data, &mut ids.size);
    }
}

/// # Safety
/// `data` points to `size` readable elements that outlive the call, or `size` is 0.
pub unsafe fn slice_in<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if size == 0 || data.is_null() {
        return &[];
    }
    std::slice::from_raw_parts(data, size)
}

/// # Safety
/// As for `slice_in`.
pub unsafe fn text_in<'a>(what: &str, data: *const u8, size: usize) -> Outcome<&'a str> {
    std::str::from_utf8(slice_in(data, size))
        .map_err(|e| format!("{what}: invalid UTF-8 at byte {} of {size}", e.valid_up_to()))
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text =
        payload.downcast_ref::<&str>().map(|s| s.to_string()).or_else(|| payload.downcast_ref::<String>().cloned());
    format!("internal error: {}", text.as_deref().unwrap_or("unknown panic"))
}

/// Runs `body` and catches what it throws. The default hook of Rust prints panics to stderr; a library must not.
fn without_panics<T>(body: impl FnOnce() -> T) -> Outcome<T> {
    static SILENCE: Once = Once::new();
    SILENCE.call_once(|| set_hook(Box::new(|_| {})));
    catch_unwind(AssertUnwindSafe(body)).map_err(|payload| panic_message(payload.as_ref()))
}

/// Runs `body`; writes its value through `out`, or its message through `error`. Returns the status that C sees.
///
/// # Safety
/// `out` is writable; `error` is NULL or writable.
pub unsafe fn report<T, V: Into<T>>(out: *mut T, error: *mut OwnedString, body: impl FnOnce() -> Outcome<V>) -> i32 {
    match without_panics(body).and_then(|outcome| outcome) {
        Ok(value) if !out.is_null() => {
            out.write(value.into());
            0
        }
        Ok(_) => report_error(error, "out is NULL".to_string()),
        Err(message) => report_error(error, message),
    }
}

unsafe fn report_error(error: *mut OwnedString, message: String) -> i32 {
    if !error.is_null() {
        error.write(message.into());
    }
    1
}

/// Runs `body`, or returns `fallback` if it panics.
pub fn value_or<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    without_panics(body).unwrap_or(fallback)
}

/// Leaks a handle to C; `free_handle` takes it back.
pub fn new_handle<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

/// # Safety
/// `handle` is NULL or came from `new_handle` and was not freed yet.
pub unsafe fn free_handle<T>(handle: *mut T) {
    if !handle.is_null() {
        let _ = without_panics(|| drop(Box::from_raw(handle)));
    }
}

/// # Safety
/// `handle` is NULL or a live handle.
pub unsafe fn handle_in<'a, T>(what: &str, handle: *const T) -> Outcome<&'a T> {
    handle.as_ref().ok_or_else(|| format!("{what} is NULL"))
}
