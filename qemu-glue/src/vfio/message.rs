//! Messages of vfio-user on a stream socket: a header of 16 bytes, a body, and descriptors.

use core::mem::MaybeUninit;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Bytes of the header: id (2), command (2), size of all (4), flags (4), errno (4).
const HEADER: usize = 16;
/// Bytes of a message at most. A region is written by at most so many.
const LONGEST: usize = 64 << 10;
/// Descriptors of a message at most.
const MOST_FDS: usize = 16;
/// A client that has something to say says it in so much time, and takes the answer.
const PATIENCE: Duration = Duration::from_secs(10);

const REPLY: u32 = 1;
const NO_REPLY: u32 = 1 << 4;
const ERROR: u32 = 1 << 5;

/// A message of the client.
pub struct Message {
    id: u16,
    /// what it asks for
    pub command: u16,
    flags: u32,
    /// what follows the header
    pub body: Vec<u8>,
    /// descriptors, close-on-exec
    pub fds: Vec<File>,
}

impl Message {
    /// Is no answer wanted?
    pub fn no_reply(&self) -> bool {
        self.flags & NO_REPLY != 0
    }

    /// Word `i` of the body.
    pub fn word(&self, i: usize) -> io::Result<u32> {
        let bytes = self.body.get(4 * i..).and_then(|b| b.first_chunk());
        bytes.map(|b| u32::from_le_bytes(*b)).ok_or_else(short)
    }

    /// Words `i` and `i + 1` as one number.
    pub fn long(&self, i: usize) -> io::Result<u64> {
        Ok(u64::from(self.word(i)?) | u64::from(self.word(i + 1)?) << 32)
    }
}

fn short() -> io::Error {
    super::bad("a message that is too short for its request")
}

/// A client that is connected.
pub struct Connection<'a> {
    stream: UnixStream,
    listener: BorrowedFd<'a>,
    /// the first message has come
    has_begun: bool,
    /// another client has been seen to wait
    has_seen_other: bool,
}

impl<'a> Connection<'a> {
    /// `listener` is looked at for others who wait for this one to go.
    pub fn new(stream: UnixStream, listener: BorrowedFd<'a>) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            listener,
            has_begun: false,
            has_seen_other: false,
        })
    }

    /// The next message; `None`: the client has hung up. `other` is called once when somebody else wants to connect.
    ///
    /// # Errors
    /// It is silent when it should not be, or says what is no message.
    pub fn receive(&mut self, other: &dyn Fn()) -> io::Result<Option<Message>> {
        let (mut header, mut fds) = ([0; HEADER], Vec::new());
        let mut deadline = (!self.has_begun).then(|| Instant::now() + PATIENCE);
        let mut got = 0;
        while got < HEADER {
            match self.some(&mut header[got..], &mut fds) {
                Ok(0) if got == 0 => return Ok(None),
                Ok(0) => return Err(cut_off()),
                Ok(n) => {
                    got += n;
                    deadline = deadline.or_else(|| Some(Instant::now() + PATIENCE));
                }
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, deadline, other)?,
                Err(e) => return Err(e.into()),
            }
        }
        let word = |i: usize| u32::from_le_bytes([0, 1, 2, 3].map(|k| header[4 * i + k]));
        let len = (word(1) as usize).checked_sub(HEADER);
        let len = len.filter(|len| *len <= LONGEST).ok_or_else(|| {
            let why = format!(
                "it has sent {} bytes that are not a vfio-user message",
                word(1)
            );
            io::Error::new(io::ErrorKind::InvalidData, why)
        })?;
        let mut body = vec![0; len];
        let mut got = 0;
        while got < len {
            match self.some(&mut body[got..], &mut fds) {
                Ok(0) => return Err(cut_off()),
                Ok(n) => got += n,
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, deadline, other)?,
                Err(e) => return Err(e.into()),
            }
        }
        self.has_begun = true;
        Ok(Some(Message {
            id: word(0) as u16,
            command: (word(0) >> 16) as u16,
            flags: word(2),
            body,
            fds,
        }))
    }

    /// Answers `message` with `pieces`, and with a descriptor.
    pub fn answer(
        &mut self,
        message: &Message,
        body: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        self.send(message, REPLY, 0, body, fd)
    }

    /// Answers that it cannot be done.
    pub fn refuse(&mut self, message: &Message, errno: Errno) -> io::Result<()> {
        let errno = errno.raw_os_error() as u32;
        self.send(message, REPLY | ERROR, errno, &[], None)
    }

    fn send(
        &mut self,
        to: &Message,
        flags: u32,
        errno: u32,
        body: &[u8],
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend(to.id.to_le_bytes());
        bytes.extend(to.command.to_le_bytes());
        let size = (HEADER + body.len()) as u32;
        let words = [size, flags, errno].map(u32::to_le_bytes);
        bytes.extend(words.as_flattened());
        bytes.extend(body);
        let (mut sent, deadline) = (0, Instant::now() + PATIENCE);
        while sent < bytes.len() {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let fds = fd.filter(|_| sent == 0).map(|fd| [fd]);
            if let Some(fds) = &fds {
                control.push(SendAncillaryMessage::ScmRights(fds));
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let slices = [IoSlice::new(&bytes[sent..])];
            match sendmsg(&self.stream, &slices, &mut control, flags) {
                Ok(n) => sent += n,
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, Some(deadline), &|| ())?,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Bytes that are there, into `space`; descriptors go to `fds`.
    fn some(&self, space: &mut [u8], fds: &mut Vec<File>) -> Result<usize, Errno> {
        let mut room = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut room);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let got = loop {
            let slices = &mut [IoSliceMut::new(space)];
            match recvmsg(&self.stream, slices, &mut control, flags) {
                Err(Errno::INTR) => {}
                got => break got?,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received.map(File::from));
            }
        }
        // More than one message may have are closed.
        fds.truncate(MOST_FDS);
        Ok(got.bytes)
    }

    /// Waits until the client is ready for `what`.
    fn wait(&mut self, what: PollFlags, end: Option<Instant>, other: &dyn Fn()) -> io::Result<()> {
        let rest = end.map(|end| end.saturating_duration_since(Instant::now()));
        if rest.is_some_and(|rest| rest.is_zero()) {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it has been silent for {} seconds", PATIENCE.as_secs()),
            ));
        }
        let rest = rest.and_then(|rest| Timespec::try_from(rest).ok());
        let mut fds = [
            PollFd::new(&self.stream, what),
            PollFd::from_borrowed_fd(self.listener, PollFlags::IN),
        ];
        let waited = if self.has_seen_other { 1 } else { 2 };
        match poll(&mut fds[..waited], rest.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        if waited == 2 && fds[0].revents().is_empty() && !fds[1].revents().is_empty() {
            self.has_seen_other = true;
            other();
        }
        Ok(())
    }
}

fn cut_off() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "it has hung up in the middle of a message",
    )
}
