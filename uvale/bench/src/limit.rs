//! The limit: what two processes can exchange through shared memory at best, in the shape of the
//! real work but with none of netmap's meaning. No locks, no checks of what the peer writes, no
//! system calls, no counters but one.
//!
//! | loop | sender, per packet | sender, per batch | receiver |
//! |---|---|---|---|
//! | pipe | writes `len` and `flags`, copies the slot | publishes an index | reads each `len`, publishes an index |
//! | VALE | writes `len` and `flags`, and see below | publishes an index per receiver | the same |
//!
//! For VALE the sender also looks the destination up (netmap's hash) if it is another one than that of the packet
//! before, copies the packet in lines of 64 bytes and writes the receiver's slot. A slot has 16 bytes.
//!
//! Each of these steps is a pass over the batch, or over 64 packets of it: the first because it is the program's and
//! not the engine's, the others because one stream of stores after the other is up to twice as fast as two mixed.
//! Rings have 1024 slots and buffers 2048 bytes, as netmap's have: where packets lie decides what the caches can hold,
//! and so what the limit is.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

pub mod chain;
pub mod exchange;
pub mod part;
pub mod perform;
mod receiver;
mod station;
mod synced;

use nm_abi::NS_MOREFRAG;

use super::addresses::{MAC_MASK, hash};
use super::board::{BUFFER_LINES, Board, Lane, SLOTS, Table};
use super::raw::{Line, Slot, copy_bytes, copy_lines, copy_slot};
use uvale_shared::shm::{prefetch, prefetch_to_write};

const MASK: u32 = SLOTS as u32 - 1;
/// Bytes of a buffer.
const BUFFER: u32 = BUFFER_LINES as u32 * 64;
/// Packets whose lines are asked for before it is their turn.
const AHEAD: u32 = 16;
/// Packets copied before their slots are written: more, and the first of these have left the cache again.
const STRETCH: u32 = 64;
/// Up to so many slots are copied field by field: a load of the whole slot just after the fields
/// were stored has to wait until the stores have reached the cache.
const FEW: u32 = 8;

/// A sender with one receiver. It waits until a whole batch fits.
pub struct Sender<'a> {
    lane: &'a Lane,
    /// slots known to be given back
    head: u32,
    tail: u32,
}

impl<'a> Sender<'a> {
    /// A sender into lane `lane` of the board.
    pub fn new(board: &'a Board, lane: usize) -> Option<Self> {
        Some(Self {
            lane: board.lane(lane)?,
            head: 0,
            tail: 0,
        })
    }

    /// Is there room for a batch? Looks at the receiver's index only when it knows of too little.
    #[inline(always)]
    fn has_room(&mut self, batch: u32) -> bool {
        if MASK - self.tail.wrapping_sub(self.head) >= batch {
            return true;
        }
        self.ask();
        let room = MASK - self.tail.wrapping_sub(self.head) >= batch;
        if !room {
            core::hint::spin_loop();
        }
        room
    }

    /// Asks what has been given back.
    #[inline(always)]
    fn ask(&mut self) {
        // SYNC POINT: Acquire pairs with the Release in `Receiver::walk_and`.
        self.head = self.lane.head.value.load(Acquire);
    }

    /// One batch into a pipe; how many went.
    #[inline(always)]
    pub fn pipe(&mut self, batch: u32, len: u16) -> u32 {
        if !self.has_room(batch) {
            return 0;
        }
        let (lane, from) = (self.lane, self.tail);
        fill(&lane.tx, from, batch, len);
        copy_slots(lane, from, batch);
        self.publish(batch)
    }

    /// One batch into a switch; how many went.
    #[inline(always)]
    pub fn vale(&mut self, table: &Table, batch: u32, len: u16) -> u32 {
        if !self.has_room(batch) {
            return 0;
        }
        let (lane, from) = (self.lane, self.tail);
        fill(&lane.tx, from, batch, len);
        for done in (0..batch).step_by(STRETCH as usize) {
            let (at, n) = (from.wrapping_add(done), STRETCH.min(batch - done));
            deliver(lane, at, lane, at, table, n, len);
            fill(&lane.rx, at, n, len);
        }
        self.publish(batch)
    }

    /// Packets of `len` bytes, each in as many slots as it takes, copied by `memcpy` to where the receiver reads them,
    /// without a look at where they are to go; how many went.
    #[inline(always)]
    pub fn memcpy(&mut self, packets: u32, len: u32) -> u32 {
        let batch = packets * len.div_ceil(BUFFER);
        if !self.has_room(batch) {
            return 0;
        }
        let (lane, from) = (self.lane, self.tail);
        fill_chains(&lane.tx, from, packets, len);
        for i in 0..batch {
            let at = (from.wrapping_add(i) & MASK) as usize;
            let (slot, target) = (&lane.tx[at], &lane.rx[at]);
            let (packet, room) = (
                buffer(&lane.buffers[0], slot),
                buffer(&lane.buffers[1], target),
            );
            let _ = copy_bytes(packet, room, slot.len.load(Relaxed).into());
        }
        fill_chains(&lane.rx, from, packets, len);
        self.publish(batch);
        packets
    }

