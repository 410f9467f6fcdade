//! UDP packets: Ethernet, IPv4 or IPv6, UDP, payload, with right checksums. `etherparse` builds one;
//! addresses, sizes and payload of a built packet change at the cost of a few additions.
//!
//! Sums are one's complement sums of big-endian 16-bit words (RFC 1071), kept folded to 16 bits.

use std::net::IpAddr;

use etherparse::{IpDscp, IpHeaders, Ipv4Header, Ipv6Header, PacketBuilder};

use super::address::{IpRange, Mac};

/// Bytes of an Ethernet header.
pub const ETH_LEN: usize = 14;
/// Bytes of a UDP header.
const UDP_LEN: usize = 8;
const IPPROTO_UDP: u8 = 17;
/// Time to live, or hop limit.
const TTL: u8 = 64;
/// The old type of service "low delay", as a DSCP.
const LOW_DELAY: u8 = 4;
/// EtherType for local experiments (IEEE 802), for frames too short to hold UDP.
const ETHERTYPE_LOCAL: u16 = 0x88b5;
/// Payload bytes at the start that may be changed after building; an even number.
const VARYING: usize = 16;
const PAYLOAD: &[u8] = b"uvale gen test packet ";

/// Adds two folded sums.
#[inline]
fn add(a: u16, b: u16) -> u16 {
    let sum = u32::from(a) + u32::from(b);
    (sum as u16) + (sum >> 16) as u16
}

/// The one's complement sum of `data`, padded with a zero byte to whole words.
pub fn sum(data: &[u8]) -> u16 {
    let mut words = data.chunks_exact(2);
    let mut total: u64 = words
        .by_ref()
        .map(|w| u64::from(u16::from_be_bytes([w[0], w[1]])))
        .sum();
    if let [last] = words.remainder() {
        total += u64::from(*last) << 8;
    }
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// Where things are in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    v6: bool,
}

impl Layout {
    /// Layout of IPv4 or IPv6 packets.
    pub fn new(v6: bool) -> Self {
        Layout { v6 }
    }

    fn source(self) -> usize {
        ETH_LEN + if self.v6 { 8 } else { 12 }
    }

    fn address_len(self) -> usize {
        if self.v6 { 16 } else { 4 }
    }

    fn udp(self) -> usize {
        ETH_LEN + if self.v6 { 40 } else { 20 }
    }

    /// Offset of the UDP payload.
    pub fn payload(self) -> usize {
        self.udp() + UDP_LEN
    }
}

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Source address and port.
    Source,
    /// Destination address and port.
    Destination,
}

/// What a packet is built from.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Source MAC address.
    pub source_mac: Mac,
    /// Destination MAC address.
    pub destination_mac: Mac,
    /// Source addresses and ports; packets start with the first.
    pub source: IpRange,
    /// Destination addresses and ports, of the same family.
    pub destination: IpRange,
}

/// A packet with the means to change it.
#[derive(Clone, Debug)]
pub struct Packet {
    bytes: Vec<u8>,
    len: usize,
    layout: Layout,
    /// `prefix[k]`: sum of `2 * k` payload bytes from [`VARYING`] on, for size changes.
    prefix: Vec<u16>,
}

impl Packet {
    /// A packet of `len` bytes, Ethernet header included and CRC not. Below the size of the
    /// headers it is a plain Ethernet frame of a local experimental type.
    pub fn new(addresses: &Addresses, len: usize) -> Packet {
        let layout = Layout::new(addresses.source.first.is_ipv6());
        let bytes = match len.checked_sub(layout.payload()) {
            Some(payload) => udp(addresses, payload),
            None => short_frame(addresses, len),
        };
        Packet {
            bytes,
            len,
            layout,
            prefix: Vec::new(),
        }
    }

    /// Whether it holds a whole UDP header.
    pub fn is_udp(&self) -> bool {
        self.len >= self.layout.payload()
    }

    /// The packet.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Offset of the UDP payload.
    pub fn payload_offset(&self) -> usize {
        self.layout.payload()
    }

    fn put(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }

