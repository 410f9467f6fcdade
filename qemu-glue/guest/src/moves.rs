//! What the program does with rings.

use std::time::Duration;

use uvale_shared::shm::Slots;
use uvale_wire::ptnet::ring::Ring;

use crate::naps::Naps;
use crate::numbered::{Checker, Stream};

/// When to give up.
pub struct Limits<'a> {
    /// The longest time in which nothing may happen.
    pub patience: Duration,
    /// Is somebody asking for the end?
    pub ended: &'a dyn Fn() -> bool,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All is done.
    Done,
    /// Nothing has happened for too long.
    Quiet,
    /// A signal.
    Asked,
}

impl End {
    /// A word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Quiet => "quiet",
            Self::Asked => "signal",
        }
    }
}

/// Turns of the loop after which somebody who asks for the end is heard, however busy it is.
const TURNS: u32 = 256;

/// Calls `turn` until it says that all is done, sleeping when it says that it has done nothing.
fn repeat(
    limits: &Limits<'_>,
    mut turn: impl FnMut() -> Result<Turn, String>,
) -> Result<End, String> {
    let mut naps = Naps::default();
    for turns in (0..TURNS).cycle() {
        match turn()? {
            Turn::Done => return Ok(End::Done),
            Turn::Busy => naps.end(),
            Turn::Idle if naps.lasts() > limits.patience => return Ok(End::Quiet),
            Turn::Idle => naps.take(),
        }
        if (turns == 0 || naps.has_slept()) && (limits.ended)() {
            return Ok(End::Asked);
        }
    }
    Ok(End::Done)
}

enum Turn {
    Done,
    Busy,
    Idle,
}

/// Packets between two syncs, at most: while the guest works on a part of a ring, the host works on others.
fn part(ring: &Ring<'_>) -> u32 {
    (ring.num_slots() / 4).max(1)
}

fn busy_if(busy: bool) -> Turn {
    if busy { Turn::Busy } else { Turn::Idle }
}

/// Sends `count` packets, a stream of its own over each ring, at most `batch` and a quarter of a ring between two syncs
/// of it; and waits until the host has taken them.
///
/// # Errors
/// A sentence about the host.
pub fn send(
    rings: &mut [Ring<'_>],
    streams: &mut [Stream],
    count: u64,
    batch: u32,
    limits: &Limits<'_>,
) -> Result<End, String> {
    let mut left = count;
    repeat(limits, || {
        let mut busy = false;
        for (ring, stream) in rings.iter_mut().zip(&mut *streams) {
            let mut slots = ring.slots();
            let most = left.min(batch.min(part(ring)).into());
            let sent = put(&mut slots, stream, most);
            if sent > 0 {
                ring.sync(slots.at())?;
                left -= sent;
                busy = true;
            } else {
                ring.glance()?;
            }
        }
        let taken = left == 0 && rings.iter().all(Ring::is_done);
        Ok(if taken { Turn::Done } else { busy_if(busy) })
    })
}

fn put(slots: &mut Slots<'_>, stream: &mut Stream, most: u64) -> u64 {
    let mut sent = 0;
    while sent < most && slots.left() > 0 && slots.put(stream.packet()) {
        stream.advance();
        sent += 1;
    }
    sent
}

/// Takes packets of a ring, and gives their slots back. `use_` says for each if it could use it; if not, the
/// packet stays where it is.
fn take(
    ring: &mut Ring<'_>,
    packet: &mut Vec<u8>,
    mut use_: impl FnMut(&mut Vec<u8>) -> bool,
) -> Result<bool, String> {
    ring.glance()?;
    let mut slots = ring.slots();
    let mut head = slots.at();
    let first = head;
    for _ in 0..part(ring) {
        if !slots.take(packet) || !use_(packet) {
            break;
        }
        head = slots.at();
    }
    if head == first {
        return Ok(false);
    }
    ring.sync(head)?;
    Ok(true)
}

/// Receives until `count` good packets have come.
///
/// # Errors
/// A sentence about the host.
pub fn receive(
    rings: &mut [Ring<'_>],
    checker: &mut Checker,
    count: u64,
    limits: &Limits<'_>,
) -> Result<End, String> {
    wake(rings)?;
    let mut packet = Vec::new();
    repeat(limits, || {
        let mut busy = false;
        for ring in &mut *rings {
            busy |= take(ring, &mut packet, |packet| {
                checker.look(packet);
                true
            })?;
        }
        let found = checker.found();
        let all = found.good + found.changed >= count;
        Ok(if all { Turn::Done } else { busy_if(busy) })
    })
}

/// What was moved from one port to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Packets.
    pub packets: u64,
    /// Packets that no ring of the other side will ever have room for.
    pub dropped: u64,
}

/// Moves packets from rx rings to the tx rings of the same numbers, `change`d, until `count` have been.
///
/// # Errors
/// A sentence about the host.
pub fn forward(ways: &mut [Way<'_, '_>], count: u64, limits: &Limits<'_>) -> Result<End, String> {
    for way in &mut *ways {
        wake(way.from)?;
    }
    let mut packet = Vec::new();
    repeat(limits, || {
        let mut busy = false;
        for way in &mut *ways {
            busy |= way.turn(&mut packet)?;
        }
        let moved: u64 = ways.iter().map(|way| way.moved.packets).sum();
        let done = moved >= count && ways.iter().all(|way| way.to.iter().all(Ring::is_done));
        Ok(if done { Turn::Done } else { busy_if(busy) })
    })
}

/// A direction in which packets are moved.
pub struct Way<'w, 'a> {
    /// Rx rings.
    pub from: &'w mut [Ring<'a>],
    /// Tx rings.
    pub to: &'w mut [Ring<'a>],
    /// What happens to a packet on the way.
    pub change: &'w dyn Fn(&mut Vec<u8>),
    /// What was moved.
    pub moved: Moved,
}

impl Way<'_, '_> {
    fn turn(&mut self, packet: &mut Vec<u8>) -> Result<bool, String> {
        let mut busy = false;
        let outs = self.to.len();
        for (i, from) in self.from.iter_mut().enumerate() {
            let to = &mut self.to[i % outs];
            to.glance()?;
            let most = to.num_slots() as usize - 1;
            let mut slots = to.slots();
            let (before, moved, change) = (slots.at(), &mut self.moved, self.change);
            busy |= take(from, packet, |packet| {
                change(packet);
                if slots.put(packet) {
                    moved.packets += 1;
                    return true;
                }
                let never = packet.len().div_ceil(slots.room()) > most;
                moved.dropped += u64::from(never);
                never
            })?;
            if slots.at() != before {
                to.sync(slots.at())?;
            }
        }
        Ok(busy)
    }
}

/// Tells the host that somebody receives.
fn wake(rings: &mut [Ring<'_>]) -> Result<(), String> {
    for ring in rings {
        let head = ring.slots().at();
        ring.sync(head)?;
    }
    Ok(())
}

/// A packet goes back to whom it came from: `header` bytes of a virtio-net header, then the addresses.
pub fn send_back(packet: &mut [u8], header: usize, own: [u8; 6]) {
    if let Some(addresses) = packet.get_mut(header..header + 12) {
        addresses.copy_within(6..12, 0);
        addresses[6..].copy_from_slice(&own);
    }
}
