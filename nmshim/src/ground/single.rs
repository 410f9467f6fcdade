//! Waiting and dup2 as one system call each, for as long as the C library's functions are not known.

use super::raw::{self, SIGSET_BYTES, libc_call};
use super::timeout::{Timeout, to_timespec};
use core::ptr::null;
use libc::{c_int, fd_set, nfds_t, pollfd, sigset_t, timespec, timeval};

/// poll as one system call.
pub unsafe fn poll(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int {
    let time = u64::try_from(timeout)
        .ok()
        .map(|ms| to_timespec(ms * 1_000_000));
    // SAFETY: the program's own arguments.
    unsafe {
        ppoll(
            fds,
            n,
            time.as_ref().map_or(null(), |t| t as *const timespec),
            null(),
        )
    }
}

/// ppoll as one system call, which gets a copy of the timeout because the kernel writes to it.
pub unsafe fn ppoll(
    fds: *mut pollfd,
    n: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        let mut copy = timeout.as_ref().copied();
        let time = copy
            .as_mut()
            .map_or(null(), |t| t as *mut timespec as *const timespec);
        libc_call!(libc::SYS_ppoll, fds, n, time, mask, SIGSET_BYTES) as c_int
    }
}

/// select as one system call.
pub unsafe fn select(
    n: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    x: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    // SAFETY: the program's own arguments; the kernel takes a timespec and writes the rest back.
    unsafe {
        let mut time = match Timeout::timeval(timeout.as_ref().copied()) {
            Ok(Timeout::After(ns)) => Some(to_timespec(ns)),
            Ok(_) => None,
            Err(e) => return raw::fail(e.0),
        };
        let p = time
            .as_mut()
            .map_or(null(), |t| t as *mut timespec as *const timespec);
        let answer = libc_call!(libc::SYS_pselect6, n, r, w, x, p, 0) as c_int;
        if let (Some(t), Some(left)) = (timeout.as_mut(), time) {
            (t.tv_sec, t.tv_usec) = (left.tv_sec, left.tv_nsec / 1000);
        }
        answer
    }
}

/// pselect as one system call.
pub unsafe fn pselect(
    n: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    x: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the program's own arguments; the kernel wants the mask's address and size behind one pointer.
    unsafe {
        let mut time = timeout.as_ref().copied();
        let p = time
            .as_mut()
            .map_or(null(), |t| t as *mut timespec as *const timespec);
        let mask = [mask as usize, SIGSET_BYTES];
        libc_call!(libc::SYS_pselect6, n, r, w, x, p, mask.as_ptr()) as c_int
    }
}

/// dup2 where the architecture has only dup3: equal numbers give the number if it is open.
pub unsafe fn dup2(fd: c_int, to: c_int) -> c_int {
    // SAFETY: plain numbers.
    unsafe {
        if fd == to {
            return if libc_call!(libc::SYS_fcntl, fd, libc::F_GETFD) < 0 {
                -1
            } else {
                fd
            };
        }
        libc_call!(libc::SYS_dup3, fd, to, 0) as c_int
    }
}