    fn get(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn write_address(&mut self, side: Side, address: IpAddr) {
        let at = self.address_at(side);
        match address {
            IpAddr::V4(a) => self.bytes[at..at + 4].copy_from_slice(&a.octets()),
            IpAddr::V6(a) => self.bytes[at..at + 16].copy_from_slice(&a.octets()),
        }
    }

    fn address_at(&self, side: Side) -> usize {
        match side {
            Side::Source => self.layout.source(),
            Side::Destination => self.layout.source() + self.layout.address_len(),
        }
    }

    /// Stores the UDP checksum, given the sum of the payload.
    fn put_udp_checksum(&mut self, payload: u16) {
        let (udp, source) = (self.layout.udp(), self.layout.source());
        self.put(udp + 6, 0);
        let addresses = sum(&self.bytes[source..source + 2 * self.layout.address_len()]);
        let pseudo = add(addresses, add(u16::from(IPPROTO_UDP), self.get(udp + 4)));
        let header = sum(&self.bytes[udp..udp + UDP_LEN]);
        let value = !add(pseudo, add(header, payload));
        self.put(udp + 6, udp_field(value));
    }

    /// Updates the UDP checksum after words summing to `old` became words summing to `new`
    /// (RFC 1624).
    fn adjust_udp(&mut self, old: u16, new: u16) {
        let at = self.layout.udp() + 6;
        let value = !add(!self.get(at), add(!old, new));
        self.put(at, udp_field(value));
    }

    /// Sets address and port of one end. The packet must be UDP, the address of its family.
    pub fn set_end(&mut self, side: Side, address: IpAddr, port: u16) {
        let at = self.address_at(side);
        let address_range = at..at + self.layout.address_len();
        let port_at = self.layout.udp() + if side == Side::Source { 0 } else { 2 };
        let old_address = sum(&self.bytes[address_range.clone()]);
        let old_port = self.get(port_at);
        self.write_address(side, address);
        self.put(port_at, port);
        let new_address = sum(&self.bytes[address_range]);
        if !self.layout.v6 {
            let value = !add(!self.get(ETH_LEN + 10), add(!old_address, new_address));
            self.put(ETH_LEN + 10, value);
        }
        self.adjust_udp(add(old_address, old_port), add(new_address, port));
    }

    /// Overwrites payload bytes from `offset` (even) on, as far as the packet reaches. A packet
    /// whose size changes may vary in its first 16 payload bytes only.
    pub fn set_payload(&mut self, offset: usize, data: &[u8]) {
        debug_assert!(offset.is_multiple_of(2));
        let at = self.layout.payload() + offset;
        let end = (at + data.len()).min(self.len);
        if at >= end {
            return;
        }
        let old = sum(&self.bytes[at..end]);
        self.bytes[at..end].copy_from_slice(&data[..end - at]);
        let new = sum(&self.bytes[at..end]);
        self.adjust_udp(old, new);
    }

    /// Prepares [`Packet::resize`].
    pub fn allow_resize(&mut self) {
        let mut total = 0;
        self.prefix = vec![0];
        let start = (self.layout.payload() + VARYING).min(self.bytes.len());
        for word in self.bytes[start..].chunks_exact(2) {
            total = add(total, u16::from_be_bytes([word[0], word[1]]));
            self.prefix.push(total);
        }
    }

    /// Makes the packet `len` bytes long, at most its original size, headers and checksums
    /// included. Below the size of the headers only the length changes.
    /// [`Packet::allow_resize`] comes first.
    pub fn resize(&mut self, len: usize) {
        self.len = len.min(self.bytes.len());
        if !self.is_udp() || self.get(12) == ETHERTYPE_LOCAL {
            return;
        }
        let udp = self.layout.udp();
        let udp_len = (self.len - udp) as u16;
        if self.layout.v6 {
            self.put(ETH_LEN + 4, udp_len);
        } else {
            let (old, new) = (self.get(ETH_LEN + 2), (self.len - ETH_LEN) as u16);
            self.put(ETH_LEN + 2, new);
            let value = !add(!self.get(ETH_LEN + 10), add(!old, new));
            self.put(ETH_LEN + 10, value);
        }
        self.put(udp + 4, udp_len);
        let start = self.layout.payload();
        let fixed = (start + VARYING).min(self.len);
        let rest = self.len - fixed;
        let mut payload = add(
            sum(&self.bytes[start..fixed]),
            self.prefix.get(rest / 2).copied().unwrap_or_default(),
        );
        if rest % 2 == 1 {
            payload = add(payload, u16::from(self.bytes[self.len - 1]) << 8);
        }
        self.put_udp_checksum(payload);
    }
}

/// Bytes to fill a packet with.
fn filling(len: usize) -> Vec<u8> {
    PAYLOAD.iter().copied().cycle().take(len).collect()
}

/// A UDP packet with so many bytes of payload.
fn udp(addresses: &Addresses, payload: usize) -> Vec<u8> {
    let (source, destination) = (addresses.source, addresses.destination);
    let ip = match (source.first, destination.first) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header = Ipv4Header {
                dscp: IpDscp::try_new(LOW_DELAY).expect("it has 6 bits"),
                dont_fragment: true,
                time_to_live: TTL,
                source: from.octets(),
                destination: to.octets(),
                ..Default::default()
            };
            IpHeaders::Ipv4(header, Default::default())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                hop_limit: TTL,
                source: from.octets(),
                destination: to.octets(),
                ..Default::default()
            };
            IpHeaders::Ipv6(header, Default::default())
        }
        _ => unreachable!("both ends are of one family"),
    };
    let mut bytes = Vec::new();
    PacketBuilder::ethernet2(addresses.source_mac.0, addresses.destination_mac.0)
        .ip(ip)
        .udp(source.first_port, destination.first_port)
        .write(&mut bytes, &filling(payload))
        .expect("no packet is longer than a length field counts");
    bytes
}

