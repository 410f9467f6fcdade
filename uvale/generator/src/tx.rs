//! `-f tx` and `-f txseq`: generated packets as fast as the rings take them, or at a rate.
//!
//! The fast path sends one fixed packet. Each buffer gets the packet once; after that only length
//! and flags of the slots are set, unless netmap put another buffer into the slot.

use std::time::{Duration, Instant};

use nm_abi::{NS_BUF_CHANGED, NS_INDIRECT, NS_REPORT};

use super::config::Config;
use super::dump;
use super::endpoint::{Device, Endpoint, TICK, Worker, monotonic};
use super::memory::Ring;
use super::pacer::Pacer;
use super::slots::{bad_tx_slot, fragment_len, put, slots_for};
use super::stats::Outcome;
use super::stream::Stream;
use super::tally::Tally;
use uvale_tools::output;

/// How packets get into slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fill {
    /// Buffers stay as they are.
    Rubbish,
    /// Slots point to the packet.
    Indirect,
    /// The same packet in one slot each.
    Fixed,
    /// Changing packets in one slot each.
    Changing,
    /// Packets of several slots.
    Chains,
}

/// The buffer of a slot that is known to exist and to hold the packet.
type Held = Option<u32>;

/// Packets and how to send them.
struct Sender<'a> {
    config: &'a Config,
    stream: Stream,
    fill: Fill,
    /// Bytes per fragment of the largest packet.
    fragment: usize,
    /// By ring and slot: the buffer that holds the packet already.
    holds: Vec<Vec<Held>>,
}

impl<'a> Sender<'a> {
    fn new<D: Device>(worker: &Worker<'a>, endpoint: &Endpoint<D>) -> Result<Self, String> {
        let config = worker.config;
        let stream = Stream::new(config, endpoint.header, worker.index)?;
        let buffer = endpoint
            .tx
            .iter()
            .map(Ring::buf_size)
            .min()
            .ok_or("this descriptor has no tx ring")?;
        let fragment = fragment_len(
            stream.max_len(),
            config.fragments,
            config.fragment_size.min(buffer),
        );
        let slots = slots_for(stream.max_len(), fragment);
        let fill = match () {
            () if slots > 1 => Fill::Chains,
            () if config.rubbish => Fill::Rubbish,
            () if config.indirect => Fill::Indirect,
            () if stream.changes() || config.always_copy || config.dump => Fill::Changing,
            () => Fill::Fixed,
        };
        if slots > 1 && (config.indirect || config.rubbish) {
            return Err(format!(
                "packets of {} bytes need {slots} slots of {buffer} bytes; -I and -r send single slots",
                stream.max_len()
            ));
        }
        if config.indirect && endpoint.tx.iter().any(Ring::has_offsets) {
            return Err("-I: this port's slots hold offsets, so they cannot hold addresses".into());
        }
        check_room(&endpoint.tx, slots)?;
        let holds = endpoint
            .tx
            .iter()
            .map(|ring| vec![None; ring.num_slots() as usize])
            .collect();
        Ok(Sender {
            config,
            stream,
            fill,
            fragment,
            holds,
        })
    }

    /// Sends up to `quota` packets on ring number `index`.
    fn fill(
        &mut self,
        index: usize,
        ring: &mut Ring,
        quota: u64,
        tally: &mut Tally,
    ) -> Result<u64, String> {
        let space = ring.space()?;
        let tail = ring.tail()?;
        let quota32 = u32::try_from(quota).unwrap_or(u32::MAX);
        let before = (ring.head(), tally.packets);
        let next = match self.fill {
            Fill::Chains => self.chains(ring, space, quota, tally)?,
            _ => {
                let count = space.min(quota32);
                let holds = self.holds.get_mut(index).ok_or("a ring without records")?;
                let next = match self.fill {
                    Fill::Fixed => fixed(ring, holds, self.stream.frame(), count)?,
                    Fill::Changing => {
                        changing(ring, holds, &mut self.stream, self.config, count, tally)?
                    }
                    Fill::Rubbish => rubbish(ring, self.stream.frame().len(), count),
                    _ => indirect(ring, self.stream.frame(), count),
                };
                tally.packets += u64::from(count);
                tally.slots += u64::from(count);
                if self.fill != Fill::Changing {
                    tally.bytes += u64::from(count) * self.stream.packet_len() as u64;
                }
                next
            }
        };
        let sent = tally.packets - before.1;
        // without room for more: wake us when netmap has moved the tail
        ring.publish(next, if sent < quota { tail } else { next });
        Ok(sent)
    }

