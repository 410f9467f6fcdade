//! Descriptors that arrive from elsewhere: over exec, in a message, from another process.

use super::{entries, lookup};
use crate::ground::next;
use crate::ground::raw::{self, libc_call};
use libc::{c_int, c_uint, mmsghdr, msghdr, ssize_t, timespec};
use std::os::fd::RawFd;

/// The kernel has given `fd` to what came from elsewhere.
pub fn arrived(fd: RawFd) {
    entries::forget_stale(fd);
    entries::consider(fd);
}

/// Descriptors that came over exec: only the sockets among them can be ours.
pub fn find_inherited() {
    if !for_each_open(entries::consider) {
        (0..256).for_each(entries::consider);
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
fn decimal(text: &[u8]) -> Option<RawFd> {
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
                    arrived(fd);
                }
            }
            c = libc::CMSG_NXTHDR(msg, c);
        }
    }
}

pub unsafe fn recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t {
    if lookup::device(fd).is_some() {
        return raw::fail(libc::ENOTSOCK) as ssize_t;
    }
    // SAFETY: the program's own arguments; after success the kernel has filled in `msg`.
    unsafe {
        let n = next::recvmsg(fd, msg, flags);
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
    if lookup::device(fd).is_some() {
        return raw::fail(libc::ENOTSOCK);
    }
    // SAFETY: as recvmsg; `n` messages were filled in.
    unsafe {
        let n = next::recvmmsg(fd, messages, count, flags, timeout);
        for i in 0..n.max(0) as usize {
            let msg = &raw const (*messages.add(i)).msg_hdr;
            if (*msg).msg_controllen != 0 {
                look_at(msg);
            }
        }
        n
    }
}
