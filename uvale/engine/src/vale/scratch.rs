//! The work area of a tx ring: what the last run needed; a batch of slots copied out, and the packets of
//! each receiver strung together.

use std::alloc::{Layout, handle_alloc_error};
use std::collections::TryReserveError;
use std::sync::Arc;

use super::places::Places;
use super::plan::Plan;
use super::{BATCH, Detour};
use crate::RegionMap;
use crate::bwrap::Onward;
use crate::monitor::Regions;
use crate::synced::Way;
use nm_abi::NS_INDIRECT;
use uvale_shared::ctl::{MAX_RINGS, SWITCH_PORTS};
use uvale_wire::Space;

/// End of a list of packets.
pub(super) const NIL: u32 = u32::MAX;
/// Queues: 16 rings of each port and one for broadcasts.
const QUEUES: usize = SWITCH_PORTS * MAX_RINGS + 1;
pub(super) const BROADCAST_QUEUE: usize = SWITCH_PORTS * MAX_RINGS;

/// One slot of the batch, copied out of the ring before anything is checked.
#[derive(Clone, Copy, Default)]
pub(super) struct Frag {
    /// offset of the buffer in the sender's region, or the address if NS_INDIRECT
    pub(super) at: u64,
    /// number of the buffer in the first case
    pub(super) buf_idx: u32,
    pub(super) len: u32,
    pub(super) flags: u16,
    /// on the first fragment: how many slots the packet has
    pub(super) frags: u16,
    /// next packet for the same destination
    pub(super) next: u32,
    /// on the first fragment: bytes of the whole packet
    pub(super) bytes: u32,
}

impl Frag {
    /// Is it at an address of the sender's?
    #[inline(always)]
    pub(super) fn is_indirect(&self) -> bool {
        self.flags & NS_INDIRECT != 0
    }
}

/// Where packets of a batch go.
#[derive(Clone, Copy)]
pub(super) struct Dest {
    /// their queue
    pub(super) queue: u32,
    /// record of the port that had the number when it was looked up
    pub(super) port: u32,
}

/// To every port.
pub(super) const BROADCAST: Dest = Dest {
    queue: BROADCAST_QUEUE as u32,
    port: u32::MAX,
};

#[derive(Clone, Copy)]
pub(super) struct Queue {
    pub(super) head: u32,
    pub(super) tail: u32,
    pub(super) slots: u32,
}

pub(super) const EMPTY: Queue = Queue {
    head: NIL,
    tail: NIL,
    slots: 0,
};

/// Work area of one tx ring, private to the process (netmap's nkr_ft).
pub struct Scratch {
    /// of a ring of a descriptor: its memory
    pub(super) own: Option<Arc<RegionMap>>,
    pub(super) frags: Vec<Frag>,
    /// they are a packet each, in a buffer of the sender's, which the short ways of copying will do for
    pub(super) are_plain: bool,
    pub(super) queues: Vec<Queue>,
    pub(super) dests: Vec<Dest>,
    /// regions of the receivers by port number
    pub(super) regions: Vec<Option<Arc<RegionMap>>>,
    /// generation of the switch for which `regions` was swept
    pub(super) swept: u32,
    /// session that has used this
    pub(super) session: u32,
    /// in use: if found so on entry, what is here was left in the middle
    pub(super) in_use: bool,
    /// what becomes of packets is to be noted (see `trace`)
    pub(super) is_traced: bool,
    /// batches that will not look for a run
    pub(super) detour: Detour,
    /// syncs that will not try the short way for a few packets
    pub(super) rows: Detour,
    /// of the last run
    pub(super) plan: Option<Plan>,
    pub(super) places: Places,
    /// when `plan` was made, if a few packets may go by it alone: nobody looks on, and nothing here is in use
    pub(super) express: u64,
    /// of the monitors of this ring and of the receivers' rings
    pub(crate) monitors: Regions,
    /// for packets that are forwarded into other switches
    pub(crate) onward: Onward,
    /// for packets that leave by a wire
    pub(crate) outgoing: Space,
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new(None).unwrap_or_else(|_| handle_alloc_error(Layout::new::<[Queue; QUEUES]>()))
    }
}

impl Scratch {
    /// A new one, if there is memory for it; see [`Scratch::own`].
    pub(crate) fn new(own: Option<Arc<RegionMap>>) -> Result<Self, TryReserveError> {
        let (mut frags, mut queues, mut dests) = (Vec::new(), Vec::new(), Vec::new());
        frags.try_reserve_exact(BATCH + 64)?;
        queues.try_reserve_exact(QUEUES)?;
        queues.resize(QUEUES, EMPTY);
        dests.try_reserve_exact(64)?;
        Ok(Self {
            own,
            frags,
            are_plain: false,
            queues,
            dests,
            regions: Vec::new(),
            swept: 0,
            session: 0,
            in_use: false,
            is_traced: false,
            detour: Detour::default(),
            rows: Detour::default(),
            plan: None,
            places: Places::default(),
            express: 0,
            monitors: Regions::default(),
            onward: Onward::default(),
            outgoing: Space::default(),
        })
    }

    /// Have there been packets of several flows to one receiver?
    pub(crate) fn is_mixed(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.is_mixed.get())
    }

    /// The memory of monitors.
    pub(crate) fn monitors(&mut self) -> &mut Regions {
        &mut self.monitors
    }

    /// Packets strung together for `queue`, and the broadcasts.
    #[cold]
    pub(super) fn packets_for(&self, queue: usize) -> u64 {
        let walk = |head: u32| {
            let next = |i: &u32| self.frags.get(*i as usize).map(|f| f.next);
            core::iter::successors(Some(head), next)
                .take(BATCH * 2)
                .filter(|i| *i != NIL)
                .count()
        };
        (walk(self.queues[queue].head) + walk(self.queues[BROADCAST_QUEUE].head)) as u64
    }

    /// Ready for use by `session`. A fork in the middle of another thread's sync copies a work
    /// area in motion, and a panic or a jump out of a signal handler leaves one: such a work
    /// area is dropped without looking at it.
    pub(super) fn begin(&mut self, session: u32) {
        let unused = self.session == 0;
        if self.in_use || (self.session != session && !unused) {
            let new = Self {
                own: self.own.clone(),
                ..Self::default()
            };
            core::mem::forget(core::mem::replace(self, new));
        }
        self.session = session;
        self.in_use = true;
        self.express = 0;
    }

    /// The end of what [`Scratch::begin`] began, of a ring behind which is `way`.
    pub(super) fn end(&mut self, way: Way) {
        self.in_use = false;
        if let Some(plan) = &self.plan
            && way == Way::Vale
            && self.detour.is_over()
            && plan.is_private
            && plan.from.is_some()
        {
            self.express = plan.when;
        }
    }
}
