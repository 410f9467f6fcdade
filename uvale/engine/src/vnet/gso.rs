//! Segmentation: a TCP or UDP packet larger than the receiver's frames becomes several packets,
//! each with a copy of the headers, corrected for what it carries.

use core::iter::once;

use super::checksum::Checksum;
use super::{Conversion, Drop, OutSlot, max_slot_len};

const ETH_HDR_LEN: usize = 14;
const VLAN_TAG_LEN: usize = 4;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const IPV4_HDR_LEN: usize = 20;
const IPV6_HDR_LEN: usize = 40;
const TCP_HDR_LEN: usize = 20;
const UDP_HDR_LEN: usize = 8;
const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
/// Next headers that are extensions of IPv6: hop-by-hop, routing, fragment, authentication,
/// destination options. The TCP or UDP header is behind them and not where it is looked for.
const IPV6_EXTENSIONS: [u8; 5] = [0, 43, 44, 51, 60];

/// Cuts the packet `first`, `rest` into frames of at most the receiver's maximum frame size.
/// Its headers are all in `first`; `gso_size` plays no part, as in netmap.
pub fn segment(
    udp: bool,
    first: &[u8],
    rest: &[&[u8]],
    c: &Conversion,
) -> Result<Vec<OutSlot>, Drop> {
    let headers = Headers::parse(first, udp)?;
    let (head, data) = first.split_at_checked(headers.len).ok_or(Drop::ShortGso)?;
    let limit = (c.dst_mfs as usize).min(max_slot_len(c));
    if limit <= headers.len {
        return Err(Drop::NotSegmentable);
    }
    let mut out = Vec::new();
    let mut frame = Vec::new();
    let mut sent = 0u32;
    let mut pieces = once(data)
        .filter(|d| !d.is_empty())
        .chain(rest.iter().copied())
        .peekable();
    while let Some(mut piece) = pieces.next() {
        let last_piece = pieces.peek().is_none();
        loop {
            if frame.is_empty() {
                if out.len() >= c.room as usize {
                    return Err(Drop::NoRoom);
                }
                frame.reserve_exact(limit);
                frame.extend_from_slice(head);
            }
            let (now, later) = piece.split_at(piece.len().min(limit - frame.len()));
            frame.extend_from_slice(now);
            piece = later;
            let last = last_piece && piece.is_empty();
            if frame.len() == limit || last {
                headers.fix(
                    &mut frame,
                    Segment {
                        index: out.len() as u16,
                        sent,
                        last,
                    },
                );
                sent = sent.wrapping_add((frame.len() - headers.len) as u32);
                out.push(OutSlot {
                    bytes: core::mem::take(&mut frame),
                    flags: 0,
                });
            }
            if piece.is_empty() {
                break;
            }
        }
    }
    if out.is_empty() {
        Err(Drop::NotSegmentable)
    } else {
        Ok(out)
    }
}

/// A frame's place among the segments of its packet.
struct Segment {
    index: u16,
    /// bytes of payload before this segment
    sent: u32,
    last: bool,
}

/// Where the headers of a packet are. Made by `parse` alone, which promises for every frame that
/// begins with the same `len` bytes: the fixed part of the IP header is between `l3` and `l4`, and
/// that of the TCP or UDP header between `l4` and `len`.
struct Headers {
    /// offset of the IP header
    l3: usize,
    /// offset of the TCP or UDP header
    l4: usize,
    /// bytes of all headers
    len: usize,
    ipv4: bool,
    udp: bool,
}

