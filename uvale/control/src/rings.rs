//! What lies in a region: rings, their slots and buffers, `netmap_if`s and extra buffers.
//!
//! Programs write these at any time. What is read back from them here is read once and checked:
//! an index counts as a buffer to give back only if it is one that is in use and that no ring of
//! another port holds.

use core::sync::atomic::Ordering::Relaxed;
use uvale_shared::atomics::AtomicU32;

use nm_abi::{IFNAMSIZ, NI_PRIV_MEM, netmap_if, netmap_ring};
use rustix::io::Errno;

use super::adapter::{AdapterId, DIRS, RingAt};
use super::memory::{MemId, Region, Which};
use super::{Refusal, Result, World};
use uvale_engine::{RX, TX};
use uvale_shared::extra::Extra;
use uvale_shared::shm::{Mapping, Slot, SlotView};

/// 32-bit words of a `netmap_ring` before its slots, by index.
mod ring_word {
    pub const BUF_OFS: usize = 0;
    pub const NUM_SLOTS: usize = 2;
    pub const BUF_SIZE: usize = 3;
    pub const RINGID_DIR: usize = 4;
    pub const HEAD: usize = 5;
    pub const CUR: usize = 6;
    pub const TAIL: usize = 7;
    pub const OFFSET_MASK: usize = 14;
    pub const BUF_ALIGN: usize = 16;
}

/// 32-bit words of a `netmap_if`, by index.
mod if_word {
    pub const NAME: usize = 0;
    pub const VERSION: usize = 4;
    pub const FLAGS: usize = 5;
    pub const TX_RINGS: usize = 6;
    pub const RX_RINGS: usize = 7;
    pub const BUFS_HEAD: usize = 8;
    pub const HOST_TX_RINGS: usize = 9;
    pub const HOST_RX_RINGS: usize = 10;
    pub const SPARE: usize = 11;
    pub const RING_OFS: usize = 14;
}

fn no_memory(why: String) -> Refusal {
    Refusal::new(Errno::NOMEM, why)
}

/// The words of an object at byte `offset`.
fn words(map: &Mapping, offset: u64, n: usize) -> Result<&[AtomicU32]> {
    usize::try_from(offset)
        .ok()
        .and_then(|offset| map.slice_at(offset, n))
        .ok_or_else(|| no_memory(format!("object at {offset} is outside its region")))
}

/// Stores a 64-bit field as two words; both machines are little endian.
fn store_wide(words: &[AtomicU32], at: usize, value: u64) {
    words[at].store(value as u32, Relaxed);
    words[at + 1].store((value >> 32) as u32, Relaxed);
}

/// The slots of a ring.
pub(super) fn slots(region: &Region, ring: RingAt) -> Result<&[SlotView]> {
    usize::try_from(ring.offset)
        .ok()
        .and_then(|ofs| {
            region
                .map()
                .slice_at(ofs + size_of::<netmap_ring>(), ring.slots as usize)
        })
        .ok_or_else(|| no_memory(format!("ring at {} is outside its region", ring.offset)))
}

impl World {
    /// netmap_mem_rings_create: makes the rings of `id` that are wanted and missing. Not undone on
    /// failure: the caller stops asking for them and calls [`World::delete_rings`].
    pub(super) fn create_rings(&mut self, id: AdapterId) -> Result<()> {
        for dir in DIRS {
            for i in 0..self.adapters[id].krings(dir).len() {
                let k = &self.adapters[id].krings(dir)[i];
                if k.ring.is_none() && (k.users > 0 || k.needed) {
                    self.create_ring(id, dir, i)?;
                }
            }
        }
        Ok(())
    }

