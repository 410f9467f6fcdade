//! `ptnet-guest`: netmap's ptnet device from within a guest, without a kernel module. Sends, receives and checks
//! numbered packets; prints what it found as `key=value` lines.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use uvale_ptnet_guest::device::{Device, Wanted};
use uvale_ptnet_guest::kicks;
use uvale_ptnet_guest::moves::{self, End, Limits, Moved, Way};
use uvale_ptnet_guest::numbered::{BROADCAST, Checker, Stream};
use uvale_ptnet_guest::signals::Ending;
use uvale_wire::ptnet::Direction;
use uvale_wire::ptnet::ring::Ring;

/// Uses a ptnet device (PCI 1b36:000d) of this guest
#[derive(Parser)]
#[command(name = "ptnet-guest", version)]
struct Args {
    /// Which ptnet device, from 0, in the order of their PCI addresses
    #[arg(long, global = true, default_value_t = 0)]
    device: usize,
    /// Bytes of the virtio-net header in front of packets: 0, 10 or 12
    #[arg(long, global = true, default_value_t = 0)]
    header: u32,
    /// This ring only; all otherwise
    #[arg(long, global = true)]
    ring: Option<usize>,
    /// Seconds in which nothing happens before it gives up
    #[arg(long, global = true, default_value_t = 60)]
    patience: u64,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// What the device tells of the port
    Facts,
    /// Send numbered packets
    Tx {
        /// How many
        #[arg(long, default_value_t = 1000)]
        count: u64,
        /// Bytes of each, without the virtio-net header
        #[arg(long, default_value_t = 60)]
        len: usize,
        /// At most so many between two syncs [default: a quarter of a ring]
        #[arg(long, default_value_t = u32::MAX, hide_default_value = true)]
        batch: u32,
    },
    /// Receive numbered packets and check them
    Rx {
        /// How many
        #[arg(long, default_value_t = 1000)]
        count: u64,
    },
    /// Send packets with pauses, and measure what a kick of the host costs
    Kicks {
        /// How many kicks
        #[arg(long, default_value_t = 200)]
        count: u64,
        /// Microseconds before each packet
        #[arg(long, default_value_t = 1000)]
        pause: u64,
    },
    /// Send packets back to where they come from
    Echo {
        /// How many
        #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
        count: u64,
    },
    /// Forward packets between two devices, in both directions
    Bridge {
        /// The second device
        #[arg(long, default_value_t = 1)]
        other: usize,
        /// How many
        #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
        count: u64,
    },
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("ptnet-guest: {why}");
            ExitCode::FAILURE
        }
    }
}

/// True if all went as it should.
fn run(args: &Args) -> Result<bool, String> {
    let ending = Ending::new()?;
    let limits = Limits {
        patience: Duration::from_secs(args.patience),
        ended: &|| ending.has_come(),
    };
    let device = open(args, args.device)?;
    match args.action {
        Action::Facts => {
            for (key, value) in device.facts() {
                println!("{key}={value}");
            }
            Ok(true)
        }
        Action::Tx { count, len, batch } => transmit(args, &device, (count, len, batch), &limits),
        Action::Rx { count } => receive(args, &device, count, &limits),
        Action::Kicks { count, pause } => {
            kicks(args, &device, count, Duration::from_micros(pause), &limits)
        }
        Action::Echo { count } => echo(args, &device, count, &limits),
        Action::Bridge { other, count } => {
            bridge(args, [&device, &open(args, other)?], count, &limits)
        }
    }
}

fn open(args: &Args, number: usize) -> Result<Device, String> {
    Device::open(&Wanted {
        number,
        header: args.header,
        ..Wanted::default()
    })
}

fn rings<'a>(
    args: &Args,
    device: &'a Device,
    direction: Direction,
) -> Result<Vec<Ring<'a>>, String> {
    let mut rings = device.rings(direction)?;
    let Some(wanted) = args.ring else {
        return Ok(rings);
    };
    if wanted >= rings.len() {
        let last = rings.len() - 1;
        return Err(format!("there is no ring {wanted}: the last one is {last}"));
    }
    Ok(vec![rings.swap_remove(wanted)])
}

