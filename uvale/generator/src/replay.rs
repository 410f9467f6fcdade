//! `-f tx --pcap`: sends a capture, packet by packet, once or several times, as fast as possible,
//! at a rate, or with the capture's own distances in time. Packets leave in the order of the
//! capture, so only the first tx ring is used.

use std::path::Path;
use std::time::Duration;

use nm_abi::{NETMAP_MAX_FRAGS, NS_REPORT};

use super::capture::Reader;
use super::captured::{CaptureError, Captured};
use super::config::CaptureConfig;
use super::dump;
use super::endpoint::{Device, Endpoint, TICK, Worker, monotonic};
use super::files::{explain, shown};
use super::memory::Ring;
use super::pacer::Pacer;
use super::slots::{fragment_len, put, slots_for};
use super::stats::Outcome;
use super::tally::Tally;
use super::tx::{Stuck, drain};
use super::verdict::why_early;

/// Captures up to this many bytes are read into memory before the first packet is sent.
const IN_MEMORY: u64 = 256 << 20;

/// Where packets come from.
enum Packets {
    /// A whole capture in memory: bytes, and for each packet where it ends and its time.
    Kept {
        bytes: Vec<u8>,
        index: Vec<(usize, u64)>,
        at: usize,
    },
    /// A file that is read while it is sent.
    Streamed { reader: Reader, packet: Captured },
}

/// A capture being replayed.
struct Source<'a> {
    path: &'a Path,
    packets: Packets,
    /// Rounds after this one, `u64::MAX` for no end.
    rounds: u64,
    /// Packets captured shorter than they were.
    cut: u64,
    /// Packets read of the file.
    whole: u64,
    truncated: bool,
    /// Packets of this round so far.
    position: u64,
}

