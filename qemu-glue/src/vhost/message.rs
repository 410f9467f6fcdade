//! Messages of vhost-user on a stream socket: a header of three words, a body, and descriptors.

use core::mem::MaybeUninit;
use std::io::{IoSlice, IoSliceMut};

use rustix::cmsg_space;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg,
    sendmsg,
};
use vhost::vhost_user::message::{
    FrontendReq, MAX_ATTACHED_FD_ENTRIES, MAX_MSG_SIZE, VhostUserHeaderFlag, VhostUserMsgValidator,
};

/// Bytes of the header: request, flags, size of the body.
const HEADER: usize = 12;
/// The only version there is, in the flags.
const VERSION: u32 = 1;

/// A message of the front end.
#[derive(Debug)]
pub struct Message {
    /// what it asks for
    pub request: FrontendReq,
    /// an answer is wanted, even to a request that has none
    pub needs_reply: bool,
    /// what follows the header
    pub body: Vec<u8>,
    /// descriptors, close-on-exec
    pub fds: Vec<OwnedFd>,
}

impl Message {
    /// The body, if it is a `T` and a good one.
    pub fn body_as<T: VhostUserMsgValidator + Default>(&self) -> Result<T, String> {
        record(&self.body).ok_or_else(|| format!("{:?} with an impossible body", self.request))
    }

    /// The only descriptor.
    pub fn fd(&mut self) -> Result<OwnedFd, String> {
        match self.fds.len() {
            1 => Ok(self.fds.remove(0)),
            n => Err(format!(
                "{:?} with {n} descriptors: it takes one",
                self.request
            )),
        }
    }
}

/// `bytes` as a `T`, if there are as many and it is a good one.
pub fn record<T: VhostUserMsgValidator + Default>(bytes: &[u8]) -> Option<T> {
    let mut record = T::default();
    if bytes.len() != size_of::<T>() {
        return None;
    }
    record.as_mut_slice().copy_from_slice(bytes);
    record.is_valid().then_some(record)
}

/// Why nothing more is received.
#[derive(Debug)]
pub enum Ended {
    /// the front end has hung up
    Gone,
    /// what it says is no vhost-user
    Nonsense(String),
}

/// What has been received of the next message.
#[derive(Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Inbox {
    /// The next message; `None` if it is not complete. Never blocks.
    pub fn receive(&mut self, socket: impl AsFd) -> Result<Option<Message>, Ended> {
        loop {
            let wanted = self.wanted()?;
            if self.bytes.len() == wanted {
                return self.complete().map(Some);
            }
            if !self.fill(&socket, wanted)? {
                return Ok(None);
            }
        }
    }

    /// How long the message is, as far as that is known.
    fn wanted(&self) -> Result<usize, Ended> {
        if self.bytes.len() < HEADER {
            return Ok(HEADER);
        }
        let size = self.word(2) as usize;
        match size {
            0..=MAX_MSG_SIZE => Ok(HEADER + size),
            _ => Err(Ended::Nonsense(format!("a message of {size} bytes"))),
        }
    }

    fn word(&self, i: usize) -> u32 {
        let bytes = self.bytes.get(4 * i..4 * i + 4);
        bytes.map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// Receives up to `wanted` bytes. False if there are none now.
    fn fill(&mut self, socket: impl AsFd, wanted: usize) -> Result<bool, Ended> {
        let begin = self.bytes.len();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_ATTACHED_FD_ENTRIES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        self.bytes.resize(wanted, 0);
        let slices = &mut [IoSliceMut::new(&mut self.bytes[begin..])];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let got = recvmsg(socket, slices, &mut control, flags);
        self.bytes
            .truncate(begin + got.as_ref().map_or(0, |got| got.bytes));
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                self.fds.extend(received);
            }
        }
        if self.fds.len() > MAX_ATTACHED_FD_ENTRIES {
            return Err(Ended::Nonsense(
                "a message with too many descriptors".into(),
            ));
        }
        match got {
            Ok(got) if got.bytes > 0 => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(Errno::INTR) => Ok(true),
            _ => Err(Ended::Gone),
        }
    }

    fn complete(&mut self) -> Result<Message, Ended> {
        let (number, flags) = (self.word(0), self.word(1));
        let unknown = |_| Ended::Nonsense(format!("an unknown request, {number}"));
        let request = FrontendReq::try_from(number).map_err(unknown)?;
        if flags & VhostUserHeaderFlag::VERSION.bits() != VERSION {
            return Err(Ended::Nonsense(format!("{request:?} of another version")));
        }
        let body = self.bytes.split_off(HEADER);
        self.bytes.clear();
        Ok(Message {
            request,
            needs_reply: flags & VhostUserHeaderFlag::NEED_REPLY.bits() != 0,
            body,
            fds: std::mem::take(&mut self.fds),
        })
    }
}

/// Answers `request` with `body`. A front end that does not read its answers is as good as gone.
pub fn reply(socket: impl AsFd, request: FrontendReq, body: &[u8]) -> Result<(), Ended> {
    let flags = VERSION | VhostUserHeaderFlag::REPLY.bits();
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    for word in [request.into(), flags, body.len() as u32] {
        bytes.extend_from_slice(&u32::to_ne_bytes(word));
    }
    bytes.extend_from_slice(body);
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let mut nothing = SendAncillaryBuffer::default();
    match sendmsg(socket, &[IoSlice::new(&bytes)], &mut nothing, flags) {
        Ok(n) if n == bytes.len() => Ok(()),
        Err(Errno::AGAIN) | Ok(_) => Err(Ended::Nonsense("it does not read its answers".into())),
        Err(_) => Err(Ended::Gone),
    }
}
