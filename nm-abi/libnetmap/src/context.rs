//! `nmctx_*`: where errors go, where memory comes from, who else is at work.

use core::ffi::{c_char, c_int, c_void};
use core::fmt;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicI32, AtomicPtr, Ordering};
use std::cell::UnsafeCell;

use crate::abi::{Context, nmctx};
use crate::given::Given;

/// Memory that C code writes as well.
#[repr(transparent)]
pub(crate) struct Shared<T>(UnsafeCell<T>);

// SAFETY: it only hands out an address. Each use of that says who orders the accesses.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    pub(crate) const fn get(&self) -> *mut T {
        self.0.get()
    }
}

/// The context that a program starts with.
static INITIAL: Shared<nmctx> = Shared::new(nmctx {
    verbose: 1,
    error: Some(print_error),
    malloc: Some(plain_malloc),
    free: Some(plain_free),
    lock: Some(global_lock),
    mem_descs: None,
});

static DEFAULT: AtomicPtr<nmctx> = AtomicPtr::new(INITIAL.get());

/// Guards the regions of every context with [`global_lock`], also of copies that programs made.
static MUTEX: Shared<libc::pthread_mutex_t> = Shared::new(libc::PTHREAD_MUTEX_INITIALIZER);

/// Programs compiled with other headers of this interface refer to it; it means nothing here.
#[unsafe(no_mangle)]
pub static nmctx_threadsafe: AtomicI32 = AtomicI32::new(1);

unsafe extern "C" {
    static stderr: *mut libc::FILE;
}

unsafe extern "C" fn print_error(_: *mut nmctx, sentence: *const c_char) {
    // SAFETY: the caller gives a C string, for which the constant format asks; the stream is the C
    // library's, which has a lock for it.
    unsafe { libc::fprintf(stderr, c"%s\n".as_ptr(), sentence) };
}

unsafe extern "C" fn plain_malloc(_: *mut nmctx, size: usize) -> *mut c_void {
    // SAFETY: malloc takes any size.
    unsafe { libc::malloc(size) }
}

unsafe extern "C" fn plain_free(_: *mut nmctx, p: *mut c_void) {
    // SAFETY: the caller gives what `plain_malloc` gave it, once.
    unsafe { libc::free(p) };
}

unsafe extern "C" fn global_lock(_: *mut nmctx, lock: c_int) {
    // SAFETY: the mutex is initialized, is never moved, and is only used here.
    unsafe {
        if lock != 0 {
            libc::pthread_mutex_lock(MUTEX.get());
        } else {
            libc::pthread_mutex_unlock(MUTEX.get());
        }
    }
}

impl Context {
    /// The program's default context.
    pub(crate) fn default() -> Self {
        let ctx = DEFAULT.load(Ordering::Acquire);
        // SAFETY: it is `INITIAL` or was a `Context`, and lives as long as it is the default.
        unsafe { Self::new(NonNull::new_unchecked(ctx)) }
    }

    pub(crate) fn is_verbose(self) -> bool {
        // SAFETY: the context is alive (the type); a program that changes `verbose` meanwhile gets
        // either value.
        unsafe { (&raw const (*self.as_ptr()).verbose).read_volatile() != 0 }
    }

    /// Sends a sentence. errno stays what it is.
    pub(crate) fn say(self, sentence: fmt::Arguments<'_>) {
        if self.is_verbose() {
            let mut text = sentence.to_string().into_bytes();
            text.retain(|&b| b != 0);
            self.say_bytes(text);
        }
    }

    /// Sends a sentence that has no NUL in it.
    pub(crate) fn say_bytes(self, mut text: Vec<u8>) {
        // SAFETY: the context is alive and its callbacks are not changed meanwhile (the type).
        let callback = unsafe { (*self.as_ptr()).error };
        if let Some(callback) = callback {
            let before = errno();
            text.push(0);
            // SAFETY: the callback is the program's, for this context; the text ends with NUL and
            // lives until after the call.
            unsafe { callback(self.as_ptr(), text.as_ptr().cast()) };
            set_errno(before);
        }
    }

    /// Sends a sentence and sets errno; gives what functions return then.
    pub(crate) fn fail(self, code: c_int, sentence: fmt::Arguments<'_>) -> c_int {
        self.say(sentence);
        set_errno(code);
        -1
    }

    /// Memory that holds `value`; the value after saying that there is none for `what`.
    pub(crate) fn allocate<T>(self, value: T, what: &str) -> Result<Given<T>, T> {
        let made = self.allocate_quietly(value);
        if made.is_err() {
            self.no_memory(what);
        }
        made
    }

    /// Memory that holds `value`, or the value.
    pub(crate) fn allocate_quietly<T>(self, value: T) -> Result<Given<T>, T> {
        let Some(p) = self.allocate_bytes(size_of::<T>()) else {
            return Err(value);
        };
        // SAFETY: the program's malloc gave this many bytes, aligned as malloc does, which is
        // enough for every type used here; nobody else knows them.
        unsafe {
            p.cast().write(value);
            Ok(Given::new(p.cast()))
        }
    }

