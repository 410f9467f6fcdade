//! Segments, put together again, are the packet they came from.

use proptest::collection::vec;
use proptest::prelude::*;
use uvale_engine::vnet::{Conversion, OutSlot, convert};

use crate::checked::check;
use crate::frames::{Frame, cut, refs, slots};
use crate::{GSO_ECN, OFFLOAD};

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;

/// Checks `out` against the packet that it was made of.
fn reassembles(frame: &Frame, out: &[OutSlot], mfs: usize) {
    let original = frame.bytes();
    let mut payload: Vec<u8> = Vec::new();
    for (i, slot) in out.iter().enumerate() {
        let last = i + 1 == out.len();
        let seen = check(&slot.bytes);
        assert_eq!(slot.flags, 0);
        assert_eq!(seen.vlans, frame.vlans);
        assert!(
            last || slot.bytes.len() == mfs,
            "only the last one is shorter"
        );
        assert!(slot.bytes.len() <= mfs);
        if frame.ipv4 {
            assert_eq!(seen.id, Some(frame.id.wrapping_add(i as u16)));
        }
        if let Some((seq, flags)) = seen.tcp {
            assert_eq!(seq, frame.seq.wrapping_add(payload.len() as u32));
            let kept = if last { 0xff } else { !(FIN | PSH) };
            assert_eq!(flags, frame.tcp_flags & kept);
        }
        assert_eq!(constant(frame, &slot.bytes), constant(frame, &original));
        payload.extend(seen.payload);
    }
    assert_eq!(payload, frame.payload);
}

/// The headers without the fields that segmentation is to change.
fn constant(frame: &Frame, bytes: &[u8]) -> Vec<u8> {
    let mut header = bytes[..frame.header_len()].to_vec();
    let ip: &[(usize, usize)] = match frame.ipv4 {
        true => &[(2, 6), (10, 12)],
        false => &[(4, 6)],
    };
    let transport: &[(usize, usize)] = match frame.udp {
        true => &[(4, 8)],
        false => &[(4, 8), (13, 14), (16, 18)],
    };
    for (base, ranges) in [(frame.l3(), ip), (frame.l4(), transport)] {
        for (from, to) in ranges {
            header[base + from..base + to].fill(0);
        }
    }
    header
}

fn frame() -> impl Strategy<Value = Frame> {
    let shape = (
        0..4usize,
        any::<bool>(),
        any::<bool>(),
        0..11usize,
        0..11usize,
    );
    let fields = (any::<u16>(), any::<u32>(), any::<u8>());
    (shape, fields, vec(any::<u8>(), 1..20_000)).prop_map(|(shape, fields, payload)| {
        let (vlans, ipv4, udp, ip_options, tcp_options) = shape;
        let (id, seq, tcp_flags) = fields;
        Frame {
            vlans,
            ipv4,
            udp,
            ip_options,
            tcp_options,
            id,
            seq,
            tcp_flags,
            payload,
        }
    })
}

proptest! {
    #[test]
    fn segments_reassemble(
        frame in frame(),
        pieces in vec(0..4000usize, 0..8),
        split_header in any::<bool>(),
        ecn in any::<bool>(),
        src_hdr in prop_oneof![Just(10u32), Just(12)],
        mfs in 200..2049usize,
    ) {
        let mut header = frame.gso_header(mfs).to_vec();
        header.resize(src_hdr as usize, 0xee);
        if ecn {
            header[1] |= GSO_ECN;
        }
        let packet = [&header[..], &frame.bytes()].concat();
        let headers = frame.header_len();
        let mut lengths = if split_header {
            vec![header.len(), headers]
        } else {
            vec![header.len() + headers]
        };
        // Payload may begin behind the headers or in a slot of its own.
        if let Some(more) = pieces.first() {
            *lengths.last_mut().unwrap() += more;
        }
        lengths.extend(pieces.iter().skip(1));
        // A last slot without bytes is a matter of its own.
        let frags: Vec<&[u8]> = cut(&packet, &lengths);
        let end = frags.iter().rposition(|f| !f.is_empty()).unwrap();
        let c = Conversion { src_hdr, dst_mfs: mfs as u32, ..OFFLOAD };
        let out = convert(&frags[..=end], &c).unwrap();
        prop_assert_eq!(out.len(), frame.payload.len().div_ceil(mfs - headers));
        reassembles(&frame, &out, mfs);
    }
}

#[test]
fn sequence_number_and_identification_wrap() {
    let frame = Frame {
        id: 0xffff,
        seq: u32::MAX - 1000,
        ..Frame::tcp4(60_000)
    };
    let out = convert(
        &refs(&slots(&frame.gso_header(1514), &frame.bytes(), 2048)),
        &OFFLOAD,
    );
    reassembles(&frame, &out.unwrap(), 1514);
}

/// The receiver's frame size decides, not what the sender's header asks for.
#[test]
fn gso_size_plays_no_part() {
    let frame = Frame::tcp4(3000);
    let small = convert(
        &refs(&slots(&frame.gso_header(600), &frame.bytes(), 2048)),
        &OFFLOAD,
    );
    assert_eq!(small.as_ref().map(Vec::len), Ok(3));
    reassembles(&frame, &small.unwrap(), 1514);
}

#[test]
fn a_buffer_smaller_than_the_frame_size_is_the_limit() {
    let frame = Frame::tcp4(3000);
    let c = Conversion {
        buf_size: 512,
        ..OFFLOAD
    };
    let out = convert(
        &refs(&slots(&frame.gso_header(1514), &frame.bytes(), 2048)),
        &c,
    )
    .unwrap();
    reassembles(&frame, &out, 512);
}

/// A type of nothing but the ECN bit is taken for TCP, and the family is the Ethernet type's.
#[test]
fn types_are_taken_as_netmap_takes_them() {
    for (frame, gso_type) in [
        (Frame::tcp4(3000), GSO_ECN),
        (Frame::tcp6(3000), 1),
        (Frame::tcp4(3000), 4),
    ] {
        let header = frame.vnet_header(0, gso_type, 0);
        let out = convert(&refs(&slots(&header, &frame.bytes(), 2048)), &OFFLOAD).unwrap();
        reassembles(&frame, &out, 1514);
    }
}

/// As in netmap: when the bytes end with a full frame, an empty last slot makes one more segment,
/// which then is the last; after a frame that is not full it only ends the packet.
#[test]
fn an_empty_last_slot() {
    for (payload, segments) in [(2 * 1460, 3), (2 * 1460 - 1, 2), (1, 1)] {
        let frame = Frame::tcp4(payload);
        let packet = [&frame.gso_header(1514)[..], &frame.bytes()].concat();
        let out = convert(&[&packet, &[]], &OFFLOAD).unwrap();
        assert_eq!(out.len(), segments, "payload {payload}");
        reassembles(&frame, &out, 1514);
    }
}
