//! Packets that the kernel has left unfinished, because a real card would have finished them: a checksum to be
//! completed, a large packet to be taken apart. They come with a `struct virtio_net_hdr`.

use crate::vnet::{Conversion, Drop, OutSlot, convert};

/// Bytes of `struct virtio_net_hdr`.
const HEADER: usize = 10;
/// `gso_type`: not to be taken apart.
const GSO_NONE: u8 = 0;
/// `gso_type`: UDP datagrams of `gso_size` bytes each, which is what our segments of UDP are.
const GSO_UDP_L4: u8 = 5;
/// `gso_type`: UDP.
const GSO_UDP: u8 = 3;
/// Bit of `gso_type`: the TCP flags have ECN set.
const GSO_ECN: u8 = 0x80;

/// How many slots of `room` bytes the frames of a packet take, found out without making them: at least so many, if it
/// makes sense.
pub fn slots(header: &[u8; HEADER], pieces: &[&[u8]], room: u32) -> u32 {
    let len: usize = pieces.iter().map(|piece| piece.len()).sum();
    let gso_size = usize::from(u16::from_ne_bytes([header[4], header[5]]));
    if header[1] & !GSO_ECN == GSO_NONE || gso_size == 0 {
        return len.div_ceil(room.max(1) as usize) as u32;
    }
    let csum_start = u16::from_ne_bytes([header[6], header[7]]);
    let is_udp = matches!(header[1] & !GSO_ECN, GSO_UDP | GSO_UDP_L4);
    let offset = byte(pieces, usize::from(csum_start) + 12);
    let headers = headers_of(offset, csum_start, is_udp) as usize;
    len.saturating_sub(headers).div_ceil(gso_size) as u32
}

/// Byte `at` of a packet.
fn byte(pieces: &[&[u8]], mut at: usize) -> Option<u8> {
    for piece in pieces {
        match piece.get(at) {
            Some(byte) => return Some(*byte),
            None => at -= piece.len(),
        }
    }
    None
}

/// The frames of a packet, each of at most `room` bytes and at most `most` of them.
pub fn finish(
    header: &[u8; HEADER],
    pieces: &[&[u8]],
    room: u32,
    most: u32,
) -> Result<Vec<OutSlot>, Drop> {
    let mut header = *header;
    let gso_size = u16::from_ne_bytes([header[4], header[5]]);
    let csum_start = u16::from_ne_bytes([header[6], header[7]]);
    let is_whole = header[1] & !GSO_ECN == GSO_NONE;
    if header[1] & !GSO_ECN == GSO_UDP_L4 {
        header[1] = GSO_UDP | header[1] & GSO_ECN;
    }
    let mut bytes = header.to_vec();
    pieces
        .iter()
        .for_each(|piece| bytes.extend_from_slice(piece));
    let frame = if is_whole {
        // It goes into one slot or is spread over several as it is.
        u32::MAX
    } else {
        let is_udp = header[1] & !GSO_ECN == GSO_UDP;
        let offset = byte(pieces, usize::from(csum_start) + 12);
        u32::from(gso_size) + headers_of(offset, csum_start, is_udp)
    };
    let conversion = Conversion {
        src_hdr: HEADER as u32,
        dst_hdr: 0,
        dst_mfs: frame,
        buf_size: if is_whole { u32::MAX } else { room },
        room: most,
    };
    convert(&[&bytes], &conversion)
}

/// Bytes of a packet's headers, up to its payload. The checksum of TCP and UDP starts where their header does; `offset`
/// is the byte of it that says how long a header of TCP is.
fn headers_of(offset: Option<u8>, csum_start: u16, is_udp: bool) -> u32 {
    let len = match offset {
        _ if is_udp => 8,
        Some(offset) => 4 * u32::from(offset >> 4),
        None => 20,
    };
    u32::from(csum_start) + len
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    fn tcp(payload: usize) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(1, 2, 1000, 5000);
        let mut bytes = Vec::new();
        let payload: Vec<u8> = (0..payload).map(|i| i as u8).collect();
        builder.write(&mut bytes, &payload).unwrap();
        bytes
    }

    fn header(flags: u8, gso_type: u8, gso_size: u16) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        (header[0], header[1]) = (flags, gso_type);
        header[4..6].copy_from_slice(&gso_size.to_ne_bytes());
        header[6..8].copy_from_slice(&34u16.to_ne_bytes());
        header[8..10].copy_from_slice(&16u16.to_ne_bytes());
        header
    }

    #[test]
    fn segments_are_of_the_size_that_the_sender_wanted() {
        let packet = tcp(5000);
        let (a, b) = packet.split_at(100);
        let frames = finish(&header(1, 1, 1400), &[a, b], 2048, 100).unwrap();
        let lens: Vec<usize> = frames.iter().map(|f| f.bytes.len()).collect();
        assert_eq!(lens, [1454, 1454, 1454, 854]);
        let payload: Vec<u8> = frames.iter().flat_map(|f| f.bytes[54..].to_vec()).collect();
        assert_eq!(payload, packet[54..]);
    }

    #[test]
    fn room_is_known_before_frames_are_made() {
        for (payload, size) in [
            (5000, 1400),
            (4200, 1400),
            (4201, 1400),
            (1, 1),
            (60_000, 536),
        ] {
            let packet = tcp(payload);
            for cut in [0, 40, 46, 47, 100.min(packet.len())] {
                let (a, b) = packet.split_at(cut);
                let header = header(1, 1, size);
                let frames = finish(&header, &[a, b], 2048, 1000).unwrap();
                assert_eq!(slots(&header, &[a, b], 2048), frames.len() as u32);
            }
        }
        let packet = tcp(5000);
        assert_eq!(slots(&header(1, 0, 0), &[&packet], 2048), 3);
    }

    #[test]
    fn a_checksum_is_completed_and_the_packet_stays_whole() {
        let good = tcp(3000);
        let mut packet = good.clone();
        // The kernel leaves the sum of the pseudo header there.
        let mut sum: u32 = [0x0a00, 1, 0x0a00, 2, 6, 3020].iter().sum();
        sum = (sum & 0xffff) + (sum >> 16);
        packet[50..52].copy_from_slice(&(sum as u16).to_be_bytes());
        let frames = finish(&header(1, 0, 0), &[&packet], 2048, 100).unwrap();
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].bytes, good);
    }

    #[test]
    fn nonsense_is_refused() {
        let packet = tcp(100);
        for gso_type in [1, 3, 4, 5, 7, 0x81] {
            for size in [0, 1, 3, 65535] {
                for len in [0, 1, 13, 14, 33, 34, 53, packet.len()] {
                    let _ = finish(&header(1, gso_type, size), &[&packet[..len]], 2048, 1000);
                }
            }
        }
        assert!(finish(&header(1, 7, 100), &[&packet], 2048, 100).is_err());
    }
}
