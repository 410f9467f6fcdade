//! Flows: who speaks with whom, by which protocol and ports.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpNumber, LaxNetSlice, LaxSlicedPacket};

/// One direction of a conversation. The two ports of a ping are its identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    pub protocol: IpNumber,
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

impl Flow {
    /// The flow of an IP packet with ports. An IP fragment has none: only the first of them says its ports.
    pub fn of(packet: &LaxSlicedPacket<'_>) -> Option<Self> {
        let (source, destination): (IpAddr, IpAddr) = match packet.net.as_ref()? {
            LaxNetSlice::Ipv4(ip) => {
                let header = ip.header();
                (
                    header.source_addr().into(),
                    header.destination_addr().into(),
                )
            }
            LaxNetSlice::Ipv6(ip) => {
                let header = ip.header();
                (
                    header.source_addr().into(),
                    header.destination_addr().into(),
                )
            }
            LaxNetSlice::Arp(_) => return None,
        };
        let payload = packet.net.as_ref()?.ip_payload_ref()?;
        if payload.fragmented {
            return None;
        }
        let (from, to) = ports(payload.ip_number, payload.payload)?;
        Some(Self {
            protocol: payload.ip_number,
            source: SocketAddr::new(source, from),
            destination: SocketAddr::new(destination, to),
        })
    }
}

fn ports(protocol: IpNumber, payload: &[u8]) -> Option<(u16, u16)> {
    match (protocol, payload) {
        (IpNumber::TCP | IpNumber::UDP, [a, b, c, d, ..]) => {
            Some((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])))
        }
        (IpNumber::ICMP, [0 | 8, _, _, _, a, b, ..])
        | (IpNumber::IPV6_ICMP, [128 | 129, _, _, _, a, b, ..]) => {
            let identifier = u16::from_be_bytes([*a, *b]);
            Some((identifier, identifier))
        }
        _ => None,
    }
}
