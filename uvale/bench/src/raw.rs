//! What the benchmark does by raw pointers and C functions; the rest of it forbids unsafe code.
//!
//! The netmap calls go through libc's symbols on purpose: that is where a preloaded shim steps in.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nm_abi::{AbiBytes, nmreq_header};

use uvale_shared::shm::Shared;
use uvale_system::sys::schedule;

/// `struct netmap_slot` as a program writes it: `len` and `flags` by stores of their own.
#[repr(C)]
pub struct Slot {
    /// index of the buffer
    pub buf_idx: AtomicU32,
    /// bytes in it
    pub len: AtomicU16,
    /// NS_*
    pub flags: AtomicU16,
    /// address or offset
    pub ptr: AtomicU64,
}

const _: () = assert!(size_of::<Slot>() == size_of::<nm_abi::netmap_slot>());

/// 64 bytes of a buffer.
#[repr(C, align(64))]
pub struct Line([AtomicU64; 8]);

impl Slot {
    /// `buf_idx`, `len` and `flags` as one word, in memory order.
    #[inline(always)]
    pub fn word(&self) -> &AtomicU64 {
        // SAFETY: the first eight bytes of a slot, which is aligned to 8 because of `ptr`. Accesses
        // of both sizes are atomic; a slot has one owner at a time, who makes all of them.
        unsafe { &*core::ptr::from_ref(self).cast::<AtomicU64>() }
    }
}

// SAFETY: repr(C), integer atomics only.
unsafe impl Shared for Slot {}
// SAFETY: as above.
unsafe impl Shared for Line {}

impl Line {
    /// The eight words of the line.
    pub fn words(&self) -> &[AtomicU64; 8] {
        &self.0
    }
}

/// Copies as many lines as both slices have.
#[inline(always)]
pub fn copy_lines(from: &[Line], to: &[Line]) {
    for (from, to) in from.iter().zip(to) {
        // SAFETY: both point to 64 bytes inside live slices, aligned to 64, and are different
        // buffers. `Line` is made of atomics, so writing through a shared reference is allowed.
        // Only the benchmark's own limit loops come here: the process that calls is the only one
        // that reads or writes either buffer, the receivers look at slots alone.
        unsafe {
            let from = core::ptr::from_ref(from).cast::<[u64; 8]>();
            let to = to.0.as_ptr().cast_mut().cast::<[u64; 8]>();
            core::ptr::copy_nonoverlapping(from, to, 1);
        }
    }
}

/// Copies the first `len` bytes of one buffer to the other, as `memcpy` does; `None` if one of them is shorter.
#[inline(always)]
pub fn copy_bytes(from: &[Line], to: &[Line], len: usize) -> Option<()> {
    if len > size_of_val(from).min(size_of_val(to)) {
        return None;
    }
    // SAFETY: as in `copy_lines`; `len` bytes lie inside both.
    unsafe {
        let to = to.as_ptr().cast_mut().cast::<u8>();
        core::ptr::copy_nonoverlapping(from.as_ptr().cast::<u8>(), to, len);
    }
    Some(())
}

/// Copies a slot: all of it in one (`whole`), or field by field.
#[inline(always)]
pub fn copy_slot(from: &Slot, to: &Slot, whole: bool) {
    use core::sync::atomic::Ordering::Relaxed;
    if !whole {
        to.buf_idx.store(from.buf_idx.load(Relaxed), Relaxed);
        to.len.store(from.len.load(Relaxed), Relaxed);
        to.flags.store(from.flags.load(Relaxed), Relaxed);
        to.ptr.store(from.ptr.load(Relaxed), Relaxed);
        return;
    }
    // SAFETY: two live slots of 16 bytes, in different rings, made of atomics, so writing through
    // a shared reference is allowed. Only the limit loops come here, and there the sender owns
    // both slots until it publishes the index behind them.
    unsafe {
        let from = core::ptr::from_ref(from).cast::<[u64; 2]>();
        let to = to.buf_idx.as_ptr().cast::<[u64; 2]>();
        core::ptr::copy_nonoverlapping(from, to, 1);
    }
}

