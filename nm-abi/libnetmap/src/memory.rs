//! Options that leave something to clean up: extmem with its option and its mapped file, offsets
//! with its option. Each port has a list of what to undo, last first.

use core::ffi::{c_int, c_void};
use core::ptr::{null, null_mut};

use nm_abi::{
    NETMAP_REQ_OPT_EXTMEM, NETMAP_REQ_OPT_OFFSETS, nmreq_opt_extmem, nmreq_opt_offsets,
    nmreq_option, nmreq_pools_info,
};

use crate::abi::{Cleanup, Context, nmport_cleanup_d};
use crate::context::{errno, error_text, set_errno, status};
use crate::descriptor::Port;
use crate::given::{Given, Text, shown};
use crate::request::{close, nmreq_push_option, nmreq_remove_option};

impl Port {
    /// Puts `what` on the list; undoes it after saying that there is no memory for that.
    fn push_cleanup(&mut self, what: Cleanup) -> Option<()> {
        let next = self.clist.take();
        let entry = nmport_cleanup_d { next, what };
        match self.ctx.allocate(entry, "a clean-up entry") {
            Ok(entry) => {
                self.clist = Some(entry);
                Some(())
            }
            Err(entry) => {
                self.clist = entry.next;
                self.undo(entry.what);
                None
            }
        }
    }

    /// Where the list is, for [`Port::cleanup_until`].
    pub(crate) fn cleanup_mark(&self) -> *const nmport_cleanup_d {
        self.clist.as_ref().map_or(null(), |entry| entry.as_ptr())
    }

    /// Undoes what was put on the list after `until`, which is on it or null. errno stays.
    pub(crate) fn cleanup_until(&mut self, until: *const nmport_cleanup_d) {
        let before = errno();
        while self.cleanup_mark() != until {
            let Some(mut entry) = self.clist.take() else {
                break;
            };
            self.clist = entry.next.take();
            let memory = entry.as_ptr();
            // SAFETY: the entry was written by `push_cleanup` and is off the list: its content is
            // moved out once, and its memory, which is from this context, is not used again.
            let what = unsafe {
                let entry = memory.read();
                self.ctx.free(memory);
                entry.what
            };
            self.undo(what);
        }
        set_errno(before);
    }

    fn undo(&mut self, what: Cleanup) {
        match what {
            Cleanup::Extmem => {
                if let Some(option) = self.extmem.take() {
                    self.remove_option(option);
                }
            }
            Cleanup::File(p, size) => {
                // SAFETY: the mapping was made by `map_file`, and nobody else unmaps it.
                unsafe { libc::munmap(p, size) };
            }
            Cleanup::Offsets(option) => self.remove_option(option),
        }
    }

    /// Takes an option that was made here out of the request and frees it.
    fn remove_option<T>(&mut self, option: Given<T>) {
        nmreq_remove_option(&mut self.hdr, option.as_ptr().cast());
        // SAFETY: it is from this context, and off the list nobody uses it.
        unsafe { self.ctx.free(option.as_ptr()) };
    }

    /// Makes the port use `size` bytes at `base` as its memory region; `None` after saying why not.
    pub(crate) fn use_extmem(&mut self, base: *mut c_void, size: usize) -> Option<()> {
        if self.register_done != 0 {
            self.refuse("extmem comes too late, the port is registered");
            return None;
        }
        if self.extmem.is_some() {
            self.refuse("extmem is given twice");
            return None;
        }
        let option = nmreq_opt_extmem {
            nro_opt: head(NETMAP_REQ_OPT_EXTMEM),
            nro_usrptr: base as u64,
            nro_info: nmreq_pools_info {
                nr_memsize: size as u64,
                ..nmreq_pools_info::default()
            },
        };
        let mut option = self.ctx.allocate(option, "the extmem option").ok()?;
        nmreq_push_option(&mut self.hdr, &mut option.nro_opt);
        self.extmem = Some(option);
        self.push_cleanup(Cleanup::Extmem)
    }

    /// Makes the port use a file, mapped, as its memory region; `None` after saying why not.
    pub(crate) fn use_extmem_file(&mut self, file: Text) -> Option<()> {
        let before = self.cleanup_mark();
        let (p, size) = map_file(file, self.ctx)?;
        self.push_cleanup(Cleanup::File(p, size))?;
        let done = self.use_extmem(p, size);
        if done.is_none() {
            self.cleanup_until(before);
        }
        done
    }

    /// Makes packets start at an offset in their buffers; `None` after saying why not.
    #[expect(clippy::cast_possible_truncation, reason = "as C programs know it")]
    pub(crate) fn use_offsets(
        &mut self,
        initial: u64,
        most: u64,
        bits: u64,
        gap: u64,
    ) -> Option<()> {
        let option = nmreq_opt_offsets {
            nro_opt: head(NETMAP_REQ_OPT_OFFSETS),
            nro_max_offset: most,
            nro_initial_offset: initial,
            nro_offset_bits: bits as u32,
            nro_tx_align: 0,
            nro_min_gap: gap,
        };
        let mut option = self.ctx.allocate(option, "the offsets option").ok()?;
        nmreq_push_option(&mut self.hdr, &mut option.nro_opt);
        self.push_cleanup(Cleanup::Offsets(option))
    }
}

fn head(reqtype: u32) -> nmreq_option {
    nmreq_option {
        nro_reqtype: reqtype,
        ..nmreq_option::default()
    }
}

/// Maps a whole file; `None` after saying why not.
fn map_file(file: Text, ctx: Context) -> Option<(*mut c_void, usize)> {
    let fail = |what: &str| {
        let code = errno();
        let (file, why) = (shown(file.bytes()), error_text(code));
        ctx.fail(
            code,
            format_args!("option 'extmem': cannot {what} '{file}': {why}"),
        );
    };
    // SAFETY: the path is a C string.
    let fd = unsafe { libc::open(file.as_ptr(), libc::O_RDWR) };
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

/// Makes the port use `size` bytes at `base` as its memory region.
///
/// # Safety
/// The memory stays until the port is closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nmport_extmem(mut d: Port, base: *mut c_void, size: usize) -> c_int {
    status(d.use_extmem(base, size))
}

/// Makes the port use a file, mapped, as its memory region.
#[unsafe(no_mangle)]
pub extern "C" fn nmport_extmem_from_file(mut d: Port, fname: Text) -> c_int {
    status(d.use_extmem_file(fname))
}

/// Where the numbers and sizes of the port's extmem option are; null without one.
#[unsafe(no_mangle)]
pub extern "C" fn nmport_extmem_getinfo(mut d: Port) -> *mut nmreq_pools_info {
    (d.extmem.as_mut()).map_or(null_mut(), |option| &raw mut option.nro_info)
}

/// Makes the port's packets start at an offset in their buffers.
#[unsafe(no_mangle)]
pub extern "C" fn nmport_offset(
    mut d: Port,
    initial: u64,
    maxoff: u64,
    bits: u64,
    mingap: u64,
) -> c_int {
    status(d.use_offsets(initial, maxoff, bits, mingap))
}
