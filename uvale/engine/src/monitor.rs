//! Monitors: rings that see what passes through a ring of another port.
//!
//! As in netmap the sync that moves a packet also shows it, in the thread that syncs:
//!
//! | monitor | of a tx ring | of an rx ring |
//! |---|---|---|
//! | copy | before it is sent: `hwcur..head` | when it has arrived: `mon_tail..hwtail` |
//! | zero-copy | once it is sent: the slots that became free | once it is released: `hwcur..head` |
//!
//! A ring has any number of copy monitors, in a list through their krings, and a chain of
//! zero-copy monitors: the first is given what the port has released, the second what the first
//! has released, and so on. A monitor without room misses the oldest packets of the sync.
//!
//! A zero-copy monitor exchanges buffers with the monitored ring. Between the two stores that do
//! so one buffer is in both slots and one in none, so the exchange is written down first
//! ([`uvale_shared::ctl::Exchange`]) and the daemon undoes it for a process that dies in the middle of it. Both
//! slots are beyond what either program has been shown at that time.
//!
//! The lists are the daemon's, which changes them at any time. A sync copies the list of copy monitors
//! and works with the copy ([`uvale_shared::watch`]): each monitor is in it once. One that is leaving is
//! recognised under its `q_lock`.

mod regions;

use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use core::sync::atomic::fence;

pub use regions::Regions;

use super::lease::{Lease, Refused, Tally};
use super::offsets::{Offsets, is_plain};
use super::sleep::{RX, TX};
use super::synced::Synced;
use super::{Host, Note, RegionMap};
use nm_abi::{NS_BUF_CHANGED, NS_MOREFRAG, NS_TXMON};
use uvale_shared::ctl::Kring;
use uvale_shared::lock::Guarded;
use uvale_shared::shm::{RingView, Slot, copy_exact, copy_packet, distance};
use uvale_shared::watch;

/// Sleeps of 20 ms for a monitor's lock: what a process that is merely not running needs, and no
/// more, for a monitor must not hold the monitored port up.
const PATIENCE: u32 = 5;
/// Monitors of one ring that are looked at; more than there can be, so that a list that was made
/// circular ends.
const MOST: u32 = uvale_shared::ctl::MAX_KRINGS as u32;

/// Slots of a ring, from `from` on.
#[derive(Clone, Copy)]
struct Span {
    from: u32,
    len: u32,
}

impl Span {
    /// `from..to` on a ring of `n` slots; `None` if it is empty or makes no sense.
    fn between(from: u32, to: u32, n: u32) -> Option<Self> {
        if from >= n || to >= n || from == to {
            return None;
        }
        let len = distance(from, to, n);
        Some(Self { from, len })
    }

    /// The last `len` of these slots, and those before them.
    fn split_last(self, len: u32, n: u32) -> (Self, Self) {
        let missed = self.len - len;
        let from = (self.from + missed) % n;
        let first = Self {
            len: missed,
            ..self
        };
        (first, Self { from, len })
    }

    fn slots<'a>(
        self,
        ring: &RingView<'a>,
    ) -> impl Iterator<Item = (u32, &'a uvale_shared::shm::SlotView)> {
        let (slots, n) = (ring.slots(), ring.num_slots());
        (0..self.len).map(move |i| {
            let at = (self.from + i) % n;
            (at, &slots[at as usize])
        })
    }
}

/// How many packets end in these slots.
fn packets(ring: &RingView<'_>, span: Span) -> u64 {
    let ends = span
        .slots(ring)
        .filter(|(_, s)| s.load().flags & NS_MOREFRAG == 0);
    ends.count() as u64
}

/// Leases slots of monitor `kring` for those in `span` of ring `of`, of which it misses the first if it
/// has not room for all. What it misses is counted.
fn lease<'a>(
    host: &dyn Host,
    kring: &'a Kring,
    region: &'a RegionMap,
    of: &Synced<'_>,
    span: Span,
) -> Option<(Lease<'a>, Span)> {
    // Monitors are on no switch: whose ring it is says the ring that it is fed from.
    let is_still = |kring: &Kring| is_fed_from(kring, direction(of.kring), of.index);
    match Lease::take(kring, region, host.owner(), PATIENCE, span.len, is_still) {
        Ok(mut lease) => {
            let (missed, span) = span.split_last(span.len.min(lease.slots.free), of.n);
            lease.tally.full = packets(&of.ring, missed);
            Some((lease, span))
        }
        Err(Refused::Stuck) => {
            let missed = packets(&of.ring, span);
            kring.stuck.fetch_add(missed, Relaxed);
            host.noted(Note::Stuck { kring, missed });
            None
        }
        Err(Refused::Gone) => None,
    }
}

/// Says what the monitor is about to see.
fn note(host: &dyn Host, lease: &Lease<'_>, slots: u32) {
    host.noted(Note::Shown {
        kring: lease.kring,
        slot: lease.slots.at,
        slots,
        missed: lease.tally.full,
    });
}