    fn create_ring(&mut self, id: AdapterId, dir: usize, i: usize) -> Result<()> {
        let na = &self.adapters[id];
        let (mem, label, k) = (na.mem, na.label(), &na.krings(dir)[i]);
        let (index, num_slots, fake) = (k.index, k.slots, k.fake);
        if let Some(owner) = self.graveyard_holds(index) {
            return Err(Refusal::new(
                Errno::BUSY,
                format!(
                    "{label}: ring {i} is still being synced by {}; is it stopped?",
                    self.process(owner)
                ),
            ));
        }
        let object = self.take_ring_object(mem, &label, num_slots)?;
        let offset = self.memories.at(mem).object_offset(Which::Ring, object)?;
        let ring = RingAt {
            object,
            offset,
            slots: num_slots,
        };
        self.adapters[id].krings_mut(dir)[i].ring = Some(ring);
        self.write_ring_header(mem, ring, index, i as u32, dir)?;
        if fake {
            let size = self.memories.at(mem).pool(Which::Buf)?.size();
            let blank = Slot {
                len: size as u16,
                ..Slot::default()
            };
            let region = self.memories.active_region(mem)?;
            slots(region, ring)?.iter().for_each(|s| s.store(blank));
        } else {
            self.fill_slots(mem, ring, &label)?;
        }
        self.kring(index).ring_ofs.store(offset, Relaxed);
        self.kring(index).changed();
        Ok(())
    }

    fn take_ring_object(&mut self, mem: MemId, label: &str, num_slots: u32) -> Result<u32> {
        let pool = self.memories.at_mut(mem).pool_mut(Which::Ring)?;
        let (name, size, bytes) = (pool.name(), pool.size(), netmap_ring::bytes_for(num_slots));
        if bytes > size as usize {
            return Err(no_memory(format!(
                "{label}: a ring of {num_slots} slots takes {bytes} bytes, rings of memory {mem} have {size}: \
                 set {name}_size={bytes} or ask for fewer slots"
            )));
        }
        pool.take(&mut 0).ok_or_else(|| {
            no_memory(format!(
                "{label}: all {n} rings of memory {mem} are in use: set {name}_num to more than {n}, or close some \
                 ports or pipes",
                n = pool.total()
            ))
        })
    }

    /// The fields before the slots. Like netmap it leaves flags, time stamp and `sem` of a former
    /// ring in the same place as they are.
    fn write_ring_header(
        &self,
        mem: MemId,
        ring: RingAt,
        index: u32,
        id: u32,
        dir: usize,
    ) -> Result<()> {
        let memory = self.memories.at(mem);
        let region = self.memories.active_region(mem)?;
        let w = words(region.map(), ring.offset, size_of::<netmap_ring>() / 4)?;
        let k = self.kring(index);
        store_wide(
            w,
            ring_word::BUF_OFS,
            memory.offset(Which::Buf)? - ring.offset,
        );
        for (at, value) in [
            (ring_word::NUM_SLOTS, ring.slots),
            (ring_word::BUF_SIZE, memory.pool(Which::Buf)?.size()),
            (
                ring_word::RINGID_DIR,
                id & 0xffff | u32::from(dir == TX) << 16,
            ),
            (ring_word::HEAD, k.rhead.load(Relaxed)),
            (ring_word::CUR, k.rcur.load(Relaxed)),
            (ring_word::TAIL, k.rtail.load(Relaxed)),
        ] {
            w[at].store(value, Relaxed);
        }
        store_wide(w, ring_word::OFFSET_MASK, k.offset_mask.load(Relaxed));
        store_wide(w, ring_word::BUF_ALIGN, 0);
        Ok(())
    }

    /// Shows a ring's offsets to the data path and to the program.
    pub(super) fn show_offsets(&self, id: AdapterId, dir: usize, i: u32) -> Result<()> {
        let na = &self.adapters[id];
        let k = &na.krings(dir)[i as usize];
        let shared = self.kring(k.index);
        shared.offset_max.store(k.offsets.max as u32, Relaxed);
        shared.offset_mask.store(k.offsets.mask, Relaxed);
        shared.changed();
        if let Some(ring) = k.ring {
            let region = self.memories.active_region(na.mem)?;
            let w = words(region.map(), ring.offset, size_of::<netmap_ring>() / 4)?;
            store_wide(w, ring_word::OFFSET_MASK, k.offsets.mask);
        }
        Ok(())
    }

    /// Puts an offset into all slots of a ring.
    pub(super) fn set_initial_offset(
        &self,
        id: AdapterId,
        dir: usize,
        i: u32,
        offset: u64,
    ) -> Result<()> {
        let na = &self.adapters[id];
        let k = &na.krings(dir)[i as usize];
        let Some(ring) = k.ring else { return Ok(()) };
        let region = self.memories.active_region(na.mem)?;
        for slot in slots(region, ring)? {
            let whole = slot.load_full();
            let ptr = whole.ptr & !k.offsets.mask | offset & k.offsets.mask;
            slot.store_full(Slot { ptr, ..whole });
        }
        Ok(())
    }