    /// Packets of several slots, as many as fit whole.
    fn chains(
        &mut self,
        ring: &mut Ring,
        space: u32,
        quota: u64,
        tally: &mut Tally,
    ) -> Result<u32, String> {
        let (mut i, mut room, mut sent) = (ring.head(), space as usize, 0);
        while sent < quota {
            let needed = slots_for(self.stream.frame().len(), self.fragment);
            if needed > room {
                break;
            }
            i = put(ring, i, self.stream.frame(), self.fragment, NS_REPORT)?;
            if self.config.dump {
                dump::packet(self.stream.frame())?;
            }
            room -= needed;
            sent += 1;
            tally.slots += needed as u64;
            tally.bytes += self.stream.packet_len() as u64;
            self.stream.advance();
        }
        tally.packets += sent;
        Ok(i)
    }
}

/// A packet of `slots` slots must fit into the emptiest ring.
pub fn check_room(rings: &[Ring], slots: usize) -> Result<(), String> {
    let least = rings.iter().map(Ring::num_slots).min().unwrap_or(0);
    if slots as u64 > u64::from(least.saturating_sub(1)) {
        return Err(format!(
            "a packet needs {slots} slots, but a ring has {least}, of which one stays free"
        ));
    }
    if slots > nm_abi::NETMAP_MAX_FRAGS {
        return Err(format!(
            "a packet needs {slots} slots; netmap allows {}",
            nm_abi::NETMAP_MAX_FRAGS
        ));
    }
    Ok(())
}

/// The same packet in `count` slots: the hot loop.
fn fixed(ring: &mut Ring, holds: &mut [Held], frame: &[u8], count: u32) -> Result<u32, String> {
    let mut i = ring.head();
    let length = frame.len() as u16;
    for left in (0..count).rev() {
        let slot = ring.slot(i);
        let held = &mut holds[i as usize];
        if *held != Some(slot.buf_idx) || slot.flags & NS_BUF_CHANGED != 0 {
            if !ring.write(i, slot, frame) {
                return Err(bad_tx_slot(i, slot));
            }
            *held = Some(slot.buf_idx);
        }
        ring.set_slot(i, length, if left == 0 { NS_REPORT } else { 0 });
        i = ring.next(i);
    }
    Ok(i)
}

/// Changing packets: whole into a new buffer, else only the part that changes.
fn changing(
    ring: &mut Ring,
    holds: &mut [Held],
    stream: &mut Stream,
    config: &Config,
    count: u32,
    tally: &mut Tally,
) -> Result<u32, String> {
    let mut i = ring.head();
    for left in (0..count).rev() {
        let slot = ring.slot(i);
        let held = &mut holds[i as usize];
        let known =
            *held == Some(slot.buf_idx) && slot.flags & NS_BUF_CHANGED == 0 && !config.always_copy;
        // a short packet may not have brought the whole payload into the buffer
        let data = if known {
            stream.changing_part()
        } else {
            stream.whole()
        };
        if !ring.write(i, slot, data) {
            return Err(bad_tx_slot(i, slot));
        }
        *held = Some(slot.buf_idx);
        let frame = stream.frame();
        ring.set_slot(i, frame.len() as u16, if left == 0 { NS_REPORT } else { 0 });
        if config.dump {
            dump::packet(frame)?;
        }
        tally.bytes += stream.packet_len() as u64;
        stream.advance();
        i = ring.next(i);
    }
    Ok(i)
}

/// `count` slots with whatever their buffers hold.
fn rubbish(ring: &mut Ring, length: usize, count: u32) -> u32 {
    let mut i = ring.head();
    for left in (0..count).rev() {
        ring.set_slot(i, length as u16, if left == 0 { NS_REPORT } else { 0 });
        i = ring.next(i);
    }
    i
}

