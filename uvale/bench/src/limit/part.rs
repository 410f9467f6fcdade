//! What a worker of the limit does.

use serde::{Deserialize, Serialize};
use std::hint::black_box;

use super::chain::Stations;
use super::exchange::Exchange;
use super::receiver::Receiver;
use super::station::Station;
use super::synced::Synced;
use super::{Flooder, Sender, prepare};
use crate::board::{Board, Stage};

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

const NO_LANE: &str = "the limit has no more lanes";

/// Does it, whenever the group runs.
pub fn perform(stage: &Stage<'_>, board: &Board, part: &Part) -> Result<(), String> {
    let table = board.table();
    match part {
        Part::Pipe { lane, batch, len } => {
            let mut sender = Sender::new(board, *lane).ok_or(NO_LANE)?;
            let (batch, len) = (*batch, *len);
            stage.perform(|running| stage.count(running, || Ok(sender.pipe(batch, len))))
        }
        Part::Memcpy { lane, batch, len } => {
            let mut sender = Sender::new(board, *lane).ok_or(NO_LANE)?;
            let (batch, len) = (*batch, *len);
            stage.perform(|running| stage.count(running, || Ok(sender.memcpy(batch, len))))
        }
        Part::Vale {
            lanes, batch, len, ..
        } => {
            let (batch, len) = (*batch, *len);
            if let [lane] = lanes[..] {
                let mut sender = Sender::new(board, lane).ok_or(NO_LANE)?;
                return stage.perform(|running| {
                    stage.count(running, || Ok(sender.vale(table, batch, len)))
                });
            }
            let mut sender = Flooder::new(board, lanes).ok_or(NO_LANE)?;
            stage.perform(|running| stage.count(running, || Ok(sender.vale(table, batch, len))))
        }
        Part::Synced { part, pipe } => {
            let mut loops = Synced::new(board, part, *pipe).ok_or(NO_LANE)?;
            stage.perform(|running| stage.count(running, || Ok(loops.step(table))))
        }
        Part::Receive { lanes, chains } => {
            let mut receiver = Receiver::new(board, lanes, *chains).ok_or(NO_LANE)?;
            stage.perform(|running| {
                stage.count(running, || {
                    let (packets, bytes) = receiver.walk();
                    black_box(bytes);
                    if packets == 0 {
                        std::hint::spin_loop();
                    }
                    Ok(packets)
                })
            })
        }
        Part::Chain {
            lanes,
            stations,
            batch,
            len,
            copy,
        } => {
            let shape = (*batch, *len);
            let made = Stations::new(board, lanes, stations.clone(), shape, *copy);
            let mut stations = made.ok_or(NO_LANE)?;
            stage.perform(|running| stage.count(running, || Ok(stations.step())))
        }
        Part::Station {
            lanes,
            number,
            batch,
            len,
            copy,
        } => {
            let made = Station::new(board, lanes, *number, (*batch, *len), *copy);
            let mut station = made.ok_or(NO_LANE)?;
            stage.perform(|running| stage.count(running, || Ok(station.step())))
        }
        Part::Exchange { ports, batch, len } => {
            let mut exchange = Exchange::new(*ports, table)?;
            let (batch, len) = (*batch, *len);
            stage.perform(|running| stage.count(running, || Ok(exchange.step(table, batch, len))))
        }
    }
}
