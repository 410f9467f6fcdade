//! The sockets: datagrams, or a stream in which each frame comes behind its length.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd};
use uvale_tools::output::plain;

use crate::guest_shown::peer;
use crate::socket_place::SocketPlace;

/// The longest frame: what QEMU's own buffers take.
const LONGEST: usize = 68 * 1024;
/// Bytes of a frame's length in a stream, big-endian.
const LENGTH: usize = 4;

/// What has become of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// it is on its way
    Gone,
    /// nobody is there to have it, or it is too long
    Lost,
    /// try again
    NoRoom,
}

/// The way to the guest.
pub enum Link {
    /// a datagram socket, and from where the guest has sent last
    Datagrams {
        socket: UnixDatagram,
        guest: Option<SocketAddr>,
        _place: SocketPlace,
    },
    /// a listening socket, and the stream of who has connected
    Listener {
        listener: UnixListener,
        stream: Option<Stream>,
        /// who waits cannot be let in: no descriptor is free
        is_deaf: bool,
        _place: SocketPlace,
    },
    /// the stream that we have connected; `None`: the other end has closed it
    Connected(Option<Stream>),
}

/// A stream of frames.
pub struct Stream {
    socket: UnixStream,
    /// bytes that have come and make no whole frame yet
    arrived: Vec<u8>,
    /// how many of them have been taken
    taken: usize,
    /// bytes of a frame that the socket had no room for
    unsent: Vec<u8>,
    /// the process at the other end, if it has a number here
    peer: Option<i32>,
}

impl Link {
    /// Datagrams at `path`.
    pub fn datagrams(path: &Path) -> Result<Self, String> {
        let (place, socket) = SocketPlace::bind(path, |path| {
            let socket = UnixDatagram::bind(path)?;
            socket.set_nonblocking(true).map(|()| socket)
        })?;
        Ok(Self::Datagrams {
            socket,
            guest: None,
            _place: place,
        })
    }

    /// A stream of whoever connects to `path`, one at a time.
    pub fn listen(path: &Path) -> Result<Self, String> {
        let (place, listener) = SocketPlace::bind(path, |path| {
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true).map(|()| listener)
        })?;
        Ok(Self::Listener {
            listener,
            stream: None,
            is_deaf: false,
            _place: place,
        })
    }

    /// A stream to who listens at `path`.
    pub fn connect(path: &Path) -> Result<Self, String> {
        let connected = UnixStream::connect(path).and_then(Stream::new);
        let stream = connected.map_err(|e| {
            let (path, why) = (path.display(), plain(&e));
            format!("cannot connect to {path}: {why}; first start the process that listens there")
        })?;
        Ok(Self::Connected(Some(stream)))
    }

    fn stream(&mut self) -> Option<&mut Stream> {
        match self {
            Self::Datagrams { .. } => None,
            Self::Listener { stream, .. } | Self::Connected(stream) => stream.as_mut(),
        }
    }

    /// The process at the other end of the stream; who sends datagrams is not known.
    pub fn peer(&self) -> Option<i32> {
        match self {
            Self::Datagrams { .. } => None,
            Self::Listener { stream, .. } | Self::Connected(stream) => stream.as_ref()?.peer,
        }
    }

    fn hang_up(&mut self) {
        if let Self::Listener { stream, .. } | Self::Connected(stream) = self {
            *stream = None;
        }
    }

    /// Will there never be a guest again?
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Connected(None))
    }

    /// Does the socket become writable when there is room for a frame again?
    pub fn tells_of_room(&self) -> bool {
        !matches!(self, Self::Datagrams { .. })
    }

    /// Does somebody wait who cannot be let in? Trying again later is all there is.
    pub fn is_deaf(&self) -> bool {
        matches!(self, Self::Listener { is_deaf: true, .. })
    }

    /// Is there something that goes as soon as the socket is writable?
    pub fn has_unsent(&self) -> bool {
        match self {
            Self::Datagrams { .. } => false,
            Self::Listener { stream, .. } | Self::Connected(stream) => {
                stream.as_ref().is_some_and(|s| !s.unsent.is_empty())
            }
        }
    }

    /// Sends a frame.
    pub fn send(&mut self, frame: &[u8]) -> Result<Sent, String> {
        if frame.is_empty() || frame.len() > LONGEST {
            return Ok(Sent::Lost);
        }
        if let Self::Datagrams { socket, guest, .. } = self {
            let Some(to) = guest else {
                return Ok(Sent::Lost);
            };
            return Ok(match socket.send_to_addr(frame, to) {
                Ok(_) => Sent::Gone,
                Err(e) if e.kind() == ErrorKind::WouldBlock => Sent::NoRoom,
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => Sent::NoRoom,
                // It has gone, or takes no datagram as long as this.
                Err(_) => Sent::Lost,
            });
        }
        let Some(stream) = self.stream() else {
            return Ok(Sent::Lost);
        };
        let sent = stream.send(frame);
        if sent.is_none() {
            self.hang_up();
        }
        Ok(sent.unwrap_or(Sent::Lost))
    }

    /// Receives a frame in place of what `frame` holds. False if there is none.
    pub fn receive(&mut self, frame: &mut Vec<u8>) -> Result<bool, String> {
        match self {
            Self::Datagrams { socket, guest, .. } => {
                frame.resize(LONGEST, 0);
                let Ok((len, from)) = socket.recv_from(frame) else {
                    return Ok(false);
                };
                frame.truncate(len);
                if !from.is_unnamed() {
                    *guest = Some(from);
                }
                return Ok(true);
            }
            Self::Listener {
                listener,
                stream,
                is_deaf,
                ..
            } if stream.is_none() => {
                let come = listener.accept().and_then(|(s, _)| Stream::new(s));
                *is_deaf = match &come {
                    Ok(_) => false,
                    Err(e) => !matches!(
                        e.kind(),
                        ErrorKind::WouldBlock
                            | ErrorKind::Interrupted
                            | ErrorKind::ConnectionAborted
                    ),
                };
                *stream = come.ok();
            }
            _ => {}
        }
        let Some(stream) = self.stream() else {
            return Ok(false);
        };
        match stream.receive(frame) {
            Ok(there_is) => Ok(there_is),
            Err(()) => {
                self.hang_up();
                Ok(false)
            }
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Datagrams { socket, .. } => socket.as_fd(),
            Self::Listener {
                stream: Some(stream),
                ..
            }
            | Self::Connected(Some(stream)) => stream.socket.as_fd(),
            Self::Listener { listener, .. } => listener.as_fd(),
            Self::Connected(None) => rustix::stdio::stdin(),
        }
    }
}

