//! What the last run had to look up. As long as the packets look the same and nothing of the switch, the table entry
//! and the ring has changed, a sync looks at these alone.

use core::cell::Cell;
use core::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::offsets::Offsets;
use crate::synced::place;
use uvale_shared::atomics::AtomicU64;
use uvale_shared::ctl::{Kring, Port, Switch, Tuning};
use uvale_shared::held::Held;
use uvale_shared::shm::HeldRing;

/// A generation that no switch has.
pub(super) const NEVER: u64 = u64::MAX;

/// What the last run needed, so that the next sync need not find out again.
pub(super) struct Plan {
    pub(super) tuning: Held<Tuning>,
    /// by whom it was made, and in which epoch of the sending ring (see [`now`])
    pub(super) when: u64,
    /// the sending ring, if it is a descriptor's, and the record of its port
    pub(super) from: Option<HeldRing>,
    pub(super) me: Held<Port>,
    pub(super) switch: Held<Switch>,
    /// of the switch; [`NEVER`]: the plan is good for nothing
    pub(super) generation: Cell<u64>,
    /// first twelve bytes of each packet
    pub(super) words: (u64, u64),
    /// source address
    pub(super) source: u64,
    /// place and content of the destination's table entry
    pub(super) fdb: Held<AtomicU64>,
    pub(super) entry: u64,
    /// the receiving ring, its kring and its epoch
    pub(super) to: HeldRing,
    pub(super) rx_index: u32,
    pub(super) rx: Held<Kring>,
    pub(super) rx_epoch: u32,
    /// nobody else sees what the receiver gets
    pub(super) is_private: bool,
}

impl Plan {
    /// Does it hold for packets that begin with `words`, in the epoch it was made in? It was made for rings whose
    /// packets begin where their buffers do, in memories of whole lines, and for ports without virtio-net headers.
    #[inline(always)]
    pub(super) fn holds(&self, words: (u64, u64)) -> bool {
        self.generation.get() == u64::from(self.switch.generation.load(Acquire))
            && self.is_same(words)
            && self.tuning.batch.load(Relaxed) != 0
    }

    /// The part of it that [`Plan::is_still`] does not ask for: the addresses, and what has been learnt of both.
    #[inline(always)]
    pub(super) fn is_same(&self, words: (u64, u64)) -> bool {
        self.words == words
            && self.fdb.load(Relaxed) == self.entry
            && self.me.last_smac.load(Relaxed) == self.source
    }

    /// Is the receiving ring `rx`, which is locked, still the one that was looked up? A plan outlives the sync that made it:
    /// its records may be another port's by now, which the epoch says, or the port may have left the switch, whose
    /// generation says so. Looked at under the lock, through which the daemon passes afterwards.
    #[inline(always)]
    pub(super) fn is_still(&self, rx: &Kring) -> bool {
        rx.check(self.rx_epoch, |rx| {
            let is_private = !rx.is_monitored() && !rx.has_bwrap();
            let is_there = place(rx, self.to.region()).is_some() && Offsets::of(rx).is_none();
            rx.now() != self.rx_epoch || is_there && is_private == self.is_private
        });
        rx.now() == self.rx_epoch
            && self.generation.get() == u64::from(self.switch.generation.load(Relaxed))
    }
}
