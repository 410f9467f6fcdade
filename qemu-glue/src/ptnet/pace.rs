//! Whether a guest is about to move a head again by itself. One that has just moved many slots at once is in the middle
//! of a stream: it is looked for now and then, and asked for a kick only when nothing more has come for a while. With
//! one that moves few at a time every packet may be waited for, and it is asked at once.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// So many slots at once are a batch.
const BATCH: u32 = 32;
/// For so long after a batch another one is expected.
const EXPECTED: Duration = Duration::from_millis(10);
/// A nap is half as long as the wait was so far, within these bounds: the next batch is noticed late by a third of its
/// distance or half a millisecond, and a guest that sends no more costs some thirty looks.
const SHORTEST: Duration = Duration::from_micros(50);
const LONGEST: Duration = Duration::from_micros(500);

/// When the guest moved a batch of a ring last.
#[derive(Default)]
pub struct Pace(Cell<Option<Instant>>);

impl Pace {
    /// The guest has moved `slots` at once.
    pub fn moved(&self, slots: u32, now: Instant) {
        if slots >= BATCH {
            self.0.set(Some(now));
        }
    }

    /// How long to sleep before the next look; `None`: the guest has to be asked for a kick.
    pub fn nap(&self, now: Instant) -> Option<Duration> {
        let waited = now.saturating_duration_since(self.0.get()?);
        (waited < EXPECTED).then(|| (waited / 2).clamp(SHORTEST, LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_batch_it_is_looked_for_more_and_not_for_long() {
        let began = Instant::now();
        let pace = Pace::default();
        assert_eq!(pace.nap(began), None);
        pace.moved(BATCH - 1, began);
        assert_eq!(pace.nap(began), None);
        pace.moved(BATCH, began);
        let mut now = began;
        let mut naps = Vec::new();
        while let Some(nap) = pace.nap(now) {
            naps.push(nap);
            now += nap;
        }
        assert_eq!(
            naps[..5],
            [50_000, 50_000, 50_000, 75_000, 112_500].map(Duration::from_nanos)
        );
        assert!(naps.len() < 40, "{naps:?}");
        assert!(naps.iter().all(|nap| *nap <= LONGEST), "{naps:?}");
        assert!(now < began + EXPECTED + LONGEST);
        // What comes one by one is no stream, and does not make the last one longer.
        pace.moved(1, now);
        assert_eq!(pace.nap(now), None);
        pace.moved(BATCH, now);
        assert_eq!(pace.nap(now), Some(SHORTEST));
    }
}
