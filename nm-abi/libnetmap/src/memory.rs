//! Options that leave something to clean up: extmem with its option and its mapped file, offsets
//! with its option. Each port has a list of what to undo, last first.

use core::ffi::{c_char, c_int, c_void};
use core::ptr::null_mut;

use nm_abi::{
    NETMAP_REQ_OPT_EXTMEM, NETMAP_REQ_OPT_OFFSETS, nmreq_opt_extmem, nmreq_opt_offsets,
    nmreq_option, nmreq_pools_info,
};

use crate::abi::{nmport_cleanup_d, nmport_d};
use crate::context::{Context, errno, error_text, set_errno};
use crate::request::{bytes_of, close, nmreq_push_option, nmreq_remove_option, shown};

/// One thing to undo.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cleanup {
    /// Take the extmem option out of the request and free it.
    Extmem,
    /// Unmap a file.
    File(*mut c_void, usize),
    /// Take an offsets option out of the request and free it.
    Offsets(*mut nmreq_opt_offsets),
}

/// The context of a port.
///
/// # Safety
/// `d` points to a port.
pub(crate) unsafe fn context_of(d: *mut nmport_d) -> Context {
    // SAFETY: by contract; a port's context outlives it, says the header.
    unsafe { Context::new((*d).ctx) }
}

/// Puts `what` on the port's list; `None` after saying that there is no memory for it.
///
/// # Safety
/// `d` points to a port that nobody else uses.
unsafe fn push_cleanup(d: *mut nmport_d, what: Cleanup) -> Option<()> {
    // SAFETY: by contract.
    unsafe {
        let next = (*d).clist;
        let entry = nmport_cleanup_d { next, what };
        (*d).clist = context_of(d).allocate(entry, "a clean-up entry")?;
    }
    Some(())
}

/// Undoes what was put on the port's list after `until`, which is on it or null. errno stays.
///
/// # Safety
/// `d` points to a port that nobody else uses.
pub(crate) unsafe fn cleanup_until(d: *mut nmport_d, until: *mut nmport_cleanup_d) {
    let before = errno();
    // SAFETY: by contract; each entry is the port's own and is freed once.
    unsafe {
        while (*d).clist != until && !(*d).clist.is_null() {
            let entry = (*d).clist;
            (*d).clist = (*entry).next;
            undo(d, (*entry).what);
            context_of(d).free(entry);
        }
    }
    set_errno(before);
}

unsafe fn undo(d: *mut nmport_d, what: Cleanup) {
    // SAFETY: the port is ours (`cleanup_until`); options and mapping were made by the functions
    // below and are undone once.
    unsafe {
        match what {
            Cleanup::Extmem => {
                let option = core::mem::replace(&mut (*d).extmem, null_mut());
                if !option.is_null() {
                    nmreq_remove_option(&raw mut (*d).hdr, option.cast());
                    context_of(d).free(option);
                }
            }
            Cleanup::File(p, size) => {
                libc::munmap(p, size);
            }
            Cleanup::Offsets(option) => {
                nmreq_remove_option(&raw mut (*d).hdr, option.cast());
                context_of(d).free(option);
            }
        }
    }
}

fn head(reqtype: u32) -> nmreq_option {
    nmreq_option {
        nro_reqtype: reqtype,
        ..nmreq_option::default()
    }
}

/// Makes the port use `size` bytes at `base` as its memory region.
///
/// # Safety
/// `d` points to a port that nobody else uses. The memory stays until the port is closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_extmem(d: *mut nmport_d, base: *mut c_void, size: usize) -> c_int {
    // SAFETY: by contract.
    let (ctx, name, registered, extmem) = unsafe {
        let name = shown(crate::port::name_of(d));
        (context_of(d), name, (*d).register_done, (*d).extmem)
    };
    if registered != 0 {
        return ctx.fail(
            libc::EINVAL,
            format_args!("{name}: extmem comes too late, the port is registered"),
        );
    }
    if !extmem.is_null() {
        return ctx.fail(libc::EINVAL, format_args!("{name}: extmem is given twice"));
    }
    let option = nmreq_opt_extmem {
        nro_opt: head(NETMAP_REQ_OPT_EXTMEM),
        nro_usrptr: base as u64,
        nro_info: nmreq_pools_info {
            nr_memsize: size as u64,
            ..nmreq_pools_info::default()
        },
    };
    // SAFETY: by contract. The clean-up entry comes first: alone it does nothing.
    unsafe {
        let before = (*d).clist;
        if push_cleanup(d, Cleanup::Extmem).is_none() {
            return -1;
        }
        let Some(option) = ctx.allocate(option, "the extmem option") else {
            cleanup_until(d, before);
            return -1;
        };
        (*d).extmem = option;
        nmreq_push_option(&raw mut (*d).hdr, option.cast());
    }
    0
}

