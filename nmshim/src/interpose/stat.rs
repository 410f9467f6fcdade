//! What the device node and its descriptors look like: a character device.

use super::name::{Dir, Name};
use super::paths::{self, at, of_descriptor, was_readable};
use crate::ground::raw::{self, fail, page_size};
use crate::ground::{memory, next};
use core::ffi::CStr;
use core::mem::zeroed;
use libc::{c_char, c_int, c_uint, mode_t};
use uvale_system::device::{INODE, MODE, NUMBER};

const PARAMETER_MODE: mode_t = libc::S_IFREG | 0o444;
const OWNER_WRITES: mode_t = 0o200;
const LINK_MODE: mode_t = libc::S_IFLNK | 0o777;
const DIRECTORY_MODE: mode_t = libc::S_IFDIR | 0o755;

/// The inode of a name.
pub fn inode(name: &Name) -> u64 {
    match name {
        Name::Device => INODE,
        Name::Directory(Dir::Module) => INODE + 1,
        Name::Directory(Dir::Parameters) => INODE + 2,
        Name::Directory(Dir::Interfaces) => INODE + 3,
        Name::Directory(Dir::Interface(path)) => inode_of_parameter(path),
        Name::Parameter(file) => inode_of_parameter(&file.name),
        Name::Link(name) => inode_of_parameter(&format!("link {name}")),
    }
}

/// The inode of what has a name of its own (FNV-1a of it, above the others).
pub fn inode_of_parameter(name: &str) -> u64 {
    let hash = name.bytes().fold(0x811c_9dc5u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    INODE << 8 | u64::from(hash)
}

/// Links to a name: a directory has one from each in it.
fn links(name: &Name) -> u32 {
    match name {
        Name::Directory(Dir::Module) => 3,
        Name::Directory(_) => 2,
        _ => 1,
    }
}

/// What a name looks like: mode, size, and the directory it seems to be in.
fn looks(name: &Name) -> (mode_t, i64, &'static CStr) {
    match name {
        Name::Device => (MODE, 0, c"/dev"),
        Name::Parameter(file) => {
            let write = if file.parameter.writable {
                OWNER_WRITES
            } else {
                0
            };
            (PARAMETER_MODE | write, page_size() as i64, c"/sys/module")
        }
        Name::Directory(_) => (DIRECTORY_MODE, 0, c"/sys/module"),
        Name::Link(_) => (LINK_MODE, 0, c"/sys/module"),
    }
}

/// Fills in `buf` for one of our names.
unsafe fn fill(name: &Name, buf: *mut libc::stat) -> c_int {
    let (mode, size, dir) = looks(name);
    // SAFETY: zero is a valid stat; `dir` is a C string; `buf` is the program's.
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
        s.st_ino = inode(name);
        s.st_nlink = links(name).into();
        (s.st_uid, s.st_gid) = (0, 0);
        s.st_size = size;
        s.st_blocks = 0;
        s.st_rdev = if matches!(name, Name::Device) {
            libc::makedev(NUMBER.0, NUMBER.1)
        } else {
            0
        };
        told(memory::write(buf, s))
    }
}

unsafe fn fill_x(name: &Name, buf: *mut libc::statx) -> c_int {
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
        s.stx_ino = inode(name);
        s.stx_nlink = links(name);
        (s.stx_uid, s.stx_gid) = (0, 0);
        s.stx_size = size as u64;
        s.stx_blocks = 0;
        (s.stx_rdev_major, s.stx_rdev_minor) = if matches!(name, Name::Device) {
            NUMBER
        } else {
            (0, 0)
        };
        told(memory::write(buf, s))
    }
}

fn told(answer: crate::device::Result<()>) -> c_int {
    raw::answer(answer.map(|()| 0))
}

/// What a descriptor shows instead of itself.
#[inline]
fn shown(fd: c_int) -> Option<Name> {
    of_descriptor(fd).filter(|name| !matches!(name, Name::Directory(Dir::Interfaces)))
}

