//! A packet that is alone in its sync, and goes where the one before went.
//!
//! Most programs that sync a packet at a time have nothing else. This is the general way for them, with what the plan
//! knows left out: it begins with all the questions, and if one has another answer, nothing has happened, and the sync
//! is the general one's ([`super::txsync`]).

use core::sync::atomic::Ordering::{Relaxed, Release};

use super::MIN_FRAME;
use super::plan::Plan;
use crate::Host;
use crate::attachment::Selected;
use crate::offsets::Offsets;
use crate::sleep::release_and_wake;
use crate::synced::{alone, now};
use crate::vale::Scratch;
use nm_abi::{NS_INDIRECT, NS_MOREFRAG};
use uvale_shared::ctl::{Kring, count};
use uvale_shared::lock::Owner;
use uvale_shared::shm::{HeldRing, SlotView, prefetch_to_write, rfrags};

/// Syncs tx ring `of` if one packet is there. False: nothing has happened.
#[inline(always)]
pub(crate) fn send_one(host: &dyn Host, owner: Owner, of: &Selected<Scratch>) -> bool {
    let k = &*of.kring;
    let Some(mut guard) = k.busy.try_lock_as(owner) else {
        return false;
    };
    match of.work.get(&mut guard) {
        Some(scratch) if scratch.express == now(owner, k) => {
            let plan = scratch.plan.as_ref();
            plan.is_some_and(|plan| plan.send_one(host, owner, k))
        }
        _ => false,
    }
}

impl Plan {
    #[inline(always)]
    fn send_one(&self, host: &dyn Host, owner: Owner, k: &Kring) -> bool {
        let Some(from) = &self.from else {
            return false;
        };
        k.check(self.when as u32, |k| {
            !k.is_monitored() && !k.is_traced() && Offsets::of(k).is_none()
        });
        let (tx, rx) = (from.view(), self.to.view());
        let Some((slot, at, next)) = alone(k, tx) else {
            return false;
        };
        let said = slot.load();
        let len = u32::from(said.len);
        if said.flags & (NS_INDIRECT | NS_MOREFRAG) != 0 {
            return false;
        }
        let packet = from.buffer(said.buf_idx);
        if !self.is_same(packet.words()) || self.tuning.batch.load(Relaxed) == 0 {
            return false;
        }
        if len < MIN_FRAME {
            return false;
        }

        let r = &*self.rx;
        let Some(guard) = r.q_lock.try_lock_as(owner) else {
            return false;
        };
        let first = r.filled.load(Relaxed);
        let Some(to) = rx.slots().get(first as usize) else {
            return false;
        };
        let end = rx.next(first);
        // One slot stays empty. What was seen of hwcur is still free; whether it is more by now is asked elsewhere.
        if end == r.hwcur_seen.load(Relaxed) {
            return false;
        }
        if !self.is_still(r) || r.stuck_holder.load(Relaxed) != 0 {
            return false;
        }
        let buffer = self.to.buffer(to.buf_idx());
        if !buffer.copy(packet, len) {
            return false;
        }
        to.store_len_flags(said.len, rfrags(1));
        for counters in [
            (&k.sync.packets, &k.sync.bytes),
            (&r.produced.packets, &r.produced.bytes),
        ] {
            count(counters.0, 1);
            count(counters.1, len.into());
        }
        count(&r.produced.progress, 1);
        r.indices().publish(end);
        prime(&self.to, end);
        release_and_wake(host, r, guard);

        slot.clear_changed(said);
        for index in [&k.rhead, &k.rcur, &k.hwcur] {
            index.store(next, Relaxed);
        }
        // All is sent: the program has all slots but one, which is before the next one.
        for index in [&k.hwtail, &k.rtail] {
            index.store(at, Relaxed);
        }
        // SYNC POINT: as in `Synced::finalize`.
        tx.header().tail.store(at, Release);
        true
    }
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
