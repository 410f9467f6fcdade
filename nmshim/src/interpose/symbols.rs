//! The one list of what is interposed. From it come the exported functions, the look-up of the next
//! library's functions, and what happens while those are not known yet.
//!
//! `next::NAME` calls the function of that name behind us. It is looked up once, when the library is
//! loaded (`resolve`); before that (other libraries' constructors, malloc inside dlsym) and where the C library has no such
//! function, the raw system call does the work: nothing ever calls dlsym on the way, so nothing recurses.
//!
//! Variadic C functions (open, fcntl, ioctl, syscall) appear with all their arguments spelled out: on the
//! 64-bit Linux ABIs served here integer arguments travel alike. Functions are `C-unwind` because glibc's
//! thread cancellation unwinds through blocking calls; panics end at `slot::guarded`.

#![allow(
    clippy::missing_safety_doc,
    reason = "C functions: each has the contract of its manual page"
)]

use super::raw::{self, SIGSET_BYTES, libc_call};
use super::{epoll, fds, file, open, process, select, stat, syscall, wait};
use core::sync::atomic::{AtomicPtr, Ordering::*};
use libc::{
    FILE, c_char, c_int, c_long, c_uint, c_ulong, c_void, epoll_event, fd_set, iovec, mmsghdr,
    mode_t, msghdr, nfds_t, off_t, pollfd, sigset_t, size_t, ssize_t, timespec, timeval,
};

type StatBuf = *mut libc::stat;
type StatxBuf = *mut libc::statx;

