//! System calls that must not pass through libc symbols: in a program under the shim these could
//! be the program's own (`close`, `send`, `epoll_wait` of a user-level TCP stack) or the shim's.

use core::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use rustix::io::Errno;

use crate::raw::{call, check, thread_pointer};

/// An owned descriptor that is closed by a raw system call, where `OwnedFd` would call `close`.
#[derive(Debug)]
pub struct Fd(RawFd);

impl Fd {
    /// Takes over `fd`.
    pub fn from_raw(fd: RawFd) -> Self {
        Self(fd)
    }

    /// Gives the number away without closing it.
    pub fn into_raw(self) -> RawFd {
        let fd = self.0;
        core::mem::forget(self);
        fd
    }

    /// The number.
    pub fn raw(&self) -> RawFd {
        self.0
    }
}

impl From<OwnedFd> for Fd {
    fn from(fd: OwnedFd) -> Self {
        Self(fd.into_raw_fd())
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `self` owns the descriptor, so it stays open for as long as the borrow.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // A program may have closed the number without our knowledge: that is no reason to panic.
        // SAFETY: the descriptor is owned and not used after this.
        let _ = unsafe { rustix::io::try_close(self.0) };
    }
}

/// Numbers whose ownership is kept track of.
const TRACKED: usize = 4096;
type Bits = [AtomicU64; TRACKED / 64];
/// Which of them this process' side of uvale owns, a bit each.
static OWNED: Bits = [const { AtomicU64::new(0) }; TRACKED / 64];
/// Which of those the child of a fork keeps.
static KEPT: Bits = [const { AtomicU64::new(0) }; TRACKED / 64];

/// Bounds of what was ever owned.
static LOWEST: AtomicI32 = AtomicI32::new(i32::MAX);
static HIGHEST: AtomicI32 = AtomicI32::new(0);

/// A descriptor in a program's process that is private to uvale: at a high number, close-on-exec,
/// and known to [`is_own`], so that the program can neither close nor replace it.
#[derive(Debug)]
pub struct OwnFd(Fd);

impl OwnFd {
    /// Takes `fd` out of the program's way. Without room above it stays where it is.
    pub fn new(fd: Fd) -> Self {
        let fd = match rustix::io::fcntl_dupfd_cloexec(&fd, HIGH_FD) {
            Ok(moved) => Fd::from(moved),
            Err(_) => fd,
        };
        own(fd.0);
        Self(fd)
    }
}

fn own(fd: RawFd) {
    if let Some((word, bit)) = tracked(&OWNED, fd) {
        LOWEST.fetch_min(fd, Ordering::Relaxed);
        HIGHEST.fetch_max(fd + 1, Ordering::Relaxed);
        word.fetch_or(bit, Ordering::Relaxed);
    }
}

/// A second number for what is behind `fd`, out of the program's way like an [`OwnFd`], that the child of a
/// fork keeps. Async-signal-safe, as is [`let_go`].
pub fn keep(fd: RawFd) -> Option<RawFd> {
    let duplicate = |from| rustix::io::fcntl_dupfd_cloexec(borrow(&fd), from);
    let kept = duplicate(HIGH_FD).or_else(|_| duplicate(0)).ok()?;
    let kept = Fd::from(kept).into_raw();
    if let Some((word, bit)) = tracked(&KEPT, kept) {
        word.fetch_or(bit, Ordering::Relaxed);
    }
    own(kept);
    Some(kept)
}

