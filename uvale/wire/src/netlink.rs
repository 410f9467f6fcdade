//! Netlink: questions to the kernel about its network, and orders.
//!
//! A [`Message`] is built from a number, the structure of its family and attributes; a [`Socket`] asks and takes
//! the answers. What comes back is taken apart with every length checked: an answer that is cut, or none at all,
//! is an error or has fewer attributes.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt,
};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use uvale_system::sys::{Fd, random, set_option};

/// Bytes of `struct nlmsghdr`, and of what stands before an attribute's value.
const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;
const NESTED: u16 = 1 << 15;
const KIND: u16 = (1 << 14) - 1;

/// Flags of a request (`linux/netlink.h`).
pub const REQUEST: u16 = 1;
const ACK: u16 = 4;
/// All there are, not one.
pub const DUMP: u16 = 0x300;
/// Refuse if it is there.
pub const EXCL: u16 = 0x200;
/// Make it if it is not there.
pub const CREATE: u16 = 0x400;
/// At the end of the list.
pub const APPEND: u16 = 0x800;

/// Kinds of answers that every family has.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// An error does not repeat the request; attributes follow it; the text among them.
const CAPPED: u16 = 0x100;
const ACK_TLVS: u16 = 0x200;
const ATTR_MSG: u16 = 1;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// Kind `kind`, with the structure that its family puts before the attributes.
    pub fn new(kind: u16, flags: u16, family: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(family);
        Self(bytes).padded()
    }

    /// With an attribute.
    #[must_use]
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let len = (ATTRIBUTE + value.len()) as u16;
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.padded()
    }

    /// With bytes that are no attribute: a structure at the beginning of a nest.
    #[must_use]
    pub fn bytes(mut self, value: &[u8]) -> Self {
        self.0.extend_from_slice(value);
        self.padded()
    }

    /// With a number in the machine's byte order, as rtnetlink has them.
    #[must_use]
    pub fn number(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// With a number in network byte order, as netfilter has them.
    #[must_use]
    pub fn be32(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// With a name, which ends with a 0.
    #[must_use]
    pub fn text(self, kind: u16, value: &str) -> Self {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// With an attribute that consists of those that `fill` adds.
    #[must_use]
    pub fn nest(self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let at = self.0.len();
        let mut filled = fill(self.attribute(kind | NESTED, &[]));
        let len = (filled.0.len() - at) as u16;
        filled.0[at..at + 2].copy_from_slice(&len.to_ne_bytes());
        filled
    }

    fn padded(mut self) -> Self {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finish(&mut self, sequence: u32, flags: u16) {
        let len = self.0.len() as u32;
        let flags = flags | u16::from_ne_bytes([self.0[6], self.0[7]]);
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }
}

/// What the kernel refused, and its own words if it had any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// the error number
    pub errno: Errno,
    /// the kernel's words
    pub why: Option<String>,
    /// number of the request, of those asked together
    pub at: usize,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self {
            errno,
            why: None,
            at: 0,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Some(why) => write!(f, "{} ({why})", self.errno),
            None => write!(f, "{}", self.errno),
        }
    }
}

/// A message of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// its kind
    pub kind: u16,
    body: Vec<u8>,
}

impl Answer {
    /// The structure before the attributes: `len` bytes of it.
    pub fn family(&self, len: usize) -> Option<&[u8]> {
        self.body.get(..len)
    }

    /// The attributes behind a structure of `len` bytes.
    pub fn attributes(&self, len: usize) -> Attributes<'_> {
        Attributes(self.body.get(len.next_multiple_of(4)..).unwrap_or_default())
    }
}

/// A list of attributes. Ends where one is cut or is none.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// The first of that kind.
    pub fn find(mut self, kind: u16) -> Option<Attribute<'a>> {
        Iterator::find(&mut self, |a| a.kind == kind)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let len = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & KIND;
        let value = self.0.get(ATTRIBUTE..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Attribute { kind, value })
    }
}

/// An attribute of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// its kind
    pub kind: u16,
    /// its bytes
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// A number in the machine's byte order.
    pub fn number(&self) -> Option<u32> {
        u32_at(self.value, 0)
    }

    /// A name without the 0 that ends it.
    pub fn text(&self) -> &'a [u8] {
        self.value.split(|b| *b == 0).next().unwrap_or_default()
    }

    /// The attributes that it consists of.
    pub fn nested(&self) -> Attributes<'a> {
        Attributes(self.value)
    }
}

/// The part of the kernel that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// rtnetlink: interfaces, queueing disciplines and their filters
    Route,
    /// nfnetlink: nftables
    Netfilter,
}

impl Subject {
    fn protocol(self) -> Option<Protocol> {
        match self {
            // It is 0, as that of no other netlink socket.
            Self::Route => None,
            Self::Netfilter => Some(netlink::NETFILTER),
        }
    }
}

/// A netlink socket. The network namespace that counts is that of the thread that opened it.
#[derive(Debug)]
pub struct Socket {
    fd: Fd,
    sequence: AtomicU32,
}

