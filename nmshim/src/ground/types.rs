//! C types that the `libc` crate does not have.

use libc::{c_char, c_int, c_void, dirent64};

/// A node of getifaddrs' list.
pub type IfAddrs = libc::ifaddrs;
/// An entry of if_nameindex's array.
pub type NameIndex = libc::if_nameindex;

/// Arguments, or an environment: strings, and a null pointer behind them.
pub type Strings = *const *const c_char;

/// What a thread begins with.
pub type Start = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// stat's buffer.
pub type StatBuf = *mut libc::stat;
/// statx's.
pub type StatxBuf = *mut libc::statx;

/// Which entries scandir is to list.
pub type Filter = Option<unsafe extern "C" fn(*const dirent64) -> c_int>;
/// In which order.
pub type Compare =
    Option<unsafe extern "C" fn(*const *const dirent64, *const *const dirent64) -> c_int>;
/// Where the list goes.
pub type List = *mut *mut *mut dirent64;

/// `glob_t`.
#[repr(C)]
pub struct Glob {
    count: usize,
    paths: *mut *mut c_char,
    offset: usize,
    flags: c_int,
    /// with which functions directories are read, if the caller says that it gives some
    pub closedir: Option<unsafe extern "C" fn(*mut c_void)>,
    pub readdir: Option<unsafe extern "C" fn(*mut c_void) -> *mut dirent64>,
    pub opendir: Option<unsafe extern "C" fn(*const c_char) -> *mut c_void>,
    pub lstat: Option<unsafe extern "C" fn(*const c_char, *mut libc::stat) -> c_int>,
    pub stat: Option<unsafe extern "C" fn(*const c_char, *mut libc::stat) -> c_int>,
}

/// Whom glob tells of a directory that cannot be read.
pub type GlobError = Option<unsafe extern "C" fn(*const c_char, c_int) -> c_int>;
