//! The command line of `uvale gen`: pkt-gen's letters with pkt-gen's meaning, and what
//! is new under long names.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::value_parser;

/// Sends and receives packets on a netmap port.
///
/// The one-letter options mean what they mean to netmap's pkt-gen. Progress goes to standard error
/// once a second, the summary to standard output.
#[derive(clap::Args, Clone, Debug)]
#[command(disable_version_flag = true)]
pub struct Args {
    /// Port: vale0:a, netmap:eth0, netmap:x{1 ...; netmap: may be left out
    #[arg(short = 'i', value_name = "PORT")]
    pub interface: String,

    /// What to do: tx, rx, ping, pong, txseq or rxseq
    #[arg(
        short = 'f',
        value_name = "FUNCTION",
        default_value = "rx",
        hide_possible_values = true
    )]
    pub function: Function,

    /// Packets (ping: round trips) until the end, 0 for no end
    #[arg(short = 'n', value_name = "COUNT", default_value_t = 0)]
    pub count: u64,

    /// Packet size in bytes without CRC; twice: random sizes from the second up to (not including) the first
    #[arg(short = 'l', value_name = "BYTES")]
    pub length: Vec<usize>,

    /// Most packets in one go (512; ping and pong 1)
    #[arg(short = 'b', value_name = "PACKETS")]
    pub burst: Option<u32>,

    /// Source: IP[:PORT[-IP:PORT]], IP:PORT-PORT; IPv6 with a port in brackets, GROUP@ in front picks the 16-bit group
    /// that counts
    #[arg(short = 's', value_name = "RANGE")]
    pub source: Option<String>,

    /// Destination, written like the source
    #[arg(short = 'd', value_name = "RANGE")]
    pub destination: Option<String>,

    /// Source MAC address (default: the interface's, or zeros)
    #[arg(short = 'S', value_name = "MAC")]
    pub source_mac: Option<String>,

    /// Destination MAC address
    #[arg(short = 'D', value_name = "MAC", default_value = "ff:ff:ff:ff:ff:ff")]
    pub destination_mac: String,

    /// IPv4 (the default)
    #[arg(short = '4', conflicts_with = "ipv6")]
    pub ipv4: bool,

    /// IPv6
    #[arg(short = '6')]
    pub ipv6: bool,

    /// Random source address and port for each packet
    #[arg(short = 'z')]
    pub random_source: bool,

    /// Random destination address and port for each packet
    #[arg(short = 'Z')]
    pub random_destination: bool,

    /// Packets a second of all threads together (suffix K, M or G), 0 for no limit
    #[arg(short = 'R', value_name = "RATE", default_value = "0")]
    pub rate: String,

    /// Seconds to wait for the link before starting (2; none for VALE ports and pipes)
    #[arg(short = 'w', value_name = "SECONDS")]
    pub wait_link: Option<u64>,

    /// Milliseconds between progress lines, 0 for none
    #[arg(short = 'T', value_name = "MS", default_value_t = 1000)]
    pub report_ms: u64,

    /// Threads, each on a ring of its own
    #[arg(short = 'p', value_name = "THREADS", default_value_t = 1, value_parser = value_parser!(u16).range(1..))]
    pub threads: u16,

    /// Processors to spread threads over when -a is given, 0 for all
    #[arg(short = 'c', value_name = "CPUS", default_value_t = 1)]
    pub cpus: usize,

    /// Processor of the first thread; the others follow
    #[arg(short = 'a', value_name = "CPU")]
    pub affinity: Option<usize>,

    /// Fragments (slots) per packet, 1 to 64
    #[arg(short = 'F', value_name = "COUNT", default_value_t = 1, value_parser = value_parser!(u8).range(1..=64))]
    pub fragments: u8,

    /// Largest fragment in bytes
    #[arg(short = 'M', value_name = "BYTES", value_parser = value_parser!(u32).range(1..))]
    pub fragment_size: Option<u32>,

    /// Indirect buffers (tx on VALE ports)
    #[arg(short = 'I')]
    pub indirect: bool,

    /// Send whatever the buffers hold
    #[arg(short = 'r')]
    pub rubbish: bool,

    /// Dump each packet in hexadecimal on standard output
    #[arg(short = 'X')]
    pub dump: bool,

    /// Length of the virtio-net header in front of packets (default: ask the port)
    #[arg(short = 'H', value_name = "BYTES", value_parser = header_length())]
    pub header: Option<u32>,

    /// Send the first packet of this capture again and again
    #[arg(short = 'P', value_name = "FILE", conflicts_with_all = ["pcap", "length"])]
    pub packet_file: Option<PathBuf>,

    /// Plain numbers, no K, M or G
    #[arg(short = 'N')]
    pub plain: bool,

    /// rx: end when a second passes without packets after the first one
    #[arg(short = 'W')]
    pub until_silence: bool,

    /// Show mean and standard deviation of the rate in progress lines
    #[arg(short = 'A')]
    pub deviation: bool,

    /// Count 24 bytes of CRC, preamble and gap per packet in bit rates
    #[arg(short = 'B')]
    pub framing: bool,

    /// Sizes to ask for: `TX_SLOTS[,RX_SLOTS[,TX_RINGS[,RX_RINGS]]]`
    #[arg(short = 'C', value_name = "CONF")]
    pub config: Option<String>,

    /// pkt-gen's option bits: 4|8 copy each packet, 32 -I, 64 -X, 256 -r, 512 -z, 1024 -Z, 2048 -A
    #[arg(short = 'o', value_name = "BITS", default_value_t = 0)]
    pub options: u32,

    /// Say more; twice: also what is in the rings
    #[arg(short = 'v', action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// tx: replay this capture (pcap or pcapng); rx: record one (pcapng if it is so called). - is standard input or
    /// output
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,

    /// rx: record pcapng whatever the file's name
    #[arg(long, requires = "pcap")]
    pub pcapng: bool,

    /// tx --pcap: how many times to send the capture, 0 for no end
    #[arg(
        long = "loop",
        value_name = "TIMES",
        default_value_t = 1,
        requires = "pcap"
    )]
    pub repeat: u64,

    /// tx --pcap: keep the distances in time of the capture
    #[arg(long, requires = "pcap")]
    pub timing: bool,

    /// rx, rxseq, pong: end after this many seconds without a packet
    #[arg(long, value_name = "SECONDS")]
    pub idle: Option<f64>,

    /// tx: give up after this many seconds without progress on packets that nobody takes (default: wait)
    #[arg(long, value_name = "SECONDS")]
    pub linger: Option<f64>,

    /// ping: count a packet as lost after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub timeout: f64,

    /// Spin on NIOCTXSYNC and NIOCRXSYNC, never sleep in poll
    #[arg(long)]
    pub busy: bool,

    /// Write the summary as one JSON object
    #[arg(long, conflicts_with = "dump")]
    pub json: bool,
}

/// What to do.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "lower")]
pub enum Function {
    /// send
    Tx,
    /// receive and count, or record
    Rx,
    /// send and measure the time until the answer
    Ping,
    /// answer
    Pong,
    /// send numbered packets
    TxSeq,
    /// check the numbers of packets
    RxSeq,
}

impl Function {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Function::Tx => "tx",
            Function::Rx => "rx",
            Function::Ping => "ping",
            Function::Pong => "pong",
            Function::TxSeq => "txseq",
            Function::RxSeq => "rxseq",
        }
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

/// Lengths that a virtio-net header has.
fn header_length() -> impl TypedValueParser<Value = u32> {
    PossibleValuesParser::new(["0", "10", "12"]).try_map(|length| length.parse())
}
