//! What a run was asked for and has not done: exit status 3, a sentence each.

use super::args::Function;
use super::config::Config;
use super::latency::LatencySummary;
use super::sequence::SequenceSummary;
use super::sys;
use super::tally::Tally;
use uvale_tools::output;

/// Exit status of a run that did all it was asked for.
pub const COMPLETE: u8 = 0;
/// Exit status after an error on the port or a file.
pub const ERROR: u8 = 1;
/// Exit status when the options make no sense.
pub const USAGE: u8 = 2;
/// Exit status of a run without an error in which packets are missing, lost or twice.
pub const SHORT: u8 = 3;

/// What the counts of a run say.
pub struct Found<'a> {
    /// Counts of all threads.
    pub tally: &'a Tally,
    /// Slots that nobody took.
    pub unsent: u64,
    /// rxseq.
    pub sequence: Option<&'a SequenceSummary>,
    /// ping.
    pub latency: Option<&'a LatencySummary>,
    /// An error ended it, which is told elsewhere.
    pub failed: bool,
}

/// What is missing from what was asked for.
pub fn missing(config: &Config, found: &Found<'_>) -> Vec<String> {
    let mut missing = Vec::new();
    if found.tally.packets < config.count {
        let (verb, noun) = match config.function {
            Function::Tx | Function::TxSeq => ("sent", "packets"),
            Function::Rx | Function::RxSeq => ("received", "packets"),
            Function::Ping => ("sent", "pings"),
            Function::Pong => ("answered", "packets"),
        };
        let why = if found.failed {
            None
        } else {
            Some(why_early(config, found.unsent))
        };
        let why = why.map_or(String::new(), |why| format!(": {why}"));
        missing.push(format!(
            "{verb} {} of {} {noun}{why}",
            found.tally.packets, config.count
        ));
    }
    if found.unsent > 0 && config.has_end() {
        missing.push(format!(
            "{} slots with packets were not taken by a receiver",
            found.unsent
        ));
    }
    if let Some(latency) = found.latency.filter(|latency| latency.lost > 0) {
        missing.push(format!(
            "{} of {} pings had no answer within {} s",
            latency.lost,
            latency.sent,
            config.timeout.as_secs_f64()
        ));
    }
    if let Some(s) = found.sequence
        && s.lost + s.duplicate + s.reordered > 0
    {
        missing.push(format!(
            "of the numbers, {} never came, {} came twice, {} came late",
            s.lost, s.duplicate, s.reordered
        ));
    }
    missing
}

/// Why a run without an error ended before its time.
pub fn why_early(config: &Config, unsent: u64) -> String {
    if output::reader_has_gone() {
        return "the reader of its output has gone".into();
    }
    if sys::interrupted() {
        return "interrupted".into();
    }
    if config.until_silence {
        return "nothing came for a second (-W)".into();
    }
    match (config.idle, config.linger) {
        (Some(idle), _) => format!("nothing came for {} s (--idle)", idle.as_secs_f64()),
        (_, Some(linger)) if unsent > 0 => {
            format!(
                "nobody took packets for {} s (--linger)",
                linger.as_secs_f64()
            )
        }
        _ => "the capture holds no more".into(),
    }
}