/// Makes the port use a file, mapped, as its memory region.
///
/// # Safety
/// `d` points to a port that nobody else uses; `fname` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_extmem_from_file(d: *mut nmport_d, fname: *const c_char) -> c_int {
    // SAFETY: by contract.
    let (ctx, before) = unsafe { (context_of(d), (*d).clist) };
    // SAFETY: by contract.
    let Some((p, size)) = (unsafe { map_file(fname, ctx) }) else {
        return -1;
    };
    // SAFETY: by contract; the mapping is ours until it is on the list.
    unsafe {
        if push_cleanup(d, Cleanup::File(p, size)).is_none() {
            libc::munmap(p, size);
            set_errno(libc::ENOMEM);
            return -1;
        }
        if nmport_extmem(d, p, size) < 0 {
            cleanup_until(d, before);
            return -1;
        }
    }
    0
}

/// Maps a whole file; `None` after saying why not.
unsafe fn map_file(fname: *const c_char, ctx: Context) -> Option<(*mut c_void, usize)> {
    let fail = |what: &str| {
        let code = errno();
        // SAFETY: a C string, by contract of the caller.
        let file = shown(unsafe { bytes_of(fname) });
        let why = error_text(code);
        ctx.fail(
            code,
            format_args!("option 'extmem': cannot {what} '{file}': {why}"),
        );
    };
    // SAFETY: a C string, by contract of the caller.
    let fd = unsafe { libc::open(fname, libc::O_RDWR) };
    if fd < 0 {
        fail("open");
        return None;
    }
    // SAFETY: the descriptor is ours.
    let size = unsafe { libc::lseek(fd, 0, libc::SEEK_END) };
    let Ok(size) = usize::try_from(size) else {
        fail("find the size of");
        close(fd);
        return None;
    };
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address that the system chooses.
    let p = unsafe { libc::mmap(null_mut(), size, access, libc::MAP_SHARED, fd, 0) };
    if p == libc::MAP_FAILED {
        fail("map");
        close(fd);
        return None;
    }
    close(fd);
    Some((p, size))
}

/// Where the numbers and sizes of the port's extmem option are; null without one.
///
/// # Safety
/// `d` points to a port.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_extmem_getinfo(d: *mut nmport_d) -> *mut nmreq_pools_info {
    // SAFETY: by contract.
    let option = unsafe { (*d).extmem };
    if option.is_null() {
        return null_mut();
    }
    // SAFETY: the option lives as long as the port points to it.
    unsafe { &raw mut (*option).nro_info }
}

/// Makes the port's packets start at an offset in their buffers.
///
/// # Safety
/// `d` points to a port that nobody else uses.
#[unsafe(no_mangle)]
#[expect(clippy::cast_possible_truncation, reason = "as C programs know it")]
pub unsafe extern "C" fn nmport_offset(
    d: *mut nmport_d,
    initial: u64,
    maxoff: u64,
    bits: u64,
    mingap: u64,
) -> c_int {
    let option = nmreq_opt_offsets {
        nro_opt: head(NETMAP_REQ_OPT_OFFSETS),
        nro_max_offset: maxoff,
        nro_initial_offset: initial,
        nro_offset_bits: bits as u32,
        nro_tx_align: 0,
        nro_min_gap: mingap,
    };
    // SAFETY: by contract; the option is ours until it is on the list.
    unsafe {
        let ctx = context_of(d);
        let Some(option) = ctx.allocate(option, "the offsets option") else {
            return -1;
        };
        if push_cleanup(d, Cleanup::Offsets(option)).is_none() {
            ctx.free(option);
            return -1;
        }
        nmreq_push_option(&raw mut (*d).hdr, option.cast());
    }
    0
}
