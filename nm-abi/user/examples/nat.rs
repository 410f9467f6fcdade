//! Source NAT between two ports:  nat [--idle=SECONDS] [--closed=SECONDS] [--ports=N] INSIDE OUTSIDE ADDRESS
//!
//! uvale run -- nat vale0:nat vale1:nat 198.51.100.1
//!
//! TCP, UDP and pings from inside leave with ADDRESS and a port of ours; what comes back for that port goes to who has
//! it, as long as it is in use, whoever sends it (RFC 4787 calls this endpoint-independent; a firewall is another
//! function). A port is in use until it was silent for the time `idle`, or `closed` after its TCP connection has ended.
//! Outside, ADDRESS is found by ARP. It is a wire otherwise: hosts inside use a router that is outside.
//! Refused: flows of a host that has N ports; IP fragments, of which only the first has ports; ICMP errors, which quote
//! addresses of the other side.

mod shared {
    pub mod arp;
    pub mod between;
    pub mod ending;
    pub mod ports;
}

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use etherparse::{IpNumber, Ipv4HeaderSlice, ether_type};
use shared::between::{Function, Verdict};
use shared::ports::{Limits, Owner, Ports, Segment};
use shared::{arp, between, ending};

/// Unless said otherwise.
const LIMITS: Limits = Limits {
    idle: Duration::from_secs(300),
    closed: Duration::from_secs(10),
    ports: 2_048,
};
const USAGE: &str = "nat [--idle=SECONDS] [--closed=SECONDS] [--ports=N] INSIDE OUTSIDE ADDRESS";
/// Where things are in a frame with an IPv4 packet.
const ETH_DST: usize = 0;
const ETH_SRC: usize = 6;
const ETH_TYPE: usize = 12;
const IP: usize = 14;
const IP_CHECKSUM: usize = IP + 10;
const IP_SRC: usize = IP + 12;
const IP_DST: usize = IP + 16;

fn main() -> ExitCode {
    ending::run(USAGE, parse, |(mut nat, inside, outside)| {
        between::run(&mut nat, &inside, &outside)
    })
}

fn parse(args: &[String]) -> Result<(Nat, String, String), Box<dyn Error>> {
    let mut limits = LIMITS;
    let (options, args): (Vec<_>, Vec<_>) = args.iter().partition(|arg| arg.starts_with("--"));
    for option in options {
        match option.split_once('=').unwrap_or((option, "")) {
            ("--idle", seconds) => limits.idle = Duration::from_secs(ending::number(seconds)?),
            ("--closed", seconds) => limits.closed = Duration::from_secs(ending::number(seconds)?),
            ("--ports", ports) => limits.ports = ending::number(ports)?,
            _ => return Err(format!("{option} is no option").into()),
        }
    }
    let [inside, outside, address] = args[..] else {
        return Err(ending::WRONG.into());
    };
    let address = address
        .parse()
        .map_err(|_| format!("{address} is no IPv4 address"))?;
    Ok((Nat::new(address, limits), inside.clone(), outside.clone()))
}

struct Nat {
    address: Ipv4Addr,
    ports: Ports,
}

impl Nat {
    fn new(address: Ipv4Addr, limits: Limits) -> Self {
        let ports = Ports::new(limits);
        Self { address, ports }
    }
}

impl Function for Nat {
    fn forth(&mut self, frame: &mut [u8], now: Instant) -> Verdict {
        if is_arp(frame) {
            return Verdict::Pass;
        }
        let translated = Packet::of(frame, SOURCE).and_then(|packet| {
            let owner = Owner {
                protocol: packet.protocol,
                mac: array(frame, ETH_SRC)?,
                address: array(frame, IP_SRC)?.into(),
                port: word(frame, packet.port_at)?,
            };
            let port = self
                .ports
                .port_of(owner, packet.segment(frame, IP_DST), now)?;
            frame[ETH_SRC..][..6].copy_from_slice(&arp::mac_of(self.address));
            packet.rewrite(frame, IP_SRC, self.address, port)
        });
        Verdict::pass_if(translated.is_some())
    }

    fn back(&mut self, frame: &mut [u8], now: Instant) -> Verdict {
        if arp::answer(frame, self.address) {
            return Verdict::Answer;
        }
        if is_arp(frame) {
            return Verdict::Pass;
        }
        let translated = Packet::of(frame, DESTINATION).and_then(|packet| {
            if array(frame, IP_DST)? != self.address.octets() {
                return None;
            }
            let key = (packet.protocol, word(frame, packet.port_at)?);
            let owner = self
                .ports
                .owner_of(key, packet.segment(frame, IP_SRC), now)?;
            frame[ETH_DST..][..6].copy_from_slice(&owner.mac);
            packet.rewrite(frame, IP_DST, owner.address, owner.port)
        });
        Verdict::pass_if(translated.is_some())
    }
}