    /// A ring of a pipe's end shows the offsets of the other end's ring; the data path does not
    /// use them.
    pub(super) fn copy_offset_mask(&self, mem: MemId, from: RingAt, to: RingAt) -> Result<()> {
        let region = self.memories.active_region(mem)?;
        let n = size_of::<netmap_ring>() / 4;
        let (a, b) = (
            words(region.map(), from.offset, n)?,
            words(region.map(), to.offset, n)?,
        );
        for at in [ring_word::OFFSET_MASK, ring_word::BUF_ALIGN] {
            for word in [at, at + 1] {
                b[word].store(a[word].load(Relaxed), Relaxed);
            }
        }
        Ok(())
    }

    /// netmap_new_bufs: a buffer for each slot, or none at all.
    fn fill_slots(&mut self, mem: MemId, ring: RingAt, label: &str) -> Result<()> {
        let n = ring.slots as usize;
        let pool = self.memories.at_mut(mem).pool_mut(Which::Buf)?;
        let (mut hint, mut got) = (0, Vec::with_capacity(n));
        got.extend((0..n).map_while(|_| pool.take(&mut hint)));
        let complete = got.len() == n;
        if !complete {
            got.iter().for_each(|b| {
                pool.give_back(*b);
            });
            got.clear();
        }
        let (name, total, len) = (pool.name(), pool.total(), pool.size() as u16);
        let enough = total - pool.free_count() + ring.slots;
        let region = self.memories.active_region(mem)?;
        for (i, slot) in slots(region, ring)?.iter().enumerate() {
            let filled = got.get(i).map(|&buf_idx| Slot {
                buf_idx,
                len,
                flags: 0,
                ptr: 0,
            });
            slot.store_full(filled.unwrap_or_default());
        }
        if complete {
            return Ok(());
        }
        Err(no_memory(format!(
            "{label}: memory {mem} has not {n} of its {total} buffers free: set {name}_num to {enough} or more, or ask \
             for fewer slots or extra buffers"
        )))
    }

    /// netmap_mem_if_new: makes the `netmap_if` through which a descriptor sees the rings of
    /// `first..last`. Returns its object number.
    pub(super) fn new_netmap_if(
        &mut self,
        id: AdapterId,
        first: [u32; 2],
        last: [u32; 2],
    ) -> Result<u32> {
        let na = &self.adapters[id];
        let (mem, label) = (na.mem, na.label());
        let bytes = netmap_if::bytes_for((na.all_rings(RX) + na.all_rings(TX)) as usize);
        let pool = self.memories.at_mut(mem).pool_mut(Which::If)?;
        let name = pool.name();
        if bytes > pool.size() as usize {
            return Err(no_memory(format!(
                "{label}: netmap_ifs of memory {mem} have {} bytes: set {name}_size={bytes} for so many rings",
                pool.size()
            )));
        }
        let object = pool.take(&mut 0).ok_or_else(|| {
            no_memory(format!(
                "{label}: all {n} netmap_ifs of memory {mem} are in use: set {name}_num to more than {n}, or close \
                 some descriptors",
                n = pool.total()
            ))
        })?;
        self.write_netmap_if(id, object, first, last)?;
        Ok(object)
    }

