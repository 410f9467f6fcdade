//! Frames for tests: from 10.0.0.1 to 192.0.2.1, or back.
#![allow(dead_code, reason = "not every test needs all of them")]

use etherparse::{
    Ipv4Header, NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TransportSlice,
};

pub const INSIDE: [u8; 4] = [10, 0, 0, 1];
pub const OUTSIDE: [u8; 4] = [192, 0, 2, 1];
pub const INSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const OUTSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

pub fn out() -> PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2(INSIDE_MAC, OUTSIDE_MAC).ipv4(INSIDE, OUTSIDE, 64)
}

pub fn back(to: [u8; 4]) -> PacketBuilderStep<etherparse::IpHeaders> {
    PacketBuilder::ethernet2(OUTSIDE_MAC, INSIDE_MAC).ipv4(OUTSIDE, to, 64)
}

pub fn udp(ip: PacketBuilderStep<etherparse::IpHeaders>, from: u16, to: u16) -> Vec<u8> {
    let (builder, mut frame) = (ip.udp(from, to), Vec::new());
    builder.write(&mut frame, b"hello").expect("a vector");
    frame
}

/// With a sequence number, and flags.
pub fn tcp(
    ip: PacketBuilderStep<etherparse::IpHeaders>,
    from: u16,
    to: u16,
    flags: &str,
) -> Vec<u8> {
    let mut builder = ip.tcp(from, to, 1, 1000);
    for flag in flags.chars() {
        builder = match flag {
            'S' => builder.syn(),
            'A' => builder.ack(1),
            'R' => builder.rst(),
            'F' => builder.fin(),
            _ => panic!("{flag}"),
        };
    }
    let mut frame = Vec::new();
    builder.write(&mut frame, b"hello").expect("a vector");
    frame
}

pub fn ping(ip: PacketBuilderStep<etherparse::IpHeaders>, identifier: u16) -> Vec<u8> {
    let (builder, mut frame) = (ip.icmpv4_echo_request(identifier, 1), Vec::new());
    builder.write(&mut frame, b"hello").expect("a vector");
    frame
}

pub fn pong(ip: PacketBuilderStep<etherparse::IpHeaders>, identifier: u16) -> Vec<u8> {
    let (builder, mut frame) = (ip.icmpv4_echo_reply(identifier, 1), Vec::new());
    builder.write(&mut frame, b"hello").expect("a vector");
    frame
}

/// "Destination unreachable", about that frame.
pub fn unreachable(ip: PacketBuilderStep<etherparse::IpHeaders>, about: &[u8]) -> Vec<u8> {
    let (builder, mut frame) = (ip.icmpv4_raw(3, 1, [0; 4]), Vec::new());
    let quote = &about[14..about.len().min(14 + 28)];
    builder.write(&mut frame, quote).expect("a vector");
    frame
}

/// The same frame as the first of several IP fragments.
pub fn fragment(frame: &[u8]) -> Vec<u8> {
    let (mut ip, _) = Ipv4Header::from_slice(&frame[14..]).expect("IPv4");
    ip.more_fragments = true;
    ip.header_checksum = ip.calc_header_checksum();
    [&frame[..14], &ip.to_bytes(), &frame[34..]].concat()
}

/// The same frame with another length in its IP header.
pub fn with_ip_len(frame: &[u8], len: u16) -> Vec<u8> {
    let (mut ip, _) = Ipv4Header::from_slice(&frame[14..]).expect("IPv4");
    ip.total_len = len;
    ip.header_checksum = ip.calc_header_checksum();
    [&frame[..14], &ip.to_bytes(), &frame[34..]].concat()
}

/// Panics if a checksum is wrong.
pub fn check_sums(frame: &[u8]) {
    let packet = SlicedPacket::from_ethernet(frame).expect("a whole packet");
    let Some(NetSlice::Ipv4(ip)) = &packet.net else {
        panic!("no IPv4")
    };
    let header = ip.header().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    match packet.transport.expect("a transport") {
        TransportSlice::Udp(udp) => {
            let right = udp
                .to_header()
                .calc_checksum_ipv4(&header, udp.payload())
                .expect("short");
            assert!([0, right].contains(&udp.checksum()));
        }
        TransportSlice::Tcp(tcp) => {
            assert_eq!(
                tcp.checksum(),
                tcp.calc_checksum_ipv4(header.source, header.destination)
                    .expect("short")
            );
        }
        TransportSlice::Icmpv4(icmp) => {
            assert_eq!(
                icmp.checksum(),
                icmp.icmp_type().calc_checksum(icmp.payload())
            );
        }
        other => panic!("{other:?}"),
    }
}

/// Frames as they come from somebody who wants us to fail: cut anywhere, and with any byte of the headers changed.
pub fn damaged() -> Vec<Vec<u8>> {
    let tagged = |frame: Vec<u8>| [&frame[..12], &[0x81, 0, 0, 1], &frame[12..]].concat();
    let good = [
        udp(out(), 1000, 53),
        tcp(back(INSIDE), 80, 1000, "SA"),
        ping(out(), 1),
        unreachable(back(INSIDE), &udp(out(), 1000, 53)),
        fragment(&udp(out(), 1000, 53)),
        tagged(udp(out(), 1000, 53)),
        arp_question(OUTSIDE),
    ];
    let mut all = Vec::new();
    for frame in good {
        all.extend((0..=frame.len()).map(|len| frame[..len].to_vec()));
        for at in 0..frame.len() {
            for byte in [0, 1, 0x0f, 0x45, 0x46, 0x4f, 0x60, 0xff] {
                let mut frame = frame.clone();
                frame[at] = byte;
                all.push(frame);
            }
        }
    }
    all
}

/// "Who has that address?"
pub fn arp_question(address: [u8; 4]) -> Vec<u8> {
    let asked = etherparse::ArpEthIpv4Packet {
        operation: etherparse::ArpOperation::REQUEST,
        sender_mac: OUTSIDE_MAC,
        sender_ipv4: OUTSIDE,
        target_mac: [0; 6],
        target_ipv4: address,
    };
    [
        &[0xff; 6][..],
        &OUTSIDE_MAC,
        &[8, 6],
        &asked.to_bytes(),
        &[0; 18],
    ]
    .concat()
}
