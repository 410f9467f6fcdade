//! Round trip times: exact minimum, mean and maximum, percentiles from a histogram.
//!
//! Of our own, since hdrhistogram takes a logarithm: `uvale` would need `libm.so.6` beside libc, a third file for
//! images from scratch.

use std::fmt;

use serde::Serialize;

/// Sub-buckets per power of two; percentiles are right to 1/32.
const SUB: u64 = 32;
const SUB_BITS: u32 = 5;

/// Collects times in nanoseconds.
pub struct Latency {
    buckets: Vec<u64>,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
}

/// What was collected. Times are nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LatencySummary {
    /// Packets sent.
    pub sent: u64,
    /// Answers in time.
    pub answered: u64,
    /// Packets without an answer in time.
    pub lost: u64,
    /// Answers that came too late or twice.
    pub late: u64,
    /// Shortest round trip.
    pub min_ns: u64,
    /// Mean.
    pub avg_ns: u64,
    /// Longest.
    pub max_ns: u64,
    /// Median.
    pub p50_ns: u64,
    /// 90 % were not longer.
    pub p90_ns: u64,
    /// 99 % were not longer.
    pub p99_ns: u64,
    /// 99.9 % were not longer.
    pub p999_ns: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Latency {
            buckets: vec![0; bucket(u64::MAX) + 1],
            count: 0,
            sum: 0,
            min: u64::MAX,
            max: 0,
        }
    }
}

/// Values below 32 have a bucket each; above, each power of two is cut into 32.
fn bucket(value: u64) -> usize {
    if value < SUB {
        return value as usize;
    }
    let shift = value.ilog2() - SUB_BITS;
    ((u64::from(shift) + 1) * SUB + (value >> shift) - SUB) as usize
}

/// Largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SUB {
        return bucket;
    }
    let shift = bucket / SUB - 1;
    let top = (u128::from(bucket % SUB + SUB + 1) << shift) - 1;
    u64::try_from(top).unwrap_or(u64::MAX)
}

impl Latency {
    /// Adds one time.
    pub fn add(&mut self, nanos: u64) {
        self.buckets[bucket(nanos)] += 1;
        self.count += 1;
        self.sum += u128::from(nanos);
        self.min = self.min.min(nanos);
        self.max = self.max.max(nanos);
    }

    /// A time that `permille` thousandths of the times do not exceed.
    fn percentile(&self, permille: u64) -> u64 {
        let rank = (u128::from(self.count) * u128::from(permille))
            .div_ceil(1000)
            .max(1);
        let mut seen = 0u128;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank {
                return upper(index).clamp(self.min, self.max);
            }
        }
        0
    }

    /// What was collected, given counts that are kept elsewhere.
    pub fn summary(&self, sent: u64, lost: u64, late: u64) -> LatencySummary {
        let any = self.count > 0;
        LatencySummary {
            sent,
            answered: self.count,
            lost,
            late,
            min_ns: if any { self.min } else { 0 },
            avg_ns: if any {
                u64::try_from(self.sum / u128::from(self.count)).unwrap_or(u64::MAX)
            } else {
                0
            },
            max_ns: self.max,
            p50_ns: self.percentile(500),
            p90_ns: self.percentile(900),
            p99_ns: self.percentile(990),
            p999_ns: self.percentile(999),
        }
    }
}

impl fmt::Display for LatencySummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sent, {} answered, {} lost, {} late",
            self.sent, self.answered, self.lost, self.late
        )?;
        if self.answered > 0 {
            write!(
                f,
                "\nRound trip ns: min {} avg {} max {}; 50 % {} 90 % {} 99 % {} 99.9 % {}",
                self.min_ns,
                self.avg_ns,
                self.max_ns,
                self.p50_ns,
                self.p90_ns,
                self.p99_ns,
                self.p999_ns
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_ordered_and_tight() {
        let mut values: Vec<u64> = (0..4096).collect();
        values.extend((12..64).flat_map(|p| {
            [
                (1u64 << p) - 1,
                1 << p,
                (1 << p) + 1,
                (1 << p) + (1 << (p - 1)),
            ]
        }));
        values.push(u64::MAX);
        values.sort_unstable();
        for pair in values.windows(2) {
            assert!(bucket(pair[0]) <= bucket(pair[1]), "{pair:?}");
        }
        for value in values {
            let top = upper(bucket(value));
            assert!(top >= value && top - value <= value / 32, "{value} {top}");
        }
    }

    #[test]
    fn known_distribution() {
        let mut latency = Latency::default();
        for nanos in 1..=1000 {
            latency.add(nanos);
        }
        let s = latency.summary(1001, 1, 0);
        assert_eq!(
            (s.min_ns, s.avg_ns, s.max_ns, s.answered),
            (1, 500, 1000, 1000)
        );
        for (got, exact) in [
            (s.p50_ns, 500),
            (s.p90_ns, 900),
            (s.p99_ns, 990),
            (s.p999_ns, 999),
        ] {
            assert!(got >= exact && got <= exact + exact / 32, "{got} {exact}");
        }
    }

    #[test]
    fn nothing_collected() {
        let s = Latency::default().summary(5, 5, 0);
        assert_eq!((s.min_ns, s.avg_ns, s.max_ns, s.p50_ns), (0, 0, 0, 0));
    }
}
