//! System calls by their numbers, through libc's `syscall(2)` or trapped (`trap`): those of calls that are interposed
//! land in the same functions.
//!
//! Those whose arguments are the C function's come from the list (`ground::symbols`). What stands here are the others:
//! calls that the kernel has in another shape, numbers that only x86-64 has, and what is refused or looked at.

use super::interfaces::requests;
use super::{
    arrivals, epoll, fds, file, handlers, locked, mapped, masks, open, poll, rings, select, stat,
    table, trap,
};
use crate::ground::symbols::symbols;
use crate::ground::types::{StatBuf, StatxBuf};
use crate::ground::{memory, next, raw, section, trapped};
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
        /// The call `nr`, by the function that interposes the C library's: a value, or -1 and errno.
        ///
        /// # Safety
        /// As `syscall`.
        pub unsafe fn numbered(nr: c_long, args: [usize; 6]) -> c_long {
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

        /// May there be more to do for this number than to ask the kernel?
        pub fn is_known(nr: c_long) -> bool {
            matches!(nr, $(libc::$number)|*) || is_other(nr)
        }
    };
}
symbols!(numbered);

/// A function that serves numbers, with the numbers that come to it, and one that knows these.
macro_rules! served {
    (
        $(#[$meta:meta])*
        fn $name:ident($nr:ident, $args:ident), $is:ident, else $next:ident, $is_next:ident;
        $( $number:ident $(if $when:expr)? => $answer:expr, )*
    ) => {
        $(#[$meta])*
        ///
        /// # Safety
        /// As `syscall`.
        unsafe fn $name($nr: c_long, $args: [usize; 6]) -> c_long {
            // SAFETY: the program's own arguments, of the types that the call of this number takes.
            unsafe {
                match $nr {
                    $( libc::$number $(if $when)? => ($answer) as c_long, )*
                    _ => $next($nr, $args),
                }
            }
        }

        fn $is(nr: c_long) -> bool {
            matches!(nr, $(libc::$number)|*) || $is_next(nr)
        }
    };
}

served! {
    /// Calls that the kernel has in another shape than C, and those that are refused or looked at.
    fn other(nr, args), is_other, else older, is_older;
    SYS_faccessat => stat::faccessat(args[0] as c_int, args[1] as _, args[2] as c_int, 0),
    SYS_openat2 => open::openat2(args[0] as c_int, args[1] as _, args[2] as _, args[3]),
    SYS_ppoll => poll::ppoll(args[0] as _, args[1] as _, args[2] as _, args[3] as _),
    SYS_pselect6 if handlers::taken_over() => pselect6(args),
    SYS_epoll_pwait => epoll::pwait(args[0] as c_int, args[1] as _, args[2] as c_int, args[3] as c_int, args[4] as _),
    SYS_epoll_pwait2 => epoll::pwait2(args[0] as c_int, args[1] as _, args[2] as c_int, args[3] as _, args[4] as _),
    SYS_io_uring_setup if !rings::allowed() => raw::fail(libc::ENOSYS),
    SYS_pidfd_getfd => {
        let fd = plain(nr, args);
        if fd >= 0 {
            arrivals::arrived(fd as c_int);
        }
        fd
    },
    SYS_rt_sigaction if trapped::is_on() => handlers::kernel_action(args),
    SYS_rt_sigprocmask if trapped::is_on() => masks::kernel_mask(args),
    SYS_sigaltstack if trapped::is_on() => trap::sigaltstack(args[0] as _, args[1] as _),
    SYS_rt_sigsuspend if trapped::is_on() => masks::sigsuspend(args[0] as _),
}

#[cfg(target_arch = "x86_64")]
served! {
    /// Numbers that only x86-64 has, and all the rest.
    fn older(nr, args), is_older, else plain, is_none;
    SYS_open => open::open(args[0] as _, args[1] as c_int, args[2] as _),
    SYS_creat => open::creat(args[0] as _, args[1] as _),
    SYS_stat => stat::stat(args[0] as _, args[1] as _),
    SYS_lstat => stat::lstat(args[0] as _, args[1] as _),
    SYS_access => stat::access(args[0] as _, args[1] as c_int),
    SYS_dup2 => fds::dup2(args[0] as c_int, args[1] as c_int),
    SYS_poll => poll::poll(args[0] as _, args[1] as _, args[2] as c_int),
    SYS_select => select::select(args[0] as c_int, args[1] as _, args[2] as _, args[3] as _, args[4] as _),
    SYS_epoll_create => epoll::create(args[0] as c_int),
    SYS_epoll_wait => epoll::wait(args[0] as c_int, args[1] as _, args[2] as c_int, args[3] as c_int),
}

/// All the rest.
///
/// # Safety
/// As `syscall`.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn older(nr: c_long, args: [usize; 6]) -> c_long {
    // SAFETY: as in `syscall`.
    unsafe { plain(nr, args) }
}

#[cfg(not(target_arch = "x86_64"))]
fn is_older(nr: c_long) -> bool {
    is_none(nr)
}

fn is_none(_: c_long) -> bool {
    false
}

/// # Safety
/// As `syscall`.
unsafe fn pselect6([n, r, w, x, timeout, mask]: [usize; 6]) -> c_int {
    // SAFETY: the program's own arguments, of the types that this call takes.
    unsafe {
        let mask = match memory::read_if(mask as *const MaskArgument) {
            Ok(mask) => mask.filter(|m| m.size == raw::SIGSET_BYTES),
            Err(e) => return raw::fail(e.0),
        };
        let mask = mask.map_or(null(), |m| m.mask);
        select::pselect(n as c_int, r as _, w as _, x as _, timeout as _, mask)
    }
}

/// Is this the kernel's alone, whatever is said of its number: nothing of ours is among its arguments, and nothing that
/// is known here changes by it?
pub fn is_ordinary(nr: c_long, [a, b, _, d, e, _]: [usize; 6]) -> bool {
    let is_plain = || table::word(a as c_int) == 0;
    match nr {
        libc::SYS_read
        | libc::SYS_write
        | libc::SYS_pread64
        | libc::SYS_pwrite64
        | libc::SYS_readv
        | libc::SYS_writev
        | libc::SYS_preadv
        | libc::SYS_pwritev
        | libc::SYS_lseek
        | libc::SYS_fsync
        | libc::SYS_fdatasync
        | libc::SYS_ftruncate
        | libc::SYS_fstat => is_plain(),
        libc::SYS_ioctl => is_plain() && !requests::is_one(b as c_ulong),
        libc::SYS_fcntl => {
            is_plain() && !matches!(b as c_int, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC)
        }
        libc::SYS_mmap => {
            let flags = d as c_int;
            let is_anonymous = flags & libc::MAP_ANONYMOUS != 0;
            let is_over = flags & libc::MAP_FIXED != 0 && mapped::touches(a, b);
            (is_anonymous || table::word(e as c_int) == 0) && !is_over
        }
        libc::SYS_sigaltstack => trap::is_ordinary_stack(a),
        libc::SYS_munmap => !mapped::touches(a, b),
        _ => !is_known(nr),
    }
}
