//! Packets that do not arrive, with the reason, and the promise that nothing panics.

use proptest::collection::vec;
use proptest::prelude::*;
use uvale_engine::vnet::{Conversion, Drop, convert};

use crate::frames::{Frame, refs, slots};
use crate::{GSO_ECN, GSO_TCPV4, GSO_UDP, NEEDS_CSUM, OFFLOAD};

/// The reason why `frame`, changed by `damage`, is not segmented.
fn reason(frame: &Frame, damage: impl Fn(&mut Vec<u8>), c: &Conversion) -> Option<Drop> {
    let mut bytes = frame.bytes();
    damage(&mut bytes);
    convert(&refs(&slots(&frame.gso_header(1514), &bytes, 2048)), c).err()
}

#[test]
fn a_header_that_is_not_whole() {
    for slots in [
        &[][..],
        &[&[][..]],
        &[&[0; 9]],
        &[&[0; 10]],
        &[&[0; 4], &[0; 100]],
    ] {
        assert_eq!(
            convert(slots, &OFFLOAD),
            Err(Drop::ShortHeader),
            "{slots:?}"
        );
    }
    let to_header = Conversion {
        dst_hdr: 12,
        ..OFFLOAD
    };
    assert_eq!(convert(&[&[0; 9]], &to_header), Err(Drop::ShortHeader));
    // A header length that ports cannot have.
    let odd = Conversion {
        src_hdr: 4,
        ..OFFLOAD
    };
    assert_eq!(convert(&[&[0; 100]], &odd), Err(Drop::ShortHeader));
}

#[test]
fn a_header_of_nonsense() {
    for (flags, gso_type) in [
        (4, 0),
        (0x80, 0),
        (0, 2),
        (0, 5),
        (0, GSO_ECN | 2),
        (0, 0x40),
    ] {
        let mut packet = [0u8; 100];
        (packet[0], packet[1]) = (flags, gso_type);
        assert_eq!(
            convert(&[&packet], &OFFLOAD),
            Err(Drop::BadHeader),
            "{flags} {gso_type}"
        );
    }
}

#[test]
fn gso_headers_that_are_not_whole() {
    for frame in [Frame::tcp4(0), Frame::tcp6(0), Frame::udp4(0), {
        Frame {
            vlans: 2,
            ip_options: 10,
            tcp_options: 10,
            ..Frame::tcp4(0)
        }
    }] {
        let (bytes, payload) = (frame.bytes(), [1u8; 500]);
        let header = frame.gso_header(1514);
        for cut in 0..frame.header_len() {
            let first = [&header[..], &bytes[..cut]].concat();
            let result = convert(&[&first, &bytes[cut..], &payload], &OFFLOAD);
            // With nothing of the frame in the first slot all of it is in the second.
            let expected = if cut == 0 {
                Ok(())
            } else {
                Err(Drop::ShortGso)
            };
            assert_eq!(result.map(|_| ()), expected, "{frame:?} cut at {cut}");
        }
    }
}

#[test]
fn what_cannot_be_segmented() {
    let not = Some(Drop::NotSegmentable);
    let (tcp4, tcp6) = (Frame::tcp4(4000), Frame::tcp6(4000));
    assert_eq!(reason(&tcp4, |_| (), &OFFLOAD), None);
    // Ethernet types: ARP, 802.1ad.
    assert_eq!(reason(&tcp4, |b| b[13] = 0x06, &OFFLOAD), not);
    assert_eq!(
        reason(
            &tcp4,
            |b| b[12..14].copy_from_slice(&[0x88, 0xa8]),
            &OFFLOAD
        ),
        not
    );
    // Header lengths below the fixed part.
    for nibble in 0..5 {
        assert_eq!(
            reason(&tcp4, |b| b[14] = 0x40 | nibble, &OFFLOAD),
            not,
            "IHL {nibble}"
        );
        assert_eq!(
            reason(&tcp4, |b| b[46] = nibble << 4, &OFFLOAD),
            not,
            "doff {nibble}"
        );
    }
    // IPv6 extension headers.
    for next_header in [0, 43, 44, 51, 60] {
        assert_eq!(
            reason(&tcp6, |b| b[20] = next_header, &OFFLOAD),
            not,
            "{next_header}"
        );
    }
    // No payload.
    assert_eq!(reason(&Frame::tcp4(0), |_| (), &OFFLOAD), not);
    // Frames with no room for payload.
    for dst_mfs in [0, 1, 53, 54] {
        assert_eq!(
            reason(&tcp4, |_| (), &Conversion { dst_mfs, ..OFFLOAD }),
            not,
            "{dst_mfs}"
        );
    }
    assert_eq!(
        reason(
            &tcp4,
            |_| (),
            &Conversion {
                buf_size: 54,
                ..OFFLOAD
            }
        ),
        not
    );
    assert_eq!(
        reason(
            &Frame::tcp4(9),
            |_| (),
            &Conversion {
                dst_mfs: 55,
                ..OFFLOAD
            }
        ),
        None
    );
}

