//! A connection: what it is, what comes on it, and what an answer consists of.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::RecvFlags;

use uvale_control::ClientId;
use uvale_link::channel::{Packet, receive};
use uvale_link::proto::Reply;
use uvale_link::report::Guest;
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;
use uvale_system::who::Holder;

/// How long a connection may take to send its first message. A program that was stopped in the
/// middle of an open may take longer: it keeps its connection as long as nobody else needs the place.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What a connection is, decided by its first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// nothing yet
    New,
    /// a process
    Session(u32),
    /// an open description of the device
    Device {
        /// its number
        client: ClientId,
        /// flags of open(2)
        flags: i32,
    },
    /// a module parameter's file, opened for writing
    Parameter(&'static str),
}

/// The daemon's end of a connection.
pub struct Connection {
    pub fd: Fd,
    pub role: Role,
    since: Instant,
    /// the process that has it, or opened it, once it has said so
    pub who: Option<Holder>,
    /// the guest that the process serves, as it has said last
    pub guest: Option<Guest>,
}

/// An answer, and at most one descriptor with it.
pub(super) struct Answer<'a>(pub Reply, pub Option<&'a [Fd]>);

/// An answer, or why there is none.
pub(super) type Answered<'a> = Result<Answer<'a>, Refusal>;

impl From<Reply> for Answer<'_> {
    fn from(reply: Reply) -> Self {
        Self(reply, None)
    }
}

impl Connection {
    pub fn new(fd: Fd) -> Self {
        Self {
            fd,
            role: Role::New,
            since: Instant::now(),
            who: None,
            guest: None,
        }
    }

    /// Has it sent no first message, though it had the time?
    pub fn is_silent(&self) -> bool {
        self.role == Role::New && self.since.elapsed() >= PATIENCE
    }

    /// As if it had been silent for too long.
    #[cfg(test)]
    pub fn wait_in_vain(&mut self) {
        self.since -= PATIENCE;
    }

    /// The next packet; `Ok(None)` after a hang-up, `EAGAIN` if there is nothing.
    pub fn receive(&self) -> Result<Option<Packet>, Errno> {
        receive(self.fd.as_fd(), RecvFlags::DONTWAIT)
    }

    /// Is the other end closed?
    pub fn has_hung_up(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&self.fd, PollFlags::RDHUP)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let _ = poll(&mut fds, Some(&now));
        fds[0]
            .revents()
            .intersects(PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR)
    }
}
