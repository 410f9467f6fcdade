//! Progress lines and the summary.

use std::collections::VecDeque;
use std::fmt::Write as _;

use serde::Serialize;

use super::config::Config;
use super::latency::LatencySummary;
use super::sequence::SequenceSummary;
use super::tally::Tally;
use super::verdict;

/// Samples in the sliding window of `-A`.
const WINDOW: usize = 30;
/// Seconds that a rate is told over at least.
const MEANINGFUL: f64 = 0.01;

/// What a thread found out.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Final counts.
    pub tally: Tally,
    /// First and last activity, nanoseconds on the monotonic clock.
    pub span: Option<(u64, u64)>,
    /// What was counted when the span began.
    pub at_start: Tally,
    /// tx: slots that were still in the rings at the end.
    pub unsent: u64,
    /// rxseq.
    pub sequence: Option<SequenceSummary>,
    /// ping.
    pub latency: Option<LatencySummary>,
    /// Things the user should know, each a sentence.
    pub notes: Vec<String>,
    /// What was asked for and not done, each a sentence.
    pub missing: Vec<String>,
}

/// The end result, as `--json` writes it.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Function that ran.
    pub function: &'static str,
    /// Port name.
    pub interface: String,
    /// Threads that ran.
    pub threads: u16,
    /// Whole packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Slots they took.
    pub slots: u64,
    /// Times that packets were handled together.
    pub batches: u64,
    /// Times a ring was full.
    pub ring_full: u64,
    /// Packets in slots that made no sense.
    pub malformed: u64,
    /// Packets left out.
    pub skipped: u64,
    /// Slots of sent packets that nobody took.
    pub unsent: u64,
    /// Seconds from first to last activity.
    pub seconds: f64,
    /// Packets a second; `None` when the time was too short to tell.
    pub pps: Option<f64>,
    /// Bits a second, likewise.
    pub bps: Option<f64>,
    /// rxseq: sequence numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<SequenceSummary>,
    /// ping: round trip times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencySummary>,
    /// What should be known.
    pub notes: Vec<String>,
    /// What was asked for and is missing.
    pub missing: Vec<String>,
    /// What went wrong; empty after a good run.
    pub errors: Vec<String>,
    /// The exit status.
    pub status: u8,
}

impl Summary {
    /// Combines what the threads found; errors become notes.
    pub fn new(config: &Config, results: Vec<Result<Outcome, String>>, partial: Tally) -> Summary {
        let mut tally = Tally::default();
        let mut span: Option<(u64, u64)> = None;
        let (mut sequence, mut latency, mut notes, mut unsent) = (None, None, Vec::new(), 0);
        let (mut errors, mut missing) = (Vec::new(), Vec::new());
        let mut at_start = Tally::default();
        for result in results {
            match result {
                Ok(outcome) => {
                    tally = tally.plus(outcome.tally);
                    span = join(span, outcome.span);
                    at_start = at_start.plus(outcome.at_start);
                    unsent += outcome.unsent;
                    sequence = merge(sequence, outcome.sequence, SequenceSummary::plus);
                    latency = latency.or(outcome.latency);
                    notes.extend(outcome.notes);
                    missing.extend(outcome.missing);
                }
                Err(why) => errors.push(why),
            }
        }
        if !errors.is_empty() {
            tally = partial;
        }
        let seconds = span.map_or(0.0, |(first, last)| last.saturating_sub(first) as f64 / 1e9);
        // what came in one go, or in no time, has no rate
        let timed = tally.since(at_start);
        let measured = tally.batches > 1 && timed.packets > 0 && seconds >= MEANINGFUL;
        let per_second = |n: f64| measured.then_some(n / seconds);
        let bits = 8.0 * (timed.bytes as f64 + (timed.packets * config.framing) as f64);
        let found = verdict::Found {
            tally: &tally,
            unsent,
            sequence: sequence.as_ref(),
            latency: latency.as_ref(),
            failed: !errors.is_empty(),
        };
        missing.extend(verdict::missing(config, &found));
        let status = match (errors.is_empty(), missing.is_empty()) {
            (false, _) => verdict::ERROR,
            (true, false) => verdict::SHORT,
            (true, true) => verdict::COMPLETE,
        };
        Summary {
            function: config.function.name(),
            interface: config.port.clone(),
            threads: config.threads,
            packets: tally.packets,
            bytes: tally.bytes,
            slots: tally.slots,
            batches: tally.batches,
            ring_full: tally.full,
            malformed: tally.malformed,
            skipped: tally.skipped,
            unsent,
            seconds,
            pps: per_second(timed.packets as f64),
            bps: per_second(bits),
            sequence,
            latency,
            notes,
            missing,
            errors,
            status,
        }
    }

    /// Whether it ended without an error.
    pub fn ok(&self) -> bool {
        self.errors.is_empty()
    }

