//! The forwarding table of a learning switch: netmap's direct-mapped table of 1024 entries, where
//! a collision overwrites and nothing ages. An entry is one word, so it is never torn.

use uvale_shared::atomics::{AtomicU64, Ordering::Relaxed};

use uvale_shared::ctl::{BROADCAST, FDB_SIZE};

/// A MAC address, first byte lowest.
pub type Mac = u64;
const MAC_MASK: u64 = 0xffff_ffff_ffff;

/// Destination and source address of the frame whose first twelve bytes lie in `lo` (0 to 7) and
/// `hi` (4 to 11), both little endian.
#[inline]
pub fn addresses(lo: u64, hi: u64) -> (Mac, Mac) {
    (lo & MAC_MASK, hi >> 16)
}

/// Group addresses have the lowest bit of their first byte set.
#[inline]
pub fn is_group(mac: Mac) -> bool {
    mac & 1 != 0
}

/// The hash of netmap's table (Bob Jenkins' mix of the six bytes), so that the same addresses
/// collide as they do there.
#[inline]
pub fn hash(mac: Mac) -> usize {
    const GOLDEN: u32 = 0x9e37_79b9;
    let mut a = GOLDEN.wrapping_add(mac as u32);
    let mut b = GOLDEN.wrapping_add((mac >> 32) as u32 & 0xffff);
    let mut c = 0u32;
    for (x, y, z) in [(13, 8, 13), (12, 16, 5), (3, 10, 15)] {
        a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> x);
        b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << y);
        c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> z);
    }
    c as usize & (FDB_SIZE - 1)
}

/// What the table says when `mac` is behind `port`.
#[inline(always)]
pub fn entry(mac: Mac, port: u32) -> u64 {
    mac & MAC_MASK | u64::from(port) << 48
}

/// Remembers that `mac` is behind `port`.
#[inline]
pub fn learn(table: &[AtomicU64; FDB_SIZE], mac: Mac, port: u32) {
    learn_at(table, hash(mac), mac, port);
}

/// The same of an address whose [`hash`] is known.
#[inline(always)]
pub fn learn_at(table: &[AtomicU64; FDB_SIZE], hash: usize, mac: Mac, port: u32) {
    let (place, entry) = (&table[hash % FDB_SIZE], entry(mac, port));
    // Not written when it is there already: all who send read these lines.
    if place.load(Relaxed) != entry {
        place.store(entry, Relaxed);
    }
}

/// The port behind `mac`, or [`BROADCAST`]. The empty table answers 0 for the zero address, as
/// netmap's does.
#[inline]
pub fn lookup(table: &[AtomicU64; FDB_SIZE], mac: Mac) -> u32 {
    lookup_at(table, hash(mac), mac)
}

/// The same of an address whose [`hash`] is known.
#[inline(always)]
pub fn lookup_at(table: &[AtomicU64; FDB_SIZE], hash: usize, mac: Mac) -> u32 {
    let entry = table[hash % FDB_SIZE].load(Relaxed);
    if entry & MAC_MASK == mac {
        (entry >> 48) as u32
    } else {
        BROADCAST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(bytes: [u8; 6]) -> Mac {
        let mut b = [0; 8];
        b[..6].copy_from_slice(&bytes);
        u64::from_le_bytes(b)
    }

    #[test]
    fn addresses_come_from_overlapping_words() {
        let frame: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let lo = u64::from_le_bytes(frame[0..8].try_into().unwrap());
        let hi = u64::from_le_bytes(frame[4..12].try_into().unwrap());
        assert_eq!(
            addresses(lo, hi),
            (mac([1, 2, 3, 4, 5, 6]), mac([7, 8, 9, 10, 11, 12]))
        );
    }

    #[test]
    fn a_collision_overwrites() {
        let table = [const { AtomicU64::new(0) }; FDB_SIZE];
        let first = mac([2, 0, 0, 0, 0, 1]);
        let second = (1u64..)
            .map(|i| first + (i << 8))
            .find(|m| hash(*m) == hash(first))
            .unwrap();
        learn(&table, first, 3);
        assert_eq!(lookup(&table, first), 3);
        learn(&table, second, 4);
        assert_eq!(lookup(&table, first), BROADCAST);
        assert_eq!(lookup(&table, second), 4);
    }

    #[test]
    fn the_empty_table_knows_the_zero_address_only() {
        let table = [const { AtomicU64::new(0) }; FDB_SIZE];
        assert_eq!(lookup(&table, 0), 0);
        assert_eq!(lookup(&table, mac([2, 0, 0, 0, 0, 1])), BROADCAST);
    }
}
