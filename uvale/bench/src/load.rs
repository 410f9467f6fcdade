//! Latency one way under load: a sender that sends each packet when it is due, and a receiver that compares the time
//! in each packet with its own clock.
//!
//! The time in a packet is when it was due, not when it was sent: what waits because its sender has fallen behind is
//! late, too. Both processes are on one machine and read one clock.

use core::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use super::board::Stage;
use super::port::{Opening, Port};
use super::wake::{STAMP, now};

/// Most packets between two syncs.
pub const MOST: u32 = 256;
/// Bytes of each.
pub const LEN: u16 = 60;
/// Longest wait in one poll.
const TIMEOUT_MS: i32 = 100;

/// A sender.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pacing {
    pub port: Opening,
    /// destination and source
    pub flow: (u64, u64),
    /// packets a second; 0: as many as it can
    pub per_second: f64,
}

/// A receiver.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Timing {
    pub port: Opening,
    pub mac: u64,
    /// wait in poll, instead of a loop of NIOCRXSYNC
    pub blocking: bool,
}

/// Sends packets when they are due.
pub fn pace(stage: &Stage<'_>, what: &Pacing) -> Result<(), String> {
    let port = Port::open_as(&what.port)?;
    let mut ring = port.tx()?;
    ring.address(&[what.flow]);
    let per_ns = what.per_second / 1e9;
    stage.perform(|running| {
        let start = now();
        let mut sent = 0u64;
        stage.count(running, || {
            let time = now();
            let due = match what.per_second {
                0.0 => MOST,
                _ => {
                    let due = ((time - start) as f64 * per_ns) as u64;
                    due.saturating_sub(sent).min(MOST.into()) as u32
                }
            };
            let n = due.min(ring.space());
            for i in 0..n {
                let stamp = match what.per_second {
                    0.0 => time,
                    _ => start + ((sent + 1 + u64::from(i)) as f64 / per_ns) as u64,
                };
                let slot = (ring.head() + i) % ring.num_slots();
                if let Some(words) = ring.packet(slot) {
                    words[STAMP].store(stamp, Relaxed);
                }
            }
            if n > 0 {
                ring.fill(n, LEN);
                sent += u64::from(n);
                port.txsync()?;
            } else if due > 0 {
                port.txsync()?;
            }
            Ok(n)
        })
    })
}

/// Says how old each packet is.
pub fn time(stage: &Stage<'_>, what: &Timing) -> Result<(), String> {
    let port = Port::open_as(&what.port)?;
    port.introduce(&[what.mac])?;
    let mut ring = port.rx()?;
    let latencies = &stage.me().latencies;
    stage.perform(|running| {
        stage.count(running, || {
            if what.blocking {
                port.wait(TIMEOUT_MS)?;
            } else {
                port.rxsync()?;
            }
            let n = ring.space();
            if n == 0 {
                return Ok(0);
            }
            let time = now();
            for i in 0..n {
                let slot = (ring.head() + i) % ring.num_slots();
                if let Some(words) = ring.packet(slot) {
                    latencies.add(time.saturating_sub(words[STAMP].load(Relaxed)));
                }
            }
            Ok(ring.drain().0)
        })
    })
}
