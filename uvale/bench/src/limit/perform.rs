//! What a worker of the limit does.

use std::hint::black_box;

use super::chain::Stations;
use super::exchange::Exchange;
use super::part::{NO_LANE, Part};
use super::receiver::Receiver;
use super::station::Station;
use super::synced::Synced;
use super::{Flooder, Sender};
use crate::board::{Board, Stage};

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