/// An Ethernet frame too short for UDP.
fn short_frame(addresses: &Addresses, len: usize) -> Vec<u8> {
    let mut bytes = [addresses.destination_mac.0, addresses.source_mac.0].concat();
    bytes.extend(ETHERTYPE_LOCAL.to_be_bytes());
    bytes.extend(filling(len.saturating_sub(ETH_LEN)));
    bytes
}

/// A computed UDP checksum of 0 is sent as all ones; 0 means "none".
fn udp_field(value: u16) -> u16 {
    if value == 0 { 0xffff } else { value }
}

#[cfg(test)]
mod tests {
    use super::super::address::{parse_mac, parse_range};
    use super::*;

    const ETHERTYPE_IPV4: u16 = 0x0800;
    const ETHERTYPE_IPV6: u16 = 0x86dd;

    fn addresses(source: &str, destination: &str, v6: bool) -> Addresses {
        Addresses {
            source_mac: parse_mac("02:00:00:00:00:01").unwrap(),
            destination_mac: parse_mac("ff:ff:ff:ff:ff:ff").unwrap(),
            source: parse_range(source, v6).unwrap(),
            destination: parse_range(destination, v6).unwrap(),
        }
    }

    /// Checks lengths and checksums as a receiver would, by summing whole headers.
    fn verify(bytes: &[u8]) {
        let ethertype = u16::from_be_bytes([bytes[12], bytes[13]]);
        let (udp, pseudo) = if ethertype == ETHERTYPE_IPV4 {
            assert_eq!(sum(&bytes[14..34]), 0xffff, "IPv4 header checksum");
            assert_eq!(
                usize::from(u16::from_be_bytes([bytes[16], bytes[17]])),
                bytes.len() - 14
            );
            (34, &bytes[26..34])
        } else {
            assert_eq!(ethertype, ETHERTYPE_IPV6);
            assert_eq!(
                usize::from(u16::from_be_bytes([bytes[18], bytes[19]])),
                bytes.len() - 54
            );
            (54, &bytes[22..54])
        };
        let length = (bytes.len() - udp) as u16;
        assert_eq!(u16::from_be_bytes([bytes[udp + 4], bytes[udp + 5]]), length);
        assert_ne!(&bytes[udp + 6..udp + 8], [0, 0], "UDP checksum present");
        let mut all = pseudo.to_vec();
        all.extend_from_slice(&[0, 17]);
        all.extend_from_slice(&length.to_be_bytes());
        all.extend_from_slice(&bytes[udp..]);
        assert_eq!(sum(&all), 0xffff, "UDP checksum");
    }