/// Closes a number that [`keep`] gave.
pub fn let_go(kept: RawFd) {
    for words in [&OWNED, &KEPT] {
        if let Some((word, bit)) = tracked(words, kept) {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }
    drop(Fd::from_raw(kept));
}

impl Drop for OwnFd {
    fn drop(&mut self) {
        if let Some((word, bit)) = tracked(&OWNED, self.0.0) {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

impl AsFd for OwnFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for OwnFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0
    }
}

fn tracked(words: &'static Bits, fd: RawFd) -> Option<(&'static AtomicU64, u64)> {
    let fd = usize::try_from(fd).ok().filter(|fd| *fd < TRACKED)?;
    Some((&words[fd / 64], 1 << (fd % 64)))
}

/// Is `fd` an [`OwnFd`]?
pub fn is_own(fd: RawFd) -> bool {
    tracked(&OWNED, fd).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
}

/// The range of own numbers: no number outside of it is own; empty if none ever was.
pub fn own_range() -> core::ops::Range<RawFd> {
    LOWEST.load(Ordering::Relaxed)..HIGHEST.load(Ordering::Relaxed)
}

/// In the child of a fork: closes its copies of the parent's own descriptors, whose owners there
/// the child must never use. Async-signal-safe.
pub fn close_own_in_child() {
    for (i, (word, kept)) in OWNED.iter().zip(&KEPT).enumerate() {
        let kept = kept.load(Ordering::Relaxed);
        let mut bits = word.fetch_and(kept, Ordering::Relaxed) & !kept;
        while bits != 0 {
            drop(Fd((i * 64) as RawFd + bits.trailing_zeros() as RawFd));
            bits &= bits - 1;
        }
    }
}

/// Borrows a number that the program holds.
pub fn borrow(fd: &RawFd) -> BorrowedFd<'_> {
    // SAFETY: only passed to system calls, which answer EBADF if the program has closed it.
    unsafe { BorrowedFd::borrow_raw(*fd) }
}

/// Lowest number for descriptors that must be out of a program's way, if the limit allows it.
pub const HIGH_FD: RawFd = 800;

/// Reads `len` bytes at `address` of this process into `to`; the kernel does the reading, so a
/// bad address of the program ends in `false` (EFAULT) and not in SIGSEGV.
///
/// # Safety
/// `to` must be valid for writing `len` bytes.
pub unsafe fn read_own_memory(address: u64, to: *mut u8, len: usize) -> bool {
    let local = libc::iovec {
        iov_base: to.cast(),
        iov_len: len,
    };
    let remote = libc::iovec {
        iov_base: address as usize as *mut _,
        iov_len: len,
    };
    // SAFETY: the kernel writes at most `len` bytes to `to`, which the caller vouches for.
    let answer = unsafe { call(libc::SYS_process_vm_readv, copy(&local, &remote)) };
    finish(answer, len, || {
        // SAFETY: the caller vouches for `to`; the source is what the program asked us to read.
        unsafe { core::ptr::copy(address as usize as *const u8, to, len) }
    })
}

/// Reads `to.len()` bytes at `address` of this process. False if the address is bad.
pub fn read_bytes(address: u64, to: &mut [u8]) -> bool {
    // SAFETY: `to` is an exclusive slice of that length.
    unsafe { read_own_memory(address, to.as_mut_ptr(), to.len()) }
}

/// Writes `from` to `address` of this process. False if the address is bad or read-only.
pub fn write_bytes(address: u64, from: &[u8]) -> bool {
    let local = libc::iovec {
        iov_base: from.as_ptr().cast_mut().cast(),
        iov_len: from.len(),
    };
    let remote = libc::iovec {
        iov_base: address as usize as *mut _,
        iov_len: from.len(),
    };
    // SAFETY: the kernel reads `from` and writes where the program asked it to write.
    let answer = unsafe { call(libc::SYS_process_vm_writev, copy(&local, &remote)) };
    finish(answer, from.len(), || {
        // SAFETY: the destination is what the program asked us to write.
        unsafe { core::ptr::copy(from.as_ptr(), address as usize as *mut u8, from.len()) }
    })
}

/// Arguments of a copy within this process.
fn copy(local: &libc::iovec, remote: &libc::iovec) -> [usize; 6] {
    let own_pid = rustix::process::getpid().as_raw_nonzero().get();
    let [local, remote] = [local, remote].map(|piece| core::ptr::from_ref(piece) as usize);
    [own_pid as usize, local, 1, remote, 1, 0]
}

/// Where a sandbox forbids the system call there is only the plain copy, with which a bad
/// pointer costs the program what it would have cost it anyway.
fn finish(answer: isize, len: usize, plain_copy: impl FnOnce()) -> bool {
    match check(answer) {
        Err(Errno::NOSYS | Errno::PERM) => {
            plain_copy();
            true
        }
        n => n == Ok(len as isize),
    }
}

/// A number that tells this thread from the others of the process.
#[inline]
pub fn thread_number() -> u32 {
    // The address of the thread's control block, in units that keep neighbours apart.
    (thread_pointer() >> 4) as u32
}

/// How a program ended, and what it said on standard error.
pub struct Ended {
    /// its exit status; -1 if a signal ended it
    pub status: i32,
    /// all that it said, or as much as matters
    pub said: String,
}

/// What is kept of the words of a program that [`run_quietly`] runs.
const MAX_SAID: usize = 4096;

/// Runs a program to its end, unseen by the program we live in: no SIGCHLD, no child for its wait(), no fork handlers,
/// nothing on its terminal. Soft limits that could end it are raised to the hard ones.
pub fn run_quietly(
    program: &std::path::Path,
    arguments: &[&std::ffi::OsStr],
    environment: &[std::ffi::CString],
) -> Result<Ended, Errno> {
    let path = c_string(program.as_os_str());
    let argv: Vec<_> = arguments.iter().map(|a| c_string(a)).collect();
    let pointers = |list: &[std::ffi::CString]| {
        list.iter()
            .map(|s| s.as_ptr())
            .chain([core::ptr::null()])
            .collect::<Vec<_>>()
    };
    let (argv_p, envp_p) = (pointers(&argv), pointers(environment));
    // Without a free descriptor its messages go to the program's own standard error.
    let (hears, speaks) = match rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC) {
        Ok((hears, speaks)) => (
            Some(OwnFd::new(hears.into())),
            Some(OwnFd::new(speaks.into())),
        ),
        Err(_) => (None, None),
    };
    let stderr = speaks.as_ref().map_or(-1, AsRawFd::as_raw_fd);

    // SAFETY: a clone without flags is a fork that raises no signal at its end. Until execve the
    // child only makes system calls on memory prepared above.
    let pid = unsafe { call(libc::SYS_clone, [0; 6]) };
    if pid == 0 {
        // SAFETY: NUL-terminated strings and NULL-terminated arrays, alive in the child's copy.
        unsafe {
            call(libc::SYS_dup3, [stderr as usize, 2, 0, 0, 0, 0]);
            raise_soft_limits();
            let (argv, envp) = (argv_p.as_ptr() as usize, envp_p.as_ptr() as usize);
            let args = [path.as_ptr() as usize, argv, envp, 0, 0, 0];
            call(libc::SYS_execve, args);
            call(libc::SYS_exit_group, [127, 0, 0, 0, 0, 0]);
        }
        std::process::abort();
    }
    let pid = i32::try_from(pid)
        .ok()
        .filter(|p| *p > 0)
        .ok_or(Errno::AGAIN)?;
    drop(speaks);
    let said = hears.map(|fd| hear(&fd)).unwrap_or_default();
    loop {
        match wait_for(pid) {
            Ok(status) if libc::WIFEXITED(status) => {
                let status = libc::WEXITSTATUS(status);
                return Ok(Ended { status, said });
            }
            Ok(_) => return Ok(Ended { status: -1, said }),
            Err(Errno::INTR) => {}
            // Somebody else waited for it (a wait with __WALL): how it ended is not known.
            Err(_) => return Ok(Ended { status: 0, said }),
        }
    }
}