fn transmit(
    args: &Args,
    device: &Device,
    (count, len, batch): (u64, usize, u32),
    limits: &Limits<'_>,
) -> Result<bool, String> {
    let mut rings = rings(args, device, Direction::Tx)?;
    let header = args.header as usize;
    let mac = device.shape().mac;
    let first = args.ring.unwrap_or(0);
    let numbers = first..first + rings.len();
    let mut streams: Vec<_> = numbers
        .map(|ring| Stream::new(header, len, BROADCAST, mac, ring as u16))
        .collect();
    let begun = Instant::now();
    let end = moves::send(&mut rings, &mut streams, count, batch.max(1), limits)?;
    let sent: u64 = streams.iter().map(Stream::made).sum();
    println!("sent={sent}");
    tell_end(&rings, begun, end);
    Ok(sent == count && end == End::Done)
}

fn receive(args: &Args, device: &Device, count: u64, limits: &Limits<'_>) -> Result<bool, String> {
    let mut rings = rings(args, device, Direction::Rx)?;
    let mut checker = Checker::new(args.header as usize);
    let begun = Instant::now();
    let end = moves::receive(&mut rings, &mut checker, count, limits)?;
    let found = checker.found();
    println!("good={}", found.good);
    println!("lost={}", found.lost);
    println!("late={}", found.late);
    println!("changed={}", found.changed);
    println!("foreign={}", found.foreign);
    println!("bytes={}", found.bytes);
    println!("streams={}", checker.streams());
    tell_end(&rings, begun, end);
    Ok(end == End::Done && found.changed == 0)
}

fn kicks(
    args: &Args,
    device: &Device,
    count: u64,
    pause: Duration,
    limits: &Limits<'_>,
) -> Result<bool, String> {
    let ring = &mut rings(args, device, Direction::Tx)?[0];
    let mut stream = Stream::new(args.header as usize, 60, BROADCAST, device.shape().mac, 0);
    let (cost, end) = kicks::measure(ring, &mut stream, count, pause, limits)?;
    println!("kicks={}", cost.kicks);
    println!("nanoseconds={}", cost.time.as_nanos());
    println!("end={}", end.word());
    Ok(end == End::Done)
}

fn echo(args: &Args, device: &Device, count: u64, limits: &Limits<'_>) -> Result<bool, String> {
    let mut from = rings(args, device, Direction::Rx)?;
    let mut to = rings(args, device, Direction::Tx)?;
    let (header, own) = (args.header as usize, device.shape().mac);
    let mut way = [Way {
        from: &mut from,
        to: &mut to,
        change: &|packet| moves::send_back(packet, header, own),
        moved: Moved::default(),
    }];
    let begun = Instant::now();
    let end = moves::forward(&mut way, count, limits)?;
    let moved = way[0].moved;
    println!("moved={}", moved.packets);
    println!("dropped={}", moved.dropped);
    tell_end(&to, begun, end);
    Ok(end == End::Done || count == u64::MAX)
}

fn bridge(
    args: &Args,
    [one, other]: [&Device; 2],
    count: u64,
    limits: &Limits<'_>,
) -> Result<bool, String> {
    let mut from_one = rings(args, one, Direction::Rx)?;
    let mut from_other = rings(args, other, Direction::Rx)?;
    let mut to_one = rings(args, one, Direction::Tx)?;
    let mut to_other = rings(args, other, Direction::Tx)?;
    let mut ways = [
        Way {
            from: &mut from_one,
            to: &mut to_other,
            change: &|_| {},
            moved: Moved::default(),
        },
        Way {
            from: &mut from_other,
            to: &mut to_one,
            change: &|_| {},
            moved: Moved::default(),
        },
    ];
    let begun = Instant::now();
    let end = moves::forward(&mut ways, count, limits)?;
    let moved = ways.each_ref().map(|way| way.moved);
    println!("forth={}", moved[0].packets);
    println!("back={}", moved[1].packets);
    println!("dropped={}", moved[0].dropped + moved[1].dropped);
    tell_end(&to_one, begun, end);
    Ok(end == End::Done || count == u64::MAX)
}

fn tell_end(rings: &[Ring<'_>], begun: Instant, end: End) {
    let kicks: u64 = rings.iter().map(Ring::kicks).sum();
    println!("kicks={kicks}");
    println!("milliseconds={}", begun.elapsed().as_millis());
    println!("end={}", end.word());
}
