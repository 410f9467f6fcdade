//! Many ports in random use: what one process can do with as many pairs of rings in memory of its own. One port sends a
//! batch to another one, which reads it, and then it is two others' turn.

use core::sync::atomic::Ordering::Relaxed;

use super::{deliver, fill, prepare};
use crate::addresses::apart;
use crate::board::{Lane, Table};
use crate::raw::Memory;
use uvale_shared::shm::Memfd;

/// Slots of a ring here: few, so that many ports need no gigabyte.
pub const FEW_SLOTS: usize = 128;

type Port = Lane<FEW_SLOTS>;

/// The ports.
pub struct Exchange {
    memory: Memory,
    macs: Vec<u64>,
    positions: Vec<[u32; 2]>,
    random: Random,
}

impl Exchange {
    /// So many ports.
    pub fn new(ports: usize, table: &Table) -> Result<Self, String> {
        let len = ports * size_of::<Port>();
        let memfd = Memfd::create("uvale-bench-ports", len).map_err(|e| e.to_string())?;
        use std::os::fd::{AsFd, AsRawFd};
        let memory = Memory::map(&memfd.as_fd().as_raw_fd(), len).map_err(|e| e.to_string())?;
        let macs = apart(ports);
        let exchange = Self {
            memory,
            positions: vec![[0; 2]; ports],
            random: Random::new(),
            macs,
        };
        for port in 0..ports {
            let lane = exchange
                .port(port)
                .ok_or("a port lies outside of the memory")?;
            prepare(lane, table, &exchange.macs);
        }
        Ok(exchange)
    }

    fn port(&self, i: usize) -> Option<&Port> {
        self.memory.at(i * size_of::<Port>())
    }

    /// One batch between two ports; how many packets arrived.
    #[inline(always)]
    pub fn step(&mut self, table: &Table, batch: u32, len: u16) -> u32 {
        let (source, target) = self.random.two_of(self.macs.len());
        let (Some(from), Some(to)) = (self.port(source), self.port(target)) else {
            return 0;
        };
        let mac = self.macs[target];
        let [at, tail] = [self.positions[source][0], self.positions[target][1]];
        for i in 0..batch {
            let slot = at.wrapping_add(i) as usize & (FEW_SLOTS - 1);
            from.buffers[0][slot][0].words()[0].store(mac, Relaxed);
        }
        fill(&from.tx, at, batch, len);
        deliver(from, at, to, tail, table, batch, len);
        fill(&to.rx, tail, batch, len);
        let mut bytes = 0u64;
        for i in 0..batch {
            let slot = tail.wrapping_add(i) as usize & (FEW_SLOTS - 1);
            bytes += u64::from(to.rx[slot].len.load(Relaxed));
        }
        std::hint::black_box(bytes);
        self.positions[source][0] = at.wrapping_add(batch);
        self.positions[target][1] = tail.wrapping_add(batch);
        batch
    }
}

/// Numbers that follow no pattern a processor would learn (xorshift), the same in every run.
pub struct Random(u64);

impl Random {
    /// The beginning.
    pub fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// Two different numbers below `n`, which is 2 at least.
    #[inline(always)]
    pub fn two_of(&mut self, n: usize) -> (usize, usize) {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let below = |bits: u64, n: usize| (((bits & 0xffff_ffff) * n as u64) >> 32) as usize;
        let first = below(self.0, n);
        let second = below(self.0 >> 32, n - 1);
        (first, second + usize::from(second >= first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Board;

    #[test]
    fn two_different_ports_each_time_and_all_in_the_end() {
        let mut random = Random::new();
        for n in [2, 3, 254] {
            let mut used = vec![[false; 2]; n];
            for _ in 0..20_000 {
                let (a, b) = random.two_of(n);
                assert!(a != b && a < n && b < n);
                used[a][0] = true;
                used[b][1] = true;
            }
            assert!(used.iter().flatten().all(|u| *u), "{n}");
        }
    }

    #[test]
    fn packets_arrive_in_the_other_ports_buffers() {
        let board = Board::new().unwrap();
        let mut exchange = Exchange::new(2, board.table()).unwrap();
        for port in 0..2 {
            exchange.port(port).unwrap().buffers[0][3][0].words()[2]
                .store(7 + port as u64, Relaxed);
        }
        let sent: u32 = (0..100).map(|_| exchange.step(board.table(), 8, 60)).sum();
        assert_eq!(sent, 800);
        for port in 0..2 {
            let arrived = exchange.port(port).unwrap().buffers[1][3][0].words()[2].load(Relaxed);
            assert_eq!(arrived, 7 + (1 - port as u64));
        }
    }
}
