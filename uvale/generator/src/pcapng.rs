//! Reading pcapng: the blocks that carry packets, and what is needed to understand them.

use std::io::{self, Read};

use super::captured::{CaptureError, Captured, LINKTYPE_ETHERNET, MAX_PACKET};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const OPTION_END: u16 = 0;
const OPTION_TSRESOL: u16 = 9;
const OPTION_TSOFFSET: u16 = 14;
/// Largest block that is accepted, in bytes.
const MAX_BLOCK: usize = 16 << 20;

/// The packets of a pcapng stream.
pub struct PcapNgBlocks<R> {
    input: R,
    big_endian: bool,
    interfaces: Vec<Interface>,
    block: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Interface {
    linktype: u32,
    snaplen: u32,
    /// Timestamp units in a second.
    units: u64,
    /// Seconds to add to timestamps.
    offset: i64,
}

impl<R: Read> PcapNgBlocks<R> {
    /// Starts at the beginning of a stream, whose first block is a section header.
    pub fn new(input: R) -> Result<Self, CaptureError> {
        let mut blocks = PcapNgBlocks {
            input,
            big_endian: false,
            interfaces: Vec::new(),
            block: Vec::new(),
        };
        match blocks.read_block()? {
            Some(SECTION_HEADER) => Ok(blocks),
            _ => Err(format_error("it does not start with a section header")),
        }
    }

    /// Reads the next packet into `packet`; false at the end of the stream.
    pub fn next(&mut self, packet: &mut Captured) -> Result<bool, CaptureError> {
        loop {
            match self.read_block()? {
                None => return Ok(false),
                Some(INTERFACE_DESCRIPTION) => self.add_interface()?,
                Some(ENHANCED_PACKET) => {
                    return self
                        .take_packet(packet, self.word(0)? as usize)
                        .map(|()| true);
                }
                // the obsolete block has a 16-bit interface number and a drop count in that place
                Some(OBSOLETE_PACKET) => {
                    return self
                        .take_packet(packet, usize::from(self.half(0)?))
                        .map(|()| true);
                }
                Some(SIMPLE_PACKET) => return self.take_simple(packet).map(|()| true),
                Some(_) => {}
            }
        }
    }

    /// Reads one block's body into `self.block` and returns its type; `None` at the end.
    fn read_block(&mut self) -> Result<Option<u32>, CaptureError> {
        let mut head = [0u8; 8];
        let got = read_up_to(&mut self.input, &mut head)?;
        if got == 0 {
            return Ok(None);
        }
        if got < head.len() {
            return Err(CaptureError::Truncated);
        }
        let [a, b, c, d, length @ ..] = head;
        // a section header's type reads the same in both byte orders
        let is_section = u32::from_be_bytes([a, b, c, d]) == SECTION_HEADER;
        let mut taken = 8;
        let mut magic = [0u8; 4];
        if is_section {
            self.input.read_exact(&mut magic)?;
            taken += magic.len();
            self.big_endian = match u32::from_be_bytes(magic) {
                BYTE_ORDER_MAGIC => true,
                other if other.swap_bytes() == BYTE_ORDER_MAGIC => false,
                _ => return Err(format_error("a section header with an unknown byte order")),
            };
            self.interfaces.clear();
        }
        let kind = self.decode([a, b, c, d]);
        let total = self.decode(length) as usize;
        if total < taken + 4 || total > MAX_BLOCK || !total.is_multiple_of(4) {
            return Err(format_error(&format!("a block of {total} bytes")));
        }
        self.block.clear();
        self.block.resize(total - taken, 0);
        self.input.read_exact(&mut self.block)?;
        let trailer = self.word(self.block.len() - 4)?;
        if trailer as usize != total {
            return Err(format_error("a block with two different lengths"));
        }
        self.block.truncate(self.block.len() - 4);
        Ok(Some(kind))
    }

    fn decode(&self, bytes: [u8; 4]) -> u32 {
        if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    }

    fn word(&self, at: usize) -> Result<u32, CaptureError> {
        match self.block.get(at..at + 4) {
            Some(&[a, b, c, d]) => Ok(self.decode([a, b, c, d])),
            _ => Err(format_error("a block that is too short")),
        }
    }

