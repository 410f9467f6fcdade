//! `-f rx` and `-f rxseq`: counting, recording, dumping, checking sequence numbers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::capture::Writer;
use super::config::Function;
use super::dump;
use super::endpoint::{Device, Endpoint, TICK, Worker, monotonic};
use super::sequence::Sequences;
use super::slots::{Chain, Quota, count, gather};
use super::stats::{Outcome, Tally};

/// What is done with each packet.
struct Sink {
    writer: Option<Writer>,
    sequences: Option<Sequences>,
    dump: bool,
}

impl Sink {
    fn new(worker: &Worker<'_>) -> Result<Sink, String> {
        let config = worker.config;
        let writer = match &config.capture {
            None => None,
            Some(capture) => {
                let created = Writer::create(&capture.path, capture.pcapng, &config.port);
                Some(created.map_err(|error| format!("{}: {error}", capture.path.display()))?)
            }
        };
        let sequences = (config.function == Function::RxSeq).then(Sequences::default);
        Ok(Sink {
            writer,
            sequences,
            dump: config.dump,
        })
    }

    /// Whether packets are only counted.
    fn is_idle(&self) -> bool {
        self.writer.is_none() && self.sequences.is_none() && !self.dump
    }

    fn take(&mut self, nanos: u64, packet: &[u8]) -> Result<(), String> {
        if let Some(writer) = &mut self.writer {
            writer
                .write(nanos, packet)
                .map_err(|error| format!("recording: {error}"))?;
        }
        if let Some(sequences) = &mut self.sequences {
            sequences.observe(packet);
        }
        if self.dump {
            dump::packet(packet);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        match &mut self.writer {
            Some(writer) => writer
                .flush()
                .map_err(|error| format!("recording: {error}")),
            None => Ok(()),
        }
    }
}

/// When to end for lack of packets.
pub struct Silence {
    limit: Option<Duration>,
    after_first: Option<Duration>,
    last: u64,
}

impl Silence {
    /// Starts at time `now`.
    pub fn new(worker: &Worker<'_>, now: u64) -> Self {
        let after_first = worker
            .config
            .until_silence
            .then_some(Duration::from_secs(1));
        Silence {
            limit: worker.config.idle,
            after_first,
            last: now,
        }
    }

    /// Packets came at `now`.
    pub fn broken(&mut self, now: u64) {
        self.last = now;
        self.limit = match (self.limit, self.after_first) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    /// Time left at `now`; `None` when there is no limit.
    pub fn left(&self, now: u64) -> Option<Duration> {
        let silent = Duration::from_nanos(now.saturating_sub(self.last));
        self.limit.map(|limit| limit.saturating_sub(silent))
    }
}

/// Takes what the rx rings hold. Returns the number of slots.
fn receive<D>(
    endpoint: &mut Endpoint<D>,
    chains: &mut [Chain],
    worker: &Worker<'_>,
    sink: &mut Sink,
    tally: &mut Tally,
) -> Result<u64, String> {
    let header = endpoint.header;
    let idle = sink.is_idle();
    let nanos = if sink.writer.is_some() {
        wall_clock()
    } else {
        0
    };
    let mut slots = 0;
    for (ring, chain) in endpoint.rx.iter_mut().zip(chains) {
        if ring.space()? == ring.num_slots() - 1 {
            tally.full += 1;
        }
        let packets = worker.budget.take(u64::from(worker.config.burst));
        let quota = Quota {
            slots: worker.config.burst,
            packets,
        };
        let before = tally.packets;
        slots += u64::from(if idle {
            count(ring, chain, header, quota, tally)?
        } else {
            gather(ring, chain, header, quota, tally, &mut |packet| {
                sink.take(nanos, packet)
            })?
        });
        worker.budget.give_back(packets - (tally.packets - before));
    }
    Ok(slots)
}

/// Runs until the count is reached, silence lasts too long, or it is time to end.
pub fn run<D: Device>(worker: &Worker<'_>, endpoint: &mut Endpoint<D>) -> Result<Outcome, String> {
    if endpoint.rx.is_empty() {
        return Err("this descriptor has no rx ring".into());
    }
    let mut sink = Sink::new(worker)?;
    let mut chains: Vec<Chain> = endpoint.rx.iter().map(|_| Chain::default()).collect();
    let mut tally = Tally::default();
    let result = receive_until_end(worker, endpoint, &mut chains, &mut sink, &mut tally);
    // whatever ended it, what was recorded is to be found in the file
    let flushed = sink.flush();
    tally.malformed += chains.iter().filter(|chain| chain.is_open()).count() as u64;
    worker.counters.store(&tally);
    let span = result?;
    flushed?;
    Ok(Outcome {
        tally,
        span,
        sequence: sink.sequences.map(|s| s.summary()),
        ..Outcome::default()
    })
}

fn receive_until_end<D: Device>(
    worker: &Worker<'_>,
    endpoint: &mut Endpoint<D>,
    chains: &mut [Chain],
    sink: &mut Sink,
    tally: &mut Tally,
) -> Result<Option<(u64, u64)>, String> {
    let busy = worker.config.busy;
    let mut span: Option<(u64, u64)> = None;
    let mut silence = Silence::new(worker, monotonic());
    let mut synced = false;
    while !worker.stopping() && !worker.budget.is_spent() {
        let slots = receive(endpoint, chains, worker, sink, tally)?;
        let now = monotonic();
        if slots > 0 {
            tally.batches += 1;
            worker.counters.store(tally);
            silence.broken(now);
            span = Some((span.map_or(now, |(first, _)| first), now));
            if worker.budget.is_spent() {
                break;
            }
        }
        let left = silence.left(now);
        if slots == 0 && synced && left.is_some_and(|left| left.is_zero()) {
            break;
        }
        let woken = endpoint.wait_rx(busy, left.unwrap_or(TICK).min(TICK))?;
        synced = true;
        if !woken {
            sink.flush()?;
        }
    }
    endpoint.release_rx()?;
    Ok(span)
}

/// Nanoseconds since the epoch.
fn wall_clock() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
