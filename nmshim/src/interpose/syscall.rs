//! `syscall(2)` through libc: the numbers of calls that are interposed land in the same functions.
//!
//! Those whose arguments are the C function's come from the list (`ground::symbols`). What stands here are the others:
//! calls that the kernel has in another shape, numbers that only x86-64 has, and what is refused or looked at.

use super::{
    arrivals, epoll, fds, file, handlers, locked, mapped, open, poll, rings, select, stat,
};
use crate::ground::symbols::symbols;
use crate::ground::types::{StatBuf, StatxBuf};
use crate::ground::{memory, next, raw, section};
use core::ptr::null;
use libc::{
    c_char, c_int, c_long, c_uint, c_ulong, c_void, epoll_event, iovec, mmsghdr, mode_t, msghdr,
    off_t, sigset_t, size_t, timespec,
};

/// pselect6's last argument: the mask and its size.
#[derive(Clone, Copy)]
#[repr(C)]
struct MaskArgument {
    mask: *const sigset_t,
    size: usize,
}

/// # Safety
/// As the system call `nr` with these arguments.
pub unsafe fn syscall(
    nr: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    let args = [a, b, c, d, e, f];
    section::this().served.serve(
        nr as u32,
        // SAFETY: as for this function.
        || unsafe { numbered(nr, args) },
        // SAFETY: as for this function.
        || unsafe { plain(nr, args) },
    )
}

/// # Safety
/// As `syscall`.
unsafe fn plain(nr: c_long, [a, b, c, d, e, f]: [usize; 6]) -> c_long {
    // SAFETY: by contract.
    unsafe { next::syscall(nr, a, b, c, d, e, f) }
}

macro_rules! numbered {
    (
        numbered { $( fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty = $ours:path, $number:ident; )* }
        $($others:tt)*
    ) => {
        /// # Safety
        /// As `syscall`.
        unsafe fn numbered(nr: c_long, args: [usize; 6]) -> c_long {
            match nr {
                $(
                    libc::$number => {
                        let [$($arg,)* ..] = args;
                        // SAFETY: the program's own arguments, of the types that the call of this number takes.
                        unsafe { $ours($($arg as $ty),*) as c_long }
                    }
                )*
                // SAFETY: by contract.
                _ => unsafe { other(nr, args) },
            }
        }
    };
}
symbols!(numbered);

/// Calls that the kernel has in another shape than C, and those that are refused or looked at.
///
/// # Safety
/// As `syscall`.
unsafe fn other(nr: c_long, args: [usize; 6]) -> c_long {
    let [a, b, c, d, e, f] = args;
    // SAFETY: the program's own arguments, of the types that the call of this number takes.
    unsafe {
        match nr {
            libc::SYS_faccessat => stat::faccessat(a as c_int, b as _, c as c_int, 0) as c_long,
            libc::SYS_ppoll => poll::ppoll(a as _, b as _, c as _, d as _) as c_long,
            libc::SYS_pselect6 if handlers::taken_over() => {
                let mask = match memory::read_if(f as *const MaskArgument) {
                    Ok(mask) => mask.filter(|m| m.size == raw::SIGSET_BYTES),
                    Err(e) => return raw::fail(e.0).into(),
                };
                let mask = mask.map_or(null(), |m| m.mask);
                select::pselect(a as c_int, b as _, c as _, d as _, e as _, mask) as c_long
            }
            libc::SYS_epoll_pwait => {
                epoll::pwait(a as c_int, b as _, c as c_int, d as c_int, e as _) as c_long
            }
            libc::SYS_epoll_pwait2 => {
                epoll::pwait2(a as c_int, b as _, c as c_int, d as _, e as _) as c_long
            }
            libc::SYS_io_uring_setup if !rings::allowed() => raw::fail(libc::ENOSYS).into(),
            libc::SYS_pidfd_getfd => {
                let fd = plain(nr, args);
                if fd >= 0 {
                    arrivals::arrived(fd as c_int);
                }
                fd
            }
            _ => older(nr, args),
        }
    }
}

/// Numbers that only x86-64 has, and all the rest.
///
/// # Safety
/// As `syscall`.
#[cfg(target_arch = "x86_64")]
unsafe fn older(nr: c_long, args: [usize; 6]) -> c_long {
    let [a, b, c, d, e, _] = args;
    // SAFETY: as in `syscall`.
    unsafe {
        match nr {
            libc::SYS_open => open::open(a as _, b as c_int, c as _) as c_long,
            libc::SYS_creat => open::creat(a as _, b as _) as c_long,
            libc::SYS_stat => stat::stat(a as _, b as _) as c_long,
            libc::SYS_lstat => stat::lstat(a as _, b as _) as c_long,
            libc::SYS_access => stat::access(a as _, b as c_int) as c_long,
            libc::SYS_dup2 => fds::dup2(a as c_int, b as c_int) as c_long,
            libc::SYS_poll => poll::poll(a as _, b as _, c as c_int) as c_long,
            libc::SYS_select => {
                select::select(a as c_int, b as _, c as _, d as _, e as _) as c_long
            }
            libc::SYS_epoll_create => epoll::create(a as c_int) as c_long,
            libc::SYS_epoll_wait => {
                epoll::wait(a as c_int, b as _, c as c_int, d as c_int) as c_long
            }
            _ => plain(nr, args),
        }
    }
}

/// # Safety
/// As `syscall`.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn older(nr: c_long, args: [usize; 6]) -> c_long {
    // SAFETY: as in `syscall`.
    unsafe { plain(nr, args) }
}
