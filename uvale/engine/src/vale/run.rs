//! Runs: packets of one slot each that all go to the same ring.
//!
//! A sync for which the plan holds goes to the receiver's ring at once. A packet that looks like the one before goes
//! where that one went; any other is looked up, which the plan says how to.

use core::sync::atomic::Ordering::Relaxed;

use super::fill::{Plain, Source, fill, prime};
use super::places::Places;
use super::plan::{Flow, NEVER, Plan};
use super::scratch::Scratch;
use super::{BATCH, PATIENCE, hand_over};
use crate::Host;
use crate::bwrap::Onward;
use crate::lease::{Lease, Refused};
use crate::monitor::Regions;
use crate::offsets::Offsets;
use crate::synced::{Synced, now};
use uvale_shared::ctl::{Kring, count};
use uvale_shared::shm::{Buffers, SlotView};

/// How far ahead the bytes of packets are asked for that have to be looked up.
const AHEAD: usize = 8;
/// A sync of fewer packets is probably followed by another of the kind.
const FEW: u32 = 8;

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
        places,
        monitors,
        onward,
        detour,
        ..
    } = scratch;
    let plan = plan.as_ref()?;
    let batch = plan.tuning.batch.load(Relaxed).min(BATCH as u32);
    if plan.when != now(tx.owner, tx.kring) || !plan.is_current() || batch == 0 {
        return None;
    }
    let buffers = Buffers::of(tx.region)?;
    let mut flow = plan.flow();
    let first = plan.fit(
        tx.ring.slots().get(from as usize)?,
        buffers,
        &mut flow,
        places,
    );
    if first.is_none() {
        plan.ends_with(flow);
        return None;
    }
    let most = tx.ring.distance(from, head).min(batch);
    let to = plan.to.region();
    let find = |rx: &Kring| plan.is_still(rx).then(|| (plan.to.view(), Offsets::NONE));
    let lease = match Lease::take_at(&plan.rx, to, tx.owner, PATIENCE, most, find) {
        Ok(lease) => lease,
        Err(refused) => {
            plan.ends_with(flow);
            if refused == Refused::Gone {
                // Else it would hold for ever, and be good for nothing.
                plan.generation.set(NEVER);
            }
            return None;
        }
    };
    let (known, others) = ((flow, places), (monitors, onward));
    let packets = many(host, tx, plan, (from, most), known, lease, others);
    // A run as long as a batch has not ended: it goes on.
    detour.note(packets == most);
    let (end, n) = (from + packets, tx.ring.num_slots());
    Some(if end < n { end } else { end - n })
}

impl Plan {
    /// The packet in a slot of the sender's, if it is fit for a run to the receiver.
    #[inline(always)]
    fn fit<'a>(
        &self,
        view: &SlotView,
        buffers: Buffers<'a>,
        flow: &mut Flow,
        places: &mut Places,
    ) -> Option<Plain<'a>> {
        let headers = self.headers;
        let packet = Plain::of(view, buffers, headers.from)?;
        if !headers.are_alike() && !packet.is_convertible(headers, self.to.buffers().size()) {
            return None;
        }
        let words = packet.bytes.words_behind(headers.from);
        (words == flow.words || self.takes(words, flow, places)).then_some(packet)
    }
}

