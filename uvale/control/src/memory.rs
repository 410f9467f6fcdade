//! Allocators: the global one and the private ones of VALE ports, their ids and life times.
//!
//! An allocator exists as long as somebody refers to it (`refs`), and has memory (a region) from
//! its first user (`active`) on. When the last user leaves, everything becomes free again,
//! including what a program has lost; the region itself stays until the allocator is freed.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use rustix::io::Errno;

use super::pool::{PAGE, Pool};
use super::sizing::{DEFAULT_PIPES, GLOBAL_LIMITS, PRIVATE_LIMITS, private_pools};
use super::{Config, Pools, Refusal, Result};
use uvale_engine::RegionMap;
use uvale_request::FileRange;
use uvale_shared::shm::{self, BufferPool, Made, Mapping, Memfd};
use uvale_system::limits::why_no_memory;

/// Id of an allocator (nr_mem_id); 0 is never one.
pub(super) type MemId = u16;
/// The allocator that always exists.
pub(super) const GLOBAL: MemId = 1;

/// Pools of an allocator, in the order in which they lie in the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// `netmap_if`
    If = 0,
    /// `netmap_ring`
    Ring = 1,
    /// packet buffers
    Buf = 2,
}

/// A region: the shared memory of one allocator, as programs map it.
#[derive(Debug)]
pub struct Region {
    /// number of the region, unique for the life of the world
    pub number: u32,
    /// nr_mem_id of its allocator
    pub mem_id: u16,
    /// bytes
    pub size: u64,
    /// what programs map
    pub memfd: Memfd,
    /// our own mapping, and where the packet buffers are
    pub shared: Arc<RegionMap>,
    /// a program's own memory
    external: bool,
}

impl Region {
    /// Our own mapping.
    pub fn map(&self) -> &Mapping {
        &self.shared.map
    }

    /// Where the packet buffers are.
    pub fn pool(&self) -> BufferPool {
        self.shared.pool
    }
}

/// One allocator.
#[derive(Debug)]
pub(super) struct Memory {
    pub id: MemId,
    /// not the global one: programs see NI_PRIV_MEM
    pub private: bool,
    refs: u32,
    pub active: u32,
    /// the parameters of the pools
    wanted: Pools,
    /// sized pools, or why the parameters do not work
    pools: Result<[Pool; 3]>,
    pub region: Option<u32>,
    /// of a program's own memory: the files in which it lies
    pub known_as: Option<Vec<FileRange>>,
}

impl Memory {
    fn new(id: MemId, private: bool, wanted: Pools) -> Self {
        let limits = if private {
            PRIVATE_LIMITS
        } else {
            GLOBAL_LIMITS
        };
        let sized = || {
            Ok([
                Pool::new(limits[0], wanted.netif)?,
                Pool::new(limits[1], wanted.ring)?,
                Pool::new(limits[2], wanted.buf)?,
            ])
        };
        Self {
            id,
            private,
            refs: 1,
            active: 0,
            wanted,
            pools: sized(),
            region: None,
            known_as: None,
        }
    }

    fn pools(&self) -> Result<&[Pool; 3]> {
        self.pools.as_ref().map_err(Clone::clone)
    }

    /// Bytes of the region, made or not.
    pub fn size(&self) -> Result<u64> {
        let bytes: u64 = self.pools()?.iter().map(Pool::bytes).sum();
        Ok(bytes.next_multiple_of(u64::from(PAGE)))
    }

    /// A pool; the configuration must have been accepted.
    pub fn pool(&self, which: Which) -> Result<&Pool> {
        Ok(&self.pools()?[which as usize])
    }

    /// A pool to take from and give back to.
    pub fn pool_mut(&mut self, which: Which) -> Result<&mut Pool> {
        match &mut self.pools {
            Ok(pools) => Ok(&mut pools[which as usize]),
            Err(refusal) => Err(refusal.clone()),
        }
    }

    /// Byte offset of a pool in the region.
    pub fn offset(&self, which: Which) -> Result<u64> {
        Ok(self.pools()?[..which as usize]
            .iter()
            .map(Pool::bytes)
            .sum())
    }