const SOL_NETLINK: i32 = 270;
const CAP_ACK: i32 = 10;
const EXT_ACK: i32 = 11;
/// The kernel's address.
const KERNEL: SocketAddrNetlink = SocketAddrNetlink::new(0, 0);

impl Socket {
    /// A new one.
    pub fn open(subject: Subject) -> Result<Self, Errno> {
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let protocol = subject.protocol();
        let open = || rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, protocol);
        let fd = without_rights(open)??;
        for option in [CAP_ACK, EXT_ACK] {
            // Kernels without it have no words to add.
            let _ = set_option(&fd, SOL_NETLINK, option, &1u32.to_ne_bytes());
        }
        Ok(Self::new(Fd::from(fd)))
    }

    /// One that [`Self::open`] made in another process, which is not trusted: `EPROTO` if the kernel does not answer
    /// there, or answers about something else.
    pub fn from_peer(fd: Fd, subject: Subject) -> Result<Self, Errno> {
        let is_netlink = sockopt::socket_domain(&fd) == Ok(AddressFamily::NETLINK)
            && sockopt::socket_protocol(&fd) == Ok(subject.protocol());
        is_netlink.then(|| Self::new(fd)).ok_or(Errno::PROTO)
    }

    fn new(fd: Fd) -> Self {
        // A number that no answer to an earlier user of the socket is likely to bear.
        let sequence = AtomicU32::new(random() as u32);
        Self { fd, sequence }
    }

    /// The descriptor.
    pub fn fd(&self) -> &Fd {
        &self.fd
    }

    /// The descriptor, for somebody else.
    pub fn into_fd(self) -> Fd {
        self.fd
    }

    /// Sends a request, and waits until it is done. What the kernel had to say.
    pub fn ask(&self, message: Message) -> Result<Vec<Answer>, Failure> {
        self.ask_together(vec![message])
    }

    /// Sends requests in one piece, and waits until all are done, or one failed. `ack` is asked for the last one that
    /// is not the end of a batch: netfilter acknowledges that only in recent kernels.
    pub fn ask_together(&self, mut messages: Vec<Message>) -> Result<Vec<Answer>, Failure> {
        let count = messages.len() as u32;
        let first = self.sequence.fetch_add(count, Ordering::Relaxed);
        let is_end = |m: &Message| u16_at(&m.0, 4) == Some(BATCH_END);
        let last = messages.iter().rposition(|m| !is_end(m)).unwrap_or(0);
        let range = Range {
            first,
            count,
            last: first.wrapping_add(last as u32),
        };
        let mut bytes = Vec::new();
        for (i, message) in messages.iter_mut().enumerate() {
            let flags = if i == last { ACK } else { 0 };
            message.finish(first.wrapping_add(i as u32), flags);
            bytes.extend_from_slice(&message.0);
        }
        self.send(&bytes)?;
        let (mut answers, mut buffer) = (Vec::new(), buffer()?);
        loop {
            let datagram = self.receive(&mut buffer)?;
            if collect(datagram, range, &mut answers)? {
                return Ok(answers);
            }
        }
    }

    /// To the kernel, whatever another holder has connected the socket to. Never waits: only another socket could be
    /// full.
    fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let send = || rustix::net::sendto(&self.fd, bytes, flags, &KERNEL);
        let sent = rustix::io::retry_on_intr(send)?;
        if sent == bytes.len() {
            Ok(())
        } else {
            Err(Errno::MSGSIZE)
        }
    }

    /// What has come that nobody asked for, one datagram of it; `EAGAIN` if there is none, `ENOBUFS` if some was lost.
    pub fn hear(&self) -> Result<Vec<Answer>, Errno> {
        let (mut answers, mut buffer) = (Vec::new(), buffer()?);
        let mut datagram = self.receive(&mut buffer)?;
        while !datagram.is_empty() {
            let (message, rest) = first_message(datagram)?;
            answers.push(message.answer());
            datagram = rest;
        }
        Ok(answers)
    }

    /// Never waits: what the kernel has to say to a question is there when the question has been sent. What others
    /// have sent to this socket counts as nothing.
    fn receive<'a>(&self, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
        let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
        loop {
            let receive = || rustix::net::recvfrom(&self.fd, &mut *buffer, flags);
            let (n, len, from) = rustix::io::retry_on_intr(receive)?;
            // News come with the number of their group.
            let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
            if from.map(|from| from.pid()) != Some(KERNEL.pid()) {
                continue;
            }
            return match len > buffer.len() {
                true => Err(Errno::MSGSIZE),
                false => Ok(&buffer[..n]),
            };
        }
    }
}

/// Bytes of a datagram at most.
const DATAGRAM: usize = 1 << 16;

