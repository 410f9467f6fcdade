//! What start scripts and `ls` do with the device node and the parameters: mode, owner, times, attributes, links.
//!
//! The kernel is asked first: it knows a real device. What it does not find is ours, and takes every mode and
//! owner silently: everybody may open the device here, whatever its mode would say.

use super::lookup;
use super::name::Name;
use super::paths::{self, at, is_readable};
use crate::ground::raw::{self, fail};
use crate::ground::{memory, next};
use core::ptr::null_mut;
use libc::{
    c_char, c_int, c_void, dev_t, gid_t, mode_t, size_t, ssize_t, timespec, timeval, uid_t, utimbuf,
};
use std::ffi::CString;

/// What a call on `path` ended with. If the kernel did not find it and it is ours: 0, or -1 with `error`.
unsafe fn on_path(answer: isize, dir: c_int, path: *const c_char, error: c_int) -> isize {
    let found = raw::errno();
    if answer >= 0 || !matches!(found, libc::ENOENT | libc::ENOTDIR) {
        return answer;
    }
    // SAFETY: the kernel has read the path.
    match unsafe { at(dir, path) } {
        Some(_) if error == 0 => 0,
        Some(_) => fail(error) as isize,
        None => {
            raw::set_errno(found);
            answer
        }
    }
}

/// `name(arguments) -> type, of "which path or descriptor": error number or 0`.
macro_rules! nodes {
    (
        path { $( fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty, of ($dir:expr, $path:ident): $error:expr; )* }
        descriptor { $( fn $fname:ident($fd:ident: c_int $(, $farg:ident: $fty:ty)*) -> $fret:ty: $ferror:expr; )* }
    ) => {
        $(
            pub unsafe fn $name($($arg: $ty),*) -> $ret {
                // SAFETY: the program's own arguments, as the C function's contract asks for.
                unsafe { on_path(next::$name($($arg),*) as isize, $dir, $path, $error) as $ret }
            }
        )*
        $(
            pub unsafe fn $fname($fd: c_int $(, $farg: $fty)*) -> $fret {
                match lookup::device($fd) {
                    Some(_) if $ferror == 0 => 0,
                    Some(_) => fail($ferror) as $fret,
                    // SAFETY: as above.
                    None => unsafe { next::$fname($fd $(, $farg)*) },
                }
            }
        )*
    };
}

const HERE: c_int = libc::AT_FDCWD;

