//! The limit: what two processes can exchange through shared memory at best, in the shape of the
//! real work but with none of netmap's meaning. No locks, no checks of what the peer writes, no
//! system calls, no counters but one.
//!
//! | loop | sender, per packet | sender, per batch | receiver |
//! |---|---|---|---|
//! | pipe | writes `len` and `flags`, exchanges the 16-byte slots of the two rings | publishes one index | reads `len` of every slot, publishes one index |
//! | VALE | writes `len` and `flags`, looks the destination up (netmap's hash), copies the packet in lines of 64 bytes, writes the receiver's slot | publishes one index per receiver | the same |
//!
//! Rings have 1024 slots and buffers 2048 bytes, as netmap's have: where packets lie decides what
//! the caches can hold, and so what the limit is.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::board::{BUFFER_LINES, Board, LANES, Lane, SLOTS, TABLE};
use super::raw::{Slot, copy_lines};

const MASK: u32 = SLOTS as u32 - 1;

/// A sender's part in a run of the limit loops.
pub struct Sender<'a> {
    lanes: Vec<&'a Lane>,
    /// by lane: slots known to be given back
    heads: Vec<u32>,
    tail: Vec<u32>,
    at: u32,
}

impl<'a> Sender<'a> {
    /// A sender into `lanes` of the board.
    pub fn new(board: &'a Board, lanes: &[usize]) -> Option<Self> {
        let lanes = lanes
            .iter()
            .map(|i| board.lane(*i))
            .collect::<Option<Vec<_>>>()?;
        let (heads, tail) = (vec![0; lanes.len()], vec![0; lanes.len()]);
        Some(Self {
            lanes,
            heads,
            tail,
            at: 0,
        })
    }

    /// Slots free in lane `i`; looks again only when it knows of too few.
    #[inline(always)]
    fn room(&mut self, i: usize, wanted: u32) -> u32 {
        let used = self.tail[i].wrapping_sub(self.heads[i]);
        if MASK - used < wanted {
            self.heads[i] = self.lanes[i].head.value.load(Acquire);
        }
        MASK - self.tail[i].wrapping_sub(self.heads[i])
    }

    /// One batch into a pipe; how many went.
    #[inline(always)]
    pub fn pipe(&mut self, batch: u32, len: u16) -> u32 {
        if self.room(0, batch) < batch {
            core::hint::spin_loop();
            return 0;
        }
        let lane = self.lanes[0];
        let from = self.tail[0];
        for i in 0..batch {
            let at = (from.wrapping_add(i) & MASK) as usize;
            let (ts, rs) = (&lane.tx[at], &lane.rx[at]);
            let (back, back_ptr) = (rs.word().load(Relaxed), rs.ptr.load(Relaxed));
            put(
                rs,
                ts.word().load(Relaxed) as u32,
                len,
                ts.ptr.load(Relaxed),
            );
            ts.word().store(back, Relaxed);
            ts.ptr.store(back_ptr, Relaxed);
        }
        self.publish(0, from.wrapping_add(batch));
        batch
    }

    /// One batch into a switch; how many were sent. With one receiver it waits until the whole
    /// batch fits; with several, what does not fit is dropped, as a switch does.
    #[inline(always)]
    pub fn vale(&mut self, board: &Board, batch: u32, len: u16) -> u32 {
        let alone = self.lanes.len() == 1;
        if alone && self.room(0, batch) < batch {
            core::hint::spin_loop();
            return 0;
        }
        let source = self.lanes[0];
        let lines = usize::from(len).div_ceil(64).min(BUFFER_LINES);
        let table = &board.table().0;
        for lane in 0..self.lanes.len() {
            let room = if alone {
                batch
            } else {
                self.room(lane, batch).min(batch)
            };
            let to = self.lanes[lane];
            let tail = self.tail[lane];
            for i in 0..room {
                let from = (self.at.wrapping_add(i) & MASK) as usize;
                let ts = &source.tx[from];
                let mine = ts.word().load(Relaxed) as u32;
                let packet = &source.buffers[0][mine as usize & (SLOTS - 1)];
                if lane == 0 {
                    put(ts, mine, len, 0);
                    let dmac = packet[0].words()[0].load(Relaxed) & MAC_MASK;
                    if table[hash(dmac)].load(Relaxed) & MAC_MASK != dmac {
                        continue;
                    }
                }
                let rs = &to.rx[(tail.wrapping_add(i) & MASK) as usize];
                let buf_idx = rs.word().load(Relaxed) as u32;
                let buffer = &to.buffers[1][buf_idx as usize & (SLOTS - 1)];
                copy_lines(&packet[..lines], &buffer[..lines]);
                put(rs, buf_idx, len, 0);
            }
            if room > 0 {
                self.publish(lane, tail.wrapping_add(room));
            }
        }
        self.at = self.at.wrapping_add(batch);
        batch
    }

    #[inline(always)]
    fn publish(&mut self, lane: usize, tail: u32) {
        self.tail[lane] = tail;
        // SYNC POINT: Release pairs with the Acquire in `Receiver::walk`.
        self.lanes[lane].tail.value.store(tail, Release);
    }
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
            // SYNC POINT: Release pairs with the Acquire in `Sender::room`.
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
    fn every_packet_of_a_pipe_arrives_once_and_buffers_only_change_places() {
        let board = Board::new().unwrap();
        prepare(&board, DMAC);
        let mut sender = Sender::new(&board, &[0]).unwrap();
        let mut receiver = Receiver::new(&board, &[0]).unwrap();
        let (mut sent, mut got, mut bytes) = (0u32, 0, 0);
        for round in 0..3000u32 {
            sent += sender.pipe(64, 60);
            if round % 7 == 0 {
                let (n, b) = receiver.walk();
                (got, bytes) = (got + n, bytes + b);
            }
        }
        let (n, b) = receiver.walk();
        assert_eq!(got + n, sent);
        assert_eq!(bytes + b, u64::from(sent) * 60);
        assert!(sent > 2048);
        let lane = board.lane(0).unwrap();
        let mut seen = vec![0; SLOTS];
        for slot in lane.tx.iter().chain(&lane.rx) {
            seen[slot.buf_idx.load(Relaxed) as usize] += 1;
        }
        assert!(seen.iter().all(|n| *n == 2));
    }

    #[test]
    fn packets_reach_every_receiver_of_the_switch_whole() {
        let board = Board::new().unwrap();
        prepare(&board, DMAC);
        let source = board.lane(0).unwrap();
        source.buffers[0][0][1].words()[7].store(77, Relaxed);
        let mut sender = Sender::new(&board, &[0, 1, 2]).unwrap();
        assert_eq!(sender.vale(&board, 8, 128), 8);
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
        let mut sender = Sender::new(&board, &[0]).unwrap();
        let sent: u32 = (0..2000).map(|_| sender.vale(&board, 1, 60)).sum();
        assert_eq!(sent, MASK);
    }
}
