use std::time::{Duration, Instant};

use super::shared::between::Verdict::{Drop, Pass};
use super::*;

mod frames;
use frames::*;

/// How many of 100 packets pass.
fn passed(limiter: &mut Limiter, at: Instant) -> usize {
    let passes = |_: &u32| limiter.forth(&mut udp(out(), 1000, 53), at) == Pass;
    (0..100).filter(passes).count()
}

#[test]
fn a_burst_passes_and_then_what_the_rate_allows() {
    let mut limiter = Limiter::new(10.0, 20);
    let begin = Instant::now();
    assert_eq!(passed(&mut limiter, begin), 20);
    assert_eq!(passed(&mut limiter, begin + Duration::from_millis(99)), 0);
    assert_eq!(
        passed(&mut limiter, begin + Duration::from_millis(101)),
        1,
        "fractions are kept"
    );
    assert_eq!(
        passed(&mut limiter, begin + Duration::from_millis(1102)),
        10
    );
    assert_eq!(
        passed(&mut limiter, begin + Duration::from_secs(60)),
        20,
        "no more than a burst is saved up"
    );
}

#[test]
fn each_source_has_its_own() {
    let (mut limiter, now) = (Limiter::new(0.0, 2), Instant::now());
    let other = udp(back(INSIDE), 1000, 53);
    assert_eq!(passed(&mut limiter, now), 2);
    assert_eq!(limiter.forth(&mut other.clone(), now), Pass);
    assert_eq!(
        passed(&mut limiter, now + Duration::from_secs(1_000_000)),
        0,
        "a rate of 0 is none"
    );
    let tag = [0x81, 0, 0, 1];
    let frame = udp(out(), 1000, 53);
    let many_tags = [&frame[..12], &[tag; 4].concat(), &frame[12..]].concat();
    for mut unread in [frame[..30].to_vec(), many_tags] {
        assert_eq!(limiter.forth(&mut unread, now), Drop, "{unread:x?}");
    }
    for mut nonsense in [vec![0xff; 60], vec![0xff; 3], Vec::new()] {
        assert_eq!(limiter.forth(&mut nonsense, now), Pass, "it is not IP");
    }
    assert_eq!(limiter.back(&mut udp(out(), 1000, 53), now), Pass);
    assert_eq!(passed(&mut Limiter::new(0.0, 0), now), 0);
}

#[test]
fn made_up_sources_do_not_fill_the_memory() {
    let mut limiter = Limiter::new(10.0, 20);
    limiter.sources = Table::new(Duration::from_secs(2), 1);
    let now = Instant::now();
    assert_eq!(passed(&mut limiter, now), 20);
    assert_eq!(limiter.forth(&mut udp(back(INSIDE), 1, 2), now), Drop);
    assert_eq!(
        limiter.forth(&mut udp(back(INSIDE), 1, 2), now + Duration::from_secs(2)),
        Pass
    );
}

#[test]
fn nothing_makes_it_panic() {
    let (mut limiter, now) = (Limiter::new(1.0, 1), Instant::now());
    for frame in damaged() {
        limiter.forth(&mut frame.clone(), now);
        limiter.back(&mut frame.clone(), now);
    }
}
