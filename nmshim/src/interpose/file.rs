//! What a device file does with everything but waiting: ioctl and mmap go to the driver, and the rest
//! answers as a character device does that has no read, write, llseek or fsync. A parameter's file has
//! these (`parameter.rs`).

use super::interfaces::requests;
use super::lookup::{self, DeviceRef};
use super::name::Name;
use super::parameter::{self, piece, pieces};
use super::paths::of_descriptor;
use super::{mapped, slot, table};
use crate::device::{Errno, Result, SHORT_CALLS};
use crate::ground::guarded::guarded;
use crate::ground::raw::{answer, fail, page_size};
use crate::ground::section::{Plain, Reading};
use crate::ground::{next, readers, section};
use core::sync::atomic::{AtomicUsize, Ordering::Acquire};
use libc::{c_int, c_ulong, c_void, iovec, off_t, size_t, ssize_t};

/// ioctls that every file has; the kernel handles them before any driver sees them.
const FIOCLEX: c_ulong = 0x5451;
const FIONCLEX: c_ulong = 0x5450;
const FIONBIO: c_ulong = 0x5421;
const FIOASYNC: c_ulong = 0x5452;

#[inline(always)]
pub unsafe fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        match table::near(fd) {
            Some(place) => ioctl_at(fd, request, arg, place),
            None => ioctl_far(fd, request, arg),
        }
    }
}

/// Of a high number.
#[inline(never)]
unsafe fn ioctl_far(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        match table::place(fd) {
            Some(place) => ioctl_at(fd, request, arg, place),
            None => ioctl_elsewhere(fd, request, arg),
        }
    }
}

/// Of a number that has that place in the table. The program's arguments stay the first ones, here and below: where
/// they are is where the next function expects them.
#[inline(always)]
unsafe fn ioctl_at(
    fd: c_int,
    request: c_ulong,
    arg: *mut c_void,
    place: &'static AtomicUsize,
) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        match table::ours(place.load(Acquire)) {
            true => ioctl_in_section(fd, request, arg, place),
            false => ioctl_elsewhere(fd, request, arg),
        }
    }
}

/// Of a descriptor that is not ours, or a call that every file has.
#[inline(never)]
unsafe fn ioctl_elsewhere(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        match requests::is_one(request) {
            true => requests::ioctl(fd, request, arg),
            false => next::ioctl(fd, request, arg),
        }
    }
}

/// `place` had a word of ours a moment ago. A thread may end where the section does, and there is nothing to undo then.
/// What is rare is the end of it, so that nothing needs to be kept for it.
#[inline(never)]
unsafe fn ioctl_in_section(
    fd: c_int,
    request: c_ulong,
    arg: *mut c_void,
    place: &'static AtomicUsize,
) -> c_int {
    if !SHORT_CALLS.contains(&request) {
        // SAFETY: the program's own arguments.
        return unsafe { ioctl_at_length(fd, request, arg) };
    }
    let reading = match section::enter_reading() {
        Ok(reading) => reading,
        // SAFETY: the program's own arguments.
        Err(why) => return unsafe { ioctl_rarely(why, fd, request, arg) },
    };
    let Some(device) = slot::device_read(&reading, place.load(Acquire)) else {
        // SAFETY: the program's own arguments.
        return unsafe { ioctl_once_more(fd, request, arg, reading) };
    };
    let r = device.ioctl(fd, request, arg);
    if reading.leave() {
        return ioctl_has_left(r);
    }
    answer(r)
}

/// Something may have waited for the end of the section.
#[cold]
#[inline(never)]
fn ioctl_has_left(r: Result<c_int>) -> c_int {
    section::leave_at_last();
    answer(r)
}

/// A section has begun that does not read.
#[cold]
#[inline(never)]
unsafe fn ioctl_rarely(why: Plain, fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    readers::begin(why);
    // SAFETY: the program's own arguments.
    unsafe { ioctl_counted(fd, request, arg) }
}

/// A section has begun that reads, and has not found a device: a candidate, an epoll set, a descriptor that was closed
/// in between.
#[cold]
#[inline(never)]
unsafe fn ioctl_once_more(
    fd: c_int,
    request: c_ulong,
    arg: *mut c_void,
    reading: Reading,
) -> c_int {
    reading.stop();
    // SAFETY: the program's own arguments.
    unsafe { ioctl_counted(fd, request, arg) }
}

/// A call that may last, or one that every file has.
#[inline(never)]
unsafe fn ioctl_at_length(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        if matches!(request, FIOCLEX | FIONCLEX | FIONBIO | FIOASYNC) {
            return ioctl_elsewhere(fd, request, arg);
        }
        section::enter();
        ioctl_counted(fd, request, arg)
    }
}

