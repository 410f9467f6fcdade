//! Answers questions for the addresses of names:  dns PORT ADDRESS NAME=ADDRESS...
//!
//! uvale run -- dns vale0:dns 192.0.2.53 www.example=192.0.2.80 www.example=192.0.2.81 mail.example=192.0.2.25
//!
//! It has the IPv4 address ADDRESS, by which it is found with ARP, and answers on UDP port 53 with authority for these
//! names: A records in class IN; no data for other types; "no such name" for other names. Names are compared without
//! regard to case. It is in no VLAN.

mod shared {
    pub mod arp;
    pub mod ending;
}

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;

use etherparse::{LinkSlice, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use nm_user::{Interest, Packet, Port, Tx, wait};
use shared::{arp, ending};

const PORT: u16 = 53;
/// Seconds that an answer may be kept.
const TTL: u32 = 60;
/// Bytes of the longest message over UDP that everybody takes; of the longest name, and label.
const LONGEST: usize = 512;
const NAME: usize = 255;
const LABEL: u8 = 63;
/// Flags of a message, and codes (RFC 1035, 4.1.1).
const RESPONSE: u8 = 0x80;
const OPCODE: u8 = 0x78;
const AUTHORITATIVE: u8 = 4;
const TRUNCATED: u8 = 2;
const RECURSION_DESIRED: u8 = 1;
const FORMAT_ERROR: u8 = 1;
const NO_SUCH_NAME: u8 = 3;
const NOT_IMPLEMENTED: u8 = 4;
/// Type A in class IN; the name of the question again; bytes of such a record.
const A_IN: [u8; 4] = [0, 1, 0, 1];
const NAME_ABOVE: [u8; 2] = [0xc0, 12];
const RECORD: usize = 16;

fn main() -> ExitCode {
    ending::run("dns PORT ADDRESS NAME=ADDRESS...", parse, run)
}

fn parse(args: &[String]) -> Result<(Server, String), Box<dyn Error>> {
    let [port, address, records @ ..] = args else {
        return Err(ending::WRONG.into());
    };
    let address = address
        .parse()
        .map_err(|_| format!("{address} is no IPv4 address"))?;
    let zone = zone(records)?;
    Ok((Server { address, zone }, port.clone()))
}

fn run((server, port): (Server, String)) -> Result<Counts, Box<dyn Error>> {
    let ended = ending::flag()?;
    let mut port = Port::open(&port)?;
    let mut counts = Counts::default();
    while !ended.load(Relaxed) {
        // This also sends the answers of the last round.
        wait(&mut [port.watch(Interest::RX)], Some(ending::TICK))?;
        let (tx, rx) = port.rings();
        for (mut tx, mut rx) in tx.zip(rx) {
            for packet in rx.packets() {
                match server.answer(&packet, &mut tx) {
                    Some(()) => counts.answered += 1,
                    None => counts.ignored += 1,
                }
            }
        }
    }
    port.sync_tx()?;
    Ok(counts)
}

#[derive(Default)]
struct Counts {
    answered: u64,
    ignored: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} questions answered, {} packets ignored",
            self.answered, self.ignored
        )
    }
}

/// The addresses of each name, which is as in a message, in lower case.
type Zone = HashMap<Vec<u8>, Vec<Ipv4Addr>>;

fn zone(records: &[String]) -> Result<Zone, Box<dyn Error>> {
    let mut zone = Zone::new();
    for record in records {
        let (name, address) = record
            .split_once('=')
            .ok_or(format!("{record} is not NAME=ADDRESS"))?;
        let address = address
            .parse()
            .map_err(|_| format!("{record}: {address} is no IPv4 address"))?;
        let name = encoded(name).ok_or(format!("{record}: {name} is no name"))?;
        zone.entry(name).or_default().push(address);
    }
    Ok(zone)
}

/// A name as it is in a message: each label behind its length, then an empty one.
fn encoded(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for label in name.trim_end_matches('.').split('.') {
        let len = u8::try_from(label.len())
            .ok()
            .filter(|len| (1..=LABEL).contains(len))?;
        bytes.push(len);
        bytes.extend(label.to_ascii_lowercase().bytes());
    }
    bytes.push(0);
    (bytes.len() <= NAME).then_some(bytes)
}

