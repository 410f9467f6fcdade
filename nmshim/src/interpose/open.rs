//! Opening what exists only here: the device node, and the module's directory with its parameters.

use super::name::Name;
use super::slot::{Device, Object, Ref};
use super::{entries, handlers, listing, parameter, paths, table};
use crate::device::{Errno, Result};
use crate::driver;
use crate::ground::guarded::guarded;
use crate::ground::raw::{self, answer};
use crate::ground::vfork::borrowed_memory;
use crate::ground::{memory, next};
use libc::{FILE, c_char, c_int, mode_t};

/// Opens one of our names.
fn open_name(name: Name, flags: c_int) -> Result<c_int> {
    if flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL {
        return Err(Errno(libc::EEXIST));
    }
    match name {
        Name::Directory(directory) => listing::open(directory, flags),
        _ if flags & libc::O_DIRECTORY != 0 => Err(Errno(libc::ENOTDIR)),
        Name::Device => open_device(flags),
        Name::Parameter(file) => parameter::open(&file, flags),
        Name::Link(_) => Err(Errno(libc::ELOOP)),
    }
}

fn open_device(flags: c_int) -> Result<c_int> {
    let (fd, file) = guarded(Err(Errno(libc::EIO)), || driver().open(flags))?;
    if !borrowed_memory() && !entries::install(fd, Ref::new(Object::Device(Device::new(file)))) {
        raw::close(fd);
        return Err(Errno(libc::EMFILE));
    }
    Ok(fd)
}

/// The kernel opened something ordinary.
#[inline]
fn ordinary(fd: c_int) -> c_int {
    if table::word(fd) != 0 && !borrowed_memory() {
        entries::forget_stale(fd);
    }
    fd
}

/// open and openat: `plain` is the next library's function with the program's own arguments.
#[inline(always)]
unsafe fn opened(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    plain: impl Fn() -> c_int,
) -> c_int {
    // SAFETY: the program's own arguments. An O_PATH descriptor gives no access to a device and is the kernel's.
    unsafe {
        if needs_mode(flags) {
            // The kernel would make a file.
            if paths::is_readable(path)
                && let Some(name) = paths::at(dir, path)
                && flags & libc::O_PATH == 0
            {
                return answer(open_name(name, flags));
            }
            return ordinary(plain());
        }
        let fd = plain();
        let real = libc::O_PATH | libc::O_DIRECTORY;
        if flags & real != libc::O_PATH && paths::was_readable(fd) {
            let error = raw::errno();
            match paths::at(dir, path) {
                None => raw::set_errno(error),
                // A directory that is really there.
                Some(Name::Directory(_)) if fd >= 0 => {}
                Some(name) => {
                    if fd >= 0 {
                        raw::close(fd);
                    }
                    return answer(open_name(name, flags));
                }
            }
        }
        ordinary(fd)
    }
}

pub unsafe fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        opened(libc::AT_FDCWD, path, flags, || {
            next::open(path, flags, mode)
        })
    }
}

pub unsafe fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe { opened(dir, path, flags, || next::openat(dir, path, flags, mode)) }
}

/// openat2's second argument.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct How {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// The system call, for which the C library has no function.
pub unsafe fn openat2(dir: c_int, path: *const c_char, how: *const How, size: usize) -> c_int {
    let args = [dir as usize, path as usize, how as usize, size];
    let [a, b, c, d] = args;
    // SAFETY: the program's own arguments.
    let plain = || unsafe { next::syscall(libc::SYS_openat2, a, b, c, d, 0, 0) as c_int };
    // Before the device is used nobody would catch a bad pointer.
    if size != size_of::<How>() || !handlers::taken_over() {
        return ordinary(plain());
    }
    // SAFETY: integers.
    match unsafe { memory::read_if(how) } {
        // Whoever limits where the path may lead has the kernel walk it.
        Ok(Some(How {
            flags, resolve: 0, ..
        })) => {
            // SAFETY: as above.
            unsafe { opened(dir, path, flags as c_int, plain) }
        }
        _ => ordinary(plain()),
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
        if *mode != b'r' as c_char {
            if paths::is_readable(path)
                && let Some(Name::Parameter(file)) = paths::recognise(path)
            {
                return parameter::stream(&file, mode);
            }
            return next::fopen(path, mode);
        }
        let stream = next::fopen(path, mode);
        let error = raw::errno();
        if stream.is_null() && !paths::was_readable(-1) {
            return stream;
        }
        match paths::recognise(path) {
            Some(Name::Parameter(file)) => {
                if !stream.is_null() {
                    libc::fclose(stream);
                }
                parameter::stream(&file, mode)
            }
            _ => {
                raw::set_errno(error);
                stream
            }
        }
    }
}
