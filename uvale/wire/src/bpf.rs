//! bpf(2): programs and what they are bound to, by raw calls.

use core::ffi::CStr;

use rustix::io::Errno;
use uvale_system::raw::{call, check};
use uvale_system::sys::Fd;

/// Commands of `linux/bpf.h`.
pub(crate) const MAP_CREATE: usize = 0;
pub(crate) const MAP_UPDATE_ELEM: usize = 2;
const PROG_LOAD: usize = 5;
pub(crate) const LINK_CREATE: usize = 28;
pub(crate) const LINK_UPDATE: usize = 29;
const LICENSE: &CStr = c"Dual BSD/GPL";

/// `struct bpf_insn`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u8,
    /// destination in the lower, source in the upper half
    registers: u8,
    offset: i16,
    value: i32,
}

const _: () = assert!(size_of::<Instruction>() == 8);

pub(crate) const fn instruction(code: u8, registers: u8, offset: i16, value: i32) -> Instruction {
    Instruction {
        code,
        registers,
        offset,
        value,
    }
}

/// The last instruction: the answer is in r0.
pub(crate) const EXIT: Instruction = instruction(0x95, 0, 0, 0);

/// Loads a program of type `kind`. Needs CAP_BPF and CAP_NET_ADMIN outside of all user namespaces.
pub(crate) fn load(kind: u32, program: &[Instruction]) -> Result<Fd, Errno> {
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
    }
    let load = Load {
        kind,
        count: program.len() as u32,
        instructions: program.as_ptr().expose_provenance() as u64,
        license: LICENSE.as_ptr().expose_provenance() as u64,
    };
    // SAFETY: `count` instructions, and a string that ends with 0, are read during the call only.
    unsafe { make(PROG_LOAD, &load) }
}

/// A command that makes a descriptor.
///
/// # Safety
/// As [`command`].
pub(crate) unsafe fn make<T>(number: usize, attributes: &T) -> Result<Fd, Errno> {
    // SAFETY: the caller's.
    let fd = unsafe { command(number, attributes) }?;
    // Linux makes it close-on-exec.
    Ok(Fd::from_raw(fd as i32))
}

/// # Safety
/// It is one of the commands above. `T` is `repr(C)` or an array, without padding, and the beginning of the command's
/// attributes; what the addresses in it point to is readable for as long as the kernel will read of it.
pub(crate) unsafe fn command<T>(number: usize, attributes: &T) -> Result<isize, Errno> {
    let address = core::ptr::from_ref(attributes).expose_provenance();
    let words = [number, address, size_of::<T>(), 0, 0, 0];
    // SAFETY: the kernel reads the attributes, takes what is behind `size_of::<T>()` bytes for 0, and writes nothing:
    // none of the commands above does.
    check(unsafe { call(libc::SYS_bpf, words) })
}
