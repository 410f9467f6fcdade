//! MAC addresses, as numbers whose lowest byte is the first of the address.

use super::board::TABLE;

/// An address that nobody has.
pub const NOBODY: u64 = 0x0200_0000_3002;
/// Everybody.
pub const ALL: u64 = 0xffff_ffff_ffff;
/// Address of the (first) receiver.
pub const RECEIVER: u64 = 0x0200_0000_1002;
/// Address of the (first) sender.
pub const SENDER: u64 = 0x0200_0000_2002;

/// The six bytes of an address.
pub const MAC_MASK: u64 = 0xffff_ffff_ffff;

/// The hash of netmap's learning table over a MAC address whose first byte is the lowest.
#[inline(always)]
pub fn hash(mac: u64) -> usize {
    let mut a = 0x9e37_79b9u32.wrapping_add(mac as u32);
    let mut b = 0x9e37_79b9u32.wrapping_add((mac >> 32) as u32 & 0xffff);
    let mut c = 0u32;
    for (x, y, z) in [(13, 8, 13), (12, 16, 5), (3, 10, 15)] {
        a = a.wrapping_sub(b).wrapping_sub(c) ^ (c >> x);
        b = b.wrapping_sub(c).wrapping_sub(a) ^ (a << y);
        c = c.wrapping_sub(a).wrapping_sub(b) ^ (b >> z);
    }
    c as usize & (TABLE - 1)
}

/// `n` addresses that lie in different places of the table: [`RECEIVER`], [`SENDER`], and others. In a table where
/// collisions overwrite, addresses that collide would turn into floods.
pub fn apart(n: usize) -> Vec<u64> {
    let mut taken = vec![false; TABLE];
    taken[hash(NOBODY)] = true;
    let others = (0..u64::from(u16::MAX)).map(|i| 0x0200_0100_0002 | i << 8);
    let mut free = |mac: &u64| !core::mem::replace(&mut taken[hash(*mac)], true);
    let all = [RECEIVER, SENDER].into_iter().chain(others);
    all.filter(|mac| free(mac)).take(n).collect()
}

/// Flows from each of `from` to each of `to`, in an order that jumps about: neighbours differ in both.
pub fn mixed(from: &[u64], to: &[u64]) -> Vec<(u64, u64)> {
    let n = from.len() * to.len();
    // A step that has no divisor in common with n reaches every flow once.
    let step = (n / 2..).find(|step| gcd(*step, n) == 1).unwrap_or(1);
    let flow = |i: usize| (to[i % to.len()], from[i / to.len()]);
    (0..n).map(|i| flow(i * step % n)).collect()
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_do_not_collide() {
        let all = apart(254);
        assert_eq!((all.len(), all[0], all[1]), (254, RECEIVER, SENDER));
        let mut places: Vec<usize> = all.iter().copied().chain([NOBODY]).map(hash).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 255);
        assert!(all.iter().all(|mac| *mac <= MAC_MASK && mac & 1 == 0));
    }

    #[test]
    fn every_flow_comes_once_and_never_after_one_with_the_same_ends() {
        let all = apart(16);
        let flows = mixed(&all[..8], &all[8..]);
        assert_eq!(flows.len(), 64);
        for pair in flows.windows(2) {
            assert!(
                pair[0].0 != pair[1].0 && pair[0].1 != pair[1].1,
                "{pair:x?}"
            );
        }
        let mut once = flows.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), 64);
        assert_eq!(mixed(&[1], &[2]), [(2, 1)]);
    }
}
