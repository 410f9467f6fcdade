//! The memory of this process, at addresses that may be bad.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use crate::raw::{call, check};

/// This process serves programs from beside them.
static SERVES_OTHERS: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Then: whose call this thread is in; 0: nobody's.
    static PROGRAM: Cell<i32> = const { Cell::new(0) };
}

/// From now on addresses that programs have put into rings are those of the program whose call a thread serves
/// ([`memory_is_of`]), and never of this process.
pub fn serve_others() {
    SERVES_OTHERS.store(true, Ordering::Relaxed);
}

/// The program is served for as long as this lives.
pub struct MemoryOf {
    before: i32,
}

/// This thread serves a call of process `program`; 0: of nobody.
pub fn memory_is_of(program: i32) -> MemoryOf {
    MemoryOf {
        before: PROGRAM.replace(program),
    }
}

impl Drop for MemoryOf {
    fn drop(&mut self) {
        PROGRAM.set(self.before);
    }
}

/// The process that addresses are of: this one, unless it serves others.
fn owner() -> i32 {
    match SERVES_OTHERS.load(Ordering::Relaxed) {
        // No process has the number -1.
        true => Some(PROGRAM.get()).filter(|pid| *pid > 0).unwrap_or(-1),
        false => rustix::process::getpid().as_raw_nonzero().get(),
    }
}

/// Reads `len` bytes at `address` of this process into `to`; the kernel does the reading, so a
/// bad address of the program ends in `false` (EFAULT) and not in SIGSEGV. Where a sandbox forbids that,
/// `plain_copy(from, to, len)` does it.
///
/// # Safety
/// `to` must be valid for writing `len` bytes, by the kernel and by `plain_copy`.
pub unsafe fn read_own_memory(
    address: u64,
    to: *mut u8,
    len: usize,
    plain_copy: unsafe fn(*const u8, *mut u8, usize),
) -> bool {
    let local = libc::iovec {
        iov_base: to.cast(),
        iov_len: len,
    };
    let remote = libc::iovec {
        iov_base: address as usize as *mut _,
        iov_len: len,
    };
    // SAFETY: the kernel writes at most `len` bytes to `to`, which the caller vouches for.
    let answer = unsafe { call(libc::SYS_process_vm_readv, copy(&local, &remote)) };
    finish(answer, len, || {
        // SAFETY: the caller vouches for `to`; the source is what the program asked us to read.
        unsafe { plain_copy(address as usize as *const u8, to, len) }
    })
}

/// Reads `to.len()` bytes at `address` of this process. False if the address is bad.
pub fn read_bytes(address: u64, to: &mut [u8]) -> bool {
    // SAFETY: `to` is an exclusive slice of that length.
    unsafe { read_own_memory(address, to.as_mut_ptr(), to.len(), core::ptr::copy) }
}

/// Writes `from` to `address` of this process. False if the address is bad or read-only.
pub fn write_bytes(address: u64, from: &[u8]) -> bool {
    let local = libc::iovec {
        iov_base: from.as_ptr().cast_mut().cast(),
        iov_len: from.len(),
    };
    let remote = libc::iovec {
        iov_base: address as usize as *mut _,
        iov_len: from.len(),
    };
    // SAFETY: the kernel reads `from` and writes where the program asked it to write.
    let answer = unsafe { call(libc::SYS_process_vm_writev, copy(&local, &remote)) };
    finish(answer, from.len(), || {
        // SAFETY: the destination is what the program asked us to write.
        unsafe { core::ptr::copy(from.as_ptr(), address as usize as *mut u8, from.len()) }
    })
}

/// Arguments of a copy within this process.
fn copy(local: &libc::iovec, remote: &libc::iovec) -> [usize; 6] {
    let [local, remote] = [local, remote].map(|piece| core::ptr::from_ref(piece) as usize);
    [owner() as usize, local, 1, remote, 1, 0]
}

/// Where a sandbox forbids the system call there is only the plain copy, with which a bad
/// pointer costs the program what it would have cost it anyway.
fn finish(answer: isize, len: usize, plain_copy: impl FnOnce()) -> bool {
    match check(answer) {
        Err(Errno::NOSYS | Errno::PERM) if !SERVES_OTHERS.load(Ordering::Relaxed) => {
            plain_copy();
            true
        }
        n => n == Ok(len as isize),
    }
}

/// Has pages of `len` bytes from `start` on, which is the beginning of a page, come from NUMA node `node` as long as it
/// has any. Of a file's mapping this holds for all that map the file. `EINVAL`: there is no such node.
///
/// # Safety
/// The range is mapped.
pub unsafe fn prefer_node(start: *const u8, len: usize, node: u32) -> Result<(), Errno> {
    const NODES: usize = 1024;
    let mut mask = [0u64; NODES / 64];
    let word = mask.get_mut(node as usize / 64).ok_or(Errno::INVAL)?;
    *word = 1 << (node % 64);
    let mode = libc::MPOL_PREFERRED as usize;
    // The kernel takes one bit less than it is told.
    let arguments = [start.addr(), len, mode, mask.as_ptr().addr(), NODES + 1, 0];
    // SAFETY: the kernel reads `mask`, which lives as long as the call; the caller answers for the range.
    check(unsafe { call(libc::SYS_mbind, arguments) }).map(drop)
}