/// Counts a slot that was filled.
#[inline(always)]
fn count_in(tally: &mut Tally, len: u16, flags: u16) {
    tally.packets += u64::from(flags & NS_MOREFRAG == 0);
    tally.bytes += u64::from(len);
}

/// The direction of a ring, as an index.
fn direction(kring: &Kring) -> usize {
    if kring.dir.load(Relaxed) != 0 { TX } else { RX }
}

/// Is `monitor` fed from ring `index` of direction `dir`?
fn is_fed_from(monitor: &Kring, dir: usize, index: u32) -> bool {
    monitor.mon_parent[dir].load(Acquire) == index + 1
}

/// The flags of a slot as a monitor of `ring` sees them.
fn seen_flags(ring: &Synced<'_>, flags: u16) -> u16 {
    match direction(ring.kring) {
        TX => flags | NS_TXMON,
        _ => flags & !NS_TXMON,
    }
}

/// A tx ring is about to send `hwcur..head`: shows it to copy monitors. Returns where the slots
/// begin that the sync will free, for [`sent`].
#[cold]
pub fn sending(host: &dyn Host, tx: &Synced<'_>, head: u32, regions: &mut Regions) -> u32 {
    show(host, tx, tx.kring.hwcur.load(Relaxed), head, regions);
    tx.ring.next(tx.kring.hwtail.load(Relaxed))
}

/// A tx ring has sent: gives the slots from `freed` to `hwtail` to the zero-copy monitor.
#[cold]
pub fn sent(host: &dyn Host, tx: &Synced<'_>, freed: u32, hwtail: u32) {
    exchange(host, tx, freed, tx.ring.next(hwtail));
}

/// An rx ring is about to give `hwcur..head` back: exchanges it with the zero-copy monitor.
#[cold]
pub fn released(host: &dyn Host, rx: &Synced<'_>, head: u32) {
    let (hwcur, tail) = (
        rx.kring.hwcur.load(Relaxed),
        rx.kring.published().load(Acquire),
    );
    let ahead = |at: u32| rx.ring.distance(hwcur, at);
    // A head that is ahead of what has arrived is a mistake that the prologue lets stand. Slots
    // there are the senders', who would not notice that their buffers change.
    if hwcur < rx.n && tail < rx.n && head < rx.n && ahead(head) <= ahead(tail) {
        exchange(host, rx, hwcur, head);
    }
}

/// Shows copy monitors what has arrived in an rx ring.
#[cold]
pub fn arrived(host: &dyn Host, rx: &Synced<'_>, hwtail: u32, regions: &mut Regions) {
    if !has_copies(rx.kring) || hwtail >= rx.n {
        return;
    }
    show(host, rx, rx.kring.mon_tail.load(Relaxed), hwtail, regions);
    rx.kring.mon_tail.store(hwtail, Relaxed);
}

/// After something was put into rx ring `index` of `region`, which has monitors: shows it to the
/// copy monitors in place of the receiver. Left to whoever syncs the ring just now, if somebody
/// does.
#[cold]
pub fn delivered(host: &dyn Host, index: u32, region: &RegionMap, regions: &mut Regions) {
    let Some(kring) = host.ctl().kring(index) else {
        return;
    };
    if !has_copies(kring) {
        return;
    }
    // Mapped before the lock is taken: mapping may have to ask the daemon.
    for_each_copy(host, kring, |monitor| {
        regions.get(host, monitor.region.load(Relaxed));
    });
    // SYNC POINT: pairs with the fence in `is_behind`: either whoever syncs the ring finds what has been
    // published, or we find the ring free.
    fence(SeqCst);
    loop {
        let Some((ring, guard)) = Synced::enter_other(host, region, index, false) else {
            return;
        };
        take_in(host, &ring, regions);
        drop(guard);
        if !is_behind(kring) {
            return;
        }
    }
}

/// After a sync of an rx ring with monitors: senders that came while it held the lock have left
/// their packets to us.
#[cold]
pub fn catch_up(host: &dyn Host, index: u32, region: &RegionMap, regions: &Guarded<Regions>) {
    let Some(kring) = host.ctl().kring(index) else {
        return;
    };
    while is_behind(kring) {
        let Some((ring, mut guard)) = Synced::enter_other(host, region, index, false) else {
            return;
        };
        let Some(regions) = regions.get(&mut guard) else {
            return;
        };
        take_in(host, &ring, regions);
    }
}

/// Shows copy monitors what has been published on an rx ring since its last sync.
fn take_in(host: &dyn Host, rx: &Synced<'_>, regions: &mut Regions) {
    let hwtail = rx.kring.published().load(Acquire);
    if rx.kring.pipe.load(Relaxed) != 0 && hwtail < rx.n {
        rx.kring.hwtail.store(hwtail, Relaxed);
    }
    arrived(host, rx, hwtail, regions);
}

