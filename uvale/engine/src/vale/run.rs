//! Runs: packets of one slot each that are all between the same two addresses.
//!
//! A sync for which the plan holds goes to the receiver's ring at once.

use core::sync::atomic::Ordering::Relaxed;

use super::plan::{NEVER, Plan};
use super::scratch::Scratch;
use super::{BATCH, DETOUR, MIN_FRAME, PATIENCE, hand_over};
use crate::bwrap::Onward;
use crate::lease::{Lease, Refused};
use crate::monitor::Regions;
use crate::offsets::Offsets;
use crate::synced::{Synced, now};
use crate::{Host, RegionMap};
use nm_abi::{NS_INDIRECT, NS_MOREFRAG};
use uvale_shared::ctl::{Kring, count};
use uvale_shared::shm::{copy_packet, prefetch_to_write, rfrags};

/// Packets copied before their slots are written.
const STRETCH: usize = 64;
/// A sync of fewer packets is probably followed by another of the kind.
const FEW: u32 = 8;

/// A packet fit for a run.
#[derive(Clone, Copy)]
pub(super) struct Plain {
    at: usize,
    len: u32,
}

impl Plain {
    /// Copies it to a buffer at byte `at` of a receiver's memory. False if it has no room there.
    #[inline(always)]
    fn copy(self, tx: &Synced<'_>, to: &RegionMap, at: usize) -> bool {
        self.len <= to.pool.size()
            && copy_packet(&tx.region.map, self.at, &to.map, at, self.len as usize)
    }

    /// Its first twelve bytes.
    #[inline(always)]
    pub(super) fn words(self, tx: &Synced<'_>) -> Option<(u64, u64)> {
        tx.region.map.two_words(self.at)
    }
}

/// The packet in slot `at` of a tx ring, if it is fit for a run.
#[inline(always)]
pub(super) fn packet(tx: &Synced<'_>, at: u32) -> Option<Plain> {
    let view = tx.ring.slots().get(at as usize)?;
    let slot = view.load();
    if slot.flags & (NS_INDIRECT | NS_MOREFRAG) != 0 {
        return None;
    }
    let (pool, len) = (&tx.region.pool, u32::from(slot.len));
    if len < MIN_FRAME || len > pool.size() {
        return None;
    }
    view.clear_changed(slot);
    Some(Plain {
        at: pool.offset(slot.buf_idx),
        len,
    })
}

/// Sends the run that begins at `from`, a slot before `head`. Returns the slot after it; `None`, and nothing is sent,
/// if the plan does not hold for it, or its receiver has none of it.
#[inline(always)]
pub(super) fn send(
    host: &dyn Host,
    tx: &Synced<'_>,
    from: u32,
    head: u32,
    scratch: &mut Scratch,
) -> Option<u32> {
    let Scratch {
        plan,
        monitors,
        onward,
        detour,
        ..
    } = scratch;
    let plan = plan.as_ref()?;
    let first = packet(tx, from)?;
    let words = first.words(tx)?;
    let batch = plan.tuning.batch.load(Relaxed).min(BATCH as u32);
    if plan.when != now(tx.owner, tx.kring) || !plan.holds(words) || batch == 0 {
        return None;
    }
    let most = tx.ring.distance(from, head).min(batch);
    let to = plan.to.region();
    let find = |rx: &Kring| plan.is_still(rx).then(|| (plan.to.view(), Offsets::NONE));
    let lease = match Lease::take_at(&plan.rx, to, tx.owner, PATIENCE, most, find) {
        Ok(lease) => lease,
        Err(Refused::Stuck) => return None,
        Err(Refused::Gone) => {
            // Else it would hold for ever, and be good for nothing.
            plan.generation.set(NEVER);
            return None;
        }
    };
    let (span, packets) = ((from, head), (first, batch));
    let end = many(host, tx, plan, span, packets, lease, (monitors, onward));
    // A run as long as a batch has not ended: it goes on.
    if end != head && tx.ring.distance(from, end) < batch {
        *detour = DETOUR;
    }
    Some(end)
}