nodes! {
    path {
        fn chmod(path: *const c_char, mode: mode_t) -> c_int, of (HERE, path): 0;
        fn lchmod(path: *const c_char, mode: mode_t) -> c_int, of (HERE, path): 0;
        fn fchmodat(dir: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_int, of (dir, path): 0;
        fn chown(path: *const c_char, owner: uid_t, group: gid_t) -> c_int, of (HERE, path): 0;
        fn lchown(path: *const c_char, owner: uid_t, group: gid_t) -> c_int, of (HERE, path): 0;
        fn fchownat(dir: c_int, path: *const c_char, owner: uid_t, group: gid_t, flags: c_int) -> c_int,
            of (dir, path): 0;
        fn utime(path: *const c_char, times: *const utimbuf) -> c_int, of (HERE, path): 0;
        fn utimes(path: *const c_char, times: *const timeval) -> c_int, of (HERE, path): 0;
        fn lutimes(path: *const c_char, times: *const timeval) -> c_int, of (HERE, path): 0;
        fn futimesat(dir: c_int, path: *const c_char, times: *const timeval) -> c_int, of (dir, path): 0;
        fn getxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t,
            of (HERE, path): libc::ENODATA;
        fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t,
            of (HERE, path): libc::ENODATA;
        fn listxattr(path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t, of (HERE, path): 0;
        fn llistxattr(path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t, of (HERE, path): 0;
        fn setxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: size_t,
            flags: c_int) -> c_int,
            of (HERE, path): libc::ENOTSUP;
        fn lsetxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: size_t,
            flags: c_int) -> c_int,
            of (HERE, path): libc::ENOTSUP;
    }
    descriptor {
        fn fchmod(fd: c_int, mode: mode_t) -> c_int: 0;
        fn fchown(fd: c_int, owner: uid_t, group: gid_t) -> c_int: 0;
        fn futimens(fd: c_int, times: *const timespec) -> c_int: 0;
        fn futimes(fd: c_int, times: *const timeval) -> c_int: 0;
        fn fgetxattr(fd: c_int, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t: libc::ENODATA;
        fn flistxattr(fd: c_int, list: *mut c_char, size: size_t) -> ssize_t: 0;
        fn fsetxattr(fd: c_int, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int:
            libc::ENOTSUP;
    }
}

/// Without a path it is about the descriptor.
pub unsafe fn utimensat(
    dir: c_int,
    path: *const c_char,
    times: *const timespec,
    flags: c_int,
) -> c_int {
    if path.is_null() && lookup::device(dir).is_some() {
        return 0;
    }
    // SAFETY: the program's own arguments.
    unsafe {
        on_path(
            next::utimensat(dir, path, times, flags) as isize,
            dir,
            path,
            0,
        ) as c_int
    }
}

/// Scripts that make the node find it there.
pub unsafe fn mknodat(dir: c_int, path: *const c_char, mode: mode_t, device: dev_t) -> c_int {
    // SAFETY: the program's own arguments; the path is looked at if the kernel can read it.
    unsafe {
        if is_readable(path) && matches!(at(dir, path), Some(Name::Device)) {
            return fail(libc::EEXIST);
        }
        next::mknodat(dir, path, mode, device)
    }
}

pub unsafe fn mknod(path: *const c_char, mode: mode_t, device: dev_t) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe { mknodat(HERE, path, mode, device) }
}

/// After readlink has given `answer` for `path`: an interface's link, or something that is none.
unsafe fn link(
    answer: ssize_t,
    dir: c_int,
    path: *const c_char,
    to: *mut c_char,
    size: size_t,
) -> ssize_t {
    // SAFETY: the program's own arguments; the kernel has read the path where it is looked at.
    unsafe {
        let answer = on_path(answer, dir, path, libc::EINVAL);
        // Without room the path is not read.
        let reads = size as c_int > 0;
        if answer >= 0 || raw::errno() != libc::EINVAL || !reads {
            return answer;
        }
        let Some(name) = at(dir, path).and_then(|name| paths::link(&name, path)) else {
            return fail(libc::EINVAL) as ssize_t;
        };
        let target = format!("../../devices/virtual/net/{name}");
        let part = &target.as_bytes()[..target.len().min(size)];
        match memory::write_from(to.cast(), part) {
            Ok(()) => part.len() as ssize_t,
            Err(e) => fail(e.0) as ssize_t,
        }
    }
}

pub unsafe fn readlinkat(
    dir: c_int,
    path: *const c_char,
    to: *mut c_char,
    size: size_t,
) -> ssize_t {
    // SAFETY: the program's own arguments.
    unsafe { link(next::readlinkat(dir, path, to, size), dir, path, to, size) }
}

pub unsafe fn readlink(path: *const c_char, to: *mut c_char, size: size_t) -> ssize_t {
    // SAFETY: the program's own arguments.
    unsafe { link(next::readlink(path, to, size), HERE, path, to, size) }
}

pub unsafe fn readlinkat_chk(
    dir: c_int,
    path: *const c_char,
    to: *mut c_char,
    size: size_t,
    room: size_t,
) -> ssize_t {
    // SAFETY: the program's own arguments.
    unsafe {
        let answer = next::__readlinkat_chk(dir, path, to, size, room);
        link(answer, dir, path, to, size)
    }
}

pub unsafe fn readlink_chk(
    path: *const c_char,
    to: *mut c_char,
    size: size_t,
    room: size_t,
) -> ssize_t {
    // SAFETY: the program's own arguments.
    unsafe {
        let answer = next::__readlink_chk(path, to, size, room);
        link(answer, HERE, path, to, size)
    }
}

/// Of our names, only those of interfaces have links on their way.
unsafe fn resolved(answer: *mut c_char, path: *const c_char, to: *mut c_char) -> *mut c_char {
    let found = raw::errno();
    // SAFETY: libc has read the path; what it wants of `to` is room for any path.
    unsafe {
        let name = match found {
            libc::ENOENT if answer.is_null() => at(HERE, path),
            _ => None,
        };
        let Some(name) = name else {
            raw::set_errno(found);
            return answer;
        };
        let real = paths::real(&name).and_then(|real| CString::new(real).ok());
        let path = real.as_ref().map_or(path, |real| real.as_ptr());
        let len = libc::strlen(path);
        let to = if to.is_null() {
            libc::malloc(len + 1).cast::<c_char>()
        } else {
            to
        };
        if !to.is_null() {
            core::ptr::copy(path, to, len + 1);
        }
        to
    }
}

pub unsafe fn realpath(path: *const c_char, to: *mut c_char) -> *mut c_char {
    // SAFETY: the program's own arguments.
    unsafe { resolved(next::realpath(path, to), path, to) }
}

pub unsafe fn realpath_chk(path: *const c_char, to: *mut c_char, room: size_t) -> *mut c_char {
    // SAFETY: the program's own arguments.
    unsafe { resolved(next::__realpath_chk(path, to, room), path, to) }
}

pub unsafe fn canonicalize_file_name(path: *const c_char) -> *mut c_char {
    // SAFETY: the program's own arguments.
    unsafe { resolved(next::canonicalize_file_name(path), path, null_mut()) }
}
