//! Packets with a number and known content, so that a receiver can tell what is lost, late, twice or changed.
//!
//! ```text
//! virtio-net header (0, 10 or 12 zero bytes) | to | from | 88 b5 | number, 8 bytes | stream, 2 bytes | content
//! ```
//!
//! 0x88b5 is the EtherType for local experiments. Byte `i` of the content is `number + i`, modulo 256.

use std::collections::HashMap;

const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// Bytes of the Ethernet header, the number and the stream: the shortest of these packets.
pub const SHORTEST: usize = 24;
/// To everybody.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// Makes the packets of a stream.
pub struct Stream {
    packet: Vec<u8>,
    header: usize,
    next: u64,
}

impl Stream {
    /// Packets of `len` bytes without the virtio-net header, which has `header` bytes.
    #[must_use]
    pub fn new(header: usize, len: usize, to: [u8; 6], from: [u8; 6], stream: u16) -> Self {
        let mut packet = vec![0; header];
        packet.extend_from_slice(&to);
        packet.extend_from_slice(&from);
        packet.extend_from_slice(&ETHERTYPE);
        packet.extend_from_slice(&[0; 8]);
        packet.extend_from_slice(&stream.to_be_bytes());
        packet.resize(header + len.max(SHORTEST), 0);
        Self {
            packet,
            header,
            next: 0,
        }
    }

    /// How many there have been.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.next
    }

    /// The next packet. It is the same again until [`Stream::advance`].
    pub fn packet(&mut self) -> &[u8] {
        let number = self.next;
        let (_, rest) = self.packet.split_at_mut(self.header + 14);
        rest[..8].copy_from_slice(&number.to_be_bytes());
        for part in rest[10..].chunks_mut(PART) {
            part.copy_from_slice(content(number, part.len()));
        }
        &self.packet
    }

    /// That packet has been sent.
    pub fn advance(&mut self) {
        self.next += 1;
    }
}

/// Bytes of content that are written and compared at once; a multiple of 256.
const PART: usize = 2048;

static COUNTING: [u8; PART + 256] = {
    let mut bytes = [0; PART + 256];
    let mut i = 0;
    while i < bytes.len() {
        bytes[i] = i as u8;
        i += 1;
    }
    bytes
};

/// The first `len` bytes of the content, at most [`PART`]; it is the same again from there on.
fn content(number: u64, len: usize) -> &'static [u8] {
    let first = usize::from(number as u8);
    &COUNTING[first..first + len]
}

/// What a receiver has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Packets with a number and the right content.
    pub good: u64,
    /// Numbers that were left out, and did not come later.
    pub lost: u64,
    /// Packets that came after one with a higher number, or again.
    pub late: u64,
    /// Packets of ours with other content.
    pub changed: u64,
    /// Packets that are not ours.
    pub foreign: u64,
    /// Bytes of all of them, virtio-net headers included.
    pub bytes: u64,
}

/// Who sends a stream, and its number.
type Key = ([u8; 6], u16);

/// Looks at packets.
#[derive(Default)]
pub struct Checker {
    header: usize,
    /// the stream of the last packet, and the number that comes next
    current: Option<(Key, u64)>,
    /// the same of all others
    next: HashMap<Key, u64>,
    found: Found,
}

impl Checker {
    /// For packets behind `header` bytes of a virtio-net header.
    #[must_use]
    pub fn new(header: usize) -> Self {
        Self {
            header,
            ..Self::default()
        }
    }

    /// What was found so far.
    #[must_use]
    pub fn found(&self) -> Found {
        self.found
    }

    /// Streams that were seen.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.next.len() + usize::from(self.current.is_some())
    }

    /// Looks at a packet.
    pub fn look(&mut self, packet: &[u8]) {
        self.found.bytes += packet.len() as u64;
        let Some((key, number, rest)) = self.parse(packet) else {
            self.found.foreign += 1;
            return;
        };
        let wrong = |part: &[u8]| part != content(number, part.len());
        if rest.chunks(PART).any(wrong) {
            self.found.changed += 1;
            return;
        }
        self.found.good += 1;
        let next = match &mut self.current {
            Some((current, next)) if *current == key => next,
            current => {
                self.next.extend(current.take());
                let next = self.next.remove(&key).unwrap_or_default();
                &mut current.insert((key, next)).1
            }
        };
        if number >= *next {
            self.found.lost += number - *next;
            *next = number.saturating_add(1);
        } else {
            self.found.late += 1;
            self.found.lost = self.found.lost.saturating_sub(1);
        }
    }

    fn parse<'a>(&self, packet: &'a [u8]) -> Option<(Key, u64, &'a [u8])> {
        let frame = packet.get(self.header..)?;
        let (fixed, rest) = frame.split_at_checked(SHORTEST)?;
        let from = fixed[6..12].try_into().ok()?;
        let number = fixed[14..22].try_into().ok()?;
        let stream = fixed[22..24].try_into().ok()?;
        let is_ours = fixed[12..14] == ETHERTYPE;
        is_ours.then_some((
            (from, u16::from_be_bytes(stream)),
            u64::from_be_bytes(number),
            rest,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(header: usize, len: usize, count: u64) -> Vec<Vec<u8>> {
        let mut stream = Stream::new(header, len, BROADCAST, [2, 0, 0, 0, 0, 1], 3);
        let mut next = || {
            let packet = stream.packet().to_vec();
            stream.advance();
            packet
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn what_was_sent_is_good() {
        for (header, len) in [(0, 60), (12, 1514), (10, 0), (0, 9000)] {
            let mut checker = Checker::new(header);
            for packet in packets(header, len, 300) {
                assert_eq!(packet.len(), header + len.max(SHORTEST));
                checker.look(&packet);
            }
            let bytes = 300 * (header + len.max(SHORTEST)) as u64;
            let good = Found {
                good: 300,
                bytes,
                ..Found::default()
            };
            assert_eq!(checker.found(), good);
            assert_eq!(checker.streams(), 1);
        }
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let packets = packets(0, 60, 10);
        let mut checker = Checker::new(0);
        for i in [0, 1, 4, 2, 4] {
            checker.look(&packets[i]);
        }
        let found = checker.found();
        assert_eq!((found.good, found.lost, found.late), (5, 0, 2));
        checker.look(&packets[9]);
        assert_eq!(checker.found().lost, 4);
        for at in 24..60 {
            let mut changed = packets[5].clone();
            changed[at] ^= 1;
            checker.look(&changed);
        }
        assert_eq!(checker.found().changed, 36);
        for len in 0..SHORTEST {
            checker.look(&packets[5][..len]);
        }
        checker.look(&[0; 60]);
        assert_eq!(checker.found().foreign, SHORTEST as u64 + 1);
    }
}
