//! Which headers a frame has, and where.

use std::ops::Range;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

use crate::table::Proto;

/// Length of an Ethernet header.
pub const ETH_LEN: usize = 14;
/// Where ARP for IPv4 over Ethernet begins with these; the length of such a message.
const ARP_COMMON: [u8; 6] = [0, 1, 8, 0, 6, 4];
const ARP_LEN: usize = 28;
/// The port that means DNS.
pub const DNS_PORT: u16 = 53;

/// A header of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// whose header it is
    pub proto: Proto,
    /// where it is, in bytes from the frame's start; for DNS and data all of it
    pub at: Range<usize>,
}

/// The headers of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// from the outside in; data comes last, unless it is DNS
    pub parts: Vec<Part>,
    /// what follows the last header before DNS; padding of the frame does not belong to it
    pub payload: Range<usize>,
}

impl Shape {
    /// The headers of this protocol.
    pub fn all(&self, proto: Proto) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(move |part| part.proto == proto)
    }

    /// The first header of this protocol.
    pub fn first(&self, proto: Proto) -> Option<&Part> {
        self.all(proto).next()
    }

    /// Adds a header of `len` bytes behind the last one.
    pub fn push(&mut self, proto: Proto, len: usize) {
        let at = self.payload.start..self.payload.start + len;
        self.payload = at.end..at.end;
        self.parts.push(Part { proto, at });
    }

    /// What follows begins `len` bytes later: these are headers in which no field of ours is.
    fn skip(&mut self, len: usize) {
        let at = self.payload.start + len;
        self.payload = at..at;
    }

    /// Makes what is from the end of the last header on, `len` bytes, the payload.
    fn end(&mut self, frame: &[u8], len: usize) {
        let at = self.payload.start;
        self.payload = at..at + len;
        if len > 0 {
            let proto = match is_dns(self, frame) {
                true => Proto::Dns,
                false => Proto::Data,
            };
            let at = self.payload.clone();
            self.parts.push(Part { proto, at });
        }
    }
}

/// Is the payload a message of DNS?
fn is_dns(shape: &Shape, frame: &[u8]) -> bool {
    let Some(udp) = shape.first(Proto::Udp) else {
        return false;
    };
    let ports = [&frame[udp.at.start..][..2], &frame[udp.at.start + 2..][..2]];
    let is_port = ports.contains(&&DNS_PORT.to_be_bytes()[..]);
    is_port && crate::dns::parses(&frame[shape.payload.clone()])
}

/// Reads a frame as far as it can be read.
pub fn of(frame: &[u8]) -> Shape {
    let mut shape = Shape::default();
    let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else {
        return shape;
    };
    shape.push(Proto::Eth, ETH_LEN);
    for tag in &packet.link_exts {
        match tag {
            etherparse::LaxLinkExtSlice::Vlan(_) => shape.push(Proto::Vlan, tag.header_len()),
            etherparse::LaxLinkExtSlice::Macsec(_) => {
                let rest = frame.len() - shape.payload.start;
                shape.end(frame, rest);
                return shape;
            }
        }
    }
    let ip_payload = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let auth = ip.extensions().auth.map_or(0, |auth| auth.slice().len());
            shape.push(Proto::Ip, ip.header().slice().len());
            shape.skip(auth);
            ip.payload().payload.len()
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            shape.push(Proto::Ipv6, ip.header().slice().len());
            shape.skip(ip.extensions().slice().len());
            ip.payload().payload.len()
        }
        Some(LaxNetSlice::Arp(arp)) if arp.slice().starts_with(&ARP_COMMON) => {
            shape.push(Proto::Arp, ARP_LEN);
            return shape;
        }
        _ => {
            let rest = frame.len() - shape.payload.start;
            shape.end(frame, rest);
            return shape;
        }
    };
    let (proto, header, len) = match &packet.transport {
        Some(TransportSlice::Udp(udp)) => (Proto::Udp, 8, udp.payload().len()),
        Some(TransportSlice::Tcp(tcp)) => {
            (Proto::Tcp, tcp.header_slice().len(), tcp.payload().len())
        }
        Some(TransportSlice::Icmpv4(icmp)) => (Proto::Icmp, 8, icmp.slice().len() - 8),
        Some(TransportSlice::Icmpv6(icmp)) => {
            let len = icmpv6_len(icmp.type_u8());
            match icmp.slice().len().checked_sub(len) {
                Some(rest) => (Proto::Icmpv6, len, rest),
                None => (Proto::Icmpv6, icmp.slice().len(), 0),
            }
        }
        Some(TransportSlice::Igmp(_)) | None => {
            shape.end(frame, ip_payload);
            return shape;
        }
    };
    shape.push(proto, header);
    shape.end(frame, len);
    shape
}

/// The length of the header of an ICMPv6 message of this type.
pub fn icmpv6_len(kind: u8) -> usize {
    match kind {
        // neighbour solicitations and advertisements
        135 | 136 => 24,
        _ => 8,
    }
}
