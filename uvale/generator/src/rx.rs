//! `-f rx` and `-f rxseq`: counting, recording, dumping, checking sequence numbers.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::args::Function;
use super::capture::Writer;
use super::captured::CaptureError;
use super::config::CaptureConfig;
use super::dump;
use super::endpoint::{Device, Endpoint, TICK, Worker, monotonic};
use super::files::{is_stream, shown};
use super::sequence::Sequences;
use super::slots::{Chain, Quota, count, gather};
use super::stats::Outcome;
use super::tally::Tally;
use uvale_tools::output;

/// What is done with each packet.
struct Sink<'a> {
    record: Option<Record<'a>>,
    sequences: Option<Sequences>,
    dump: bool,
}

/// A capture being recorded.
struct Record<'a> {
    writer: Writer,
    path: &'a Path,
    /// Somebody may be waiting for the packets.
    live: bool,
}

impl<'a> Record<'a> {
    fn create(capture: &'a CaptureConfig, port: &str) -> Result<Self, String> {
        let path = capture.path.as_path();
        let writer = Writer::create(path, capture.pcapng, port)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let mut record = Record {
            writer,
            path,
            live: is_stream(path),
        };
        if record.live {
            // a reader begins with the head of the file
            record.flush()?;
        }
        Ok(record)
    }

    fn write(&mut self, nanos: u64, packet: &[u8]) -> Result<(), String> {
        let written = self.writer.write(nanos, packet);
        self.check(written)
    }

    fn flush(&mut self) -> Result<(), String> {
        let written = self.writer.flush();
        self.check(written)
    }

    /// A reader that has gone is no error.
    fn check(&self, written: Result<(), CaptureError>) -> Result<(), String> {
        match written {
            Err(CaptureError::Io(error)) if error.kind() == ErrorKind::BrokenPipe => {
                output::reader_went();
                Ok(())
            }
            Err(error) => Err(format!(
                "{}: {error}; the recording is not complete",
                shown(self.path, "standard output")
            )),
            Ok(()) => Ok(()),
        }
    }
}

impl<'a> Sink<'a> {
    fn new(worker: &Worker<'a>) -> Result<Self, String> {
        let config = worker.config;
        let capture = config.capture.as_ref();
        let record = capture.map(|capture| Record::create(capture, &config.port));
        let sequences = (config.function == Function::RxSeq).then(Sequences::default);
        Ok(Sink {
            record: record.transpose()?,
            sequences,
            dump: config.dump,
        })
    }

    /// Whether packets are only counted.
    fn only_counts(&self) -> bool {
        self.record.is_none() && self.sequences.is_none() && !self.dump
    }

    fn take(&mut self, nanos: u64, packet: &[u8]) -> Result<(), String> {
        if let Some(record) = &mut self.record {
            record.write(nanos, packet)?;
        }
        if let Some(sequences) = &mut self.sequences {
            sequences.observe(packet);
        }
        if self.dump {
            dump::packet(packet)?;
        }
        Ok(())
    }

    /// After a batch.
    fn batch_done(&mut self) -> Result<(), String> {
        match &mut self.record {
            Some(record) if record.live => record.flush(),
            _ => Ok(()),
        }
    }

    /// When nothing comes.
    fn idle(&mut self) -> Result<(), String> {
        if self.dump
            || self
                .record
                .as_ref()
                .is_some_and(|r| r.path == Path::new("-"))
        {
            output::ask_stdout();
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), String> {
        self.record.as_mut().map_or(Ok(()), Record::flush)
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
    sink: &mut Sink<'_>,
    tally: &mut Tally,
) -> Result<u64, String> {
    let header = endpoint.header;
    let idle = sink.only_counts();
    let nanos = if sink.record.is_some() {
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
    let (span, at_start) = result?;
    flushed?;
    Ok(Outcome {
        tally,
        span,
        at_start,
        sequence: sink.sequences.map(|s| s.summary()),
        ..Outcome::default()
    })
}

fn receive_until_end<D: Device>(
    worker: &Worker<'_>,
    endpoint: &mut Endpoint<D>,
    chains: &mut [Chain],
    sink: &mut Sink<'_>,
    tally: &mut Tally,
) -> Result<(Option<(u64, u64)>, Tally), String> {
    let busy = worker.config.busy;
    let mut span: Option<(u64, u64)> = None;
    let mut at_start = Tally::default();
    let mut silence = Silence::new(worker, monotonic());
    let mut synced = false;
    while !worker.stopping() && !worker.budget.is_spent() {
        let slots = receive(endpoint, chains, worker, sink, tally)?;
        let now = monotonic();
        if slots > 0 {
            tally.batches += 1;
            worker.counters.store(tally);
            sink.batch_done()?;
            silence.broken(now);
            // what came with the first batch took no time that is known
            if span.is_none() {
                at_start = *tally;
            }
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
            sink.idle()?;
        }
    }
    endpoint.release_rx()?;
    Ok((span, at_start))
}

/// Nanoseconds since the epoch.
fn wall_clock() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
