//! A chain of forwarding programs between a sender and a receiver, each two of which share a lane as a pipe. What one
//! process does is its stations in turn, so that however many there are, none waits for a processor.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::receiver::Receiver;
use super::{MASK, Sender, buffer, copy_slots};
use crate::board::{Board, Lane};
use crate::raw::copy_bytes;

/// Neighbouring stations in one process.
pub struct Stations<'a> {
    sender: Option<Sender<'a>>,
    forwarders: Vec<Forwarder<'a>>,
    receiver: Option<Receiver<'a>>,
    batch: u32,
    len: u16,
}

impl<'a> Stations<'a> {
    /// Stations of a chain over `lanes`: number 0 sends, number `lanes.len()` receives, those between forward.
    pub fn new(
        board: &'a Board,
        lanes: &[usize],
        stations: core::ops::Range<usize>,
        (batch, len): (u32, u16),
        copy: bool,
    ) -> Option<Self> {
        let forwards = stations.clone().filter(|i| (1..lanes.len()).contains(i));
        let forwarder = |i: usize| Forwarder::new(board, lanes[i - 1], lanes[i], copy);
        let sends = stations.contains(&0);
        let receives = stations.contains(&lanes.len());
        let (first, last) = (*lanes.first()?, *lanes.last()?);
        Some(Self {
            sender: if sends {
                Some(Sender::new(board, first)?)
            } else {
                None
            },
            forwarders: forwards.map(forwarder).collect::<Option<_>>()?,
            receiver: if receives {
                Some(Receiver::new(board, &[last], false)?)
            } else {
                None
            },
            batch,
            len,
        })
    }

    /// Each of them once; packets that the last one received, or the first one sent if the last one is elsewhere.
    #[inline(always)]
    pub fn step(&mut self) -> u32 {
        let sent = match &mut self.sender {
            Some(sender) => sender.pipe(self.batch, self.len),
            None => 0,
        };
        for forwarder in &mut self.forwarders {
            forwarder.step();
        }
        match &mut self.receiver {
            Some(receiver) => receiver.walk().0,
            None => sent,
        }
    }
}

struct Forwarder<'a> {
    from: &'a Lane,
    head: u32,
    to: Sender<'a>,
    copy: bool,
}

impl<'a> Forwarder<'a> {
    fn new(board: &'a Board, from: usize, to: usize, copy: bool) -> Option<Self> {
        Some(Self {
            from: board.lane(from)?,
            head: 0,
            to: Sender::new(board, to)?,
            copy,
        })
    }

    #[inline(always)]
    fn step(&mut self) {
        // SYNC POINT: Acquire pairs with the Release in `Sender::publish`.
        let n = self.from.tail.value.load(Acquire).wrapping_sub(self.head);
        if n == 0 || !self.to.has_room(n) {
            return;
        }
        let (lane, tail) = (self.to.lane, self.to.tail);
        for i in 0..n {
            let from = &self.from.rx[(self.head.wrapping_add(i) & MASK) as usize];
            let to = &lane.tx[(tail.wrapping_add(i) & MASK) as usize];
            let len = from.len.load(Relaxed);
            to.len.store(len, Relaxed);
            to.flags.store(0, Relaxed);
            if self.copy {
                let packet = buffer(&self.from.buffers[0], from);
                let _ = copy_bytes(packet, buffer(&lane.buffers[0], to), len.into());
            } else {
                let ours = from.buf_idx.load(Relaxed);
                from.buf_idx.store(to.buf_idx.load(Relaxed), Relaxed);
                to.buf_idx.store(ours, Relaxed);
            }
        }
        copy_slots(lane, tail, n);
        self.to.publish(n);
        self.head = self.head.wrapping_add(n);
        // SYNC POINT: Release pairs with the Acquire in `Sender::ask`.
        self.from.head.value.store(self.head, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::prepare;

    #[test]
    fn every_packet_passes_every_station() {
        for copy in [false, true] {
            let board = Board::new().unwrap();
            for lane in 0..3 {
                prepare(board.lane(lane).unwrap(), board.table(), &[]);
            }
            let first = board.lane(0).unwrap();
            first.buffers[0][5][0].words()[3].store(99, Relaxed);
            let stations = |range| Stations::new(&board, &[0, 1, 2], range, (8, 60), copy).unwrap();
            let (mut near, mut far) = (stations(0..2), stations(2..4));
            let (mut sent, mut received) = (0, 0);
            for _ in 0..1000 {
                sent += near.step();
                received += far.step();
            }
            received += far.step();
            assert_eq!((sent, received), (8000, 8000), "{copy}");
            let last = board.lane(2).unwrap();
            let arrived = |lane: &Lane| lane.buffers[0][5][0].words()[3].load(Relaxed);
            assert_eq!(
                arrived(last) == 99,
                copy,
                "only a copy is in the last one's buffers"
            );
        }
    }
}
