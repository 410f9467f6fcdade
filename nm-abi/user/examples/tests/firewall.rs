use std::time::{Duration, Instant};

use super::shared::between::Verdict::{Drop, Pass};
use super::*;

mod frames;
use frames::*;

const IDLE: Duration = Duration::from_secs(10);

fn firewall(rules: &[&str]) -> Firewall {
    let rules = rules.iter().map(|rule| rule.parse().expect("a rule"));
    Firewall::new(rules.collect(), IDLE)
}

#[test]
fn what_is_in_the_list_passes_and_its_answers_do() {
    let mut firewall = firewall(&["udp/53", "tcp/80@192.0.2.0/24", "icmp"]);
    let now = Instant::now();
    for (mut answer, mut question) in [
        (udp(back(INSIDE), 53, 1000), udp(out(), 1000, 53)),
        (tcp(back(INSIDE), 80, 1000, "SA"), tcp(out(), 1000, 80, "S")),
        (pong(back(INSIDE), 7), ping(out(), 7)),
    ] {
        assert_eq!(firewall.back(&mut answer, now), Drop, "nobody has asked");
        assert_eq!(firewall.forth(&mut question, now), Pass);
        assert_eq!(firewall.back(&mut answer, now), Pass);
        assert_eq!(
            firewall.back(&mut question, now),
            Drop,
            "it comes from the wrong side"
        );
    }
    for mut other in [
        udp(out(), 1000, 54),
        tcp(out(), 1000, 53, "S"),
        tcp(out(), 1001, 80, "SA"),
        tcp(out(), 1001, 80, "A"),
        pong(out(), 8),
        fragment(&udp(out(), 1000, 53)),
        vec![0xff; 60],
        vec![0xff; 3],
        Vec::new(),
    ] {
        assert_eq!(firewall.forth(&mut other, now), Drop, "{other:x?}");
        assert_eq!(firewall.back(&mut other, now), Drop, "{other:x?}");
    }
}

#[test]
fn who_is_silent_is_forgotten() {
    let mut firewall = firewall(&["udp"]);
    let (begin, mut answer) = (Instant::now(), udp(back(INSIDE), 53, 1000));
    assert_eq!(firewall.forth(&mut udp(out(), 1000, 53), begin), Pass);
    let later = begin + IDLE - Duration::from_millis(1);
    assert_eq!(firewall.back(&mut answer, later), Pass);
    assert_eq!(
        firewall.back(&mut answer, later + IDLE / 2),
        Pass,
        "an answer is a use"
    );
    assert_eq!(firewall.back(&mut answer, later + 2 * IDLE), Drop);
}

#[test]
fn a_reset_ends_a_connection() {
    let now = Instant::now();
    for from_inside in [true, false] {
        let mut firewall = firewall(&["tcp"]);
        assert_eq!(firewall.forth(&mut tcp(out(), 1000, 80, "S"), now), Pass);
        let reset = match from_inside {
            true => firewall.forth(&mut tcp(out(), 1000, 80, "R"), now),
            false => firewall.back(&mut tcp(back(INSIDE), 80, 1000, "R"), now),
        };
        assert_eq!(reset, Pass);
        assert_eq!(firewall.forth(&mut tcp(out(), 1000, 80, "A"), now), Drop);
        assert_eq!(
            firewall.back(&mut tcp(back(INSIDE), 80, 1000, "A"), now),
            Drop
        );
    }
}

/// The frame with a VLAN tag.
fn tagged(frame: &[u8], vlan: u8) -> Vec<u8> {
    [&frame[..12], &[0x81, 0, 0, vlan], &frame[12..]].concat()
}

#[test]
fn who_was_asked_asks_nothing() {
    let (mut firewall, now) = (firewall(&["tcp", "icmp"]), Instant::now());
    assert_eq!(firewall.forth(&mut ping(out(), 7), now), Pass);
    assert_eq!(firewall.back(&mut ping(back(INSIDE), 7), now), Drop);
    assert_eq!(firewall.forth(&mut pong(out(), 7), now), Drop);
    assert_eq!(firewall.back(&mut pong(back(INSIDE), 7), now), Pass);
    assert_eq!(firewall.forth(&mut tcp(out(), 1000, 80, "S"), now), Pass);
    let mut answer = |flags| firewall.back(&mut tcp(back(INSIDE), 80, 1000, flags), now);
    assert_eq!(["S", "SA", "A"].map(&mut answer), [Drop, Pass, Pass]);
    // A TCP header of less than 20 bytes is none, whatever its flags are.
    let mut short = tcp(back(INSIDE), 80, 1000, "S");
    short[14 + 20 + 12] = 0x40;
    assert_eq!(firewall.back(&mut short, now), Drop);
}

