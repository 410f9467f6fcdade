//! How big allocators may be, and how big private ones are made.

use super::pool::{Limits, PAGE};
use super::{PoolParams, Pools};

/// Pipes that a private allocator has room for.
pub(super) const DEFAULT_PIPES: u32 = 2;

/// netmap's sizing of a private allocator. Host rings are accounted for though they are fake;
/// each pipe end needs two rings of each direction, and of the two default pipes four rings
/// carry buffers.
pub(super) fn private_pools(
    least: Pools,
    rings: [u32; 2],
    slots: [u32; 2],
    extra: u32,
    pipes: u32,
) -> Pools {
    let [rx_rings, tx_rings] = rings.map(|n| n + 1);
    let [rx_slots, tx_slots] = slots;
    let at_least = |p: PoolParams, size: u32, num: u32| PoolParams {
        size: p.size.max(size),
        num: p.num.max(num),
    };
    let if_size = nm_abi::netmap_if::bytes_for((tx_rings + rx_rings) as usize) as u32;
    let ring_size = nm_abi::netmap_ring::bytes_for(tx_slots.max(rx_slots)) as u32;
    let buffers = (4 * pipes + rx_rings) * rx_slots + (4 * pipes + tx_rings) * tx_slots + 2 + extra;
    Pools {
        netif: at_least(least.netif, if_size, 2 + 4 * pipes),
        ring: at_least(least.ring, ring_size, tx_rings + rx_rings + 8 * pipes),
        buf: at_least(least.buf, 0, buffers),
    }
}

const RING_MAX: u32 = 32 * PAGE;
/// What the global allocator's parameters may be: `netmap_if`s, rings, buffers.
pub(super) const GLOBAL_LIMITS: [Limits; 3] = [
    Limits {
        name: "if",
        min_size: 56,
        max_size: 4096,
        min_num: 10,
        max_num: 10000,
    },
    Limits {
        name: "ring",
        min_size: 256,
        max_size: RING_MAX,
        min_num: 2,
        max_num: 1024,
    },
    Limits {
        name: "buf",
        min_size: 64,
        max_size: 65536,
        min_num: 4,
        max_num: 1_000_000,
    },
];
/// What those of private allocators may be.
pub(super) const PRIVATE_LIMITS: [Limits; 3] = [
    Limits {
        name: "priv_if",
        min_size: 56,
        max_size: 4096,
        min_num: 1,
        max_num: 100,
    },
    Limits {
        name: "priv_ring",
        min_size: 256,
        max_size: RING_MAX,
        min_num: 2,
        max_num: 1024,
    },
    Limits {
        name: "priv_buf",
        min_size: 64,
        max_size: 65536,
        min_num: 4,
        max_num: 1_000_000,
    },
];
