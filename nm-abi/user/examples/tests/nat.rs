use std::time::{Duration, Instant};

use super::shared::between::Verdict::{Answer, Drop, Pass};
use super::*;

mod frames;
use frames::*;

const PUBLIC: [u8; 4] = [198, 51, 100, 1];
const IDLE: Duration = Duration::from_secs(10);
const FIRST: u16 = *PORTS.start();

fn nat() -> Nat {
    Nat::new(PUBLIC.into(), IDLE)
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
                tcp(public(PUBLIC), FIRST + 1, 80, "S"),
            ),
            (
                tcp(back(PUBLIC), 80, FIRST + 1, "SA"),
                tcp(back(INSIDE), 80, 1000, "SA"),
            ),
        ],
        [
            (ping(out(), 7), ping(public(PUBLIC), FIRST + 2)),
            (pong(back(PUBLIC), FIRST + 2), pong(back(INSIDE), 7)),
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
    update(&mut frame, 40, &old, &new);
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
