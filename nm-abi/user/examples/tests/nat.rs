use std::time::{Duration, Instant};

use super::shared::between::Verdict::{Answer, Drop, Pass};
use super::shared::ports::PORTS;
use super::*;

mod frames;
use frames::*;

const PUBLIC: [u8; 4] = [198, 51, 100, 1];
const IDLE: Duration = Duration::from_secs(10);
const CLOSED: Duration = Duration::from_secs(2);
const FIRST: u16 = *PORTS.start();

fn nat() -> Nat {
    let limits = Limits {
        idle: IDLE,
        closed: CLOSED,
        ports: 100_000,
    };
    Nat::new(PUBLIC.into(), limits)
}

/// The frame with the MAC addresses that the NAT writes.
fn with_macs(mut frame: Vec<u8>, dst: [u8; 6], src: [u8; 6]) -> Vec<u8> {
    frame[..6].copy_from_slice(&dst);
    frame[6..12].copy_from_slice(&src);
    frame
}

fn public(from: [u8; 4]) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    etherparse::PacketBuilder::ethernet2(arp::mac_of(PUBLIC.into()), OUTSIDE_MAC)
        .ipv4(from, OUTSIDE, 64)
}

/// Frames that were made as they should come out: so the checksums that were updated are those that are computed.
#[test]
fn both_ways_are_translated() {
    let (mut nat, now) = (nat(), Instant::now());
    type Pair = (Vec<u8>, Vec<u8>);
    let pairs: [[Pair; 2]; 3] = [
        [
            (udp(out(), 1000, 53), udp(public(PUBLIC), FIRST, 53)),
            (udp(back(PUBLIC), 53, FIRST), udp(back(INSIDE), 53, 1000)),
        ],
        [
            (
                tcp(out(), 1000, 80, "S"),
                tcp(public(PUBLIC), FIRST, 80, "S"),
            ),
            (
                tcp(back(PUBLIC), 80, FIRST, "SA"),
                tcp(back(INSIDE), 80, 1000, "SA"),
            ),
        ],
        [
            (ping(out(), 7), ping(public(PUBLIC), FIRST)),
            (pong(back(PUBLIC), FIRST), pong(back(INSIDE), 7)),
        ],
    ];
    for [(question, asked), (answer, answered)] in pairs {
        for _ in 0..2 {
            let mut frame = question.clone();
            assert_eq!(nat.forth(&mut frame, now), Pass);
            assert_eq!(frame, asked);
            check_sums(&frame);
        }
        let mut frame = answer;
        assert_eq!(nat.back(&mut frame, now), Pass);
        assert_eq!(frame, with_macs(answered, INSIDE_MAC, OUTSIDE_MAC));
        check_sums(&frame);
    }
}

#[test]
fn a_udp_packet_without_checksum_stays_without() {
    let mut nat = nat();
    let mut frame = udp(out(), 1000, 53);
    frame[40..42].fill(0);
    assert_eq!(nat.forth(&mut frame, Instant::now()), Pass);
    assert_eq!(frame[40..42], [0, 0]);
}

/// Some payload has the checksum 0, which is written as its other form.
#[test]
fn a_checksum_of_0_is_not_taken_for_none() {
    let (mut nat, now) = (nat(), Instant::now());
    let mut probe = udp(out(), 1000, 53);
    assert_eq!(nat.forth(&mut probe, now), Pass);
    let sum = u16::from_be_bytes([probe[40], probe[41]]);
    // The first word of the payload takes up what is missing to 0.
    let mut frame = udp(out(), 1000, 53);
    let old = [frame[42], frame[43]];
    let word = u32::from(u16::from_be_bytes(old)) + u32::from(sum);
    let new = (((word & 0xffff) + (word >> 16)) as u16).to_be_bytes();
    frame[42..44].copy_from_slice(&new);
    update(&mut frame, 40, &old, &new).expect("it is there");
    check_sums(&frame);
    assert_eq!(nat.forth(&mut frame, now), Pass);
    assert_eq!(frame[40..42], [0xff, 0xff]);
    check_sums(&frame);
}