/// The name behind a directory descriptor and a path, after the kernel has given `answer`: with an empty path and
/// `AT_EMPTY_PATH` it is the descriptor.
#[inline]
unsafe fn named(answer: c_int, dir: c_int, path: *const c_char, flags: c_int) -> Option<Name> {
    if !was_readable(answer) {
        return None;
    }
    let error = raw::errno();
    // SAFETY: null, or a C string that the kernel has read; kernels take null for the empty path.
    let name = unsafe {
        if flags & libc::AT_EMPTY_PATH != 0 && (path.is_null() || *path == 0) {
            shown(dir)
        } else {
            at(dir, path)
        }
    };
    match &name {
        None => raw::set_errno(error),
        // A directory that is really there.
        Some(Name::Directory(_)) if answer >= 0 && dir < 0 => return None,
        Some(found) if flags & libc::AT_SYMLINK_NOFOLLOW != 0 && !path.is_null() => {
            // SAFETY: as above.
            let link = unsafe { paths::link(found, path) };
            return link.map(Name::Link).or(name);
        }
        Some(_) => {}
    }
    name
}

/// stat and its kin: the kernel first, then what it looks like here.
macro_rules! looks {
    ($( fn $name:ident($($arg:ident: $ty:ty),*) = $next:ident,
        $fill:ident($buf:ident), ($dir:expr, $path:ident, $flags:expr); )*) => {
        $(
            pub unsafe fn $name($($arg: $ty),*) -> c_int {
                // SAFETY: the program's own arguments.
                unsafe {
                    let answer = next::$next($($arg),*);
                    match named(answer, $dir, $path, $flags) {
                        Some(name) => $fill(&name, $buf),
                        None => answer,
                    }
                }
            }
        )*
    };
}

const HERE: c_int = libc::AT_FDCWD;
type Path = *const c_char;
type Buf = *mut libc::stat;

looks! {
    fn fstatat(dir: c_int, path: Path, buf: Buf, flags: c_int) = fstatat, fill(buf), (dir, path, flags);
    fn xstat(version: c_int, path: Path, buf: Buf) = __xstat, fill(buf), (HERE, path, 0);
    fn lxstat(version: c_int, path: Path, buf: Buf) = __lxstat,
        fill(buf), (HERE, path, libc::AT_SYMLINK_NOFOLLOW);
    fn fxstatat(version: c_int, dir: c_int, path: Path, buf: Buf, flags: c_int) = __fxstatat,
        fill(buf), (dir, path, flags);
    fn statx(dir: c_int, path: Path, flags: c_int, mask: c_uint, buf: *mut libc::statx) = statx,
        fill_x(buf), (dir, path, flags);
    fn access(path: Path, mode: c_int) = access, allowed(mode), (HERE, path, 0);
    fn faccessat(dir: c_int, path: Path, mode: c_int, flags: c_int) = faccessat, allowed(mode), (dir, path, flags);
    fn euidaccess(path: Path, mode: c_int) = euidaccess, allowed(mode), (HERE, path, 0);
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
        match shown(fd) {
            Some(name) => fill(&name, buf),
            None => next::fstat(fd, buf),
        }
    }
}

pub unsafe fn fxstat(version: c_int, fd: c_int, buf: *mut libc::stat) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        match shown(fd) {
            Some(name) => fill(&name, buf),
            None => next::__fxstat(version, fd, buf),
        }
    }
}

/// access(2) on one of our names.
unsafe fn allowed(name: &Name, mode: c_int) -> c_int {
    let refused = match name {
        _ if mode & !(libc::R_OK | libc::W_OK | libc::X_OK) != 0 => return fail(libc::EINVAL),
        Name::Device => libc::X_OK,
        Name::Parameter(file) if file.parameter.writable => libc::X_OK,
        Name::Parameter(_) => libc::W_OK | libc::X_OK,
        Name::Directory(_) => libc::W_OK,
        Name::Link(_) => 0,
    };
    if mode & refused != 0 {
        fail(libc::EACCES)
    } else {
        0
    }
}
