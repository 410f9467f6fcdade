//! The kernel, reached past libc and past whatever the program exports.

use crate::device::{Errno, Result};
use libc::{c_int, c_void, pollfd, timespec};
use std::os::fd::RawFd;
pub use uvale_system::raw::{call, thread_pointer};

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("nmshim serves 64-bit programs on Linux");

/// Size in bytes of the kernel's signal set (glibc's `sigset_t` is larger).
pub const SIGSET_BYTES: usize = 8;

/// A kernel answer as a `Result`.
#[inline]
pub fn check(r: isize) -> Result<isize> {
    if (-4095..0).contains(&r) {
        Err(Errno(-r as i32))
    } else {
        Ok(r)
    }
}

/// The calling thread's errno.
#[inline]
pub fn errno() -> i32 {
    // SAFETY: libc gives a valid pointer to the calling thread's own errno.
    unsafe { *libc::__errno_location() }
}

/// Sets the calling thread's errno.
#[inline]
pub fn set_errno(e: i32) {
    // SAFETY: as in `errno`.
    unsafe { *libc::__errno_location() = e }
}

/// A kernel answer as libc gives it: the value, or -1 and errno.
#[inline]
pub fn libc_style(r: isize) -> isize {
    match check(r) {
        Ok(v) => v,
        Err(e) => {
            set_errno(e.0);
            -1
        }
    }
}

/// An answer of ours as libc gives it.
#[inline]
pub fn answer(r: Result<c_int>) -> c_int {
    r.unwrap_or_else(|e| fail(e.0))
}

/// -1 and errno.
#[cold]
#[inline(never)]
pub fn fail(e: i32) -> c_int {
    set_errno(e);
    -1
}

/// A system call in libc's style, with its arguments spread.
macro_rules! libc_call {
    ($nr:expr $(, $a:expr)* $(,)?) => {{
        let mut args = [0usize; 6];
        let given: &[usize] = &[$($a as usize),*];
        args[..given.len()].copy_from_slice(given);
        $crate::ground::raw::libc_style($crate::ground::raw::call($nr, args))
    }};
}
pub(crate) use libc_call;

/// The id of the calling process, never cached.
pub fn getpid() -> i32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { call(libc::SYS_getpid, [0; 6]) as i32 }
}

/// ppoll with a zero timeout on `fds`; `mask` is null or points to a kernel signal set.
///
/// # Safety
/// `mask` is null or valid for 8 bytes.
pub unsafe fn poll_now(fds: &mut [pollfd], mask: *const libc::sigset_t) -> Result<usize> {
    let mut zero = timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let args = [
        fds.as_mut_ptr() as usize,
        fds.len(),
        &raw mut zero as usize,
        mask as usize,
        SIGSET_BYTES,
        0,
    ];
    // SAFETY: `fds` is a live exclusive slice, `zero` outlives the call, the mask is the caller's promise.
    check(unsafe { call(libc::SYS_ppoll, args) }).map(|n| n as usize)
}

/// Is `fd` an open descriptor?
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: plain numbers.
    unsafe {
        call(
            libc::SYS_fcntl,
            [fd as usize, libc::F_GETFD as usize, 0, 0, 0, 0],
        ) >= 0
    }
}

/// Takes the error of socket `fd`, which makes it poll as broken until somebody has.
pub fn take_error(fd: RawFd) {
    let (mut error, mut len): (c_int, libc::socklen_t) = (0, size_of::<c_int>() as u32);
    let args = [
        fd as usize,
        libc::SOL_SOCKET as usize,
        libc::SO_ERROR as usize,
        &raw mut error as usize,
        &raw mut len as usize,
        0,
    ];
    // SAFETY: both outlive the call, and `len` is the size of `error`.
    unsafe { call(libc::SYS_getsockopt, args) };
}

/// Is `fd` readable (or broken) right now?
pub fn readable(fd: RawFd) -> bool {
    let mut p = [pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }];
    // SAFETY: no mask.
    unsafe { poll_now(&mut p, core::ptr::null()) }.is_ok_and(|n| n != 0)
}

/// epoll_ctl.
pub fn epoll_ctl(epfd: RawFd, op: c_int, fd: RawFd, events: u32, data: u64) -> Result<()> {
    let mut event = libc::epoll_event { events, u64: data };
    // SAFETY: `event` outlives the call, which only reads it.
    let r = unsafe {
        call(
            libc::SYS_epoll_ctl,
            [
                epfd as usize,
                op as usize,
                fd as usize,
                &raw mut event as usize,
                0,
                0,
            ],
        )
    };
    check(r).map(|_| ())
}

/// Gives up the processor for a moment: first by yielding, later by sleeping 50 microseconds.
pub fn relax(round: u32) {
    let nap = timespec {
        tv_sec: 0,
        tv_nsec: 50_000,
    };
    // SAFETY: `nap` outlives the call; sched_yield takes nothing.
    unsafe {
        if round < 64 {
            call(libc::SYS_sched_yield, [0; 6]);
        } else {
            call(
                libc::SYS_nanosleep,
                [&raw const nap as usize, 0, 0, 0, 0, 0],
            );
        }
    }
}

/// Closes a descriptor of ours.
pub fn close(fd: RawFd) {
    // SAFETY: plain number; the callers own the descriptor they pass.
    unsafe { call(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) };
}

/// Nanoseconds on the monotonic clock (vDSO, no system call).
pub fn now() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Is the other end of this socket a path, or an abstract name, that ends in `suffix`?
pub fn peer_ends_with(fd: RawFd, suffix: &[u8]) -> bool {
    let mut name = [0u8; 128];
    let mut len: u32 = name.len() as u32;
    // SAFETY: both buffers outlive the call and `len` says how long `name` is.
    let r = unsafe {
        call(
            libc::SYS_getpeername,
            [
                fd as usize,
                name.as_mut_ptr() as usize,
                &raw mut len as usize,
                0,
                0,
                0,
            ],
        )
    };
    let len = (len as usize).min(name.len());
    if r < 0 || len < 3 || u16::from_ne_bytes([name[0], name[1]]) != libc::AF_UNIX as u16 {
        return false;
    }
    // An abstract name begins with a zero.
    let path = match &name[2..len] {
        [0, name @ ..] => name,
        path => path,
    };
    let end = path.iter().position(|&b| b == 0).unwrap_or(path.len());
    path[..end].ends_with(suffix)
}

/// Size of a page.
pub fn page_size() -> usize {
    // SAFETY: reads the auxiliary vector.
    match unsafe { libc::getauxval(libc::AT_PAGESZ) } {
        0 => 4096,
        n => n as usize,
    }
}

/// mmap past the program and past ourselves, for a driver that maps a descriptor of its own in the
/// place of the device.
pub fn map(
    addr: *mut c_void,
    len: usize,
    prot: c_int,
    flags: c_int,
    fd: RawFd,
    offset: i64,
) -> Result<*mut c_void> {
    let args = [
        addr as usize,
        len,
        prot as usize,
        flags as usize,
        fd as usize,
        offset as usize,
    ];
    // SAFETY: what the program asked for, with another descriptor: MAP_FIXED may replace the program's
    // own memory at its own word.
    check(unsafe { call(libc::SYS_mmap, args) }).map(|p| p as *mut c_void)
}

/// Takes back a [`map`] that nobody has been told of.
pub fn unmap(addr: *mut c_void, len: usize) {
    // SAFETY: nobody has an address in it.
    let _ = unsafe { call(libc::SYS_munmap, [addr as usize, len, 0, 0, 0, 0]) };
}
