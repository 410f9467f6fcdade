//! The values of single options.

use std::time::Duration;

use super::super::address::{IpRange, Mac, parse_mac, parse_range};
use super::super::args::Args;
use super::super::packet::{Addresses, Layout};
use super::{CaptureConfig, PacketConfig};
use crate::args::Function;
use uvale_tools::rate;

/// Largest packet that is generated, in bytes; the limit of IPv4's length field plus a header.
const MAX_LENGTH: usize = 65_535;
/// Smallest one.
const MIN_LENGTH: usize = 16;

/// The name with its prefix, by pkt-gen's rule: anything but `netmap:` and `vale` is an interface.
pub(super) fn port_name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("-i: the port has no name".into());
    }
    for prefix in ["tap:", "pcap:"] {
        if text.starts_with(prefix) {
            return Err(format!(
                "-i {text}: only netmap ports are supported, not {prefix} devices"
            ));
        }
    }
    if text == "null" {
        return Err("-i null: there is no dummy port here".into());
    }
    if text.starts_with("netmap:") || text.starts_with("vale") {
        Ok(text.to_owned())
    } else {
        Ok(format!("netmap:{text}"))
    }
}

/// Whether the port is a VALE port or a pipe, which need no time for a link.
pub(super) fn is_virtual(port: &str) -> bool {
    port.starts_with("vale") || port.contains(['{', '}'])
}

pub(super) fn packet(args: &Args, port: &str) -> Result<PacketConfig, String> {
    let v6 = args.ipv6;
    let (source, destination) = if v6 {
        ("2001:db8::1", "2001:db8::2")
    } else {
        ("10.0.0.1", "10.1.0.1")
    };
    let range = |option: &str, given: &Option<String>, default: &str| -> Result<IpRange, String> {
        parse_range(given.as_deref().unwrap_or(default), v6)
            .map_err(|why| format!("{option}: {why}"))
    };
    let shortest = Layout::new(v6).payload();
    let (length, min_length) = match args.length[..] {
        [] => (60.max(shortest), None),
        [length] => (length, None),
        [length, least] if (MIN_LENGTH..length).contains(&least) => (length, Some(least)),
        [length, least] => {
            return Err(format!(
                "-l {length} -l {least}: the second size is at least {MIN_LENGTH} and below the first"
            ));
        }
        _ => return Err("-l can be given once or twice".into()),
    };
    if !(MIN_LENGTH..=MAX_LENGTH).contains(&length) {
        return Err(format!(
            "-l {length}: packets have {MIN_LENGTH} to {MAX_LENGTH} bytes"
        ));
    }
    if min_length.is_some_and(|least| least < shortest) {
        return Err(format!(
            "-l: random sizes start at {shortest}, the size of the headers"
        ));
    }
    let addresses = Addresses {
        source_mac: match &args.source_mac {
            Some(text) => parse_mac(text).map_err(|why| format!("-S: {why}"))?,
            None => interface_mac(port).unwrap_or_default(),
        },
        destination_mac: parse_mac(&args.destination_mac).map_err(|why| format!("-D: {why}"))?,
        source: range("-s", &args.source, source)?,
        destination: range("-d", &args.destination, destination)?,
    };
    let config = PacketConfig {
        addresses,
        random_source: args.random_source || args.options & 512 != 0,
        random_destination: args.random_destination || args.options & 1024 != 0,
        length,
        min_length,
    };
    if length < shortest && config.varies() {
        return Err(format!(
            "-l {length}: addresses can vary from {shortest} bytes on, where packets have them"
        ));
    }
    Ok(config)
}

/// The MAC address of the network interface behind the port, if there is one.
fn interface_mac(port: &str) -> Option<Mac> {
    let name = port.strip_prefix("netmap:")?;
    let end = name
        .find(|c: char| "-*^/@{}".contains(c))
        .unwrap_or(name.len());
    let name = &name[..end];
    if name.is_empty() || name.starts_with('.') {
        return None;
    }
    let text = std::fs::read_to_string(format!("/sys/class/net/{name}/address")).ok()?;
    parse_mac(text.trim()).ok()
}

pub(super) fn capture(args: &Args, function: Function) -> Option<CaptureConfig> {
    let path = args.pcap.clone()?;
    let by_name = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("pcapng") || e.eq_ignore_ascii_case("ntar"));
    Some(CaptureConfig {
        pcapng: function == Function::Rx && (args.pcapng || by_name),
        path,
        repeat: args.repeat,
        timing: args.timing,
    })
}

/// Processors by thread: the first one and those behind it, wrapping at the number of processors
/// to use.
pub(super) fn cpus(args: &Args) -> Result<Vec<usize>, String> {
    let present = std::thread::available_parallelism().map_or(1, usize::from);
    if args.cpus > present {
        return Err(format!("-c {}: there are {present} processors", args.cpus));
    }
    let Some(first) = args.affinity else {
        return Ok(Vec::new());
    };
    if args.threads == 1 || args.cpus == 1 {
        return Ok((0..usize::from(args.threads)).map(|i| first + i).collect());
    }
    let among = if args.cpus == 0 { present } else { args.cpus };
    Ok((0..usize::from(args.threads))
        .map(|i| (first + i) % among)
        .collect())
}

/// `NUMBER[K|M|G]` as packets a second.
pub(super) fn parse_rate(text: &str) -> Result<u64, String> {
    rate::parse(text).ok_or_else(|| {
        format!(
            "-R {text}: a rate is a number of packets a second, with K, M or G for thousands, millions, billions"
        )
    })
}

/// `TX_SLOTS[,RX_SLOTS[,TX_RINGS[,RX_RINGS]]]`: one number of slots or rings counts for both ways.
pub(super) fn parse_sizes(text: &str) -> Result<[u32; 4], String> {
    let bad = || format!("-C {text}: the sizes are tx slots[,rx slots[,tx rings[,rx rings]]]");
    let numbers: Vec<u32> = text
        .split(',')
        .map(|n| n.trim().parse().map_err(|_| bad()))
        .collect::<Result<_, _>>()?;
    let rings_fit = numbers.iter().skip(2).all(|n| *n <= u32::from(u16::MAX));
    match numbers[..] {
        _ if !rings_fit => Err(bad()),
        [slots] => Ok([slots, slots, 0, 0]),
        [tx, rx] => Ok([tx, rx, 0, 0]),
        [tx, rx, rings] => Ok([tx, rx, rings, rings]),
        [tx, rx, tx_rings, rx_rings] => Ok([tx, rx, tx_rings, rx_rings]),
        _ => Err(bad()),
    }
}

pub(super) fn seconds(option: &str, value: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| format!("{option} {value}: not a number of seconds"))
}
