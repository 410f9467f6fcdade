//! What the last run had to look up. As long as the packets look the same and nothing of the switch, the table entry
//! and the ring has changed, a sync looks at these alone.

use core::cell::Cell;
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::Arc;

use crate::RegionMap;
use crate::offsets::Offsets;
use crate::synced::Synced;
use uvale_shared::ctl::{FDB_SIZE, Kring, Port, Switch, Tuning};
use uvale_shared::held::Held;

/// What the last run needed, so that the next sync need not find out again.
pub(super) struct Plan {
    pub(super) tuning: Held<Tuning>,
    /// the sending port: its record, and its switch as records name it
    pub(super) sender: u32,
    pub(super) me: Held<Port>,
    pub(super) switch_ref: u32,
    pub(super) switch: Held<Switch>,
    /// of the switch; `None`: the plan is good for nothing
    pub(super) generation: Cell<Option<u32>>,
    /// first twelve bytes of each packet
    pub(super) words: (u64, u64),
    /// source address
    pub(super) source: u64,
    /// place and content of the destination's table entry
    pub(super) hash: usize,
    pub(super) entry: u64,
    /// receiver: number on the switch, port record, rx kring and its generation, memory
    pub(super) number: u32,
    pub(super) port_index: u32,
    pub(super) port: Held<Port>,
    pub(super) rx_index: u32,
    pub(super) rx: Held<Kring>,
    pub(super) rx_generation: u32,
    pub(super) region: Arc<RegionMap>,
}

impl Plan {
    /// Does it hold for packets that begin with `words`? It was made for a ring whose packets begin where their buffers
    /// do, in a memory of whole lines.
    #[inline(always)]
    pub(super) fn holds(&self, tx: &Synced<'_>, words: (u64, u64)) -> bool {
        self.words == words
            && self.generation.get() == Some(self.switch.generation.load(Acquire))
            && self.switch.fdb[self.hash & (FDB_SIZE - 1)].load(Relaxed) == self.entry
            && tx.kring.port.load(Relaxed) == self.sender
            && Offsets::of(tx.kring).is_none()
            && self.me.last_smac.load(Relaxed) == self.source
            && self.me.switch.load(Acquire) == self.switch_ref
            && self.me.virt_hdr_len.load(Relaxed) | self.port.virt_hdr_len.load(Relaxed) == 0
    }

    /// Is the receiving ring, which is locked, still the one that was looked up? A plan outlives the sync that made it,
    /// and its records may be another port's by now. Their generation says so, and stands for all of a ring that does
    /// not change while it exists.
    #[inline(always)]
    pub(super) fn is_still(&self, kring: &Kring) -> bool {
        kring.generation.load(Relaxed) == self.rx_generation
            && kring.port.load(Relaxed) == self.port_index
            && self.port.switch.load(Relaxed) == self.switch_ref
            && self.port.bdg_port.load(Relaxed) == self.number
    }
}
