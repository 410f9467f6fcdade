//! `socket-guest`: the packets of `ptnet-guest` over an interface of the guest's kernel, by packet sockets: what a
//! ptnet device is compared with. Prints what it found as `key=value` lines.
#![forbid(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, bind,
    recvmmsg, sendmmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use uvale_ptnet_guest::naps::Naps;
use uvale_ptnet_guest::numbered::{BROADCAST, Checker, Stream};

/// Packets of one call.
const TOGETHER: usize = 64;
/// Bytes that the kernel keeps for the receiver, if it may have so many.
const KEPT: usize = 8 << 20;
/// `SOL_PACKET` and `PACKET_QDISC_BYPASS` of `linux/if_packet.h`.
const SOL_PACKET: i32 = 263;
const PACKET_QDISC_BYPASS: i32 = 20;

/// Sends and receives packets by packet sockets
#[derive(Parser)]
#[command(name = "socket-guest", version)]
struct Args {
    /// The interface, which is up
    #[arg(long, global = true, default_value = "eth0")]
    interface: String,
    /// Seconds in which nothing happens before it gives up
    #[arg(long, global = true, default_value_t = 60)]
    patience: u64,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Send numbered packets
    Tx {
        /// How many
        #[arg(long, default_value_t = 1000)]
        count: u64,
        /// Bytes of each
        #[arg(long, default_value_t = 60)]
        len: usize,
    },
    /// Receive numbered packets and check them
    Rx {
        /// How many
        #[arg(long, default_value_t = 1000)]
        count: u64,
        /// Milliseconds without a packet after which a stream that has begun is over
        #[arg(long, default_value_t = 1000)]
        quiet: u64,
    },
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("socket-guest: {why}");
            ExitCode::FAILURE
        }
    }
}

/// True if all went as it should.
fn run(args: &Args) -> Result<bool, String> {
    match args.action {
        Action::Tx { count, len } => transmit(args, count, len),
        Action::Rx { count, quiet } => receive(args, count, Duration::from_millis(quiet)),
    }
}

fn failed(what: &'static str) -> impl Fn(Errno) -> String {
    move |e| format!("{what}: {e}")
}

fn link(interface: &str) -> Result<LinkAddr, String> {
    let mut all = getifaddrs().map_err(failed("interfaces cannot be read"))?;
    let link = all.find_map(|i| {
        let address = i.address.filter(|_| i.interface_name == interface)?;
        address.as_link_addr().copied()
    });
    link.ok_or_else(|| format!("there is no interface {interface}"))
}

fn packet_socket(protocol: Option<SockProtocol>) -> Result<OwnedFd, String> {
    let (family, flags) = (AddressFamily::Packet, SockFlag::SOCK_CLOEXEC);
    socket(family, SockType::Raw, flags, protocol).map_err(failed("no packet socket"))
}

fn transmit(args: &Args, count: u64, len: usize) -> Result<bool, String> {
    let link = link(&args.interface)?;
    let socket = packet_socket(None)?;
    bind(socket.as_raw_fd(), &link).map_err(failed("the interface cannot be used"))?;
    let bypass = 1u32.to_ne_bytes();
    uvale_system::sys::set_option(&socket, SOL_PACKET, PACKET_QDISC_BYPASS, &bypass)
        .map_err(|e| format!("PACKET_QDISC_BYPASS: {e}"))?;
    let own = link.addr().unwrap_or_default();
    let mut stream = Stream::new(0, len, BROADCAST, own, 0);
    let mut headers = MultiHeaders::<()>::preallocate(TOGETHER, None);
    let mut packets = vec![Vec::new(); TOGETHER];
    // Packets of the last batch that the kernel has not taken yet.
    let mut left = 0;
    let mut naps = Naps::default();
    let patience = Duration::from_secs(args.patience);
    let begun = Instant::now();
    let mut sent = 0;
    while sent < count {
        if left == 0 {
            left = TOGETHER.min((count - sent) as usize);
            for packet in &mut packets[TOGETHER - left..] {
                packet.clear();
                packet.extend_from_slice(stream.packet());
                stream.advance();
            }
        }
        let pieces: Vec<_> = packets[TOGETHER - left..]
            .iter()
            .map(|packet| [IoSlice::new(packet)])
            .collect();
        let addresses = [None; TOGETHER];
        let flags = MsgFlags::empty();
        let taken = sendmmsg(
            socket.as_raw_fd(),
            &mut headers,
            &pieces,
            addresses,
            [],
            flags,
        );
        match taken.map(Iterator::count) {
            Ok(taken) => {
                left -= taken;
                sent += taken as u64;
                naps.end();
            }
            // Its queue is full.
            Err(Errno::ENOBUFS | Errno::EAGAIN) if naps.lasts() < patience => naps.take(),
            Err(e) => return Err(format!("sendmmsg: {e}")),
        }
    }
    println!("sent={sent}");
    println!("milliseconds={}", begun.elapsed().as_millis());
    Ok(true)
}

fn receive(args: &Args, count: u64, quiet: Duration) -> Result<bool, String> {
    let socket = packet_socket(Some(SockProtocol::EthAll))?;
    // More than the system's limit is for root, and the first one may be refused.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &KEPT);
    let wait = |time: Duration| {
        let time = TimeVal::milliseconds(time.as_millis() as i64);
        setsockopt(&socket, sockopt::ReceiveTimeout, &time).map_err(failed("SO_RCVTIMEO"))
    };
    wait(Duration::from_secs(args.patience))?;
    let mut headers = MultiHeaders::<()>::preallocate(TOGETHER, None);
    let mut buffers = vec![[0u8; 2048]; TOGETHER];
    let mut checker = Checker::new(0);
    let mut first = None;
    let mut last = Instant::now();
    while checker.found().good < count {
        let mut pieces: Vec<_> = buffers.iter_mut().map(|b| [IoSliceMut::new(b)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        let got = recvmmsg(socket.as_raw_fd(), &mut headers, &mut pieces, flags, None);
        let lengths: Vec<usize> = match got {
            Ok(got) => got.map(|message| message.bytes).collect(),
            Err(Errno::EAGAIN) => break,
            Err(e) => return Err(format!("recvmmsg: {e}")),
        };
        let before = checker.found().good;
        for (buffer, len) in buffers.iter().zip(lengths) {
            checker.look(buffer.get(..len).unwrap_or(buffer));
        }
        if checker.found().good > before {
            last = Instant::now();
            if first.is_none() {
                first = Some(last);
                wait(quiet)?;
            }
        } else if first.is_some() && last.elapsed() > quiet {
            break;
        }
    }
    let found = checker.found();
    println!("good={}", found.good);
    println!("lost={}", found.lost);
    println!("changed={}", found.changed);
    println!(
        "milliseconds={}",
        (last - first.unwrap_or(last)).as_millis()
    );
    Ok(found.good > 0 && found.changed == 0)
}
