//! A worker that syncs a port by system calls of its own, as a program does that no preloaded library reaches.

use nm_abi::{NIOCRXSYNC, NIOCTXSYNC};

use super::raw;
use crate::addresses::{ALL, SENDER};
use crate::board::Stage;
use crate::port::Port;

/// Syncs of the sender between two of the receiver. Slots are given back by the sync after the one that has shown
/// them, and so a ring of 1024 always has room.
const BETWEEN: u32 = 256;

/// Syncs a port of that switch, with one packet each time, which reaches another port, or with none.
pub fn sync(stage: &Stage<'_>, switch: &str, with_packet: bool) -> Result<(), String> {
    let (sender, receiver) = (
        Port::open(&format!("{switch}:tx"))?,
        Port::open(&format!("{switch}:rx"))?,
    );
    let (mut tx, mut rx) = (sender.tx()?, receiver.rx()?);
    tx.address(&[(ALL, SENDER)]);
    let sync = |port: &Port, which| raw::sync(port.fd(), which).map_err(|e| format!("sync: {e}"));
    let mut sent = 0;
    stage.perform(|running| {
        stage.count(running, || {
            if !with_packet {
                return sync(&sender, NIOCTXSYNC).map(|()| 1);
            }
            if tx.space() == 0 {
                return Err("a packet was not sent".into());
            }
            tx.fill(1, 60);
            sync(&sender, NIOCTXSYNC)?;
            sent = (sent + 1) % BETWEEN;
            if sent != 0 {
                return Ok(1);
            }
            sync(&receiver, NIOCRXSYNC)?;
            match rx.drain().0 {
                BETWEEN => Ok(2),
                other => Err(format!("{other} of {BETWEEN} packets arrived")),
            }
        })
    })
}