/// `count` slots that point to the packet.
fn indirect(ring: &mut Ring, frame: &[u8], count: u32) -> u32 {
    let mut i = ring.head();
    for left in (0..count).rev() {
        ring.set_indirect(i, frame.as_ptr());
        ring.set_slot(
            i,
            frame.len() as u16,
            NS_INDIRECT | if left == 0 { NS_REPORT } else { 0 },
        );
        i = ring.next(i);
    }
    i
}

/// How long it has been that nobody takes packets (`--linger`).
pub struct Stuck {
    limit: Option<Duration>,
    since: Option<Instant>,
}

impl Stuck {
    /// Nothing is stuck yet.
    pub fn new(limit: Option<Duration>) -> Self {
        Stuck { limit, since: None }
    }

    /// There was room.
    pub fn moved(&mut self) {
        self.since = None;
    }

    /// There is no room; whether that has been so for too long.
    pub fn too_long(&mut self) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.limit.is_some_and(|limit| since.elapsed() >= limit)
    }
}

/// Runs until the count is reached or it is time to end.
pub fn run<D: Device>(worker: &Worker<'_>, endpoint: &mut Endpoint<D>) -> Result<Outcome, String> {
    let config = worker.config;
    let mut sender = Sender::new(worker, endpoint)?;
    let mut pacer = (worker.rate > 0).then(|| Pacer::new(worker.rate, monotonic()));
    let mut tally = Tally::default();
    let mut stuck = Stuck::new(config.linger);
    let start = monotonic();
    while !worker.stopping() && worker.left(tally.packets) > 0 {
        let mut due = worker.left(tally.packets);
        if let Some(pacer) = &mut pacer {
            due = due.min(pacer.due(monotonic()));
            if due == 0 {
                let burst = u64::from(config.burst).min(worker.left(tally.packets));
                worker.sleep(pacer.wait(monotonic(), burst).min(TICK));
                continue;
            }
        }
        let mut sent = 0;
        for (index, ring) in endpoint.tx.iter_mut().enumerate() {
            let quota = u64::from(config.burst).min(due - sent);
            if quota > 0 {
                sent += sender.fill(index, ring, quota, &mut tally)?;
            }
        }
        if sent > 0 {
            tally.batches += 1;
            stuck.moved();
            endpoint.sync_tx()?;
            if let Some(pacer) = &mut pacer {
                pacer.sent(sent);
            }
        } else {
            tally.full += 1;
            if stuck.too_long() {
                break;
            }
            endpoint.wait_tx(config.busy, TICK)?;
        }
        worker.counters.store(&tally);
    }
    let unsent = drain(worker, endpoint, config.linger)?;
    worker.counters.store(&tally);
    Ok(Outcome {
        tally,
        span: Some((start, monotonic())),
        unsent,
        ..Outcome::default()
    })
}

/// Waits until netmap has taken all packets from the tx rings; gives up when nothing has happened
/// for `linger`. Returns how many slots were not taken. (On a pipe, slots are taken when the
/// receiver has released them.)
pub fn drain<D: Device>(
    worker: &Worker<'_>,
    endpoint: &mut Endpoint<D>,
    linger: Option<Duration>,
) -> Result<u64, String> {
    let mut pause = Duration::from_micros(20);
    let (mut last, mut progress) = (u64::MAX, Instant::now());
    let mut told = false;
    loop {
        endpoint.sync_tx()?;
        let mut pending = 0;
        for ring in &endpoint.tx {
            pending += u64::from(ring.num_slots() - 1 - ring.space()?);
        }
        if pending < last {
            (last, progress) = (pending, Instant::now());
            pause = Duration::from_micros(20);
        }
        let silent = progress.elapsed();
        let given_up = linger.is_some_and(|limit| silent >= limit);
        if pending == 0 || given_up || worker.stopping() {
            return Ok(pending);
        }
        if silent >= Duration::from_secs(1) && !told {
            output::line(format_args!(
                "{pending} slots wait to be taken by the receiver; interrupt (or --linger) to give up"
            ));
            told = true;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(2));
    }
}
