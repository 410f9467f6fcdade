//! Flows: who speaks with whom, by which protocol and ports.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpNumber, LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, LenSource};

/// The outermost first.
pub type Vlans = [Option<u16>; LaxSlicedPacket::LINK_EXTS_CAP];

/// One direction of a conversation. The two ports of a ping are its identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    pub vlans: Vlans,
    pub protocol: IpNumber,
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

impl Flow {
    /// The flow of an IP packet with ports. An IP fragment has none, as only the first of them says its ports; nor has
    /// a packet in MACsec.
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
        // If the IP header's length is nonsense, what follows may be padding.
        let is_nonsense = payload.len_source == LenSource::Slice && !payload.incomplete;
        if payload.fragmented || is_nonsense {
            return None;
        }
        let (from, to) = ports(payload.ip_number, payload.payload)?;
        Some(Self {
            vlans: Self::vlans(packet)?,
            protocol: payload.ip_number,
            source: SocketAddr::new(source, from),
            destination: SocketAddr::new(destination, to),
        })
    }

    /// The VLANs that a packet is in; `None` if it is in MACsec.
    pub fn vlans(packet: &LaxSlicedPacket<'_>) -> Option<Vlans> {
        let mut vlans = [None; LaxSlicedPacket::LINK_EXTS_CAP];
        for (vlan, tag) in vlans.iter_mut().zip(&packet.link_exts) {
            let LaxLinkExtSlice::Vlan(tag) = tag else {
                return None;
            };
            // 0 is none, with a priority.
            *vlan = Some(tag.vlan_identifier().value()).filter(|vlan| *vlan != 0);
        }
        Some(vlans)
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