/// A shared mapping of a memfd or of a netmap descriptor.
pub struct Memory {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: plain memory, valid in every thread until drop, reached through atomics only.
unsafe impl Sync for Memory {}
// SAFETY: as above.
unsafe impl Send for Memory {}

impl Memory {
    /// Maps the first `len` bytes of `fd`.
    pub fn map(fd: &impl AsRawFd, len: usize) -> io::Result<Self> {
        Self::map_at(fd, 0, len)
    }

    /// Maps `len` bytes of `fd` from byte `at` on.
    pub fn map_at(fd: &impl AsRawFd, at: u64, len: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                len,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                at as libc::off_t,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { base, len })
    }

    /// The record of type `T` at byte `at`; `None` if it does not fit or is not aligned.
    pub fn at<T: Shared>(&self, at: usize) -> Option<&T> {
        self.slice_at(at, 1)?.first()
    }

    /// `n` consecutive records of type `T` from byte `at`.
    pub fn slice_at<T: Shared>(&self, at: usize, n: usize) -> Option<&[T]> {
        let end = at.checked_add(n.checked_mul(size_of::<T>())?)?;
        let first = self.base.as_ptr().wrapping_add(at).cast::<T>();
        if end > self.len || !first.is_aligned() {
            return None;
        }
        // SAFETY: at..end lies inside the mapping, which lives as long as `self`, and is aligned.
        // `T: Shared` is valid for every bit pattern and made of atomics, so other processes may
        // write it at the same time.
        Some(unsafe { core::slice::from_raw_parts(first, n) })
    }