/// Which of its ports, as an offset, and which type of ICMP packet has an identifier in their place: questions go out,
/// answers come in.
const SOURCE: (usize, u8) = (0, 8);
const DESTINATION: (usize, u8) = (2, 0);

/// Where a packet has the port that is translated, and the checksum over it.
struct Packet {
    protocol: IpNumber,
    transport: usize,
    port_at: usize,
    checksum_at: usize,
}

impl Packet {
    /// `None` if it is no whole TCP, UDP or ping packet over IPv4.
    fn of(frame: &[u8], (port, ping): (usize, u8)) -> Option<Self> {
        if array(frame, ETH_TYPE)? != ether_type::IPV4.0.to_be_bytes() {
            return None;
        }
        let header = Ipv4HeaderSlice::from_slice(frame.get(IP..)?).ok()?;
        if header.is_fragmenting_payload() {
            return None;
        }
        let transport = IP + header.slice().len();
        let protocol = header.protocol();
        let (port, checksum) = match protocol {
            IpNumber::TCP => (port, 16),
            IpNumber::UDP => (port, 6),
            IpNumber::ICMP if *frame.get(transport)? == ping => (4, 2),
            _ => return None,
        };
        let (port_at, checksum_at) = (transport + port, transport + checksum);
        // What is behind the end that the IP header says is padding.
        let end = IP + usize::from(header.total_len());
        frame
            .get(..end.min(frame.len()))?
            .get(checksum_at.max(port_at)..)?
            .first_chunk::<2>()?;
        Some(Self {
            protocol,
            transport,
            port_at,
            checksum_at,
        })
    }

    /// What TCP says, to or from the peer whose address is there.
    fn segment(&self, frame: &[u8], peer_at: usize) -> Option<Segment> {
        if self.protocol != IpNumber::TCP {
            return None;
        }
        // Of the two ports at the beginning it is the other one.
        let port = word(frame, 2 * self.transport + 2 - self.port_at)?;
        let peer = SocketAddrV4::new(array(frame, peer_at)?.into(), port);
        let flags = *frame.get(self.transport + 13)?;
        Some(Segment { peer, flags })
    }

    /// Writes address and port, and brings the checksums up to date: of the IP header, and of TCP, UDP or ICMP.
    fn rewrite(
        &self,
        frame: &mut [u8],
        address_at: usize,
        address: Ipv4Addr,
        port: u16,
    ) -> Option<()> {
        let (old, old_port) = (
            array::<4>(frame, address_at)?,
            array::<2>(frame, self.port_at)?,
        );
        let (new, new_port) = (address.octets(), port.to_be_bytes());
        frame[address_at..][..4].copy_from_slice(&new);
        frame[self.port_at..][..2].copy_from_slice(&new_port);
        update(frame, IP_CHECKSUM, &old, &new)?;
        // A UDP checksum of 0 is none at all; one that comes to 0 is written as its other form.
        let is_udp = self.protocol == IpNumber::UDP;
        if is_udp && array(frame, self.checksum_at)? == [0, 0] {
            return Some(());
        }
        if self.protocol != IpNumber::ICMP {
            // TCP and UDP add up the addresses, too
            update(frame, self.checksum_at, &old, &new)?;
        }
        update(frame, self.checksum_at, &old_port, &new_port)?;
        if is_udp && array(frame, self.checksum_at)? == [0, 0] {
            frame[self.checksum_at..][..2].fill(0xff);
        }
        Some(())
    }
}

/// Brings the checksum at `at` up to date after `old`, an even number of bytes that it covers, became `new` (RFC 1624).
/// The rest of the packet, which may lie in other buffers, need not be read.
fn update(frame: &mut [u8], at: usize, old: &[u8], new: &[u8]) -> Option<()> {
    let words = |bytes: &[u8], flip: u16| -> u32 {
        let words = bytes.chunks_exact(2).filter_map(|bytes| word(bytes, 0));
        words.map(|word| u32::from(word ^ flip)).sum()
    };
    let mut sum = u32::from(!word(frame, at)?) + words(old, 0xffff) + words(new, 0);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[at..][..2].copy_from_slice(&(!sum as u16).to_be_bytes());
    Some(())
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    array(frame, at).map(u16::from_be_bytes)
}

fn array<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..)?.first_chunk().copied()
}

fn is_arp(frame: &[u8]) -> bool {
    array(frame, ETH_TYPE) == Some(ether_type::ARP.0.to_be_bytes())
}

#[cfg(test)]
#[path = "tests/nat.rs"]
mod tests;
