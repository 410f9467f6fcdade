//! Runs: packets of one slot each that all go to the same ring.
//!
//! A sync for which the plan holds goes to the receiver's ring at once. A packet that looks like the one before goes
//! where that one went; any other is looked up, which the plan says how to.

use super::fill::{fill, prime};
use super::packets::{Mixed, OneFlow, Walk};
use super::places::Places;
use super::plan::{Flow, NEVER, Plan};
use super::scratch::Scratch;
use super::{PATIENCE, hand_over};
use crate::Host;
use crate::bwrap::Onward;
use crate::lease::{Lease, Refused};
use crate::monitor::Regions;
use crate::offsets::Offsets;
use crate::synced::{Synced, now};
use uvale_shared::ctl::{Kring, count};
use uvale_shared::shm::Buffers;

/// A run of fewer packets is probably followed by another of the kind.
const SHORT: u32 = 8;

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
    if plan.when != now(tx.owner, tx.kring) || !plan.is_current() {
        return None;
    }
    let buffers = Buffers::of(tx.region)?;
    let (flow, first) = (plan.flow(), tx.ring.slots().get(from as usize)?);
    let (flow, begins) = plan.begins(flow, first, buffers, places);
    if !begins {
        plan.ends_with(flow);
        return None;
    }
    let most = tx.ring.distance(from, head).min(plan.batch);
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

/// Fills the leased slots with packets that may be of several flows. Returns how many, their bytes, and the flow of the
/// last one. `ALIKE`: what is sent arrives as it is.
#[inline(never)]
fn mixed<const ALIKE: bool>(
    plan: &Plan,
    walk: Walk<'_>,
    (flow, places): (Flow, &mut Places),
    to: Buffers<'_>,
    lease: &mut Lease<'_>,
) -> (u32, u64, Flow) {
    let source = Mixed::<ALIKE>::new(walk, plan, flow, places);
    let (packets, bytes, source) = fill::<ALIKE, _>(plan.headers, source, to, lease);
    (packets, bytes, source.flow())
}

/// Sends the packets of a run, `most` from slot `from` on at most, into the leased slots of the receiver. Returns how
/// many it was. Apart, so that its loops have the registers to themselves.
#[inline(never)]
fn many(
    host: &dyn Host,
    tx: &Synced<'_>,
    plan: &Plan,
    (from, most): (u32, u32),
    (first, places): (Flow, &mut Places),
    mut lease: Lease<'_>,
    (monitors, onward): (&mut Regions, &mut Onward),
) -> u32 {
    let (headers, to) = (plan.headers, plan.to.buffers());
    let Some(buffers) = Buffers::of(tx.region) else {
        return 0;
    };
    let mut walk = Walk::new(tx.ring.slots(), buffers, from, most);
    // Most runs are one flow, and have a loop that does not know of others.
    let (mut packets, mut bytes) = (0, 0);
    let is_one = headers.are_alike() && !plan.is_mixed.get();
    let (mut flow, mut was_mixed) = (first, false);
    if is_one {
        let source = OneFlow::new(walk, headers.from, flow);
        let (n, b, source) = fill::<true, _>(headers, source, to, &mut lease);
        (packets, bytes, walk) = (n, b, source.walk());
    }
    if packets < most {
        // Without memory for them they are looked up.
        let _ = places.remember();
        let (n, b, last) = match headers.are_alike() {
            true => mixed::<true>(plan, walk, (flow, places), to, &mut lease),
            false => mixed::<false>(plan, walk, (flow, places), to, &mut lease),
        };
        (packets, bytes) = (packets + n, bytes + b);
        (flow, was_mixed) = (last, is_one && n > 0);
    }
    plan.ends_run_with(first, flow, was_mixed);
    count(&tx.kring.sync.packets, packets.into());
    count(&tx.kring.sync.bytes, bytes);
    if packets < SHORT {
        prime(&lease, to);
    }
    hand_over(host, lease, plan.rx_index, monitors, onward);
    packets
}