    fn half(&self, at: usize) -> Result<u16, CaptureError> {
        match self.block.get(at..at + 2) {
            Some(&[a, b]) if self.big_endian => Ok(u16::from_be_bytes([a, b])),
            Some(&[a, b]) => Ok(u16::from_le_bytes([a, b])),
            _ => Err(format_error("a block that is too short")),
        }
    }

    fn add_interface(&mut self) -> Result<(), CaptureError> {
        let mut interface = Interface {
            linktype: u32::from(self.half(0)?),
            snaplen: self.word(4)?,
            units: 1_000_000,
            offset: 0,
        };
        // an option list may end with the block as well as with an end marker
        let mut at = 8;
        while at + 4 <= self.block.len() {
            let (code, length) = (self.half(at)?, usize::from(self.half(at + 2)?));
            let value = at + 4;
            match (code, length) {
                (OPTION_END, _) => break,
                (OPTION_TSRESOL, 1) => {
                    interface.units = units_per_second(self.block.get(value).copied().unwrap_or(6))?
                }
                (OPTION_TSOFFSET, 8) => {
                    let (first, second) = (
                        u64::from(self.word(value)?),
                        u64::from(self.word(value + 4)?),
                    );
                    let bits = if self.big_endian {
                        first << 32 | second
                    } else {
                        second << 32 | first
                    };
                    interface.offset = bits as i64;
                }
                _ => {}
            }
            at = value + length.next_multiple_of(4);
        }
        self.interfaces.push(interface);
        Ok(())
    }

    fn interface(&self, number: usize) -> Result<Interface, CaptureError> {
        let interface = self.interfaces.get(number).copied().ok_or_else(|| {
            format_error(&format!(
                "a packet of interface {number}, which the file does not describe"
            ))
        })?;
        if interface.linktype == LINKTYPE_ETHERNET {
            Ok(interface)
        } else {
            Err(CaptureError::LinkType(interface.linktype))
        }
    }

    /// Enhanced and obsolete packet blocks differ in their first word only.
    fn take_packet(&self, packet: &mut Captured, number: usize) -> Result<(), CaptureError> {
        let interface = self.interface(number)?;
        let units = u64::from(self.word(4)?) << 32 | u64::from(self.word(8)?);
        let (captured, original) = (self.word(12)?, self.word(16)?);
        packet.nanos = to_nanos(units, interface);
        self.take_data(packet, 20, captured, original)
    }

    /// Simple packet blocks have no time and say only the original length.
    fn take_simple(&self, packet: &mut Captured) -> Result<(), CaptureError> {
        let interface = self.interface(0)?;
        let original = self.word(0)?;
        let captured = if interface.snaplen == 0 {
            original
        } else {
            original.min(interface.snaplen)
        };
        packet.nanos = 0;
        self.take_data(packet, 4, captured, original)
    }

    fn take_data(
        &self,
        packet: &mut Captured,
        at: usize,
        captured: u32,
        original: u32,
    ) -> Result<(), CaptureError> {
        let length = captured as usize;
        if length > MAX_PACKET {
            return Err(format_error(&format!("a packet of {length} bytes")));
        }
        let data = self
            .block
            .get(at..at + length)
            .ok_or_else(|| format_error("a packet that is longer than its block"))?;
        packet.data.clear();
        packet.data.extend_from_slice(data);
        packet.original = original.max(captured);
        Ok(())
    }
}

/// What `if_tsresol` means: a negative power of 10, or of 2 when the top bit is set.
fn units_per_second(resolution: u8) -> Result<u64, CaptureError> {
    let exponent = u32::from(resolution & 0x7f);
    let units = if resolution & 0x80 == 0 {
        10u64.checked_pow(exponent)
    } else {
        1u64.checked_shl(exponent)
    };
    units.ok_or_else(|| format_error(&format!("a time resolution of {resolution:#x}")))
}

fn to_nanos(units: u64, interface: Interface) -> u64 {
    let nanos = i128::from(units) * 1_000_000_000 / i128::from(interface.units)
        + i128::from(interface.offset) * 1_000_000_000;
    u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)
}

fn format_error(what: &str) -> CaptureError {
    CaptureError::Format(format!("the file has {what}"))
}

