//! `uvale link`: two ports joined as by a wire, which may be a bad one.
//!
//! | file | what |
//! |---|---|
//! | `way.rs` | what becomes of a packet, and when it leaves: without ports, clocks or chance of its own |
//! | `values.rs` | options: percentages, durations, rates, each for both ways or one for each |
//! | `link.rs` | the ports, and the loop |
//!
//! The ports are opened by nm-user, so a link runs on netmap's kernel module, too.
#![forbid(unsafe_code)]

mod link;
mod values;
mod way;

use std::process::ExitCode;

use values::{Both, parse_count, parse_duration, parse_probability, parse_rate};
pub use way::{Impairment, Outcome, Tally, Way};

/// Shown under --help.
pub const EXAMPLE: &str = "\
A value counts for both ways; two with a comma are from A to B, and from B to A: --rate 10M,1M
The same seed makes the same packets lost, doubled, changed and reordered, whatever the machine's load.

Exit status: 0 after SIGINT or SIGTERM, 1 an error, 2 wrong options

Example: uvale link vale0:x vale1:y --delay 20ms --loss 1% --seed 7";

/// Options of `uvale link`.
#[derive(clap::Args)]
pub struct Args {
    /// A port: vale0:x, netmap:p{1, netmap:eth0
    a: String,
    /// The port at the other end
    b: String,
    /// Packets leave so much later: 20ms, 1s
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "0s")]
    delay: Both<std::time::Duration>,
    /// Packets leave up to so much later still, by chance; their order stays
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "0s")]
    jitter: Both<std::time::Duration>,
    /// Packets that are lost, in percent
    #[arg(long, value_name = "PERCENT", value_parser = parse_probability, default_value = "0%")]
    loss: Both<f64>,
    /// Packets that are sent twice
    #[arg(long, value_name = "PERCENT", value_parser = parse_probability, default_value = "0%")]
    duplicate: Both<f64>,
    /// Packets in which one bit is changed
    #[arg(long, value_name = "PERCENT", value_parser = parse_probability, default_value = "0%")]
    corrupt: Both<f64>,
    /// Packets that leave behind the packet that comes after them
    #[arg(long, value_name = "PERCENT", value_parser = parse_probability, default_value = "0%")]
    reorder: Both<f64>,
    /// Bits a second, of packets as they are in memory (suffix K, M or G), 0 for no limit
    #[arg(long, value_name = "RATE", value_parser = parse_rate, default_value = "0")]
    rate: Both<u64>,
    /// Packets that wait at most; what comes then is dropped
    #[arg(long, value_name = "PACKETS", value_parser = parse_count, default_value = "10000")]
    limit: Both<usize>,
    /// Seed of chance [default: another one each time, which is printed]
    #[arg(long)]
    seed: Option<u64>,
    /// End after so many packets have left, of both ways together, 0 for no end
    #[arg(short = 'n', long, value_name = "PACKETS", default_value_t = 0)]
    count: u64,
    /// Write the summary as one JSON object
    #[arg(long)]
    json: bool,
}

impl Args {
    /// What the way does that number `way` has.
    fn impairment(&self, way: usize) -> Impairment {
        Impairment {
            delay: self.delay.0[way],
            jitter: self.jitter.0[way],
            loss: self.loss.0[way],
            duplicate: self.duplicate.0[way],
            corrupt: self.corrupt.0[way],
            reorder: self.reorder.0[way],
            rate: self.rate.0[way],
            limit: self.limit.0[way],
        }
    }
}

/// Runs the command, in a process that finds `/dev/netmap`.
pub fn run(args: &Args) -> Result<ExitCode, String> {
    link::run(args).map(|()| ExitCode::SUCCESS)
}
