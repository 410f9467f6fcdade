//! Eventfds that another process has given us: interrupts of a guest, and its kicks.
//!
//! An eventfd is full at 2^64 - 2, and a write(2) to a full one waits unless O_NONBLOCK is set. That flag, like the
//! count, belongs to whoever has the descriptor, and may change at any time, so a write may wait for ever; the kernel
//! refuses RWF_NOWAIT here. What never waits is the kernel's own signal at the end of an asynchronous read: it counts
//! to 2^64 - 1 and stops there. So [`EventFd::signal`] is a read of no bytes that tells the eventfd when it is done,
//! which it is at once. That takes as long as poll(2) and write(2) together.
//!
//! Where asynchronous I/O is forbidden nothing takes its place: poll(2) before a write(2) leaves a moment in which
//! the guest's side can fill the eventfd, and a thread for writes would be held by the first one that is full, for the
//! next guest, too.
#![allow(unsafe_code)]

use std::sync::OnceLock;

use libc::{SYS_io_getevents, SYS_io_setup, SYS_io_submit, c_long, syscall};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

/// Of linux/aio_abi.h.
const IOCB_CMD_PREAD: u16 = 0;
const IOCB_CMD_PWRITE: u16 = 1;
const IOCB_FLAG_RESFD: u32 = 1;
/// `struct iocb` of a little-endian machine.
#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: i32,
    opcode: u16,
    priority: i16,
    descriptor: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    event: u32,
}
const _: () = assert!(size_of::<Iocb>() == 64);

/// Words of `struct io_event`.
const EVENT_WORDS: usize = 4;

/// Reads under way at most, as far as we ask for.
const MOST: c_long = 128;
/// Tries to submit one. The first is refused when the answers of those before are to be fetched; others only when
/// another thread is quicker.
const TRIES: u32 = 100;

/// An eventfd for certain.
pub struct EventFd(OwnedFd);

impl EventFd {
    /// Checks that `fd` is an eventfd: anything else may block, or never let us sleep.
    ///
    /// # Errors
    /// A sentence.
    pub fn new(fd: impl Into<OwnedFd>) -> Result<Self, String> {
        let fd = fd.into();
        // The kernel looks at the eventfd before it sees that nothing can be written to the other.
        match reads()?.submit(IOCB_CMD_PWRITE, &fd) {
            Err(Errno::BADF) => Ok(Self(fd)),
            Err(Errno::INVAL) => Err("a descriptor that is not an eventfd".into()),
            other => Err(format!("a descriptor that cannot be examined: {other:?}")),
        }
    }

    /// Adds one, and wakes who waits for it. Never waits.
    pub fn signal(&self) {
        if let Ok(reads) = reads() {
            let _ = reads.submit(IOCB_CMD_PREAD, &self.0);
        }
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The process's asynchronous reads.
struct Reads {
    context: c_long,
    /// can be read, which gives nothing, and not written: the end of a pipe whose other end is closed
    nothing: OwnedFd,
}

/// Made when it is first needed.
///
/// # Errors
/// A sentence: the kernel has none, or no more.
fn reads() -> Result<&'static Reads, String> {
    static READS: OnceLock<Result<Reads, Errno>> = OnceLock::new();
    let remedy = |e: &Errno| match *e {
        Errno::AGAIN => "raise the limit, fs.aio-max-nr",
        Errno::MFILE | Errno::NFILE => "raise the limit on open files, ulimit -n",
        _ => "allow io_setup, io_submit and io_getevents, in a container by its seccomp profile",
    };
    READS.get_or_init(Reads::new).as_ref().map_err(|e| {
        format!(
            "cannot signal the guest, which takes Linux AIO: {e}: {}",
            remedy(e)
        )
    })
}

/// Can eventfds be signalled at all?
///
/// # Errors
/// A sentence.
pub fn ready() -> Result<(), String> {
    reads().map(drop)
}

impl Reads {
    fn new() -> Result<Self, Errno> {
        let (nothing, _) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut context: c_long = 0;
        // SAFETY: the kernel writes one word, which is ours.
        check(unsafe { syscall(SYS_io_setup, MOST, &raw mut context) })?;
        Ok(Self { context, nothing })
    }

    /// Reads or writes no bytes, and has the kernel signal `event` when that is done.
    fn submit(&self, what: u16, event: &OwnedFd) -> Result<(), Errno> {
        let mut request = Iocb {
            opcode: what,
            descriptor: self.nothing.as_raw_fd() as u32,
            flags: IOCB_FLAG_RESFD,
            event: event.as_raw_fd() as u32,
            ..Iocb::default()
        };
        let mut outcome = Err(Errno::AGAIN);
        for _ in 0..TRIES {
            let mut requests = [&raw mut request];
            // SAFETY: the kernel reads one address, and the request there, to which it writes its key: both are ours.
            // It keeps neither: there is no buffer, and what it stores of the request is its address, as a number.
            outcome =
                check(unsafe { syscall(SYS_io_submit, self.context, 1, requests.as_mut_ptr()) });
            if outcome != Err(Errno::AGAIN) {
                break;
            }
            self.forget_answers();
        }
        outcome
    }

    /// Fetches answers, which make room for as many requests.
    fn forget_answers(&self) {
        let mut events = [[0u64; EVENT_WORDS]; MOST as usize];
        let mut at_once = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let (space, time) = (events.as_mut_ptr(), &raw mut at_once);
        // SAFETY: the kernel writes at most as many events as there is space for, and the time; nobody else has them.
        unsafe {
            syscall(
                SYS_io_getevents,
                self.context,
                0 as c_long,
                MOST,
                space,
                time,
            )
        };
    }
}

fn check(answer: c_long) -> Result<(), Errno> {
    match answer {
        0.. => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};

    fn count(event: &EventFd) -> u64 {
        let mut bytes = [0; 8];
        assert_eq!(rustix::io::read(event, &mut bytes), Ok(8));
        u64::from_ne_bytes(bytes)
    }

    #[test]
    fn an_eventfd_is_signalled_from_several_threads_and_no_signal_is_lost() {
        let event = EventFd::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..2000).for_each(|_| event.signal()));
            }
        });
        assert_eq!(count(&event), 6000);
    }

    #[test]
    fn a_full_one_that_blocks_does_not_stop_us() {
        let event = EventFd::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap()).unwrap();
        rustix::io::write(&event, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        (0..3).for_each(|_| event.signal());
        assert_eq!(count(&event), u64::MAX);
    }

    #[test]
    fn what_is_no_eventfd_is_refused() {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let here = std::fs::File::open(".").unwrap();
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let (stream, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let others: [OwnedFd; 5] = [read, write, here.into(), file.into(), stream.into()];
        for fd in others {
            let why = EventFd::new(fd).err();
            assert_eq!(why.as_deref(), Some("a descriptor that is not an eventfd"));
        }
        // It is not signalled by the check.
        let event = EventFd::new(eventfd(1, EventfdFlags::CLOEXEC).unwrap()).unwrap();
        assert_eq!(count(&event), 1);
    }
}
