//! Bits of a header, and a frame that is being made.

use std::ops::Range;

use crate::shape::Shape;

/// Reads bits, up to 128; `None` if the header ends before.
pub fn read(header: &[u8], at: usize, len: usize) -> Option<u128> {
    let bytes = header.get(at / 8..(at + len).div_ceil(8))?;
    let bit = |index: usize| u128::from(bytes[index / 8] >> (7 - index % 8) & 1);
    let first = at % 8;
    if first == 0 && len.is_multiple_of(8) {
        return Some(bytes.iter().fold(0, |all, b| all << 8 | u128::from(*b)));
    }
    Some((first..first + len).fold(0, |all, index| all << 1 | bit(index)))
}

/// Writes bits that `read` reads. Bits beyond the header are left out.
pub fn write(header: &mut [u8], at: usize, len: usize, value: u128) {
    for index in 0..len {
        let is_set = value >> (len - 1 - index) & 1 == 1;
        let bit = at + index;
        if let Some(byte) = header.get_mut(bit / 8) {
            let mask = 0x80 >> (bit % 8);
            *byte = if is_set { *byte | mask } else { *byte & !mask };
        }
    }
}

/// A frame that is being made or changed, with its headers.
#[derive(Clone, Debug)]
pub struct Draft {
    /// its bytes
    pub frame: Vec<u8>,
    /// where its headers are
    pub shape: Shape,
}

impl Draft {
    /// The bytes of a header.
    pub fn header(&mut self, at: &Range<usize>) -> &mut [u8] {
        self.frame.get_mut(at.clone()).unwrap_or_default()
    }
}
