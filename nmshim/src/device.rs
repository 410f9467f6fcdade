//! The seam between interposition and the device behind it.
//!
//! Interposition (`interpose/`) emulates a character device on descriptors that the kernel believes
//! to be sockets; it knows nothing of netmap. The driver knows netmap and never calls `dlsym`.
//! Between them stand [`Driver`] (the device node) and [`File`] (one open file description).
//!
//! Facts both sides rely on
//! - The program's descriptor is one end of an `AF_UNIX` `SOCK_SEQPACKET` connection whose peer
//!   address ends in [`SOCKET_NAME`]. The kernel does dup, fork, exec, `O_CLOEXEC`, `SCM_RIGHTS` and
//!   the last close. All that is ever readable on it are wake-up tokens.
//! - A sleeping thread waits for kernel `POLLIN` on the descriptor, whatever the program asked for:
//!   `poll` finds nothing, [`drain`](File::drain) if stale tokens were seen, `arm`, `poll` once more,
//!   one real blocking call on everything (with the [`liveness`](File::liveness) descriptors), `disarm`,
//!   `poll`, decide.

use core::ops::Range;
use core::sync::atomic::AtomicI64;
use libc::{c_int, c_short, c_ulong, c_void};
use std::os::fd::RawFd;
use std::sync::Arc;

/// The path the program opens.
pub const DEVICE_PATH: &core::ffi::CStr = c"/dev/netmap";

/// Requests of an ioctl that carry nothing and last as long as a sync does. Of all others a driver may think for long,
/// or sleep.
pub const SHORT_CALLS: Range<c_ulong> = 0x6900..0x6a00;

/// The end of the daemon's listening address, by which a socket that came from elsewhere (exec,
/// `SCM_RIGHTS`) is worth a question to [`Driver::adopt`].
pub const SOCKET_NAME: &[u8] = b"/uvale.sock";

/// An error number as the program sees it. Of the seam's own, since interposition works with libc's numbers and
/// knows no crate of the driver's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

/// What a system call gives: its value or an error number.
pub type Result<T> = core::result::Result<T, Errno>;

/// One open file description of the device, as this process knows it (dup'ed descriptors share it).
///
/// `fd` is always the number the program used. Methods run in the calling thread, several threads at once.
/// A panic is caught at the seam and becomes `EIO` or `POLLERR`.
pub trait File: Send + Sync {
    /// An ioctl of the device. The ones every file has (`FIONBIO`, `FIOCLEX`, ...) don't come here.
    fn ioctl(&self, fd: RawFd, request: c_ulong, arg: *mut c_void) -> Result<c_int>;

    /// Map the device's memory. Already checked as the kernel does before it asks a driver: `len` is
    /// not 0, `offset` is page aligned and not negative, access mode and sharing type fit.
    fn mmap(
        &self,
        fd: RawFd,
        addr: *mut c_void,
        len: usize,
        prot: c_int,
        flags: c_int,
        offset: i64,
    ) -> Result<*mut c_void>;

    /// What the device's poll does: synchronise what `events` asks for and return `revents`.
    /// Never blocks. The caller masks the answer with `events | POLLERR | POLLHUP`.
    fn poll(&self, fd: RawFd, events: c_short) -> c_short;

    /// A short adaptive busy wait before a thread goes to sleep on `fd`; what `poll` would answer, or 0.
    /// Called after `poll` returned 0, with a timeout that is not 0 and no ordinary descriptor in the set.
    fn spin(&self, fd: RawFd, events: c_short) -> c_short {
        let _ = (fd, events);
        0
    }

    /// Throw away the wake-up tokens waiting on `fd`. Called only while no thread of this process
    /// is armed on this description, so a token another sleeper needs is never lost.
    fn drain(&self, fd: RawFd);

    /// A thread is about to sleep on `fd` for `events`: ask for a wake-up token. Several threads may be
    /// armed at once. The caller calls `poll` once more after it and before it really sleeps. While
    /// armed, *every* event makes `fd` readable, also when the ring was ready before (edge-triggered waiters).
    fn arm(&self, fd: RawFd, events: c_short);

    /// The sleep that `arm` announced is over (once per arm, also on signals, timeouts and cancellation).
    fn disarm(&self, fd: RawFd, events: c_short);

    /// A number that changes whenever something happened that an edge-triggered waiter must hear of
    /// (new packets, new room, an error).
    fn edges(&self) -> u64;

    /// A descriptor (never the program's) that becomes readable or hangs up when the daemon is gone.
    /// From then on `poll` returns `POLLERR | POLLHUP`. Negative: there is none.
    fn liveness(&self) -> RawFd;

    /// The descriptor itself has hung up (`own`), or [`File::liveness`] of some file in the set has
    /// fired: the daemon is gone.
    fn lost(&self, own: bool) {
        let _ = own;
    }

    /// Access mode given at open (`O_RDONLY`, `O_WRONLY`, `O_RDWR`), for `F_GETFL` and mmap. The status
    /// flags are the kernel's, kept on the socket.
    fn open_flags(&self) -> c_int;

    /// How long a sleep for `events` may last in nanoseconds before the caller looks again, because nothing
    /// may end it when it should: another process may take the token, or the kernel does not tell when a
    /// wire has room.
    fn longest_nap(&self, events: c_short) -> u64 {
        let _ = events;
        u64::MAX
    }

    /// The driver's own descriptors that a sleep for `events` has to wait for besides `fd`: `each` is called
    /// with those that become readable when something has come. Asked after [`File::arm`].
    fn sources(&self, events: c_short, each: &mut dyn FnMut(RawFd)) {
        let _ = (events, each);
    }

