//! Stealing by a classifier (tcx, Linux 6.6): a program of a few instructions sees what arrives behind the packet
//! sockets, and drops it there. It is bound to a link, which the kernel removes with its last descriptor.
//!
//! It is for interfaces that nobody else has bound a program or a filter to. Filters of a qdisc (clsact, ingress) come
//! behind all of tcx, and would not see any more what they ever saw; a program of tcx may end the row before ours.
//! Where there are such, [`super::rules`] alone steals, which is behind all of them.
//!
//! A link goes with its interface into another network namespace, and drops what arrives there: [`Classifier::set`]
//! ends that from anywhere.

use core::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use uvale_system::sys::Fd;

use crate::bpf::{self, EXIT, Instruction, LINK_CREATE, LINK_UPDATE, command, instruction, make};

/// Types and flags of `linux/bpf.h`.
const PROG_TYPE_SCHED_CLS: u32 = 3;
const TCX_INGRESS: u32 = 46;
/// What counts the changes of a place that nobody has used yet.
const UNUSED: u64 = 1;
const TCX_NEXT: i32 = -1;
const TCX_DROP: i32 = 2;
/// Where in `struct __sk_buff` the mark is.
const MARK: i16 = 8;

/// A link of an interface's tcx, and what it can be bound to.
#[derive(Debug)]
pub(super) struct Classifier {
    link: Fd,
    /// drops what arrives
    drops: Fd,
    /// lets it pass
    passes: Fd,
    is_dropping: AtomicBool,
}

/// Attributes of `LINK_CREATE`.
#[repr(C)]
struct Create {
    program: u32,
    index: u32,
    kind: u32,
    flags: u32,
    beside: [u32; 2],
    /// changes of the place so far; with another number the kernel refuses
    revision: u64,
}

impl Classifier {
    /// Descriptors of one.
    pub(super) const FDS: usize = 3;

    /// On interface `index` of this thread's namespace; `ESTALE` if programs of others are there. What carries `mark`
    /// is let pass.
    pub(super) fn attach(index: u32, mark: u32) -> Result<Self, Errno> {
        let drops = bpf::load(PROG_TYPE_SCHED_CLS, &dropping(mark))?;
        let passes = bpf::load(PROG_TYPE_SCHED_CLS, &PASSING)?;
        let create = Create {
            program: passes.raw() as u32,
            index,
            kind: TCX_INGRESS,
            flags: 0,
            beside: [0; 2],
            revision: UNUSED,
        };
        // SAFETY: no addresses in it.
        let link = unsafe { make(LINK_CREATE, &create) }?;
        Ok(Self {
            link,
            drops,
            passes,
            is_dropping: AtomicBool::new(false),
        })
    }

    /// From what [`Self::into_fds`] gave.
    pub(super) fn from_fds([link, drops, passes]: [Fd; Self::FDS], is_dropping: bool) -> Self {
        Self {
            link,
            drops,
            passes,
            is_dropping: AtomicBool::new(is_dropping),
        }
    }

    pub(super) fn into_fds(self) -> [Fd; Self::FDS] {
        [self.link, self.drops, self.passes]
    }

    /// Does what arrives end here from now on? Says whether it did before. Whoever has the descriptors may do this,
    /// in any namespace.
    pub(super) fn set(&self, drop: bool) -> Result<bool, Errno> {
        let program = if drop { &self.drops } else { &self.passes };
        let attributes = [self.link.raw() as u32, program.raw() as u32, 0, 0];
        // SAFETY: link_fd, new_prog_fd, flags, old_prog_fd: no addresses in it.
        unsafe { command(LINK_UPDATE, &attributes) }?;
        Ok(self.is_dropping.swap(drop, Ordering::Relaxed))
    }
}

const PASSING: [Instruction; 2] = [
    // r0 = what to do: whatever comes behind says that
    instruction(0xb7, 0, 0, TCX_NEXT),
    EXIT,
];

const fn dropping(mark: u32) -> [Instruction; 5] {
    [
        // r2 = __sk_buff.mark
        instruction(0x61, 0x12, MARK, 0),
        instruction(0xb7, 0, 0, TCX_NEXT),
        // if r2 == mark: over the next one
        instruction(0x16, 2, 1, mark as i32),
        instruction(0xb7, 0, 0, TCX_DROP),
        EXIT,
    ]
}