#[test]
fn no_room_means_nothing_at_all() {
    let frame = Frame::tcp4(4 * 1460);
    for room in 0..4 {
        let full = Conversion { room, ..OFFLOAD };
        assert_eq!(
            reason(&frame, |_| (), &full),
            Some(Drop::NoRoom),
            "room {room}"
        );
    }
    assert_eq!(
        reason(&frame, |_| (), &Conversion { room: 4, ..OFFLOAD }),
        None
    );
    let plain = Conversion {
        src_hdr: 0,
        dst_hdr: 10,
        room: 1,
        ..OFFLOAD
    };
    assert_eq!(convert(&[&[0; 60], &[0; 60]], &plain), Err(Drop::NoRoom));
    assert!(convert(&[&[0; 60]], &plain).is_ok());
}

#[test]
fn a_slot_larger_than_the_receivers_buffer() {
    let grow = Conversion {
        src_hdr: 0,
        dst_hdr: 12,
        ..OFFLOAD
    };
    assert!(convert(&[&[0; 2036]], &grow).is_ok());
    assert_eq!(convert(&[&[0; 2037]], &grow), Err(Drop::TooLong));
    assert_eq!(convert(&[&[0; 60], &[0; 2049]], &grow), Err(Drop::TooLong));
    // The length field of a slot has 16 bits.
    let huge = Conversion {
        buf_size: 1 << 20,
        ..grow
    };
    assert!(convert(&[&[0; 65523]], &huge).is_ok());
    assert_eq!(convert(&[&[0; 65524]], &huge), Err(Drop::TooLong));
}

/// Bytes that often look like a GSO packet.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let types = prop_oneof![
        Just(0u8),
        Just(GSO_TCPV4),
        Just(GSO_UDP),
        Just(0x84),
        any::<u8>()
    ];
    let frame = (0..3usize, any::<[bool; 2]>(), 0..5000usize).prop_map(|(vlans, ip, len)| {
        let [ipv4, udp] = ip;
        Frame {
            vlans,
            ipv4,
            udp,
            ..Frame::tcp4(len)
        }
    });
    let damage = vec((0..120usize, any::<u8>()), 0..4);
    (types, 0..4u8, any::<u16>(), frame, damage).prop_map(|(gso, flags, start, frame, damage)| {
        let mut header = frame.vnet_header(flags, gso, 1000);
        if flags & NEEDS_CSUM == 0 {
            header[6..8].copy_from_slice(&start.to_ne_bytes());
        }
        let mut bytes = [&header[..], &frame.bytes()].concat();
        for (at, value) in damage {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes
    })
}

fn conversion() -> impl Strategy<Value = Conversion> {
    let lens = || prop_oneof![Just(0u32), Just(10), Just(12), 0..40u32];
    let sizes = || prop_oneof![Just(1514u32), Just(2048), 0..3000u32, any::<u32>()];
    (
        lens(),
        lens(),
        sizes(),
        sizes(),
        prop_oneof![Just(1023u32), 0..9u32],
    )
        .prop_map(|(src_hdr, dst_hdr, dst_mfs, buf_size, room)| Conversion {
            src_hdr,
            dst_hdr,
            dst_mfs,
            buf_size,
            room,
        })
}

/// Whatever came out fits where it is to be put.
fn fits(frags: &[&[u8]], c: &Conversion) -> Result<(), TestCaseError> {
    if let Ok(out) = convert(frags, c) {
        prop_assert!(!out.is_empty() && out.len() <= c.room as usize);
        prop_assert!(out.iter().all(|s| s.bytes.len() <= c.buf_size as usize));
        prop_assert!(out.iter().all(|s| s.bytes.len() <= 0xffff));
    }
    Ok(())
}

proptest! {
    #[test]
    fn random_bytes_fit_or_are_dropped(
        frags in vec(vec(any::<u8>(), 0..200), 0..5),
        c in conversion(),
    ) {
        fits(&refs(&frags), &c)?;
    }

    #[test]
    fn damaged_packets_fit_or_are_dropped(
        packet in packet(),
        first in 0..200usize,
        size in 1..3000usize,
        c in conversion(),
    ) {
        let (first, rest) = packet.split_at(first.min(packet.len()));
        let frags: Vec<&[u8]> = std::iter::once(first).chain(rest.chunks(size)).collect();
        fits(&frags, &c)?;
    }
}