macro_rules! symbols {
    (
        next { $( fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? = $ours:path, otherwise $raw:expr; )* }
        same { $( fn $alias:ident($($aarg:ident: $aty:ty),*) $(-> $aret:ty)? = $aours:path; )* }
    ) => {
        mod pointers {
            #![allow(non_upper_case_globals)]
            use super::*;
            $( pub static $name: AtomicPtr<c_void> = AtomicPtr::new(raw::NOTHING); )*
        }

        /// The functions behind ours.
        pub mod next {
            use super::*;
            $(
                #[inline(always)]
                pub unsafe fn $name($($arg: $ty),*) $(-> $ret)? {
                    let p = pointers::$name.load(Relaxed);
                    // SAFETY: `p` is null or the C function of this name, whose type this list spells out; the
                    // arguments are the caller's promise.
                    unsafe {
                        if p.is_null() {
                            return $raw;
                        }
                        core::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn($($ty),*) $(-> $ret)?>(p)($($arg),*)
                    }
                }
            )*
        }

        mod exports {
            use super::*;
            $(
                #[unsafe(no_mangle)]
                pub unsafe extern "C-unwind" fn $name($($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: the program's own arguments, as the C function's contract asks for.
                    unsafe { $ours($($arg),*) }
                }
            )*
            $(
                #[unsafe(no_mangle)]
                pub unsafe extern "C-unwind" fn $alias($($aarg: $aty),*) $(-> $aret)? {
                    // SAFETY: as above.
                    unsafe { $aours($($aarg),*) }
                }
            )*
        }

        /// Looks up all of them.
        ///
        /// # Safety
        /// Must run outside dlsym and malloc: at load time.
        pub unsafe fn resolve() {
            for (name, pointer) in [$( (concat!(stringify!($name), "\0"), &pointers::$name) ),*] {
                // The list above ends each name with its zero byte.
                if let Ok(name) = core::ffi::CStr::from_bytes_with_nul(name.as_bytes()) {
                    pointer.store(process::next_symbol(name), Relaxed);
                }
            }
        }
    };
}

symbols! {
    next {
        // names
        fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int = open::open, otherwise libc_call!(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) as c_int;
        fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int = open::openat, otherwise libc_call!(libc::SYS_openat, dir, path, flags, mode) as c_int;
        fn __open_2(path: *const c_char, flags: c_int) -> c_int = open::open_2, otherwise libc_call!(libc::SYS_openat, libc::AT_FDCWD, path, flags) as c_int;
        fn __openat_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int = open::openat_2, otherwise libc_call!(libc::SYS_openat, dir, path, flags) as c_int;
        fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE = open::fopen, otherwise open::early_fopen(path, mode);
        fn fstatat(dir: c_int, path: *const c_char, buf: StatBuf, flags: c_int) -> c_int = stat::fstatat, otherwise libc_call!(libc::SYS_newfstatat, dir, path, buf, flags) as c_int;
        fn fstat(fd: c_int, buf: StatBuf) -> c_int = stat::fstat, otherwise libc_call!(libc::SYS_fstat, fd, buf) as c_int;
        fn __xstat(version: c_int, path: *const c_char, buf: StatBuf) -> c_int = stat::xstat, otherwise { let _ = version; libc_call!(libc::SYS_newfstatat, libc::AT_FDCWD, path, buf, 0) as c_int };
        fn __lxstat(version: c_int, path: *const c_char, buf: StatBuf) -> c_int = stat::lxstat, otherwise { let _ = version; libc_call!(libc::SYS_newfstatat, libc::AT_FDCWD, path, buf, libc::AT_SYMLINK_NOFOLLOW) as c_int };
        fn __fxstat(version: c_int, fd: c_int, buf: StatBuf) -> c_int = stat::fxstat, otherwise { let _ = version; libc_call!(libc::SYS_fstat, fd, buf) as c_int };
        fn __fxstatat(version: c_int, dir: c_int, path: *const c_char, buf: StatBuf, flags: c_int) -> c_int = stat::fxstatat, otherwise { let _ = version; libc_call!(libc::SYS_newfstatat, dir, path, buf, flags) as c_int };
        fn statx(dir: c_int, path: *const c_char, flags: c_int, mask: c_uint, buf: StatxBuf) -> c_int = stat::statx, otherwise libc_call!(libc::SYS_statx, dir, path, flags, mask, buf) as c_int;
        fn access(path: *const c_char, mode: c_int) -> c_int = stat::access, otherwise libc_call!(libc::SYS_faccessat, libc::AT_FDCWD, path, mode) as c_int;
        fn faccessat(dir: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int = stat::faccessat, otherwise libc_call!(libc::SYS_faccessat2, dir, path, mode, flags) as c_int;
        fn euidaccess(path: *const c_char, mode: c_int) -> c_int = stat::euidaccess, otherwise libc_call!(libc::SYS_faccessat2, libc::AT_FDCWD, path, mode, libc::AT_EACCESS) as c_int;

        // descriptors
        fn close(fd: c_int) -> c_int = fds::close, otherwise libc_call!(libc::SYS_close, fd) as c_int;
        fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int = fds::close_range, otherwise libc_call!(libc::SYS_close_range, first, last, flags) as c_int;
        fn dup(fd: c_int) -> c_int = fds::dup, otherwise libc_call!(libc::SYS_dup, fd) as c_int;
        fn dup2(fd: c_int, to: c_int) -> c_int = fds::dup2, otherwise fds::raw_dup2(fd, to);
        fn dup3(fd: c_int, to: c_int, flags: c_int) -> c_int = fds::dup3, otherwise libc_call!(libc::SYS_dup3, fd, to, flags) as c_int;
        fn fcntl(fd: c_int, cmd: c_int, arg: c_long) -> c_int = fds::fcntl, otherwise libc_call!(libc::SYS_fcntl, fd, cmd, arg) as c_int;
        fn recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t = process::recvmsg, otherwise libc_call!(libc::SYS_recvmsg, fd, msg, flags);
        fn recvmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int, timeout: *mut timespec) -> c_int = process::recvmmsg, otherwise libc_call!(libc::SYS_recvmmsg, fd, messages, count, flags, timeout) as c_int;

        // the file's own operations
        fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int = file::ioctl, otherwise libc_call!(libc::SYS_ioctl, fd, request, arg) as c_int;
        fn mmap(addr: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off_t) -> *mut c_void = file::mmap, otherwise libc_call!(libc::SYS_mmap, addr, len, prot, flags, fd, offset) as *mut c_void;
        fn read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t = file::read, otherwise libc_call!(libc::SYS_read, fd, buf, len);
        fn write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t = file::write, otherwise libc_call!(libc::SYS_write, fd, buf, len);
        fn pread(fd: c_int, buf: *mut c_void, len: size_t, offset: off_t) -> ssize_t = file::pread, otherwise libc_call!(libc::SYS_pread64, fd, buf, len, offset);
        fn pwrite(fd: c_int, buf: *const c_void, len: size_t, offset: off_t) -> ssize_t = file::pwrite, otherwise libc_call!(libc::SYS_pwrite64, fd, buf, len, offset);
        fn readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t = file::readv, otherwise libc_call!(libc::SYS_readv, fd, iov, n);
        fn writev(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t = file::writev, otherwise libc_call!(libc::SYS_writev, fd, iov, n);
        fn preadv(fd: c_int, iov: *const iovec, n: c_int, offset: off_t) -> ssize_t = file::preadv, otherwise libc_call!(libc::SYS_preadv, fd, iov, n, offset);
        fn pwritev(fd: c_int, iov: *const iovec, n: c_int, offset: off_t) -> ssize_t = file::pwritev, otherwise libc_call!(libc::SYS_pwritev, fd, iov, n, offset);
        fn __read_chk(fd: c_int, buf: *mut c_void, len: size_t, room: size_t) -> ssize_t = file::read_chk, otherwise { let _ = room; libc_call!(libc::SYS_read, fd, buf, len) };
        fn __pread_chk(fd: c_int, buf: *mut c_void, len: size_t, offset: off_t, room: size_t) -> ssize_t = file::pread_chk, otherwise { let _ = room; libc_call!(libc::SYS_pread64, fd, buf, len, offset) };
        fn lseek(fd: c_int, offset: off_t, whence: c_int) -> off_t = file::lseek, otherwise libc_call!(libc::SYS_lseek, fd, offset, whence) as off_t;
        fn fsync(fd: c_int) -> c_int = file::fsync, otherwise libc_call!(libc::SYS_fsync, fd) as c_int;
        fn fdatasync(fd: c_int) -> c_int = file::fdatasync, otherwise libc_call!(libc::SYS_fdatasync, fd) as c_int;
        fn ftruncate(fd: c_int, len: off_t) -> c_int = file::ftruncate, otherwise libc_call!(libc::SYS_ftruncate, fd, len) as c_int;

        // waiting
        fn poll(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int = wait::poll, otherwise wait::raw_poll(fds, n, timeout);
        fn ppoll(fds: *mut pollfd, n: nfds_t, timeout: *const timespec, mask: *const sigset_t) -> c_int = wait::ppoll, otherwise wait::raw_ppoll(fds, n, timeout, mask);
        fn __poll_chk(fds: *mut pollfd, n: nfds_t, timeout: c_int, room: size_t) -> c_int = wait::poll_chk, otherwise { let _ = room; wait::raw_poll(fds, n, timeout) };
        fn __ppoll_chk(fds: *mut pollfd, n: nfds_t, timeout: *const timespec, mask: *const sigset_t, room: size_t) -> c_int = wait::ppoll_chk, otherwise { let _ = room; wait::raw_ppoll(fds, n, timeout, mask) };
        fn select(n: c_int, r: *mut fd_set, w: *mut fd_set, x: *mut fd_set, timeout: *mut timeval) -> c_int = select::select, otherwise select::raw_select(n, r, w, x, timeout);
        fn pselect(n: c_int, r: *mut fd_set, w: *mut fd_set, x: *mut fd_set, timeout: *const timespec, mask: *const sigset_t) -> c_int = select::pselect, otherwise select::raw_pselect(n, r, w, x, timeout, mask);
        fn epoll_create(size: c_int) -> c_int = epoll::create, otherwise { let _ = size; libc_call!(libc::SYS_epoll_create1, 0) as c_int };
        fn epoll_create1(flags: c_int) -> c_int = epoll::create1, otherwise libc_call!(libc::SYS_epoll_create1, flags) as c_int;
        fn epoll_ctl(epfd: c_int, op: c_int, fd: c_int, event: *mut epoll_event) -> c_int = epoll::ctl, otherwise libc_call!(libc::SYS_epoll_ctl, epfd, op, fd, event) as c_int;
        fn epoll_wait(epfd: c_int, events: *mut epoll_event, max: c_int, timeout: c_int) -> c_int = epoll::wait, otherwise libc_call!(libc::SYS_epoll_pwait, epfd, events, max, timeout, 0, SIGSET_BYTES) as c_int;
        fn epoll_pwait(epfd: c_int, events: *mut epoll_event, max: c_int, timeout: c_int, mask: *const sigset_t) -> c_int = epoll::pwait, otherwise libc_call!(libc::SYS_epoll_pwait, epfd, events, max, timeout, mask, SIGSET_BYTES) as c_int;
        fn epoll_pwait2(epfd: c_int, events: *mut epoll_event, max: c_int, timeout: *const timespec, mask: *const sigset_t) -> c_int = epoll::pwait2, otherwise libc_call!(libc::SYS_epoll_pwait2, epfd, events, max, timeout, mask, SIGSET_BYTES) as c_int;

        fn syscall(nr: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long = syscall::syscall, otherwise raw::libc_style(raw::call(nr, [a, b, c, d, e, f])) as c_long;
    }
    same {
        fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int = open::open;
        fn openat64(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int = open::openat;
        fn __open64_2(path: *const c_char, flags: c_int) -> c_int = open::open_2;
        fn __openat64_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int = open::openat_2;
        fn creat(path: *const c_char, mode: mode_t) -> c_int = open::creat;
        fn creat64(path: *const c_char, mode: mode_t) -> c_int = open::creat;
        fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE = open::fopen;
        fn stat(path: *const c_char, buf: StatBuf) -> c_int = stat::stat;
        fn stat64(path: *const c_char, buf: StatBuf) -> c_int = stat::stat;
        fn lstat(path: *const c_char, buf: StatBuf) -> c_int = stat::lstat;
        fn lstat64(path: *const c_char, buf: StatBuf) -> c_int = stat::lstat;
        fn fstatat64(dir: c_int, path: *const c_char, buf: StatBuf, flags: c_int) -> c_int = stat::fstatat;
        fn fstat64(fd: c_int, buf: StatBuf) -> c_int = stat::fstat;
        fn __xstat64(version: c_int, path: *const c_char, buf: StatBuf) -> c_int = stat::xstat;
        fn __lxstat64(version: c_int, path: *const c_char, buf: StatBuf) -> c_int = stat::lxstat;
        fn __fxstat64(version: c_int, fd: c_int, buf: StatBuf) -> c_int = stat::fxstat;
        fn __fxstatat64(version: c_int, dir: c_int, path: *const c_char, buf: StatBuf, flags: c_int) -> c_int = stat::fxstatat;
        fn eaccess(path: *const c_char, mode: c_int) -> c_int = stat::euidaccess;
        fn closefrom(first: c_int) = fds::closefrom;
        fn fcntl64(fd: c_int, cmd: c_int, arg: c_long) -> c_int = fds::fcntl;
        fn mmap64(addr: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off_t) -> *mut c_void = file::mmap;
        fn pread64(fd: c_int, buf: *mut c_void, len: size_t, offset: off_t) -> ssize_t = file::pread;
        fn pwrite64(fd: c_int, buf: *const c_void, len: size_t, offset: off_t) -> ssize_t = file::pwrite;
        fn preadv64(fd: c_int, iov: *const iovec, n: c_int, offset: off_t) -> ssize_t = file::preadv;
        fn pwritev64(fd: c_int, iov: *const iovec, n: c_int, offset: off_t) -> ssize_t = file::pwritev;
        fn __pread64_chk(fd: c_int, buf: *mut c_void, len: size_t, offset: off_t, room: size_t) -> ssize_t = file::pread_chk;
        fn lseek64(fd: c_int, offset: off_t, whence: c_int) -> off_t = file::lseek;
        fn ftruncate64(fd: c_int, len: off_t) -> c_int = file::ftruncate;
    }
}