    /// `size` bytes, not initialized, if there are any.
    pub(crate) fn allocate_bytes(self, size: usize) -> Option<NonNull<u8>> {
        NonNull::new(nmctx_malloc(self, size).cast())
    }

    /// Says that there is no memory for `what`.
    pub(crate) fn no_memory(self, what: &str) {
        self.fail(libc::ENOMEM, format_args!("no memory for {what}"));
    }

    /// Gives memory back.
    ///
    /// # Safety
    /// `p` is from this context's malloc callback, and nobody uses it.
    pub(crate) unsafe fn free<T>(self, p: *mut T) {
        // SAFETY: the context is alive and its callbacks are not changed meanwhile (the type).
        let free = unsafe { (*self.as_ptr()).free };
        if let Some(free) = free {
            // SAFETY: the callback is the program's, for this context; the pointer is from its
            // malloc, as the caller says.
            unsafe { free(self.as_ptr(), p.cast()) };
        }
    }

    /// Takes the context's lock until the result is dropped.
    pub(crate) fn lock(self) -> Locked {
        self.set_lock(1);
        Locked(self)
    }

    fn set_lock(self, lock: c_int) {
        // SAFETY: the context is alive and its callbacks are not changed meanwhile (the type).
        let callback = unsafe { (*self.as_ptr()).lock };
        if let Some(callback) = callback {
            // SAFETY: the callback is the program's, for this context.
            unsafe { callback(self.as_ptr(), lock) };
        }
    }
}

/// A context's lock, held.
pub(crate) struct Locked(Context);

impl Drop for Locked {
    fn drop(&mut self) {
        self.0.set_lock(0);
    }
}

/// What C functions return: 0, or -1 if it was said why not.
pub(crate) fn status(done: Option<()>) -> c_int {
    if done.is_some() { 0 } else { -1 }
}

/// This thread's errno.
pub(crate) fn errno() -> c_int {
    // SAFETY: the C library gives the address of this thread's errno.
    unsafe { *libc::__errno_location() }
}

/// Sets this thread's errno.
pub(crate) fn set_errno(code: c_int) {
    // SAFETY: the C library gives the address of this thread's errno.
    unsafe { *libc::__errno_location() = code };
}

/// What the C library says of an errno.
pub(crate) fn error_text(code: c_int) -> String {
    let mut text = [0u8; 128];
    // SAFETY: the buffer has the length given and is ours.
    let rc = unsafe { libc::strerror_r(code, text.as_mut_ptr().cast(), text.len()) };
    let text = nm_abi::name::until_nul(&text);
    if rc != 0 || text.is_empty() {
        return format!("error {code}");
    }
    String::from_utf8_lossy(text).into_owned()
}

/// The default context.
#[unsafe(no_mangle)]
pub extern "C" fn nmctx_get() -> Context {
    Context::default()
}

/// Makes `ctx` the default context and gives the one before.
#[unsafe(no_mangle)]
pub extern "C" fn nmctx_set_default(ctx: Context) -> *mut nmctx {
    // Release: whoever gets the pointer (`Context::default`) sees what it points to.
    DEFAULT.swap(ctx.as_ptr(), Ordering::AcqRel)
}

/// Gives the default context a lock if it has none.
#[unsafe(no_mangle)]
pub extern "C" fn nmctx_set_threadsafe() {
    let ctx = nmctx_get().as_ptr();
    // SAFETY: the default context is alive. The program calls this before it has threads that use
    // the context, as the header says of changes to a context.
    unsafe {
        if (*ctx).lock.is_none() {
            (*ctx).lock = Some(global_lock);
        }
    }
}

/// The context's `malloc`.
#[unsafe(no_mangle)]
pub extern "C" fn nmctx_malloc(ctx: Context, size: usize) -> *mut c_void {
    // SAFETY: the context is alive and its callbacks are not changed meanwhile (the type).
    let malloc = unsafe { (*ctx.as_ptr()).malloc };
    // SAFETY: the callback is the program's, for this context.
    malloc.map_or(null_mut(), |malloc| unsafe { malloc(ctx.as_ptr(), size) })
}

/// The context's `free`.
///
/// # Safety
/// `p` is from the context's `malloc` and not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmctx_free(ctx: Context, p: *mut c_void) {
    // SAFETY: the caller says the same.
    unsafe { ctx.free(p) };
}

/// Locks the context's regions.
#[unsafe(no_mangle)]
pub extern "C" fn nmctx_lock(ctx: Context) {
    ctx.set_lock(1);
}

/// Unlocks them; this thread has locked them.
#[unsafe(no_mangle)]
pub extern "C" fn nmctx_unlock(ctx: Context) {
    ctx.set_lock(0);
}
