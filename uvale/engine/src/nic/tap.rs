//! From the descriptor of a TAP device: each packet is read straight into the buffers of the slots that it takes.

use super::PATIENCE;
use crate::Host;
use crate::lease::Lease;
use crate::synced::Synced;
use uvale_wire::tap::{LONGEST, MOST_PIECES, Queue};

/// Takes in what the host has sent, as long as there is room for whatever may come: what has been read cannot be left
/// for later. True if nothing is left.
pub fn take_in(host: &dyn Host, rx: &Synced<'_>, queue: &Queue) -> bool {
    let Ok(mut lease) = Lease::take(rx.kring, rx.region, host.owner(), PATIENCE, rx.n, |_| true)
    else {
        return false;
    };
    let room = lease.slots.least_room().min(u16::MAX.into());
    let most = LONGEST.div_ceil(room.max(1)).min(MOST_PIECES as u32);
    // A ring that is too short for the longest packet gets what it can hold.
    let needed = most.min(rx.n.saturating_sub(1)).max(1);
    let mut is_empty = false;
    while room > 0 && !is_empty && lease.slots.free >= needed {
        let (slots, tally) = (&mut lease.slots, &mut lease.tally);
        let read =
            slots.read::<MOST_PIECES>(needed, |memory, pieces| queue.read(memory, pieces).ok());
        match read {
            Some(len) => {
                tally.packets += 1;
                tally.bytes += len as u64;
            }
            None => is_empty = true,
        }
    }
    lease.publish().wake(host);
    is_empty
}
