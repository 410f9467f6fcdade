//! What a thread counts, and how it publishes that.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a thread has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Whole packets.
    pub packets: u64,
    /// Their bytes, virtio-net headers not counted.
    pub bytes: u64,
    /// Slots they took.
    pub slots: u64,
    /// Times that packets were sent or received together.
    pub batches: u64,
    /// tx: times without room. rx: times that a ring was found full, so that packets may have been
    /// dropped.
    pub full: u64,
    /// Packets in slots whose length or buffer index made no sense, or without an end.
    pub malformed: u64,
    /// Packets left out: longer than netmap can carry, empty, or with no room for an answer.
    pub skipped: u64,
    /// ping: sum of the round trip times in nanoseconds.
    pub rtt_sum: u64,
    /// ping: answers.
    pub answers: u64,
}

/// [`Tally`] as one thread publishes it for another to look at. The fields are independent.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counters([AtomicU64; 9]);

impl Counters {
    /// Publishes.
    #[inline]
    pub fn store(&self, t: &Tally) {
        let values = [
            t.packets,
            t.bytes,
            t.slots,
            t.batches,
            t.full,
            t.malformed,
            t.skipped,
            t.rtt_sum,
            t.answers,
        ];
        for (field, value) in self.0.iter().zip(values) {
            field.store(value, Ordering::Relaxed);
        }
    }

    /// Reads.
    pub fn load(&self) -> Tally {
        let [
            packets,
            bytes,
            slots,
            batches,
            full,
            malformed,
            skipped,
            rtt_sum,
            answers,
        ] = std::array::from_fn(|i| self.0[i].load(Ordering::Relaxed));
        Tally {
            packets,
            bytes,
            slots,
            batches,
            full,
            malformed,
            skipped,
            rtt_sum,
            answers,
        }
    }
}

impl Tally {
    fn zip(self, other: Tally, op: impl Fn(u64, u64) -> u64) -> Tally {
        Tally {
            packets: op(self.packets, other.packets),
            bytes: op(self.bytes, other.bytes),
            slots: op(self.slots, other.slots),
            batches: op(self.batches, other.batches),
            full: op(self.full, other.full),
            malformed: op(self.malformed, other.malformed),
            skipped: op(self.skipped, other.skipped),
            rtt_sum: op(self.rtt_sum, other.rtt_sum),
            answers: op(self.answers, other.answers),
        }
    }

    /// Both together.
    pub fn plus(self, other: Tally) -> Tally {
        self.zip(other, u64::saturating_add)
    }

    /// What happened since `earlier`.
    pub fn since(self, earlier: Tally) -> Tally {
        self.zip(earlier, u64::saturating_sub)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_carry_every_field() {
        let tally = Tally {
            packets: 1,
            bytes: 2,
            slots: 3,
            batches: 4,
            full: 5,
            malformed: 6,
            skipped: 7,
            rtt_sum: 8,
            answers: 9,
        };
        let counters = Counters::default();
        counters.store(&tally);
        assert_eq!(counters.load(), tally);
        assert_eq!(tally.plus(tally).since(tally), tally);
    }
}
