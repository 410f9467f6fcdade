//! Spinning over the rings for a while before a thread goes to sleep.

use crate::ground::raw::now;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Rounds of spinning over the rings before a thread goes to sleep, least and most. Adaptive: more after
/// a spin that found something or a sleep that was short, fewer otherwise. If the peer needs this
/// very processor, no spin is long enough; then spinning stays short for [`SPIN_HOLD`] sleeps.
const ROUNDS: core::ops::RangeInclusive<u32> = 16..=2048;

/// Sleeps for which spinning stays short after the longest spin was in vain.
const HOLD: u32 = 256;
/// Sleeps shorter than this, in ns, a longer spin would have avoided.
const SHORT_SLEEP: u64 = 100_000;

/// How long it was worth it on a description.
pub struct Spin {
    rounds: AtomicU32,
    /// sleeps for which `rounds` stays as it is
    hold: AtomicU32,
    /// when a thread went to sleep last, in ns
    slept_at: AtomicU64,
}

impl Spin {
    pub fn new() -> Self {
        Self {
            rounds: AtomicU32::new(*ROUNDS.end()),
            hold: AtomicU32::new(0),
            slept_at: AtomicU64::new(0),
        }
    }

    /// Looks until `found` says yes; false: it is time to sleep.
    pub fn look(&self, found: impl Fn() -> bool) -> bool {
        let rounds = self.rounds.load(Relaxed);
        for _ in 0..rounds {
            if found() {
                let more = (rounds * 2).min(*ROUNDS.end());
                self.rounds.store(more, Relaxed);
                return true;
            }
            core::hint::spin_loop();
        }
        if rounds >= *ROUNDS.end() {
            self.rounds.store(*ROUNDS.start(), Relaxed);
            self.hold.store(HOLD, Relaxed);
        }
        false
    }

    /// A thread goes to sleep.
    pub fn sleeps(&self) {
        self.slept_at.store(now(), Relaxed);
    }

    /// It is awake: would a slightly longer spin have avoided the sleep?
    pub fn slept(&self) {
        let hold = self.hold.load(Relaxed);
        if hold > 0 {
            self.hold.store(hold - 1, Relaxed);
            return;
        }
        let slept = now().saturating_sub(self.slept_at.load(Relaxed));
        let rounds = self.rounds.load(Relaxed);
        let (least, most) = (*ROUNDS.start(), *ROUNDS.end());
        let rounds = if slept < SHORT_SLEEP {
            rounds * 2
        } else {
            rounds / 2
        };
        self.rounds.store(rounds.clamp(least, most), Relaxed);
    }
}
/// How long to sleep where nothing says when there is room again: on a wire, or on a port that has just been joined
/// to its peer. Longer and longer as long as nothing happens.
#[derive(Default)]
pub struct Naps {
    /// naps since something happened
    in_vain: AtomicU32,
    /// [`crate::device::File::edges`] at the last one
    edges: AtomicU64,
}

/// The first nap in ns, and how often it may double.
const NAP: u64 = 250_000;
const DOUBLED: u32 = 6;

impl Naps {
    /// How long the next one may last, in nanoseconds.
    pub fn next(&self, edges: u64) -> u64 {
        if self.edges.swap(edges, Relaxed) != edges {
            self.in_vain.store(0, Relaxed);
        }
        let in_vain = self.in_vain.load(Relaxed).min(DOUBLED);
        self.in_vain.store(in_vain + 1, Relaxed);
        NAP << in_vain
    }
}
