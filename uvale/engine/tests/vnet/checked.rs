//! Parses frames with `etherparse`, whose checksums are not ours.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

/// What a frame says, found to be consistent: lengths fill the frame, checksums are right.
pub struct Checked<'a> {
    /// IPv4 identification
    pub id: Option<u16>,
    /// TCP sequence number and flags
    pub tcp: Option<(u32, u8)>,
    pub payload: &'a [u8],
    pub vlans: usize,
}

/// Checks everything that segmentation changes.
pub fn check(frame: &[u8]) -> Checked<'_> {
    let packet = SlicedPacket::from_ethernet(frame).expect("headers that parse");
    let mut id = None;
    let l3 = 14 + 4 * packet.link_exts.len();
    match packet.net.as_ref().expect("an IP header") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(usize::from(header.total_len), frame.len() - l3);
            id = Some(header.identification);
        }
        NetSlice::Ipv6(ip) => {
            assert_eq!(
                usize::from(ip.header().payload_length()),
                frame.len() - l3 - 40
            );
        }
        other => panic!("not IP: {other:?}"),
    }
    let (tcp, payload) = match packet.transport.as_ref().expect("a TCP or UDP header") {
        TransportSlice::Tcp(tcp) => {
            assert_eq!(tcp.checksum(), l4_checksum(&packet));
            (
                Some((tcp.sequence_number(), tcp.slice()[13])),
                tcp.payload(),
            )
        }
        TransportSlice::Udp(udp) => {
            assert_eq!(udp.checksum(), l4_checksum(&packet));
            assert_eq!(usize::from(udp.length()), udp.payload().len() + 8);
            (None, udp.payload())
        }
        other => panic!("neither TCP nor UDP: {other:?}"),
    };
    assert!(frame.ends_with(payload), "bytes behind the packet");
    Checked {
        id,
        tcp,
        payload,
        vlans: packet.link_exts.len(),
    }
}

/// What the checksum of the TCP or UDP packet should be.
fn l4_checksum(packet: &SlicedPacket<'_>) -> u16 {
    let sum = match (packet.transport.as_ref(), packet.net.as_ref()) {
        (Some(TransportSlice::Tcp(tcp)), Some(NetSlice::Ipv4(ip))) => {
            tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination())
        }
        (Some(TransportSlice::Tcp(tcp)), Some(NetSlice::Ipv6(ip))) => {
            tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination())
        }
        (Some(TransportSlice::Udp(udp)), Some(NetSlice::Ipv4(ip))) => udp
            .to_header()
            .calc_checksum_ipv4(&ip.header().to_header(), udp.payload()),
        (Some(TransportSlice::Udp(udp)), Some(NetSlice::Ipv6(ip))) => udp
            .to_header()
            .calc_checksum_ipv6(&ip.header().to_header(), udp.payload()),
        other => panic!("no checksum for {other:?}"),
    };
    sum.expect("a length that fits")
}
