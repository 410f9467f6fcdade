//! A sync of an rx ring.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::Sync;
use crate::RegionMap;
use crate::attachment::Selected;
use crate::monitor::{self, Regions};
use crate::pipe::Peer;
use crate::synced::{Synced, Way};
use crate::{Host, nic, pipe};
use nm_abi::NR_TIMESTAMP;
use uvale_shared::ctl::Tuning;
use uvale_shared::lock::{LockGuard, Owner};
use uvale_shared::shm::RingView;

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
        self.of
            .note(&self.ring, self.ring.kring.rhead.load(Relaxed));
        let received = match self.ring.way {
            Way::Vale => {
                release(self.ring, self.ring.kring.rhead.load(Relaxed));
                Some(hwtail)
            }
            Way::Pipe => match self.plain_peer(guard) {
                Some(peer) => {
                    let head = self.ring.kring.rhead.load(Relaxed);
                    Some(pipe::rxsync(self.host, &self.ring, head, || Some(peer)))
                }
                None => self.receive_anyhow(guard, hwtail),
            },
            Way::Other => self.receive_anyhow(guard, hwtail),
        };
        if let Some(hwtail) = received {
            self.ring.finalize(hwtail);
        }
        stamp(&self.attachment.tuning, self.ring.ring);
        is_good && received.is_some()
    }

    /// Shows the program what has arrived since the last sync; it gives nothing back.
    pub(crate) fn rx_again(self, guard: &mut LockGuard<'_>) {
        let hwtail = self.ring.kring.indices().arrived();
        if let Some(hwtail) = self.receive(guard, hwtail) {
            self.ring.finalize(hwtail);
        }
        stamp(&self.attachment.tuning, self.ring.ring);
    }

    /// [`Sync::receive`], apart: it is not for rings that are in a hurry.
    #[inline(never)]
    fn receive_anyhow(self, guard: &mut LockGuard<'_>, hwtail: u32) -> Option<u32> {
        self.receive(guard, hwtail)
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
            let ring = &{ ring };
            pipe::rxsync(host, ring, head, || Peer::find(host, ring, of.peer(pipe)))
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

    /// Ends the sync.
    #[inline(always)]
    pub(crate) fn leave(self, guard: LockGuard<'_>) {
        leave(self.host, self.ring.region, self.of, guard);
    }
}

/// Syncs rx ring `of` of a VALE port or a pipe, in memory `region`, if its program has given back one slot or none.
/// False: nothing has happened. It is [`Sync::rx`] for who takes a packet at a time, with what is known of the ring
/// left out: all the questions come first, and if one has another answer, the sync is the general one's.
#[inline(always)]
pub(super) fn receive_few(
    host: &dyn Host,
    tuning: &Tuning,
    owner: Owner,
    region: &RegionMap,
    of: &Selected<Regions>,
) -> bool {
    let (k, other_end) = (&*of.kring, of.other_end());
    let Some(mut guard) = k.busy.try_lock_as(owner) else {
        return false;
    };
    let Some(known) = of.known.get(&mut guard) else {
        return false;
    };
    let view = |place| RingView::at(&region.map, place);
    let (place, theirs) = match other_end {
        None => (known.still(owner, k, Way::Vale), None),
        Some(peer) => (
            known.still(owner, k, Way::Pipe),
            known.peer_still(owner, peer).and_then(view),
        ),
    };
    let Some(ring) = place.and_then(view) else {
        return false;
    };
    let (header, slots) = (ring.header(), ring.slots());
    let hwtail = k.indices().arrived();
    let (head, cur) = (header.head.load(Acquire), header.cur.load(Relaxed));
    let (from, tail) = (k.hwcur.load(Relaxed), k.rtail.load(Relaxed));
    let Some(slot) = slots.get(from as usize) else {
        return false;
    };
    if cur != head || header.tail.load(Relaxed) != tail || hwtail as usize >= slots.len() {
        return false;
    }
    let gives_back = head != from;
    if gives_back && (head != ring.next(from) || from == hwtail) {
        return false;
    }
    let hwtail = match other_end {
        None => {
            if gives_back {
                slot.clear_changed(slot.load());
                k.indices().give_back(head);
            }
            hwtail
        }
        Some(peer) => {
            let Some(theirs) = theirs.and_then(|ring| ring.slots().get(from as usize)) else {
                return false;
            };
            let back = gives_back.then_some((slot, theirs));
            pipe::receive_few(host, k, peer, back, (from, head))
        }
    };
    for index in [&k.rhead, &k.rcur] {
        index.store(head, Relaxed);
    }
    k.rtail.store(hwtail, Relaxed);
    if hwtail != tail {
        // SYNC POINT: as in `Synced::finalize`.
        header.tail.store(hwtail, Release);
    }
    stamp(tuning, ring);
    leave(host, region, of, guard);
    true
}

/// Ends a sync: releases the ring, then shows its monitors what arrived meanwhile.
#[inline(always)]
fn leave(host: &dyn Host, region: &RegionMap, of: &Selected<Regions>, guard: LockGuard<'_>) {
    // Not what was known when the sync began: who has sent meanwhile has left it to this sync to show.
    let is_monitored = of.kring.is_monitored();
    drop(guard);
    if is_monitored {
        monitor::catch_up(host, of.index, region, &of.work);
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
fn stamp(tuning: &Tuning, ring: RingView<'_>) {
    let asked = || ring.header().flags.load(Relaxed) & NR_TIMESTAMP != 0;
    if tuning.timestamps.load(Relaxed) == 0 && !asked() {
        return;
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let ts = &ring.header().ts;
    ts[0].store(now.tv_sec as u64, Relaxed);
    ts[1].store(u64::from(now.tv_nsec as u32 / 1000), Relaxed);
}
