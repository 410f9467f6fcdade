//! What a kick costs the guest: packets with pauses in which the host falls asleep.

use std::time::{Duration, Instant};

use uvale_wire::ptnet::ring::Ring;

use crate::moves::{End, Limits};
use crate::numbered::Stream;

/// What kicks have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// How many there were.
    pub kicks: u64,
    /// Time that the guest spent in the syncs with a kick.
    pub time: Duration,
}

/// Sends packets of `stream` by `ring`, each `pause` after the one before, until the host was kicked `count` times.
///
/// # Errors
/// A sentence about the host.
pub fn measure(
    ring: &mut Ring<'_>,
    stream: &mut Stream,
    count: u64,
    pause: Duration,
    limits: &Limits<'_>,
) -> Result<(Cost, End), String> {
    let mut cost = Cost::default();
    let mut last = Instant::now();
    while cost.kicks < count {
        std::thread::sleep(pause);
        if (limits.ended)() {
            return Ok((cost, End::Asked));
        }
        if last.elapsed() > limits.patience {
            return Ok((cost, End::Quiet));
        }
        ring.glance()?;
        let mut slots = ring.slots();
        if !slots.put(stream.packet()) {
            continue;
        }
        stream.advance();
        let before = ring.kicks();
        let begun = Instant::now();
        ring.sync(slots.at())?;
        if ring.kicks() > before {
            cost.kicks += 1;
            cost.time += begun.elapsed();
            last = Instant::now();
        }
    }
    Ok((cost, End::Done))
}
