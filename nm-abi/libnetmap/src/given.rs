//! What programs hand over, as types: an argument or a field of one of these types is the program's
//! promise, which the header asks for, so that only this file has to rely on it.

use core::ffi::{CStr, c_char};
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// A structure that a program hands over: it is there, and nobody else uses it until the function
/// that it was given to returns. Dropping it does nothing.
#[repr(transparent)]
#[derive(Debug)]
pub struct Given<T>(NonNull<T>);

impl<T> Given<T> {
    /// # Safety
    /// `p` points to a `T`; it is there and used through the result only, as long as the result is.
    pub(crate) unsafe fn new(p: NonNull<T>) -> Self {
        Given(p)
    }

    pub(crate) fn into_ptr(self) -> NonNull<T> {
        self.0
    }

    pub(crate) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Deref for Given<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: it is there and nobody else's (the type); the result borrows `self`.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for Given<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: it is there and nobody else's (the type); the result borrows `self`.
        unsafe { self.0.as_mut() }
    }
}

/// A C string that a program hands over: it is there and nobody changes it until the function that
/// it was given to returns.
#[repr(transparent)]
#[derive(Clone, Copy, Debug)]
pub struct Text(NonNull<c_char>);

impl Text {
    pub(crate) const fn constant(text: &'static CStr) -> Self {
        match NonNull::new(text.as_ptr().cast_mut()) {
            Some(p) => Text(p),
            None => unreachable!(),
        }
    }

    /// The string in front of the first NUL of `text`, which has one.
    pub(crate) fn within(text: &[u8]) -> Self {
        assert!(text.contains(&0));
        Text(NonNull::from(text).cast())
    }

    pub(crate) fn as_ptr(self) -> *const c_char {
        self.0.as_ptr()
    }

    fn as_c_str(&self) -> &CStr {
        // SAFETY: a C string that is not changed meanwhile (the type).
        unsafe { CStr::from_ptr(self.0.as_ptr()) }
    }

    /// Without the NUL.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.as_c_str().to_bytes()
    }

    /// Leaves its last `len` bytes, of which it has as many.
    pub(crate) fn keep_last(&mut self, len: usize) {
        let bytes = self.as_c_str().to_bytes_with_nul();
        self.0 = NonNull::from(&bytes[bytes.len() - 1 - len..]).cast();
    }
}

/// Bytes for a sentence.
pub(crate) fn shown(text: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(text)
}