    /// Byte offset of object `i` of a pool in the region.
    pub fn object_offset(&self, which: Which, i: u32) -> Result<u64> {
        Ok(self.offset(which)? + u64::from(i) * u64::from(self.pool(which)?.size()))
    }

    fn reset(&mut self) -> Result<()> {
        self.pool_mut(Which::If)?.reset(0);
        self.pool_mut(Which::Ring)?.reset(0);
        // buffers 0 and 1 belong to nobody
        self.pool_mut(Which::Buf)?.reset(2);
        Ok(())
    }

    /// Has each pool a free object?
    fn check_room(&self) -> Result<()> {
        for which in [Which::If, Which::Ring, Which::Buf] {
            let pool = self.pool(which)?;
            if pool.free_count() == 0 {
                return Err(Refusal::new(
                    Errno::NOMEM,
                    format!("{}total: the memory has no room for one", pool.name()),
                ));
            }
        }
        Ok(())
    }
}

/// All allocators and regions.
#[derive(Debug)]
pub(super) struct Memories {
    by_id: BTreeMap<MemId, Memory>,
    /// where the search for a free id starts
    last: MemId,
    regions: BTreeMap<u32, Region>,
    next_region: u32,
    /// parameters of the global allocator (if_size and so on)
    global: Pools,
    /// the global allocator has been used, with the parameters in `global`
    configured: bool,
    /// what private allocators have at least (priv_if_size and so on)
    private: Pools,
    /// pages that regions are made of
    pages: shm::Wanted,
    /// what regions have not of it, as long as it has not been asked for
    less: Vec<String>,
}

impl Memories {
    pub fn new(config: &Config) -> Self {
        Self {
            by_id: BTreeMap::from([(GLOBAL, Memory::new(GLOBAL, false, config.global))]),
            last: GLOBAL,
            regions: BTreeMap::new(),
            next_region: 1,
            global: config.global,
            configured: false,
            private: config.private,
            pages: config.pages,
            less: Vec::new(),
        }
    }

    /// What regions have less than was wanted since this was asked last: a sentence for each.
    pub fn take_less(&mut self) -> Vec<String> {
        core::mem::take(&mut self.less)
    }

    /// Sets the parameters of allocators: of new private ones, and of the global one once it has
    /// no users.
    pub fn set_wanted(&mut self, config: &Config) {
        self.global = config.global;
        self.private = config.private;
    }

    /// netmap_mem_config: gives the global allocator, when nobody uses it, its current parameters.
    /// Its old region is dropped; a program that still has it mapped keeps it.
    fn configure(&mut self, id: MemId) {
        let global = self.global;
        let memory = self.at_mut(id);
        if id != GLOBAL || memory.active > 0 {
            return;
        }
        if memory.wanted != global {
            let refs = memory.refs;
            let old = core::mem::replace(memory, Memory::new(GLOBAL, false, global));
            memory.refs = refs;
            if let Some(region) = old.region.and_then(|n| self.regions.remove(&n)) {
                Self::discard_buffers(&region);
            }
        }
        self.configured = true;
    }

    /// Bytes of an object of the global allocator, and how many there are; 0 while nobody has asked
    /// for it, or for any memory.
    pub fn current(&self, which: Which) -> (u32, u32) {
        let memory = self.at(GLOBAL);
        match memory.pool(which) {
            Ok(pool) if self.configured => {
                let total = memory.region.map_or(0, |_| pool.total());
                (pool.size(), total)
            }
            _ => (0, 0),
        }
    }

    /// The allocator `id`, which the caller holds a reference to.
    pub fn at(&self, id: MemId) -> &Memory {
        &self.by_id[&id]
    }

    /// The allocator `id`, which the caller holds a reference to.
    pub fn at_mut(&mut self, id: MemId) -> &mut Memory {
        self.by_id
            .get_mut(&id)
            .expect("a referenced allocator exists")
    }

    /// All allocators by id.
    pub fn iter(&self) -> impl Iterator<Item = &Memory> {
        self.by_id.values()
    }