impl Stream {
    fn new(socket: UnixStream) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            peer: peer(&socket),
            socket,
            arrived: Vec::new(),
            taken: 0,
            unsent: Vec::new(),
        })
    }

    /// `None`: the other end is gone.
    fn send(&mut self, frame: &[u8]) -> Option<Sent> {
        if !self.flush()? {
            return Some(Sent::NoRoom);
        }
        self.unsent.extend((frame.len() as u32).to_be_bytes());
        self.unsent.extend(frame);
        self.flush().map(|_| Sent::Gone)
    }

    /// Sends what is left. True if nothing is.
    fn flush(&mut self) -> Option<bool> {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Some(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        Some(true)
    }

    /// `Err`: the other end is gone, or sends what is no frame.
    fn receive(&mut self, frame: &mut Vec<u8>) -> Result<bool, ()> {
        // What could not be sent goes as soon as it can: nobody else looks after it.
        self.flush().ok_or(())?;
        loop {
            if self.take(frame)? {
                return Ok(true);
            }
            self.arrived.drain(..self.taken);
            self.taken = 0;
            let had = self.arrived.len();
            self.arrived.resize(had + LONGEST, 0);
            let got = self.socket.read(&mut self.arrived[had..]);
            self.arrived.truncate(had + *got.as_ref().unwrap_or(&0));
            match got {
                Ok(0) => return Err(()),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(()),
            }
        }
    }

    /// Takes a frame from what has arrived.
    fn take(&mut self, frame: &mut Vec<u8>) -> Result<bool, ()> {
        let bytes = &self.arrived[self.taken..];
        let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else {
            return Ok(false);
        };
        let len = u32::from_be_bytes(*length) as usize;
        if len > LONGEST {
            return Err(());
        }
        let Some(whole) = rest.get(..len) else {
            return Ok(false);
        };
        frame.clear();
        frame.extend_from_slice(whole);
        self.taken += LENGTH + len;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Link, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Link::Connected(Some(Stream::new(ours).unwrap())), theirs)
    }

    #[test]
    fn frames_come_whole_however_a_stream_is_cut() {
        let (mut link, mut theirs) = pair();
        let mut bytes = Vec::new();
        for len in [60usize, 1, 1514, 65_535] {
            bytes.extend((len as u32).to_be_bytes());
            bytes.extend(vec![len as u8; len]);
        }
        let mut frame = Vec::new();
        let mut lens = Vec::new();
        for piece in bytes.chunks(977) {
            theirs.write_all(piece).unwrap();
            while link.receive(&mut frame).unwrap() {
                assert!(frame.iter().all(|byte| *byte == frame.len() as u8));
                lens.push(frame.len());
            }
        }
        assert_eq!(lens, [60, 1, 1514, 65_535]);
    }

    #[test]
    fn what_is_no_frame_ends_the_stream_and_nothing_else() {
        let (mut link, mut theirs) = pair();
        theirs.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert!(!link.receive(&mut Vec::new()).unwrap());
        assert!(link.is_over());
        assert_eq!(link.send(&[0; 60]), Ok(Sent::Lost));
    }

    #[test]
    fn a_full_stream_takes_no_more_and_loses_nothing() {
        let (mut link, mut theirs) = pair();
        let mut sent = 0u32;
        while link.send(&[1; 1500]) == Ok(Sent::Gone) {
            sent += 1;
        }
        theirs.set_nonblocking(true).unwrap();
        let mut got = Vec::new();
        let mut piece = [0; 65_536];
        loop {
            match theirs.read(&mut piece) {
                Ok(n) => got.extend_from_slice(&piece[..n]),
                Err(_) if got.len() == sent as usize * 1504 => break,
                Err(_) => drop(link.receive(&mut Vec::new())),
            }
        }
        assert!(sent > 0);
    }
}
