//! Waiting without interrupts: naps that get longer.

use std::time::{Duration, Instant};

/// Naps, and since when nothing has happened.
pub struct Naps {
    since: Instant,
    taken: u32,
}

/// Looks that cost no nap, but the processor is left to others between them.
const EAGER: u32 = 32;
const SHORTEST: Duration = Duration::from_micros(20);
const LONGEST: Duration = Duration::from_millis(1);

impl Default for Naps {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            taken: 0,
        }
    }
}

impl Naps {
    /// Takes the next one.
    pub fn take(&mut self) {
        let naps = self.taken.saturating_sub(EAGER);
        if self.taken < EAGER {
            std::thread::yield_now();
        } else {
            std::thread::sleep(LONGEST.min(SHORTEST * (1 << naps.min(8))));
        }
        self.taken = self.taken.saturating_add(1);
    }

    /// Was the last one a sleep?
    #[must_use]
    pub fn has_slept(&self) -> bool {
        self.taken > EAGER
    }

    /// Something has happened.
    pub fn end(&mut self) {
        *self = Self::default();
    }

    /// For how long nothing has happened.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        self.since.elapsed()
    }
}
