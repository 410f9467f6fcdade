//! A line for people.

use std::fmt::Write as _;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice, VlanSlice};
use uvale_tools::mac::Mac;

/// A packet in words: addresses and protocols.
pub fn summary(data: &[u8]) -> String {
    let (Some(destination), Some(source)) = (address(data, 0), address(data, 6)) else {
        return "no Ethernet header".to_owned();
    };
    let mut text = format!("{source} > {destination}");
    let Ok(packet) = LaxSlicedPacket::from_ethernet(data) else {
        return text;
    };
    match packet.vlan() {
        Some(VlanSlice::SingleVlan(tag)) => {
            let _ = write!(text, " vlan {}", tag.vlan_identifier().value());
        }
        Some(VlanSlice::DoubleVlan(tags)) => {
            let (outer, inner) = (tags.outer.vlan_identifier(), tags.inner.vlan_identifier());
            let _ = write!(text, " vlan {} {}", outer.value(), inner.value());
        }
        None => {}
    }
    let rest = match (&packet.net, &packet.transport) {
        (Some(net), transport) => network(net, transport.as_ref()),
        (None, _) => match packet.ether_payload() {
            Some(payload) => format!("type 0x{:04x}", payload.ether_type.0),
            None => "cut off".to_owned(),
        },
    };
    text + ": " + &rest
}

fn address(data: &[u8], at: usize) -> Option<String> {
    let bytes: [u8; 6] = data.get(at..at + 6)?.try_into().ok()?;
    Some(Mac(bytes).to_string())
}

fn network(net: &LaxNetSlice<'_>, transport: Option<&TransportSlice<'_>>) -> String {
    let (source, destination, protocol) = match net {
        LaxNetSlice::Ipv4(ip) => (
            ip.header().source_addr().to_string(),
            ip.header().destination_addr().to_string(),
            ip.payload_ip_number().0,
        ),
        LaxNetSlice::Ipv6(ip) => (
            ip.header().source_addr().to_string(),
            ip.header().destination_addr().to_string(),
            ip.payload().ip_number.0,
        ),
        LaxNetSlice::Arp(arp) => return self::arp(arp.slice()),
    };
    match transport {
        Some(TransportSlice::Tcp(tcp)) => format!(
            "{} > {} TCP{}, {} bytes of data",
            with_port(&source, tcp.source_port()),
            with_port(&destination, tcp.destination_port()),
            flags(tcp),
            tcp.payload().len()
        ),
        Some(TransportSlice::Udp(udp)) => format!(
            "{} > {} UDP, {} bytes of data",
            with_port(&source, udp.source_port()),
            with_port(&destination, udp.destination_port()),
            udp.payload().len()
        ),
        Some(TransportSlice::Icmpv4(icmp)) => format!(
            "{source} > {destination} ICMP type {} code {}",
            icmp.type_u8(),
            icmp.code_u8()
        ),
        Some(TransportSlice::Icmpv6(icmp)) => format!(
            "{source} > {destination} ICMPv6 type {} code {}",
            icmp.type_u8(),
            icmp.code_u8()
        ),
        _ => format!("{source} > {destination} protocol {protocol}"),
    }
}

fn with_port(address: &str, port: u16) -> String {
    match address.contains(':') {
        true => format!("[{address}]:{port}"),
        false => format!("{address}:{port}"),
    }
}

fn flags(tcp: &etherparse::TcpSlice<'_>) -> String {
    let all = [
        (tcp.syn(), " SYN"),
        (tcp.fin(), " FIN"),
        (tcp.rst(), " RST"),
        (tcp.ack(), " ACK"),
    ];
    all.iter().filter(|(is, _)| *is).map(|(_, f)| *f).collect()
}

/// ARP for IPv4 over Ethernet.
fn arp(arp: &[u8]) -> String {
    let ip = |at: usize| {
        let bytes = arp
            .get(at..at + 4)
            .and_then(|b| <[u8; 4]>::try_from(b).ok());
        bytes.map(|b| std::net::Ipv4Addr::from(b).to_string())
    };
    let is_common = arp.get(..6) == Some(&[0, 1, 8, 0, 6, 4]);
    match (is_common, arp.get(7), ip(14), ip(24)) {
        (true, Some(1), Some(from), Some(whom)) => format!("ARP who has {whom}? tell {from}"),
        (true, Some(2), Some(from), _) => {
            format!("ARP {from} is at {}", address(arp, 8).unwrap_or_default())
        }
        _ => "ARP".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    #[test]
    fn packets_are_described() {
        let ethernet = || PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let mut udp = Vec::new();
        let four = ethernet().ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        four.udp(53, 1024).write(&mut udp, b"abc").unwrap();
        assert_eq!(
            summary(&udp),
            "02:00:00:00:00:01 > 02:00:00:00:00:02: 10.0.0.1:53 > 10.0.0.2:1024 UDP, 3 bytes of data"
        );
        let mut tcp = Vec::new();
        let six = ethernet()
            .single_vlan(etherparse::VlanId::try_new(7).unwrap())
            .ipv6([0; 16], [1; 16], 64);
        six.tcp(80, 9, 0, 0).syn().write(&mut tcp, b"").unwrap();
        let said = summary(&tcp);
        assert!(said.contains(" vlan 7: [::]:80 > [101:"), "{said}");
        assert!(said.ends_with("TCP SYN, 0 bytes of data"), "{said}");
        let mut arp = [
            &[2; 12][..],
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
            &[2; 6],
            &[10, 0, 0, 1],
        ]
        .concat();
        arp.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
        assert!(summary(&arp).ends_with(": ARP who has 10.0.0.2? tell 10.0.0.1"));
    }

    #[test]
    fn nonsense_is_described_too() {
        for len in 0..80 {
            for byte in [0, 1, 8, 0x45, 0x60, 0x81, 0xff] {
                let mut data = vec![byte; len];
                summary(&data);
                for kind in [[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]] {
                    if let Some(place) = data.get_mut(12..14) {
                        place.copy_from_slice(&kind);
                    }
                    summary(&data);
                }
            }
        }
    }
}
