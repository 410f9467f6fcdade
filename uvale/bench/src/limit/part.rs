//! The parts that workers of the limit play.

use serde::{Deserialize, Serialize};

use super::prepare;
use crate::board::Board;

/// The parts there are. Lanes are numbers on the board.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Part {
    /// sends slots through a pipe
    Pipe { lane: usize, batch: u32, len: u16 },
    /// sends into a switch, packets to one of `dmacs` after the other
    Vale {
        lanes: Vec<usize>,
        batch: u32,
        len: u16,
        dmacs: Vec<u64>,
    },
    /// sends packets by `memcpy`
    Memcpy { lane: usize, batch: u32, len: u32 },
    /// receives, packets of several slots if `chains`
    Receive { lanes: Vec<usize>, chains: bool },
    /// one of those above with one lane, and what each of its syncs owes, over a pipe or a switch
    Synced { part: Box<Part>, pipe: bool },
    /// stations of a chain of forwarding programs, which a processor does in turns
    Chain {
        lanes: Vec<usize>,
        stations: core::ops::Range<usize>,
        batch: u32,
        len: u16,
        copy: bool,
    },
    /// one of these stations, a process that sleeps while it can do nothing
    Station {
        lanes: Vec<usize>,
        number: usize,
        batch: u32,
        len: u16,
        copy: bool,
    },
    /// uses so many ports at random
    Exchange { ports: usize, batch: u32, len: u16 },
}

impl Part {
    /// Does it count packets that arrive?
    pub fn receives(&self) -> bool {
        match self {
            Self::Pipe { .. } | Self::Vale { .. } | Self::Memcpy { .. } => false,
            Self::Receive { .. } | Self::Exchange { .. } => true,
            Self::Synced { part, .. } => part.receives(),
            Self::Chain {
                lanes, stations, ..
            } => stations.contains(&lanes.len()),
            Self::Station { lanes, number, .. } => *number == lanes.len(),
        }
    }

    /// Does it sleep while it can do nothing?
    pub fn blocks(&self) -> bool {
        matches!(self, Self::Station { .. })
    }

    /// Puts the lanes that it uses into their first state; before any worker starts.
    pub fn prepare(&self, board: &Board) -> Result<(), String> {
        let (lanes, dmacs): (&[usize], &[u64]) = match self {
            Self::Pipe { lane, .. } | Self::Memcpy { lane, .. } => {
                (core::slice::from_ref(lane), &[])
            }
            Self::Vale { lanes, dmacs, .. } => (lanes, dmacs),
            Self::Receive { .. } | Self::Exchange { .. } => (&[], &[]),
            Self::Synced { part, .. } => return part.prepare(board),
            Self::Chain { lanes, .. } | Self::Station { lanes, .. } => (lanes, &[]),
        };
        for lane in lanes {
            prepare(board.lane(*lane).ok_or(NO_LANE)?, board.table(), dmacs);
        }
        Ok(())
    }
}

/// Said where the board is too small.
pub const NO_LANE: &str = "the limit has no more lanes";