    /// Writes a packet at byte `at`, as a program does that makes it there; `None` if it does not fit.
    #[inline(always)]
    pub fn put(&self, at: usize, bytes: &[u8]) -> Option<()> {
        if at > self.len || bytes.len() > self.len - at {
            return None;
        }
        // SAFETY: the range lies inside the mapping, and `bytes` is no part of it. The buffer is this worker's until
        // it is sent, so nobody else writes there.
        unsafe {
            let to = self.base.as_ptr().add(at);
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
        Some(())
    }

    /// Reads a packet of up to 2048 bytes at byte `at`, all of it, as a program does that wants to know what is in it;
    /// `None` if it does not lie inside.
    #[inline(always)]
    pub fn take(&self, at: usize, len: usize) -> Option<()> {
        let mut to = [core::mem::MaybeUninit::<u8>::uninit(); 2048];
        if at > self.len || len > self.len - at || len > to.len() {
            return None;
        }
        // SAFETY: the ranges lie inside the mapping and `to`. The buffer is this worker's until it gives it back, so
        // nobody writes there.
        unsafe {
            let from = self.base.as_ptr().add(at);
            core::ptr::copy_nonoverlapping(from, to.as_mut_ptr().cast(), len);
        }
        core::hint::black_box(&to);
        Some(())
    }

    /// Copies `len` bytes from byte `from` to byte `at` of `to`; `None` if they do not lie inside.
    #[inline(always)]
    pub fn copy_to(&self, from: usize, to: &Self, at: usize, len: usize) -> Option<()> {
        if from > self.len || len > self.len - from || at > to.len || len > to.len - at {
            return None;
        }
        // SAFETY: both ranges lie inside their mappings. They are buffers of slots that this worker owns, so nobody
        // writes to either; `copy` allows that both are one.
        unsafe {
            let from = self.base.as_ptr().add(from);
            core::ptr::copy(from, to.base.as_ptr().add(at), len);
        }
        Some(())
    }

    /// Bytes mapped.
    pub fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`; no reference into it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Opens the netmap control device.
pub fn open_netmap() -> io::Result<OwnedFd> {
    // SAFETY: a NUL-terminated path.
    let fd = unsafe { libc::open(c"/dev/netmap".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    check(fd)?;
    // SAFETY: just opened, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `NIOCCTRL` with a header and the body that belongs to its request type, without options.
pub fn request<T: AbiBytes>(
    fd: &impl AsRawFd,
    header: &mut nmreq_header,
    body: &mut T,
) -> io::Result<()> {
    header.nr_body = (&raw mut *body) as u64;
    header.nr_options = 0;
    // SAFETY: header and body are borrowed exclusively during the call; every bit pattern is a
    // valid `T` (`AbiBytes`). The callers pair request types with bodies.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), nm_abi::NIOCCTRL as _, &raw mut *header) })
}

/// `NIOCTXSYNC` or `NIOCRXSYNC`.
#[inline(always)]
pub fn sync(fd: &impl AsRawFd, which: u32) -> io::Result<()> {
    // SAFETY: the requests take no argument.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), which as _, 0) })
}

/// `poll` on one descriptor; 0 after the timeout or a signal.
#[inline(always)]
pub fn poll(fd: &impl AsRawFd, events: i16, timeout_ms: i32) -> io::Result<i16> {
    let mut set = libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    };
    // SAFETY: one pollfd, borrowed exclusively during the call.
    let result = unsafe { libc::poll(&raw mut set, 1, timeout_ms) };
    match check(result) {
        Err(e) if e.kind() != io::ErrorKind::Interrupted => Err(e),
        _ => Ok(set.revents),
    }
}

/// A call of a program that has nothing to do with netmap.
pub type OrdinaryCall = Box<dyn Fn()>;

/// Such calls, on descriptors that stay open with the process; what they answer does not matter.
pub fn ordinary_calls() -> io::Result<Vec<(&'static str, OrdinaryCall)>> {
    let mut pipe = [0; 2];
    // SAFETY: room for two descriptors, C strings, plain numbers.
    let (zero, null, set) = unsafe {
        check(libc::pipe(pipe.as_mut_ptr()))?;
        (
            libc::open(c"/dev/zero".as_ptr(), libc::O_RDONLY),
            libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY),
            libc::epoll_create1(0),
        )
    };
    [zero, null, set].into_iter().try_for_each(check)?;
    let input = pipe[0];
    // A number that is not open: its close changes nothing.
    let closed = 900;
    // SAFETY: each call gets descriptors and room that outlive it.
    let calls: Vec<(&str, OrdinaryCall)> = unsafe {
        vec![
            (
                "read",
                Box::new(move || {
                    libc::read(zero, [0u8; 1].as_mut_ptr().cast(), 1);
                }),
            ),
            (
                "write",
                Box::new(move || {
                    libc::write(null, [0u8; 1].as_ptr().cast(), 1);
                }),
            ),
            (
                "poll",
                Box::new(move || {
                    let mut one = libc::pollfd {
                        fd: input,
                        events: libc::POLLIN,
                        revents: 0,
                    };
                    libc::poll(&raw mut one, 1, 0);
                }),
            ),
            (
                "ioctl",
                Box::new(move || {
                    libc::ioctl(input, libc::FIONREAD, &mut 0);
                }),
            ),
            (
                "epoll_wait",
                Box::new(move || {
                    let mut event = libc::epoll_event { events: 0, u64: 0 };
                    libc::epoll_wait(set, &raw mut event, 1, 0);
                }),
            ),
            (
                "close",
                Box::new(move || {
                    libc::close(closed);
                }),
            ),
        ]
    };
    Ok(calls)
}

#[inline(always)]
fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Leaves namespaces that this process shares with others, for new ones.
pub fn unshare(what: rustix::thread::UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: descriptors and the current directory stay as they are: only network and user namespaces are asked for.
    unsafe { rustix::thread::unshare_unsafe(what) }
}

/// Real-time priority of the process that conducts: above the workers, else it could not stop them.
pub const CONDUCTOR: i32 = 21;
/// Real-time priority of the workers.
pub const PERFORMER: i32 = 20;

/// Puts this process before all ordinary ones on its processor; what it starts is ordinary again.
pub fn go_real_time(priority: i32) -> io::Result<()> {
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    Ok(schedule(policy, priority)?)
}

/// Puts what `command` starts, all its threads, before all ordinary processes.
pub fn start_real_time(command: &mut Command) {
    // SAFETY: the closure makes one system call, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| Ok(schedule(libc::SCHED_RR, PERFORMER)?));
    }
}

/// If this process dies, what `command` starts is killed.
pub fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe and the closure does nothing else.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
                .map_err(io::Error::from)
        });
    }
}
