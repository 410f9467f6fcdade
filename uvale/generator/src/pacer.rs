//! Pacing: how many packets may leave now, so that a stream keeps its rate.
//!
//! All times are nanoseconds on one monotonic clock that the caller reads; nothing here looks at
//! a clock, so the arithmetic is tested without one.

use std::time::Duration;

/// Nanoseconds in a second.
pub const NANOS: u64 = 1_000_000_000;

/// How far behind a stream may fall before the backlog is forgotten. A sender that was held up
/// (by a full ring, by the scheduler) catches up at most this much in one go.
const MAX_BACKLOG: u64 = 10_000_000;

/// Hands out permission to send at a constant rate without drift.
#[derive(Clone, Debug)]
pub struct Pacer {
    rate: u64,
    start: u64,
    sent: u64,
}

impl Pacer {
    /// A stream of `rate` packets a second (at least 1) whose first packet is due at `now`.
    pub fn new(rate: u64, now: u64) -> Self {
        Pacer {
            rate: rate.max(1),
            start: now,
            sent: 0,
        }
    }

    /// Time at which packet number `index` (from 0) is due.
    fn due_at(&self, index: u64) -> u64 {
        let offset = u128::from(index) * u128::from(NANOS) / u128::from(self.rate);
        self.start
            .saturating_add(u64::try_from(offset).unwrap_or(u64::MAX))
    }

    /// Packets that may be sent at `now`.
    pub fn due(&mut self, now: u64) -> u64 {
        let next = self.due_at(self.sent);
        if now < next {
            return 0;
        }
        if now - next > MAX_BACKLOG {
            self.start = now - MAX_BACKLOG;
            self.sent = 0;
        }
        let elapsed = u128::from(now - self.start);
        let total = elapsed * u128::from(self.rate) / u128::from(NANOS) + 1;
        u64::try_from(total)
            .unwrap_or(u64::MAX)
            .saturating_sub(self.sent)
    }

    /// Records that `count` packets left.
    pub fn sent(&mut self, count: u64) {
        self.sent = self.sent.saturating_add(count);
    }

    /// How long to wait at `now` until `burst` packets are due together.
    pub fn wait(&self, now: u64, burst: u64) -> Duration {
        let last = self.sent.saturating_add(burst.saturating_sub(1));
        Duration::from_nanos(self.due_at(last).saturating_sub(now))
    }
}

/// The burst to use at `rate` packets a second: small enough that something leaves about
/// 300 times a second, never less than one packet. A rate of 0 means unlimited.
pub fn burst_for_rate(burst: u32, rate: u64) -> u32 {
    if rate == 0 {
        return burst.max(1);
    }
    let limit = u32::try_from(rate / 300).unwrap_or(u32::MAX);
    burst.min(limit).max(1)
}

/// The part of `total` that worker `index` of `workers` does; the parts add up to `total`.
pub fn share(total: u64, index: u64, workers: u64) -> u64 {
    let workers = workers.max(1);
    total / workers + u64::from(index < total % workers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_rate_has_no_drift() {
        let mut pacer = Pacer::new(3, 1000);
        let mut sent = 0;
        // a step that does not divide the period: 7 ms over 100 s
        let mut now = 1000;
        while now <= 1000 + 100 * NANOS {
            let due = pacer.due(now);
            pacer.sent(due);
            sent += due;
            now += 7_000_000;
        }
        // packets are due at 0, 1/3, 2/3 ... 100 s; the last step falls short of 100 s exactly
        assert!((300..=301).contains(&sent), "{sent}");
    }

    #[test]
    fn first_packet_is_due_at_once() {
        let mut pacer = Pacer::new(1, 5);
        assert_eq!(pacer.due(5), 1);
        pacer.sent(1);
        assert_eq!(pacer.due(6), 0);
        assert_eq!(pacer.wait(5, 1), Duration::from_secs(1));
        assert_eq!(pacer.due(5 + NANOS), 1);
    }

    #[test]
    fn backlog_is_bounded() {
        let mut pacer = Pacer::new(1_000_000, 0);
        // an hour's stall must not release 3.6 billion packets
        let due = pacer.due(3600 * NANOS);
        assert_eq!(due, 1_000_000 * MAX_BACKLOG / NANOS + 1);
    }

    #[test]
    fn bursts_are_waited_for_as_a_whole() {
        let mut pacer = Pacer::new(1000, 0);
        assert_eq!(pacer.wait(0, 4), Duration::from_millis(3));
        assert_eq!(pacer.due(3_000_000), 4);
        pacer.sent(4);
        assert_eq!(pacer.wait(3_000_000, 4), Duration::from_millis(4));
    }

    #[test]
    fn burst_shrinks_with_the_rate() {
        assert_eq!(burst_for_rate(512, 0), 512);
        assert_eq!(burst_for_rate(512, 300_000), 512);
        assert_eq!(burst_for_rate(512, 3_000), 10);
        assert_eq!(burst_for_rate(512, 10), 1);
        assert_eq!(burst_for_rate(0, 0), 1);
    }

    #[test]
    fn shares_add_up() {
        for (total, workers) in [(10, 3), (2, 4), (0, 1), (7, 7)] {
            let sum: u64 = (0..workers).map(|i| share(total, i, workers)).sum();
            assert_eq!(sum, total);
        }
    }
}
