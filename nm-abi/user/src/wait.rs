//! Waiting for ports.

use std::io;
use std::ops::BitOr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::device;
use crate::error::Error;
use crate::port::Port;

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(i16);

impl Interest {
    /// Nothing: what is in the tx rings is sent all the same.
    pub const NONE: Self = Self(0);
    /// Packets have arrived.
    pub const RX: Self = Self(libc::POLLIN);
    /// There is room to send.
    pub const TX: Self = Self(libc::POLLOUT);
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A port that [`wait`] waits for.
pub struct Watch<'p> {
    port: &'p mut Port,
    interest: Interest,
    found: i16,
}

impl Port {
    /// For [`wait`].
    pub fn watch(&mut self, interest: Interest) -> Watch<'_> {
        Watch {
            port: self,
            interest,
            found: 0,
        }
    }
}

impl Watch<'_> {
    /// Have packets arrived?
    #[must_use]
    pub fn has_packets(&self) -> bool {
        self.found & libc::POLLIN != 0
    }

    /// Is there room to send?
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.found & libc::POLLOUT != 0
    }
}

/// Exchanges slots with netmap at all of these ports, and sleeps until there is what one of them is watched for, or
/// `timeout` is over: poll(2). Packets that have arrived are in the rx rings, packets in the tx rings are sent. Gives
/// how many ports have something; 0 after a timeout or a signal.
///
/// # Errors
/// [`Error::Gone`] if a port is gone; [`Error::Wait`] if poll(2) fails.
pub fn wait(ports: &mut [Watch<'_>], timeout: Option<Duration>) -> Result<usize, Error> {
    let fd = |watch: &Watch<'_>| libc::pollfd {
        fd: watch.port.as_raw_fd(),
        events: watch.interest.0,
        revents: 0,
    };
    // Two ports are the usual case, and need no allocation.
    let mut few = [libc::pollfd {
        fd: -1,
        events: 0,
        revents: 0,
    }; 8];
    let mut many = Vec::new();
    let fds = match few.get_mut(..ports.len()) {
        Some(few) => few,
        None => {
            many.resize(ports.len(), few[0]);
            &mut many[..]
        }
    };
    fds.iter_mut()
        .zip(&*ports)
        .for_each(|(place, watch)| *place = fd(watch));
    match device::poll(fds, timeout) {
        Err(why) if why.kind() == io::ErrorKind::Interrupted => {
            fds.iter_mut().for_each(|fd| fd.revents = 0);
        }
        Err(why) => return Err(Error::Wait(why)),
        Ok(()) => {}
    }
    for (watch, fd) in ports.iter_mut().zip(&*fds) {
        watch.found = fd.revents;
        if fd.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0 {
            let name = watch.port.name().to_owned();
            return Err(Error::Gone { name });
        }
    }
    Ok(fds.iter().filter(|fd| fd.revents != 0).count())
}
