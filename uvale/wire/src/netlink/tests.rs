use super::*;
use proptest::prelude::*;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_DELLINK: u16 = 17;
const IFINFO: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;

fn link(kind: u16, flags: u16, name: &str) -> Message {
    let message = Message::new(kind, flags, &[0; IFINFO]);
    if name.is_empty() {
        message
    } else {
        message.text(IFLA_IFNAME, name)
    }
}

#[test]
fn the_kernel_answers_one_question_all_of_them_and_with_an_error() {
    let socket = Socket::open(Subject::Route).expect("netlink");
    for _ in 0..3 {
        let answers = socket.ask(link(RTM_GETLINK, 0, "lo")).expect("lo");
        let [answer] = &answers[..] else {
            panic!("{} answers", answers.len());
        };
        assert_eq!(answer.kind, RTM_NEWLINK);
        let attributes = answer.attributes(IFINFO);
        assert_eq!(
            attributes.find(IFLA_IFNAME).map(|a| a.text()),
            Some(&b"lo"[..])
        );
        assert!(attributes.find(IFLA_MTU).and_then(|a| a.number()) > Some(0));

        let all = socket.ask(link(RTM_GETLINK, DUMP, "")).expect("all");
        let is_lo = |a: &Answer| {
            let name = a.attributes(IFINFO).find(IFLA_IFNAME);
            name.map(|n| n.text()) == Some(b"lo")
        };
        assert!(all.iter().any(is_lo));

        let none = socket.ask(link(RTM_GETLINK, 0, "nosuchif"));
        assert_eq!(none.map_err(|f| f.errno), Err(Errno::NODEV));
    }
}

#[test]
fn only_the_kernel_is_asked_whatever_the_socket_is_connected_to() {
    let (socket, other) = (
        Socket::open(Subject::Route).expect("netlink"),
        Socket::open(Subject::Route).expect("netlink"),
    );
    other.ask(link(RTM_GETLINK, 0, "lo")).expect("lo");
    let address = rustix::net::getsockname(&other).expect("it has asked");
    if rustix::net::connect(&socket, &address).is_err() {
        println!("skipped: no rights to connect a socket to another");
        return;
    }
    // The kernel's answer does not come to a socket that is connected to another.
    let answers = socket.ask(link(RTM_GETLINK, 0, "lo"));
    assert_eq!(answers.map_err(|f| f.errno), Err(Errno::AGAIN));
    assert_eq!(other.hear(), Err(Errno::AGAIN), "nobody else was asked");
}

#[test]
fn what_another_process_sends_is_no_answer() {
    let (socket, other) = (
        Socket::open(Subject::Route).expect("netlink"),
        Socket::open(Subject::Route).expect("netlink"),
    );
    socket.ask(link(RTM_GETLINK, 0, "lo")).expect("lo");
    let address = rustix::net::getsockname(&socket).expect("it has asked");
    // It looks like an answer to any question: an interface, and that all is done.
    let mut forged = Message::new(RTM_NEWLINK, 0, &[0; IFINFO]);
    forged.finish(0, 0);
    let flags = SendFlags::empty();
    let sent = rustix::net::sendto(&other.fd, &forged.0, flags, &address);
    if sent.is_err() {
        println!("skipped: no rights to send to another socket");
        return;
    }
    assert_eq!(socket.hear(), Err(Errno::AGAIN));
    let answers = socket.ask(link(RTM_GETLINK, 0, "lo")).expect("lo");
    assert_eq!(answers.len(), 1);
}

#[test]
fn a_socket_about_something_else_is_none() {
    let of = |subject| Socket::open(subject).expect("netlink").into_fd();
    for (of_it, other) in [
        (Subject::Route, Subject::Netfilter),
        (Subject::Netfilter, Subject::Route),
    ] {
        assert!(Socket::from_peer(of(of_it), of_it).is_ok());
        let false_one = Socket::from_peer(of(other), of_it);
        assert_eq!(false_one.err(), Some(Errno::PROTO));
    }
}