    #[test]
    fn known_checksums() {
        // RFC 1071, section 3
        assert_eq!(
            sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            0xddf2
        );
        // an IPv4 header seen in many textbooks
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0x00,
            0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(!sum(&header), 0xb861);
        assert_eq!(!sum(&[]), 0xffff);
        assert_eq!(sum(&[0xab]), 0xab00);
    }

    #[test]
    fn a_known_udp_packet() {
        // 192.168.0.31:22 -> 192.168.0.30:1024, payload "Hi\n" plus 2 bytes; sum done by hand
        let addresses = addresses("192.168.0.31:22", "192.168.0.30:1024", false);
        let mut packet = Packet::new(&addresses, 47);
        packet.set_payload(0, b"Hi\n\0\0");
        verify(packet.bytes());
        // c0a8+001f+c0a8+001e+0011+000d + 0016+0400+000d + 4869+0a00 = 1d837 -> d838 -> 27c7
        assert_eq!(packet.get(40), 0x27c7);
    }

    #[test]
    fn every_size_is_right() {
        let v4 = addresses("10.0.0.1", "10.1.0.1", false);
        let v6 = addresses("2001:db8::1", "2001:db8::2", true);
        for len in 42..200 {
            verify(Packet::new(&v4, len).bytes());
        }
        for len in 62..200 {
            verify(Packet::new(&v6, len).bytes());
        }
        for len in [1514, 2048, 9014, 65535] {
            verify(Packet::new(&v4, len).bytes());
            verify(Packet::new(&v6, len).bytes());
        }
    }

    #[test]
    fn short_frames_are_plain_ethernet() {
        let packet = Packet::new(&addresses("10.0.0.1", "10.1.0.1", false), 20);
        assert!(!packet.is_udp());
        assert_eq!(packet.bytes().len(), 20);
        assert_eq!(&packet.bytes()[12..14], [0x88, 0xb5]);
    }

    #[test]
    fn changes_keep_checksums_right() {
        for (source, destination, v6, new) in [
            ("10.0.0.1", "10.1.0.1", false, "255.255.255.254"),
            ("::1", "::2", true, "ffff::fffe"),
        ] {
            let mut packet = Packet::new(&addresses(source, destination, v6), 101);
            packet.allow_resize();
            for (i, port) in [0u16, 1, 0xffff, 0x8000, 1234].into_iter().enumerate() {
                packet.set_end(Side::Source, new.parse().unwrap(), port);
                packet.set_end(Side::Destination, destination.parse().unwrap(), !port);
                verify(packet.bytes());
                packet.set_payload(2 * i, &(0xffff_0000u32 + u32::from(port)).to_be_bytes());
                verify(packet.bytes());
            }
            packet.set_payload(1000, &[1, 2]);
            verify(packet.bytes());
        }
    }

    #[test]
    fn sizes_can_change() {
        for (source, destination, v6) in [("10.0.0.1", "10.1.0.1", false), ("::1", "::2", true)] {
            let addresses = addresses(source, destination, v6);
            let mut packet = Packet::new(&addresses, 1514);
            packet.allow_resize();
            for len in (62..1514).chain((62..1514).rev()) {
                packet.resize(len);
                verify(packet.bytes());
                assert_eq!(packet.bytes(), Packet::new(&addresses, len).bytes());
            }
            packet.resize(9000);
            assert_eq!(packet.bytes().len(), 1514);
        }
    }

    #[test]
    fn zero_udp_checksum_becomes_all_ones() {
        let mut packet = Packet::new(&addresses("10.0.0.1", "10.1.0.1", false), 60);
        // choose the first payload word so that the checksum comes out as zero
        packet.set_payload(0, &[0, 0]);
        let value = packet.get(40);
        packet.set_payload(0, &value.to_be_bytes());
        assert_eq!(packet.get(40), 0xffff);
        verify(packet.bytes());
    }
}