struct Server {
    address: Ipv4Addr,
    zone: Zone,
}

impl Server {
    /// Puts an answer into the ring. `None` if the packet asks nothing of us, or if there is no room: who asked asks
    /// again.
    fn answer(&self, packet: &Packet<'_>, tx: &mut Tx<'_>) -> Option<()> {
        let mut slot = tx.slot()?;
        let (question, buffer) = (packet.bytes(), slot.buffer());
        let same = buffer.get_mut(..question.len())?;
        same.copy_from_slice(question);
        let len = match arp::answer(same, self.address) {
            true => question.len(),
            false => self.answer_to(question, buffer)?,
        };
        slot.send(len);
        Some(())
    }

    /// Writes the answer to a DNS message in a frame, and gives its length.
    fn answer_to(&self, frame: &[u8], mut buffer: &mut [u8]) -> Option<usize> {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        let (
            Some(LinkSlice::Ethernet2(eth)),
            Some(NetSlice::Ipv4(ip)),
            Some(TransportSlice::Udp(udp)),
        ) = (&packet.link, &packet.net, &packet.transport)
        else {
            return None;
        };
        let ip = ip.header();
        let is_ours = ip.destination_addr() == self.address && udp.destination_port() == PORT;
        if !is_ours || !packet.link_exts.is_empty() {
            return None;
        }
        let message = message(udp.payload(), &self.zone)?;
        let builder = PacketBuilder::ethernet2(arp::mac_of(self.address), eth.source())
            .ipv4(ip.destination(), ip.source(), 64)
            .udp(PORT, udp.source_port());
        let len = builder.size(message.len());
        // It is written where it will be sent from, with lengths and checksums.
        builder.write(&mut buffer, &message).ok()?;
        Some(len)
    }
}

/// The answer to a message; `None` if it is no question.
fn message(asked: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let (&[id0, id1, flags, _, count0, count1, ..], rest) = asked.split_first_chunk::<12>()?;
    if flags & RESPONSE != 0 {
        return None;
    }
    let flags = RESPONSE | flags & (OPCODE | RECURSION_DESIRED);
    let refused = |code| Some(vec![id0, id1, flags, code, 0, 0, 0, 0, 0, 0, 0, 0]);
    if flags & OPCODE != 0 {
        return refused(NOT_IMPLEMENTED);
    }
    let (name, what) = match name_len(rest) {
        Some(len) if [count0, count1] == [0, 1] => rest.split_at(len),
        _ => return refused(FORMAT_ERROR),
    };
    let Some(what) = what.first_chunk::<4>() else {
        return refused(FORMAT_ERROR);
    };
    let known = zone.get(&name.to_ascii_lowercase());
    let addresses = known
        .filter(|_| *what == A_IN)
        .map_or(&[][..], Vec::as_slice);
    // What does not fit is left out, and said to be.
    let room = (LONGEST - 12 - name.len() - what.len()) / RECORD;
    let truncated = if addresses.len() > room { TRUNCATED } else { 0 };
    let addresses = &addresses[..room.min(addresses.len())];
    let code = if known.is_none() { NO_SUCH_NAME } else { 0 };
    let flags = flags | AUTHORITATIVE | truncated;
    let mut answer = vec![
        id0,
        id1,
        flags,
        code,
        0,
        1,
        0,
        addresses.len() as u8,
        0,
        0,
        0,
        0,
    ];
    answer.extend(name);
    answer.extend(what);
    for address in addresses {
        answer.extend(NAME_ABOVE.iter().chain(&A_IN));
        answer.extend(
            TTL.to_be_bytes()
                .iter()
                .chain(&[0, 4])
                .chain(&address.octets()),
        );
    }
    Some(answer)
}

/// Bytes of the name at the beginning.
fn name_len(bytes: &[u8]) -> Option<usize> {
    let mut len = 0;
    loop {
        let label = *bytes.get(len)?;
        len += 1 + usize::from(label);
        match label {
            0 => return (len <= NAME).then_some(len),
            1..=LABEL => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
#[path = "tests/dns.rs"]
mod tests;
