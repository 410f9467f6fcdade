//! A sync of an rx ring.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::Sync;
use crate::RegionMap;
use crate::attachment::{OtherEnd, Selected};
use crate::monitor::{self, Regions};
use crate::pipe::Peer;
use crate::synced::{Synced, Way, row, stretches};
use crate::{Host, nic, pipe};
use nm_abi::NR_TIMESTAMP;
use uvale_shared::ctl::{Kring, Tuning};
use uvale_shared::lock::{LockGuard, Owner};
use uvale_shared::shm::{RingView, SlotView};

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

/// Syncs rx ring `of` of a VALE port, in memory `region`, if its program has given back a few slots or none, one at
/// most if not `MANY`: does the program own slots then that it has not looked at? `None`: nothing has happened. It is
/// [`Sync::rx`] for who takes a few packets at a time, with what is known of the ring left out: all the questions come
/// first, and if one has another answer, the sync is the general one's.
#[inline(always)]
pub(super) fn receive_few<const MANY: bool>(
    host: &dyn Host,
    (tuning, region): (&Tuning, &RegionMap),
    owner: Owner,
    of: &Selected<Regions>,
) -> Option<bool> {
    let (k, ring) = (&*of.kring, of.held()?.view());
    let mut guard = k.busy.try_lock_as(owner)?;
    if !of.known.get(&mut guard)?.is_by_switch(owner, k) {
        return None;
    }
    let few = Few::of::<MANY>(k, ring)?;
    if !few.back.is_empty() {
        match few.back {
            [one] => clear_changed(one),
            several => clear_all_changed(several),
        }
        k.indices().give_back(few.head);
    }
    few.show(k, tuning, few.hwtail);
    leave(host, region, of, guard);
    Some(few.head != few.hwtail)
}

/// The same of a pipe, at whose other end is ring `other`.
#[inline(always)]
pub(super) fn receive_few_of_pipe<const MANY: bool>(
    host: &dyn Host,
    (tuning, region): (&Tuning, &RegionMap),
    owner: Owner,
    of: &Selected<Regions>,
    other: &OtherEnd,
) -> Option<bool> {
    let (k, ring) = (&*of.kring, of.held()?.view());
    let (peer, theirs) = (&*other.kring, other.held.as_ref()?.view());
    let mut guard = k.busy.try_lock_as(owner)?;
    let known = of.known.get(&mut guard)?;
    if !known.is_by_pipe(owner, k) || !known.is_peer_held(owner, peer) {
        return None;
    }
    let few = Few::of::<MANY>(k, ring)?;
    let from = few.from as usize;
    let theirs = theirs.slots().get(from..from + few.back.len())?;
    let last = ring.prev(few.head);
    let hwtail = pipe::receive_few(host, k, peer, (few.back, theirs), (last, few.head));
    few.show(k, tuning, hwtail);
    leave(host, region, of, guard);
    Some(few.head != hwtail)
}

/// What a program has done to an rx ring that has given back a few slots or none.
struct Few<'a> {
    ring: RingView<'a>,
    /// what it gives back
    back: &'a [SlotView],
    /// the first slot that it had
    from: u32,
    /// the first one that it has now, and has not looked at
    head: u32,
    hwtail: u32,
}

impl<'a> Few<'a> {
    /// That of `k`, which is locked and whose ring is `ring`. Nothing is written.
    #[inline(always)]
    fn of<const MANY: bool>(k: &Kring, ring: RingView<'a>) -> Option<Self> {
        let header = ring.header();
        let hwtail = k.indices().arrived();
        let (head, cur) = (header.head.load(Acquire), header.cur.load(Relaxed));
        let from = k.hwcur.load(Relaxed);
        let back = row::<MANY>(ring, (from, head, hwtail))?;
        let is_good = cur == head && hwtail < ring.num_slots();
        is_good.then_some(Self {
            ring,
            back,
            from,
            head,
            hwtail,
        })
    }

    /// The end of the sync: `hwtail` is the tail, whatever the program has made of that.
    #[inline(always)]
    fn show(&self, k: &Kring, tuning: &Tuning, hwtail: u32) {
        for index in [&k.rhead, &k.rcur] {
            index.store(self.head, Relaxed);
        }
        k.rtail.store(hwtail, Relaxed);
        let tail = &self.ring.header().tail;
        if tail.load(Relaxed) != hwtail {
            // SYNC POINT: as in `Synced::finalize`.
            tail.store(hwtail, Release);
        }
        stamp(tuning, self.ring);
    }
}

#[inline(always)]
fn clear_changed(slot: &SlotView) {
    if slot.is_changed() {
        slot.clear_changed(slot.load());
    }
}

#[inline(never)]
fn clear_all_changed(slots: &[SlotView]) {
    slots.iter().for_each(clear_changed);
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
    let slots = ring.ring.slots();
    for range in stretches(from, head, ring.n) {
        clear_all_changed(slots.get(range).unwrap_or_default());
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
