//! `nmport_mmap`: one mapping per region and context, however many ports use it.

use core::ffi::{c_int, c_void};
use core::ptr::null_mut;

use nm_abi::netmap_if;

use crate::abi::{nmem_d, nmport_d};
use crate::context::{Context, errno, error_text, set_errno};
use crate::memory::context_of;
use crate::request::shown;

/// Maps the region of a registered port, or takes part in the mapping that there is, and finds the
/// port's rings.
///
/// # Safety
/// `d` points to a port that nobody else uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_mmap(d: *mut nmport_d) -> c_int {
    // SAFETY: by contract.
    let (ctx, name) = unsafe { (context_of(d), shown(crate::port::name_of(d))) };
    // SAFETY: by contract.
    let (mapped, registered) = unsafe { ((*d).mmap_done, (*d).register_done) };
    if mapped != 0 {
        return ctx.fail(libc::EINVAL, format_args!("{name}: is mapped already"));
    }
    if registered == 0 {
        return ctx.fail(
            libc::EINVAL,
            format_args!("{name}: must be registered before it can be mapped"),
        );
    }
    // SAFETY: by contract; the port is registered.
    let Some(region) = (unsafe { take_region(d, ctx) }) else {
        return -1;
    };
    // SAFETY: by contract; netmap has put the port's netmap_if at this offset of the region.
    unsafe {
        (*d).mem = region;
        (*d).nifp = (*region).mem.byte_add((*d).reg.nr_offset as usize).cast();
        find_rings(d);
        (*d).mmap_done = 1;
    }
    0
}

/// The region of a port, with one more user; `None` after saying why not.
unsafe fn take_region(d: *mut nmport_d, ctx: Context) -> Option<*mut nmem_d> {
    // SAFETY: the port is ours, by contract of the caller.
    let mem_id = unsafe { (*d).reg.nr_mem_id };
    let locked = ctx.lock();
    // SAFETY: the list is only used under the context's lock, which is held.
    unsafe {
        let mut region = (*ctx.as_ptr()).mem_descs;
        while !region.is_null() && (*region).mem_id != mem_id {
            region = (*region).next;
        }
        if !region.is_null() {
            (*region).refcount += 1;
            return Some(region);
        }
    }
    // SAFETY: as above.
    let made = unsafe { map_region(d) };
    let error = made.and_then(|mut region| {
        let list = ctx.as_ptr();
        // SAFETY: as above.
        region.next = unsafe { (*list).mem_descs };
        let (mem, size, is_extmem) = (region.mem, region.size, region.is_extmem != 0);
        let Some(region) = ctx.allocate(region, "a memory descriptor") else {
            // SAFETY: the mapping was just made, nobody knows it.
            unsafe { unmap(mem, size, is_extmem) };
            return Err(None);
        };
        // SAFETY: as above.
        unsafe {
            if !(*region).next.is_null() {
                (*(*region).next).prev = region;
            }
            (*list).mem_descs = region;
        }
        Ok(region)
    });
    drop(locked);
    match error {
        Ok(region) => Some(region),
        Err(None) => None,
        Err(Some(code)) => {
            // SAFETY: the port is ours, by contract of the caller.
            let (name, size) = unsafe { (shown(crate::port::name_of(d)), (*d).reg.nr_memsize) };
            let why = error_text(code);
            ctx.fail(
                code,
                format_args!("{name}: cannot map its memory, {size} bytes: {why}"),
            );
            None
        }
    }
}

/// Maps the region of a port whose region is not mapped yet; an error is an errno.
unsafe fn map_region(d: *mut nmport_d) -> Result<nmem_d, Option<c_int>> {
    // SAFETY: the port is ours; its extmem option lives as long as the port points to it.
    let (reg, fd, extmem) = unsafe { ((*d).reg, (*d).fd, (*d).extmem.as_ref()) };
    let (mem, size) = match extmem {
        Some(option) => (
            option.nro_usrptr as usize as *mut c_void,
            option.nro_info.nr_memsize as usize,
        ),
        None => {
            let size = reg.nr_memsize as usize;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: a new mapping at an address that the system chooses.
            let p = unsafe { libc::mmap(null_mut(), size, access, libc::MAP_SHARED, fd, 0) };
            if p == libc::MAP_FAILED {
                return Err(Some(errno()));
            }
            (p, size)
        }
    };
    Ok(nmem_d {
        mem_id: reg.nr_mem_id,
        refcount: 1,
        mem,
        size,
        is_extmem: c_int::from(extmem.is_some()),
        next: null_mut(),
        prev: null_mut(),
    })
}