#[test]
fn what_is_nobodys_is_refused() {
    let (mut nat, now) = (nat(), Instant::now());
    for mut frame in [
        udp(back(PUBLIC), 53, FIRST),
        udp(back(INSIDE), 53, 1000),
        pong(out(), 1),
        unreachable(out(), &udp(back(INSIDE), 53, 1000)),
        fragment(&udp(out(), 1000, 53)),
        udp(out(), 1000, 53)[..41].to_vec(),
        udp(out(), 1000, 53)[..20].to_vec(),
        vec![0xff; 60],
        Vec::new(),
    ] {
        assert_eq!(nat.back(&mut frame, now), Drop, "{frame:x?}");
        let is_pass = frame == udp(back(PUBLIC), 53, FIRST) || frame == udp(back(INSIDE), 53, 1000);
        assert_eq!(
            nat.forth(&mut frame, now),
            if is_pass { Pass } else { Drop },
            "{frame:x?}"
        );
    }
}

#[test]
fn ports_of_the_silent_are_given_to_others() {
    let (mut nat, begin) = (nat(), Instant::now());
    let mut ports = |from: u16, at| {
        let mut frame = udp(out(), from, 53);
        (nat.forth(&mut frame, at) == Pass).then(|| u16::from_be_bytes([frame[34], frame[35]]))
    };
    for (i, port) in PORTS.enumerate() {
        assert_eq!(ports(i as u16, begin), Some(port));
    }
    assert_eq!(ports(60_000, begin), None, "all are in use");
    assert_eq!(ports(0, begin + IDLE / 2), Some(FIRST));
    assert_eq!(
        ports(60_000, begin + IDLE),
        Some(FIRST + 1),
        "the first is in use still"
    );
}

/// As many as would have looked at 16384 ports each.
#[test]
fn when_all_are_taken_a_flow_is_refused_at_once() {
    let (mut nat, now) = (nat(), Instant::now());
    let passes = |from: u16| nat.forth(&mut udp(out(), from, 53), now) == Pass;
    assert_eq!(
        (0..=u16::MAX).map(passes).filter(|pass| *pass).count(),
        PORTS.len()
    );
}

#[test]
fn a_host_has_so_many_ports_and_no_more() {
    let (mut nat, now) = (nat(), Instant::now());
    nat.ports = Ports::new(Limits { ports: 2, ..LIMITS });
    let mut host = |last, from, at| {
        let ip = etherparse::PacketBuilder::ethernet2(INSIDE_MAC, OUTSIDE_MAC);
        nat.forth(
            &mut udp(ip.ipv4([10, 0, 0, last], OUTSIDE, 64), from, 53),
            at,
        )
    };
    assert_eq!(
        [1, 2, 3, 1].map(|from| host(1, from, now)),
        [Pass, Pass, Drop, Pass]
    );
    assert_eq!([1, 2, 3].map(|from| host(2, from, now)), [Pass, Pass, Drop]);
    assert_eq!(host(1, 3, now + LIMITS.idle), Pass, "the others are silent");
}

fn from_peer(last: u8, to: u16, flags: &str) -> Vec<u8> {
    let ip = etherparse::PacketBuilder::ethernet2(OUTSIDE_MAC, INSIDE_MAC);
    tcp(ip.ipv4([192, 0, 2, last], PUBLIC, 64), 80, to, flags)
}

fn to_peer(last: u8, flags: &str) -> Vec<u8> {
    let ip = etherparse::PacketBuilder::ethernet2(INSIDE_MAC, OUTSIDE_MAC);
    tcp(ip.ipv4(INSIDE, [192, 0, 2, last], 64), 1000, 80, flags)
}