    fn write_netmap_if(
        &self,
        id: AdapterId,
        object: u32,
        first: [u32; 2],
        last: [u32; 2],
    ) -> Result<()> {
        let na = &self.adapters[id];
        let memory = self.memories.at(na.mem);
        let base = memory.object_offset(Which::If, object)?;
        let ofs = |dir: usize| {
            na.krings(dir)
                .iter()
                .enumerate()
                .map(move |(i, k)| match k.ring {
                    Some(ring) if (first[dir]..last[dir]).contains(&(i as u32)) => {
                        ring.offset - base
                    }
                    _ => 0,
                })
        };
        let offsets: Vec<u64> = ofs(TX).chain(ofs(RX)).collect();
        let region = self.memories.active_region(na.mem)?;
        let w = words(region.map(), base, netmap_if::bytes_for(offsets.len()) / 4)?;
        let mut name = [0u8; IFNAMSIZ];
        let len = na.name.len().min(IFNAMSIZ - 1);
        name[..len].copy_from_slice(&na.name[..len]);
        for (i, part) in name.chunks_exact(4).enumerate() {
            let word = u32::from_le_bytes([part[0], part[1], part[2], part[3]]);
            w[if_word::NAME + i].store(word, Relaxed);
        }
        for (at, value) in [
            (if_word::VERSION, 0),
            (if_word::FLAGS, if memory.private { NI_PRIV_MEM } else { 0 }),
            (if_word::TX_RINGS, na.rings[TX]),
            (if_word::RX_RINGS, na.rings[RX]),
            (if_word::BUFS_HEAD, 0),
            (if_word::HOST_TX_RINGS, na.host_rings[TX].max(1)),
            (if_word::HOST_RX_RINGS, na.host_rings[RX].max(1)),
            (if_word::SPARE, 0),
            (if_word::SPARE + 1, 0),
            (if_word::SPARE + 2, 0),
        ] {
            w[at].store(value, Relaxed);
        }
        for (i, value) in offsets.into_iter().enumerate() {
            store_wide(w, if_word::RING_OFS + 2 * i, value);
        }
        Ok(())
    }

    /// netmap_extra_alloc: takes up to `n` buffers for the list of a `netmap_if`. Whoever asked for
    /// them chains them.
    pub(super) fn alloc_extra(&mut self, mem: MemId, netmap_if: u32, n: u32) -> Result<Extra> {
        let memory = self.memories.at_mut(mem);
        let base = memory.object_offset(Which::If, netmap_if)?;
        let mut extra = Extra {
            head_at: base + 4 * if_word::BUFS_HEAD as u64,
            ranges: Vec::new(),
        };
        let (pool, mut hint) = (memory.pool_mut(Which::Buf)?, 0);
        let taken = (0..n).map_while(|_| pool.take(&mut hint));
        taken.for_each(|buffer| extra.push(buffer));
        Ok(extra)
    }

    fn extra_head(&self, mem: MemId, netmap_if: u32) -> Result<&AtomicU32> {
        let base = self.memories.at(mem).object_offset(Which::If, netmap_if)?;
        let region = self.memories.active_region(mem)?;
        Ok(&words(region.map(), base, if_word::RING_OFS)?[if_word::BUFS_HEAD])
    }

    /// The buffers on a `netmap_if`'s list of extra ones, up to the first index that is invalid or
    /// repeated.
    pub(super) fn extra_list(&self, mem: MemId, netmap_if: u32) -> Result<Vec<u32>> {
        let region = self.memories.active_region(mem)?;
        let pool = region.pool();
        let mut seen = vec![0u64; (pool.count() as usize).div_ceil(64)];
        let mut list = Vec::new();
        let mut next = self.extra_head(mem, netmap_if)?.load(Relaxed);
        while pool.is_valid(next) {
            let (word, bit) = (next as usize / 64, 1u64 << (next % 64));
            if seen[word] & bit != 0 {
                break;
            }
            seen[word] |= bit;
            list.push(next);
            next = words(region.map(), pool.offset(next) as u64, 1)?[0].load(Relaxed);
        }
        Ok(list)
    }

    /// netmap_mem_if_delete: frees the extra buffers and the `netmap_if` itself. `extra` has the
    /// extra buffers that are not chained yet.
    pub(super) fn delete_netmap_if(
        &mut self,
        mem: MemId,
        netmap_if: u32,
        extra: &Extra,
    ) -> Result<()> {
        // When the last user leaves, the memory is freed as a whole; else buffer by buffer.
        if self.memories.at(mem).active > 1 {
            let mut buffers = self.extra_list(mem, netmap_if)?;
            buffers.extend(extra.buffers());
            self.extra_head(mem, netmap_if)?.store(0, Relaxed);
            self.release_buffers(mem, &buffers)?;
        }
        self.memories
            .at_mut(mem)
            .pool_mut(Which::If)?
            .give_back(netmap_if);
        Ok(())
    }
}