#[test]
fn an_answer_comes_in_its_vlan() {
    let (mut firewall, now) = (firewall(&["udp"]), Instant::now());
    let (question, answer) = (udp(out(), 1000, 53), udp(back(INSIDE), 53, 1000));
    let error = unreachable(back(INSIDE), &question);
    assert_eq!(firewall.forth(&mut tagged(&question, 1), now), Pass);
    for frame in [answer, error] {
        let doubly = tagged(&tagged(&frame, 1), 2);
        for mut wrong in [frame.clone(), tagged(&frame, 2), doubly] {
            assert_eq!(firewall.back(&mut wrong, now), Drop);
        }
        assert_eq!(firewall.back(&mut tagged(&frame, 1), now), Pass);
    }
    // A tag with VLAN 0 has a priority only.
    assert_eq!(firewall.forth(&mut question.clone(), now), Pass);
    let mut answer = tagged(&udp(back(INSIDE), 53, 1000), 0);
    assert_eq!(firewall.back(&mut answer, now), Pass);
}

#[test]
fn neighbors_are_found_and_routes_are_not() {
    let (mut firewall, now) = (firewall(&["icmpv6"]), Instant::now());
    for (kind, hops, verdict) in [
        (133, 255, Drop),
        (134, 255, Drop),
        (135, 255, Pass),
        (135, 254, Drop),
        (136, 255, Pass),
        (136, 64, Drop),
        (137, 255, Drop),
    ] {
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ethernet2(OUTSIDE_MAC, INSIDE_MAC)
            .ipv6([1; 16], [2; 16], hops)
            .icmpv6_raw(kind, 0, [0; 4])
            .write(&mut frame, &[0; 16])
            .expect("a vector");
        assert_eq!(firewall.back(&mut frame, now), verdict, "{kind} {hops}");
        assert_eq!(firewall.forth(&mut frame, now), verdict, "{kind} {hops}");
    }
}

#[test]
fn padding_is_no_packet() {
    let (mut firewall, now) = (firewall(&["udp"]), Instant::now());
    for len in 0..28 {
        let mut frame = with_ip_len(&udp(out(), 1000, 53), len);
        assert_eq!(firewall.forth(&mut frame, now), Drop, "{len}");
    }
    assert_eq!(
        firewall.forth(&mut with_ip_len(&udp(out(), 1000, 53), 28), now),
        Pass
    );
}

#[test]
fn errors_about_a_connection_come_in() {
    let mut firewall = firewall(&["udp"]);
    let now = Instant::now();
    let mut sent = udp(out(), 1000, 53);
    let mut error = unreachable(back(INSIDE), &sent);
    assert_eq!(firewall.back(&mut error, now), Drop);
    assert_eq!(firewall.forth(&mut sent, now), Pass);
    assert_eq!(firewall.back(&mut error, now), Pass);
    let about_answer = unreachable(out(), &udp(back(INSIDE), 53, 1000));
    assert_eq!(firewall.forth(&mut about_answer.clone(), now), Pass);
    assert_eq!(firewall.back(&mut about_answer.clone(), now), Drop);
}

#[test]
fn there_is_a_most() {
    let mut firewall = firewall(&["udp"]);
    firewall.connections = Table::new(IDLE, 2);
    let now = Instant::now();
    let mut pass = |port, at| firewall.forth(&mut udp(out(), port, 53), at);
    assert_eq!(
        [1, 2, 3, 1].map(|port| pass(port, now)),
        [Pass, Pass, Drop, Pass]
    );
    assert_eq!(pass(3, now + IDLE), Pass, "the others are forgotten");
}

#[test]
fn wrong_rules_are_said() {
    for (rule, why) in [
        ("sctp", "protocol"),
        ("", "protocol"),
        ("udp/", "port"),
        ("udp/65536", "port"),
        ("udp@10.0.0.0", "network"),
        ("udp@10.0.0.0/33", "network"),
        ("udp@::/129", "network"),
    ] {
        let said = rule.parse::<Rule>().err().expect("it is wrong");
        assert!(said.starts_with(&format!("{rule}: the {why}")), "{said}");
    }
    let rule: Rule = "tcp/80@2001:db8::/32".parse().expect("a rule");
    assert!(is_in(
        "2001:db8:ffff::1".parse().expect("IPv6"),
        rule.network.expect("a network").0,
        32
    ));
    assert!(!is_in(
        "10.0.0.1".parse().expect("IPv4"),
        rule.network.expect("a network").0,
        0
    ));
}

#[test]
fn nothing_makes_it_panic() {
    let (mut firewall, now) = (firewall(&["udp", "tcp", "icmp"]), Instant::now());
    for frame in damaged() {
        firewall.forth(&mut frame.clone(), now);
        firewall.back(&mut frame.clone(), now);
    }
}
