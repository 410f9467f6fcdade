//! What the device node and its descriptors look like: a character device.

use super::open::{Name, recognise};
use super::raw::{self, fail};
use super::symbols::next;
use super::{parameter, table};
use core::ffi::CStr;
use core::mem::zeroed;
use libc::{c_char, c_int, c_uint, mode_t};

/// Everybody may open the device here, and that is what its mode says.
const DEVICE_MODE: mode_t = libc::S_IFCHR | 0o666;
const PARAMETER_MODE: mode_t = libc::S_IFREG | 0o444;
const OWNER_WRITES: mode_t = 0o200;
const DIRECTORY_MODE: mode_t = libc::S_IFDIR | 0o755;
/// Number of the inode in the directory it seems to be in; programs compare it between calls only.
const INODE: u64 = 0x6e6d;
/// A miscellaneous device (major 10) with a dynamic minor number.
const MAJOR: u32 = 10;
const MINOR: u32 = 125;

/// Size of a page.
pub fn page_size() -> usize {
    // SAFETY: reads the auxiliary vector.
    match unsafe { libc::getauxval(libc::AT_PAGESZ) } {
        0 => 4096,
        n => n as usize,
    }
}

/// What a name looks like: mode, size, and the directory it seems to be in.
fn looks(name: &Name) -> (mode_t, i64, &'static CStr) {
    match name {
        Name::Device => (DEVICE_MODE, 0, c"/dev"),
        Name::Parameter(file) => {
            let write = if file.parameter.writable {
                OWNER_WRITES
            } else {
                0
            };
            (PARAMETER_MODE | write, page_size() as i64, c"/sys/module")
        }
        Name::Directory => (DIRECTORY_MODE, 0, c"/sys/module"),
    }
}

/// Fills in `buf` for one of our names.
unsafe fn fill(name: &Name, buf: *mut libc::stat) -> c_int {
    if (buf as usize) < 4096 {
        return fail(libc::EFAULT);
    }
    let (mode, size, dir) = looks(name);
    // SAFETY: zero is a valid stat; `dir` is a C string; `buf` is the program's, valid for a stat.
    unsafe {
        let mut s: libc::stat = zeroed();
        raw::call(
            libc::SYS_newfstatat,
            [
                libc::AT_FDCWD as usize,
                dir.as_ptr() as usize,
                &raw mut s as usize,
                0,
                0,
                0,
            ],
        );
        s.st_mode = mode;
        s.st_ino = INODE;
        s.st_nlink = 1;
        (s.st_uid, s.st_gid) = (0, 0);
        s.st_size = size;
        s.st_blocks = 0;
        s.st_rdev = if matches!(name, Name::Device) {
            libc::makedev(MAJOR, MINOR)
        } else {
            0
        };
        buf.write(s);
    }
    0
}

unsafe fn fill_x(name: &Name, buf: *mut libc::statx) -> c_int {
    if (buf as usize) < 4096 {
        return fail(libc::EFAULT);
    }
    let (mode, size, dir) = looks(name);
    // SAFETY: as in `fill`.
    unsafe {
        let mut s: libc::statx = zeroed();
        let all = libc::STATX_BASIC_STATS as usize;
        raw::call(
            libc::SYS_statx,
            [
                libc::AT_FDCWD as usize,
                dir.as_ptr() as usize,
                0,
                all,
                &raw mut s as usize,
                0,
            ],
        );
        s.stx_mask = libc::STATX_BASIC_STATS;
        s.stx_mode = mode as u16;
        s.stx_ino = INODE;
        s.stx_nlink = 1;
        (s.stx_uid, s.stx_gid) = (0, 0);
        s.stx_size = size as u64;
        s.stx_blocks = 0;
        (s.stx_rdev_major, s.stx_rdev_minor) = if matches!(name, Name::Device) {
            (MAJOR, MINOR)
        } else {
            (0, 0)
        };
        buf.write(s);
    }
    0
}

