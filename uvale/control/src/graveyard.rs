//! The graveyard: rings that are being torn down while somebody may still hold their locks.
//!
//! Teardown never waits for a client. A ring is taken out of service first; if one of its locks
//! cannot be taken at once (the process that holds it may be stopped), the ring, its buffers, its
//! krings and one reference to its memory are kept here, and [`World::collect`] tries again.
//! Names and port numbers are free at once all the same.

use core::sync::atomic::Ordering::Relaxed;

use super::adapter::{Adapter, AdapterId, DIRS, Kind, Kring, RingAt};
use super::krings::is_quiet;
use super::memory::{MemId, Which};
use super::rings::slots;
use super::{Result, World};
use uvale_engine::{RX, TX};
use uvale_shared::ctl::Ctl;
use uvale_shared::shm::distance;

/// Which slots of a ring in teardown hold buffers that go back to the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// all
    All,
    /// none: the buffers are somebody else's
    Nothing,
    /// a pipe's tx ring: what the program may fill, and what its peer (kring index) has not been
    /// shown
    PipeTx(u32),
    /// a pipe's rx ring: what the program has not released
    PipeRx,
}

#[derive(Debug)]
struct Leaving {
    /// index of the kring in control memory
    kring: u32,
    ring: RingAt,
    holds: Holds,
}

/// Rings and krings that are freed together.
#[derive(Debug)]
pub(super) struct Grave {
    mem: MemId,
    rings: Vec<Leaving>,
    /// krings that must be quiet before anything is freed, and go with the rings
    ranges: Vec<(u32, u32)>,
    /// krings of other ports that must have been quiet once before that
    in_hand: Vec<u32>,
}

impl Grave {
    /// Forgets the krings in hand that are quiet by now.
    fn let_go(&mut self, ctl: &Ctl) {
        self.in_hand.retain(|index| !is_quiet(ctl, *index));
    }
}

impl World {
    /// netmap_mem_rings_delete: deletes the rings of `id` that nobody uses any more.
    pub(super) fn delete_rings(&mut self, id: AdapterId) {
        let rings = self.take_unwanted(id);
        self.bury(Grave {
            mem: self.adapters[id].mem,
            rings,
            ranges: Vec::new(),
            in_hand: Vec::new(),
        });
    }

    fn take_unwanted(&mut self, id: AdapterId) -> Vec<Leaving> {
        let mut rings = Vec::new();
        for dir in DIRS {
            for k in self.adapters[id].krings_mut(dir) {
                if k.users == 0
                    && !k.needed
                    && let Some(ring) = k.ring.take()
                {
                    let holds = if k.fake { Holds::Nothing } else { Holds::All };
                    rings.push(Leaving {
                        kring: k.index,
                        ring,
                        holds,
                    });
                }
            }
        }
        rings
    }

    /// nm_krings_delete of VALE, null and NIC ports: deletes all krings and the remaining rings.
    pub(super) fn delete_krings(&mut self, id: AdapterId) {
        let rings = self.take_unwanted(id);
        let Some(krings) = self.adapters[id].krings.take() else {
            return;
        };
        self.bury(Grave {
            mem: self.adapters[id].mem,
            rings,
            ranges: vec![krings.range],
            in_hand: krings.in_hand,
        });
    }

    /// netmap_pipe_krings_delete_both: the rings and krings of both ends. Each buffer of a ring
    /// pair is in one slot that one of the programs owns; the rest of the slots are copies.
    pub(super) fn delete_pipe_krings(&mut self, id: AdapterId, peer: AdapterId) {
        let mut rings = Vec::new();
        for dir in DIRS {
            rings.extend(self.take_pipe_rings(id, peer, dir));
        }
        let mut ranges = Vec::new();
        for end in [id, peer] {
            ranges.extend(self.adapters[end].krings.take().map(|k| k.range));
        }
        self.bury(Grave {
            mem: self.adapters[id].mem,
            rings,
            ranges,
            in_hand: Vec::new(),
        });
    }

    /// The rings and krings of a port that joins two switches, and the krings of its bwrap: nothing
    /// is freed before the locks of both sides could be taken.
    pub(super) fn delete_joined_krings(&mut self, port: AdapterId, bwrap: AdapterId) {
        let rings = self.take_unwanted(port);
        let (mut ranges, mut in_hand) = (Vec::new(), Vec::new());
        for id in [port, bwrap] {
            if let Some(krings) = self.adapters[id].krings.take() {
                ranges.push(krings.range);
                in_hand.extend(krings.in_hand);
            }
        }
        self.bury(Grave {
            mem: self.adapters[port].mem,
            rings,
            ranges,
            in_hand,
        });
    }

