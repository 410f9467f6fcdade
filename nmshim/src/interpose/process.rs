//! Processes: start-up, fork, vfork, and descriptors that arrive from elsewhere.

use super::raw::{self, libc_call};
use super::slot::{Device, Object, Ref};
use super::{mapped, symbols, table};
use crate::device::SOCKET_NAME;
use crate::driver;
use core::sync::atomic::{AtomicI32, Ordering::*};
use libc::{c_int, c_uint, c_void, mmsghdr, msghdr, ssize_t, timespec};
use std::os::fd::RawFd;

static PID: AtomicI32 = AtomicI32::new(0);

/// Runs when the library is loaded. Before that every entry point works too, with raw system calls
/// instead of the next library's functions.
extern "C" fn start() {
    // SAFETY: the dynamic linker runs this once, outside any of our calls.
    unsafe {
        symbols::resolve();
        PID.store(raw::getpid(), Release);
        libc::pthread_atfork(
            Some(before_fork),
            Some(after_fork_in_parent),
            Some(after_fork_in_child),
        );
    }
    nm_abi::unwinder::prepare();
    super::slot::guarded((), || driver().loaded());
    find_inherited();
}

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn before_fork() {
    super::slot::guarded((), || driver().before_fork());
    super::heap::hold();
    mapped::before_fork();
}

extern "C" fn after_fork_in_parent() {
    mapped::after_fork_in_parent();
    super::heap::release();
    super::slot::guarded((), || driver().after_fork_in_parent());
}

/// In the child of a fork, before any user code.
extern "C" fn after_fork_in_child() {
    super::heap::release();
    PID.store(raw::getpid(), Release);
    table::for_each(0, c_int::MAX, |fd, w| {
        if w > table::EPOLL_WAITED
            && let Some(r) = table::slot(fd)
        {
            match r.object() {
                Object::Device(d) => d.gate.reset(),
                // SAFETY: the child of a fork has one thread.
                Object::Epoll(e) => unsafe { e.reset_lock() },
                Object::Named(_) => {}
            }
        }
    });
    mapped::after_fork_in_child(|d| d.gate.reset());
    super::slot::guarded((), || driver().after_fork_in_child());
}

/// Are we a vfork child, on the parent's memory with a descriptor table of our own? One system call:
/// asked only when the table is about to change.
pub fn borrowed_memory() -> bool {
    let pid = PID.load(Acquire);
    pid != 0 && pid != raw::getpid()
}

/// Asks the driver about a candidate and enters the answer. False: not in a vfork child.
pub fn adopt(fd: RawFd) -> bool {
    if borrowed_memory() {
        return false;
    }
    let file = super::slot::guarded(None, || driver().adopt(fd));
    table::settle(
        fd,
        file.map(|f| {
            table::same_file(&f).unwrap_or_else(|| Ref::new(Object::Device(Device::new(f))))
        }),
    );
    true
}

/// Is this one a socket of the device's daemon, unknown so far? Then the driver is asked at its first use.
pub fn consider(fd: RawFd) {
    if raw::peer_ends_with(fd, SOCKET_NAME)
        && !super::slot::guarded(false, || driver().is_private(fd))
        && !borrowed_memory()
    {
        super::handlers::take_over();
        table::mark_candidate(fd);
    }
}

/// Descriptors that came over exec: only the sockets among them can be ours.
fn find_inherited() {
    if !for_each_open(consider) {
        (0..256).for_each(consider);
    }
}

/// Calls `f` for each open descriptor. False: /proc is not there.
fn for_each_open(f: impl Fn(RawFd)) -> bool {
    let mut entries = [0u64; 256];
    // SAFETY: the path is a C string; the buffer outlives the calls and its length is given in bytes.
    unsafe {
        let dir = libc_call!(
            libc::SYS_openat,
            libc::AT_FDCWD,
            c"/proc/self/fd".as_ptr(),
            libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC
        ) as RawFd;
        if dir < 0 {
            return false;
        }
        loop {
            let n = libc_call!(
                libc::SYS_getdents64,
                dir,
                entries.as_mut_ptr(),
                size_of_val(&entries)
            );
            if n <= 0 {
                break;
            }
            let bytes = core::slice::from_raw_parts(entries.as_ptr().cast::<u8>(), n as usize);
            names(bytes)
                .filter_map(decimal)
                .filter(|&fd| fd != dir)
                .for_each(&f);
        }
        raw::close(dir);
    }
    true
}

/// The names in a buffer of `linux_dirent64`: inode and offset (8 bytes each), record length (2), type (1), name.
fn names(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes([*bytes.get(16)?, *bytes.get(17)?]));
        let name = bytes.get(19..len)?;
        bytes = bytes.get(len..)?;
        name.split(|&b| b == 0).next()
    })
}

/// A plain decimal number.
pub fn decimal(text: &[u8]) -> Option<RawFd> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

/// Looks at the descriptors a message brought.
///
/// # Safety
/// `msg` was filled in by a successful recvmsg.
unsafe fn look_at(msg: *const msghdr) {
    // SAFETY: the CMSG functions walk within msg_controllen, which the kernel has just set; SCM_RIGHTS
    // data is an array of ints that may be unaligned.
    unsafe {
        let mut c = libc::CMSG_FIRSTHDR(msg);
        while !c.is_null() {
            if (*c).cmsg_level == libc::SOL_SOCKET && (*c).cmsg_type == libc::SCM_RIGHTS {
                let bytes = ((*c).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                let data = libc::CMSG_DATA(c).cast::<c_int>();
                for i in 0..bytes / size_of::<c_int>() {
                    let fd = data.add(i).read_unaligned();
                    table::forget_stale(fd);
                    consider(fd);
                }
            }
            c = libc::CMSG_NXTHDR(msg, c);
        }
    }
}

pub unsafe fn recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t {
    if table::device(fd).is_some() {
        return raw::fail(libc::ENOTSOCK) as ssize_t;
    }
    // SAFETY: the program's own arguments; after success the kernel has filled in `msg`.
    unsafe {
        let n = symbols::next::recvmsg(fd, msg, flags);
        if n >= 0 && (*msg).msg_controllen != 0 {
            look_at(msg);
        }
        n
    }
}

pub unsafe fn recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    if table::device(fd).is_some() {
        return raw::fail(libc::ENOTSOCK);
    }
    // SAFETY: as recvmsg; `n` messages were filled in.
    unsafe {
        let n = symbols::next::recvmmsg(fd, messages, count, flags, timeout);
        for i in 0..n.max(0) as usize {
            let msg = &raw const (*messages.add(i)).msg_hdr;
            if (*msg).msg_controllen != 0 {
                look_at(msg);
            }
        }
        n
    }
}

/// The address of a function of the next library, null if it has none.
pub fn next_symbol(name: &core::ffi::CStr) -> *mut c_void {
    // SAFETY: a C string; RTLD_NEXT looks behind the object this code is in.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
}