/// The name behind a directory descriptor and a path: with an empty path and `AT_EMPTY_PATH` it is the descriptor.
#[inline]
unsafe fn named(dir: c_int, path: *const c_char, flags: c_int) -> Option<Name> {
    // SAFETY: null or the program's C string; kernels take null for the empty path.
    unsafe {
        if flags & libc::AT_EMPTY_PATH != 0 && (path.is_null() || *path == 0) {
            return table::device(dir).map(|d| parameter::name_of(&d));
        }
        recognise(path)
    }
}

pub unsafe fn fstatat(
    dir: c_int,
    path: *const c_char,
    buf: *mut libc::stat,
    flags: c_int,
) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        match named(dir, path, flags) {
            Some(name) => fill(&name, buf),
            None => next::fstatat(dir, path, buf, flags),
        }
    }
}

pub unsafe fn stat(path: *const c_char, buf: *mut libc::stat) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe { fstatat(libc::AT_FDCWD, path, buf, 0) }
}

pub unsafe fn lstat(path: *const c_char, buf: *mut libc::stat) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe { fstatat(libc::AT_FDCWD, path, buf, libc::AT_SYMLINK_NOFOLLOW) }
}

pub unsafe fn fstat(fd: c_int, buf: *mut libc::stat) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        match table::device(fd) {
            Some(d) => fill(&parameter::name_of(&d), buf),
            None => next::fstat(fd, buf),
        }
    }
}

pub unsafe fn xstat(version: c_int, path: *const c_char, buf: *mut libc::stat) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        match recognise(path) {
            Some(name) => fill(&name, buf),
            None => next::__xstat(version, path, buf),
        }
    }
}

pub unsafe fn lxstat(version: c_int, path: *const c_char, buf: *mut libc::stat) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        match recognise(path) {
            Some(name) => fill(&name, buf),
            None => next::__lxstat(version, path, buf),
        }
    }
}

pub unsafe fn fxstat(version: c_int, fd: c_int, buf: *mut libc::stat) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        match table::device(fd) {
            Some(d) => fill(&parameter::name_of(&d), buf),
            None => next::__fxstat(version, fd, buf),
        }
    }
}

pub unsafe fn fxstatat(
    version: c_int,
    dir: c_int,
    path: *const c_char,
    buf: *mut libc::stat,
    flags: c_int,
) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        match named(dir, path, flags) {
            Some(name) => fill(&name, buf),
            None => next::__fxstatat(version, dir, path, buf, flags),
        }
    }
}

pub unsafe fn statx(
    dir: c_int,
    path: *const c_char,
    flags: c_int,
    mask: c_uint,
    buf: *mut libc::statx,
) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        match named(dir, path, flags) {
            Some(name) => fill_x(&name, buf),
            None => next::statx(dir, path, flags, mask, buf),
        }
    }
}

/// access(2) on one of our names.
fn allowed(name: &Name, mode: c_int) -> c_int {
    let refused = match name {
        _ if mode & !(libc::R_OK | libc::W_OK | libc::X_OK) != 0 => return fail(libc::EINVAL),
        Name::Device => libc::X_OK,
        Name::Parameter(file) if file.parameter.writable => libc::X_OK,
        Name::Parameter(_) => libc::W_OK | libc::X_OK,
        Name::Directory => libc::W_OK,
    };
    if mode & refused != 0 {
        fail(libc::EACCES)
    } else {
        0
    }
}

pub unsafe fn access(path: *const c_char, mode: c_int) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        match recognise(path) {
            Some(name) => allowed(&name, mode),
            None => next::access(path, mode),
        }
    }
}

pub unsafe fn faccessat(dir: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        match named(dir, path, flags) {
            Some(name) => allowed(&name, mode),
            None => next::faccessat(dir, path, mode, flags),
        }
    }
}

pub unsafe fn euidaccess(path: *const c_char, mode: c_int) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        match recognise(path) {
            Some(name) => allowed(&name, mode),
            None => next::euidaccess(path, mode),
        }
    }
}
