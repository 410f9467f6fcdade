//! What a device file does with everything but waiting: ioctl and mmap go to the driver, and the rest
//! answers as a character device does that has no read, write, llseek or fsync.

use super::raw::{answer, fail};
use super::symbols::next;
use super::table::{self, DeviceRef};
use super::{slot, stat};
use crate::device::{Errno, Result};
use libc::{c_int, c_ulong, c_void, iovec, off_t, size_t, ssize_t};

/// ioctls that every file has; the kernel handles them before any driver sees them.
const FIOCLEX: c_ulong = 0x5451;
const FIONCLEX: c_ulong = 0x5450;
const FIONBIO: c_ulong = 0x5421;
const FIOASYNC: c_ulong = 0x5452;

pub unsafe fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    match table::device(fd) {
        Some(d) if !matches!(request, FIOCLEX | FIONCLEX | FIONBIO | FIOASYNC) => {
            answer(d.ioctl(fd, request, arg))
        }
        // SAFETY: the program's own arguments.
        _ => unsafe { next::ioctl(fd, request, arg) },
    }
}

pub unsafe fn mmap(
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    if flags & libc::MAP_ANONYMOUS == 0
        && let Some(d) = table::device(fd)
    {
        return map_device(&d, fd, addr, len, prot, flags, offset).unwrap_or_else(|e| {
            fail(e.0);
            libc::MAP_FAILED
        });
    }
    // SAFETY: the program's own arguments.
    unsafe { next::mmap(addr, len, prot, flags, fd, offset) }
}

/// The kernel's own checks, in its order, then the driver.
fn map_device(
    d: &DeviceRef,
    fd: c_int,
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    offset: off_t,
) -> Result<*mut c_void> {
    if !(offset as usize).is_multiple_of(stat::page_size()) || len == 0 {
        return Err(Errno(libc::EINVAL));
    }
    if len > isize::MAX as usize - stat::page_size() {
        return Err(Errno(libc::ENOMEM));
    }
    if offset < 0 || offset.checked_add(len as i64).is_none() {
        return Err(Errno(libc::EOVERFLOW));
    }
    let mode = access_mode(d);
    let shared = match flags & libc::MAP_TYPE {
        libc::MAP_PRIVATE => false,
        libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE => true,
        _ => return Err(Errno(libc::EINVAL)),
    };
    if mode == libc::O_WRONLY || shared && prot & libc::PROT_WRITE != 0 && mode != libc::O_RDWR {
        return Err(Errno(libc::EACCES));
    }
    slot::guarded(Err(Errno(libc::EIO)), || {
        d.file.mmap(fd, addr, len, prot, flags, offset)
    })
}

fn access_mode(d: &DeviceRef) -> c_int {
    slot::guarded(0, || d.file.open_flags()) & libc::O_ACCMODE
}

/// Reading or writing (`other` is the access mode that forbids it): the device has neither.
#[cold]
fn no_data(d: &DeviceRef, other: c_int) -> ssize_t {
    fail(if access_mode(d) == other {
        libc::EBADF
    } else {
        libc::EINVAL
    }) as ssize_t
}

/// Entry points on a descriptor that the device refuses: `name(args) -> type: what a device answers`.
macro_rules! refused {
    ($( fn $name:ident($fd:ident: c_int $(, $arg:ident: $ty:ty)*) -> $ret:ty = $next:ident, |$d:ident| $answer:expr; )*) => {
        $(
            pub unsafe fn $name($fd: c_int $(, $arg: $ty)*) -> $ret {
                match table::device($fd) {
                    Some($d) => $answer as $ret,
                    // SAFETY: the program's own arguments.
                    None => unsafe { next::$next($fd $(, $arg)*) },
                }
            }
        )*
    };
}

refused! {
    fn read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t = read, |d| no_data(&d, libc::O_WRONLY);
    fn write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t = write, |d| no_data(&d, libc::O_RDONLY);
    fn pread(fd: c_int, buf: *mut c_void, len: size_t, offset: off_t) -> ssize_t = pread, |d| no_data(&d, libc::O_WRONLY);
    fn pwrite(fd: c_int, buf: *const c_void, len: size_t, offset: off_t) -> ssize_t = pwrite, |d| no_data(&d, libc::O_RDONLY);
    fn readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t = readv, |d| no_data(&d, libc::O_WRONLY);
    fn writev(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t = writev, |d| no_data(&d, libc::O_RDONLY);
    fn preadv(fd: c_int, iov: *const iovec, n: c_int, offset: off_t) -> ssize_t = preadv, |d| no_data(&d, libc::O_WRONLY);
    fn pwritev(fd: c_int, iov: *const iovec, n: c_int, offset: off_t) -> ssize_t = pwritev, |d| no_data(&d, libc::O_RDONLY);
    fn read_chk(fd: c_int, buf: *mut c_void, len: size_t, room: size_t) -> ssize_t = __read_chk, |d| no_data(&d, libc::O_WRONLY);
    fn pread_chk(fd: c_int, buf: *mut c_void, len: size_t, offset: off_t, room: size_t) -> ssize_t = __pread_chk, |d| no_data(&d, libc::O_WRONLY);
    fn lseek(fd: c_int, offset: off_t, whence: c_int) -> off_t = lseek, |_d| fail(libc::ESPIPE);
    fn fsync(fd: c_int) -> c_int = fsync, |_d| fail(libc::EINVAL);
    fn fdatasync(fd: c_int) -> c_int = fdatasync, |_d| fail(libc::EINVAL);
    fn ftruncate(fd: c_int, len: off_t) -> c_int = ftruncate, |_d| fail(libc::EINVAL);
}
