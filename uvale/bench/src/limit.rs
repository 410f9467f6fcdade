//! The limit: what two processes can exchange through shared memory at best, in the shape of the
//! real work but with none of netmap's meaning. No locks, no checks of what the peer writes, no
//! system calls, no counters but one.
//!
//! | loop | sender, per packet | sender, per batch | receiver |
//! |---|---|---|---|
//! | pipe | writes `len` and `flags`, copies the slot | publishes an index | reads each `len`, publishes an index |
//! | VALE | writes `len` and `flags`, and see below | publishes an index per receiver | the same |
//!
//! For VALE the sender also looks the destination up (netmap's hash), copies the packet in lines of 64 bytes and writes
//! the receiver's slot. A slot has 16 bytes.
//!
//! Each of these steps is a pass over the batch: the first because it is the program's and not the
//! engine's, the others because one stream of stores after the other is up to twice as fast as two
//! mixed. Rings have 1024 slots and buffers 2048 bytes, as netmap's have: where packets lie decides
//! what the caches can hold, and so what the limit is.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::board::{BUFFER_LINES, Board, LANES, Lane, SLOTS, TABLE, Table};
use super::raw::{Line, Slot, copy_lines, copy_slot};

const MASK: u32 = SLOTS as u32 - 1;
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
        // SYNC POINT: Acquire pairs with the Release in `Receiver::walk`.
        self.head = self.lane.head.value.load(Acquire);
        let room = MASK - self.tail.wrapping_sub(self.head) >= batch;
        if !room {
            core::hint::spin_loop();
        }
        room
    }

    /// One batch into a pipe; how many went.
    #[inline(always)]
    pub fn pipe(&mut self, batch: u32, len: u16) -> u32 {
        if !self.has_room(batch) {
            return 0;
        }
        let (lane, from) = (self.lane, self.tail);
        fill(&lane.tx, from, batch, len);
        for i in 0..batch {
            let at = (from.wrapping_add(i) & MASK) as usize;
            copy_slot(&lane.tx[at], &lane.rx[at], batch > FEW);
        }
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
        deliver(lane, from, lane, from, table, batch, len);
        fill(&lane.rx, from, batch, len);
        self.publish(batch)
    }

    #[inline(always)]
    fn publish(&mut self, batch: u32) -> u32 {
        self.tail = self.tail.wrapping_add(batch);
        // SYNC POINT: Release pairs with the Acquire in `Receiver::walk`.
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
            if room > 0 {
                deliver(source, self.at, to.lane, to.tail, table, room, len);
                fill(&to.lane.rx, to.tail, room, len);
                to.publish(room);
            }
        }
        self.at = self.at.wrapping_add(batch);
        batch
    }
}

/// Looks up and copies the `n` packets from `at` of `from` to the buffers from `tail` of `to`.
#[inline(always)]
fn deliver(from: &Lane, at: u32, to: &Lane, tail: u32, table: &Table, n: u32, len: u16) {
    let lines = usize::from(len).div_ceil(64).min(BUFFER_LINES);
    for i in 0..n {
        let packet = buffer(
            &from.buffers[0],
            &from.tx[(at.wrapping_add(i) & MASK) as usize],
        );
        let target = buffer(
            &to.buffers[1],
            &to.rx[(tail.wrapping_add(i) & MASK) as usize],
        );
        let dmac = packet[0].words()[0].load(Relaxed) & MAC_MASK;
        if table.0[hash(dmac)].load(Relaxed) & MAC_MASK != dmac {
            continue;
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
fn fill(slots: &[Slot; SLOTS], from: u32, n: u32, len: u16) {
    for i in 0..n {
        let at = from.wrapping_add(i);
        let slot = &slots[(at & MASK) as usize];
        slot.len.store(len - lap(at), Relaxed);
        slot.flags.store(0, Relaxed);
    }
}

/// 0 and 1 in turns, from one time around the ring to the next.
#[inline(always)]
fn lap(at: u32) -> u16 {
    ((at / SLOTS as u32) & 1) as u16
}

/// The buffer that a slot names.
#[inline(always)]
fn buffer<'a>(pool: &'a [[Line; BUFFER_LINES]; SLOTS], slot: &Slot) -> &'a [Line; BUFFER_LINES] {
    &pool[slot.buf_idx.load(Relaxed) as usize & (SLOTS - 1)]
}

#[inline(always)]
fn put(slot: &Slot, buf_idx: u32, len: u16, ptr: u64) {
    slot.word()
        .store(u64::from(buf_idx) | u64::from(len) << 32, Relaxed);
    slot.ptr.store(ptr, Relaxed);
}

/// A receiver's part.
pub struct Receiver<'a> {
    lanes: Vec<&'a Lane>,
    heads: Vec<u32>,
}