/// Waits for a child of this process; how it ended.
fn wait_for(pid: i32) -> Result<i32, Errno> {
    let mut status = 0i32;
    let at = &raw mut status as usize;
    // __WALL: children without SIGCHLD are found only so.
    let args = [pid as usize, at, libc::__WALL as usize, 0, 0, 0];
    // SAFETY: the kernel writes to `status`, which is ours.
    check(unsafe { call(libc::SYS_wait4, args) })?;
    Ok(status)
}

/// Reads until the other end is closed.
fn hear(from: &OwnFd) -> String {
    let mut said = Vec::new();
    let mut part = [0u8; 512];
    loop {
        match rustix::io::read(from, &mut part) {
            Ok(0) => break,
            Ok(n) if said.len() < MAX_SAID => said.extend_from_slice(&part[..n]),
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// In a child before its exec: what would keep a program from starting, or end it soon.
///
/// # Safety
/// Only system calls; changes the limits of the whole process.
unsafe fn raise_soft_limits() {
    for resource in [
        libc::RLIMIT_AS,
        libc::RLIMIT_DATA,
        libc::RLIMIT_STACK,
        libc::RLIMIT_CPU,
        libc::RLIMIT_FSIZE,
        libc::RLIMIT_NOFILE,
    ] {
        let mut limit = [0u64; 2];
        let at = limit.as_mut_ptr();
        let resource = resource as usize;
        // SAFETY: two words, soft and hard, as the kernel's rlimit64 has them.
        unsafe {
            call(libc::SYS_prlimit64, [0, resource, 0, at as usize, 0, 0]);
            *at = *at.add(1);
            call(libc::SYS_prlimit64, [0, resource, at as usize, 0, 0, 0]);
        }
    }
}

/// Path of the shared object or program that this code lies in.
pub fn own_object() -> Option<std::path::PathBuf> {
    let mut info: libc::Dl_info = libc::Dl_info {
        dli_fname: core::ptr::null(),
        dli_fbase: core::ptr::null_mut(),
        dli_sname: core::ptr::null(),
        dli_saddr: core::ptr::null_mut(),
    };
    let here = own_object as *const () as *const libc::c_void;
    // SAFETY: any address may be asked for; `info` is ours.
    if unsafe { libc::dladdr(here, &mut info) } == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: on success the loader gives a NUL-terminated name that lives as long as the object.
    let name = unsafe { core::ffi::CStr::from_ptr(info.dli_fname) };
    let path = std::path::PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes()));
    // The loader knows the main program by the name that its caller chose.
    let is_named = path.components().count() > 1;
    is_named
        .then(|| path.canonicalize().ok())
        .flatten()
        .or_else(|| this_program().ok())
}

/// A number nobody can guess, where the system has such.
pub fn random() -> u64 {
    let mut bytes = [0u8; 8];
    // Never fails for so few bytes once the system is up.
    let _ = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    u64::from_ne_bytes(bytes)
}

/// This very program. Where /proc is not mounted: as it was named when it was started.
pub fn this_program() -> std::io::Result<PathBuf> {
    std::env::current_exe().or_else(|no_proc| {
        let name = OsStr::from_bytes(rustix::param::linux_execfn().to_bytes());
        Path::new(name).canonicalize().map_err(|_| no_proc)
    })
}

/// `bytes` as a C string; cut at a zero byte, which no path or argument of ours has.
fn c_string(bytes: &OsStr) -> CString {
    let bytes = bytes.as_bytes();
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    CString::new(&bytes[..end]).unwrap_or_default()
}
