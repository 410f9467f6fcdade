//! Options of sockets that rustix has no words for.

use rustix::fd::{AsFd, AsRawFd};
use rustix::io::Errno;

use crate::raw::{call, check};

/// Sets option `name` of `level` to `value`, the bytes of what the kernel documents for it. Not for options whose
/// value has addresses in it.
pub fn set_option(socket: impl AsFd, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: the kernel reads `value`, which is borrowed for the call. An option with an address in its value is
    // for the kernel to refuse or to read by the rules of any user memory: it writes nothing there.
    unsafe { set(socket, level, name, value.as_ptr().cast(), value.len()) }
}

/// Reads option `name` of `level` into `value`; how many bytes it has.
pub fn option(socket: impl AsFd, level: i32, name: i32, value: &mut [u8]) -> Result<usize, Errno> {
    let mut len = u32::try_from(value.len()).map_err(|_| Errno::INVAL)?;
    let arguments = [
        socket.as_fd().as_raw_fd() as usize,
        level as usize,
        name as usize,
        value.as_mut_ptr() as usize,
        &raw mut len as usize,
        0,
    ];
    // SAFETY: the kernel writes at most `len` bytes to `value`, which is that long, and their number to `len`; both
    // are ours alone.
    check(unsafe { call(libc::SYS_getsockopt, arguments) })?;
    Ok(len as usize)
}

/// An instruction of classic BPF: `(code, jump if true, jump if false, k)`.
pub type Instruction = (u16, u8, u8, u32);

/// Gives a socket a filter in classic BPF.
pub fn attach_filter(socket: impl AsFd, program: &[Instruction]) -> Result<(), Errno> {
    set_program(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, program)
}

/// Sets an option that is a program in classic BPF.
pub fn set_program(
    socket: impl AsFd,
    level: i32,
    name: i32,
    program: &[Instruction],
) -> Result<(), Errno> {
    let mut program: Vec<_> = program
        .iter()
        .map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k })
        .collect();
    let value = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::INVAL)?,
        filter: program.as_mut_ptr(),
    };
    let size = size_of::<libc::sock_fprog>();
    let value = core::ptr::from_ref(&value).cast();
    // SAFETY: the kernel reads the structure and `len` instructions, both of which outlive the call.
    unsafe { set(socket, level, name, value, size) }
}

/// # Safety
/// `len` bytes at `value` are readable, and what the option takes for addresses in them is, too.
unsafe fn set(
    socket: impl AsFd,
    level: i32,
    name: i32,
    value: *const core::ffi::c_void,
    len: usize,
) -> Result<(), Errno> {
    let fd = socket.as_fd().as_raw_fd();
    let arguments = [
        fd as usize,
        level as usize,
        name as usize,
        value as usize,
        len,
        0,
    ];
    // SAFETY: the caller vouches for the memory; the descriptor is borrowed for the call.
    check(unsafe { call(libc::SYS_setsockopt, arguments) }).map(drop)
}
