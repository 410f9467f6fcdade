//! The internet checksum of RFC 1071.

/// A sum over bytes that come in pieces of any length.
#[derive(Clone, Copy, Default)]
pub struct Checksum {
    sum: u64,
    /// an odd number of bytes so far: the next one is the low half of a word
    odd: bool,
}

impl Checksum {
    /// Adds the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        let bytes = match bytes {
            [low, rest @ ..] if self.odd => {
                self.sum += u64::from(*low);
                self.odd = false;
                rest
            }
            _ => bytes,
        };
        let mut words = bytes.chunks_exact(2);
        for word in &mut words {
            self.sum += u64::from(u16::from_be_bytes([word[0], word[1]]));
        }
        if let [high] = words.remainder() {
            self.sum += u64::from(*high) << 8;
            self.odd = true;
        }
    }

    /// The checksum, to be stored in network byte order.
    pub fn finish(self) -> u16 {
        let mut sum = self.sum;
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    /// The checksum of UDP, where zero would say that there is none (RFC 768).
    pub fn finish_udp(self) -> u16 {
        match self.finish() {
            0 => 0xffff,
            sum => sum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pieces: &[&[u8]]) -> u16 {
        let mut sum = Checksum::default();
        pieces.iter().for_each(|p| sum.add(p));
        sum.finish()
    }

    #[test]
    fn the_example_of_rfc_1071() {
        // Section 3: the sum of these bytes is ddf2.
        assert_eq!(
            of(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]),
            !0xddf2
        );
    }

    #[test]
    fn a_known_ipv4_header() {
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x00, 0x00, 0xc0, 0xa8,
            0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(of(&[&header]), 0xb861);
    }

    #[test]
    fn pieces_of_odd_length_sum_as_the_whole() {
        let bytes: Vec<u8> = (0..=255).map(|b: u8| b.wrapping_mul(167)).collect();
        let whole = of(&[&bytes]);
        for a in 0..bytes.len() {
            let (x, rest) = bytes.split_at(a);
            let (y, z) = rest.split_at(rest.len() / 3);
            assert_eq!(of(&[x, &[], y, z]), whole);
        }
    }

    #[test]
    fn no_bytes_and_the_odd_end() {
        assert_eq!(of(&[]), 0xffff);
        assert_eq!(of(&[&[0x12]]), !0x1200);
        assert_eq!(of(&[&[0xff, 0xff]]), 0);
        let mut sum = Checksum::default();
        sum.add(&[0xff, 0xff]);
        assert_eq!(sum.finish_udp(), 0xffff);
    }
}
