//! The receiver of the limit loops.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use nm_abi::NS_MOREFRAG;

use super::MASK;
use crate::board::{Board, Lane};
use crate::raw::copy_slot;

/// A receiver's part.
pub struct Receiver<'a> {
    lanes: Vec<&'a Lane>,
    heads: Vec<u32>,
    chains: bool,
}

impl<'a> Receiver<'a> {
    /// A receiver from `lanes` of the board; may packets take several slots (`chains`)?
    pub fn new(board: &'a Board, lanes: &[usize], chains: bool) -> Option<Self> {
        let lanes = lanes
            .iter()
            .map(|i| board.lane(*i))
            .collect::<Option<Vec<_>>>()?;
        let heads = vec![0; lanes.len()];
        Some(Self {
            lanes,
            heads,
            chains,
        })
    }

    /// Reads what has arrived on every lane and gives it back: packets, and the sum of their
    /// lengths so that no read is optimised away.
    #[inline(always)]
    pub fn walk(&mut self) -> (u32, u64) {
        self.walk_and(|_, _, _| ())
    }

    /// The same, and copies the slots back to the sender's ring.
    #[inline(always)]
    pub fn walk_and_return(&mut self) -> (u32, u64) {
        self.walk_and(|lane, head, n| {
            for i in 0..n {
                let at = (head.wrapping_add(i) & MASK) as usize;
                copy_slot(&lane.rx[at], &lane.tx[at], true);
            }
        })
    }

    #[inline(always)]
    fn walk_and(&mut self, and: impl Fn(&Lane, u32, u32)) -> (u32, u64) {
        let (mut packets, mut bytes) = (0, 0);
        for (lane, head) in self.lanes.iter().zip(&mut self.heads) {
            // SYNC POINT: Acquire pairs with the Release in `Sender::publish`.
            let tail = lane.tail.value.load(Acquire);
            let n = tail.wrapping_sub(*head);
            if n == 0 {
                continue;
            }
            let mut more = 0;
            for i in 0..n {
                let slot = &lane.rx[(head.wrapping_add(i) & MASK) as usize];
                bytes += u64::from(slot.len.load(Relaxed));
                if self.chains {
                    more += u32::from(slot.flags.load(Relaxed) & NS_MOREFRAG != 0);
                }
            }
            and(lane, *head, n);
            packets += n - more;
            *head = tail;
            // SYNC POINT: Release pairs with the Acquire in `Sender::ask`.
            lane.head.value.store(tail, Release);
        }
        (packets, bytes)
    }
}