impl<'a> Source<'a> {
    fn new(capture: &'a CaptureConfig) -> Result<Self, String> {
        let path = capture.path.as_path();
        let reader = Reader::open(path).map_err(|error| explain(path, &error))?;
        let small =
            std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() <= IN_MEMORY);
        let rounds = if capture.repeat == 0 {
            u64::MAX
        } else {
            capture.repeat - 1
        };
        if path == Path::new("-") && rounds > 0 {
            return Err("--loop: standard input can be read only once".into());
        }
        let packets = Packets::Streamed {
            reader,
            packet: Captured::default(),
        };
        let mut source = Source {
            path,
            packets,
            rounds,
            cut: 0,
            whole: 0,
            truncated: false,
            position: 0,
        };
        if small {
            source.keep()?;
        }
        source.step()?;
        Ok(source)
    }

    /// Reads the whole capture into memory.
    fn keep(&mut self) -> Result<(), String> {
        let (mut bytes, mut index) = (Vec::new(), Vec::new());
        while self.read()? {
            if let Packets::Streamed { packet, .. } = &self.packets {
                bytes.extend_from_slice(&packet.data);
                index.push((bytes.len(), packet.nanos));
            }
        }
        self.packets = Packets::Kept {
            bytes,
            index,
            at: usize::MAX,
        };
        Ok(())
    }

    /// Reads the next packet of a streamed capture; false at its end.
    fn read(&mut self) -> Result<bool, String> {
        let Packets::Streamed { reader, packet } = &mut self.packets else {
            return Ok(false);
        };
        match reader.next(packet) {
            Ok(more) => {
                self.cut += u64::from(more && packet.original as usize > packet.data.len());
                self.whole += u64::from(more);
                Ok(more)
            }
            Err(CaptureError::Truncated) => {
                self.truncated = true;
                Ok(false)
            }
            Err(error) => Err(format!(
                "{} (after {} good packets)",
                explain(self.path, &error),
                self.whole
            )),
        }
    }

    /// The packet to send now, its time, and whether it is the first of a round; `None` when all
    /// is sent.
    fn current(&self) -> Option<(&[u8], u64, bool)> {
        let first = self.position == 1;
        match &self.packets {
            _ if self.position == 0 => None,
            Packets::Streamed { packet, .. } => Some((&packet.data, packet.nanos, first)),
            Packets::Kept { bytes, index, at } => {
                let (end, nanos) = *index.get(*at)?;
                let start = if *at == 0 { 0 } else { index[*at - 1].0 };
                Some((&bytes[start..end], nanos, first))
            }
        }
    }

    /// Goes on to the next packet, into the next round if need be.
    fn step(&mut self) -> Result<(), String> {
        if self.forward()? {
            return Ok(());
        }
        let empty = self.position == 0;
        self.position = 0;
        if empty || self.rounds == 0 {
            return Ok(());
        }
        self.rounds -= u64::from(self.rounds != u64::MAX);
        match &mut self.packets {
            Packets::Kept { at, .. } => *at = usize::MAX,
            Packets::Streamed { reader, .. } => {
                *reader = Reader::open(self.path).map_err(|error| explain(self.path, &error))?;
                self.whole = 0;
            }
        }
        self.forward().map(|_| ())
    }

    /// The next packet of this round; false at its end.
    fn forward(&mut self) -> Result<bool, String> {
        let more = match &mut self.packets {
            Packets::Kept { index, at, .. } => {
                *at = at.wrapping_add(1);
                *at < index.len()
            }
            Packets::Streamed { .. } => self.read()?,
        };
        self.position += u64::from(more);
        Ok(more)
    }

    /// Whether there was a packet to begin with.
    fn has_packets(&self) -> Result<(), String> {
        let name = shown(self.path, "standard input");
        match self.position {
            0 if self.truncated => Err(format!("{name} ends within its first packet")),
            0 => Err(format!("{name} holds no packet")),
            _ => Ok(()),
        }
    }

    fn notes(&self) -> Vec<String> {
        let cut = format!(
            "{} packets were captured shorter than they were; the captured part was sent",
            self.cut
        );
        if self.cut > 0 { vec![cut] } else { Vec::new() }
    }

    /// What could not be sent of the capture.
    fn missing(&self, skipped: u64) -> Vec<String> {
        let mut missing = Vec::new();
        if self.truncated {
            missing.push(format!(
                "{} ends in the middle of a packet; the {} whole packets before it are all there is to send",
                shown(self.path, "standard input"),
                self.whole
            ));
        }
        if skipped > 0 {
            missing.push(format!(
                "{skipped} packets were empty or longer than a chain of slots can be, and left out"
            ));
        }
        missing
    }
}

/// When packets are due by the capture's clock.
#[derive(Default)]
struct Schedule {
    /// Capture time of the first packet of the round, and when it was sent.
    base: Option<(u64, u64)>,
}

impl Schedule {
    /// When the packet is due on the monotonic clock.
    fn due(&mut self, nanos: u64, first: bool, now: u64) -> u64 {
        if first && self.base.is_none_or(|(_, sent)| sent != now) {
            self.base = Some((nanos, now));
        }
        let (start, sent) = *self.base.get_or_insert((nanos, now));
        sent.saturating_add(nanos.saturating_sub(start))
    }
}

/// Why a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// It is as large as it may be.
    Quota,
    /// The ring has too little room for the next packet.
    Room,
    /// The next packet is due at this time.
    Due(u64),
    /// Everything is sent.
    End,
}

struct Replay<'a> {
    worker: &'a Worker<'a>,
    source: Source<'a>,
    schedule: Option<Schedule>,
    frame: Vec<u8>,
    header: usize,
}