/// Is the port in use after what was sent and `CLOSED`? Segments are "in" or "out", the peer's number, and flags.
fn lasts(segments: &[(&str, u8, &str)]) -> bool {
    let (mut nat, now) = (nat(), Instant::now());
    for (way, last, flags) in segments {
        let passes = match *way {
            "out" => nat.forth(&mut to_peer(*last, flags), now),
            _ => nat.back(&mut from_peer(*last, FIRST, flags), now),
        };
        assert_eq!(passes, Pass, "{segments:?}");
    }
    nat.back(&mut from_peer(1, FIRST, "A"), now + CLOSED) == Pass
}

#[test]
fn a_closed_connection_has_its_port_a_little_longer() {
    let open = [("out", 1, "S"), ("in", 1, "SA"), ("out", 1, "A")];
    let after = |more: &[(&'static str, u8, &'static str)]| lasts(&[&open[..], more].concat());
    assert!(after(&[]));
    assert!(after(&[("out", 1, "FA")]), "half of it is open");
    assert!(after(&[("in", 1, "FA")]), "half of it is open");
    assert!(!after(&[
        ("out", 1, "FA"),
        ("in", 1, "FA"),
        ("out", 1, "A")
    ]));
    assert!(!after(&[("in", 1, "R")]));
    assert!(!after(&[("out", 1, "R")]));
    assert!(after(&[("in", 2, "R")]), "it is no one's business");
    assert!(
        after(&[("out", 2, "S"), ("in", 1, "R")]),
        "another one has the same port"
    );
    assert!(
        after(&[("in", 1, "R"), ("out", 1, "S")]),
        "it is open again"
    );
    assert!(after(&[("in", 1, "R"), ("out", 2, "S")]), "to another peer");
    assert!(!after(&[("in", 1, "R"), ("out", 2, "S"), ("in", 2, "R")]));
}

#[test]
fn a_closed_connections_port_is_given_again() {
    let (mut nat, now) = (nat(), Instant::now());
    nat.ports = Ports::new(Limits {
        ports: 1,
        closed: CLOSED,
        ..LIMITS
    });
    for round in 0..10u16 {
        let (at, port) = (now + CLOSED * round.into(), FIRST + round);
        let mut open = |from| nat.forth(&mut tcp(out(), from, 80, "S"), at);
        assert_eq!([open(round), open(100)], [Pass, Drop]);
        assert_eq!(nat.back(&mut from_peer(1, port, "R"), at), Pass);
    }
}

#[test]
fn padding_is_no_packet() {
    let (mut nat, now) = (nat(), Instant::now());
    for (frame, least) in [
        (udp(out(), 1000, 53), 28),
        (tcp(out(), 1000, 80, "S"), 38),
        (ping(out(), 7), 26),
    ] {
        for len in 0..least {
            assert_eq!(nat.forth(&mut with_ip_len(&frame, len), now), Drop, "{len}");
        }
        assert_eq!(nat.forth(&mut with_ip_len(&frame, least), now), Pass);
    }
}

#[test]
fn its_address_is_found() {
    let (mut nat, now) = (nat(), Instant::now());
    let (mut frame, own) = (arp_question(PUBLIC), arp::mac_of(PUBLIC.into()));
    assert_eq!(nat.back(&mut frame, now), Answer);
    let expected = [
        &OUTSIDE_MAC[..],
        &own,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2],
        &own,
        &PUBLIC,
        &OUTSIDE_MAC,
        &OUTSIDE,
        &[0; 18],
    ];
    assert_eq!(frame, expected.concat());
    assert_eq!(nat.back(&mut frame, now), Pass, "an answer is no question");
    assert_eq!(nat.back(&mut arp_question(INSIDE), now), Pass);
    assert_eq!(nat.forth(&mut arp_question(PUBLIC), now), Pass);
    assert_eq!(
        nat.back(&mut arp_question(PUBLIC)[..41].to_vec(), now),
        Pass
    );
}

#[test]
fn nothing_makes_it_panic() {
    let (mut nat, now) = (nat(), Instant::now());
    for frame in damaged() {
        nat.forth(&mut frame.clone(), now);
        nat.back(&mut frame.clone(), now);
    }
}