    /// Takes the tx rings of `from` and the rx rings of `to`, or the other way round.
    fn take_pipe_rings(&mut self, id: AdapterId, peer: AdapterId, dir: usize) -> Vec<Leaving> {
        let (from, to) = if dir == TX { (id, peer) } else { (peer, id) };
        let mut rings = Vec::new();
        for i in 0..self.adapters[from].krings(TX).len() {
            let rx_index = self.adapters[to].krings(RX).get(i).map(|k| k.index);
            let shared = |k: &Kring| k.fake && k.needed;
            if let Some(k) = self.adapters[from].krings_mut(TX).get_mut(i)
                && let Some(ring) = k.ring.take()
            {
                let holds = match rx_index {
                    Some(rx) if shared(k) => Holds::PipeTx(rx),
                    _ if k.fake => Holds::Nothing,
                    _ => Holds::All,
                };
                rings.push(Leaving {
                    kring: k.index,
                    ring,
                    holds,
                });
            }
            if let Some(k) = self.adapters[to].krings_mut(RX).get_mut(i)
                && let Some(ring) = k.ring.take()
            {
                let holds = if shared(k) {
                    Holds::PipeRx
                } else if k.fake {
                    Holds::Nothing
                } else {
                    Holds::All
                };
                rings.push(Leaving {
                    kring: k.index,
                    ring,
                    holds,
                });
            }
        }
        rings
    }

    /// Frees the rings now, if nobody holds their locks, else later.
    fn bury(&mut self, mut grave: Grave) {
        grave.let_go(&self.ctl);
        for &(start, n) in &grave.ranges {
            self.forget_traced(start..start + n);
        }
        if self.grave_is_quiet(&grave) {
            self.free_grave(&grave);
        } else {
            self.memories.get(grave.mem);
            // Cannot fail: the memory of a ring has a region.
            let _ = self.memories.finalize(grave.mem);
            self.graves.push(grave);
        }
    }

    fn grave_is_quiet(&self, grave: &Grave) -> bool {
        let krings = || grave.ranges.iter().flat_map(|&(start, n)| start..start + n);
        // Krings are freed after their rings, which may be in another grave.
        let others = self.graves.iter().filter(|g| !core::ptr::eq(*g, grave));
        let pending = |index| {
            others
                .clone()
                .any(|g| g.rings.iter().any(|r| r.kring == index))
        };
        let rings = grave.rings.iter().map(|r| r.kring);
        grave.in_hand.is_empty()
            && !krings().any(pending)
            && krings()
                .chain(rings)
                .all(|index| is_quiet(&self.ctl, index))
    }

    fn free_grave(&mut self, grave: &Grave) {
        // When the last user leaves, the memory is freed as a whole; else buffer by buffer.
        if self.memories.at(grave.mem).active > 1 {
            let mut buffers = Vec::new();
            for leaving in &grave.rings {
                // Cannot fail: the ring was made in this memory, which is kept until now.
                let _ = self.held_buffers(grave.mem, leaving, &mut buffers);
            }
            let _ = self.release_buffers(grave.mem, &buffers);
        }
        for leaving in &grave.rings {
            self.kring(leaving.kring).ring_ofs.store(0, Relaxed);
            self.kring(leaving.kring).changed();
            if let Ok(pool) = self.memories.at_mut(grave.mem).pool_mut(Which::Ring) {
                pool.give_back(leaving.ring.object);
            }
        }
        for &range in &grave.ranges {
            for index in range.0..range.0 + range.1 {
                let k = self.kring(index);
                k.generation.store(0, Relaxed);
                k.port.store(u32::MAX, Relaxed);
                k.pipe.store(0, Relaxed);
                k.changed();
            }
            self.kring_ranges.give_back(range);
        }
    }

    /// Reads the indices in the slots that `leaving` holds.
    fn held_buffers(&self, mem: MemId, leaving: &Leaving, to: &mut Vec<u32>) -> Result<()> {
        let region = self.memories.active_region(mem)?;
        let slots = slots(region, leaving.ring)?;
        let (from, count) = self.held_range(leaving);
        to.extend((0..count).map(|i| slots[(from + i) as usize % slots.len()].load().buf_idx));
        Ok(())
    }

    /// First slot and number of slots that `leaving` holds.
    fn held_range(&self, leaving: &Leaving) -> (u32, u32) {
        let (n, k) = (leaving.ring.slots, self.kring(leaving.kring));
        let (from, to, inclusive) = match leaving.holds {
            Holds::All => return (0, n),
            Holds::Nothing => return (0, 0),
            Holds::PipeTx(peer) => (
                self.kring(peer).pipe_tail.load(Relaxed),
                k.pipe_tail.load(Relaxed),
                1,
            ),
            Holds::PipeRx => (k.hwcur.load(Relaxed), k.pipe_tail.load(Relaxed), 0),
        };
        if from >= n || to >= n {
            // Control memory holds bad indices: every slot may own its buffer. A buffer that is in
            // two slots is freed once.
            return (0, n);
        }
        (from, (distance(from, to, n) + inclusive).min(n))
    }

