//! Source NAT between two ports:  nat [--idle=SECONDS] INSIDE OUTSIDE ADDRESS
//!
//! uvale run -- nat vale0:nat vale1:nat 198.51.100.1
//!
//! TCP, UDP and pings from inside leave with ADDRESS and a port of ours; what comes back for that port goes to who has
//! it, as long as it is in use, whoever sends it (RFC 4787 calls this endpoint-independent; a firewall is another
//! function). Outside, ADDRESS is found by ARP. It is a wire otherwise: hosts inside use a router that is outside.
//! Refused: IP fragments, of which only the first has ports; ICMP errors, which quote addresses of the other side.

mod shared {
    pub mod arp;
    pub mod between;
    pub mod checksum;
    pub mod ending;
    pub mod table;
}

use std::error::Error;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use etherparse::{IpNumber, Ipv4HeaderSlice, ether_type};
use shared::between::{Counts, Function, Verdict};
use shared::checksum::update;
use shared::table::Table;
use shared::{arp, between, ending};

/// The ports that are given to flows from inside: IANA's dynamic ones.
const PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;
/// How long a port may be silent, unless said otherwise.
const IDLE: Duration = Duration::from_secs(300);
/// Where things are in a frame with an IPv4 packet.
const ETH_DST: usize = 0;
const ETH_SRC: usize = 6;
const ETH_TYPE: usize = 12;
const IP: usize = 14;
const IP_CHECKSUM: usize = IP + 10;
const IP_SRC: usize = IP + 12;
const IP_DST: usize = IP + 16;

fn main() -> ExitCode {
    ending::end("nat", run())
}

fn run() -> Result<Counts, Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut idle = IDLE;
    if let Some(seconds) = args.first().and_then(|arg| arg.strip_prefix("--idle=")) {
        idle = Duration::from_secs(seconds.parse()?);
        args.remove(0);
    }
    let [inside, outside, address] = &args[..] else {
        return Err("usage: nat [--idle=SECONDS] INSIDE OUTSIDE ADDRESS".into());
    };
    between::run(&mut Nat::new(address.parse()?, idle), inside, outside)
}

/// Whose port it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Owner {
    protocol: IpNumber,
    mac: [u8; 6],
    address: Ipv4Addr,
    port: u16,
}

struct Nat {
    address: Ipv4Addr,
    /// the port that each owner was given
    given: Table<Owner, u16>,
    /// the same, by port
    owners: Table<(IpNumber, u16), Owner>,
    /// where to look for a free port first
    next: u16,
}

impl Nat {
    fn new(address: Ipv4Addr, idle: Duration) -> Self {
        let most = 3 * PORTS.len();
        let (given, owners) = (Table::new(idle, most), Table::new(idle, most));
        Self {
            address,
            given,
            owners,
            next: *PORTS.start(),
        }
    }

    /// The port of an owner: a new one, if it has none yet. `None` if all are in use.
    fn port_of(&mut self, owner: Owner, now: Instant) -> Option<u16> {
        if let Some(&mut port) = self.given.get(&owner, now) {
            self.owners.get(&(owner.protocol, port), now)?;
            return Some(port);
        }
        for _ in PORTS {
            let port = self.next;
            self.next = if port == *PORTS.end() {
                *PORTS.start()
            } else {
                port + 1
            };
            let key = (owner.protocol, port);
            if self.owners.insert(key, owner, now).is_some() {
                return self.given.insert(owner, port, now).copied();
            }
        }
        None
    }

    /// Who has that port.
    fn owner_of(&mut self, protocol: IpNumber, port: u16, now: Instant) -> Option<Owner> {
        let owner = *self.owners.get(&(protocol, port), now)?;
        self.given.get(&owner, now)?;
        Some(owner)
    }
}

impl Function for Nat {
    fn forth(&mut self, frame: &mut [u8], now: Instant) -> Verdict {
        if is_arp(frame) {
            return Verdict::Pass;
        }
        let translated = Ports::of(frame, SOURCE).and_then(|ports| {
            let (mac, address) = (
                array(frame, ETH_SRC)?,
                Ipv4Addr::from(array(frame, IP_SRC)?),
            );
            let owner = Owner {
                protocol: ports.protocol,
                mac,
                address,
                port: ports.own(frame)?,
            };
            let port = self.port_of(owner, now)?;
            frame[ETH_SRC..][..6].copy_from_slice(&arp::mac_of(self.address));
            ports.rewrite(frame, IP_SRC, self.address, port)
        });
        translated.map_or(Verdict::Drop, |()| Verdict::Pass)
    }

    fn back(&mut self, frame: &mut [u8], now: Instant) -> Verdict {
        if arp::answer(frame, self.address) {
            return Verdict::Answer;
        }
        if is_arp(frame) {
            return Verdict::Pass;
        }
        let translated = Ports::of(frame, DESTINATION).and_then(|ports| {
            if array(frame, IP_DST)? != self.address.octets() {
                return None;
            }
            let owner = self.owner_of(ports.protocol, ports.own(frame)?, now)?;
            frame[ETH_DST..][..6].copy_from_slice(&owner.mac);
            ports.rewrite(frame, IP_DST, owner.address, owner.port)
        });
        translated.map_or(Verdict::Drop, |()| Verdict::Pass)
    }
}

/// Which of its ports, as an offset, and which type of ICMP packet has an identifier in their place: questions go out,
/// answers come in.
const SOURCE: (usize, u8) = (0, 8);
const DESTINATION: (usize, u8) = (2, 0);

/// Where a packet has the port that is translated, and the checksum over it.
struct Ports {
    protocol: IpNumber,
    port_at: usize,
    checksum_at: usize,
}

impl Ports {
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
        array::<2>(frame, port_at.max(checksum_at))?;
        Some(Self {
            protocol,
            port_at,
            checksum_at,
        })
    }

    fn own(&self, frame: &[u8]) -> Option<u16> {
        Some(u16::from_be_bytes(array(frame, self.port_at)?))
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
        update(frame, IP_CHECKSUM, &old, &new);
        // A UDP checksum of 0 is none at all; one that comes to 0 is written as its other form.
        let is_udp = self.protocol == IpNumber::UDP;
        if is_udp && array(frame, self.checksum_at)? == [0, 0] {
            return Some(());
        }
        if self.protocol != IpNumber::ICMP {
            // TCP and UDP add up the addresses, too
            update(frame, self.checksum_at, &old, &new);
        }
        update(frame, self.checksum_at, &old_port, &new_port);
        if is_udp && array(frame, self.checksum_at)? == [0, 0] {
            frame[self.checksum_at..][..2].fill(0xff);
        }
        Some(())
    }
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