    /// Region by number.
    pub fn region(&self, number: u32) -> Option<&Region> {
        self.regions.get(&number)
    }

    /// The region of allocator `id`, if it has one.
    pub fn region_of(&self, id: MemId) -> Option<&Region> {
        self.regions.get(&self.by_id.get(&id)?.region?)
    }

    /// The region of an allocator that has users.
    pub fn active_region(&self, id: MemId) -> Result<&Region> {
        self.region_of(id)
            .ok_or_else(|| Refusal::new(Errno::NOMEM, format!("memory {id} has no region")))
    }

    /// Takes a reference to the allocator that a request names; `EINVAL` if there is none.
    pub fn find(&mut self, id: MemId) -> Result<MemId> {
        if !self.by_id.contains_key(&id) {
            return Err(Refusal::new(
                Errno::INVAL,
                format!(
                    "nr_mem_id={id}: no such memory; 1 is the global one, 0 lets netmap choose"
                ),
            ));
        }
        Ok(self.get(id))
    }

    /// One reference more.
    pub fn get(&mut self, id: MemId) -> MemId {
        self.configure(id);
        self.at_mut(id).refs += 1;
        id
    }

    /// One reference less; the last one frees the allocator and its region.
    pub fn put(&mut self, id: MemId) {
        let memory = self.at_mut(id);
        memory.refs -= 1;
        if memory.refs > 0 {
            return;
        }
        let region = memory.region.take();
        if self.last == id {
            self.last = self.before(id);
        }
        self.by_id.remove(&id);
        if let Some(region) = region.and_then(|n| self.regions.remove(&n)) {
            Self::discard_buffers(&region);
        }
    }

    /// An id for a new allocator.
    pub fn new_id(&self) -> Result<MemId> {
        self.unused_id().ok_or_else(|| {
            Refusal::new(
                Errno::NOMEM,
                "all 65535 memory ids are in use: close some ports",
            )
        })
    }

    /// The least that private allocators have.
    pub fn least_private(&self) -> Pools {
        self.private
    }

    /// The allocator `id` over a program's memory, held by one reference.
    pub fn add_external(
        &mut self,
        id: MemId,
        memfd: Memfd,
        pools: [Pool; 3],
        known_as: Vec<FileRange>,
    ) -> Result<()> {
        let mut memory = Memory {
            id,
            private: true,
            refs: 1,
            active: 0,
            wanted: self.private,
            pools: Ok(pools),
            region: None,
            known_as: Some(known_as),
        };
        memory.reset()?;
        let (number, size) = (self.next_region, memory.size()?);
        let map = Mapping::new(&memfd).map_err(|e| no_region(&memory, size, "map", e))?;
        let region = region_of(&memory, number, memfd, map)?;
        memory.region = Some(number);
        self.regions.insert(number, region);
        self.next_region += 1;
        self.by_id.insert(id, memory);
        self.last = id;
        Ok(())
    }

    /// A new private allocator with room for a port of that many rings and slots, its two
    /// default pipes and `extra` buffers, held by one reference.
    pub fn new_private(&mut self, rings: [u32; 2], slots: [u32; 2], extra: u32) -> Result<MemId> {
        self.new_private_for(rings, slots, extra, DEFAULT_PIPES)
    }

    /// The same with room for `pipes` pipes.
    pub fn new_private_for(
        &mut self,
        rings: [u32; 2],
        slots: [u32; 2],
        extra: u32,
        pipes: u32,
    ) -> Result<MemId> {
        let id = self.new_id()?;
        let pools = private_pools(self.private, rings, slots, extra, pipes);
        let memory = Memory::new(id, true, pools);
        if let Err(refusal) = &memory.pools {
            return Err(refusal.clone());
        }
        self.by_id.insert(id, memory);
        self.last = id;
        Ok(id)
    }

