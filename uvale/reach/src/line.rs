//! The program's descriptor: one end of a stream of bytes whose other end is here. By what lies in it the kernel knows
//! whether the program's end is readable and writable, so that poll, select and epoll wait for it as for any other.
//!
//! | the program's end | is so while |
//! |---|---|
//! | readable | bytes from here lie there unread |
//! | writable | its send buffer, the smallest that there is, is not full of bytes that nobody reads here |
//! | hung up, in error | the end here is closed with a byte unread in it, the [`STOCK`] |
//!
//! To take bytes away from the program's end, or to put some into its buffer, needs a descriptor for it, a **handle**;
//! while one is kept here the last close of the program's cannot be seen.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair, sockopt,
    sockopt::Timeout,
};

/// Bytes that always lie unread here: the program's end is writable with these in its buffer.
const STOCK: u32 = 1;
/// Unread bytes at the program's end from which on they are taken away before there is another.
const MANY: u32 = 64;
/// A byte for each of the events that nobody has taken away, or of a full buffer.
const BYTES: [u8; 256] = [0; 256];

/// The shortest timeout of a socket.
const SOON: Duration = Duration::from_micros(1);

/// How a handle is had: `None` if the kernel does not give one.
pub type Fetch<'a> = &'a dyn Fn() -> Option<OwnedFd>;

/// The end here.
pub struct Line {
    /// `None` once it is broken
    end: Option<OwnedFd>,
    /// bytes that lie at the program's end
    unread: u32,
    /// bytes of the program's buffer
    sent: u32,
    is_full: bool,
}

impl Line {
    /// A line, and the program's end of it.
    pub fn new() -> Result<(Self, OwnedFd), Errno> {
        let (end, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        sockopt::set_socket_send_buffer_size(&theirs, 1)?;
        // The device can be neither read nor written; a socket whose reader would wait forever fails soon instead.
        for timeout in [Timeout::Recv, Timeout::Send] {
            sockopt::set_socket_timeout(&theirs, timeout, Some(SOON))?;
        }
        send(&theirs, &BYTES[..STOCK as usize], SendFlags::DONTWAIT)?;
        let line = Self {
            end: Some(end),
            unread: 0,
            sent: STOCK,
            is_full: false,
        };
        Ok((line, theirs))
    }

    /// The end here.
    pub fn end(&self) -> Option<&OwnedFd> {
        self.end.as_ref()
    }

    /// The program's end is in error and hung up from now on.
    pub fn break_off(&mut self) -> Option<OwnedFd> {
        self.end.take()
    }

    /// Makes the program's end readable, or not; `edge`: whoever waits for edges is to see one. False if that would
    /// need a handle.
    pub fn set_readable(&mut self, on: bool, edge: bool, fetch: Fetch<'_>) -> bool {
        let is_needless = on && self.unread > 0 && !edge || !on && self.unread == 0;
        if is_needless {
            return true;
        }
        if !on || self.unread >= MANY {
            let Some(handle) = fetch() else {
                return false;
            };
            let mut bytes = [0; BYTES.len()];
            while recv(&handle, &mut bytes, RecvFlags::DONTWAIT).is_ok_and(|(_, n)| n > 0) {}
            self.unread = 0;
        }
        if on && let Some(end) = &self.end {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            // A buffer that is full is as good as one more byte in it.
            let _ = send(end, &BYTES[..1], flags);
            self.unread += 1;
        }
        true
    }

    /// The same of writable.
    pub fn set_writable(&mut self, on: bool, edge: bool, fetch: Fetch<'_>) -> bool {
        if on && !self.is_full && !edge || !on && self.is_full {
            return true;
        }
        if !self.is_full {
            let Some(handle) = fetch() else {
                return false;
            };
            // For an edge one byte more is read here soon; else until there is room for no more.
            let most = if on { 1 } else { BYTES.len() as u32 };
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            for _ in 0..most {
                match send(&handle, &BYTES[..1], flags) {
                    Ok(_) => self.sent += 1,
                    Err(_) => break,
                }
            }
        }
        self.is_full = !on;
        if on && let Some(end) = &self.end {
            let surplus = (self.sent.saturating_sub(STOCK) as usize).min(BYTES.len());
            let mut bytes = [0; BYTES.len()];
            if let Ok((_, n)) = recv(end, &mut bytes[..surplus], RecvFlags::DONTWAIT) {
                self.sent -= n as u32;
            }
        }
        true
    }

    /// Does the program's end have unread bytes that say that it is readable?
    pub fn is_readable(&self) -> bool {
        self.unread > 0
    }

    /// Is it writable?
    pub fn is_writable(&self) -> bool {
        !self.is_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

    const NOW: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };

    fn state(end: &OwnedFd) -> PollFlags {
        let mut fds = [PollFd::new(end, PollFlags::IN | PollFlags::OUT)];
        poll(&mut fds, Some(&NOW)).unwrap();
        fds[0].revents()
    }

    #[test]
    fn the_other_end_is_as_it_is_set() {
        let (mut line, theirs) = Line::new().unwrap();
        let fetch = || theirs.try_clone().ok();
        for round in 0..1000 {
            for flags in [
                PollFlags::empty(),
                PollFlags::IN,
                PollFlags::IN | PollFlags::OUT,
                PollFlags::OUT,
            ] {
                let edge = round % 3 == 0;
                assert!(line.set_readable(flags.contains(PollFlags::IN), edge, &fetch));
                assert!(line.set_writable(flags.contains(PollFlags::OUT), edge, &fetch));
                assert_eq!(state(&theirs), flags, "round {round}");
            }
        }
        line.break_off();
        assert!(state(&theirs).contains(PollFlags::ERR | PollFlags::HUP));
    }

    #[test]
    fn without_a_handle_it_can_be_made_ready() {
        let (mut line, theirs) = Line::new().unwrap();
        let refused = || None;
        assert!(line.set_readable(true, false, &refused));
        assert!(!line.set_readable(false, false, &refused) && line.is_readable());
        assert!(line.set_writable(true, false, &refused));
        assert!(!line.set_writable(false, false, &refused) && line.is_writable());
        assert_eq!(state(&theirs), PollFlags::IN | PollFlags::OUT);
    }

    #[test]
    fn every_edge_is_seen() {
        let (mut line, theirs) = Line::new().unwrap();
        let fetch = || theirs.try_clone().ok();
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let events = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&set, &theirs, epoll::EventData::new_u64(0), events).unwrap();
        let seen = || {
            let mut list = [epoll::Event {
                flags: epoll::EventFlags::empty(),
                data: epoll::EventData::new_u64(0),
            }; 4];
            let n = epoll::wait(&set, &mut list, Some(&NOW)).unwrap();
            list[..n].iter().fold(epoll::EventFlags::empty(), |all, e| {
                let flags = e.flags;
                all | flags
            })
        };
        assert!(seen().contains(epoll::EventFlags::OUT));
        for _ in 0..500 {
            assert!(seen().is_empty());
            assert!(line.set_readable(true, true, &fetch));
            assert!(seen().contains(epoll::EventFlags::IN));
            while !seen().is_empty() {}
            assert!(line.set_writable(true, true, &fetch));
            assert!(seen().contains(epoll::EventFlags::OUT));
            while !seen().is_empty() {}
        }
    }
}