impl<'a> Receiver<'a> {
    /// A receiver from `lanes` of the board.
    pub fn new(board: &'a Board, lanes: &[usize]) -> Option<Self> {
        let lanes = lanes
            .iter()
            .map(|i| board.lane(*i))
            .collect::<Option<Vec<_>>>()?;
        let heads = vec![0; lanes.len()];
        Some(Self { lanes, heads })
    }

    /// Reads what has arrived on every lane and gives it back: packets, and the sum of their
    /// lengths so that no read is optimised away.
    #[inline(always)]
    pub fn walk(&mut self) -> (u32, u64) {
        let (mut packets, mut bytes) = (0, 0);
        for (lane, head) in self.lanes.iter().zip(&mut self.heads) {
            // SYNC POINT: Acquire pairs with the Release in `Sender::publish`.
            let tail = lane.tail.value.load(Acquire);
            let n = tail.wrapping_sub(*head);
            if n == 0 {
                continue;
            }
            for i in 0..n {
                let slot = &lane.rx[(head.wrapping_add(i) & MASK) as usize];
                bytes += u64::from(slot.len.load(Relaxed));
            }
            packets += n;
            *head = tail;
            // SYNC POINT: Release pairs with the Acquire in `Sender::has_room`.
            lane.head.value.store(tail, Release);
        }
        (packets, bytes)
    }
}

/// Puts `lanes` into their first state: every slot with a buffer of its own, every packet to
/// `dmac`, which the table knows.
pub fn prepare(board: &Board, dmac: u64) {
    board.table().0[hash(dmac)].store(dmac & MAC_MASK, Relaxed);
    for lane in (0..LANES).filter_map(|i| board.lane(i)) {
        lane.head.value.store(0, Relaxed);
        lane.tail.value.store(0, Relaxed);
        for (i, (ts, rs)) in lane.tx.iter().zip(&lane.rx).enumerate() {
            put(ts, i as u32, 0, 0);
            put(rs, i as u32, 0, 0);
            lane.buffers[0][i][0].words()[0].store(dmac & MAC_MASK, Relaxed);
        }
    }
}

const MAC_MASK: u64 = 0xffff_ffff_ffff;

/// The hash of netmap's learning table over a MAC address whose first byte is the lowest.
#[inline(always)]
pub fn hash(mac: u64) -> usize {
    let mut a = 0x9e37_79b9u32.wrapping_add(mac as u32);
    let mut b = 0x9e37_79b9u32.wrapping_add((mac >> 32) as u32 & 0xffff);
    let mut c = 0u32;
    for (x, y, z) in [(13, 8, 13), (12, 16, 5), (3, 10, 15)] {
        a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> x);
        b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << y);
        c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> z);
    }
    c as usize & (TABLE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DMAC: u64 = 0x0200_0000_0002;

    #[test]
    fn every_packet_of_a_pipe_arrives_once_with_its_slot() {
        let board = Board::new().unwrap();
        prepare(&board, DMAC);
        let mut sender = Sender::new(&board, 0).unwrap();
        let mut receiver = Receiver::new(&board, &[0]).unwrap();
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
        let lengths = (0..sent).map(|i| 60 - u64::from(lap(i)));
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
        let board = Board::new().unwrap();
        prepare(&board, DMAC);
        let source = board.lane(0).unwrap();
        source.buffers[0][0][1].words()[7].store(77, Relaxed);
        let mut sender = Flooder::new(&board, &[0, 1, 2]).unwrap();
        assert_eq!(sender.vale(board.table(), 8, 128), 8);
        for lane in 0..3 {
            let mut receiver = Receiver::new(&board, &[lane]).unwrap();
            assert_eq!(receiver.walk(), (8, 8 * 128));
            let buffer = &board.lane(lane).unwrap().buffers[1][0];
            assert_eq!(buffer[0].words()[0].load(Relaxed), DMAC);
            assert_eq!(buffer[1].words()[7].load(Relaxed), 77);
        }
    }

    #[test]
    fn the_last_slot_stays_empty() {
        let board = Board::new().unwrap();
        prepare(&board, DMAC);
        let mut sender = Sender::new(&board, 0).unwrap();
        let sent: u32 = (0..2000).map(|_| sender.vale(board.table(), 1, 60)).sum();
        assert_eq!(sent, MASK);
    }
}
