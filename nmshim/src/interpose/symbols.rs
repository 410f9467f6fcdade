//! The one list of what is interposed. From it come the exported functions, the look-up of the next
//! library's functions, and what happens while those are not known yet.
//!
//! `next::NAME` calls the function of that name behind us. It is looked up once, when the library is loaded
//! (`resolve`); before that (other libraries' constructors, malloc inside dlsym) and where the C library has no such
//! function, the raw system call does the work: nothing ever calls dlsym on the way, so nothing recurses. Functions
//! that are no system calls, and are not called by malloc or dlsym, are looked up when they are called that early
//! (`late`).
//!
//! Variadic C functions (open, fcntl, ioctl, mremap, syscall) appear with all their arguments spelled out: on the
//! 64-bit Linux ABIs served here integer arguments travel alike. Functions are `C-unwind` because glibc's
//! thread cancellation unwinds through blocking calls; panics end at `slot::guarded`.

#![allow(
    clippy::missing_safety_doc,
    reason = "C functions: each has the contract of its manual page"
)]

use super::raw::{self, SIGSET_BYTES, libc_call};
use super::{
    epoll, fds, file, handlers, listing, locked, mapped, nodes, open, process, section, select,
    stat, syscall, wait,
};
use core::sync::atomic::{AtomicPtr, Ordering::*};
use libc::{
    DIR, FILE, c_char, c_int, c_long, c_uint, c_ulong, c_void, dev_t, dirent64, epoll_event,
    fd_set, gid_t, iovec, mmsghdr, mode_t, msghdr, nfds_t, off_t, pollfd, sighandler_t, sigset_t,
    size_t, ssize_t, timespec, timeval, uid_t, utimbuf,
};

type StatBuf = *mut libc::stat;
type StatxBuf = *mut libc::statx;

macro_rules! symbols {
    (
        next { $( fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? = $ours:path, otherwise $raw:expr; )* }
        late { $( fn $lname:ident($($larg:ident: $lty:ty),*) $(-> $lret:ty)? = $lours:path; )* }
        same { $( fn $alias:ident($($aarg:ident: $aty:ty),*) $(-> $aret:ty)? = $aours:path; )* }
    ) => {
        mod pointers {
            #![allow(non_upper_case_globals)]
            use super::*;
            $( pub static $name: AtomicPtr<c_void> = AtomicPtr::new(raw::NOTHING); )*
            $( pub static $lname: AtomicPtr<c_void> = AtomicPtr::new(raw::NOTHING); )*
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
                        core::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn($($ty),*) $(-> $ret)?>(p)(
                            $($arg),*
                        )
                    }
                }
            )*
            $(
                #[inline(always)]
                pub unsafe fn $lname($($larg: $lty),*) $(-> $lret)? {
                    let p = match pointers::$lname.load(Relaxed) {
                        p if p.is_null() => look_up(concat!(stringify!($lname), "\0")),
                        p => p,
                    };
                    if p.is_null() {
                        return Missing::missing();
                    }
                    // SAFETY: as above.
                    unsafe {
                        core::mem::transmute::<*mut c_void, unsafe extern "C-unwind" fn($($lty),*) $(-> $lret)?>(p)(
                            $($larg),*
                        )
                    }
                }
            )*
        }

        mod exports {
            use super::*;
            $(
                #[unsafe(no_mangle)]
                pub unsafe extern "C-unwind" fn $lname($($larg: $lty),*) $(-> $lret)? {
                    // SAFETY: as below.
                    unsafe { $lours($($larg),*) }
                }
            )*
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
            let first = [$( (concat!(stringify!($name), "\0"), &pointers::$name) ),*];
            let late = [$( (concat!(stringify!($lname), "\0"), &pointers::$lname) ),*];
            for (name, pointer) in first.into_iter().chain(late) {
                pointer.store(look_up(name), Relaxed);
            }
        }
    };
}

