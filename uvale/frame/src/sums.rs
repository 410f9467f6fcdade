//! Lengths and checksums.

use etherparse::checksum::Sum16BitWords;

use crate::draft::{Draft, read, write};
use crate::shape::{self, Shape};
use crate::table::{Field, Place, Proto, fields_of};

/// The protocols that have a checksum, with the field that it is in. One that covers another one comes later.
pub const SUMS: [(Proto, &str); 5] = [
    (Proto::Ip, "ip.checksum"),
    (Proto::Udp, "udp.checksum"),
    (Proto::Tcp, "tcp.checksum"),
    (Proto::Icmp, "icmp.checksum"),
    (Proto::Icmpv6, "icmpv6.checksum"),
];

/// What is known of a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// There is none: UDP allows it.
    None,
    /// It is that of its contents.
    Right,
    /// Its contents would have this one.
    Wrong(u16),
}

/// What Wireshark says of a checksum, with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is not that of its contents.
    Bad = 0,
    /// It is.
    Good = 1,
    /// Its contents are not all there.
    Unverified = 2,
    /// UDP over IPv4 may have none.
    NotPresent = 3,
    /// UDP over IPv6 has to have one.
    Illegal = 4,
}

/// What the checksum of this protocol is; `None` if the frame has no such header, or the protocol has none.
pub fn status(frame: &[u8], shape: &Shape, proto: Proto) -> Option<Status> {
    let (_, name) = SUMS.iter().find(|(summed, _)| *summed == proto)?;
    let sum = look(frame, shape, proto, name)?;
    Some(match sum {
        Sum::None if shape.first(Proto::Ipv6).is_some() => Status::Illegal,
        Sum::None => Status::NotPresent,
        _ if proto == Proto::Udp && is_cut(frame, shape) => Status::Unverified,
        Sum::Right => Status::Good,
        Sum::Wrong(_) => Status::Bad,
    })
}

/// Is a datagram longer, by its own header, than what has come of it?
fn is_cut(frame: &[u8], shape: &Shape) -> bool {
    let part = shape.first(Proto::Udp);
    let end =
        part.and_then(|part| Some(part.at.start as u128 + read(&frame[part.at.clone()], 32, 16)?));
    end.is_some_and(|end| end > frame.len() as u128)
}

/// The first checksum of a frame that is wrong and that `is_named` does not know, in a sentence.
pub fn wrong(frame: &[u8], is_named: &dyn Fn(&str) -> bool) -> Option<String> {
    let shape = shape::of(frame);
    SUMS.iter()
        .filter(|(_, name)| !is_named(name))
        .find_map(|(proto, name)| {
            let status = status(frame, &shape, *proto)?;
            match (status, look(frame, &shape, *proto, name)?) {
                (Status::Bad, Sum::Wrong(right)) => {
                    Some(format!("{name} is wrong: its contents make 0x{right:04x}"))
                }
                (Status::Illegal, _) => {
                    Some(format!("{name} is 0, which is not allowed over IPv6"))
                }
                _ => None,
            }
        })
}

fn bits(field: &'static Field) -> (usize, usize) {
    match field.place {
        Place::Bits { at, len } => (at, len),
        _ => (0, 0),
    }
}

fn field(proto: Proto, name: &str) -> Option<(usize, usize)> {
    fields_of(proto).find(|field| field.name == name).map(bits)
}

/// What the checksum of this protocol is; `None` if the frame has no such header.
pub fn look(frame: &[u8], shape: &Shape, proto: Proto, name: &str) -> Option<Sum> {
    let part = shape.first(proto)?;
    let (at, len) = field(proto, name)?;
    let stored = read(&frame[part.at.clone()], at, len)?;
    let right = compute(frame, shape, proto, at / 8)?;
    Some(match stored == u128::from(right) {
        true => Sum::Right,
        false if proto == Proto::Udp && stored == 0 => Sum::None,
        false => Sum::Wrong(right),
    })
}

/// The checksum that a header should have in its byte `at`.
fn compute(frame: &[u8], shape: &Shape, proto: Proto, at: usize) -> Option<u16> {
    let part = shape.first(proto)?;
    let end = match proto {
        Proto::Ip => part.at.end,
        _ => shape.payload.end,
    };
    let covered = frame.get(part.at.start..end)?;
    let sum = Sum16BitWords::new()
        .add_slice(covered.get(..at)?)
        .add_slice(covered.get(at + 2..)?);
    let sum = match proto {
        Proto::Ip | Proto::Icmp => sum,
        _ => add_addresses(sum, frame, shape, proto, covered.len())?,
    };
    Some(match proto {
        Proto::Udp => sum.to_ones_complement_with_no_zero().to_be(),
        _ => sum.ones_complement().to_be(),
    })
}

/// Adds what the checksums of UDP, TCP and ICMPv6 cover of the IP header.
fn add_addresses(
    sum: Sum16BitWords,
    frame: &[u8],
    shape: &Shape,
    proto: Proto,
    len: usize,
) -> Option<Sum16BitWords> {
    let number = match proto {
        Proto::Udp => 17,
        Proto::Tcp => 6,
        _ => 58,
    };
    let addresses = match (shape.first(Proto::Ip), shape.first(Proto::Ipv6)) {
        (Some(ip), _) => frame.get(ip.at.start + 12..ip.at.start + 20)?,
        (_, Some(ip)) => frame.get(ip.at.start + 8..ip.at.start + 40)?,
        _ => return None,
    };
    let sum = sum.add_slice(addresses).add_2bytes([0, number]);
    Some(sum.add_slice(&(len as u32).to_be_bytes()))
}

/// The checksums that are right, or that are not there.
pub fn right(frame: &[u8], shape: &Shape) -> Vec<Proto> {
    let is_right =
        |(proto, name): &(Proto, &str)| look(frame, shape, *proto, name) == Some(Sum::Right);
    SUMS.iter()
        .filter(|s| is_right(s))
        .map(|(proto, _)| *proto)
        .collect()
}

/// Gives the headers of `protos` the checksums of their contents, unless `named` has them.
pub fn fill_in(draft: &mut Draft, protos: &[Proto], named: &dyn Fn(&str) -> bool) {
    for (proto, name) in SUMS {
        if !protos.contains(&proto) || named(name) {
            continue;
        }
        let (Some((at, len)), Some(part)) = (field(proto, name), draft.shape.first(proto).cloned())
        else {
            continue;
        };
        if let Some(sum) = compute(&draft.frame, &draft.shape, proto, at / 8) {
            write(draft.header(&part.at), at, len, sum.into());
        }
    }
}

/// Gives IP and UDP, and headers with options, the lengths that they have, unless `named` has them.
pub fn lengths(draft: &mut Draft, named: &dyn Fn(&str) -> bool) {
    let end = draft.shape.payload.end;
    let parts = draft.shape.parts.clone();
    for part in &parts {
        let (from_start, header) = (end.saturating_sub(part.at.start), part.at.len());
        let found: &[(&str, usize)] = match part.proto {
            Proto::Ip => &[("ip.hdr_len", header / 4), ("ip.len", from_start)],
            Proto::Ipv6 => &[("ipv6.plen", from_start.saturating_sub(40))],
            Proto::Udp => &[("udp.length", from_start)],
            Proto::Tcp => &[("tcp.hdr_len", header / 4)],
            _ => &[],
        };
        for (name, value) in found {
            if let (false, Some((at, len))) = (named(name), field(part.proto, name)) {
                write(draft.header(&part.at), at, len, *value as u128);
            }
        }
    }
}
