//! One way of a link: what becomes of each packet, and when it leaves.
//!
//! Chance is a stream of numbers that a seed begins. Each packet takes the same amount of it, whatever the options, so
//! what happens to the `n`th packet depends on the seed and on `n` alone, not on the time at which it comes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::Serialize;

/// What a way does to packets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    /// each packet leaves so much later
    pub delay: Duration,
    /// and up to so much later still
    pub jitter: Duration,
    /// how probable it is, from 0 to 1, that a packet is lost
    pub loss: f64,
    /// that it leaves twice
    pub duplicate: f64,
    /// that one of its bits changes
    pub corrupt: f64,
    /// that it leaves behind the next one
    pub reorder: f64,
    /// bits a second, 0 for no limit
    pub rate: u64,
    /// packets that wait at most
    pub limit: usize,
}

/// What became of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// have come
    pub received: u64,
    /// have left, second copies included
    pub sent: u64,
    /// were lost by chance
    pub lost: u64,
    /// left twice
    pub duplicated: u64,
    /// left with a wrong bit
    pub corrupted: u64,
    /// left behind the next one
    pub reordered: u64,
    /// came when too many waited already
    pub over_limit: u64,
    /// are longer than the other port's ring
    pub too_long: u64,
}

/// How long a packet that is to leave behind the next one waits for it.
const NO_NEXT: Duration = Duration::from_millis(100);

/// Buffers that are kept for the next packets.
const SPARE: usize = 1024;

/// A packet that has come.
struct Waiting {
    leaves: Instant,
    bytes: Vec<u8>,
}

/// One way.
pub struct Way {
    impairment: Impairment,
    chance: ChaCha8Rng,
    queue: VecDeque<Waiting>,
    /// waits for the next one, and leaves behind it
    held: Option<Waiting>,
    /// the last packet was such a one
    was_held: bool,
    /// when the wire is free again
    free: Option<Instant>,
    /// when the last packet leaves
    last: Option<Instant>,
    /// buffers that are free
    spare: Vec<Vec<u8>>,
    /// what became of the packets so far
    pub tally: Tally,
}

