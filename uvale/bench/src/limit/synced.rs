//! The limit of syncs: the same loops, and what each sync owes whatever it moves.
//!
//! | because | a sync that sends | a sync that receives |
//! |---|---|---|
//! | others may sync the same ring | locks its ring | locks its ring |
//! | several send to one receiver (VALE) | locks the receiver's ring | |
//! | `tail` says what is free when it returns | loads the receiver's index | |
//! | buffers come back with the slots that name them (pipe) | | copies slots back |
//! | no wake-up may be lost | exchanges the sleepers' mask after it has published | the same (pipe) |
//! | rx rings have a time stamp | | asks the clock |

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::hint::black_box;
use std::time::SystemTime;

use super::Sender;
use super::part::Part;
use super::receiver::Receiver;
use crate::board::{Board, Lane, Table, Word};

/// Loops of one side.
pub struct Synced<'a> {
    lane: &'a Lane,
    side: Side<'a>,
}

enum Side<'a> {
    Pipe(Sender<'a>, u32, u16),
    Vale(Sender<'a>, u32, u16),
    Receive(Receiver<'a>, bool),
}

impl<'a> Synced<'a> {
    /// Those of `part`, if it is one that has a single lane; of a pipe or a switch.
    pub fn new(board: &'a Board, part: &Part, pipe: bool) -> Option<Self> {
        let (lane, side) = match part {
            Part::Pipe { lane, batch, len } => {
                let sender = Sender::new(board, *lane)?;
                (*lane, Side::Pipe(sender, *batch, *len))
            }
            Part::Vale {
                lanes, batch, len, ..
            } => {
                let lane = *lanes.first()?;
                (lane, Side::Vale(Sender::new(board, lane)?, *batch, *len))
            }
            Part::Receive { lanes, chains } => {
                let receiver = Receiver::new(board, lanes, *chains)?;
                (*lanes.first()?, Side::Receive(receiver, pipe))
            }
            _ => return None,
        };
        Some(Self {
            lane: board.lane(lane)?,
            side,
        })
    }

    /// One sync; how many packets went or came.
    #[inline(always)]
    pub fn step(&mut self, table: &Table) -> u32 {
        let owed = &self.lane.owed;
        let [own, receiving, filling] = &owed.locks;
        let [until_come, until_back] = &owed.sleepers;
        match &mut self.side {
            Side::Pipe(sender, batch, len) => locked(own, || {
                sender.ask();
                let sent = sender.pipe(*batch, *len);
                wake(until_come, sent);
                sent
            }),
            Side::Vale(sender, batch, len) => locked(own, || {
                sender.ask();
                let sent = locked(filling, || sender.vale(table, *batch, *len));
                wake(until_come, sent);
                sent
            }),
            Side::Receive(receiver, pipe) => locked(receiving, || {
                let (packets, bytes) = match pipe {
                    true => receiver.walk_and_return(),
                    false => receiver.walk(),
                };
                black_box((bytes, SystemTime::now()));
                if *pipe {
                    wake(until_back, packets);
                }
                packets
            }),
        }
    }
}

/// Does it with the lock held, which nobody else ever takes.
#[inline(always)]
fn locked(lock: &Word, what: impl FnOnce() -> u32) -> u32 {
    while lock.value.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
        core::hint::spin_loop();
    }
    let moved = what();
    lock.value.store(0, Release);
    moved
}

/// Takes the mask of those who sleep, of whom there are none, if something has moved.
#[inline(always)]
fn wake(sleepers: &Word, moved: u32) {
    if moved > 0 {
        black_box(sleepers.value.swap(0, AcqRel));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::prepare;

    #[test]
    fn every_packet_arrives_and_all_locks_are_free() {
        const DMAC: u64 = 0x0200_0000_0002;
        let board = Board::new().unwrap();
        for vale in [false, true] {
            let (lane, batch, len) = (usize::from(vale), 8, 60);
            let at = board.lane(lane).unwrap();
            prepare(at, board.table(), &[DMAC]);
            let sender = match vale {
                false => Part::Pipe { lane, batch, len },
                true => Part::Vale {
                    lanes: vec![lane],
                    batch,
                    len,
                    dmacs: vec![DMAC],
                },
            };
            let receiver = Part::Receive {
                lanes: vec![lane],
                chains: false,
            };
            let mut sender = Synced::new(&board, &sender, !vale).unwrap();
            let mut receiver = Synced::new(&board, &receiver, !vale).unwrap();
            let (mut sent, mut came) = (0, 0);
            for round in 0..1000 {
                sent += sender.step(board.table());
                if round % 3 == 0 {
                    came += receiver.step(board.table());
                }
            }
            came += receiver.step(board.table());
            assert!(sent > 2000, "{sent}");
            assert_eq!(sent, came);
            let locks = at.owed.locks.iter().map(|lock| lock.value.load(Relaxed));
            assert_eq!(locks.sum::<u32>(), 0);
        }
    }

    #[test]
    fn only_loops_with_one_lane_have_syncs() {
        let board = Board::new().unwrap();
        let part = Part::Exchange {
            ports: 2,
            batch: 1,
            len: 60,
        };
        assert!(Synced::new(&board, &part, true).is_none());
    }
}
