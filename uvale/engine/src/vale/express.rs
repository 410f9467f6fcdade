//! A few packets in a sync, or one, that go to the ring of the plan: like the last one, or of flows that the table
//! knows.
//!
//! Most programs that sync a few packets at a time have nothing else. This is the general way for them, with what the
//! plan knows left out: it begins with all the questions, and if one has another answer, nothing has happened that
//! anybody sees, and the sync is the general one's ([`super::txsync`]).

use core::sync::atomic::Ordering::{Relaxed, Release};

use super::fill::Plain;
use super::places::{Place, Places};
use super::plan::Plan;
use super::{Detour, MIN_FRAME};
use crate::Host;
use crate::attachment::Selected;
use crate::offsets::Offsets;
use crate::sleep::release_and_wake;
use crate::synced::{FEW, Row, alone, now};
use crate::vale::Scratch;
use nm_abi::{NS_INDIRECT, NS_MOREFRAG};
use uvale_shared::ctl::{Kring, count};
use uvale_shared::lock::{LockGuard, Owner};
use uvale_shared::shm::{Buffers, HeldRing, RingView, SlotView, prefetch_to_write, rfrags};

/// Syncs tx ring `of` if a few packets are there, each in one slot and all for the ring of the plan; if not `MANY`, one
/// that is like the last one. False: nothing has happened that anybody sees, but for NS_BUF_CHANGED, which the general
/// way clears, too.
#[inline(always)]
pub(crate) fn send_few<const MANY: bool>(
    host: &dyn Host,
    owner: Owner,
    of: &Selected<Scratch>,
) -> bool {
    let k = &*of.kring;
    let Some(mut guard) = k.busy.try_lock_as(owner) else {
        return false;
    };
    let Some(Scratch {
        plan: Some(plan),
        places,
        rows,
        express,
        ..
    }) = of.work.get(&mut guard)
    else {
        return false;
    };
    // In place, both of them: a closure here would be called.
    if *express != now(owner, k) || MANY && rows.goes_on() {
        return false;
    }
    match MANY {
        true => plan.send_row(host, owner, k, (places, rows)).is_some(),
        false => plan.send_one(host, owner, k).is_some(),
    }
}

impl Plan {
    /// Sends the one packet that is there.
    #[inline(always)]
    fn send_one(&self, host: &dyn Host, owner: Owner, k: &Kring) -> Option<()> {
        let from = self.from.as_ref()?;
        self.check(k);
        let (tx, rx) = (from.view(), self.to.view());
        let (slot, at, next) = alone(k, tx)?;
        let said = slot.load();
        let len = u32::from(said.len);
        if said.flags & (NS_INDIRECT | NS_MOREFRAG) != 0 {
            return None;
        }
        let packet = from.buffer(said.buf_idx);
        if !self.is_same(packet.words()) || len < MIN_FRAME {
            return None;
        }

        let r = &*self.rx;
        let guard = r.q_lock.try_lock_as(owner)?;
        let first = r.filled.load(Relaxed);
        let to = rx.slots().get(first as usize)?;
        let end = rx.next(first);
        // One slot stays empty. What was seen of hwcur is still free; whether it is more by now is asked elsewhere.
        if end == r.hwcur_seen.load(Relaxed) || !self.is_free(r) {
            return None;
        }
        let buffer = self.to.buffer(to.buf_idx());
        if !buffer.copy(packet, len) {
            return None;
        }
        to.store_len_flags(said.len, rfrags(1));
        let sent = (1, len.into());
        self.publish(host, k, sent, end, guard);
        slot.clear_changed(said);
        finish(k, tx, next, at);
        Some(())
    }

    /// Sends the few packets that are there, or one, if packets are mixed.
    #[inline(always)]
    fn send_row(
        &self,
        host: &dyn Host,
        owner: Owner,
        k: &Kring,
        (places, rows): (&Places, &mut Detour),
    ) -> Option<()> {
        let from = self.from.as_ref()?;
        self.check(k);
        let (tx, rx) = (from.view(), self.to.view());
        let Row {
            slots: ts, head, ..
        } = Row::of(k, tx)?;
        let (n, is_mixed) = (ts.len() as u32, self.is_mixed.get());
        // One that is like the last one has a way of its own.
        if self.batch < n || n == 1 && !is_mixed {
            return None;
        }

        let r = &*self.rx;
        let guard = r.q_lock.try_lock_as(owner)?;
        if !self.is_free(r) {
            return None;
        }
        let room = r.indices().room(rx.num_slots(), n)?;
        let end = room.at + n;
        let rs = rx.slots().get(room.at as usize..end as usize)?;
        if room.free < n {
            return None;
        }
        let pairs = Pairs {
            from: from.buffers(),
            ts,
            to: self.to.buffers(),
            rs,
        };
        let bytes = match is_mixed {
            true => self.copy_mixed(&pairs, places),
            // What has ended with one flow by chance does not go by the general way for it.
            false => (self.copy_alike(&pairs)).or_else(|| self.copy_mixed(&pairs, places)),
        };
        // Where two sources share a place in the table, or a new one comes each time, it would be in vain every time.
        rows.note(bytes.is_some());
        let bytes = bytes?;
        let end = if end < rx.num_slots() { end } else { 0 };
        self.publish(host, k, (n.into(), bytes), end, guard);
        finish(k, tx, head, tx.prev(head));
        Some(())
    }

