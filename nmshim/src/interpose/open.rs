//! Paths that exist only here: the device node, and the module's parameters under /sys.

use super::raw::{self, answer, fail};
use super::slot::{Device, Object, Ref, guarded};
use super::symbols::next;
use super::{parameter, process, table};
use crate::device::{DEVICE_PATH, Errno, Result};
use crate::driver;
use core::ffi::CStr;
use core::ptr::null_mut;
use libc::{FILE, c_char, c_int, mode_t};

/// The module's directory under /sys.
const MODULE: &CStr = c"/sys/module/netmap";

/// What one of our paths names.
pub enum Name {
    Device,
    /// `/sys/module/netmap` or its `parameters`
    Directory,
    /// A parameter.
    Parameter(parameter::File),
}

/// Is `path` one of ours? Ordinary paths cost a comparison that ends at the first differing byte.
///
/// # Safety
/// `path` is what a program gave to a call that takes a path: null, or a C string.
#[inline]
pub unsafe fn recognise(path: *const c_char) -> Option<Name> {
    // SAFETY: reads the string up to its first difference and never past its end. The first page holds
    // no strings: such a pointer is the kernel's to refuse.
    unsafe {
        if (path as usize) < 4096 || *path != b'/' as c_char {
            return None;
        }
        if rest_after(path, DEVICE_PATH).is_some_and(|rest| *rest == 0) {
            return Some(Name::Device);
        }
        let rest = rest_after(path, MODULE)?;
        in_module(CStr::from_ptr(rest))
    }
}

/// The part of `path` behind `prefix`.
///
/// # Safety
/// `path` is a C string.
unsafe fn rest_after(path: *const c_char, prefix: &CStr) -> Option<*const c_char> {
    let prefix = prefix.to_bytes();
    // SAFETY: stops at the first difference, hence at the end of `path` at the latest.
    unsafe {
        for (i, &b) in prefix.iter().enumerate() {
            if *path.add(i) != b as c_char {
                return None;
            }
        }
        Some(path.add(prefix.len()))
    }
}

#[cold]
fn in_module(rest: &CStr) -> Option<Name> {
    match rest.to_str().ok()? {
        "" | "/" | "/parameters" | "/parameters/" => {
            // The module is there if it has any parameter that programs read.
            guarded(None, || driver().parameter("buf_size")).map(|_| Name::Directory)
        }
        other => {
            let name = other.strip_prefix("/parameters/")?;
            parameter::File::find(name).map(Name::Parameter)
        }
    }
}

/// Opens one of our names.
fn open_name(name: Name, flags: c_int) -> Result<c_int> {
    if flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL {
        return Err(Errno(libc::EEXIST));
    }
    match name {
        Name::Directory => Err(Errno(libc::EACCES)),
        _ if flags & libc::O_DIRECTORY != 0 => Err(Errno(libc::ENOTDIR)),
        Name::Device => open_device(flags),
        Name::Parameter(file) => file.open(flags),
    }
}

fn open_device(flags: c_int) -> Result<c_int> {
    let (fd, file) = guarded(Err(Errno(libc::EIO)), || driver().open(flags))?;
    if !process::borrowed_memory()
        && !table::install(fd, Ref::new(Object::Device(Device::new(file))))
    {
        raw::close(fd);
        return Err(Errno(libc::EMFILE));
    }
    Ok(fd)
}

/// The kernel opened something ordinary.
#[inline]
fn ordinary(fd: c_int) -> c_int {
    if table::word(fd) != 0 && !process::borrowed_memory() {
        table::forget_stale(fd);
    }
    fd
}

pub unsafe fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the program's own arguments; an O_PATH descriptor gives no access to a device and is the kernel's.
    unsafe {
        match recognise(path) {
            Some(name) if flags & libc::O_PATH == 0 => answer(open_name(name, flags)),
            _ => ordinary(next::open(path, flags, mode)),
        }
    }
}

pub unsafe fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: as open; an absolute path makes `dir` irrelevant.
    unsafe {
        match recognise(path) {
            Some(name) if flags & libc::O_PATH == 0 => answer(open_name(name, flags)),
            _ => ordinary(next::openat(dir, path, flags, mode)),
        }
    }
}

/// Does open need a mode with these flags? The checked forms abort then.
fn needs_mode(flags: c_int) -> bool {
    flags & libc::O_CREAT != 0 || flags & libc::O_TMPFILE == libc::O_TMPFILE
}

pub unsafe fn open_2(path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: as open.
    unsafe {
        if needs_mode(flags) {
            next::__open_2(path, flags)
        } else {
            open(path, flags, 0)
        }
    }
}

pub unsafe fn openat_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: as openat.
    unsafe {
        if needs_mode(flags) {
            next::__openat_2(dir, path, flags)
        } else {
            openat(dir, path, flags, 0)
        }
    }
}

pub unsafe fn creat(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: as open.
    unsafe { open(path, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC, mode) }
}

/// Only parameters are streams of ours; everything else is the next library's.
pub unsafe fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE {
    // SAFETY: the program's own arguments.
    unsafe {
        match recognise(path) {
            Some(Name::Parameter(file)) => file.stream(mode),
            _ => next::fopen(path, mode),
        }
    }
}

/// fopen called from the constructor of a library that is set up before us: the next one is looked
/// up now.
pub fn early_fopen(path: *const c_char, mode: *const c_char) -> *mut FILE {
    let next = super::process::next_symbol(c"fopen");
    if next.is_null() {
        return no_stdio();
    }
    // SAFETY: the C library's fopen, with the program's own arguments.
    unsafe {
        let fopen: unsafe extern "C" fn(*const c_char, *const c_char) -> *mut FILE =
            core::mem::transmute(next);
        fopen(path, mode)
    }
}

/// There is no stdio behind us.
fn no_stdio() -> *mut FILE {
    fail(libc::ENOSYS);
    null_mut()
}
