//! `strftime_now(format)`: Python formats dates with strftime of the C library, and so do we.

use std::ffi::CString;
use std::mem::MaybeUninit;

use minijinja::{Error, ErrorKind};

use crate::ffi::Outcome;

/// A local date and time without a zone, like Python's naive datetime.
#[derive(Clone, Copy)]
pub struct Moment {
    fields: libc::tm,
}

// libc::tm holds a pointer to a constant zone name, which nothing here reads.
unsafe impl Send for Moment {}
unsafe impl Sync for Moment {}

impl Moment {
    pub fn now() -> Self {
        let mut fields = MaybeUninit::<libc::tm>::zeroed();
        // SAFETY: both calls write only to what they are given; an all-zero tm is valid if localtime_r fails.
        let fields = unsafe {
            let seconds = libc::time(std::ptr::null_mut());
            libc::localtime_r(&seconds, fields.as_mut_ptr());
            fields.assume_init()
        };
        Moment { fields }
    }

    /// Reads "YYYY-MM-DDTHH:MM:SS".
    pub fn parse(value: &serde_json::Value) -> Outcome<Self> {
        let fail = || format!("strftime_now: expected a string \"YYYY-MM-DDTHH:MM:SS\", found {value}");
        let text = value.as_str().ok_or_else(fail)?;
        let parts: Option<Vec<i32>> = text.split(['-', 'T', ':']).map(|part| part.parse().ok()).collect();
        let [year, month, day, hour, minute, second] = parts.ok_or_else(fail)?[..] else {
            return Err(fail());
        };
        // SAFETY: tm is plain data; timegm and gmtime_r fill in the day of the week and of the year.
        let fields = unsafe {
            let mut fields: libc::tm = MaybeUninit::zeroed().assume_init();
            fields.tm_year = year.checked_sub(1900).ok_or_else(fail)?;
            fields.tm_mon = month.checked_sub(1).ok_or_else(fail)?;
            fields.tm_mday = day;
            fields.tm_hour = hour;
            fields.tm_min = minute;
            fields.tm_sec = second;
            let seconds = libc::timegm(&mut fields);
            libc::gmtime_r(&seconds, &mut fields);
            fields
        };
        Ok(Moment { fields })
    }

    pub fn format(&self, format: &str) -> Result<String, Error> {
        let fail = |message: &str| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {message}"));
        if format.is_empty() {
            return Ok(String::new());
        }
        let format = CString::new(without_zone(format)).map_err(|_| fail("the format holds a NUL character"))?;
        // Large enough for every real format; strftime returns 0 when it is not.
        let mut buffer = vec![0u8; 4096];
        // SAFETY: the buffer has the size that is passed, the format ends in NUL.
        let size = unsafe { libc::strftime(buffer.as_mut_ptr().cast(), buffer.len(), format.as_ptr(), &self.fields) };
        if size == 0 && !format.as_bytes().is_empty() {
            return Err(fail("the result is empty or too long"));
        }
        buffer.truncate(size);
        String::from_utf8(buffer).map_err(|_| fail("the result is not UTF-8"))
    }
}

/// A datetime without a zone prints %Z and %z as nothing; %f is known to datetime only.
fn without_zone(format: &str) -> String {
    let mut out = String::with_capacity(format.len());
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('Z' | 'z') => {}
            Some('f') => out.push_str("000000"),
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}
