//! From options to what the functions need: everything is checked here, once, and what is wrong
//! is said in a sentence.

use std::path::PathBuf;
use std::time::Duration;

use super::args::Args;
use super::pacer::burst_for_rate;
use super::packet::{Addresses, Layout};
use values::{capture, cpus, is_virtual, packet, parse_rate, parse_sizes, port_name, seconds};

mod values;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Send.
    Tx,
    /// Receive and count, or record.
    Rx,
    /// Send and measure the time until the answer.
    Ping,
    /// Answer.
    Pong,
    /// Send numbered packets.
    TxSeq,
    /// Check the numbers of packets.
    RxSeq,
}

impl Function {
    const ALL: [(&'static str, Function); 6] = [
        ("tx", Function::Tx),
        ("rx", Function::Rx),
        ("ping", Function::Ping),
        ("pong", Function::Pong),
        ("txseq", Function::TxSeq),
        ("rxseq", Function::RxSeq),
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, f)| *f == self)
            .map_or("?", |(name, _)| name)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, f)| *f).ok_or_else(|| {
            let hint = uvale_tools::nearest::hint(text, Self::ALL.iter().map(|(name, _)| *name));
            format!("-f {text}: the functions are tx, rx, ping, pong, txseq and rxseq{hint}")
        })
    }

    /// Whether it only sends.
    pub fn is_sender(self) -> bool {
        matches!(self, Function::Tx | Function::TxSeq)
    }

    /// Whether it only receives.
    pub fn is_receiver(self) -> bool {
        matches!(self, Function::Rx | Function::RxSeq)
    }
}

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
        let function = Function::parse(&args.function)?;
        let bits = args.options;
        if let known @ 1.. = bits & !(4 | 8 | 32 | 64 | 256 | 512 | 1024 | 2048 | 4096) {
            return Err(format!(
                "-o {bits}: the bits {known} have no effect here (4, 8, 32, 64, 256, 512, 1024, 2048 do)"
            ));
        }
        let bit = |mask: u32| bits & mask != 0;
        let port = port_name(&args.interface)?;
        let rate = parse_rate(&args.rate)?;
        let default_burst = if matches!(function, Function::Ping | Function::Pong) {
            1
        } else {
            512
        };
        let burst = args.burst.filter(|b| *b > 0).unwrap_or(default_burst);
        let config = Config {
            function,
            count: args.count,
            burst: burst_for_rate(burst, rate.div_ceil(u64::from(args.threads.max(1)))),
            rate,
            packet: packet(args, &port)?,
            capture: capture(args, function),
            packet_file: args.packet_file.clone(),
            wait_link: Duration::from_secs(args.wait_link.unwrap_or(if is_virtual(&port) {
                0
            } else {
                2
            })),
            report: Duration::from_millis(args.report_ms),
            threads: args.threads,
            cpus: cpus(args)?,
            fragments: args.fragments,
            fragment_size: args.fragment_size.unwrap_or(usize::MAX),
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
        config.check(args)?;
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

    /// Rules that concern several options.
    fn check(&self, args: &Args) -> Result<(), String> {
        let function = self.function.name();
        let reject = |wrong: bool, why: &str| if wrong { Err(why.to_owned()) } else { Ok(()) };
        let only = |wrong: bool, option: &str, functions: &str| {
            if wrong {
                Err(format!(
                    "{option} goes with -f {functions}, not with -f {function}"
                ))
            } else {
                Ok(())
            }
        };
        let tx = self.function == Function::Tx;
        reject(self.threads == 0, "-p 0: at least one thread is needed")?;
        reject(
            !(1..=64).contains(&self.fragments),
            "-F: a packet has 1 to 64 fragments",
        )?;
        reject(
            self.fragment_size == 0,
            "-M 0: a fragment has at least one byte",
        )?;
        reject(
            !matches!(self.header, None | Some(0 | 10 | 12)),
            "-H: a virtio-net header has 0, 10 or 12 bytes",
        )?;
        let single = matches!(
            self.function,
            Function::Ping | Function::Pong | Function::TxSeq
        ) || self.capture.is_some();
        reject(
            self.threads > 1 && single,
            &format!("-f {function} with these options runs on one thread; drop -p"),
        )?;
        only(self.indirect && !tx, "-I", "tx")?;
        only(self.rubbish && !tx, "-r", "tx")?;
        only(self.packet_file.is_some() && !tx, "-P", "tx")?;
        only(
            self.capture.is_some() && !matches!(self.function, Function::Tx | Function::Rx),
            "--pcap",
            "tx or rx",
        )?;
        only(args.timing && !tx, "--timing", "tx")?;
        only(args.repeat != 1 && !tx, "--loop", "tx")?;
        only(
            args.pcapng && self.function != Function::Rx,
            "--pcapng",
            "rx (the format of a replayed file is told by its content)",
        )?;
        only(
            self.until_silence && !self.function.is_receiver(),
            "-W",
            "rx or rxseq",
        )?;
        only(
            self.idle.is_some() && !self.function.is_receiver() && self.function != Function::Pong,
            "--idle",
            "rx, rxseq or pong",
        )?;
        only(
            self.linger.is_some() && !self.function.is_sender(),
            "--linger",
            "tx or txseq",
        )?;
        only(
            self.rate != 0 && (self.function.is_receiver() || self.function == Function::Pong),
            "-R",
            "tx, txseq or ping",
        )?;
        reject(
            self.indirect && !self.port.starts_with("vale"),
            "-I: only VALE ports take indirect buffers",
        )?;
        reject(
            self.indirect && self.packet.varies(),
            "-I: all slots point to one packet, so ranges, random addresses and sizes cannot be used",
        )?;
        reject(
            self.indirect && self.fragments > 1,
            "-I cannot be combined with -F",
        )?;
        let made = !(tx && (self.capture.is_some() || self.packet_file.is_some() || self.rubbish));
        reject(
            !made && self.packet.varies(),
            "ranges, random addresses and sizes apply to generated packets only, not with --pcap, -P or -r",
        )?;
        reject(
            tx && self.capture.is_some() && self.indirect,
            "-I cannot be combined with --pcap",
        )?;
        self.check_numbered()?;
        reject(
            self.records_to_stdout() && (self.json || self.dump),
            "--pcap - uses standard output, so --json and -X cannot",
        )?;
        reject(
            args.timing && self.rate != 0,
            "--timing and -R contradict each other",
        )
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