    /// netmap_mem_finalize: makes sure that allocator `id` has memory, and counts one user more.
    pub fn finalize(&mut self, id: MemId) -> Result<()> {
        self.configure(id);
        let memory = &self.by_id[&id];
        if memory.known_as.is_some() {
            memory.check_room()?;
        }
        if memory.region.is_none() {
            let number = self.next_region;
            let (region, less) = make_region(memory, number, self.pages)?;
            self.less = less;
            let memory = self.at_mut(id);
            memory.reset()?;
            memory.region = Some(number);
            self.regions.insert(number, region);
            self.next_region += 1;
        }
        self.at_mut(id).active += 1;
        Ok(())
    }

    /// netmap_mem_deref: one user less. The last one leaves an allocator with everything free.
    pub fn deref(&mut self, id: MemId) {
        let memory = self.at_mut(id);
        memory.active -= 1;
        if memory.active == 0 {
            // Cannot fail: the pools were sized before the first user came.
            let _ = memory.reset();
            if let Some(region) = self.region_of(id) {
                Self::discard_buffers(region);
            }
        }
    }

    /// Gives the pages of packet buffers back to the system. Rings and `netmap_if`s stay readable,
    /// since a program may keep its mapping after its descriptor. A program's own memory is left
    /// as it is.
    fn discard_buffers(region: &Region) {
        if region.external {
            return;
        }
        let pool = region.pool();
        let len = pool.size() as usize * pool.count() as usize;
        // Best effort: without it the pages live as long as somebody maps them.
        let _ = region.memfd.discard_range(pool.offset(0), len);
    }

    /// netmap's choice: ids are tried upwards from the one given out last.
    fn unused_id(&self) -> Option<MemId> {
        let mut scan = self.last;
        loop {
            let id = scan.checked_add(1).unwrap_or(1);
            scan = self.after(scan);
            if id != scan {
                return Some(id);
            }
            if scan == self.last {
                return None;
            }
        }
    }

    fn after(&self, id: MemId) -> MemId {
        let above = self.by_id.range((Excluded(id), Unbounded)).next();
        above
            .or_else(|| self.by_id.iter().next())
            .map_or(GLOBAL, |(id, _)| *id)
    }

    fn before(&self, id: MemId) -> MemId {
        let below = self.by_id.range(..id).next_back();
        below
            .or_else(|| self.by_id.iter().next_back())
            .map_or(GLOBAL, |(id, _)| *id)
    }
}

/// Are the sizes of the global allocator, and those that private ones have at least, accepted?
pub(super) fn check(config: &Config) -> Result<()> {
    Memory::new(GLOBAL, false, config.global).size()?;
    Memory::new(GLOBAL, true, config.private).size()?;
    Ok(())
}

/// A region for `memory`, and what it has less than is wanted.
fn make_region(memory: &Memory, number: u32, pages: shm::Wanted) -> Result<(Region, Vec<String>)> {
    let size = memory.size()?;
    let failed = |errno| no_region(memory, size, "make", errno);
    let len = usize::try_from(size).map_err(|_| failed(Errno::NOMEM))?;
    let Made { memfd, map, less } = shm::make("netmap-region", len, pages).map_err(failed)?;
    Ok((region_of(memory, number, memfd, map)?, less))
}

fn no_region(memory: &Memory, size: u64, what: &str, errno: Errno) -> Refusal {
    Refusal::new(
        Errno::NOMEM,
        format!(
            "the daemon cannot {what} a region of {size} bytes for memory {}: {}",
            memory.id,
            why_no_memory(errno, size)
        ),
    )
}

/// The region of `memory` in `memfd`, which is mapped.
fn region_of(memory: &Memory, number: u32, memfd: Memfd, map: Mapping) -> Result<Region> {
    let size = memory.size()?;
    let buffers = memory.pool(Which::Buf)?;
    let pool = BufferPool::new(
        &map,
        memory.offset(Which::Buf)?,
        buffers.size(),
        buffers.whole(),
    )
    .ok_or_else(|| no_region(memory, size, "map", Errno::INVAL))?;
    let shared = Arc::new(RegionMap { number, map, pool });
    Ok(Region {
        number,
        mem_id: memory.id,
        size,
        memfd,
        shared,
        external: memory.known_as.is_some(),
    })
}

#[cfg(test)]
#[path = "tests/memory.rs"]
mod tests;
