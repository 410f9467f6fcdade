//! Latencies in buckets that grow with them: 128 to each doubling, so a value is known to 0.8 percent, and a sample is
//! one addition to memory that all share.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Buckets to each doubling, as a power of two.
pub const BITS: u32 = 7;
const EACH: u64 = 1 << BITS;
/// Values from here on (18 minutes, in nanoseconds) are in the last bucket.
const TOP_BITS: u32 = 40;
/// How many there are.
pub const BUCKETS: usize = (TOP_BITS - BITS + 1) as usize * EACH as usize;

/// The shared counters, written by one worker.
#[repr(C)]
pub struct Counters([AtomicU32; BUCKETS]);

impl Counters {
    /// Counts a value in nanoseconds.
    #[inline]
    pub fn add(&self, ns: u64) {
        let counter = &self.0[place(ns)];
        counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// What has been counted so far.
    pub fn read(&self) -> Histogram {
        Histogram(self.0.iter().map(|c| c.load(Relaxed).into()).collect())
    }
}

/// The bucket of a value in nanoseconds.
pub fn place(ns: u64) -> usize {
    if ns < EACH {
        return ns as usize;
    }
    let doubling = ns.ilog2() - BITS;
    let place = u64::from(doubling) * EACH + (ns >> doubling);
    (place as usize).min(BUCKETS - 1)
}

/// The middle of a bucket.
fn value(place: usize) -> f64 {
    let place = place as u64;
    if place < 2 * EACH {
        return place as f64;
    }
    let doubling = place / EACH - 1;
    let width = (1u64 << doubling) as f64;
    (place - doubling * EACH) as f64 * width + width / 2.0
}

/// How often each value came; none at first.
#[derive(Clone, Debug, Default)]
pub struct Histogram(Vec<u64>);

impl Histogram {
    /// What came after `earlier` was read from the same counters.
    pub fn since(mut self, earlier: &Self) -> Self {
        for (now, then) in self.0.iter_mut().zip(&earlier.0) {
            *now = u64::from((*now as u32).wrapping_sub(*then as u32));
        }
        self
    }

    /// Adds what another one holds.
    pub fn merge(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        for (sum, more) in self.0.iter_mut().zip(&other.0) {
            *sum += more;
        }
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The value that `percent` of the others do not exceed, in nanoseconds; `None` if there is none at all.
    pub fn percentile(&self, percent: f64) -> Option<f64> {
        let wanted = (self.count() as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reached = self.0.iter().position(|n| {
            seen += n;
            seen >= wanted
        });
        reached.map(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Histogram {
        let counters = Counters([const { AtomicU32::new(0) }; BUCKETS]);
        values.into_iter().for_each(|v| counters.add(v));
        counters.read()
    }

    #[test]
    fn every_value_is_known_to_a_hundredth() {
        for shift in 0..TOP_BITS {
            for ns in [
                1u64 << shift,
                (1u64 << shift) + (1 << shift) / 3,
                (2 << shift) - 1,
            ] {
                let got = of([ns]).percentile(50.0).unwrap();
                assert!((got - ns as f64).abs() <= ns as f64 / 100.0, "{ns}: {got}");
            }
        }
        assert!(of([u64::MAX]).percentile(50.0).is_some());
    }

    #[test]
    fn percentiles_merge_and_differences() {
        assert_eq!(Histogram::default().percentile(50.0), None);
        let first = of(1..=100);
        assert_eq!(first.percentile(50.0), Some(50.0));
        assert_eq!(first.percentile(99.0), Some(99.0));
        assert_eq!(first.percentile(99.9), Some(100.0));
        let both = of((1..=100).chain([7, 7]));
        let later = both.clone().since(&first);
        assert_eq!((later.count(), later.percentile(1.0)), (2, Some(7.0)));
        let mut sum = first;
        sum.merge(&later);
        assert_eq!(sum.count(), 102);
    }
}
