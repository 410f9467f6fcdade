//! Internet checksums, kept up to date.

/// Brings the checksum at `at` up to date after `old`, an even number of bytes that it covers, became `new` (RFC 1624).
/// The rest of the packet, which may lie in other buffers, need not be read.
pub fn update(frame: &mut [u8], at: usize, old: &[u8], new: &[u8]) {
    let checksum = word(&frame[at..][..2]);
    let mut sum = inverse(checksum);
    sum += old
        .chunks_exact(2)
        .map(|bytes| inverse(word(bytes)))
        .sum::<u32>();
    sum += new.chunks_exact(2).map(word).sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[at..][..2].copy_from_slice(&(!sum as u16).to_be_bytes());
}

fn word(bytes: &[u8]) -> u32 {
    u32::from(bytes[0]) << 8 | u32::from(bytes[1])
}

fn inverse(word: u32) -> u32 {
    !word & 0xffff
}
