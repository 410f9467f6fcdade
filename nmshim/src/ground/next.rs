//! The functions behind ours: `next::NAME` calls the next library's function of that name.
//!
//! It is looked up once, when the library is loaded (`resolve`); before that (other libraries' constructors, malloc
//! inside dlsym) and where the C library has no such function, the raw system call does the work: nothing ever calls
//! dlsym on the way, so nothing recurses. Only the list's `late` functions are looked up when they are called that
//! early.
//!
//! Functions are `C-unwind` because glibc's thread cancellation unwinds through blocking calls.

#![allow(
    clippy::missing_safety_doc,
    reason = "C functions: each has the contract of its manual page"
)]

use super::raw::{self, SIGSET_BYTES, libc_call};
use super::single;
use super::symbols::symbols;
use super::types::{
    Compare, Filter, Glob, GlobError, IfAddrs, List, NameIndex, Start, StatBuf, StatxBuf, Strings,
};
use core::ffi::CStr;
use core::mem::transmute;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};
use libc::{
    DIR, FILE, c_char, c_int, c_long, c_uint, c_ulong, c_void, dev_t, dirent64, epoll_event,
    fd_set, gid_t, iovec, mmsghdr, mode_t, msghdr, nfds_t, off_t, pid_t, pollfd,
    posix_spawn_file_actions_t, posix_spawnattr_t, pthread_attr_t, pthread_t, sighandler_t,
    sigset_t, size_t, ssize_t, stack_t, timespec, timeval, uid_t, utimbuf,
};

macro_rules! next {
    (
        numbered { $( fn $num:ident($($narg:ident: $nty:ty),*) -> $nret:ty = $nours:path, $number:ident; )* }
        next { $( fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty = $ours:path, otherwise $raw:expr; )* }
        late { $( fn $late:ident($($larg:ident: $lty:ty),*) $(-> $lret:ty)? = $lours:path; )* }
        same { $($same:tt)* }
    ) => {
        mod pointers {
            #![allow(non_upper_case_globals)]
            use super::*;
            $( pub static $num: AtomicPtr<c_void> = AtomicPtr::new(null_mut()); )*
            $( pub static $name: AtomicPtr<c_void> = AtomicPtr::new(null_mut()); )*
            $( pub static $late: AtomicPtr<c_void> = AtomicPtr::new(null_mut()); )*
        }

        $( call!($num($($narg: $nty),*) -> $nret, libc_call!(libc::$number $(, $narg)*) as $nret); )*
        $( call!($name($($arg: $ty),*) -> $ret, $raw); )*
        $(
            #[inline(always)]
            pub unsafe fn $late($($larg: $lty),*) $(-> $lret)? {
                let p = match pointers::$late.load(Relaxed) {
                    p if p.is_null() => look_up(concat!(stringify!($late), "\0")),
                    p => p,
                };
                if p.is_null() {
                    return Missing::missing();
                }
                // SAFETY: `p` is the C function of this name, whose type the list spells out; the arguments are the
                // caller's promise.
                unsafe {
                    transmute::<*mut c_void, unsafe extern "C-unwind" fn($($lty),*) $(-> $lret)?>(p)($($larg),*)
                }
            }
        )*

        /// Looks up all of them.
        ///
        /// # Safety
        /// Must run outside dlsym and malloc: at load time.
        pub unsafe fn resolve() {
            let all = [
                $( (concat!(stringify!($num), "\0"), &pointers::$num), )*
                $( (concat!(stringify!($name), "\0"), &pointers::$name), )*
                $( (concat!(stringify!($late), "\0"), &pointers::$late), )*
            ];
            for (name, pointer) in all {
                pointer.store(look_up(name), Relaxed);
            }
        }
    };
}

/// A function that `raw` stands for while it is not known.
macro_rules! call {
    ($name:ident($($arg:ident: $ty:ty),*) -> $ret:ty, $raw:expr) => {
        #[inline(always)]
        pub unsafe fn $name($($arg: $ty),*) -> $ret {
            let p = pointers::$name.load(Relaxed);
            // SAFETY: `p` is null or the C function of this name, whose type the list spells out; the arguments are
            // the caller's promise.
            unsafe {
                if p.is_null() {
                    return $raw;
                }
                transmute::<*mut c_void, unsafe extern "C-unwind" fn($($ty),*) -> $ret>(p)($($arg),*)
            }
        }
    };
}

/// The next library's function; `name` ends with its zero byte.
#[cold]
fn look_up(name: &str) -> *mut c_void {
    CStr::from_bytes_with_nul(name.as_bytes()).map_or(null_mut(), symbol)
}

/// The address of a function of the next library, null if it has none.
pub fn symbol(name: &CStr) -> *mut c_void {
    // SAFETY: a C string; RTLD_NEXT looks behind the object this code is in.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
}

/// The answer of a function that no library behind us has.
trait Missing {
    fn missing() -> Self;
}

impl Missing for () {
    fn missing() {}
}

impl<T> Missing for *mut T {
    fn missing() -> Self {
        raw::fail(libc::ENOSYS);
        null_mut()
    }
}

/// An interface's number: 0 is none.
impl Missing for c_uint {
    fn missing() -> Self {
        raw::fail(libc::ENOSYS);
        0
    }
}

macro_rules! missing {
    ($($ty:ty),*) => { $(
        impl Missing for $ty {
            fn missing() -> Self {
                raw::fail(libc::ENOSYS) as Self
            }
        }
    )* };
}
// the last one is a signal's handler, for which -1 is SIG_ERR
missing!(c_int, c_long, ssize_t, sighandler_t);

symbols!(next);
