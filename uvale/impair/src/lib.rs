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

use clap::FromArgMatches;
use values::{Both, parse_count, parse_duration, parse_probability, parse_rate};
pub use way::{Impairment, Outcome, Tally, Way};

/// Shown under --help.
pub const EXAMPLE: &str = "\
A value counts for both ways; two with a comma are from A to B, and from B to A: --rate 10M,1M
The same seed makes the same packets lost, doubled, changed and reordered, whatever the machine's load.

Exit status: 0 after SIGINT or SIGTERM, 1 an error, 2 wrong options

Examples:
  uvale link vale0:x vale1:y --delay 20ms --loss 1% --seed 7";

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
    /// Both ways, the one from A first, with the chances of `seed` if the options name none.
    fn ways(&self, seed: u64) -> [Way; 2] {
        let seed = self.seed.unwrap_or(seed);
        [0, 1].map(|way| Way::new(self.impairment(way), seed, way as u64))
    }

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

/// Options that are not of the wire.
const OTHERS: [&str; 2] = ["json", "count"];

/// The two ways of a wire that another program makes, which has the options by their names: `("loss", "10%")`. The
/// first one is from that program. `seed` is used if none is named.
///
/// # Errors
/// A sentence on the first option that is wrong.
pub fn ways<'a>(
    options: impl IntoIterator<Item = (&'a str, &'a str)>,
    seed: u64,
) -> Result<[Way; 2], String> {
    let command = <Args as clap::Args>::augment_args(clap::Command::new("link"))
        .no_binary_name(true)
        .disable_help_flag(true);
    let mut words = vec!["a".to_owned(), "b".to_owned()];
    for (name, value) in options {
        let known =
            |arg: &clap::Arg| arg.get_long().filter(|long| !OTHERS.contains(long)) == Some(name);
        if !command.get_arguments().any(known) {
            let names = command.get_arguments().filter_map(clap::Arg::get_long);
            let hint = uvale_tools::nearest::hint(name, names.filter(|n| !OTHERS.contains(n)));
            return Err(format!("a link has no option {name:?}{hint}"));
        }
        words.push(format!("--{name}={value}"));
    }
    let matches = command.try_get_matches_from(words);
    let args = matches.and_then(|matches| Args::from_arg_matches(&matches));
    let args = args.map_err(|e| {
        let text = e.to_string();
        let first = text.lines().next().unwrap_or_default();
        first.trim_start_matches("error: ").to_owned()
    })?;
    Ok(args.ways(seed))
}

/// Runs the command, in a process that finds `/dev/netmap`.
pub fn run(args: &Args) -> Result<ExitCode, String> {
    link::run(args).map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_by_name() {
        let [to, from] = ways([("loss", "100%,0%"), ("delay", "1ms")], 1).unwrap();
        assert!(to.takes_time() && from.takes_time());
        let [mut to, _] = ways([("loss", "100%"), ("seed", "7")], 1).unwrap();
        assert!(!to.takes_time());
        to.accept(std::time::Instant::now(), [&[0; 60][..]].into_iter());
        assert_eq!((to.tally.lost, to.waiting()), (1, 0));
        for (name, value, part) in [
            ("los", "1%", "\"los\"; did you mean loss?"),
            ("json", "", "no option"),
            ("loss", "200%", "percentage"),
            ("delay", "5", "unit"),
            ("seed", "x", "seed"),
        ] {
            let why = ways([(name, value)], 1).err().unwrap();
            assert!(why.contains(part) && !why.contains('\n'), "{name}: {why}");
        }
    }
}