/// Memory for a datagram; `ENOMEM` without it, in the program of somebody who has used up what he may have.
fn buffer() -> Result<Vec<u8>, Errno> {
    let mut buffer = Vec::new();
    buffer
        .try_reserve_exact(DATAGRAM)
        .map_err(|_| Errno::NOMEM)?;
    buffer.resize(DATAGRAM, 0);
    Ok(buffer)
}

/// Does this with no effective capabilities. The kernel remembers those that a socket was opened with: whoever holds it
/// could have a set-uid program write an order to it. What is sent to an address counts with the sender's alone. An
/// error means that this thread has lost its rights: whatever it does next would fail for a reason that nobody sees.
fn without_rights<T>(work: impl FnOnce() -> T) -> Result<T, Errno> {
    let sets = capabilities(None)
        .ok()
        .filter(|sets| !sets.effective.is_empty());
    let Some(sets) = sets else { return Ok(work()) };
    let effective = CapabilitySet::empty();
    let is_without = set_capabilities(None, CapabilitySets { effective, ..sets }).is_ok();
    let done = work();
    if is_without {
        // What is permitted may be made effective, unless a filter of system calls is in the way.
        set_capabilities(None, sets)?;
    }
    Ok(done)
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Beginning and end of a batch of netfilter's requests (`linux/netfilter/nfnetlink.h`).
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const SUBSYS_NFTABLES: u16 = 10;

/// Requests to nftables that happen all or not at all.
pub fn batch(requests: Vec<Message>) -> Vec<Message> {
    // struct nfgenmsg: family, version, and the subsystem in network byte order.
    let family = [0, 0, 0, SUBSYS_NFTABLES as u8];
    let edge = |kind| Message::new(kind, 0, &family);
    let begin = core::iter::once(edge(BATCH_BEGIN));
    begin.chain(requests).chain([edge(BATCH_END)]).collect()
}

/// Sequence numbers of a question: of its messages, and of the one that is acknowledged.
#[derive(Clone, Copy, Debug)]
struct Range {
    first: u32,
    count: u32,
    last: u32,
}

/// A message of a datagram.
#[derive(Clone, Copy)]
struct Received<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Received<'_> {
    fn answer(&self) -> Answer {
        Answer {
            kind: self.kind,
            body: self.body.to_vec(),
        }
    }
}

/// The first message of a datagram, and what is behind it.
fn first_message(datagram: &[u8]) -> Result<(Received<'_>, &[u8]), Errno> {
    let header = (
        u32_at(datagram, 0),
        u16_at(datagram, 4),
        u16_at(datagram, 6),
        u32_at(datagram, 8),
    );
    let (Some(len), Some(kind), Some(flags), Some(sequence)) = header else {
        return Err(Errno::PROTO);
    };
    let len = len as usize;
    let message = Received {
        kind,
        flags,
        sequence,
        body: datagram.get(HEADER..len).ok_or(Errno::PROTO)?,
    };
    let rest = datagram.get(len.next_multiple_of(4)..).unwrap_or_default();
    Ok((message, rest))
}

/// Takes what belongs to a question out of a datagram. True if that was the end of it.
fn collect(mut datagram: &[u8], range: Range, answers: &mut Vec<Answer>) -> Result<bool, Failure> {
    if datagram.is_empty() {
        return Err(Errno::PROTO.into());
    }
    while !datagram.is_empty() {
        let (message, rest) = first_message(datagram)?;
        datagram = rest;
        let Received {
            kind,
            flags,
            sequence,
            body,
        } = message;
        if sequence.wrapping_sub(range.first) >= range.count {
            continue;
        }
        let at = sequence.wrapping_sub(range.first) as usize;
        let fail = |failure| Failure { at, ..failure };
        match kind {
            ERROR => verdict(body, flags).map_err(fail)?,
            DONE if body.len() >= 4 => verdict(body, flags | CAPPED).map_err(fail)?,
            DONE => {}
            _ => {
                answers.push(message.answer());
                continue;
            }
        }
        if sequence == range.last || kind == DONE {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What an acknowledgement says.
fn verdict(body: &[u8], flags: u16) -> Result<(), Failure> {
    let number = u32_at(body, 0).ok_or(Errno::PROTO)? as i32;
    if number == 0 {
        return Ok(());
    }
    let errno = match number {
        -4095..0 => Errno::from_raw_os_error(-number),
        _ => Errno::PROTO,
    };
    Err(Failure {
        errno,
        why: words(body, flags).filter(|w| !w.is_empty()),
        at: 0,
    })
}

/// The kernel's words behind an error number: the request's header comes first, or all of it.
fn words(body: &[u8], flags: u16) -> Option<String> {
    if flags & ACK_TLVS == 0 {
        return None;
    }
    let request = u32_at(body, 4)? as usize;
    let skip = 4 + if flags & CAPPED != 0 { HEADER } else { request };
    let attributes = Attributes(body.get(skip.next_multiple_of(4)..)?);
    let text = attributes.find(ATTR_MSG)?.text();
    Some(String::from_utf8_lossy(text).into_owned())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests;
