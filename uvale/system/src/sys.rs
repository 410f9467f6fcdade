//! The kernel, without libc's functions: in a program under the shim these could be the program's own (`close`, `send`,
//! `epoll_wait` of a user-level TCP stack) or the shim's.

mod fd;
mod memory;
mod namespace;
mod option;
mod program;
mod schedule;
mod spawn;

pub use fd::{
    Fd, HIGH_FD, OwnFd, borrow, close_own_in_child, forks, is_own, keep, let_go, own_range,
};
pub use memory::{
    MemoryOf, memory_is_of, prefer_node, read_bytes, read_own_memory, serve_others, write_bytes,
};
pub use namespace::{leave_network, network_of};
pub use option::{Instruction, attach_filter, option, set_option, set_program};
pub use program::{own_object, this_program};
pub use schedule::schedule;
pub use spawn::{Ended, run_quietly};

use crate::raw::thread_pointer;

/// A number that tells this thread from the others of the process.
#[inline]
pub fn thread_number() -> u32 {
    // The address of the thread's control block, in units that keep neighbours apart.
    (thread_pointer() >> 4) as u32
}

/// A number nobody can guess, where the system has such.
pub fn random() -> u64 {
    let mut bytes = [0u8; 8];
    // Never fails for so few bytes once the system is up.
    let _ = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty());
    u64::from_ne_bytes(bytes)
}
