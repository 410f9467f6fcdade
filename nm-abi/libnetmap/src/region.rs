//! Regions: one mapping per region and context, however many ports use it.

use core::ffi::{c_int, c_void};
use core::ptr::{NonNull, null_mut};

use nm_abi::netmap_if;

use crate::abi::{Context, nmem_d};
use crate::context::{Locked, errno, error_text, set_errno};
use crate::descriptor::Port;
use crate::given::shown;

/// The list of a context's regions, under the context's lock.
struct Regions {
    ctx: Context,
    _locked: Locked,
}

impl Regions {
    fn lock(ctx: Context) -> Self {
        let _locked = ctx.lock();
        Regions { ctx, _locked }
    }

    /// Where the first region is named.
    fn head(&mut self) -> &mut Option<NonNull<nmem_d>> {
        // SAFETY: the context is alive (the type); its list is used under its lock only.
        unsafe { &mut (*self.ctx.as_ptr()).mem_descs }
    }

    /// A region of the list.
    fn at(&mut self, mut region: NonNull<nmem_d>) -> &mut nmem_d {
        // SAFETY: ports and links name regions of the list, which are there until `release` takes
        // them off it; what is in them is used under the lock only.
        unsafe { region.as_mut() }
    }

    /// The region of this number, if it is mapped.
    fn find(&mut self, mem_id: u16) -> Option<NonNull<nmem_d>> {
        let mut next = *self.head();
        while let Some(region) = next {
            if self.at(region).mem_id == mem_id {
                return Some(region);
            }
            next = self.at(region).next;
        }
        None
    }

    /// Puts a region in front, unless there is no memory for it.
    fn add(&mut self, region: nmem_d) -> Result<NonNull<nmem_d>, nmem_d> {
        let next = *self.head();
        let region = self.ctx.allocate_quietly(nmem_d { next, ..region })?;
        let region = region.into_ptr();
        if let Some(next) = next {
            self.at(next).prev = Some(region);
        }
        *self.head() = Some(region);
        Ok(region)
    }

    /// Lets go of a region; without users it is unmapped, off the list and freed.
    fn release(&mut self, region: NonNull<nmem_d>) {
        let r = self.at(region);
        r.refcount -= 1;
        if r.refcount > 0 {
            return;
        }
        let (next, prev) = (r.next, r.prev);
        unmap(r);
        if let Some(next) = next {
            self.at(next).prev = prev;
        }
        match prev {
            Some(prev) => self.at(prev).next = next,
            None => *self.head() = next,
        }
        // SAFETY: it was made by `add` in this context, and nobody names it any more.
        unsafe { self.ctx.free(region.as_ptr()) };
    }
}

/// Unmaps a region that nobody uses any more, if the library has mapped it.
fn unmap(region: &nmem_d) {
    if region.is_extmem == 0 {
        let before = errno();
        // SAFETY: the mapping is the library's, and its last user lets go of it.
        unsafe { libc::munmap(region.mem, region.size) };
        set_errno(before);
    }
}

/// Why there is no region.
enum Failed {
    Map(c_int),
    Memory,
}

impl Port {
    /// Maps the region of a registered port, or takes part in the mapping that there is, and finds
    /// the port's rings; `None` after saying why not.
    pub(crate) fn map(&mut self) -> Option<()> {
        if self.mmap_done != 0 {
            self.refuse("is mapped already");
            return None;
        }
        if self.register_done == 0 {
            self.refuse("must be registered before it can be mapped");
            return None;
        }
        let (region, mem) = match self.take_region() {
            Ok(taken) => taken,
            Err(Failed::Memory) => {
                self.ctx.no_memory("a memory descriptor");
                return None;
            }
            Err(Failed::Map(code)) => {
                let (name, size) = (shown(self.name()), self.reg.nr_memsize);
                let why = error_text(code);
                self.ctx.fail(
                    code,
                    format_args!("{name}: cannot map its memory, {size} bytes: {why}"),
                );
                return None;
            }
        };
        self.mem = Some(region);
        self.nifp = mem.wrapping_byte_add(self.reg.nr_offset as usize).cast();
        self.find_rings();
        self.mmap_done = 1;
        Some(())
    }