impl Way {
    /// `number` tells the ways of a link from each other: each has chances of its own.
    pub fn new(impairment: Impairment, seed: u64, number: u64) -> Self {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        chance.set_stream(number);
        Self {
            impairment,
            chance,
            queue: VecDeque::new(),
            held: None,
            was_held: false,
            free: None,
            last: None,
            spare: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// One draw: true with that probability.
    fn happens(&mut self, probability: f64) -> bool {
        // 2^32 possible draws; a probability of 1 is above all of them.
        f64::from(self.chance.next_u32()) < probability * 4_294_967_296.0
    }

    /// A packet comes, in pieces.
    pub fn accept<'a>(&mut self, now: Instant, pieces: impl Iterator<Item = &'a [u8]>) {
        let Impairment {
            loss,
            duplicate,
            corrupt,
            reorder,
            ..
        } = self.impairment;
        self.tally.received += 1;
        let [is_lost, is_twice, is_changed, is_late] =
            [loss, duplicate, corrupt, reorder].map(|p| self.happens(p));
        let [bit, jitter] = [(); 2].map(|()| self.chance.next_u32());
        if is_lost {
            self.tally.lost += 1;
            return;
        }
        if self.waiting() >= self.impairment.limit {
            self.tally.over_limit += 1;
            return;
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        pieces.for_each(|piece| bytes.extend_from_slice(piece));
        if is_changed && !bytes.is_empty() {
            self.tally.corrupted += 1;
            let bit = bit as usize % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let leaves = self.leaves(now, bytes.len(), jitter);
        let packet = Waiting { leaves, bytes };
        let copy = is_twice.then(|| self.copy_of(&packet));
        self.tally.duplicated += u64::from(is_twice);
        // By chance alone, not by whether the one before still waits: that depends on time.
        self.was_held = is_late && !self.was_held;
        if self.was_held {
            self.tally.reordered += 1;
            self.queue.extend(copy);
            self.held = Some(packet);
            return;
        }
        self.queue.push_back(packet);
        self.queue.extend(copy);
        if let Some(held) = self.held.take() {
            self.queue.push_back(Waiting { leaves, ..held });
        }
    }

    fn copy_of(&mut self, packet: &Waiting) -> Waiting {
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.extend_from_slice(&packet.bytes);
        Waiting { bytes, ..*packet }
    }

    /// When a packet leaves that comes now. Not before those that came before it.
    fn leaves(&mut self, now: Instant, len: usize, jitter: u32) -> Instant {
        let Impairment {
            delay,
            jitter: most,
            rate,
            ..
        } = self.impairment;
        let free = self.free.map_or(now, |free| free.max(now));
        let takes = match rate {
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64(len as f64 * 8.0 / rate as f64),
        };
        self.free = Some(free + takes);
        let jitter = most.mul_f64(f64::from(jitter) / 4_294_967_296.0);
        let leaves = free + takes + delay + jitter;
        let leaves = self.last.map_or(leaves, |last| last.max(leaves));
        self.last = Some(leaves);
        leaves
    }

    /// Does a packet leave later than it comes, even if there is room?
    pub fn takes_time(&self) -> bool {
        let Impairment {
            delay,
            jitter,
            rate,
            ..
        } = self.impairment;
        !delay.is_zero() || !jitter.is_zero() || rate != 0
    }

    /// Packets that wait at most.
    pub fn limit(&self) -> usize {
        self.impairment.limit
    }

    /// How many packets wait.
    pub fn waiting(&self) -> usize {
        self.queue.len() + usize::from(self.held.is_some())
    }

    /// When the next packet leaves, if one waits.
    pub fn next(&self) -> Option<Instant> {
        let queued = self.queue.front().map(|packet| packet.leaves);
        queued.or_else(|| self.held.as_ref().map(|held| held.leaves + NO_NEXT))
    }

    /// Offers `send` the packets that leave now, until it refuses one. Gives true if it has.
    pub fn release(&mut self, now: Instant, mut send: impl FnMut(&[u8]) -> Outcome) -> bool {
        while self.next().is_some_and(|time| time <= now) {
            let packet = self.queue.pop_front().or_else(|| self.held.take());
            let Some(mut packet) = packet else { break };
            match send(&packet.bytes) {
                Outcome::Sent => self.tally.sent += 1,
                Outcome::TooLong => self.tally.too_long += 1,
                Outcome::Full => {
                    self.queue.push_front(packet);
                    return true;
                }
            }
            packet.bytes.clear();
            if self.spare.len() < SPARE {
                self.spare.push(packet.bytes);
            }
        }
        false
    }
}

/// What became of a packet that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// it has left
    Sent,
    /// there is no room yet
    Full,
    /// there never will be
    TooLong,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bad() -> Impairment {
        Impairment {
            loss: 0.1,
            duplicate: 0.1,
            corrupt: 0.1,
            reorder: 0.1,
            limit: usize::MAX,
            ..Impairment::default()
        }
    }

    /// What leaves of `n` numbered packets, which come at the times that `when` gives.
    fn leaves(way: &mut Way, n: u32, when: impl Fn(u32) -> Duration) -> Vec<Vec<u8>> {
        let begin = Instant::now();
        let mut out = Vec::new();
        for i in 0..n {
            let now = begin + when(i);
            way.accept(now, [&i.to_be_bytes()[..], &[0; 60]].into_iter());
            way.release(now, |bytes| {
                out.push(bytes.to_vec());
                Outcome::Sent
            });
        }
        let end = begin + when(n) + Duration::from_secs(3600);
        way.release(end, |bytes| {
            out.push(bytes.to_vec());
            Outcome::Sent
        });
        out
    }

    #[test]
    fn a_good_wire_changes_nothing() {
        let good = Impairment {
            limit: 10,
            ..Impairment::default()
        };
        let mut way = Way::new(good, 1, 0);
        let out = leaves(&mut way, 100, |_| Duration::ZERO);
        let numbers = out.iter().map(|bytes| bytes[3]);
        assert!(numbers.eq(0..100));
        assert_eq!((way.tally.sent, way.waiting()), (100, 0));
    }

    #[test]
    fn certainties_are_certain() {
        let only = |change: fn(&mut Impairment)| {
            let mut impairment = Impairment {
                limit: 1000,
                ..Impairment::default()
            };
            change(&mut impairment);
            let mut way = Way::new(impairment, 7, 1);
            let out = leaves(&mut way, 100, |_| Duration::ZERO);
            (out, way.tally)
        };
        assert_eq!(only(|i| i.loss = 1.0).1.lost, 100);
        assert_eq!(only(|i| i.duplicate = 1.0).1.sent, 200);
        let (out, tally) = only(|i| i.corrupt = 1.0);
        let wrong = |(i, bytes): (usize, &Vec<u8>)| {
            let good = [&(i as u32).to_be_bytes()[..], &[0; 60]].concat();
            let bits = bytes.iter().zip(&good).map(|(a, b)| (a ^ b).count_ones());
            bits.sum::<u32>()
        };
        assert!(out.iter().enumerate().map(wrong).all(|bits| bits == 1));
        assert_eq!(tally.corrupted, 100);
        // Every second one goes behind the one after it.
        let (out, tally) = only(|i| i.reorder = 1.0);
        assert_eq!(
            [out[0][3], out[1][3], out[98][3], out[99][3]],
            [1, 0, 99, 98]
        );
        assert_eq!(tally.reordered, 50);
        assert_eq!(only(|i| i.limit = 1).1.over_limit, 0);
    }

    #[test]
    fn what_comes_when_too_many_wait_is_dropped() {
        let slow = Impairment {
            rate: 64 * 8,
            limit: 5,
            ..Impairment::default()
        };
        let mut way = Way::new(slow, 0, 0);
        // A packet of 64 bytes takes a second, and ten come each second.
        let out = leaves(&mut way, 100, |i| Duration::from_millis(100) * i);
        assert_eq!(out.len() as u64 + way.tally.over_limit, 100);
        assert!((13..=16).contains(&out.len()), "{}", out.len());
    }

    #[test]
    fn a_packet_that_nobody_takes_stays() {
        let mut way = Way::new(bad(), 3, 0);
        let now = Instant::now();
        way.accept(now, [&[1; 60][..]].into_iter());
        let before = way.waiting();
        assert!(before == 0 || way.release(now + NO_NEXT, |_| Outcome::Full));
        assert_eq!(way.waiting(), before);
        assert!(!way.release(now + NO_NEXT, |_| Outcome::TooLong));
        assert_eq!((way.waiting(), way.tally.too_long), (0, before as u64));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The same seed makes the same packets leave in the same order, at whatever times they come.
        #[test]
        fn a_seed_says_it_all(seed: u64, gaps in prop::collection::vec(0u64..200_000, 300)) {
            let times: Vec<u64> = gaps.iter().scan(0, |sum, gap| { *sum += gap; Some(*sum) }).collect();
            let when = |i: u32| Duration::from_micros(times[i as usize]);
            let jittery = Impairment { jitter: Duration::from_millis(5), ..bad() };
            let mut ways = [
                Way::new(bad(), seed, 0),
                Way::new(bad(), seed, 0),
                Way::new(jittery, seed, 0),
                Way::new(bad(), seed, 1),
            ];
            let [a, b, c, d] = ways.each_mut().map(|way| leaves(way, 299, when));
            let e = leaves(&mut Way::new(bad(), seed, 0), 299, |_| Duration::ZERO);
            // All but the place of one that waits for a next one too long.
            let sorted = |mut all: Vec<Vec<u8>>| { all.sort(); all };
            prop_assert!(a == b);
            let all = sorted(a);
            prop_assert!(all == sorted(c) && all == sorted(e));
            prop_assert!(all != sorted(d));
            let sums = ways.each_ref().map(|w| w.tally.received + w.tally.duplicated - w.tally.lost);
            prop_assert!(sums.iter().zip(&ways).all(|(sum, way)| *sum == way.tally.sent));
        }
    }
}