#[test]
fn the_kernel_says_why() {
    let socket = Socket::open(Subject::Route).expect("netlink");
    let odd = link(RTM_GETLINK, 0, "lo").attribute(IFLA_MTU, &[1]);
    let failure = socket.ask(odd).expect_err("an MTU of one byte");
    assert!(failure.why.is_some(), "{failure}");
    let deleted = socket.ask(link(RTM_DELLINK, 0, "lo"));
    assert!(deleted.is_err(), "lo cannot be deleted");
}

#[test]
fn what_is_built_is_what_is_read() {
    let mut message = Message::new(7, EXCL, &[1, 2, 3])
        .attribute(1, b"abcde")
        .nest(2, |m| m.number(3, 77).nest(4, |m| m.text(5, "name")))
        .be32(6, 1);
    message.finish(9, ACK);
    assert_eq!(u32_at(&message.0, 0), Some(message.0.len() as u32));
    assert_eq!(u16_at(&message.0, 6), Some(REQUEST | EXCL | ACK));
    let mut answers = Vec::new();
    let range = Range {
        first: 9,
        count: 1,
        last: 9,
    };
    assert_eq!(collect(&message.0, range, &mut answers), Ok(false));
    let answer = &answers[0];
    assert_eq!(answer.family(3), Some(&[1, 2, 3][..]));
    let attributes = answer.attributes(3);
    assert_eq!(attributes.map(|a| a.kind).collect::<Vec<_>>(), [1, 2, 6]);
    assert_eq!(attributes.find(1).map(|a| a.value), Some(&b"abcde"[..]));
    let inner = attributes.find(2).expect("nested").nested();
    assert_eq!(inner.find(3).and_then(|a| a.number()), Some(77));
    let name = inner.find(4).and_then(|a| a.nested().find(5));
    assert_eq!(name.map(|a| a.text()), Some(&b"name"[..]));
    assert_eq!(attributes.find(6).map(|a| a.value), Some(&[0, 0, 0, 1][..]));
}

#[test]
fn answers_to_others_are_passed_over() {
    let mut message = Message::new(ERROR, 0, &(-1i32).to_ne_bytes());
    message.finish(4, 0);
    let range = Range {
        first: 5,
        count: 2,
        last: 6,
    };
    assert_eq!(collect(&message.0, range, &mut Vec::new()), Ok(false));
    message.finish(6, 0);
    let failed = collect(&message.0, range, &mut Vec::new());
    assert_eq!(failed.map_err(|f| (f.errno, f.at)), Err((Errno::PERM, 1)));
}

proptest! {
    #[test]
    fn nonsense_ends(bytes: Vec<u8>, first: u32) {
        let range = Range { first, count: u32::MAX, last: first };
        let mut answers = Vec::new();
        let _ = collect(&bytes, range, &mut answers);
        prop_assert!(answers.iter().map(|a| HEADER + a.body.len()).sum::<usize>() <= bytes.len());
        prop_assert!(Attributes(&bytes).count() <= bytes.len() / ATTRIBUTE);
        let _ = verdict(&bytes, u16::MAX);
    }

    #[test]
    fn an_answer_that_is_cut_or_changed_ends(at: u16, value: u8, cut: u8) {
        let mut message = Message::new(7, 0, &[0; 16])
            .nest(2, |m| m.text(5, "name").number(3, 77))
            .attribute(1, b"abcde");
        message.finish(0, 0);
        let mut error = Message::new(ERROR, ACK_TLVS | CAPPED, &[0xff; 20]).text(ATTR_MSG, "no");
        error.finish(0, 0);
        let mut bytes = [message.0, error.0].concat();
        let at = usize::from(at) % bytes.len();
        bytes[at] = value;
        bytes.truncate(bytes.len() - usize::from(cut) % bytes.len());
        let mut answers = Vec::new();
        let range = Range { first: 0, count: 1, last: 0 };
        let _ = collect(&bytes, range, &mut answers);
        for attribute in answers.iter().flat_map(|a| a.attributes(16)) {
            prop_assert!(attribute.nested().count() <= bytes.len());
        }
    }
}
