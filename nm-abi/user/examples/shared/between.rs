//! A function between two ports: it judges each packet, and what passes goes out at the other port.

use std::error::Error;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use nm_user::{Interest, Open, Port, wait};

use super::ending;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes out at the other port.
    Pass,
    /// It goes back to where it came from. Used by functions that turn a question into its answer.
    #[allow(dead_code, reason = "not every function answers")]
    Answer,
    Drop,
}

impl Verdict {
    #[allow(dead_code, reason = "not every function refuses")]
    pub fn pass_if(may_pass: bool) -> Self {
        if may_pass { Self::Pass } else { Self::Drop }
    }
}

/// A function under way. `head` is what the first buffer of a packet holds: all of it, or at least its headers. A
/// function may change it where it lies. `now` is when the packet was taken out of its ring.
pub trait Function {
    /// A packet that has come in at the first port.
    fn forth(&mut self, head: &mut [u8], now: Instant) -> Verdict;
    /// A packet that has come in at the second port.
    fn back(&mut self, head: &mut [u8], now: Instant) -> Verdict;
}

/// What became of packets.
#[derive(Default)]
pub struct Counts {
    passed: u64,
    answered: u64,
    refused: u64,
    /// longer than the whole ring, or answers that met a full one
    lost: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            answered,
            refused,
            lost,
        } = self;
        write!(
            out,
            "{passed} packets passed, {answered} answered, {refused} refused, {lost} lost"
        )
    }
}

/// Runs a function until SIGINT or SIGTERM.
pub fn run(
    function: &mut impl Function,
    first: &str,
    second: &str,
) -> Result<Counts, Box<dyn Error>> {
    let ended = ending::flag()?;
    let mut a = Port::open(first)?;
    // In one memory packets move by exchanging buffers; where that cannot be had they are copied.
    let mut b = Open::new().memory_of(&a).open(second)?;
    let mut counts = Counts::default();
    let (mut a_waits, mut b_waits) = (false, false);
    while !ended.load(Relaxed) {
        // This also sends what the last round has put into tx rings.
        let a_watch = a.watch(interest(a_waits, b_waits));
        let b_watch = b.watch(interest(b_waits, a_waits));
        wait(&mut [a_watch, b_watch], Some(ending::TICK))?;
        let now = Instant::now();
        a_waits = carry(&mut a, &mut b, &mut counts, |head| {
            function.forth(head, now)
        });
        b_waits = carry(&mut b, &mut a, &mut counts, |head| function.back(head, now));
    }
    a.sync_tx()?;
    b.sync_tx()?;
    Ok(counts)
}

/// Judges the packets that have come in at `from`. True if some are left, because `to` has no room for them.
fn carry(
    from: &mut Port,
    to: &mut Port,
    counts: &mut Counts,
    mut judge: impl FnMut(&mut [u8]) -> Verdict,
) -> bool {
    let mut is_left = false;
    let outs = to.tx_rings().len().max(1);
    let (mut own, rings) = from.rings();
    for (i, mut rx) in rings.enumerate() {
        let mut own = own.next();
        let Some(mut out) = to.tx(i % outs) else {
            continue;
        };
        while let Some(mut packet) = rx.next_packet() {
            // First the room, then the judgement: a function sees each packet once.
            if !out.has_room(packet.slots().min(out.slots())) {
                is_left = true;
                break;
            }
            let (way, count) = match judge(packet.bytes_mut()) {
                Verdict::Pass => (Some(&mut out), &mut counts.passed),
                Verdict::Answer => (own.as_mut(), &mut counts.answered),
                Verdict::Drop => {
                    counts.refused += 1;
                    packet.take();
                    continue;
                }
            };
            // All buffers of a long packet go together.
            if way.is_some_and(|tx| packet.forward_to(tx).is_ok()) {
                *count += 1;
            } else {
                counts.lost += 1;
                if let Some(packet) = rx.next_packet() {
                    packet.take();
                }
            }
        }
    }
    is_left
}

/// A port is looked at for packets, unless those that are here wait for room; and for room that others wait for.
fn interest(own_wait: bool, others_wait: bool) -> Interest {
    let packets = if own_wait {
        Interest::NONE
    } else {
        Interest::RX
    };
    let room = if others_wait {
        Interest::TX
    } else {
        Interest::NONE
    };
    packets | room
}
