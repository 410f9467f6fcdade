//! Onto the wire: the slots of a tx ring become messages that the kernel reads straight from their buffers.

use core::sync::atomic::Ordering::Relaxed;

use crate::offsets::Offsets;
use crate::synced::Synced;
use nm_abi::{NS_BUF_CHANGED, NS_MOREFRAG, NS_REPORT};
use rustix::io::Errno;
use uvale_shared::ctl::count;
use uvale_shared::shm::Slot;
use uvale_wire::{Batch, Space, Transmitter};

/// Slots of a packet at most, as in netmap.
const MOST_FRAGMENTS: u32 = 64;
/// Bytes of an Ethernet header: less is no packet.
const LEAST: u32 = 14;

/// What was gathered for one call.
struct Gathered {
    /// by packet: the slot behind it and behind whatever is dropped there
    ends: [u32; Batch::MOST],
    bytes: [u32; Batch::MOST],
    /// the slot that comes next
    at: u32,
}

/// Sends the slots from hwcur to `head`, as far as there is room. Returns the slot to send next.
pub fn send(tx: &Synced<'_>, head: u32, sender: &Transmitter, space: &mut Space) -> u32 {
    let mut at = tx.kring.hwcur.load(Relaxed);
    while at != head {
        let mut batch = space.batch(&tx.region.map);
        let gathered = gather(tx, at, head, &mut batch);
        let sent = hand_over(tx, &batch, &gathered, sender);
        let is_all = sent == batch.len();
        let next = match sent {
            _ if is_all => gathered.at,
            0 => at,
            n => gathered.ends[n - 1],
        };
        if !is_all || next == at {
            return next;
        }
        at = next;
    }
    at
}

/// Gives the batch to the kernel. How many packets need not be sent again.
fn hand_over(
    tx: &Synced<'_>,
    batch: &Batch<'_>,
    gathered: &Gathered,
    sender: &Transmitter,
) -> usize {
    let counters = &tx.kring.sync;
    let mut done = 0;
    while done < batch.len() {
        match sender.send(batch, done) {
            Ok(0) | Err(Errno::AGAIN | Errno::NOBUFS) => break,
            Ok(n) => {
                let to = batch.len().min(done + n);
                let bytes = gathered.bytes[done..to].iter().map(|b| u64::from(*b)).sum();
                count(&counters.packets, (to - done) as u64);
                count(&counters.bytes, bytes);
                done = to;
            }
            Err(Errno::NETDOWN | Errno::NXIO | Errno::NODEV) => {
                count(&counters.no_receiver, 1);
                done += 1;
            }
            Err(_) => {
                count(&counters.bad_slot, 1);
                done += 1;
            }
        }
    }
    done
}

/// Adds the packets from slot `at` on to the batch.
fn gather(tx: &Synced<'_>, at: u32, head: u32, batch: &mut Batch<'_>) -> Gathered {
    let mut gathered = Gathered {
        ends: [at; Batch::MOST],
        bytes: [0; Batch::MOST],
        at,
    };
    let offsets = Offsets::of(tx.kring);
    while gathered.at != head && batch.len() < Batch::MOST {
        let Some(end) = end_of_packet(tx, gathered.at, head) else {
            break;
        };
        let added = add(tx, gathered.at, end, offsets, batch);
        let n = batch.len();
        match added {
            Added::Packet(bytes) => (gathered.bytes[n - 1], gathered.ends[n - 1]) = (bytes, end),
            // It is passed over with the packet before it.
            Added::Dropped if n > 0 => gathered.ends[n - 1] = end,
            Added::Dropped => {}
            Added::NoRoom => break,
        }
        gathered.at = end;
    }
    gathered
}

/// The slot behind the packet that begins at `at`; `None` if its end is not there yet. A chain that is longer than
/// any packet ends where that shows.
fn end_of_packet(tx: &Synced<'_>, at: u32, head: u32) -> Option<u32> {
    let mut end = at;
    for _ in 0..MOST_FRAGMENTS {
        if end == head {
            return None;
        }
        let slot = tx.ring.slots()[end as usize].load();
        end = tx.ring.next(end);
        if slot.flags & NS_MOREFRAG == 0 {
            return Some(end);
        }
    }
    Some(end)
}

enum Added {
    /// with so many bytes
    Packet(u32),
    /// it is none
    Dropped,
    /// the batch has no room for it
    NoRoom,
}

/// Adds the packet in slots `at..end`.
fn add(tx: &Synced<'_>, at: u32, end: u32, offsets: Offsets, batch: &mut Batch<'_>) -> Added {
    let (pool, counters) = (&tx.region.pool, &tx.kring.sync);
    let mut pieces = [(0, 0); MOST_FRAGMENTS as usize];
    let (mut n, mut bytes, mut i) = (0, 0, at);
    let mut is_bad = false;
    while i != end && n < pieces.len() {
        let view = &tx.ring.slots()[i as usize];
        let slot = view.load_full();
        view.clear(slot, NS_BUF_CHANGED | NS_REPORT);
        let Slot { buf_idx, len, .. } = slot;
        let offset = offsets.get(slot.ptr);
        // Like netmap's emulated adapter, cuts what is longer than its buffer.
        let len = u32::from(len).min(pool.size().saturating_sub(offset));
        is_bad |= !pool.is_valid(buf_idx);
        pieces[n] = (pool.offset(buf_idx) + offset as usize, len as usize);
        (n, bytes, i) = (n + 1, bytes + len, tx.ring.next(i));
    }
    if is_bad {
        count(&counters.bad_slot, 1);
        return Added::Dropped;
    }
    if bytes < LEAST {
        count(&counters.short, 1);
        return Added::Dropped;
    }
    if n > batch.room() {
        return Added::NoRoom;
    }
    for (i, (ofs, len)) in pieces[..n].iter().enumerate() {
        if !batch.push(*ofs, *len, i > 0) {
            return Added::NoRoom;
        }
    }
    Added::Packet(bytes)
}

/// There is nobody to send to: the slots from hwcur to `head` are lost. Returns the slot to send next.
pub fn lose(tx: &Synced<'_>, head: u32) -> u32 {
    let lost = tx.ring.distance(tx.kring.hwcur.load(Relaxed), head);
    count(&tx.kring.sync.no_receiver, lost.into());
    head
}
