//! Round trip times: exact minimum, mean and maximum, percentiles from a histogram.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Significant digits of percentiles.
const DIGITS: u8 = 3;

/// Collects times in nanoseconds.
pub struct Latency {
    histogram: Histogram<u64>,
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
        let histogram = Histogram::new_with_max(u64::MAX / 2, DIGITS);
        Latency {
            histogram: histogram.expect("the library takes these bounds"),
            sum: 0,
            min: u64::MAX,
            max: 0,
        }
    }
}

impl Latency {
    /// Adds one time.
    pub fn add(&mut self, nanos: u64) {
        self.histogram.saturating_record(nanos);
        self.sum += u128::from(nanos);
        self.min = self.min.min(nanos);
        self.max = self.max.max(nanos);
    }

    /// What was collected, given counts that are kept elsewhere.
    pub fn summary(&self, sent: u64, lost: u64, late: u64) -> LatencySummary {
        let answered = self.histogram.len();
        let mean = self.sum / u128::from(answered.max(1));
        let min = self.min.min(self.max);
        // a histogram gives the largest time that it does not tell from the one asked for
        let quantile = |part| {
            let time = self.histogram.value_at_quantile(part);
            time.clamp(min, self.max)
        };
        LatencySummary {
            sent,
            answered,
            lost,
            late,
            min_ns: min,
            avg_ns: u64::try_from(mean).unwrap_or(u64::MAX),
            max_ns: self.max,
            p50_ns: quantile(0.5),
            p90_ns: quantile(0.9),
            p99_ns: quantile(0.99),
            p999_ns: quantile(0.999),
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
        let percentiles = [s.p50_ns, s.p90_ns, s.p99_ns, s.p999_ns];
        assert_eq!(percentiles, [500, 900, 990, 999]);
    }

    #[test]
    fn times_of_any_length_have_three_digits() {
        for nanos in [
            0,
            1,
            2047,
            123_456_789,
            u64::from(u32::MAX) * 1000,
            u64::MAX / 3,
        ] {
            let mut latency = Latency::default();
            [nanos, nanos, u64::MAX]
                .into_iter()
                .for_each(|time| latency.add(time));
            let s = latency.summary(3, 0, 0);
            assert!(s.p50_ns >= nanos, "{nanos} {}", s.p50_ns);
            assert!(s.p50_ns - nanos <= nanos / 1000, "{nanos} {}", s.p50_ns);
            assert_eq!((s.min_ns, s.max_ns), (nanos, u64::MAX));
        }
    }

    #[test]
    fn nothing_collected() {
        let s = Latency::default().summary(5, 5, 0);
        assert_eq!((s.min_ns, s.avg_ns, s.max_ns, s.p50_ns), (0, 0, 0, 0));
    }
}