    /// Gives buffers back, except those that are free already or that another port of the same
    /// memory holds, which only happens if a program has written wrong indices.
    pub(super) fn release_buffers(&mut self, mem: MemId, buffers: &[u32]) -> Result<()> {
        let claimed = if self.memories.at(mem).active > 1 {
            self.claimed(mem)?
        } else {
            Vec::new()
        };
        let pool = self.memories.at_mut(mem).pool_mut(Which::Buf)?;
        for &b in buffers.iter().filter(|b| **b >= 2) {
            let other = claimed
                .get(b as usize / 64)
                .is_some_and(|w| w & 1 << (b % 64) != 0);
            if !other {
                pool.give_back(b);
            }
        }
        Ok(())
    }

    /// One bit per buffer of `mem` that a live ring or list of extra buffers holds.
    fn claimed(&self, mem: MemId) -> Result<Vec<u64>> {
        let mut bits = Vec::new();
        for b in self.owned_buffers(mem)? {
            let word = b as usize / 64;
            if bits.len() <= word {
                bits.resize(word + 1, 0u64);
            }
            bits[word] |= 1 << (b % 64);
        }
        Ok(bits)
    }

    /// The buffers in owned slots of all live rings of `mem`, in lists of extra buffers, and in
    /// graves; a buffer is listed twice if a program has put it into two slots.
    pub(super) fn owned_buffers(&self, mem: MemId) -> Result<Vec<u32>> {
        let mut owned = Vec::new();
        for (_, na) in self.adapters.iter().filter(|(_, na)| na.mem == mem) {
            for leaving in self.live_rings(na) {
                self.held_buffers(mem, &leaving, &mut owned)?;
            }
        }
        for bound in self.users_of(mem) {
            owned.extend(self.extra_list(mem, bound.netmap_if)?);
            owned.extend(bound.extra.buffers());
        }
        for leaving in self
            .graves
            .iter()
            .filter(|g| g.mem == mem)
            .flat_map(|g| &g.rings)
        {
            self.held_buffers(mem, leaving, &mut owned)?;
        }
        let count = self.memories.at(mem).pool(Which::Buf)?.total();
        owned.retain(|b| *b >= 2 && *b < count);
        Ok(owned)
    }

    /// The rings of a live adapter and what they hold.
    fn live_rings(&self, na: &Adapter) -> Vec<Leaving> {
        let mut rings = Vec::new();
        for dir in DIRS {
            for (i, k) in na.krings(dir).iter().enumerate() {
                let Some(ring) = k.ring else { continue };
                let holds = match (&na.kind, dir) {
                    (Kind::Pipe { peer, .. }, TX) if k.fake && k.needed => self.adapters[*peer]
                        .krings(RX)
                        .get(i)
                        .map_or(Holds::Nothing, |p| Holds::PipeTx(p.index)),
                    (Kind::Pipe { .. }, _) if k.fake && k.needed => Holds::PipeRx,
                    _ if k.fake => Holds::Nothing,
                    _ => Holds::All,
                };
                rings.push(Leaving {
                    kring: k.index,
                    ring,
                    holds,
                });
            }
        }
        rings
    }

    /// Kring records in the graveyard.
    pub(super) fn buried_krings(&self) -> impl Iterator<Item = u32> {
        self.graves.iter().flat_map(|g| {
            let ranges = g.ranges.iter().flat_map(|&(start, n)| start..start + n);
            ranges.chain(g.rings.iter().map(|r| r.kring))
        })
    }

    /// The session that keeps ring `kring` from being used again, if it is in the graveyard.
    pub(super) fn graveyard_holds(&self, kring: u32) -> Option<u32> {
        let held = self
            .graves
            .iter()
            .any(|g| g.rings.iter().any(|r| r.kring == kring));
        let k = self.kring(kring);
        held.then(|| k.busy.owner().max(k.q_lock.owner()))
    }

    /// Is there something that could not be freed yet?
    pub fn has_left(&self) -> bool {
        !self.graves.is_empty()
    }

    /// Tries again to free what could not be freed yet. True while something is left.
    pub fn collect(&mut self) -> bool {
        let mut i = 0;
        while i < self.graves.len() {
            self.graves[i].let_go(&self.ctl);
            if !self.grave_is_quiet(&self.graves[i]) {
                i += 1;
                continue;
            }
            let grave = self.graves.swap_remove(i);
            self.changes += 1;
            self.free_grave(&grave);
            self.memories.deref(grave.mem);
            self.memories.put(grave.mem);
        }
        !self.graves.is_empty()
    }
}
