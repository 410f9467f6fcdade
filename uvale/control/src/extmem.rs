//! EXTMEM: a program's own memory as the region of an allocator.
//!
//! The process that asks has put a memfd under the addresses it named and hands it over (see
//! `nmshim`), or names a region that is there already. Pools follow each other from the first
//! page on, each beginning on a page, with their objects packed. What is left over becomes
//! buffers.

use nm_abi::{NETMAP_REQ_OPT_EXTMEM, nmreq_opt_extmem, nmreq_pools_info};
use rustix::io::Errno;

use super::caller::{Caller, Offer};
use super::memory::{MemId, Memories, Memory, Which};
use super::options::{conclude, find, put_back, typed};
use super::pool::{PAGE, Pool};
use super::{PoolParams, Pools, Refusal, Result, World};
use uvale_request::FileRange;
use uvale_request::OptionCopy;
use uvale_shared::shm::Memfd;

/// Objects of a region must begin on multiples of these, in bytes.
const ALIGN: [u32; 3] = [8, 16, 4];
const NAMES: [&str; 3] = [
    "nro_info.nr_if_pool_obj",
    "nro_info.nr_ring_pool_obj",
    "nro_info.nr_buf_pool_obj",
];

/// netmap_mem_ext_create's sizes: what the request leaves open is as in the smallest private
/// allocator. The choice is written back.
fn complete(info: &mut nmreq_pools_info, least: &Pools) {
    let or = |value: &mut u32, other: u32| {
        if *value == 0 {
            *value = other;
        }
    };
    or(&mut info.nr_if_pool_objtotal, least.netif.num);
    or(&mut info.nr_if_pool_objsize, least.netif.size);
    or(&mut info.nr_ring_pool_objtotal, least.ring.num);
    or(&mut info.nr_ring_pool_objsize, least.ring.size);
    or(&mut info.nr_buf_pool_objtotal, least.buf.num);
    or(&mut info.nr_buf_pool_objsize, least.buf.size);
}

/// What is asked for, checked against `nr_memsize`; the rest of that becomes buffers.
fn wanted(info: &nmreq_pools_info) -> Result<[PoolParams; 3]> {
    let mut pools = [
        (info.nr_if_pool_objsize, info.nr_if_pool_objtotal),
        (info.nr_ring_pool_objsize, info.nr_ring_pool_objtotal),
        (info.nr_buf_pool_objsize, info.nr_buf_pool_objtotal),
    ]
    .map(|(size, num)| PoolParams { size, num });
    if info.nr_memsize == 0 {
        return Ok(pools);
    }
    let mut left = info.nr_memsize;
    for (pool, name) in pools.iter().zip(NAMES) {
        let bytes = u64::from(pool.size) * u64::from(pool.num);
        left = left.checked_sub(bytes).ok_or_else(|| {
            Refusal::new(
                Errno::NOMEM,
                format!(
                    "EXTMEM: {name}total={} of {name}size={} do not fit into nr_memsize={}",
                    pool.num, pool.size, info.nr_memsize
                ),
            )
        })?;
    }
    let buffers = &mut pools[Which::Buf as usize];
    let more = left.div_ceil(buffers.size.into());
    buffers.num = buffers.num.wrapping_add(more as u32);
    Ok(pools)
}

/// Lays the pools out in `pages` pages: one after the other, as many objects as there is room for.
pub(super) fn lay_out(pages: u64, wanted: [PoolParams; 3]) -> [Pool; 3] {
    let page = u64::from(PAGE);
    let end = pages * page;
    let mut at = 0;
    let mut which = 0;
    wanted.map(|params| {
        let size = u64::from(params.size);
        // An object counts if it begins in the memory; the last one may end outside.
        let room = (end - at).div_ceil(size).min(params.num.into());
        let bytes = (room * size).next_multiple_of(page);
        let whole = at + room * size <= end;
        at = (at + bytes).min(end);
        which += 1;
        let pool = PoolParams {
            size: params.size,
            num: room as u32,
        };
        Pool::external(NAMES[which - 1], pool, bytes, ALIGN[which - 1], whole)
    })
}

impl World {
    /// The EXTMEM option of a REGISTER, if it has one: the allocator over the program's memory,
    /// with a reference.
    pub(super) fn extmem_option(
        &mut self,
        caller: &mut Caller,
        options: &mut [OptionCopy],
    ) -> Result<Option<MemId>> {
        let Some(option) = find(options, NETMAP_REQ_OPT_EXTMEM) else {
            return Ok(None);
        };
        let Some(mut whole) = typed::<nmreq_opt_extmem>(option) else {
            return Ok(None);
        };
        let made = self.external_memory(&mut whole.nro_info, caller);
        put_back(option, &whole);
        let result = made.as_ref().map(|_| ()).map_err(Clone::clone);
        conclude(option, result)?;
        made.map(Some)
    }

    fn external_memory(
        &mut self,
        info: &mut nmreq_pools_info,
        caller: &mut Caller,
    ) -> Result<MemId> {
        complete(info, &self.memories.least_private());
        let offer = caller.extmem.take().unwrap_or(Offer::Refused(Errno::NOMEM));
        match offer {
            Offer::Refused(errno) => Err(Refusal::new(
                errno,
                format!(
                    "EXTMEM: {} bytes at the given address cannot be used: they must be readable and writable \
                     memory",
                    info.nr_memsize
                ),
            )),
            Offer::Region(number) => self.memories.find_region(number).ok_or_else(|| {
                Refusal::new(Errno::NOMEM, "EXTMEM: that memory has just been given up")
            }),
            Offer::Memory {
                memfd,
                pages,
                known_as,
            } => {
                if known_as
                    .iter()
                    .any(|range| self.find_extmem(range).is_some())
                {
                    // Two processes gave the same memory at the same moment: the second one tries again.
                    let why = "EXTMEM: another process has just given that memory";
                    return Err(Refusal::new(Errno::AGAIN, why));
                }
                let pools = lay_out(pages, wanted(info)?);
                self.memories.new_external(memfd, pools, known_as)
            }
        }
    }

    /// Number of the region with that file range, if there is one.
    pub fn find_extmem(&self, range: &FileRange) -> Option<u32> {
        self.memories.find_external(range)
    }
}

impl Memories {
    fn find_external(&self, range: &FileRange) -> Option<u32> {
        let is_there = |m: &&Memory| m.known_as.as_ref().is_some_and(|k| k.contains(range));
        self.iter().find(is_there)?.region
    }

    fn find_region(&mut self, number: u32) -> Option<MemId> {
        let known = |m: &&Memory| m.region == Some(number) && m.known_as.is_some();
        let id = self.iter().find(known)?.id;
        Some(self.get(id))
    }

    fn new_external(
        &mut self,
        memfd: Memfd,
        pools: [Pool; 3],
        known_as: Vec<FileRange>,
    ) -> Result<MemId> {
        let id = self.new_id()?;
        self.add_external(id, memfd, pools, known_as)?;
        Ok(id)
    }
}
