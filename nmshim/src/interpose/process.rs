//! Processes: start-up and fork.

use super::interfaces::lists;
use super::slot::Object;
use super::{arrivals, exec, listing, lookup, mapped, table, trap};
use crate::driver;
use crate::ground::guarded::guarded;
use crate::ground::{heap, next, readers, vfork};
use libc::c_int;

/// Runs when the library is loaded. Before that every entry point works too, with raw system calls
/// instead of the next library's functions.
extern "C" fn start() {
    // SAFETY: the dynamic linker runs this once, outside any of our calls.
    unsafe {
        next::resolve();
        trap::resolve();
        exec::resolve();
        vfork::own_memory();
        readers::start();
        libc::pthread_atfork(
            Some(before_fork),
            Some(after_fork_in_parent),
            Some(after_fork_in_child),
        );
    }
    nm_abi::unwinder::prepare();
    guarded((), || driver().loaded());
    arrivals::find_inherited();
    trap::start();
}

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

/// A fork by a system call of the program's own: what `call` gives, with all that the C library's would have us do.
pub fn fork(call: impl FnOnce() -> isize) -> isize {
    before_fork();
    let child = call();
    match child {
        0 => after_fork_in_child(),
        _ => after_fork_in_parent(),
    }
    child
}

/// In the order in which locks are taken: from here to the end of the fork nobody is in the middle of anything.
extern "C" fn before_fork() {
    guarded((), || driver().before_fork());
    listing::before_fork();
    lists::before_fork();
    heap::hold();
    mapped::before_fork();
    readers::before_fork();
}

extern "C" fn after_fork_in_parent() {
    // SAFETY: `before_fork` of this thread holds them.
    unsafe {
        readers::after_fork_in_parent();
        mapped::after_fork_in_parent();
        heap::release();
        lists::after_fork();
        listing::after_fork();
    }
    guarded((), || driver().after_fork_in_parent());
}

/// In the child of a fork, before any user code.
extern "C" fn after_fork_in_child() {
    // SAFETY: this is the copy of the thread whose `before_fork` holds them.
    unsafe {
        readers::after_fork_in_child();
        heap::release();
        lists::after_fork();
        listing::after_fork();
    }
    vfork::own_memory();
    table::for_each(0, c_int::MAX, |fd, w| {
        if w > table::EPOLL_WAITED
            && let Some(r) = lookup::slot(fd)
        {
            match r.object() {
                Object::Device(d) => d.gate.reset(),
                // SAFETY: the child of a fork has one thread.
                Object::Epoll(e) => unsafe { e.reset_lock() },
                Object::Named(_) => {}
            }
        }
    });
    // SAFETY: as above.
    unsafe { mapped::after_fork_in_child(|d| d.gate.reset()) };
    guarded((), || driver().after_fork_in_child());
    trap::after_fork_in_child();
}