/// Reads until `buffer` is full or the input ends.
pub fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match input.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let total = 12 + body.len().next_multiple_of(4) as u32;
        let mut bytes = [kind.to_be_bytes(), total.to_be_bytes()].concat();
        bytes.extend_from_slice(body);
        bytes.resize(total as usize - 4, 0);
        bytes.extend_from_slice(&total.to_be_bytes());
        bytes
    }

    fn section() -> Vec<u8> {
        block(
            SECTION_HEADER,
            &[
                0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255,
            ],
        )
    }

    fn interface(linktype: u8, options: &[u8]) -> Vec<u8> {
        block(
            INTERFACE_DESCRIPTION,
            &[&[0, linktype, 0, 0, 0, 0, 0, 0], options].concat(),
        )
    }

    fn enhanced(units: u64, data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u32).to_be_bytes();
        block(
            ENHANCED_PACKET,
            &[&[0; 4], &units.to_be_bytes()[..], &length, &length, data].concat(),
        )
    }

    fn read(parts: &[Vec<u8>]) -> Result<Vec<Captured>, CaptureError> {
        let bytes = parts.concat();
        let mut blocks = PcapNgBlocks::new(&bytes[..])?;
        let (mut packet, mut all) = (Captured::default(), Vec::new());
        while blocks.next(&mut packet)? {
            all.push(packet.clone());
        }
        Ok(all)
    }

    #[test]
    fn time_units() {
        let options: [(&[u8], u64); 5] = [
            // none: microseconds
            (&[], 7_000),
            // 10^-9, without an end-of-options marker
            (&[0, 9, 0, 1, 9, 0, 0, 0], 7),
            // 2^-1
            (&[0, 9, 0, 1, 0x81, 0, 0, 0], 3_500_000_000),
            // an option with a size that does not fit its meaning (a 4-byte time zone), then 10^-9
            (
                &[0, 10, 0, 4, 0, 0, 0, 1, 0, 9, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0],
                7,
            ),
            // an offset of 2 seconds
            (&[0, 14, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2], 2_000_007_000),
        ];
        for (list, nanos) in options {
            let packets = read(&[section(), interface(1, list), enhanced(7, b"abc")]).unwrap();
            assert_eq!(
                packets,
                [Captured {
                    nanos,
                    data: b"abc".to_vec(),
                    original: 3
                }]
            );
        }
    }

    #[test]
    fn other_blocks_and_sections() {
        let simple = block(SIMPLE_PACKET, &[&[0, 0, 0, 5][..], b"hello"].concat());
        let unknown = block(0x0bad, b"whatever");
        let packets = read(&[
            section(),
            interface(1, &[]),
            unknown,
            simple,
            section(),
            interface(1, &[0, 9, 0, 1, 9, 0, 0, 0]),
            enhanced(1, b"x"),
        ])
        .unwrap();
        assert_eq!(
            packets
                .iter()
                .map(|p| p.data.as_slice())
                .collect::<Vec<_>>(),
            [&b"hello"[..], b"x"]
        );
    }

    #[test]
    fn damage_is_reported_not_followed() {
        let mut lengths = [section(), interface(1, &[]), enhanced(1, b"abcd")].concat();
        let at = lengths.len() - 1;
        lengths[at] ^= 4;
        assert!(matches!(read(&[lengths]), Err(CaptureError::Format(_))));
        assert!(matches!(
            read(&[section(), enhanced(1, b"x")]),
            Err(CaptureError::Format(_))
        ));
        assert!(matches!(
            read(&[section(), interface(113, &[]), enhanced(1, b"x")]),
            Err(CaptureError::LinkType(113))
        ));
        let too_long = block(
            ENHANCED_PACKET,
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0],
        );
        assert!(matches!(
            read(&[section(), interface(1, &[]), too_long]),
            Err(CaptureError::Format(_))
        ));
        assert!(matches!(
            read(&[block(ENHANCED_PACKET, &[0; 20])]),
            Err(CaptureError::Format(_))
        ));
    }

    #[test]
    fn random_damage_never_panics() {
        let good = [
            section(),
            interface(1, &[0, 9, 0, 1, 9, 0, 0, 0]),
            enhanced(1, b"some data"),
        ]
        .concat();
        for at in 0..good.len() {
            for value in [0u8, 1, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                let _ = read(&[bad]);
            }
            let _ = read(&[good[..at].to_vec()]);
        }
    }
}
