//! A sync of an rx ring.

use core::sync::atomic::Ordering::Relaxed;

use super::Sync;
use crate::monitor::{self, Regions};
use crate::synced::Synced;
use crate::{Host, nic, pipe};
use nm_abi::NR_TIMESTAMP;
use uvale_shared::ctl::Tuning;

impl Sync<'_, Regions> {
    /// Receives. False if the program's indices were wrong, or if it is a monitor's and the
    /// monitored port has gone; in the first case it continues, like netmap, with the
    /// re-initialised indices.
    #[inline(always)]
    pub(crate) fn rx(&mut self) -> bool {
        // What a pipe's sender has published becomes hwtail in `pipe::rxsync` only, after the indices
        // are checked.
        let hwtail = self.ring.kring.indices().arrived();
        let is_good = self.ring.rx_prologue(hwtail).is_ok();
        if !is_good {
            self.ring.reinit();
        }
        let received = self.receive(hwtail);
        if let Some(hwtail) = received {
            self.ring.finalize(hwtail);
        }
        stamp(self.host, &self.ring);
        is_good && received.is_some()
    }

    /// Shows the program what has arrived since the last sync; it gives nothing back.
    pub(crate) fn rx_again(&mut self) {
        let hwtail = self.ring.kring.indices().arrived();
        if let Some(hwtail) = self.receive(hwtail) {
            self.ring.finalize(hwtail);
        }
        stamp(self.host, &self.ring);
    }

    /// Gives back what lies before `rhead`, and takes in what has arrived. Returns hwtail; `None`
    /// for a monitor whose port has gone.
    #[inline(always)]
    pub(crate) fn receive(&mut self, hwtail: u32) -> Option<u32> {
        let (host, ring, k) = (self.host, &self.ring, self.ring.kring);
        let head = k.rhead.load(Relaxed);
        let is_monitored = k.is_monitored();
        if is_monitored {
            monitor::released(host, ring, head);
        }
        let hwtail = if k.pipe.load(Relaxed) != 0 {
            pipe::rxsync(host, ring, head)
        } else if self.binding.is_monitor {
            if k.orphan.load(Relaxed) != 0 {
                return None;
            }
            give_back(ring, head);
            hwtail
        } else if self.binding.is_nic {
            nic::forward(host, ring, head);
            if release(ring, head) {
                nic::wake_peer(host, k);
            }
            nic::take_in(host, ring);
            k.indices().arrived()
        } else {
            release(ring, head);
            hwtail
        };
        if is_monitored && let Some(regions) = self.work.get(&mut self.guard) {
            monitor::arrived(host, ring, hwtail, regions);
        }
        Some(hwtail)
    }

    /// Ends the sync: releases the ring, then shows its monitors what arrived meanwhile.
    #[inline(always)]
    pub(crate) fn leave(self) {
        let is_monitored = self.ring.kring.is_monitored();
        drop(self.guard);
        if is_monitored {
            monitor::catch_up(self.host, self.ring.index, self.ring.region, self.work);
        }
    }
}

/// VALE and NICs: gives `hwcur..head` back to the senders. False if that is nothing.
#[inline]
fn release(ring: &Synced<'_>, head: u32) -> bool {
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
fn give_back(ring: &Synced<'_>, head: u32) {
    if head < ring.n {
        ring.kring.indices().give_back(head);
    }
}

/// The time of this sync, as netmap writes it into rx rings, unless no_timestamp says not to.
#[inline]
fn stamp(host: &dyn Host, ring: &Synced<'_>) {
    let always = |t: &Tuning| t.timestamps.load(Relaxed) != 0;
    let asked = || ring.ring.header().flags.load(Relaxed) & NR_TIMESTAMP != 0;
    if !host.ctl().tuning().is_some_and(always) && !asked() {
        return;
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let ts = &ring.ring.header().ts;
    ts[0].store(now.tv_sec as u64, Relaxed);
    ts[1].store((now.tv_nsec / 1000) as u64, Relaxed);
}
