//! A sync of an rx ring.

use core::sync::atomic::Ordering::Relaxed;

use super::Sync;
use crate::monitor::{self, Regions};
use crate::synced::Synced;
use crate::{nic, pipe};
use nm_abi::NR_TIMESTAMP;
use uvale_shared::ctl::Tuning;
use uvale_shared::lock::LockGuard;

impl Sync<'_, Regions> {
    /// Receives. False if the program's indices were wrong, or if it is a monitor's and the
    /// monitored port has gone; in the first case it continues, like netmap, with the
    /// re-initialised indices.
    #[inline(always)]
    pub(crate) fn rx(self, guard: &mut LockGuard<'_>) -> bool {
        // What a pipe's sender has published becomes hwtail in `pipe::rxsync` only, after the indices
        // are checked.
        let hwtail = self.ring.kring.indices().arrived();
        let is_good = self.ring.rx_prologue(hwtail).is_ok();
        if !is_good {
            self.ring.reinit();
        }
        let received = self.receive(guard, hwtail);
        if let Some(hwtail) = received {
            self.ring.finalize(hwtail);
        }
        stamp(&self.attachment.tuning, self.ring);
        is_good && received.is_some()
    }

    /// Shows the program what has arrived since the last sync; it gives nothing back.
    pub(crate) fn rx_again(self, guard: &mut LockGuard<'_>) {
        let hwtail = self.ring.kring.indices().arrived();
        if let Some(hwtail) = self.receive(guard, hwtail) {
            self.ring.finalize(hwtail);
        }
        stamp(&self.attachment.tuning, self.ring);
    }

    /// Gives back what lies before `rhead`, and takes in what has arrived. Returns hwtail; `None`
    /// for a monitor whose port has gone.
    #[inline(always)]
    pub(crate) fn receive(self, guard: &mut LockGuard<'_>, hwtail: u32) -> Option<u32> {
        let Self { host, ring, of, .. } = self;
        let (binding, k) = (self.attachment.binding(), ring.kring);
        let (head, pipe) = (k.rhead.load(Relaxed), k.pipe.load(Relaxed));
        let is_monitored = k.is_monitored();
        // What is not done here gets a copy of its own.
        if is_monitored {
            monitor::released(host, &{ ring }, head);
        }
        let hwtail = if pipe != 0 {
            pipe::rxsync(host, &{ ring }, of.peer(pipe), head)
        } else if binding.is_monitor {
            if k.orphan.load(Relaxed) != 0 {
                return None;
            }
            give_back(ring, head);
            hwtail
        } else if binding.is_nic {
            let ring = &{ ring };
            nic::forward(host, ring, head);
            if release(*ring, head) {
                nic::wake_peer(host, k);
            }
            nic::take_in(host, ring);
            k.indices().arrived()
        } else {
            release(ring, head);
            hwtail
        };
        if is_monitored && let Some(regions) = of.work.get(guard) {
            monitor::arrived(host, &{ ring }, hwtail, regions);
        }
        Some(hwtail)
    }

    /// Ends the sync: releases the ring, then shows its monitors what arrived meanwhile.
    #[inline(always)]
    pub(crate) fn leave(self, guard: LockGuard<'_>) {
        let is_monitored = self.ring.kring.is_monitored();
        drop(guard);
        if is_monitored {
            monitor::catch_up(self.host, self.ring.index, self.ring.region, &self.of.work);
        }
    }
}

/// VALE and NICs: gives `hwcur..head` back to the senders. False if that is nothing.
#[inline(always)]
fn release(ring: Synced<'_>, head: u32) -> bool {
    let from = ring.kring.hwcur.load(Relaxed);
    if from == head || head >= ring.n || from >= ring.n {
        return false;
    }
    let mut i = from;
    while i != head {
        let view = &ring.ring.slots()[i as usize];
        view.clear_changed(view.load());
        i = ring.ring.next(i);
    }
    give_back(ring, head);
    true
}

/// VALE, NICs and monitors: the slots before `head` may be filled again.
#[inline]
fn give_back(ring: Synced<'_>, head: u32) {
    if head < ring.n {
        ring.kring.indices().give_back(head);
    }
}

/// The time of this sync, as netmap writes it into rx rings, unless no_timestamp says not to.
#[inline(always)]
fn stamp(tuning: &Tuning, ring: Synced<'_>) {
    let asked = || ring.ring.header().flags.load(Relaxed) & NR_TIMESTAMP != 0;
    if tuning.timestamps.load(Relaxed) == 0 && !asked() {
        return;
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let ts = &ring.ring.header().ts;
    ts[0].store(now.tv_sec as u64, Relaxed);
    ts[1].store(u64::from(now.tv_nsec as u32 / 1000), Relaxed);
}
