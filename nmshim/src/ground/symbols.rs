//! The one list of what is interposed: each function's C type, what of ours is exported in its place, and what does
//! its work while the next library's function is not known. `ground::next` (the functions behind ours),
//! `interpose::exports` and `interpose::syscall` expand it. Those that jump to the next function stand
//! elsewhere (`interpose::trap::contexts`, `interpose::exec::lists`).
//!
//! - `numbered`: the arguments are the kernel's own: the number comes with it, for `syscall(2)` too.
//! - `next`: other system calls, and what may be called by malloc or dlsym.
//! - `late`: functions that are no system calls, and are not called that early.
//! - `same`: other names of the same functions.
//!
//! Variadic C functions (open, fcntl, ioctl, mremap, syscall) appear with all their arguments spelled out: on the
//! 64-bit Linux ABIs served here integer arguments travel alike.

macro_rules! symbols {
    ($expand:ident) => { $expand! {
    numbered {
        // names
        fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int = open::openat, SYS_openat;
        fn fstatat(dir: c_int, path: *const c_char, buf: StatBuf, flags: c_int) -> c_int
            = stat::fstatat, SYS_newfstatat;
        fn fstat(fd: c_int, buf: StatBuf) -> c_int = stat::fstat, SYS_fstat;
        fn statx(dir: c_int, path: *const c_char, flags: c_int, mask: c_uint, buf: StatxBuf) -> c_int
            = stat::statx, SYS_statx;
        fn faccessat(dir: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int
            = stat::faccessat, SYS_faccessat2;
        // descriptors
        fn close(fd: c_int) -> c_int = fds::close, SYS_close;
        fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int = fds::close_range, SYS_close_range;
        fn dup(fd: c_int) -> c_int = fds::dup, SYS_dup;
        fn dup3(fd: c_int, to: c_int, flags: c_int) -> c_int = fds::dup3, SYS_dup3;
        fn fcntl(fd: c_int, cmd: c_int, arg: c_long) -> c_int = fds::fcntl, SYS_fcntl;
        fn recvmsg(fd: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t = arrivals::recvmsg, SYS_recvmsg;
        fn recvmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int, timeout: *mut timespec) -> c_int
            = arrivals::recvmmsg, SYS_recvmmsg;
        // the file's own operations
        fn ioctl(fd: c_int, request: c_ulong, arg: *mut c_void) -> c_int = file::ioctl, SYS_ioctl;
        fn mmap(addr: *mut c_void, len: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off_t) -> *mut c_void
            = file::mmap, SYS_mmap;
        fn munmap(addr: *mut c_void, len: size_t) -> c_int = mapped::munmap, SYS_munmap;
        fn mremap(old: *mut c_void, old_len: size_t, new_len: size_t, flags: c_int, new: *mut c_void) -> *mut c_void
            = mapped::mremap, SYS_mremap;
        fn shmat(id: c_int, addr: *const c_void, flags: c_int) -> *mut c_void = mapped::shmat, SYS_shmat;
        fn read(fd: c_int, buf: *mut c_void, len: size_t) -> ssize_t = file::read, SYS_read;
        fn write(fd: c_int, buf: *const c_void, len: size_t) -> ssize_t = file::write, SYS_write;
        fn pread(fd: c_int, buf: *mut c_void, len: size_t, offset: off_t) -> ssize_t = file::pread, SYS_pread64;
        fn pwrite(fd: c_int, buf: *const c_void, len: size_t, offset: off_t) -> ssize_t = file::pwrite, SYS_pwrite64;
        fn readv(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t = file::readv, SYS_readv;
        fn writev(fd: c_int, iov: *const iovec, n: c_int) -> ssize_t = file::writev, SYS_writev;
        fn preadv(fd: c_int, iov: *const iovec, n: c_int, offset: off_t) -> ssize_t = file::preadv, SYS_preadv;
        fn pwritev(fd: c_int, iov: *const iovec, n: c_int, offset: off_t) -> ssize_t = file::pwritev, SYS_pwritev;
        fn lseek(fd: c_int, offset: off_t, whence: c_int) -> off_t = file::lseek, SYS_lseek;
        fn fsync(fd: c_int) -> c_int = file::fsync, SYS_fsync;
        fn fdatasync(fd: c_int) -> c_int = file::fdatasync, SYS_fdatasync;
        fn ftruncate(fd: c_int, len: off_t) -> c_int = file::ftruncate, SYS_ftruncate;
        // memory
        fn mlockall(flags: c_int) -> c_int = locked::mlockall, SYS_mlockall;
        // waiting
        fn epoll_create1(flags: c_int) -> c_int = epoll::create1, SYS_epoll_create1;
        fn epoll_ctl(epfd: c_int, op: c_int, fd: c_int, event: *mut epoll_event) -> c_int = epoll::ctl, SYS_epoll_ctl;
    }
    next {
        // names
        fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int = open::open,
            otherwise libc_call!(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) as c_int;
        fn __open_2(path: *const c_char, flags: c_int) -> c_int = open::open_2,
            otherwise libc_call!(libc::SYS_openat, libc::AT_FDCWD, path, flags) as c_int;
        fn __openat_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int = open::openat_2,
            otherwise libc_call!(libc::SYS_openat, dir, path, flags) as c_int;
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
        fn access(path: *const c_char, mode: c_int) -> c_int = stat::access,
            otherwise libc_call!(libc::SYS_faccessat, libc::AT_FDCWD, path, mode) as c_int;
        fn euidaccess(path: *const c_char, mode: c_int) -> c_int = stat::euidaccess,
            otherwise libc_call!(libc::SYS_faccessat2, libc::AT_FDCWD, path, mode, libc::AT_EACCESS) as c_int;
        // descriptors
        fn dup2(fd: c_int, to: c_int) -> c_int = fds::dup2, otherwise single::dup2(fd, to);
        // the file's own operations
        fn __read_chk(fd: c_int, buf: *mut c_void, len: size_t, room: size_t) -> ssize_t = file::read_chk,
            otherwise { let _ = room; libc_call!(libc::SYS_read, fd, buf, len) };
        fn __pread_chk(fd: c_int, buf: *mut c_void, len: size_t, offset: off_t,
            room: size_t) -> ssize_t = file::pread_chk,
            otherwise { let _ = room; libc_call!(libc::SYS_pread64, fd, buf, len, offset) };
        // waiting
        fn poll(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int = poll::poll,
            otherwise single::poll(fds, n, timeout);
        fn ppoll(fds: *mut pollfd, n: nfds_t, timeout: *const timespec, mask: *const sigset_t) -> c_int = poll::ppoll,
            otherwise single::ppoll(fds, n, timeout, mask);
        fn __poll_chk(fds: *mut pollfd, n: nfds_t, timeout: c_int, room: size_t) -> c_int = poll::poll_chk,
            otherwise { let _ = room; single::poll(fds, n, timeout) };
        fn __ppoll_chk(fds: *mut pollfd, n: nfds_t, timeout: *const timespec, mask: *const sigset_t,
            room: size_t) -> c_int = poll::ppoll_chk,
            otherwise { let _ = room; single::ppoll(fds, n, timeout, mask) };
        fn select(n: c_int, r: *mut fd_set, w: *mut fd_set, x: *mut fd_set,
            timeout: *mut timeval) -> c_int = select::select,
            otherwise single::select(n, r, w, x, timeout);
        fn pselect(n: c_int, r: *mut fd_set, w: *mut fd_set, x: *mut fd_set, timeout: *const timespec,
            mask: *const sigset_t) -> c_int = select::pselect,
            otherwise single::pselect(n, r, w, x, timeout, mask);
        fn epoll_create(size: c_int) -> c_int = epoll::create,
            otherwise { let _ = size; libc_call!(libc::SYS_epoll_create1, 0) as c_int };
        fn epoll_wait(epfd: c_int, events: *mut epoll_event, max: c_int, timeout: c_int) -> c_int = epoll::wait,
            otherwise libc_call!(libc::SYS_epoll_pwait, epfd, events, max, timeout, 0, SIGSET_BYTES) as c_int;
        fn epoll_pwait(epfd: c_int, events: *mut epoll_event, max: c_int, timeout: c_int,
            mask: *const sigset_t) -> c_int = epoll::pwait,
            otherwise libc_call!(libc::SYS_epoll_pwait, epfd, events, max, timeout, mask, SIGSET_BYTES) as c_int;
        fn epoll_pwait2(epfd: c_int, events: *mut epoll_event, max: c_int, timeout: *const timespec,
            mask: *const sigset_t) -> c_int = epoll::pwait2,
            otherwise libc_call!(libc::SYS_epoll_pwait2, epfd, events, max, timeout, mask, SIGSET_BYTES) as c_int;
        // programs that are executed
        fn execve(path: *const c_char, argv: Strings, envp: Strings) -> c_int = exec::execve,
            otherwise libc_call!(libc::SYS_execve, path, argv, envp) as c_int;
        fn execveat(dir: c_int, path: *const c_char, argv: Strings, envp: Strings, flags: c_int) -> c_int
            = exec::execveat, otherwise libc_call!(libc::SYS_execveat, dir, path, argv, envp, flags) as c_int;
        // cancellation; any call by its number
        fn pthread_setcanceltype(kind: c_int, old: *mut c_int) -> c_int = section::pthread_setcanceltype,
            otherwise { let _ = (kind, old); 0 };
        fn syscall(nr: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long = syscall::syscall,
            otherwise raw::libc_style(raw::call(nr, [a, b, c, d, e, f])) as c_long;
    }
    late {
        // programs that are executed
        fn execv(path: *const c_char, argv: Strings) -> c_int = exec::execv;
        fn execvp(file: *const c_char, argv: Strings) -> c_int = exec::execvp;
        fn execvpe(file: *const c_char, argv: Strings, envp: Strings) -> c_int = exec::execvpe;
        fn fexecve(fd: c_int, argv: Strings, envp: Strings) -> c_int = exec::fexecve;
        fn posix_spawn(pid: *mut pid_t, path: *const c_char, actions: *const posix_spawn_file_actions_t,
            attributes: *const posix_spawnattr_t, argv: Strings, envp: Strings) -> c_int = exec::posix_spawn;
        fn posix_spawnp(pid: *mut pid_t, file: *const c_char, actions: *const posix_spawn_file_actions_t,
            attributes: *const posix_spawnattr_t, argv: Strings, envp: Strings) -> c_int = exec::posix_spawnp;
        // what exists only here, as files; directories; network interfaces; signals; threads
        fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE = open::fopen;
        fn chmod(path: *const c_char, mode: mode_t) -> c_int = attributes::chmod;
        fn lchmod(path: *const c_char, mode: mode_t) -> c_int = attributes::lchmod;
        fn fchmodat(dir: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_int = attributes::fchmodat;
        fn fchmod(fd: c_int, mode: mode_t) -> c_int = attributes::fchmod;
        fn chown(path: *const c_char, owner: uid_t, group: gid_t) -> c_int = attributes::chown;
        fn lchown(path: *const c_char, owner: uid_t, group: gid_t) -> c_int = attributes::lchown;
        fn fchownat(dir: c_int, path: *const c_char, owner: uid_t, group: gid_t, flags: c_int) -> c_int
            = attributes::fchownat;
        fn fchown(fd: c_int, owner: uid_t, group: gid_t) -> c_int = attributes::fchown;
        fn utimensat(dir: c_int, path: *const c_char, times: *const timespec, flags: c_int) -> c_int
            = attributes::utimensat;
        fn futimens(fd: c_int, times: *const timespec) -> c_int = attributes::futimens;
        fn utime(path: *const c_char, times: *const utimbuf) -> c_int = attributes::utime;
        fn utimes(path: *const c_char, times: *const timeval) -> c_int = attributes::utimes;
        fn lutimes(path: *const c_char, times: *const timeval) -> c_int = attributes::lutimes;
        fn futimes(fd: c_int, times: *const timeval) -> c_int = attributes::futimes;
        fn futimesat(dir: c_int, path: *const c_char, times: *const timeval) -> c_int = attributes::futimesat;
        fn getxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t
            = attributes::getxattr;
        fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t
            = attributes::lgetxattr;
        fn fgetxattr(fd: c_int, name: *const c_char, value: *mut c_void, size: size_t) -> ssize_t
            = attributes::fgetxattr;
        fn listxattr(path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t = attributes::listxattr;
        fn llistxattr(path: *const c_char, list: *mut c_char, size: size_t) -> ssize_t = attributes::llistxattr;
        fn flistxattr(fd: c_int, list: *mut c_char, size: size_t) -> ssize_t = attributes::flistxattr;
        fn setxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int
            = attributes::setxattr;
        fn lsetxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: size_t,
            flags: c_int) -> c_int
            = attributes::lsetxattr;
        fn fsetxattr(fd: c_int, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int
            = attributes::fsetxattr;
        fn readlink(path: *const c_char, to: *mut c_char, size: size_t) -> ssize_t = attributes::readlink;
        fn readlinkat(dir: c_int, path: *const c_char, to: *mut c_char, size: size_t) -> ssize_t
            = attributes::readlinkat;
        fn __readlink_chk(path: *const c_char, to: *mut c_char, size: size_t, room: size_t) -> ssize_t
            = attributes::readlink_chk;
        fn __readlinkat_chk(dir: c_int, path: *const c_char, to: *mut c_char, size: size_t, room: size_t) -> ssize_t
            = attributes::readlinkat_chk;
        fn mknodat(dir: c_int, path: *const c_char, mode: mode_t, device: dev_t) -> c_int = attributes::mknodat;
        fn realpath(path: *const c_char, to: *mut c_char) -> *mut c_char = attributes::realpath;
        fn __realpath_chk(path: *const c_char, to: *mut c_char, room: size_t) -> *mut c_char = attributes::realpath_chk;
        fn canonicalize_file_name(path: *const c_char) -> *mut c_char = attributes::canonicalize_file_name;
        fn opendir(path: *const c_char) -> *mut DIR = listing::opendir;
        fn fdopendir(fd: c_int) -> *mut DIR = listing::fdopendir;
        fn readdir64(dir: *mut DIR) -> *mut dirent64 = listing::readdir;
        fn readdir64_r(dir: *mut DIR, room: *mut dirent64, result: *mut *mut dirent64) -> c_int = listing::readdir_r;
        fn closedir(dir: *mut DIR) -> c_int = listing::closedir;
        fn rewinddir(dir: *mut DIR) = listing::rewinddir;
        fn seekdir(dir: *mut DIR, position: c_long) = listing::seekdir;
        fn telldir(dir: *mut DIR) -> c_long = listing::telldir;
        fn dirfd(dir: *mut DIR) -> c_int = listing::dirfd;
        fn scandirat64(dir: c_int, path: *const c_char, list: List, filter: Filter,
            compare: Compare) -> c_int
            = listing::scandirat;
        fn glob64(pattern: *const c_char, flags: c_int, error: GlobError, result: *mut Glob) -> c_int
            = listing::glob;
        fn getifaddrs(list: *mut *mut IfAddrs) -> c_int = lists::getifaddrs;
        fn freeifaddrs(list: *mut IfAddrs) = lists::freeifaddrs;
        fn if_nametoindex(name: *const c_char) -> c_uint = lists::if_nametoindex;
        fn if_indextoname(index: c_uint, to: *mut c_char) -> *mut c_char = lists::if_indextoname;
        fn if_nameindex() -> *mut NameIndex = lists::if_nameindex;
        fn if_freenameindex(array: *mut NameIndex) = lists::if_freenameindex;
        fn sigaction(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int
            = handlers::sigaction;
        fn signal(signal: c_int, handler: sighandler_t) -> sighandler_t = handlers::signal;
        fn sysv_signal(signal: c_int, handler: sighandler_t) -> sighandler_t = handlers::sysv_signal;
        fn sigset(signal: c_int, handler: sighandler_t) -> sighandler_t = handlers::sigset;
        fn sigprocmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int = masks::sigprocmask;
        fn pthread_sigmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int = masks::pthread_sigmask;
        fn sigsuspend(set: *const sigset_t) -> c_int = masks::sigsuspend;
        fn sigblock(set: c_int) -> c_int = masks::sigblock;
        fn sigsetmask(set: c_int) -> c_int = masks::sigsetmask;
        fn sighold(signal: c_int) -> c_int = masks::sighold;
        fn sigpause(set: c_int) -> c_int = masks::sigpause;
        fn __sigpause(set: c_int, is_signal: c_int) -> c_int = masks::sigpause_of;
        fn sigignore(signal: c_int) -> c_int = handlers::sigignore;
        fn sigaltstack(new: *const stack_t, old: *mut stack_t) -> c_int = trap::sigaltstack;
        fn pthread_create(thread: *mut pthread_t, attributes: *const pthread_attr_t, start: Start,
            arg: *mut c_void) -> c_int
            = trap::pthread_create;
        // liburing's
        fn io_uring_queue_init(entries: c_uint, ring: *mut c_void, flags: c_uint) -> c_int = rings::queue_init;
        fn io_uring_queue_init_params(entries: c_uint, ring: *mut c_void, params: *mut c_void) -> c_int
            = rings::queue_init_params;
        fn io_uring_queue_init_mem(entries: c_uint, ring: *mut c_void, params: *mut c_void, memory: *mut c_void,
            size: size_t) -> c_int
            = rings::queue_init_mem;
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
        fn scandirat(dir: c_int, path: *const c_char, list: List, filter: Filter,
            compare: Compare) -> c_int
            = listing::scandirat;
        fn scandir(path: *const c_char, list: List, filter: Filter,
            compare: Compare) -> c_int
            = listing::scandir;
        fn scandir64(path: *const c_char, list: List, filter: Filter,
            compare: Compare) -> c_int
            = listing::scandir;
        fn glob(pattern: *const c_char, flags: c_int, error: GlobError, result: *mut Glob) -> c_int
            = listing::glob;
        fn mknod(path: *const c_char, mode: mode_t, device: dev_t) -> c_int = attributes::mknod;
        fn bsd_signal(signal: c_int, handler: sighandler_t) -> sighandler_t = handlers::signal;
        fn ssignal(signal: c_int, handler: sighandler_t) -> sighandler_t = handlers::signal;
        fn __sysv_signal(signal: c_int, handler: sighandler_t) -> sighandler_t = handlers::sysv_signal;
        fn ftruncate64(fd: c_int, len: off_t) -> c_int = file::ftruncate;
    }
    } };
}
pub(crate) use symbols;
