use std::time::Instant;

use super::shared::between::Verdict::{Drop, Pass};
use super::*;

mod frames;
use frames::*;

fn macs(count: u8) -> Vec<Mac> {
    (1..=count).map(|i| [2, 0, 0, 0, 1, i]).collect()
}

/// Where flows go.
fn chosen(macs: Vec<Mac>) -> Vec<Mac> {
    let mut balancer = Balancer::new(OUTSIDE.into(), macs);
    let mut to = |from| {
        let mut frame = udp(out(), from, 53);
        let as_sent = frame.clone();
        assert_eq!(balancer.forth(&mut frame, Instant::now()), Pass);
        assert_eq!(frame[6..], as_sent[6..]);
        frame[..6].try_into().expect("a MAC address")
    };
    (0..10_000).map(&mut to).collect()
}

#[test]
fn flows_are_spread_and_stay() {
    let all = chosen(macs(5));
    assert_eq!(all, chosen(macs(5)));
    let mut other_way = macs(5);
    other_way.reverse();
    assert_eq!(all, chosen(other_way), "the order of servers says nothing");
    for mac in macs(5) {
        let flows = all.iter().filter(|to| **to == mac).count();
        assert!(
            (1_700..2_300).contains(&flows),
            "{flows} of 10000 to one of 5"
        );
    }
}

#[test]
fn without_a_server_only_its_flows_move() {
    let (all, mut left) = (chosen(macs(5)), macs(5));
    let gone = left.remove(2);
    for (before, after) in all.iter().zip(chosen(left)) {
        assert!(after == *before || *before == gone);
        assert_ne!(after, gone);
    }
}

#[test]
fn what_is_for_others_passes_and_nonsense_harms_nobody() {
    let now = Instant::now();
    let mut balancer = Balancer::new([192, 0, 2, 80].into(), macs(2));
    for frame in [udp(out(), 1, 53), vec![0xff; 60], vec![0xff; 3], Vec::new()] {
        let mut seen = frame.clone();
        assert_eq!(balancer.forth(&mut seen, now), Pass);
        assert_eq!(seen, frame);
    }
    let mut balancer = Balancer::new(OUTSIDE.into(), macs(2));
    assert_eq!(balancer.forth(&mut fragment(&udp(out(), 1, 53)), now), Drop);
    let mut nobody = Balancer::new(OUTSIDE.into(), Vec::new());
    assert_eq!(nobody.forth(&mut udp(out(), 1, 53), now), Drop);
    assert_eq!(mac("02:00:00:00:00:ff"), Some([2, 0, 0, 0, 0, 255]));
    assert_eq!(
        [mac("02:00"), mac("02:00:00:00:00:00:01"), mac("x"), mac("")],
        [None; 4]
    );
}

#[test]
fn nothing_makes_it_panic() {
    let (mut balancer, now) = (Balancer::new(OUTSIDE.into(), macs(2)), Instant::now());
    for frame in damaged() {
        balancer.forth(&mut frame.clone(), now);
        balancer.back(&mut frame.clone(), now);
    }
}