    /// Copies packets that are all like the last one. Returns their bytes.
    #[inline(never)]
    fn copy_alike(&self, pairs: &Pairs<'_>) -> Option<u64> {
        let words = self.known_words()?;
        pairs.copy(|other| other == words)
    }

    /// Copies packets of flows that the table knows. Returns their bytes.
    #[inline(never)]
    fn copy_mixed(&self, pairs: &Pairs<'_>, places: &Places) -> Option<u64> {
        let (table, before) = (self.table(), self.last_words());
        let (mut last, mut is_mixed) = ((before, None::<Place>), false);
        let bytes = pairs.copy(|words| {
            is_mixed |= words != last.0;
            last = (words, places.guess(words));
            last.1.is_some_and(|place| table.knows(words, place))
        })?;
        self.ends_with_known(last.0, last.1?);
        self.is_mixed.set(is_mixed);
        Some(bytes)
    }

    /// In builds with debug assertions: a plan that is gone by is for a ring at which nobody looks.
    #[inline(always)]
    fn check(&self, k: &Kring) {
        k.check(self.when as u32, |k| {
            !k.is_monitored() && !k.is_traced() && Offsets::of(k).is_none()
        });
    }

    /// May receiving ring `r`, which is locked, be filled? Nobody is to be noticed who holds it for ever.
    #[inline(always)]
    fn is_free(&self, r: &Kring) -> bool {
        self.is_still(r) && r.stuck_holder.load(Relaxed) == 0
    }

    /// Shows the receiver the slots before `end`, which has `sent` packets and bytes more than it had.
    #[inline(always)]
    fn publish(
        &self,
        host: &dyn Host,
        k: &Kring,
        (packets, bytes): (u64, u64),
        end: u32,
        guard: LockGuard<'_>,
    ) {
        let r = &*self.rx;
        for counters in [
            (&k.sync.packets, &k.sync.bytes),
            (&r.produced.packets, &r.produced.bytes),
        ] {
            count(counters.0, packets);
            count(counters.1, bytes);
        }
        count(&r.produced.progress, 1);
        r.indices().publish(end);
        prime(&self.to, end);
        release_and_wake(host, r, guard);
    }
}

/// Slots that are sent, as many of the receiver's, and the buffers of both.
struct Pairs<'a> {
    from: Buffers<'a>,
    ts: &'a [SlotView],
    to: Buffers<'a>,
    rs: &'a [SlotView],
}

impl Pairs<'_> {
    /// Copies all packets, if all are plain ones and `goes_there` says so of the first twelve bytes of each. Returns
    /// their bytes. `None`: the receiver's slots are free as before, and the general way copies once more.
    /// Payloads first, as in [`fill`](super::fill::fill).
    #[inline(always)]
    fn copy(&self, mut goes_there: impl FnMut((u64, u64)) -> bool) -> Option<u64> {
        debug_assert!(self.ts.len() <= FEW);
        let (mut lens, mut bytes) = ([0u16; FEW], 0);
        for ((ts, rs), len) in self.ts.iter().zip(self.rs).zip(&mut lens) {
            let packet = Plain::of(ts, self.from, 0)?;
            let to = self.to.at(rs.buf_idx());
            if !goes_there(packet.bytes.words()) || !to.copy(packet.bytes, packet.len) {
                return None;
            }
            *len = packet.len as u16;
            bytes += u64::from(packet.len);
        }
        for (rs, len) in self.rs.iter().zip(&lens) {
            rs.store_len_flags(*len, rfrags(1));
        }
        Some(bytes)
    }
}

/// Ends the sync of ring `tx`, of which all slots before `head` are sent: the program has all slots but the one before
/// that, the new `tail`.
#[inline(always)]
fn finish(k: &Kring, tx: RingView<'_>, head: u32, tail: u32) {
    for index in [&k.rhead, &k.rcur, &k.hwcur] {
        index.store(head, Relaxed);
    }
    for index in [&k.hwtail, &k.rtail] {
        index.store(tail, Relaxed);
    }
    // SYNC POINT: as in `Synced::finalize`.
    tx.header().tail.store(tail, Release);
}

/// Asks for what the next sync will write: the slot after `at`, and its buffer, were last the receiver's.
#[inline(always)]
fn prime(to: &HeldRing, at: u32) {
    if let Some(slot) = to.view().slots().get(at as usize + 1) {
        let slot: &SlotView = slot;
        prefetch_to_write(slot);
        to.buffer(slot.buf_idx()).prefetch_to_write();
    }
}
