//! From options to what the functions need: everything is checked here, once, and what is wrong
//! is said in a sentence.

use std::path::PathBuf;
use std::time::Duration;

use super::args::{Args, Function};
use super::pacer::burst_for_rate;
use super::packet::{Addresses, Layout};
use values::{capture, cpus, is_virtual, packet, parse_rate, parse_sizes, port_name, seconds};

mod values;

/// What packets look like.
#[derive(Clone, Copy, Debug)]
pub struct PacketConfig {
    /// Addresses and ranges.
    pub addresses: Addresses,
    /// Random source end.
    pub random_source: bool,
    /// Random destination end.
    pub random_destination: bool,
    /// Size in bytes, the largest if random.
    pub length: usize,
    /// Smallest size if sizes are random; below `length`.
    pub min_length: Option<usize>,
}

impl PacketConfig {
    /// Whether each packet differs from the one before.
    pub fn varies(&self) -> bool {
        let ends = [
            (self.addresses.source, self.random_source),
            (self.addresses.destination, self.random_destination),
        ];
        self.min_length.is_some()
            || ends
                .iter()
                .any(|(range, random)| *random || range.flows() > 1)
    }
}

/// How to handle a capture.
#[derive(Clone, Debug)]
pub struct CaptureConfig {
    /// The file.
    pub path: PathBuf,
    /// Write pcapng.
    pub pcapng: bool,
    /// Times to replay, 0 for ever.
    pub repeat: u64,
    /// Keep distances in time.
    pub timing: bool,
}

/// Checked options.
#[derive(Clone, Debug)]
pub struct Config {
    /// Port name with its prefix.
    pub port: String,
    /// What to do.
    pub function: Function,
    /// Packets until the end, 0 for none.
    pub count: u64,
    /// Packets in one go.
    pub burst: u32,
    /// Packets a second of all threads, 0 for no limit.
    pub rate: u64,
    /// Packets.
    pub packet: PacketConfig,
    /// Capture to replay or record.
    pub capture: Option<CaptureConfig>,
    /// Capture whose first packet is sent.
    pub packet_file: Option<PathBuf>,
    /// Wait before starting.
    pub wait_link: Duration,
    /// Between progress lines; zero for none.
    pub report: Duration,
    /// Threads.
    pub threads: u16,
    /// Processors of the threads, by thread; empty for no binding.
    pub cpus: Vec<usize>,
    /// Slots per packet.
    pub fragments: usize,
    /// Largest fragment.
    pub fragment_size: usize,
    /// Indirect buffers.
    pub indirect: bool,
    /// Leave buffers as they are.
    pub rubbish: bool,
    /// Copy each packet even if the buffer holds it already.
    pub always_copy: bool,
    /// Hexadecimal dump.
    pub dump: bool,
    /// virtio-net header length asked for.
    pub header: Option<u32>,
    /// Plain numbers.
    pub plain: bool,
    /// Show the deviation of the rate.
    pub deviation: bool,
    /// Extra bytes per packet in bit rates.
    pub framing: u64,
    /// Ring sizes: tx slots, rx slots, tx rings, rx rings.
    pub sizes: Option<[u32; 4]>,
    /// Verbosity.
    pub verbose: u8,
    /// End after this long without packets.
    pub idle: Option<Duration>,
    /// End a second after the last packet.
    pub until_silence: bool,
    /// Give up on unsent packets after this long.
    pub linger: Option<Duration>,
    /// When a ping is lost.
    pub timeout: Duration,
    /// Never sleep in poll.
    pub busy: bool,
    /// JSON summary.
    pub json: bool,
}

impl Config {
    /// Checks the options.
    pub fn new(args: &Args) -> Result<Config, String> {
        let function = args.function;
        let bits = args.options;
        if let known @ 1.. = bits & !(4 | 8 | 32 | 64 | 256 | 512 | 1024 | 2048 | 4096) {
            return Err(format!(
                "-o {bits}: the bits {known} have no effect here (4, 8, 32, 64, 256, 512, 1024, 2048 do)"
            ));
        }
        let bit = |mask: u32| bits & mask != 0;
        let port = port_name(&args.interface)?;
        let rate = parse_rate(&args.rate)?;
        let one_by_one = matches!(function, Function::Ping | Function::Pong);
        let default_burst = if one_by_one { 1 } else { 512 };
        let burst = args.burst.filter(|b| *b > 0).unwrap_or(default_burst);
        let wait_link = args
            .wait_link
            .unwrap_or(if is_virtual(&port) { 0 } else { 2 });
        let config = Config {
            function,
            count: args.count,
            burst: burst_for_rate(burst, rate.div_ceil(u64::from(args.threads))),
            rate,
            packet: packet(args, &port)?,
            capture: capture(args, function),
            packet_file: args.packet_file.clone(),
            wait_link: Duration::from_secs(wait_link),
            report: Duration::from_millis(args.report_ms),
            threads: args.threads,
            cpus: cpus(args)?,
            fragments: usize::from(args.fragments),
            fragment_size: args.fragment_size.map_or(usize::MAX, |size| size as usize),
            indirect: args.indirect || bit(32),
            rubbish: args.rubbish || bit(256),
            always_copy: bit(4 | 8),
            dump: args.dump || bit(64),
            header: args.header,
            plain: args.plain,
            deviation: args.deviation || bit(2048),
            framing: if args.framing { 24 } else { 0 },
            sizes: args.config.as_deref().map(parse_sizes).transpose()?,
            verbose: args.verbose,
            idle: args.idle.map(|s| seconds("--idle", s)).transpose()?,
            until_silence: args.until_silence,
            linger: args.linger.map(|s| seconds("--linger", s)).transpose()?,
            timeout: seconds("--timeout", args.timeout)?,
            busy: args.busy,
            json: args.json,
            port,
        };
        config.check_function(args)?;
        config.check_threads()?;
        config.check_combinations(args)?;
        config.check_numbered()?;
        Ok(config)
    }