/// Have copy monitors not seen all that has arrived? To be asked after `busy` was released.
fn is_behind(kring: &Kring) -> bool {
    // SYNC POINT: pairs with the fence in `delivered`, between the sender's store of what it has published
    // and its look at the lock: either it finds the lock free, or we find that.
    fence(SeqCst);
    let tail = kring.published().load(Acquire);
    has_copies(kring)
        && tail < kring.num_slots.load(Relaxed)
        && tail != kring.mon_tail.load(Relaxed)
}

/// Copies the slots `from..to` to each copy monitor.
fn show(host: &dyn Host, ring: &Synced<'_>, from: u32, to: u32, regions: &mut Regions) {
    let Some(span) = Span::between(from, to, ring.n) else {
        return;
    };
    for_each_copy(host, ring.kring, |monitor| {
        match regions.get(host, monitor.region.load(Relaxed)) {
            Some(region) => copy_to(host, monitor, &region, ring, span),
            None => drop(monitor.stuck.fetch_add(packets(&ring.ring, span), Relaxed)),
        }
    });
}

/// Has the ring copy monitors?
fn has_copies(kring: &Kring) -> bool {
    watch::first_copy(kring.watch.load(Acquire)).is_some()
}

/// Goes through the copy monitors of a ring. While it lasts monitors may come and go: it is those
/// that there were at one moment of it, each once.
fn for_each_copy<'a>(host: &'a dyn Host, kring: &Kring, f: impl FnMut(&'a Kring)) {
    let dir = direction(kring);
    let link = |i: u32| Some(&host.ctl().kring(i)?.mon_next[dir]);
    if let Some(list) = watch::copies(&kring.watch, MOST, link) {
        list.iter().filter_map(|i| host.ctl().kring(i)).for_each(f);
    }
}

/// Copies the slots of `span` to one monitor. A length beyond the monitor's buffers is cut off.
fn copy_to(host: &dyn Host, kring: &Kring, region: &RegionMap, of: &Synced<'_>, span: Span) {
    let Some((mut lease, span)) = lease(host, kring, region, of, span) else {
        return;
    };
    note(host, &lease, span.len);
    let (mut to, mut tally) = (lease.slots, lease.tally);
    let (pool, map, offsets) = (&of.region.pool, &of.region.map, Offsets::of(of.kring));
    let plain = is_plain(of.kring, of.region) && to.is_plain();
    for (_, view) in span.slots(&of.ring) {
        let slot = view.load();
        let (flags, src) = (seen_flags(of, slot.flags), pool.offset(slot.buf_idx));
        let len = if plain {
            let len = u32::from(slot.len).min(pool.size()).min(to.room());
            to.put(len, flags, |to, at| {
                copy_packet(map, src, to, at, len as usize)
            })
        } else {
            let skip = offsets.get(view.ptr());
            let room = pool.size().saturating_sub(skip).min(to.room());
            let (src, len) = (src + skip as usize, u32::from(slot.len).min(room));
            to.put(len, flags, |to, at| {
                copy_exact(map, src, to, at, len as usize)
            })
        };
        count_in(&mut tally, len, flags);
    }
    (lease.slots, lease.tally) = (to, tally);
    lease.publish().wake(host);
}

/// Exchanges the slots `from..to` with free ones of the zero-copy monitor, which uses the same
/// memory.
fn exchange(host: &dyn Host, ring: &Synced<'_>, from: u32, to: u32) {
    let first = watch::first_in_chain(ring.kring.watch.load(Acquire));
    let Some(kring) = first.and_then(|i| host.ctl().kring(i)) else {
        return;
    };
    let Some(span) = Span::between(from, to, ring.n) else {
        return;
    };
    let Some((mut lease, span)) = lease(host, kring, ring.region, ring, span) else {
        return;
    };
    note(host, &lease, span.len);
    let (mut to, mut tally) = (lease.slots, lease.tally);
    let pool = &ring.region.pool;
    for (at, view) in span.slots(&ring.ring) {
        let mine = to.slot();
        let (theirs, free) = (view.load(), mine.load());
        let flags = seen_flags(ring, theirs.flags);
        // Only buffers move between rings: an index that is none stays with the program that
        // wrote it.
        let good = pool.is_valid(theirs.buf_idx) && pool.is_valid(free.buf_idx);
        let (taken, given) = if good {
            (theirs.buf_idx, free.buf_idx)
        } else {
            (free.buf_idx, theirs.buf_idx)
        };
        to.bad_copy += u64::from(!good);
        let len = if good { theirs.len } else { 0 };
        kring.exchange.note(ring.index, [theirs, free], [at, to.at]);
        view.store(Slot {
            buf_idx: given,
            len: free.len,
            flags: theirs.flags | NS_BUF_CHANGED,
            ptr: 0,
        });
        mine.store(Slot {
            buf_idx: taken,
            len,
            flags,
            ptr: 0,
        });
        kring.exchange.done();
        count_in(&mut tally, len, flags);
        to.advance();
    }
    (lease.slots, lease.tally) = (to, tally);
    lease.publish().wake(host);
}
