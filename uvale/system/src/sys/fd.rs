//! Descriptors of uvale's own: closed by raw system calls, and out of a program's way.

use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

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

impl From<Fd> for OwnedFd {
    fn from(fd: Fd) -> Self {
        // SAFETY: it was owned, and is given away.
        unsafe { OwnedFd::from_raw_fd(fd.into_raw()) }
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
pub struct OwnFd {
    fd: ManuallyDrop<Fd>,
    forks: u32,
}

/// How many forks lie between the first process and this one, of those that [`close_own_in_child`] was told of.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Tells a process from the one that it was forked from: what belongs to another count is another process'.
/// Its numbers and addresses may have been given to something else here.
pub fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

impl OwnFd {
    /// Takes `fd` out of the program's way. Without room above it stays where it is.
    pub fn new(fd: Fd) -> Self {
        let fd = match rustix::io::fcntl_dupfd_cloexec(&fd, HIGH_FD) {
            Ok(moved) => Fd::from(moved),
            Err(_) => fd,
        };
        own(fd.0);
        Self {
            fd: ManuallyDrop::new(fd),
            forks: forks(),
        }
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
        // The copy of a child is closed already.
        if self.forks != forks() {
            return;
        }
        if let Some((word, bit)) = tracked(&OWNED, self.fd.0) {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
        // SAFETY: it is dropped once, here, and not used after this.
        unsafe { ManuallyDrop::drop(&mut self.fd) }
    }
}

impl AsFd for OwnFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for OwnFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.0
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
    FORKS.fetch_add(1, Ordering::Relaxed);
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