/// A section has begun, and ends here.
unsafe fn ioctl_counted(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int {
    let r = lookup::device(fd).map(|device| device.ioctl(fd, request, arg));
    section::leave();
    match r {
        Some(r) => answer(r),
        // SAFETY: the program's own arguments.
        None => unsafe { next::ioctl(fd, request, arg) },
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
        && let Some(d) = lookup::device(fd)
    {
        return match map_device(&d, fd, addr, len, prot, flags, offset) {
            Ok(at) => {
                mapped::add(at as usize, len, d.slot());
                at
            }
            Err(e) => {
                fail(e.0);
                libc::MAP_FAILED
            }
        };
    }
    if flags & libc::MAP_FIXED != 0 && mapped::touches(addr as usize, len) {
        // SAFETY: the program's own arguments.
        return unsafe { mapped::map_over(addr, len, prot, flags, fd, offset) };
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
    if !(offset as usize).is_multiple_of(page_size()) || len == 0 {
        return Err(Errno(libc::EINVAL));
    }
    if len > isize::MAX as usize - page_size() {
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
    guarded(Err(Errno(libc::EIO)), || {
        d.file.mmap(fd, addr, len, prot, flags, offset)
    })
}

fn access_mode(d: &DeviceRef) -> c_int {
    guarded(0, || d.file.open_flags()) & libc::O_ACCMODE
}

/// Reading into `to`, from `at` or where the description stands.
///
/// # Safety
/// The buffers are the program's.
#[cold]
unsafe fn get(d: &DeviceRef, to: Result<Vec<iovec>>, at: Option<off_t>) -> ssize_t {
    // SAFETY: by contract.
    unsafe { parameter::read(d, to, at) }.unwrap_or_else(|| no_data(d, libc::O_WRONLY))
}

/// Writing `from`.
///
/// # Safety
/// The buffers are the program's.
#[cold]
unsafe fn put(d: &DeviceRef, from: Result<Vec<iovec>>) -> ssize_t {
    // SAFETY: by contract.
    unsafe { parameter::write(d, from) }.unwrap_or_else(|| no_data(d, libc::O_RDONLY))
}

/// Reading or writing (`other` is the access mode that forbids it): the device has neither.
fn no_data(d: &DeviceRef, other: c_int) -> ssize_t {
    fail(if access_mode(d) == other {
        libc::EBADF
    } else {
        libc::EINVAL
    }) as ssize_t
}

/// As in sysfs, a parameter's file has no end, no data and no holes to look for.
pub unsafe fn lseek(fd: c_int, offset: off_t, whence: c_int) -> off_t {
    match table::word(fd) {
        0 => {}
        word if table::ours(word) => {
            if let Some(d) = lookup::device(fd) {
                return parameter::seek(&d, offset, whence);
            }
        }
        _ if !matches!(whence, libc::SEEK_SET | libc::SEEK_CUR)
            && matches!(of_descriptor(fd), Some(Name::Parameter(_))) =>
        {
            return fail(libc::EINVAL).into();
        }
        _ => {}
    }
    // SAFETY: the program's own arguments.
    unsafe { next::lseek(fd, offset, whence) }
}

/// Entry points that the device itself does not have: `name(args) -> type: what we answer`.
macro_rules! refused {
    ($( fn $name:ident($fd:ident: c_int $(, $arg:ident: $ty:ty)*) -> $ret:ty = $next:ident,
        |$d:ident| $answer:expr; )*) => {
        $(
            #[inline(always)]
            pub unsafe fn $name($fd: c_int $(, $arg: $ty)*) -> $ret {
                /// Apart, so that what is ordinary is a look and a jump.
                #[cold]
                #[inline(never)]
                unsafe fn ours($fd: c_int $(, $arg: $ty)*) -> $ret {
                    // SAFETY: the program's own arguments, as the C function's contract asks for.
                    unsafe {
                        match lookup::device($fd) {
                            Some($d) => $answer as $ret,
                            None => next::$next($fd $(, $arg)*),
                        }
                    }
                }
                // SAFETY: as above.
                unsafe {
                    if table::ours(table::word($fd)) {
                        return ours($fd $(, $arg)*);
                    }
                    next::$next($fd $(, $arg)*)
                }
            }
        )*
    };
}

refused! {
    fn read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t = read, |d| get(&d, Ok(vec![piece(buf, len)]), None);
    fn write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t = write,
        |d| put(&d, Ok(vec![piece(buf.cast_mut(), len)]));
    fn pread(fd: c_int, buf: *mut c_void, len: size_t, offset: off_t) -> ssize_t = pread,
        |d| get(&d, Ok(vec![piece(buf, len)]), Some(offset));
    fn pwrite(fd: c_int, buf: *const c_void, len: size_t, offset: off_t) -> ssize_t = pwrite,
        |d| put(&d, Ok(vec![piece(buf.cast_mut(), len)]));
    fn readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t = readv, |d| get(&d, pieces(iov, n), None);
    fn writev(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t = writev, |d| put(&d, pieces(iov, n));
    fn preadv(fd: c_int, iov: *const iovec, n: c_int, offset: off_t) -> ssize_t = preadv,
        |d| get(&d, pieces(iov, n), Some(offset));
    fn pwritev(fd: c_int, iov: *const iovec, n: c_int, offset: off_t) -> ssize_t = pwritev, |d| put(&d, pieces(iov, n));
    fn read_chk(fd: c_int, buf: *mut c_void, len: size_t, room: size_t) -> ssize_t = __read_chk,
        |d| get(&d, Ok(vec![piece(buf, len.min(room))]), None);
    fn pread_chk(fd: c_int, buf: *mut c_void, len: size_t, offset: off_t, room: size_t) -> ssize_t = __pread_chk,
        |d| get(&d, Ok(vec![piece(buf, len.min(room))]), Some(offset));
    fn fsync(fd: c_int) -> c_int = fsync, |d| parameter::nothing_to_do(&d);
    fn fdatasync(fd: c_int) -> c_int = fdatasync, |d| parameter::nothing_to_do(&d);
    fn ftruncate(fd: c_int, len: off_t) -> c_int = ftruncate, |d| parameter::nothing_to_do(&d);
}