/// Sends the packets of a run, `most` from slot `from` on at most, into the leased slots of the receiver. Returns how
/// many it was. Apart, so that its loop has the registers to itself.
#[inline(never)]
fn many(
    host: &dyn Host,
    tx: &Synced<'_>,
    plan: &Plan,
    (from, most): (u32, u32),
    (flow, places): (Flow, &mut Places),
    mut lease: Lease<'_>,
    (monitors, onward): (&mut Regions, &mut Onward),
) -> u32 {
    let (headers, to) = (plan.headers, plan.to.buffers());
    let Some(buffers) = Buffers::of(tx.region) else {
        return 0;
    };
    let mut run = Run {
        plan,
        slots: tx.ring.slots(),
        buffers,
        flow,
        places,
        at: from,
        left: most,
        is_mixed: false,
    };
    // Most runs are one flow, and have a loop that does not know of others.
    let (mut packets, mut bytes) = (0, 0);
    if headers.are_alike() && !plan.is_mixed.get() {
        (packets, bytes) = fill::<true>(headers, &mut OneFlow(&mut run), to, &mut lease);
    }
    if packets < most {
        let (n, b) = match headers.are_alike() {
            true => fill::<true>(headers, &mut run, to, &mut lease),
            false => fill::<false>(headers, &mut run, to, &mut lease),
        };
        (packets, bytes) = (packets + n, bytes + b);
        plan.is_mixed.set(run.is_mixed);
        if run.is_mixed {
            // Without memory for it they are looked up as before.
            let _ = run.places.remember();
        }
    }
    plan.ends_with(run.flow);
    count(&tx.kring.sync.packets, packets.into());
    count(&tx.kring.sync.bytes, bytes);
    if packets < FEW {
        prime(&lease, to);
    }
    hand_over(host, lease, plan.rx_index, monitors, onward);
    packets
}

/// The packets of a run.
struct Run<'a, 'p> {
    plan: &'a Plan,
    /// the sender's
    slots: &'a [SlotView],
    buffers: Buffers<'a>,
    /// packets that need not be looked up
    flow: Flow,
    places: &'p mut Places,
    /// the slot after the packets so far
    at: u32,
    /// packets that may follow
    left: u32,
    /// has there been another flow?
    is_mixed: bool,
}

impl<'a> Run<'a, '_> {
    /// The slots of the packets that may follow in a row, `most` at most.
    #[inline(always)]
    fn row(&self, most: u32) -> &'a [SlotView] {
        let row = self.slots.get(self.at as usize..).unwrap_or_default();
        row.get(..most as usize).unwrap_or(row)
    }

    #[inline(always)]
    fn most(&self) -> u32 {
        self.left.min(self.slots.len() as u32 - self.at)
    }

    #[inline(always)]
    fn advance(&mut self, n: u32) {
        self.at += n;
        if self.at as usize >= self.slots.len() {
            self.at = 0;
        }
        self.left -= n;
    }
}

impl<'a> Source<'a> for Run<'a, '_> {
    #[inline(always)]
    fn most(&self) -> u32 {
        self.most()
    }

    #[inline(always)]
    fn look(&mut self, most: u32) -> impl Iterator<Item = Plain<'a>> {
        let (row, plan, buffers) = (self.row(most), self.plan, self.buffers);
        let (flow, is_mixed) = (&mut self.flow, &mut self.is_mixed);
        let places = &mut *self.places;
        row.iter().enumerate().map_while(move |(i, view)| {
            // What is decided by a packet's bytes, and may be guessed wrong, is not to wait for memory.
            if let Some(later) = row.get(i + AHEAD) {
                buffers.at(later.load().buf_idx).prefetch();
            }
            let before = flow.words;
            let packet = plan.fit(view, buffers, flow, places)?;
            *is_mixed |= flow.words != before;
            Some(packet)
        })
    }

    #[inline(always)]
    fn advance(&mut self, n: u32) {
        self.advance(n);
    }
}

/// The packets of a run up to the first one that does not look like the one before.
struct OneFlow<'r, 'a, 'p>(&'r mut Run<'a, 'p>);

impl<'a> Source<'a> for OneFlow<'_, 'a, '_> {
    #[inline(always)]
    fn most(&self) -> u32 {
        self.0.most()
    }

    #[inline(always)]
    fn look(&mut self, most: u32) -> impl Iterator<Item = Plain<'a>> {
        let Run {
            plan,
            buffers,
            flow,
            ..
        } = *self.0;
        let ahead = plan.headers.from;
        self.0.row(most).iter().map_while(move |view| {
            let packet = Plain::of(view, buffers, ahead)?;
            (packet.bytes.words_behind(ahead) == flow.words).then_some(packet)
        })
    }

    #[inline(always)]
    fn advance(&mut self, n: u32) {
        self.0.advance(n);
    }
}