    /// The port's region, with one more user, and where it is mapped.
    fn take_region(&self) -> Result<(NonNull<nmem_d>, *mut c_void), Failed> {
        let mut regions = Regions::lock(self.ctx);
        if let Some(region) = regions.find(self.reg.nr_mem_id) {
            let r = regions.at(region);
            r.refcount += 1;
            return Ok((region, r.mem));
        }
        let made = self.map_region().map_err(Failed::Map)?;
        let mem = made.mem;
        match regions.add(made) {
            Ok(region) => Ok((region, mem)),
            Err(made) => {
                unmap(&made);
                Err(Failed::Memory)
            }
        }
    }

    /// Maps the port's region; an error is an errno.
    fn map_region(&self) -> Result<nmem_d, c_int> {
        let (mem, size) = match &self.extmem {
            Some(option) => (
                option.nro_usrptr as usize as *mut c_void,
                option.nro_info.nr_memsize as usize,
            ),
            None => {
                let size = self.reg.nr_memsize as usize;
                let access = libc::PROT_READ | libc::PROT_WRITE;
                // SAFETY: a new mapping at an address that the system chooses.
                let p =
                    unsafe { libc::mmap(null_mut(), size, access, libc::MAP_SHARED, self.fd, 0) };
                if p == libc::MAP_FAILED {
                    return Err(errno());
                }
                (p, size)
            }
        };
        Ok(nmem_d {
            mem_id: self.reg.nr_mem_id,
            refcount: 1,
            mem,
            size,
            is_extmem: c_int::from(self.extmem.is_some()),
            next: None,
            prev: None,
        })
    }

    /// Sets the first and the last ring of each direction that the port has access to: those with
    /// an offset.
    fn find_rings(&mut self) {
        // SAFETY: the port is mapped, and netmap has put its netmap_if there.
        let (host_tx, host_rx) =
            unsafe { ((*self.nifp).ni_host_tx_rings, (*self.nifp).ni_host_rx_rings) };
        let num_tx = u32::from(self.reg.nr_tx_rings) + host_tx;
        let num_rx = u32::from(self.reg.nr_rx_rings) + host_rx;
        // SAFETY: netmap wrote as many offsets as the numbers of rings say.
        let (tx, rx) = unsafe {
            (
                interval(self.nifp, 0, num_tx),
                interval(self.nifp, num_tx, num_rx),
            )
        };
        self.set_rings(tx, rx);
    }

    /// First and last ring of each direction; the first ones are where to begin.
    fn set_rings(&mut self, tx: (u16, u16), rx: (u16, u16)) {
        (self.first_tx_ring, self.last_tx_ring) = tx;
        (self.first_rx_ring, self.last_rx_ring) = rx;
        self.cur_tx_ring = tx.0;
        self.cur_rx_ring = rx.0;
    }

    /// Lets go of the port's region, which is unmapped after its last user.
    pub(crate) fn unmap(&mut self) {
        let Some(region) = self.mem.take() else {
            return;
        };
        Regions::lock(self.ctx).release(region);
        self.mmap_done = 0;
        self.nifp = null_mut();
        self.set_rings((0, 0), (0, 0));
    }
}

/// First and last of the first run of rings that are there, among `count` from `base` on. Without
/// any, the first is greater than the last.
///
/// # Safety
/// `nifp` is mapped and has `base + count` offsets.
#[expect(
    clippy::cast_possible_truncation,
    reason = "netmap has fewer rings than 4096"
)]
unsafe fn interval(nifp: *mut netmap_if, base: u32, count: u32) -> (u16, u16) {
    let there = |i: &u32| {
        // SAFETY: the offset is one of the `netmap_if`'s; the memory is shared, but netmap does not
        // change offsets.
        unsafe {
            let first = (&raw const (*nifp).ring_ofs).cast::<isize>();
            first.add((base + i) as usize).read_volatile() != 0
        }
    };
    let first = (0..count).find(there).unwrap_or(count);
    let end = first + (first..count).take_while(there).count() as u32;
    match end.checked_sub(1) {
        Some(last) => (first as u16, last as u16),
        None => (1, 0),
    }
}
