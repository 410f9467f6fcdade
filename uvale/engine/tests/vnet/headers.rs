//! Packets that are not segmented: headers that come, go and change, and checksums.

use uvale_engine::vnet::{Conversion, Drop, OutSlot, convert, slots_needed};

use crate::checked::check;
use crate::frames::{Frame, cut, refs, slots};
use crate::{DATA_VALID, GSO_NONE, NEEDS_CSUM, OFFLOAD};

const MOREFRAG: u16 = 0x20;

fn one_slot(src: &[u8], src_hdr: u32, dst_hdr: u32) -> OutSlot {
    let c = Conversion {
        src_hdr,
        dst_hdr,
        ..OFFLOAD
    };
    let mut out = convert(&[src], &c).expect("a packet that passes");
    assert_eq!(out.len(), 1);
    out.remove(0)
}

/// What kernel netmap was seen to deliver of a 60-byte frame.
#[test]
fn one_slot_between_every_pair_of_lengths() {
    let frame = [0x66u8; 60];
    let header: Vec<u8> = [2, 0, 9, 9, 8, 8, 7, 7, 6, 6, 5, 5].to_vec();
    for (src, dst, len) in [
        (10, 0, 60),
        (0, 10, 70),
        (12, 10, 70),
        (10, 12, 72),
        (12, 0, 60),
        (12, 12, 72),
    ] {
        let packet = [&header[..src], &frame].concat();
        let out = one_slot(&packet, src as u32, dst as u32);
        assert_eq!((out.bytes.len(), out.flags), (len, 0x100), "{src} to {dst}");
        let mut expected = vec![0; dst];
        if src != 0 {
            let kept = dst.min(10);
            expected[..kept].copy_from_slice(&header[..kept]);
        }
        expected.extend(frame);
        assert_eq!(out.bytes, expected, "{src} to {dst}");
    }
}

#[test]
fn fragments_stay_fragments() {
    let frame: Vec<u8> = (0..150).collect();
    let pieces = cut(&frame, &[60, 0, 40]);
    let out = convert(
        &pieces,
        &Conversion {
            src_hdr: 0,
            dst_hdr: 12,
            ..OFFLOAD
        },
    )
    .unwrap();
    let lens: Vec<_> = out.iter().map(|s| s.bytes.len()).collect();
    assert_eq!(lens, [72, 0, 40, 50]);
    let flags: Vec<_> = out.iter().map(|s| s.flags).collect();
    assert_eq!(
        flags,
        [0x400 | MOREFRAG, 0x400 | MOREFRAG, 0x400 | MOREFRAG, 0x400]
    );
    assert_eq!(
        refs(&out.into_iter().map(|s| s.bytes).collect::<Vec<_>>()).concat()[12..],
        frame
    );
}

#[test]
fn a_first_slot_that_is_only_the_header() {
    let frame = [0x55u8; 60];
    // A receiver without header gets no slot for it ...
    let out = convert(&[&[0; 10], &frame], &OFFLOAD).unwrap();
    assert_eq!(
        out,
        [OutSlot {
            bytes: frame.to_vec(),
            flags: 0x100
        }]
    );
    // ... one with a header gets the header in a slot of its own.
    let out = convert(
        &[&[0; 10], &frame],
        &Conversion {
            dst_hdr: 12,
            ..OFFLOAD
        },
    )
    .unwrap();
    assert_eq!(
        out[0],
        OutSlot {
            bytes: vec![0; 12],
            flags: 0x200 | MOREFRAG
        }
    );
    assert_eq!(
        out[1],
        OutSlot {
            bytes: frame.to_vec(),
            flags: 0x200
        }
    );
}

#[test]
fn the_request_is_handed_on_to_a_receiver_with_offloads() {
    let frame = Frame::tcp4(3000);
    // Even one that is nonsense: the receiver is who reads it.
    for header in [frame.gso_header(1514), [0xff; 10]] {
        let packet = slots(&header, &frame.bytes(), 2000);
        let out = convert(
            &refs(&packet),
            &Conversion {
                dst_hdr: 12,
                ..OFFLOAD
            },
        )
        .unwrap();
        assert_eq!(out.len(), 2);
        assert_eq!(out[0].bytes[..10], header);
        assert_eq!(out[0].bytes[10..12], [0, 0]);
    }
}

