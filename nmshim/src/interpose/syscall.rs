//! `syscall(2)` through libc: the numbers of calls that are interposed land in the same functions.

use super::symbols::next;
use super::{
    epoll, fds, file, handlers, locked, mapped, memory, open, process, raw, section, select, stat,
    table, wait,
};
use core::ptr::null;
use libc::{c_int, c_long, c_uint, sigset_t};

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
    section::serve(
        nr as u32,
        // SAFETY: as for this function.
        || unsafe { dispatch(nr, a, b, c, d, e, f) },
        // SAFETY: as for this function.
        || unsafe { next::syscall(nr, a, b, c, d, e, f) },
    )
}

/// # Safety
/// As `syscall`.
unsafe fn dispatch(
    nr: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    // SAFETY: the program's own arguments, of the types that the call of this number takes.
    unsafe {
        match nr {
            libc::SYS_ioctl => file::ioctl(a as c_int, b as _, c as _) as c_long,
            libc::SYS_close => fds::close(a as c_int) as c_long,
            libc::SYS_close_range => {
                fds::close_range(a as c_uint, b as c_uint, c as c_int) as c_long
            }
            libc::SYS_dup => fds::dup(a as c_int) as c_long,
            libc::SYS_dup3 => fds::dup3(a as c_int, b as c_int, c as c_int) as c_long,
            libc::SYS_fcntl => fds::fcntl(a as c_int, b as c_int, c as c_long) as c_long,
            libc::SYS_openat => open::openat(a as c_int, b as _, c as c_int, d as _) as c_long,
            libc::SYS_mmap => {
                file::mmap(a as _, b, c as c_int, d as c_int, e as c_int, f as _) as c_long
            }
            libc::SYS_mlockall => locked::mlockall(a as c_int) as c_long,
            libc::SYS_munmap => mapped::munmap(a as _, b) as c_long,
            libc::SYS_mremap => mapped::mremap(a as _, b, c, d as c_int, e as _) as c_long,
            libc::SYS_read => file::read(a as c_int, b as _, c) as c_long,
            libc::SYS_write => file::write(a as c_int, b as _, c) as c_long,
            libc::SYS_pread64 => file::pread(a as c_int, b as _, c, d as _) as c_long,
            libc::SYS_pwrite64 => file::pwrite(a as c_int, b as _, c, d as _) as c_long,
            libc::SYS_readv => file::readv(a as c_int, b as _, c as c_int) as c_long,
            libc::SYS_writev => file::writev(a as c_int, b as _, c as c_int) as c_long,
            libc::SYS_preadv => file::preadv(a as c_int, b as _, c as c_int, d as _) as c_long,
            libc::SYS_pwritev => file::pwritev(a as c_int, b as _, c as c_int, d as _) as c_long,
            libc::SYS_lseek => file::lseek(a as c_int, b as _, c as c_int),
            libc::SYS_fsync => file::fsync(a as c_int) as c_long,
            libc::SYS_fdatasync => file::fdatasync(a as c_int) as c_long,
            libc::SYS_ftruncate => file::ftruncate(a as c_int, b as _) as c_long,
            libc::SYS_newfstatat => stat::fstatat(a as c_int, b as _, c as _, d as c_int) as c_long,
            libc::SYS_fstat => stat::fstat(a as c_int, b as _) as c_long,
            libc::SYS_statx => {
                stat::statx(a as c_int, b as _, c as c_int, d as c_uint, e as _) as c_long
            }
            libc::SYS_faccessat => stat::faccessat(a as c_int, b as _, c as c_int, 0) as c_long,
            libc::SYS_faccessat2 => {
                stat::faccessat(a as c_int, b as _, c as c_int, d as c_int) as c_long
            }
            libc::SYS_ppoll => wait::ppoll(a as _, b as _, c as _, d as _) as c_long,
            libc::SYS_pselect6 if handlers::taken_over() => {
                let mask = match memory::read_if(f as *const MaskArgument) {
                    Ok(mask) => mask.filter(|m| m.size == raw::SIGSET_BYTES),
                    Err(e) => return raw::fail(e.0).into(),
                };
                select::pselect(
                    a as c_int,
                    b as _,
                    c as _,
                    d as _,
                    e as _,
                    mask.map_or(null(), |m| m.mask),
                ) as c_long
            }
            libc::SYS_epoll_create1 => epoll::create1(a as c_int) as c_long,
            libc::SYS_epoll_ctl => epoll::ctl(a as c_int, b as c_int, c as c_int, d as _) as c_long,
            libc::SYS_epoll_pwait => {
                epoll::pwait(a as c_int, b as _, c as c_int, d as c_int, e as _) as c_long
            }
            libc::SYS_epoll_pwait2 => {
                epoll::pwait2(a as c_int, b as _, c as c_int, d as _, e as _) as c_long
            }
            libc::SYS_recvmsg => process::recvmsg(a as c_int, b as _, c as c_int) as c_long,
            libc::SYS_recvmmsg => {
                process::recvmmsg(a as c_int, b as _, c as c_uint, d as c_int, e as _) as c_long
            }
            libc::SYS_io_uring_setup if !rings_allowed() => raw::fail(libc::ENOSYS).into(),
            libc::SYS_pidfd_getfd => arrived(next::syscall(nr, a, b, c, d, e, f)),
            _ => older(nr, [a, b, c, d, e, f]),
        }
    }
}

/// May the program have an io_uring? What event loops register there never comes to us: a set would
/// not be known to hold a device, and its waits would not sync. Without one they use epoll_ctl.
fn rings_allowed() -> bool {
    std::env::var_os("NMSHIM_IO_URING").is_some_and(|v| v == "allow")
}

/// Numbers that only x86-64 has, and all the rest.
///
/// # Safety
/// As `syscall`.
#[cfg(target_arch = "x86_64")]
unsafe fn older(nr: c_long, args: [usize; 6]) -> c_long {
    let [a, b, c, d, e, f] = args;
    // SAFETY: as in `syscall`.
    unsafe {
        match nr {
            libc::SYS_open => open::open(a as _, b as c_int, c as _) as c_long,
            libc::SYS_creat => open::creat(a as _, b as _) as c_long,
            libc::SYS_stat => stat::stat(a as _, b as _) as c_long,
            libc::SYS_lstat => stat::lstat(a as _, b as _) as c_long,
            libc::SYS_access => stat::access(a as _, b as c_int) as c_long,
            libc::SYS_dup2 => fds::dup2(a as c_int, b as c_int) as c_long,
            libc::SYS_poll => wait::poll(a as _, b as _, c as c_int) as c_long,
            libc::SYS_select => {
                select::select(a as c_int, b as _, c as _, d as _, e as _) as c_long
            }
            libc::SYS_epoll_create => epoll::create(a as c_int) as c_long,
            libc::SYS_epoll_wait => {
                epoll::wait(a as c_int, b as _, c as c_int, d as c_int) as c_long
            }
            _ => next::syscall(nr, a, b, c, d, e, f),
        }
    }
}

/// # Safety
/// As `syscall`.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn older(nr: c_long, [a, b, c, d, e, f]: [usize; 6]) -> c_long {
    // SAFETY: as in `syscall`.
    unsafe { next::syscall(nr, a, b, c, d, e, f) }
}

/// A descriptor taken from another process.
fn arrived(fd: c_long) -> c_long {
    if fd >= 0 {
        table::forget_stale(fd as c_int);
        process::consider(fd as c_int);
    }
    fd
}