    #[inline(always)]
    fn publish(&mut self, batch: u32) -> u32 {
        self.tail = self.tail.wrapping_add(batch);
        // SYNC POINT: Release pairs with the Acquire in `Receiver::walk_and`.
        self.lane.tail.value.store(self.tail, Release);
        batch
    }
}

/// A sender with several receivers. What does not fit is dropped, as a switch does.
pub struct Flooder<'a> {
    to: Vec<Sender<'a>>,
    at: u32,
}

impl<'a> Flooder<'a> {
    /// A sender into `lanes` of the board.
    pub fn new(board: &'a Board, lanes: &[usize]) -> Option<Self> {
        let to: Option<Vec<_>> = lanes.iter().map(|i| Sender::new(board, *i)).collect();
        to.filter(|to| !to.is_empty()).map(|to| Self { to, at: 0 })
    }

    /// One batch to everybody; how many were sent.
    #[inline(always)]
    pub fn vale(&mut self, table: &Table, batch: u32, len: u16) -> u32 {
        let source = self.to[0].lane;
        fill(&source.tx, self.at, batch, len);
        for to in &mut self.to {
            to.has_room(batch);
            let room = (MASK - to.tail.wrapping_sub(to.head)).min(batch);
            for done in (0..room).step_by(STRETCH as usize) {
                let (at, n) = (self.at.wrapping_add(done), STRETCH.min(room - done));
                let tail = to.tail.wrapping_add(done);
                deliver(source, at, to.lane, tail, table, n, len);
                fill(&to.lane.rx, tail, n, len);
            }
            if room > 0 {
                to.publish(room);
            }
        }
        self.at = self.at.wrapping_add(batch);
        batch
    }
}

/// Looks up and copies the `n` packets from `at` of `from` to the buffers from `tail` of `to`.
#[inline(always)]
fn deliver<const N: usize>(
    from: &Lane<N>,
    at: u32,
    to: &Lane<N>,
    tail: u32,
    table: &Table,
    n: u32,
    len: u16,
) {
    let mask = N as u32 - 1;
    let lines = usize::from(len).div_ceil(64).min(BUFFER_LINES);
    let mut known = u64::MAX;
    let source = |i: u32| {
        let slot = &from.tx[(at.wrapping_add(i) & mask) as usize];
        buffer(&from.buffers[0], slot)
    };
    let target = |i: u32| {
        let slot = &to.rx[(tail.wrapping_add(i) & mask) as usize];
        buffer(&to.buffers[1], slot)
    };
    for i in 0..n {
        prefetch(source(i + AHEAD));
        prefetch_to_write(target(i + AHEAD));
        let (packet, target) = (source(i), target(i));
        let dmac = packet[0].words()[0].load(Relaxed) & MAC_MASK;
        // Packets to one address are looked up once.
        if dmac != known {
            if table.0[hash(dmac)].load(Relaxed) & MAC_MASK != dmac {
                continue;
            }
            known = dmac;
        }
        if lines == 1 {
            copy_lines(&packet[..1], &target[..1]);
        } else {
            copy_lines(&packet[..lines], &target[..lines]);
        }
    }
}

/// Writes `len` and `flags` of `n` slots: what the program does on the tx ring, and the engine on
/// the rx ring. Every other time around the ring it is a byte less, so that no slot stays as it is.
#[inline(always)]
fn fill<const N: usize>(slots: &[Slot; N], from: u32, n: u32, len: u16) {
    for i in 0..n {
        let at = from.wrapping_add(i);
        let slot = &slots[at as usize & (N - 1)];
        slot.len.store(len - lap::<N>(at), Relaxed);
        slot.flags.store(0, Relaxed);
    }
}

/// 0 and 1 in turns, from one time around the ring to the next.
#[inline(always)]
fn lap<const N: usize>(at: u32) -> u16 {
    ((at / N as u32) & 1) as u16
}

/// The same for packets that may take several slots.
#[inline(always)]
fn fill_chains(slots: &[Slot; SLOTS], mut at: u32, packets: u32, len: u32) {
    for _ in 0..packets {
        let mut rest = len - u32::from(lap::<SLOTS>(at));
        while rest > 0 {
            let slot = &slots[(at & MASK) as usize];
            let part = rest.min(BUFFER);
            rest -= part;
            slot.len.store(part as u16, Relaxed);
            let more = if rest > 0 { NS_MOREFRAG } else { 0 };
            slot.flags.store(more, Relaxed);
            at = at.wrapping_add(1);
        }
    }
}

/// Hands `n` slots from `from` on over to the receiver, as a pipe does.
#[inline(always)]
fn copy_slots(lane: &Lane, from: u32, n: u32) {
    for i in 0..n {
        let at = (from.wrapping_add(i) & MASK) as usize;
        copy_slot(&lane.tx[at], &lane.rx[at], n > FEW);
    }
}