#[test]
fn needs_csum_is_done_wherever_the_slots_end() {
    for frame in [Frame::tcp4(301), Frame::tcp6(300), Frame::udp4(77), {
        Frame {
            ipv4: false,
            vlans: 1,
            ..Frame::udp4(1)
        }
    }] {
        let packet = [&frame.csum_header()[..], &frame.bytes()].concat();
        let first = 10 + frame.header_len();
        for pieces in [
            vec![],
            vec![first],
            vec![first + 1],
            vec![10, frame.header_len(), 1],
        ] {
            let out = convert(&cut(&packet, &pieces), &OFFLOAD).unwrap();
            let bytes = out.iter().flat_map(|s| s.bytes.clone()).collect::<Vec<_>>();
            assert_eq!(check(&bytes).payload, frame.payload);
        }
    }
}

#[test]
fn a_udp_checksum_is_never_zero() {
    for gso in [false, true] {
        // One of all payloads of two bytes makes the sum 0xffff, whose complement is zero.
        let found = (0..=0xffffu16).find(|word| {
            let payload = word.to_be_bytes().to_vec();
            let frame = Frame {
                payload,
                ..Frame::udp4(2)
            };
            let header = if gso {
                frame.gso_header(1514)
            } else {
                frame.csum_header()
            };
            let packet = [&header[..], &frame.bytes()].concat();
            let out = convert(&[&packet], &OFFLOAD).unwrap();
            assert_ne!(out[0].bytes[40..42], [0, 0]);
            out[0].bytes[40..42] == [0xff, 0xff]
        });
        assert!(found.is_some());
    }
}

#[test]
fn without_needs_csum_nothing_is_touched() {
    let frame = Frame::tcp4(100);
    for flags in [0, DATA_VALID] {
        let packet = [&frame.vnet_header(flags, GSO_NONE, 0)[..], &frame.bytes()].concat();
        assert_eq!(one_slot(&packet, 10, 0).bytes, frame.bytes());
    }
}

/// As in netmap: the field is not where it can be written, so the packet passes as it is.
#[test]
fn a_checksum_field_beyond_the_first_slot_is_not_written() {
    let frame = Frame::tcp4(100);
    let bytes = frame.bytes();
    let header = frame.csum_header();
    let out = convert(
        &cut(&[&header[..], &bytes].concat(), &[10 + 34 + 10]),
        &OFFLOAD,
    )
    .unwrap();
    assert_eq!([&out[0].bytes[..], &out[1].bytes].concat(), bytes);
}

#[test]
fn a_checksum_that_starts_beyond_the_packet_drops_it() {
    let frame = Frame::tcp4(0);
    let bytes = frame.bytes();
    for (start, ok) in [
        (bytes.len(), true),
        (bytes.len() + 1, false),
        (0xffff, false),
    ] {
        let mut header = frame.csum_header();
        header[6..8].copy_from_slice(&(start as u16).to_ne_bytes());
        let out = convert(&[&header, &bytes], &OFFLOAD);
        assert_eq!(out.is_ok(), ok, "start {start}");
        assert!(ok || out == Err(Drop::BadHeader));
    }
}

#[test]
fn both_flags_at_once() {
    let frame = Frame::tcp4(9);
    let header = frame.vnet_header(NEEDS_CSUM | DATA_VALID, GSO_NONE, 0);
    check(&convert(&[&header, &frame.bytes()], &OFFLOAD).unwrap()[0].bytes);
}

#[test]
fn slots_needed_is_netmaps_formula() {
    // Frames no larger than the receiver's: slot for slot.
    assert_eq!(slots_needed(7, 1514, 2048), 7);
    assert_eq!(slots_needed(7, 2048, 2048), 7);
    // (slots * src_mfs) / (dst_mfs - 114) + 1
    assert_eq!(slots_needed(1, 2048, 1514), 2);
    assert_eq!(slots_needed(32, 2048, 1514), 47);
    assert_eq!(slots_needed(0, 2048, 1514), 1);
    // Frames that could be nothing but headers, and numbers too large.
    assert_eq!(slots_needed(2, 2048, 114), 4097);
    assert_eq!(slots_needed(2, 2048, 0), 4097);
    assert_eq!(slots_needed(u32::MAX, u32::MAX, 1), u32::MAX);
}
