//! Daemons of other versions, and what is no daemon: played by this test, which speaks the wire by hand.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use compat_tests::or_skip;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind,
    connect, listen, recvmsg, send, sendmsg, socket_with, socketpair,
};

use crate::uvale;
use compat_tests::place::Place;
use compat_tests::programs::program;
use compat_tests::said::Said;
use uvale_link::proto::PROTOCOL;

fn socket() -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a socket")
}

/// One packet with the socket for its answer.
fn receive(from: &OwnedFd) -> Option<(Vec<u8>, OwnedFd)> {
    let mut bytes = vec![0; 16 * 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [IoSliceMut::new(&mut bytes)];
    let got = recvmsg(from, parts, &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
    let answer = control.drain().find_map(|m| match m {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    bytes.truncate(got.bytes);
    Some((bytes, answer?))
}

/// Sends `bytes` with a socket for the answer, and gives the answer.
fn ask(to: &OwnedFd, bytes: &[u8]) -> Vec<u8> {
    let flags = SocketFlags::CLOEXEC;
    let (mine, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a pair");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [theirs.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(
        to,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .expect("it is sent");
    drop(theirs);
    let mut answer = vec![0; 16 * 1024];
    let (n, _) = rustix::net::recv(&mine, &mut answer[..], RecvFlags::empty()).expect("an answer");
    answer.truncate(n);
    answer
}

/// Refused of protocol 7: number 10 among the answers, errno as a signed varint, length and text.
fn refusal(errno: u8, why: &str) -> Vec<u8> {
    let (twice, length) = (u32::from(errno) * 2, why.len());
    let low = |n: usize| (n & 0x7f) as u8 | 0x80;
    let mut bytes = vec![10, low(twice as usize), (twice >> 7) as u8];
    bytes.extend([low(length), (length >> 7) as u8]);
    bytes.extend_from_slice(why.as_bytes());
    bytes
}

const EPROTO: u8 = 71;

/// Listens in `dir` and answers each packet with what `answer` makes of it, until this process ends.
fn fake(dir: &Path, answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) {
    let listener = socket();
    let address = SocketAddrUnix::new(dir.join("uvale.sock")).expect("a short name");
    bind(&listener, &address).expect("nobody is there");
    listen(&listener, 8).expect("it listens");
    std::thread::spawn(move || {
        while let Ok(connection) = accept_with(&listener, SocketFlags::CLOEXEC) {
            while let Some((bytes, to)) = receive(&connection) {
                let _ = send(&to, &answer(&bytes), SendFlags::NOSIGNAL);
            }
        }
    });
}

const REPORTS: [&[&str]; 5] = [
    &["ports"],
    &["switches"],
    &["fdb", "vale0"],
    &["stats"],
    &["status"],
];

#[test]
fn a_later_daemon_is_named_and_told_to_stop() {
    let path = or_skip!("reasons", program("reasons/reasons"));
    let place = Place::empty();
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    fake(place.dir(), move |bytes| match bytes {
        b"\xffuvale who" => b"\xffprotocol=99 version=7.1 pid=5 mood=good".to_vec(),
        b"\xffuvale stop" => {
            told.store(true, SeqCst);
            b"\xffprotocol=99 version=7.1 pid=5".to_vec()
        }
        // A later daemon's refusal may look in any way.
        _ => vec![200, 200, 200, 7],
    });
    let advice = format!("`uvale stop --dir {}`", place.dir().display());
    let own = format!("(protocol {PROTOCOL})");
    let parts = ["is of version 7.1 (protocol 99)", &own, &advice];
    for command in REPORTS {
        uvale(place.dir(), command).assert_failed_with(&parts);
    }
    let mut command = place.command(&path);
    let said = Said::of(command.arg("device").env_remove("CI"));
    assert_eq!(said.out, format!("open: errno={EPROTO}\n"));
    assert!(said.err.contains(parts[0]), "{}", said.err);
    // It does not leave, being a part of this test.
    uvale(place.dir(), &["stop"]).assert_failed_with(&["was told to leave and has not in 10 s"]);
    assert!(stop.load(SeqCst));
}

/// Protocol 7 read messages whole, and refused those it could not read with this sentence.
#[test]
fn an_earlier_daemon_is_named() {
    let place = Place::empty();
    let why = "the message cannot be read; is libnmshim of another version?";
    fake(place.dir(), move |_| refusal(EPROTO, why));
    let advice = format!("`uvale stop --dir {}`", place.dir().display());
    for command in REPORTS {
        uvale(place.dir(), command).assert_failed_with(&["is of an older version", &advice]);
    }
    // The process that listens is this test, and no uvale: it is not killed.
    let pid = std::process::id();
    uvale(place.dir(), &["stop"])
        .assert_failed_with(&["an older version", &format!("process {pid} made")]);
}

#[test]
fn what_is_no_daemon_is_not_taken_for_one() {
    let place = Place::empty();
    fake(place.dir(), |_| b"220 ready".to_vec());
    for command in REPORTS {
        uvale(place.dir(), command).assert_failed_with(&["no uvale daemon"]);
    }
    uvale(place.dir(), &["stop"]).assert_failed_with(&["is no uvale daemon: nothing was stopped"]);
}

/// Nobody accepts while a daemon is stopped, and once its queue is full nobody can even connect.
#[test]
fn a_full_queue_is_not_waited_for_without_end() {
    let place = Place::empty();
    let listener = socket();
    let address = SocketAddrUnix::new(place.socket()).expect("a short name");
    bind(&listener, &address).expect("nobody is there");
    listen(&listener, 0).expect("it listens");
    let mut waiting = Vec::new();
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
        let socket = socket.expect("a socket");
        match connect(&socket, &address) {
            Ok(()) => waiting.push(socket),
            Err(e) => break assert_eq!(e, rustix::io::Errno::AGAIN),
        }
    }
    uvale(place.dir(), &["ports"]).assert_failed_with(&["accepts no connection"]);
}

/// What programs with an earlier shim are told by this daemon, and what any command can say to it.
#[test]
fn the_daemon_answers_all_versions() {
    let mut place = Place::new();
    let to_daemon = || {
        let socket = socket();
        connect(
            &socket,
            &SocketAddrUnix::new(place.socket()).expect("short"),
        )
        .expect("it listens");
        socket
    };
    // Attach and Open as protocol 7 sent them, and as protocol 300 may.
    for (first, protocol) in [
        (&[0, 7][..], "7"),
        (&[1, 7, 4], "7"),
        (&[0, 0xac, 2, 1, 2, 3], "300"),
    ] {
        let answer = ask(&to_daemon(), first);
        let text = String::from_utf8_lossy(&answer).into_owned();
        for part in [
            &format!("(protocol {PROTOCOL})"),
            &format!("libnmshim speaks protocol {protocol}:"),
            "`uvale stop`",
        ] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }
    let answer = ask(&to_daemon(), b"\xffuvale who");
    let text = String::from_utf8_lossy(&answer[1..]).into_owned();
    let pid = format!("pid={}", place.status().pid);
    assert_eq!(answer[0], 0xff);
    let pairs: Vec<&str> = text.split(' ').collect();
    assert!(
        pairs.contains(&format!("protocol={PROTOCOL}").as_str()) && pairs.contains(&pid.as_str()),
        "{text}"
    );

    ask(&to_daemon(), b"\xffuvale stop");
    compat_tests::wait::wait_for("it leaves", || place.daemon_ended().is_some());
}
