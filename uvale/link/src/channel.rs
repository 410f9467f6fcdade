//! One packet of a `SOCK_SEQPACKET` socket: bytes and descriptors.

use core::mem::MaybeUninit;
use std::io::{IoSlice, IoSliceMut};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;

use crate::proto::{Call, MAX_MESSAGE, Reply, decode, encode};
use crate::waiting::until;
use uvale_system::sys::Fd;

/// Descriptors one packet may carry: those of a memory, or of a wire.
const MAX_FDS: usize = 250;
/// Beside those of its rings and its host a wire has a watch (3), what is kept (up to 8), and a socket for the answer.
const _: () = assert!(MAX_FDS - 2 * uvale_wire::MOST_RINGS as usize > 2 + 3 + 8);

/// A received packet.
#[derive(Debug)]
pub struct Packet {
    /// the bytes
    pub bytes: Vec<u8>,
    /// the descriptors, close-on-exec
    pub fds: Vec<Fd>,
}

/// A connected pair of sockets, close-on-exec.
pub fn pair() -> Result<(Fd, Fd), Errno> {
    let (a, b) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok((a.into(), b.into()))
}

/// Sends one message with descriptors. Does not block if `flags` say so, never raises SIGPIPE.
pub fn send<T: Serialize>(
    to: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<(), Errno> {
    send_bytes(to, &encode(message), fds, flags)
}

/// The same with a message that is encoded already.
pub fn send_bytes(
    to: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<(), Errno> {
    if bytes.is_empty() || bytes.len() > MAX_MESSAGE || fds.len() > MAX_FDS {
        return Err(Errno::MSGSIZE);
    }
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::MSGSIZE);
    }
    loop {
        match sendmsg(
            to,
            &[IoSlice::new(bytes)],
            &mut control,
            flags | SendFlags::NOSIGNAL,
        ) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Receives one packet; `Ok(None)` if the other side is gone. A packet that is larger than
/// [`MAX_MESSAGE`] is cut, and so does not decode.
pub fn receive(from: BorrowedFd<'_>, flags: RecvFlags) -> Result<Option<Packet>, Errno> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
    receive_into(from, flags, &mut space)
}

/// With as many descriptors as there is `space` for; any beyond that are closed.
pub(crate) fn receive_into(
    from: BorrowedFd<'_>,
    flags: RecvFlags,
    space: &mut [MaybeUninit<u8>],
) -> Result<Option<Packet>, Errno> {
    let mut bytes = vec![0; MAX_MESSAGE];
    let mut control = RecvAncillaryBuffer::new(space);
    let got = loop {
        let slices = &mut [IoSliceMut::new(&mut bytes)];
        match recvmsg(from, slices, &mut control, flags | RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received.map(Fd::from));
        }
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(got.bytes);
    Ok(Some(Packet { bytes, fds }))
}

/// Makes a call over `connection` and waits for the answer. A daemon that is gone is `ENXIO`.
pub fn call(connection: BorrowedFd<'_>, request: &Call) -> Result<(Reply, Vec<Fd>), Errno> {
    call_with(connection, request, None)
}

/// The same with a descriptor.
pub fn call_with(
    connection: BorrowedFd<'_>,
    request: &Call,
    fd: Option<BorrowedFd<'_>>,
) -> Result<(Reply, Vec<Fd>), Errno> {
    call_with_all(connection, request, fd.as_slice())
}

/// The same with several.
pub fn call_with_all(
    connection: BorrowedFd<'_>,
    request: &Call,
    fds: &[BorrowedFd<'_>],
) -> Result<(Reply, Vec<Fd>), Errno> {
    let packet = exchange(connection, &encode(request), fds)?;
    let reply = decode(&packet.bytes).ok_or(Errno::PROTO)?;
    Ok((reply, packet.fds))
}

/// The same with a peer that may never answer, or never read: `ETIMEDOUT` after `patience`.
pub fn call_within(
    connection: BorrowedFd<'_>,
    request: &Call,
    fd: Option<BorrowedFd<'_>>,
    patience: Duration,
) -> Result<(Reply, Vec<Fd>), Errno> {
    let (mine, theirs) = pair()?;
    let fds: Vec<_> = [Some(theirs.as_fd()), fd].into_iter().flatten().collect();
    let end = now() + patience;
    let sent = loop {
        match send(connection, request, &fds, SendFlags::DONTWAIT) {
            Err(Errno::AGAIN) => wait(connection, PollFlags::OUT, end)?,
            sent => break sent,
        }
    };
    drop(theirs);
    wait(mine.as_fd(), PollFlags::IN, end)?;
    let packet = answer(connection, sent, &mine)?;
    let reply = decode(&packet.bytes).ok_or(Errno::PROTO)?;
    Ok((reply, packet.fds))
}

/// Waits for `events`: `ETIMEDOUT` after `patience`.
pub(crate) fn wait_within(
    fd: BorrowedFd<'_>,
    events: PollFlags,
    patience: Duration,
) -> Result<(), Errno> {
    wait(fd, events, now() + patience)
}

/// Waits for `events` until `end`.
fn wait(fd: BorrowedFd<'_>, events: PollFlags, end: Duration) -> Result<(), Errno> {
    loop {
        let left = end.checked_sub(now()).ok_or(Errno::TIMEDOUT)?;
        let left = left.try_into().map_err(|_| Errno::INVAL)?;
        match poll(&mut [PollFd::from_borrowed_fd(fd, events)], Some(&left)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

/// Monotonic time.
fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Sends bytes with a socket for the answer, and waits for the answer as [`crate::waiting`] says.
pub fn exchange(
    connection: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<Packet, Errno> {
    let (mine, theirs) = pair()?;
    let fds: Vec<_> = [&[theirs.as_fd()], fds].concat();
    let sent = loop {
        match send_bytes(connection, bytes, &fds, SendFlags::DONTWAIT) {
            // The daemon has not read what was sent before.
            Err(Errno::AGAIN) => until(connection, PollFlags::OUT, connection)?,
            sent => break sent,
        }
    };
    drop(theirs);
    until(mine.as_fd(), PollFlags::IN, connection)?;
    answer(connection, sent, &mine)
}

/// The answer that has come on `mine`, or what the daemon sent before it hung up.
fn answer(connection: BorrowedFd<'_>, sent: Result<(), Errno>, mine: &Fd) -> Result<Packet, Errno> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
    let answer = sent.and_then(|()| receive_into(mine.as_fd(), RecvFlags::DONTWAIT, &mut space));
    match answer.map_err(gone) {
        Ok(Some(packet)) => Ok(packet),
        Ok(None) | Err(Errno::NXIO) => farewell(connection).ok_or(Errno::NXIO),
        Err(e) => Err(e),
    }
}

/// What a daemon that hung up without reading the call had sent: why it does not serve this
/// connection. Anything else that may have come on it stays there.
fn farewell(connection: BorrowedFd<'_>) -> Option<Packet> {
    let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
    // What it left unread is reported first, as an error.
    let packet = receive(connection, flags).or_else(|_| receive(connection, flags));
    let packet = packet.ok()??;
    matches!(decode(&packet.bytes), Some(Reply::Refused(_))).then_some(packet)
}

/// Sends the encoded `message` and waits until it is answered, or `patience` is over. Allocates
/// nothing, so that a signal handler may call it; the answer itself does not matter.
pub fn nudge(connection: BorrowedFd<'_>, message: &[u8], patience: Timespec) -> Result<(), Errno> {
    let (mine, theirs) = pair()?;
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [theirs.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(Errno::MSGSIZE);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(connection, &[IoSlice::new(message)], &mut control, flags)?;
    drop(theirs);
    poll(&mut [PollFd::new(&mine, PollFlags::IN)], Some(&patience))?;
    Ok(())
}

fn gone(errno: Errno) -> Errno {
    match errno {
        Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN | Errno::CONNREFUSED => Errno::NXIO,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uvale_system::refusal::Refusal;

    #[test]
    fn a_packet_carries_bytes_and_descriptors() {
        let (a, b) = pair().unwrap();
        let (x, y) = pair().unwrap();
        send(
            a.as_fd(),
            &Call::Region(7),
            &[x.as_fd()],
            SendFlags::empty(),
        )
        .unwrap();
        let packet = receive(b.as_fd(), RecvFlags::empty()).unwrap().unwrap();
        assert_eq!(decode(&packet.bytes), Some(Call::Region(7)));
        drop(x);
        // The descriptor that arrived is the one that was sent: its peer hears it.
        send(packet.fds[0].as_fd(), &Call::Whois, &[], SendFlags::empty()).unwrap();
        assert!(receive(y.as_fd(), RecvFlags::empty()).unwrap().is_some());
        drop(packet);
        assert!(receive(y.as_fd(), RecvFlags::empty()).unwrap().is_none());
    }

    #[test]
    fn who_does_not_answer_is_waited_for_no_longer_than_said() {
        let (a, _b) = pair().unwrap();
        // First it is not answered, in the end it is not even read.
        for _ in 0..1000 {
            let answer = call_within(a.as_fd(), &Call::Whois, None, Duration::from_millis(1));
            assert_eq!(answer.err(), Some(Errno::TIMEDOUT));
        }
    }

    #[test]
    fn who_answers_nonsense_is_a_protocol_error() {
        let (a, b) = pair().unwrap();
        let other = std::thread::spawn(move || {
            let packet = receive(b.as_fd(), RecvFlags::empty()).unwrap().unwrap();
            let answer = packet.fds[0].as_fd();
            rustix::net::send(answer, b"\xff\xff", SendFlags::empty()).unwrap();
        });
        let answer = call_within(a.as_fd(), &Call::Whois, None, Duration::from_secs(60));
        assert_eq!(answer.err(), Some(Errno::PROTO));
        other.join().unwrap();
    }

    #[test]
    fn who_is_turned_away_is_told_why() {
        for reads in [false, true] {
            let (a, b) = pair().unwrap();
            let why = Reply::Refused(Refusal::new(Errno::NFILE, "no room"));
            let daemon = std::thread::spawn(move || {
                // The question is there before the daemon hangs up, or comes too late.
                let mut fds = [PollFd::new(&b, PollFlags::IN)];
                assert_eq!(poll(&mut fds, None), Ok(1));
                send(b.as_fd(), &why, &[], SendFlags::empty()).unwrap();
                if reads {
                    receive(b.as_fd(), RecvFlags::empty()).unwrap();
                }
                why
            });
            let (reply, fds) = call(a.as_fd(), &Call::Whois).unwrap();
            assert_eq!((reply, fds.len()), (daemon.join().unwrap(), 0));
            // It is still there for the next one who asks.
            assert!(call(a.as_fd(), &Call::Whois).is_ok());
        }
    }

    #[test]
    fn a_call_to_nobody_is_enxio() {
        let (a, b) = pair().unwrap();
        drop(b);
        assert_eq!(call(a.as_fd(), &Call::Whois).err(), Some(Errno::NXIO));
        let answer = call_within(a.as_fd(), &Call::Whois, None, Duration::from_secs(60));
        assert_eq!(answer.err(), Some(Errno::NXIO));
    }
}