/// The next library's function; `name` ends with its zero byte.
#[cold]
fn look_up(name: &str) -> *mut c_void {
    core::ffi::CStr::from_bytes_with_nul(name.as_bytes()).map_or(raw::NOTHING, process::next_symbol)
}

/// The answer of a function that no library behind us has.
trait Missing {
    fn missing() -> Self;
}

impl Missing for () {
    fn missing() {}
}

impl<T> Missing for *mut T {
    fn missing() -> Self {
        raw::fail(libc::ENOSYS);
        core::ptr::null_mut()
    }
}

macro_rules! missing {
    ($($ty:ty),*) => { $(
        impl Missing for $ty {
            fn missing() -> Self {
                raw::fail(libc::ENOSYS) as Self
            }
        }
    )* };
}
// the last one is a signal's handler, for which -1 is SIG_ERR
missing!(c_int, c_long, ssize_t, sighandler_t);

symbols! {
    next {
        // names
        fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int = open::open,
            otherwise libc_call!(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) as c_int;
        fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int = open::openat,
            otherwise libc_call!(libc::SYS_openat, dir, path, flags, mode) as c_int;
        fn __open_2(path: *const c_char, flags: c_int) -> c_int = open::open_2,
            otherwise libc_call!(libc::SYS_openat, libc::AT_FDCWD, path, flags) as c_int;
        fn __openat_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int = open::openat_2,
            otherwise libc_call!(libc::SYS_openat, dir, path, flags) as c_int;
        fn fstatat(dir: c_int, path: *const c_char, buf: StatBuf, flags: c_int) -> c_int = stat::fstatat,
            otherwise libc_call!(libc::SYS_newfstatat, dir, path, buf, flags) as c_int;
        fn fstat(fd: c_int, buf: StatBuf) -> c_int = stat::fstat,
            otherwise libc_call!(libc::SYS_fstat, fd, buf) as c_int;
        fn __xstat(version: c_int, path: *const c_char, buf: StatBuf) -> c_int = stat::xstat,
            otherwise { let _ = version; libc_call!(libc::SYS_newfstatat, libc::AT_FDCWD, path, buf, 0) as c_int };
        fn __lxstat(version: c_int, path: *const c_char, buf: StatBuf) -> c_int = stat::lxstat,
            otherwise { let _ = version; libc_call!(libc::SYS_newfstatat, libc::AT_FDCWD, path, buf,
                libc::AT_SYMLINK_NOFOLLOW) as c_int };
        fn __fxstat(version: c_int, fd: c_int, buf: StatBuf) -> c_int = stat::fxstat,
            otherwise { let _ = version; libc_call!(libc::SYS_fstat, fd, buf) as c_int };
        fn __fxstatat(version: c_int, dir: c_int, path: *const c_char, buf: StatBuf,
            flags: c_int) -> c_int = stat::fxstatat,
            otherwise { let _ = version; libc_call!(libc::SYS_newfstatat, dir, path, buf, flags) as c_int };
        fn statx(dir: c_int, path: *const c_char, flags: c_int, mask: c_uint, buf: StatxBuf) -> c_int = stat::statx,
            otherwise libc_call!(libc::SYS_statx, dir, path, flags, mask, buf) as c_int;
        fn access(path: *const c_char, mode: c_int) -> c_int = stat::access,
            otherwise libc_call!(libc::SYS_faccessat, libc::AT_FDCWD, path, mode) as c_int;
        fn faccessat(dir: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int = stat::faccessat,
            otherwise libc_call!(libc::SYS_faccessat2, dir, path, mode, flags) as c_int;
        fn euidaccess(path: *const c_char, mode: c_int) -> c_int = stat::euidaccess,
            otherwise libc_call!(libc::SYS_faccessat2, libc::AT_FDCWD, path, mode, libc::AT_EACCESS) as c_int;

        // descriptors
        fn close(fd: c_int) -> c_int = fds::close, otherwise libc_call!(libc::SYS_close, fd) as c_int;
        fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int = fds::close_range,
            otherwise libc_call!(libc::SYS_close_range, first, last, flags) as c_int;
        fn dup(fd: c_int) -> c_int = fds::dup, otherwise libc_call!(libc::SYS_dup, fd) as c_int;
        fn dup2(fd: c_int, to: c_int) -> c_int = fds::dup2, otherwise fds::raw_dup2(fd, to);
        fn dup3(fd: c_int, to: c_int, flags: c_int) -> c_int = fds::dup3,
            otherwise libc_call!(libc::SYS_dup3, fd, to, flags) as c_int;
        fn fcntl(fd: c_int, cmd: c_int, arg: c_long) -> c_int = fds::fcntl,
            otherwise libc_call!(libc::SYS_fcntl, fd, cmd, arg) as c_int;
        fn recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t = process::recvmsg,
            otherwise libc_call!(libc::SYS_recvmsg, fd, msg, flags);
        fn recvmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int,
            timeout: *mut timespec) -> c_int = process::recvmmsg,
            otherwise libc_call!(libc::SYS_recvmmsg, fd, messages, count, flags, timeout) as c_int;

        // the file's own operations
        fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int = file::ioctl,
            otherwise libc_call!(libc::SYS_ioctl, fd, request, arg) as c_int;
        fn mmap(addr: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int,
            offset: off_t) -> *mut c_void = file::mmap,
            otherwise libc_call!(libc::SYS_mmap, addr, len, prot, flags, fd, offset) as *mut c_void;
        fn munmap(addr: *mut c_void, len: size_t) -> c_int = mapped::munmap,
            otherwise libc_call!(libc::SYS_munmap, addr, len) as c_int;
        fn mremap(old: *mut c_void, old_len: size_t, new_len: size_t, flags: c_int,
            new: *mut c_void) -> *mut c_void = mapped::mremap,
            otherwise libc_call!(libc::SYS_mremap, old, old_len, new_len, flags, new) as *mut c_void;
        fn read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t = file::read,
            otherwise libc_call!(libc::SYS_read, fd, buf, len);
        fn write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t = file::write,
            otherwise libc_call!(libc::SYS_write, fd, buf, len);
        fn pread(fd: c_int, buf: *mut c_void, len: size_t, offset: off_t) -> ssize_t = file::pread,
            otherwise libc_call!(libc::SYS_pread64, fd, buf, len, offset);
        fn pwrite(fd: c_int, buf: *const c_void, len: size_t, offset: off_t) -> ssize_t = file::pwrite,
            otherwise libc_call!(libc::SYS_pwrite64, fd, buf, len, offset);
        fn readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t = file::readv,
            otherwise libc_call!(libc::SYS_readv, fd, iov, n);
        fn writev(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t = file::writev,
            otherwise libc_call!(libc::SYS_writev, fd, iov, n);
        fn preadv(fd: c_int, iov: *const iovec, n: c_int, offset: off_t) -> ssize_t = file::preadv,
            otherwise libc_call!(libc::SYS_preadv, fd, iov, n, offset);
        fn pwritev(fd: c_int, iov: *const iovec, n: c_int, offset: off_t) -> ssize_t = file::pwritev,
            otherwise libc_call!(libc::SYS_pwritev, fd, iov, n, offset);
        fn __read_chk(fd: c_int, buf: *mut c_void, len: size_t, room: size_t) -> ssize_t = file::read_chk,
            otherwise { let _ = room; libc_call!(libc::SYS_read, fd, buf, len) };
        fn __pread_chk(fd: c_int, buf: *mut c_void, len: size_t, offset: off_t,
            room: size_t) -> ssize_t = file::pread_chk,
            otherwise { let _ = room; libc_call!(libc::SYS_pread64, fd, buf, len, offset) };
        fn lseek(fd: c_int, offset: off_t, whence: c_int) -> off_t = file::lseek,
            otherwise libc_call!(libc::SYS_lseek, fd, offset, whence) as off_t;
        fn fsync(fd: c_int) -> c_int = file::fsync, otherwise libc_call!(libc::SYS_fsync, fd) as c_int;
        fn fdatasync(fd: c_int) -> c_int = file::fdatasync, otherwise libc_call!(libc::SYS_fdatasync, fd) as c_int;
        fn ftruncate(fd: c_int, len: off_t) -> c_int = file::ftruncate,
            otherwise libc_call!(libc::SYS_ftruncate, fd, len) as c_int;

        // memory
        fn mlockall(flags: c_int) -> c_int = locked::mlockall, otherwise libc_call!(libc::SYS_mlockall, flags) as c_int;

        // waiting
        fn poll(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int = wait::poll,
            otherwise wait::raw_poll(fds, n, timeout);
        fn ppoll(fds: *mut pollfd, n: nfds_t, timeout: *const timespec, mask: *const sigset_t) -> c_int = wait::ppoll,
            otherwise wait::raw_ppoll(fds, n, timeout, mask);
        fn __poll_chk(fds: *mut pollfd, n: nfds_t, timeout: c_int, room: size_t) -> c_int = wait::poll_chk,
            otherwise { let _ = room; wait::raw_poll(fds, n, timeout) };
        fn __ppoll_chk(fds: *mut pollfd, n: nfds_t, timeout: *const timespec, mask: *const sigset_t,
            room: size_t) -> c_int = wait::ppoll_chk,
            otherwise { let _ = room; wait::raw_ppoll(fds, n, timeout, mask) };
        fn select(n: c_int, r: *mut fd_set, w: *mut fd_set, x: *mut fd_set,
            timeout: *mut timeval) -> c_int = select::select,
            otherwise select::raw_select(n, r, w, x, timeout);
        fn pselect(n: c_int, r: *mut fd_set, w: *mut fd_set, x: *mut fd_set, timeout: *const timespec,
            mask: *const sigset_t) -> c_int = select::pselect,
            otherwise select::raw_pselect(n, r, w, x, timeout, mask);
        fn epoll_create(size: c_int) -> c_int = epoll::create,
            otherwise { let _ = size; libc_call!(libc::SYS_epoll_create1, 0) as c_int };
        fn epoll_create1(flags: c_int) -> c_int = epoll::create1,
            otherwise libc_call!(libc::SYS_epoll_create1, flags) as c_int;
        fn epoll_ctl(epfd: c_int, op: c_int, fd: c_int, event: *mut epoll_event) -> c_int = epoll::ctl,
            otherwise libc_call!(libc::SYS_epoll_ctl, epfd, op, fd, event) as c_int;
        fn epoll_wait(epfd: c_int, events: *mut epoll_event, max: c_int, timeout: c_int) -> c_int = epoll::wait,
            otherwise libc_call!(libc::SYS_epoll_pwait, epfd, events, max, timeout, 0, SIGSET_BYTES) as c_int;
        fn epoll_pwait(epfd: c_int, events: *mut epoll_event, max: c_int, timeout: c_int,
            mask: *const sigset_t) -> c_int = epoll::pwait,
            otherwise libc_call!(libc::SYS_epoll_pwait, epfd, events, max, timeout, mask, SIGSET_BYTES) as c_int;
        fn epoll_pwait2(epfd: c_int, events: *mut epoll_event, max: c_int, timeout: *const timespec,
            mask: *const sigset_t) -> c_int = epoll::pwait2,
            otherwise libc_call!(libc::SYS_epoll_pwait2, epfd, events, max, timeout, mask, SIGSET_BYTES) as c_int;

        // cancellation
        fn pthread_setcanceltype(kind: c_int, old: *mut c_int) -> c_int = section::pthread_setcanceltype,
            otherwise { let _ = (kind, old); 0 };

        fn syscall(nr: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long = syscall::syscall,
            otherwise raw::libc_style(raw::call(nr, [a, b, c, d, e, f])) as c_long;
    }
    late {
        // what exists only here, as files; directories; signals
        fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE = open::fopen;
        fn chmod(path: *const c_char, mode: mode_t) -> c_int = nodes::chmod;
        fn lchmod(path: *const c_char, mode: mode_t) -> c_int = nodes::lchmod;
        fn fchmodat(dir: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_int = nodes::fchmodat;
        fn fchmod(fd: c_int, mode: mode_t) -> c_int = nodes::fchmod;
        fn chown(path: *const c_char, owner: uid_t, group: gid_t) -> c_int = nodes::chown;
        fn lchown(path: *const c_char, owner: uid_t, group: gid_t) -> c_int = nodes::lchown;
        fn fchownat(dir: c_int, path: *const c_char, owner: uid_t, group: gid_t, flags: c_int) -> c_int
            = nodes::fchownat;
        fn fchown(fd: c_int, owner: uid_t, group: gid_t) -> c_int = nodes::fchown;
        fn utimensat(dir: c_int, path: *const c_char, times: *const timespec, flags: c_int) -> c_int = nodes::utimensat;
        fn futimens(fd: c_int, times: *const timespec) -> c_int = nodes::futimens;
        fn utime(path: *const c_char, times: *const utimbuf) -> c_int = nodes::utime;
        fn utimes(path: *const c_char, times: *const timeval) -> c_int = nodes::utimes;
        fn lutimes(path: *const c_char, times: *const timeval) -> c_int = nodes::lutimes;
        fn futimes(fd: c_int, times: *const timeval) -> c_int = nodes::futimes;
        fn futimesat(dir: c_int, path: *const c_char, times: *const timeval) -> c_int = nodes::futimesat;
        fn getxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t
            = nodes::getxattr;
        fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t
            = nodes::lgetxattr;
        fn fgetxattr(fd: c_int, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t = nodes::fgetxattr;
        fn listxattr(path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t = nodes::listxattr;
        fn llistxattr(path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t = nodes::llistxattr;
        fn flistxattr(fd: c_int, list: *mut c_char, size: size_t) -> ssize_t = nodes::flistxattr;
        fn setxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int
            = nodes::setxattr;
        fn lsetxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: size_t,
            flags: c_int) -> c_int
            = nodes::lsetxattr;
        fn fsetxattr(fd: c_int, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int
            = nodes::fsetxattr;
        fn readlink(path: *const c_char, to: *mut c_char, size: size_t) -> ssize_t = nodes::readlink;
        fn readlinkat(dir: c_int, path: *const c_char, to: *mut c_char, size: size_t) -> ssize_t = nodes::readlinkat;
        fn __readlink_chk(path: *const c_char, to: *mut c_char, size: size_t, room: size_t) -> ssize_t
            = nodes::__readlink_chk;
        fn __readlinkat_chk(dir: c_int, path: *const c_char, to: *mut c_char, size: size_t, room: size_t) -> ssize_t
            = nodes::__readlinkat_chk;
        fn mknodat(dir: c_int, path: *const c_char, mode: mode_t, device: dev_t) -> c_int = nodes::mknodat;
        fn realpath(path: *const c_char, to: *mut c_char) -> *mut c_char = nodes::realpath;
        fn __realpath_chk(path: *const c_char, to: *mut c_char, room: size_t) -> *mut c_char = nodes::realpath_chk;
        fn canonicalize_file_name(path: *const c_char) -> *mut c_char = nodes::canonicalize_file_name;
        fn opendir(path: *const c_char) -> *mut DIR = listing::opendir;
        fn fdopendir(fd: c_int) -> *mut DIR = listing::fdopendir;
        fn readdir64(dir: *mut DIR) -> *mut dirent64 = listing::readdir;
        fn readdir64_r(dir: *mut DIR, room: *mut dirent64, result: *mut *mut dirent64) -> c_int = listing::readdir_r;
        fn closedir(dir: *mut DIR) -> c_int = listing::closedir;
        fn rewinddir(dir: *mut DIR) = listing::rewinddir;
        fn seekdir(dir: *mut DIR, position: c_long) = listing::seekdir;
        fn telldir(dir: *mut DIR) -> c_long = listing::telldir;
        fn dirfd(dir: *mut DIR) -> c_int = listing::dirfd;
        fn scandirat64(dir: c_int, path: *const c_char, list: listing::List, filter: listing::Filter,
            compare: listing::Compare) -> c_int
            = listing::scandirat;
        fn glob64(pattern: *const c_char, flags: c_int, error: listing::GlobError, result: *mut listing::Glob) -> c_int
            = listing::glob;
        fn sigaction(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int
            = handlers::sigaction;
        fn signal(signal: c_int, handler: sighandler_t) -> sighandler_t = handlers::signal;
        fn sysv_signal(signal: c_int, handler: sighandler_t) -> sighandler_t = handlers::sysv_signal;
        fn sigset(signal: c_int, handler: sighandler_t) -> sighandler_t = handlers::sigset;
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
        fn __fxstatat64(version: c_int, dir: c_int, path: *const c_char, buf: StatBuf, flags: c_int) -> c_int
            = stat::fxstatat;
        fn eaccess(path: *const c_char, mode: c_int) -> c_int = stat::euidaccess;
        fn closefrom(first: c_int) = fds::closefrom;
        fn fcntl64(fd: c_int, cmd: c_int, arg: c_long) -> c_int = fds::fcntl;
        fn mmap64(addr: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off_t) -> *mut c_void
            = file::mmap;
        fn pread64(fd: c_int, buf: *mut c_void, len: size_t, offset: off_t) -> ssize_t = file::pread;
        fn pwrite64(fd: c_int, buf: *const c_void, len: size_t, offset: off_t) -> ssize_t = file::pwrite;
        fn preadv64(fd: c_int, iov: *const iovec, n: c_int, offset: off_t) -> ssize_t = file::preadv;
        fn pwritev64(fd: c_int, iov: *const iovec, n: c_int, offset: off_t) -> ssize_t = file::pwritev;
        fn __pread64_chk(fd: c_int, buf: *mut c_void, len: size_t, offset: off_t, room: size_t) -> ssize_t
            = file::pread_chk;
        fn lseek64(fd: c_int, offset: off_t, whence: c_int) -> off_t = file::lseek;
        fn readdir(dir: *mut DIR) -> *mut dirent64 = listing::readdir;
        fn readdir_r(dir: *mut DIR, room: *mut dirent64, result: *mut *mut dirent64) -> c_int = listing::readdir_r;
        fn scandirat(dir: c_int, path: *const c_char, list: listing::List, filter: listing::Filter,
            compare: listing::Compare) -> c_int
            = listing::scandirat;
        fn scandir(path: *const c_char, list: listing::List, filter: listing::Filter,
            compare: listing::Compare) -> c_int
            = listing::scandir;
        fn scandir64(path: *const c_char, list: listing::List, filter: listing::Filter,
            compare: listing::Compare) -> c_int
            = listing::scandir;
        fn glob(pattern: *const c_char, flags: c_int, error: listing::GlobError, result: *mut listing::Glob) -> c_int
            = listing::glob;
        fn mknod(path: *const c_char, mode: mode_t, device: dev_t) -> c_int = nodes::mknod;
        fn bsd_signal(signal: c_int, handler: sighandler_t) -> sighandler_t = handlers::signal;
        fn ssignal(signal: c_int, handler: sighandler_t) -> sighandler_t = handlers::signal;
        fn __sysv_signal(signal: c_int, handler: sighandler_t) -> sighandler_t = handlers::sysv_signal;
        fn ftruncate64(fd: c_int, len: off_t) -> c_int = file::ftruncate;
    }
}
