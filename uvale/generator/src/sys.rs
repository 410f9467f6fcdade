//! The system calls of the generator. They go through libc's functions on purpose: that is where
//! a preloaded netmap steps in. On a kernel with netmap they reach the kernel as they are.

use std::ffi::CString;
use std::io;
use std::os::raw::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::memory::Region;

/// An open netmap descriptor.
pub struct Descriptor(c_int);

impl Descriptor {
    /// Opens the netmap control device.
    pub fn open() -> io::Result<Descriptor> {
        let path = CString::new(nm_abi::NETMAP_DEVICE_NAME).map_err(io::Error::other)?;
        // SAFETY: `path` is NUL-terminated and lives during the call.
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        if fd < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(Descriptor(fd))
        }
    }

    /// Sends a request with the given header and body. Both are updated by the reply.
    pub fn request<T: nm_abi::AbiBytes>(
        &self,
        header: &mut nm_abi::nmreq_header,
        body: &mut T,
    ) -> io::Result<()> {
        header.nr_body = (&raw mut *body) as u64;
        // SAFETY: the header is exclusively borrowed and names a body that is so too; the body has
        // the type that belongs to `nr_reqtype` (callers in `port`), there are no options, and any
        // bytes netmap writes are a valid `T` (promise of `AbiBytes`).
        let result = unsafe { libc::ioctl(self.0, nm_abi::NIOCCTRL as _, &raw mut *header) };
        header.nr_body = 0;
        check(result)
    }

    /// `NIOCTXSYNC`: sends what was published on the tx rings, reclaims slots.
    #[inline]
    pub fn sync_tx(&self) -> io::Result<()> {
        // SAFETY: the request takes no argument.
        check(unsafe { libc::ioctl(self.0, nm_abi::NIOCTXSYNC as _, 0) })
    }

    /// `NIOCRXSYNC`: releases read slots of the rx rings, fetches new packets.
    #[inline]
    pub fn sync_rx(&self) -> io::Result<()> {
        // SAFETY: the request takes no argument.
        check(unsafe { libc::ioctl(self.0, nm_abi::NIOCRXSYNC as _, 0) })
    }

    /// `poll` for `events`; the returned events are 0 after a timeout or a signal.
    pub fn poll(&self, events: i16, timeout: Duration) -> io::Result<i16> {
        let mut set = libc::pollfd {
            fd: self.0,
            events,
            revents: 0,
        };
        let millis = c_int::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX);
        // SAFETY: one pollfd, exclusively borrowed during the call.
        let result = unsafe { libc::poll(&raw mut set, 1, millis) };
        if result < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted {
                Ok(0)
            } else {
                Err(error)
            };
        }
        Ok(set.revents)
    }

    /// Maps the first `len` bytes of the region of the bound port.
    pub fn map(&self, len: usize) -> io::Result<Arc<Region>> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the system's choice touches no existing memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                libc::MAP_SHARED,
                self.0,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>())
            .ok_or_else(|| io::Error::other("mapped at address 0"))?;
        let owner = Box::new(Mapping {
            base: base.as_ptr() as usize,
            len,
        });
        // SAFETY: the range was just mapped readable and writable and is unmapped only when
        // `Mapping` is dropped; nothing has formed references to it.
        Ok(Arc::new(unsafe { Region::new(base, len, owner) }))
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours and used nowhere after this.
        unsafe { libc::close(self.0) };
    }
}

/// Owner of a mapping.
struct Mapping {
    base: usize,
    len: usize,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `Descriptor::map` and belongs to this owner alone;
        // `Region` keeps the owner until its last user is gone.
        unsafe { libc::munmap(self.base as *mut c_void, self.len) };
    }
}

#[inline]
fn check(result: c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Signals that end a run at once. A terminal and a wrapper (`timeout`, a launcher) may both pass on
/// the same key press, so the second one is not yet a sign of impatience.
const IMPATIENT: u32 = 3;

static SIGNALS: AtomicU32 = AtomicU32::new(0);

extern "C" fn on_signal(signal: c_int) {
    if SIGNALS.fetch_add(1, Ordering::Relaxed) + 1 >= IMPATIENT {
        // SAFETY: `_exit` is async-signal-safe and does not return.
        unsafe { libc::_exit(128 + signal) }
    }
}

/// Whether a signal asked to end, see [`catch_signals`].
#[inline]
pub fn interrupted() -> bool {
    SIGNALS.load(Ordering::Relaxed) != 0
}

/// From now on SIGINT and SIGTERM only make [`interrupted`] true; the third one ends the process.
pub fn catch_signals() -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: all-zero is a valid sigaction (empty mask, no flags); the handler touches an
        // atomic and calls `_exit`, which is all async-signal-safe.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(c_int) as usize;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        check(result)?;
    }
    Ok(())
}

/// Binds the calling thread to processor `cpu`.
pub fn pin_to(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: an all-zero cpu_set_t is the empty set; `cpu` was checked against its size; the
    // set lives during the call, and pid 0 is the calling thread.
    check(unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    })
}