/// Sends `first`, which is in slot `from`, and those after it that are alike, `most` in all, into the leased slots of
/// the receiver of `plan`. Returns the slot after them. Apart, so that its loop has the registers to itself.
#[inline(never)]
fn many(
    host: &dyn Host,
    tx: &Synced<'_>,
    plan: &Plan,
    (from, head): (u32, u32),
    (first, most): (Plain, u32),
    mut lease: Lease<'_>,
    (monitors, onward): (&mut Regions, &mut Onward),
) -> u32 {
    let mut run = Run {
        tx,
        words: plan.words,
        at: tx.ring.next(from),
        head,
        left: most - 1,
    };
    let lost = run.copy(first, &mut lease);
    let (end, packets) = (run.at, most - run.left);
    count(&tx.kring.sync.packets, packets.into());
    count(&tx.kring.sync.bytes, lease.tally.bytes + lost);
    if packets < FEW {
        prime(&lease);
    }
    hand_over(host, lease, plan.rx_index, monitors, onward);
    end
}

/// The packets of a run after the first.
struct Run<'a> {
    tx: &'a Synced<'a>,
    /// first twelve bytes of each
    words: (u64, u64),
    /// the slot after the packets so far
    at: u32,
    /// what is to be sent ends before this slot
    head: u32,
    /// packets that may follow
    left: u32,
}

impl Iterator for Run<'_> {
    type Item = Plain;

    #[inline(always)]
    fn next(&mut self) -> Option<Plain> {
        if self.at == self.head || self.left == 0 {
            return None;
        }
        let packet = packet(self.tx, self.at)?;
        if packet.words(self.tx) != Some(self.words) {
            return None;
        }
        self.at = self.tx.ring.next(self.at);
        self.left -= 1;
        Some(packet)
    }
}

impl Run<'_> {
    /// Copies `first` and those after it. Returns the bytes of the packets that found no room.
    ///
    /// Tuned by hand; all other copying is [`super::lease::Slots::put`]. Payloads of a stretch first, then
    /// its slots: two streams of stores one after the other are faster than two at a time, and only
    /// the second is to lines that the receiver has read.
    #[inline(always)]
    fn copy(&mut self, first: Plain, lease: &mut Lease<'_>) -> u64 {
        let to = lease.slots.region;
        let (slots, n) = (lease.slots.ring.slots(), lease.slots.ring.num_slots());
        let (mut at, mut left) = (lease.slots.at, lease.slots.free);
        let (mut bytes, mut bad) = (0, 0);
        let (mut this, mut lens) = (first, [0u16; STRETCH]);
        let mut packet = loop {
            // No stretch goes beyond the last slot.
            let most = left.min(n - at).min(STRETCH as u32);
            let stretch = &slots[at as usize..(at + most) as usize];
            let mut k = 0;
            let rest = loop {
                let Some(slot) = stretch.get(k) else {
                    break Some(this);
                };
                let dst = to.pool.offset(slot.load().buf_idx);
                let copied = this.copy(self.tx, to, dst);
                bad += u64::from(!copied);
                lens[k] = if copied { this.len as u16 } else { 0 };
                bytes += u64::from(this.len);
                k += 1;
                match self.next() {
                    Some(next) => this = next,
                    None => break None,
                }
            };
            for (slot, len) in stretch.iter().zip(&lens[..k]) {
                slot.store_len_flags(*len, rfrags(1));
            }
            (at, left) = ((at + k as u32) % n, left - k as u32);
            if rest.is_none() || left == 0 {
                break rest;
            }
        };
        (lease.tally.packets, lease.tally.bytes) = (u64::from(lease.slots.free - left), bytes);
        (lease.slots.at, lease.slots.free, lease.slots.bad_copy) = (at, left, bad);
        let mut lost = 0;
        while let Some(this) = packet {
            lease.tally.full += 1;
            lost += u64::from(this.len);
            packet = self.next();
        }
        lost
    }
}

/// Asks for what the next syncs will write, if the slot that says where is free: these lines were last the
/// receiver's.
#[inline(always)]
fn prime(lease: &Lease<'_>) {
    let (to, slots) = (lease.slots.region, lease.slots.ring.slots());
    if lease.slots.free > 1
        && let Some(view) = slots.get(lease.slots.at as usize + 1)
    {
        prefetch_to_write(view);
        to.map
            .prefetch_to_write(to.pool.offset(view.load().buf_idx));
    }
}