impl Replay<'_> {
    /// Puts up to `quota` packets into the ring and publishes them.
    fn batch(
        &mut self,
        ring: &mut Ring,
        quota: u64,
        tally: &mut Tally,
    ) -> Result<(u64, Stop), String> {
        let config = self.worker.config;
        let tail = ring.tail()?;
        let (mut room, mut next, mut sent) = (ring.space()? as usize, ring.head(), 0);
        let most = NETMAP_MAX_FRAGS.min(ring.num_slots() as usize - 1);
        let limit = ring.buf_size().min(config.fragment_size);
        let stop = loop {
            if sent == quota {
                break Stop::Quota;
            }
            let Some((data, nanos, first)) = self.source.current() else {
                break Stop::End;
            };
            let length = self.header + data.len();
            let fragment = fragment_len(length, config.fragments, limit);
            let slots = slots_for(length, fragment);
            if data.is_empty() || slots > most {
                tally.skipped += 1;
                self.source.step()?;
                continue;
            }
            if let Some(schedule) = &mut self.schedule {
                let now = monotonic();
                let due = schedule.due(nanos, first, now);
                if due > now {
                    break Stop::Due(due);
                }
            }
            if slots > room {
                break Stop::Room;
            }
            let frame = if self.header == 0 {
                data
            } else {
                self.frame.truncate(self.header);
                self.frame.extend_from_slice(data);
                &self.frame
            };
            next = put(ring, next, frame, fragment, NS_REPORT)?;
            if config.dump {
                dump::packet(frame)?;
            }
            tally.bytes += data.len() as u64;
            tally.slots += slots as u64;
            room -= slots;
            sent += 1;
            self.source.step()?;
        };
        tally.packets += sent;
        ring.publish(next, if stop == Stop::Room { tail } else { next });
        Ok((sent, stop))
    }
}

/// Runs until the capture is sent as often as asked for, or it is time to end.
pub fn run<D: Device>(
    worker: &Worker<'_>,
    endpoint: &mut Endpoint<D>,
    capture: &CaptureConfig,
) -> Result<Outcome, String> {
    let config = worker.config;
    let source = Source::new(capture)?;
    source.has_packets()?;
    let mut replay = Replay {
        worker,
        source,
        schedule: capture.timing.then(Schedule::default),
        frame: vec![0; endpoint.header],
        header: endpoint.header,
    };
    let mut pacer = (worker.rate > 0).then(|| Pacer::new(worker.rate, monotonic()));
    let mut tally = Tally::default();
    let start = monotonic();
    let mut stuck = Stuck::new(config.linger);
    let mut ended = false;
    while !worker.stopping() && worker.left(tally.packets) > 0 {
        let mut quota = worker.left(tally.packets).min(u64::from(config.burst));
        if let Some(pacer) = &mut pacer {
            let due = pacer.due(monotonic());
            if due == 0 {
                worker.sleep(pacer.wait(monotonic(), quota).min(TICK));
                continue;
            }
            quota = quota.min(due);
        }
        let (sent, stop) = replay.batch(endpoint.first_tx()?, quota, &mut tally)?;
        if sent > 0 {
            tally.batches += 1;
            stuck.moved();
            endpoint.sync_tx()?;
            if let Some(pacer) = &mut pacer {
                pacer.sent(sent);
            }
        }
        worker.counters.store(&tally);
        match stop {
            Stop::End => {
                ended = true;
                break;
            }
            Stop::Due(time) => {
                worker.sleep(Duration::from_nanos(time.saturating_sub(monotonic())).min(TICK))
            }
            Stop::Room if sent == 0 => {
                tally.full += 1;
                if stuck.too_long() {
                    break;
                }
                endpoint.wait_tx(config.busy, TICK)?;
            }
            Stop::Room | Stop::Quota => {}
        }
    }
    let unsent = drain(worker, endpoint, config.linger)?;
    worker.counters.store(&tally);
    let mut missing = replay.source.missing(tally.skipped);
    if !ended && config.count == 0 && capture.repeat > 0 {
        missing.push(format!(
            "sent {} packets, not the whole capture: {}",
            tally.packets,
            why_early(config, unsent)
        ));
    }
    Ok(Outcome {
        tally,
        span: Some((start, monotonic())),
        unsent,
        notes: replay.source.notes(),
        missing,
        ..Outcome::default()
    })
}