unsafe fn unmap(mem: *mut c_void, size: usize, is_extmem: bool) {
    if !is_extmem {
        let before = errno();
        // SAFETY: the mapping is the library's, and the caller lets go of it.
        unsafe { libc::munmap(mem, size) };
        set_errno(before);
    }
}

/// Sets the first and the last ring of each direction that the port has access to: those with an
/// offset.
unsafe fn find_rings(d: *mut nmport_d) {
    // SAFETY: the port is ours and mapped; netmap wrote the netmap_if and its offsets, of which there
    // are as many as it says.
    unsafe {
        let (nifp, reg) = ((*d).nifp, (*d).reg);
        let num_tx = u32::from(reg.nr_tx_rings) + (*nifp).ni_host_tx_rings;
        let num_rx = u32::from(reg.nr_rx_rings) + (*nifp).ni_host_rx_rings;
        let tx = interval(nifp, 0, num_tx);
        let rx = interval(nifp, num_tx, num_rx);
        ((*d).first_tx_ring, (*d).last_tx_ring) = tx;
        ((*d).first_rx_ring, (*d).last_rx_ring) = rx;
        (*d).cur_tx_ring = tx.0;
        (*d).cur_rx_ring = rx.0;
    }
}

/// First and last of the first run of rings that are there, among `count` from `base` on. Without
/// any, the first is greater than the last.
#[expect(
    clippy::cast_possible_truncation,
    reason = "netmap has fewer rings than 4096"
)]
unsafe fn interval(nifp: *mut netmap_if, base: u32, count: u32) -> (u16, u16) {
    let there = |i: &u32| {
        // SAFETY: the offset is within the array, by contract of `find_rings`.
        let ofs = unsafe {
            (&raw const (*nifp).ring_ofs)
                .cast::<isize>()
                .add((base + i) as usize)
        };
        // SAFETY: as above; the memory is shared, but netmap does not change offsets.
        unsafe { ofs.read_volatile() != 0 }
    };
    let first = (0..count).find(there).unwrap_or(count);
    let end = first + (first..count).take_while(there).count() as u32;
    match end.checked_sub(1) {
        Some(last) => (first as u16, last as u16),
        None => (1, 0),
    }
}

/// Lets go of the port's region, which is unmapped after its last user.
///
/// # Safety
/// `d` points to a port that nobody else uses. Nobody uses its rings any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_undo_mmap(d: *mut nmport_d) {
    // SAFETY: by contract.
    unsafe {
        let region = core::mem::replace(&mut (*d).mem, null_mut());
        if region.is_null() {
            return;
        }
        let ctx = context_of(d);
        let locked = ctx.lock();
        // the list and what is in it are used under the lock only
        (*region).refcount -= 1;
        if (*region).refcount <= 0 {
            remove(region, ctx);
        }
        drop(locked);
        (*d).mmap_done = 0;
        (*d).nifp = null_mut();
        ((*d).first_tx_ring, (*d).last_tx_ring) = (0, 0);
        ((*d).first_rx_ring, (*d).last_rx_ring) = (0, 0);
        (*d).cur_tx_ring = 0;
        (*d).cur_rx_ring = 0;
    }
}

/// Takes a region that nobody uses out of the context's list, unmaps and frees it.
unsafe fn remove(region: *mut nmem_d, ctx: Context) {
    // SAFETY: the caller holds the context's lock and has the last reference.
    unsafe {
        let (next, prev) = ((*region).next, (*region).prev);
        if !next.is_null() {
            (*next).prev = prev;
        }
        if prev.is_null() {
            (*ctx.as_ptr()).mem_descs = next;
        } else {
            (*prev).next = next;
        }
        unmap((*region).mem, (*region).size, (*region).is_extmem != 0);
        ctx.free(region);
    }
}