/// The buffer that a slot names.
#[inline(always)]
fn buffer<'a, const N: usize>(
    pool: &'a [[Line; BUFFER_LINES]; N],
    slot: &Slot,
) -> &'a [Line; BUFFER_LINES] {
    &pool[slot.buf_idx.load(Relaxed) as usize & (N - 1)]
}

#[inline(always)]
fn put(slot: &Slot, buf_idx: u32, len: u16, ptr: u64) {
    slot.word()
        .store(u64::from(buf_idx) | u64::from(len) << 32, Relaxed);
    slot.ptr.store(ptr, Relaxed);
}

/// Puts a lane into its first state: every slot with a buffer of its own, packets to one of `dmacs` after the other.
/// The table knows them.
pub fn prepare<const N: usize>(lane: &Lane<N>, table: &Table, dmacs: &[u64]) {
    for dmac in dmacs {
        table.0[hash(*dmac)].store(dmac & MAC_MASK, Relaxed);
    }
    for word in [&lane.head, &lane.tail] {
        word.value.store(0, Relaxed);
        word.sleeps.store(0, Relaxed);
    }
    let mut to = dmacs.iter().cycle();
    for (i, (ts, rs)) in lane.tx.iter().zip(&lane.rx).enumerate() {
        put(ts, i as u32, 0, 0);
        put(rs, i as u32, 0, 0);
        if let Some(dmac) = to.next() {
            lane.buffers[0][i][0].words()[0].store(dmac & MAC_MASK, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::receiver::Receiver;
    use super::*;

    const DMAC: u64 = 0x0200_0000_0002;

    fn prepared(lanes: usize) -> Board {
        let board = Board::new().unwrap();
        for lane in 0..lanes {
            prepare(board.lane(lane).unwrap(), board.table(), &[DMAC]);
        }
        board
    }

    #[test]
    fn every_packet_of_a_pipe_arrives_once_with_its_slot() {
        let board = prepared(3);
        let mut sender = Sender::new(&board, 0).unwrap();
        let mut receiver = Receiver::new(&board, &[0], false).unwrap();
        for (i, slot) in board.lane(0).unwrap().tx.iter().enumerate() {
            slot.ptr.store(1000 + i as u64, Relaxed);
        }
        let (mut sent, mut got, mut bytes) = (0u32, 0, 0);
        for round in 0..3000u32 {
            sent += sender.pipe(if round % 2 == 0 { 64 } else { 3 }, 60);
            if round % 7 == 0 {
                let (n, b) = receiver.walk();
                (got, bytes) = (got + n, bytes + b);
            }
        }
        let (n, b) = receiver.walk();
        assert_eq!(got + n, sent);
        let lengths = (0..sent).map(|i| 60 - u64::from(lap::<SLOTS>(i)));
        assert_eq!(bytes + b, lengths.sum::<u64>());
        assert!(sent > 2048);
        let lane = board.lane(0).unwrap();
        for (i, slot) in lane.rx.iter().enumerate() {
            assert_eq!(slot.buf_idx.load(Relaxed) as usize, i);
            assert_eq!(slot.ptr.load(Relaxed), 1000 + i as u64);
        }
    }

    #[test]
    fn packets_reach_every_receiver_of_the_switch_whole() {
        let board = prepared(3);
        let source = board.lane(0).unwrap();
        source.buffers[0][0][1].words()[7].store(77, Relaxed);
        let mut sender = Flooder::new(&board, &[0, 1, 2]).unwrap();
        assert_eq!(sender.vale(board.table(), 8, 128), 8);
        for lane in 0..3 {
            let mut receiver = Receiver::new(&board, &[lane], false).unwrap();
            assert_eq!(receiver.walk(), (8, 8 * 128));
            let buffer = &board.lane(lane).unwrap().buffers[1][0];
            assert_eq!(buffer[0].words()[0].load(Relaxed), DMAC);
            assert_eq!(buffer[1].words()[7].load(Relaxed), 77);
        }
    }

    #[test]
    fn the_last_slot_stays_empty() {
        let board = prepared(3);
        let mut sender = Sender::new(&board, 0).unwrap();
        let sent: u32 = (0..2000).map(|_| sender.vale(board.table(), 1, 60)).sum();
        assert_eq!(sent, MASK);
    }

    #[test]
    fn packets_of_several_slots_are_copied_whole() {
        let board = prepared(1);
        let lane = board.lane(0).unwrap();
        lane.buffers[0][4][12].words()[0].store(55, Relaxed);
        let mut sender = Sender::new(&board, 0).unwrap();
        let mut receiver = Receiver::new(&board, &[0], true).unwrap();
        assert_eq!(sender.memcpy(3, 9000), 3);
        assert_eq!(receiver.walk(), (3, 27000));
        let lengths: Vec<_> = lane.rx[..6].iter().map(|s| s.len.load(Relaxed)).collect();
        assert_eq!(lengths, [2048, 2048, 2048, 2048, 808, 2048]);
        assert_eq!(lane.buffers[1][4][12].words()[0].load(Relaxed), 55);
        assert_eq!((sender.memcpy(2, 60), receiver.walk()), (2, (2, 120)));
    }
}