    /// The last descriptor this process knows of the description is about to be closed; `fd` is still
    /// open. Other processes may hold the description. Only async-signal-safe work (no allocation);
    /// the object itself is dropped later, at the next open.
    fn last_close(&self, fd: RawFd) {
        let _ = fd;
    }

    /// The last descriptor this process knew of has been closed by close(2). Only async-signal-safe work
    /// where a handler of the program's may run.
    fn closed(&self) {}

    /// A short text for `NMSHIM_VERBOSE` lines (`vale0:a`, `unbound`).
    fn describe(&self) -> String;

    /// The text of a module parameter's file; `None` for the device.
    fn text(&self) -> Option<&dyn Text> {
        None
    }
}

/// A module parameter's file, open for writing.
pub trait Text {
    /// What it reads, without the newline.
    fn load(&self) -> Result<String>;

    /// Bytes of one write.
    fn store(&self, bytes: &[u8]) -> Result<()>;

    /// Where the next read starts, in bytes.
    fn position(&self) -> &AtomicI64;
}

/// A module parameter, as far as its file shows it. A type of the seam, as [`Errno`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// What its file reads, without the newline.
    pub text: String,
    /// May it be written?
    pub writable: bool,
}

/// A network interface that the kernel does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, of 1 to 15 bytes.
    pub name: Vec<u8>,
    /// Its number, which no interface of the kernel's has.
    pub index: u32,
    /// Its MAC address.
    pub address: [u8; 6],
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its flags (`IFF_UP` and so on).
    pub flags: u32,
    /// Its IPv4 address.
    pub inet: Option<Inet>,
}

/// An interface's IPv4 address, as bytes go on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inet {
    /// The interface's own.
    pub address: [u8; 4],
    /// Which bits of it are the network.
    pub netmask: [u8; 4],
    /// Everybody in it.
    pub broadcast: [u8; 4],
}

/// What a program sets of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceChange {
    /// The flags.
    Flags(u32),
    /// The MTU.
    Mtu(u32),
    /// The MAC address.
    Address([u8; 6]),
    /// The IPv4 address, or none.
    Inet(Option<Inet>),
}

/// The device node, and this process's part of it.
pub trait Driver: Sync {
    /// The library was loaded; the program has not run yet.
    fn loaded(&self) {}

    /// Tells the person of a program that is not served, if they want to hear of what is refused.
    fn remark(&self, line: core::fmt::Arguments<'_>) {
        let _ = line;
    }

    /// Tells the person that something of the program's will not work.
    fn trouble(&self, line: core::fmt::Arguments<'_>) {
        let _ = line;
    }

    /// A new description. `flags` are those of open(2), access mode and `O_NONBLOCK`/`O_CLOEXEC` already
    /// plausible; the descriptor returned has the last two set as asked for.
    fn open(&self, flags: c_int) -> Result<(RawFd, Arc<dyn File>)>;

    /// Is this socket, connected to an address that ends in [`SOCKET_NAME`], one of the device's? `None`: no.
    /// Giving an `Arc` that was given before says that `fd` shares that description.
    fn adopt(&self, fd: RawFd) -> Option<Arc<dyn File>>;

    /// Runs right before a fork: waits until nothing of the driver's is half done, and keeps it so.
    fn before_fork(&self) {}

    /// Runs in the parent right after a fork: undoes [`Driver::before_fork`].
    fn after_fork_in_parent(&self) {}

    /// Runs in the child right after fork, before user code: only async-signal-safe work.
    fn after_fork_in_child(&self);

    /// Is `fd` one of the driver's own? The program can neither close nor replace those.
    fn is_private(&self, fd: RawFd) -> bool;

    /// A range outside which `is_private` is false; empty while there are none. Cheap: every close asks.
    fn private_range(&self) -> Range<RawFd>;

    /// The program locks its memory: mlockall, which `lock` is, without what the driver has mapped for
    /// itself.
    fn lock_all(&self, flags: c_int, lock: &dyn Fn(c_int) -> Result<()>) -> Result<()> {
        lock(flags)
    }

    /// A private number for the description behind `fd`, which has no other one soon and is mapped: the
    /// program can neither close nor replace it, exec closes it, a fork's child has it too. `None`: there is
    /// none free. Only async-signal-safe work, as in [`Driver::let_go`].
    fn keep(&self, fd: RawFd) -> Option<RawFd> {
        let _ = fd;
        None
    }

    /// Closes a number that [`Driver::keep`] gave.
    fn let_go(&self, keeper: RawFd) {
        let _ = keeper;
    }

    /// `/sys/module/netmap/parameters/<name>`, `None` if there is no such file.
    fn parameter(&self, name: &str) -> Option<Parameter> {
        let _ = name;
        None
    }

    /// The names of all of them.
    fn parameters(&self) -> Vec<String> {
        Vec::new()
    }

    /// That file, which is writable, opened for writing; its [`File::text`] is there. What is
    /// written to the descriptor past the library reaches the parameter too.
    fn open_parameter(&self, name: &str, flags: c_int) -> Result<(RawFd, Arc<dyn File>)> {
        let _ = (name, flags);
        Err(Errno(libc::EACCES))
    }

    /// Bytes of one write to that file.
    fn write_parameter(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let _ = (name, bytes);
        Err(Errno(libc::EACCES))
    }

    /// The network interfaces that come with the device and that the kernel does not know. Starts nothing: there are
    /// none where the device has not been used yet.
    fn interfaces(&self) -> Vec<Interface> {
        Vec::new()
    }

    /// Changes the one with this number.
    fn change_interface(&self, index: u32, change: InterfaceChange) -> Result<()> {
        let _ = (index, change);
        Err(Errno(libc::ENODEV))
    }
}
