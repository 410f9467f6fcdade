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

/// Gives a socket a filter in classic BPF; an instruction is `(code, jump if true, jump if false, k)`.
pub fn attach_filter(socket: impl AsFd, program: &[(u16, u8, u8, u32)]) -> Result<(), Errno> {
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
    unsafe {
        set(
            socket,
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            value,
            size,
        )
    }
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
