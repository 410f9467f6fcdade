//! Closing and duplicating descriptors, and fcntl.

use super::slot::Ref;
use super::{entries, handlers, lookup, table};
use crate::driver;
use crate::ground::guarded::guarded;
use crate::ground::vfork::borrowed_memory;
use crate::ground::{next, raw};
use libc::{c_int, c_long, c_uint};

/// Is `fd` one of the driver's own?
fn private(fd: c_int) -> bool {
    // Until the device is used there are none.
    if !handlers::taken_over() {
        return false;
    }
    let d = driver();
    d.private_range().contains(&fd) && d.is_private(fd)
}

/// `fd` is about to be closed or replaced: takes it out of the table while it is still open. Gives
/// what was behind `fd`, if that was its last descriptor here.
fn leave_table(fd: c_int) -> Option<Ref> {
    if table::word(fd) != 0 && !borrowed_memory() {
        return entries::remove(fd, true);
    }
    None
}

#[inline(always)]
pub unsafe fn close(fd: c_int) -> c_int {
    // SAFETY: the program's own argument.
    unsafe {
        if handlers::taken_over() || table::word(fd) != 0 {
            return close_known(fd);
        }
        next::close(fd)
    }
}

#[inline(never)]
unsafe fn close_known(fd: c_int) -> c_int {
    if private(fd) {
        return raw::fail(libc::EBADF);
    }
    let last = leave_table(fd);
    // SAFETY: the program's own argument.
    let result = unsafe { next::close(fd) };
    is_closed(last);
    result
}

/// The kernel has closed a number that [`leave_table`] had something behind.
fn is_closed(last: Option<Ref>) {
    if let Some(device) = last.as_ref().and_then(Ref::device) {
        guarded((), || device.file.closed());
    }
}

pub unsafe fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    const UNSHARE: c_int = libc::CLOSE_RANGE_UNSHARE as c_int;
    if first > last || flags & !UNSHARE != 0 {
        // SAFETY: the program's own arguments; nothing is closed (our own descriptors are CLOEXEC anyway).
        return unsafe { next::close_range(first, last, flags) };
    }
    // Numbers that are shared with another process stay open there.
    forget_range(first, last, flags & UNSHARE == 0);
    // SAFETY: plain numbers within the program's range.
    around_private(first, last, |a, b| unsafe {
        next::close_range(a, b, flags)
    })
}

pub unsafe fn closefrom(first: c_int) {
    let first = first.max(0) as c_uint;
    forget_range(first, c_uint::MAX, true);
    around_private(first, c_uint::MAX, |a, b| {
        // SAFETY: plain numbers. A kernel without close_range gets one close after the other.
        unsafe {
            if next::close_range(a, b, 0) < 0 {
                (a..=b.min(1 << 20)).for_each(|fd| raw::close(fd as c_int));
            }
        }
        0
    });
}

/// Empties the table for a range about to be closed. The last descriptors of a device are closed at once if `closes`,
/// because a close is done when it returns.
fn forget_range(first: c_uint, last: c_uint, closes: bool) {
    let (Ok(first), last) = (
        c_int::try_from(first),
        last.min(c_int::MAX as c_uint) as c_int,
    ) else {
        return;
    };
    let mut allowed = None;
    table::for_each(first, last, |fd, _| {
        if *allowed.get_or_insert_with(|| !borrowed_memory()) {
            let last = entries::remove(fd, true);
            if closes && last.as_ref().is_some_and(|r| r.device().is_some()) {
                raw::close(fd);
                is_closed(last);
            }
        }
    });
}

/// Calls `close` for each stretch between the driver's own descriptors; stops at the first failure.
fn around_private(
    first: c_uint,
    last: c_uint,
    mut close: impl FnMut(c_uint, c_uint) -> c_int,
) -> c_int {
    let d = driver();
    let mut from = first;
    for fd in d.private_range() {
        let fd = fd as c_uint;
        if fd < first || fd > last || !d.is_private(fd as c_int) {
            continue;
        }
        if from < fd {
            let r = close(from, fd - 1);
            if r != 0 {
                return r;
            }
        }
        from = fd + 1;
    }
    if from <= last { close(from, last) } else { 0 }
}

/// A new number for an old description.
fn duplicated(old: c_int, new: c_int) -> c_int {
    if new >= 0 && (table::word(old) | table::word(new)) != 0 && !borrowed_memory() {
        entries::duplicate(old, new);
    }
    new
}

pub unsafe fn dup(fd: c_int) -> c_int {
    // SAFETY: the program's own argument.
    duplicated(fd, unsafe { next::dup(fd) })
}

/// What dup2 and dup3 do around `call`, with which the kernel replaces `to`.
fn replace(fd: c_int, to: c_int, call: impl FnOnce() -> c_int) -> c_int {
    if private(to) {
        return raw::fail(libc::EBADF);
    }
    // The table must not change if the call is going to fail.
    let is_replaced = table::word(to) != 0 && fd != to && raw::is_open(fd);
    let last = if is_replaced { leave_table(to) } else { None };
    let new = duplicated(fd, call());
    is_closed(last);
    new
}

pub unsafe fn dup2(fd: c_int, to: c_int) -> c_int {
    // SAFETY: the program's own arguments.
    replace(fd, to, || unsafe { next::dup2(fd, to) })
}

pub unsafe fn dup3(fd: c_int, to: c_int, flags: c_int) -> c_int {
    // SAFETY: the program's own arguments.
    replace(fd, to, || unsafe { next::dup3(fd, to, flags) })
}

pub unsafe fn fcntl(fd: c_int, cmd: c_int, arg: c_long) -> c_int {
    // SAFETY: the program's own arguments.
    let r = unsafe { next::fcntl(fd, cmd, arg) };
    match cmd {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => duplicated(fd, r),
        libc::F_GETFL if r >= 0 => status_flags(fd, r),
        _ => r,
    }
}

/// F_GETFL: the socket says O_RDWR; the program sees the access mode it gave, and O_LARGEFILE, which
/// the kernel sets on every open of a 64-bit process.
fn status_flags(fd: c_int, flags: c_int) -> c_int {
    const LARGEFILE: c_int = if cfg!(target_arch = "aarch64") {
        0o400_000
    } else {
        0o100_000
    };
    match lookup::device(fd) {
        Some(d) => {
            flags & !libc::O_ACCMODE
                | guarded(0, || d.file.open_flags()) & libc::O_ACCMODE
                | LARGEFILE
        }
        None => flags,
    }
}