    /// Whether the port is a pipe, where a full ring loses nothing.
    pub fn is_pipe(&self) -> bool {
        self.port.contains(['{', '}'])
    }

    /// Whether it sends, or answers, a number of packets that was asked for.
    pub fn has_end(&self) -> bool {
        let tx = self.function == Function::Tx;
        let replays = self.capture.as_ref().filter(|_| tx);
        self.count > 0 || replays.is_some_and(|capture| capture.repeat > 0)
    }

    /// Whether standard output carries a capture.
    pub fn records_to_stdout(&self) -> bool {
        let stdout = |capture: &CaptureConfig| capture.path.as_os_str() == "-";
        self.function == Function::Rx && self.capture.as_ref().is_some_and(stdout)
    }

    /// Options that some functions do not have.
    fn check_function(&self, args: &Args) -> Result<(), String> {
        use Function::{Ping, Pong, Rx, RxSeq, Tx, TxSeq};
        let rules: [(&str, bool, &[Function]); 11] = [
            ("-I", self.indirect, &[Tx]),
            ("-r", self.rubbish, &[Tx]),
            ("-P", self.packet_file.is_some(), &[Tx]),
            ("--pcap", self.capture.is_some(), &[Tx, Rx]),
            ("--timing", args.timing, &[Tx]),
            ("--loop", args.repeat != 1, &[Tx]),
            ("--pcapng", args.pcapng, &[Rx]),
            ("-W", self.until_silence, &[Rx, RxSeq]),
            ("--idle", self.idle.is_some(), &[Rx, RxSeq, Pong]),
            ("--linger", self.linger.is_some(), &[Tx, TxSeq]),
            ("-R", self.rate != 0, &[Tx, TxSeq, Ping]),
        ];
        for (option, given, functions) in rules {
            if given && !functions.contains(&self.function) {
                let names: Vec<_> = functions.iter().map(|f| f.name()).collect();
                return Err(format!(
                    "{option} goes with -f {}, not with -f {}",
                    names.join(" or "),
                    self.function.name()
                ));
            }
        }
        Ok(())
    }

    fn check_threads(&self) -> Result<(), String> {
        use Function::{Ping, Pong, TxSeq};
        let single = matches!(self.function, Ping | Pong | TxSeq) || self.capture.is_some();
        if self.threads > 1 && single {
            let function = self.function.name();
            return Err(format!(
                "-f {function} with these options runs on one thread; drop -p"
            ));
        }
        Ok(())
    }

    /// Options that contradict each other, by what they say or through the bits of `-o`. (What does
    /// so by being given is told to clap.)
    fn check_combinations(&self, args: &Args) -> Result<(), String> {
        let varies = self.packet.varies();
        let replays = self.capture.is_some() && self.function == Function::Tx;
        let made = !(replays || self.packet_file.is_some() || self.rubbish);
        let rules = [
            (
                self.indirect && !self.port.starts_with("vale"),
                "-I: only VALE ports take indirect buffers",
            ),
            (
                self.indirect && varies,
                "-I: all slots point to one packet, so ranges, random addresses and sizes cannot be used",
            ),
            (
                self.indirect && self.fragments > 1,
                "-I cannot be combined with -F",
            ),
            (
                !made && varies,
                "ranges, random addresses and sizes apply to generated packets only, not with --pcap, -P or -r",
            ),
            (
                self.indirect && replays,
                "-I cannot be combined with --pcap",
            ),
            (
                self.records_to_stdout() && (self.json || self.dump),
                "--pcap - uses standard output, so --json and -X cannot",
            ),
            (
                args.timing && self.rate != 0,
                "--timing and -R contradict each other",
            ),
        ];
        match rules.into_iter().find(|(wrong, _)| *wrong) {
            Some((_, why)) => Err(why.to_owned()),
            None => Ok(()),
        }
    }

    /// Rules of txseq and ping, whose packets carry data.
    fn check_numbered(&self) -> Result<(), String> {
        let need = match self.function {
            Function::TxSeq => 4,
            Function::Ping => 12,
            _ => return Ok(()),
        };
        let name = self.function.name();
        let least = Layout::new(self.packet.addresses.source.first.is_ipv6()).payload() + need;
        let length = self.packet.min_length.unwrap_or(self.packet.length);
        if length < least {
            return Err(format!(
                "-l {length}: packets of {name} have at least {least} bytes"
            ));
        }
        if self.packet.random_source || self.packet.random_destination {
            return Err(format!(
                "-z and -Z cannot be used with -f {name}: flows must repeat to be followed"
            ));
        }
        if self.function == Function::Ping && self.packet.varies() {
            return Err("-f ping sends to one address and of one size".into());
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests;