    /// For people; errors and what is missing are left out.
    pub fn text(&self, plain: bool) -> String {
        let verb = match self.function {
            "tx" | "txseq" => "Sent",
            "rx" | "rxseq" => "Received",
            "ping" => "Pinged with",
            _ => "Answered",
        };
        let mut out = format!(
            "{verb} {} packets, {} bytes in {:.3} s on {}\n",
            self.packets, self.bytes, self.seconds, self.interface
        );
        if self.packets > 0 {
            let speed = match (self.pps, self.bps) {
                (Some(pps), Some(bps)) => {
                    format!("{}pps, {}bit/s", scaled(pps, plain), scaled(bps, plain))
                }
                _ => "not known: the run was too short".into(),
            };
            let batch = self.packets as f64 / self.batches.max(1) as f64;
            let slots = self.slots as f64 / self.packets as f64;
            let _ = writeln!(
                out,
                "Speed {speed}; {batch:.1} packets together, {slots:.2} slots each"
            );
        }
        if let Some(sequence) = &self.sequence {
            let _ = writeln!(out, "{sequence}");
        }
        if let Some(latency) = &self.latency {
            let _ = writeln!(out, "{latency}");
        }
        let may_drop = self.function.starts_with("rx") && !self.interface.contains(['{', '}']);
        let counts = [
            (
                self.malformed,
                "packets were malformed (slot length, buffer index, or no end)",
            ),
            (self.skipped, "packets were left out"),
            (
                if self.missing.is_empty() {
                    self.unsent
                } else {
                    0
                },
                "slots were still in the tx rings at the end: nobody took them",
            ),
            (
                if may_drop { self.ring_full } else { 0 },
                "times a receive ring was full: packets may have been dropped",
            ),
        ];
        for (count, what) in counts {
            if count > 0 {
                let _ = writeln!(out, "{count} {what}");
            }
        }
        for note in &self.notes {
            let _ = writeln!(out, "{note}");
        }
        out
    }
}

fn join(a: Option<(u64, u64)>, b: Option<(u64, u64)>) -> Option<(u64, u64)> {
    merge(a, b, |(a, b), (c, d)| (a.min(c), b.max(d)))
}

fn merge<T>(a: Option<T>, b: Option<T>, both: impl Fn(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(both(a, b)),
        (a, b) => a.or(b),
    }
}

/// Makes progress lines out of successive counts.
pub struct Progress {
    plain: bool,
    framing: u64,
    deviation: bool,
    full: &'static str,
    last: Tally,
    last_time: u64,
    window: VecDeque<f64>,
}

impl Progress {
    /// Starts at time `now` (nanoseconds).
    pub fn new(config: &Config, now: u64) -> Self {
        Progress {
            plain: config.plain,
            framing: config.framing,
            deviation: config.deviation,
            full: match config.function.is_receiver() {
                true if config.is_pipe() => "ring full",
                true => "ring full (drops likely)",
                false => "no room",
            },
            last: Tally::default(),
            last_time: now,
            window: VecDeque::new(),
        }
    }

    /// The line for what happened until `now`.
    pub fn line(&mut self, tally: Tally, now: u64) -> String {
        let step = tally.since(self.last);
        let seconds = (now.saturating_sub(self.last_time).max(1)) as f64 / 1e9;
        (self.last, self.last_time) = (tally, now);
        let pps = step.packets as f64 / seconds;
        let bps = 8.0 * (step.bytes + step.packets * self.framing) as f64 / seconds;
        let mut line = format!("{}pps", scaled(pps, self.plain));
        if self.deviation {
            let (mean, deviation) = self.sample(pps);
            let _ = write!(
                line,
                " [mean {}pps, deviation {}pps]",
                scaled(mean, self.plain),
                scaled(deviation, self.plain)
            );
        }
        let batch = step.packets as f64 / step.batches.max(1) as f64;
        let _ = write!(
            line,
            "  {}bit/s  {} packets in {seconds:.3} s, {batch:.1} together",
            scaled(bps, self.plain),
            step.packets
        );
        if let Some(mean) = step.rtt_sum.checked_div(step.answers) {
            let _ = write!(line, ", round trip {mean} ns");
        }
        if step.full > 0 {
            let _ = write!(line, ", {} times {}", step.full, self.full);
        }
        if step.malformed > 0 {
            let _ = write!(line, ", {} malformed", step.malformed);
        }
        line
    }

    /// Adds a rate to the window and returns mean and standard deviation over it.
    fn sample(&mut self, pps: f64) -> (f64, f64) {
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(pps);
        let n = self.window.len() as f64;
        let mean = self.window.iter().sum::<f64>() / n;
        let variance = self.window.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        (mean, variance.sqrt())
    }
}

/// A number with a decimal prefix for its unit.
pub fn scaled(value: f64, plain: bool) -> String {
    if plain {
        return format!("{value:.0} ");
    }
    match value {
        v if v >= 1e9 => format!("{:.3} G", v / 1e9),
        v if v >= 1e6 => format!("{:.3} M", v / 1e6),
        v if v >= 1e3 => format!("{:.3} K", v / 1e3),
        v => format!("{v:.3} "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_scaled() {
        assert_eq!(scaled(0.0, false), "0.000 ");
        assert_eq!(scaled(1234.0, false), "1.234 K");
        assert_eq!(scaled(14_880_952.0, false), "14.881 M");
        assert_eq!(scaled(1e10, false), "10.000 G");
        assert_eq!(scaled(14_880_952.4, true), "14880952 ");
    }
}