impl Headers {
    /// Finds the headers at the beginning of `frame`. The addresses' family is the Ethernet type,
    /// whatever the GSO type says; the IP header's protocol is not looked at.
    fn parse(frame: &[u8], udp: bool) -> Result<Self, Drop> {
        let byte = |at: usize| frame.get(at).copied().ok_or(Drop::ShortGso);
        let mut l3 = ETH_HDR_LEN;
        let ethertype = loop {
            let ethertype = u16::from_be_bytes([byte(l3 - 2)?, byte(l3 - 1)?]);
            if ethertype != ETHERTYPE_VLAN {
                break ethertype;
            }
            l3 += VLAN_TAG_LEN;
        };
        let (ipv4, ip_len, min_ip_len) = match ethertype {
            ETHERTYPE_IPV4 => (true, 4 * usize::from(byte(l3)? & 0x0f), IPV4_HDR_LEN),
            ETHERTYPE_IPV6 if IPV6_EXTENSIONS.contains(&byte(l3 + 6)?) => {
                return Err(Drop::NotSegmentable);
            }
            ETHERTYPE_IPV6 => (false, IPV6_HDR_LEN, IPV6_HDR_LEN),
            _ => return Err(Drop::NotSegmentable),
        };
        let l4 = l3 + ip_len;
        let (l4_len, min_l4_len) = if udp {
            (UDP_HDR_LEN, UDP_HDR_LEN)
        } else {
            (4 * usize::from(byte(l4 + 12)? >> 4), TCP_HDR_LEN)
        };
        let len = l4 + l4_len;
        if ip_len < min_ip_len || l4_len < min_l4_len {
            return Err(Drop::NotSegmentable);
        }
        if frame.len() < len {
            return Err(Drop::ShortGso);
        }
        Ok(Self {
            l3,
            l4,
            len,
            ipv4,
            udp,
        })
    }

    /// Corrects lengths, identification, sequence number, flags and checksums.
    fn fix(&self, frame: &mut [u8], s: Segment) {
        if self.ipv4 {
            self.fix_ipv4(frame, s.index);
        } else {
            // Payload length.
            put16(frame, self.l3 + 4, (frame.len() - self.l4) as u16);
        }
        let check = self.l4 + if self.udp { 6 } else { 16 };
        if self.udp {
            put16(frame, self.l4 + 4, (frame.len() - self.l4) as u16);
        } else {
            self.fix_tcp(frame, &s);
        }
        put16(frame, check, 0);
        let sum = self.l4_sum(frame);
        put16(
            frame,
            check,
            if self.udp {
                sum.finish_udp()
            } else {
                sum.finish()
            },
        );
    }

    fn fix_ipv4(&self, frame: &mut [u8], index: u16) {
        let (total_len, id, check) = (self.l3 + 2, self.l3 + 4, self.l3 + 10);
        put16(frame, total_len, (frame.len() - self.l3) as u16);
        put16(frame, id, get16(frame, id).wrapping_add(index));
        put16(frame, check, 0);
        let mut sum = Checksum::default();
        sum.add(&frame[self.l3..self.l4]);
        put16(frame, check, sum.finish());
    }

    fn fix_tcp(&self, frame: &mut [u8], s: &Segment) {
        let (high, low, flags) = (self.l4 + 4, self.l4 + 6, self.l4 + 13);
        let seq = u32::from(get16(frame, high)) << 16 | u32::from(get16(frame, low));
        let seq = seq.wrapping_add(s.sent);
        put16(frame, high, (seq >> 16) as u16);
        put16(frame, low, seq as u16);
        if !s.last {
            frame[flags] &= !(TCP_PSH | TCP_FIN);
        }
    }

    /// Sum of the pseudo header, the TCP or UDP header and the payload.
    fn l4_sum(&self, frame: &[u8]) -> Checksum {
        let (addresses, protocol) = if self.ipv4 {
            (&frame[self.l3 + 12..self.l3 + 20], frame[self.l3 + 9])
        } else {
            (&frame[self.l3 + 8..self.l3 + 40], frame[self.l3 + 6])
        };
        let l4 = &frame[self.l4..];
        let mut sum = Checksum::default();
        sum.add(addresses);
        sum.add(&(l4.len() as u32).to_be_bytes());
        sum.add(&[0, protocol]);
        sum.add(l4);
        sum
    }
}

fn get16(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

fn put16(frame: &mut [u8], at: usize, value: u16) {
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
