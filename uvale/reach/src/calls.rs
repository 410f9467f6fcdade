//! One match over the system calls that are handed over.
//!
//! | file | calls |
//! |---|---|
//! | `names.rs` | open, stat, access: by the device's name |
//! | `rights.rs` | who may open it |
//! | `mapping.rs` | mmap, and what a number of a descriptor means after it |
//! | `waiting.rs` | poll, select |
//! | `sets.rs` | epoll |

mod mapping;
mod names;
mod rights;
mod sets;
mod waiting;

use std::sync::Arc;

use nm_abi::{NIOCCTRL, NIOCRXSYNC, NIOCTXSYNC};
use rustix::io::Errno;
use uvale_request::UserMemory;

use crate::description::Description;
use crate::kernel::{Answer, RemoteMemory};
use crate::namespace::Visit;
use crate::process::Process;
use crate::requests;
use crate::supervisor::Supervisor;
use crate::swapped::{Made, Swapped};
use crate::waits::{Found, Wait};

/// What a thread uses again and again.
#[derive(Default)]
pub struct Buffers {
    /// what was read of a program's memory
    bytes: Vec<u8>,
    /// what was found of ours in there
    ours: Vec<(usize, Arc<Description>)>,
}

/// A call that waits for its answer.
pub struct Call<'a> {
    pub supervisor: &'a Arc<Supervisor>,
    pub process: &'a Arc<Process>,
    pub tid: i32,
    pub id: u64,
    pub args: [u64; 6],
    /// itself, for whoever waits until it is over
    pub made: Made,
}

impl Call<'_> {
    fn memory(&self) -> RemoteMemory {
        RemoteMemory(self.tid)
    }

    /// Was what has been read the caller's?
    fn is_waiting(&self) -> bool {
        self.supervisor.listener.is_waiting(self.id)
    }

    /// An argument that is a number of a descriptor, or a count.
    fn number(&self, i: usize) -> i32 {
        self.args[i] as i32
    }

    /// A structure at `addr`; `None` if it cannot be read.
    fn read<const N: usize>(&self, addr: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.memory().read(addr, &mut bytes).then_some(bytes)
    }

    /// The description that `fd` is, if it is one of ours.
    fn find(&self, fd: i32) -> Option<Arc<Description>> {
        if fd < 0 {
            return None;
        }
        self.give_back(|swapped| swapped.fd == fd);
        if let Some(known) = self.process.known(fd) {
            return known;
        }
        let vanished = self.process.vanished();
        let link = self.process.link(fd)?;
        let found = socket(&link).and_then(|inode| self.supervisor.description(inode));
        if let Some(of) = &found {
            of.is_at(self.process.place(fd));
        }
        self.process.learn_found(fd, found.clone(), vanished);
        found
    }

    /// As [`Description::look`].
    fn look(&self, of: &Arc<Description>, wait: Wait) -> Found {
        let watch = &self.supervisor.watch;
        of.look(wait, &|nap, wires| watch.sleeps(of, nap, wires))
    }
}

/// The inode of the socket that a link in /proc/PID/fd names.
fn socket(link: &[u8]) -> Option<u64> {
    let inode = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(inode).ok()?.parse().ok()
}

/// What becomes of a call.
pub fn answer(call: &Call<'_>, nr: libc::c_long, buffers: &mut Buffers) -> Answer {
    // What this thread did before is done.
    let is_own = |swapped: &Swapped| swapped.by.tid == call.tid;
    call.process
        .swapped(is_own)
        .iter()
        .for_each(|s| s.is_over());
    call.process.pending.is_over(call.tid);
    call.process.has_vanished(call.tid);
    call.give_back(is_own);
    for of in call.process.take_closing(call.tid) {
        call.supervisor.settle_one(&of);
    }
    match nr {
        libc::SYS_ioctl => ioctl(call),
        libc::SYS_mmap => call.mmap(),
        libc::SYS_ppoll => waiting::ppoll(call, buffers),
        libc::SYS_pselect6 => waiting::select(call, buffers),
        libc::SYS_epoll_ctl => sets::control(call),
        libc::SYS_epoll_pwait => sets::wait(call),
        libc::SYS_epoll_pwait2 => sets::wait_until(call),
        libc::SYS_openat => names::open(call, call.args[1], call.args[2] as i32),
        libc::SYS_openat2 => names::openat2(call),
        libc::SYS_fstat => names::stat_of(call, call.args[1]),
        libc::SYS_newfstatat => names::statat(call),
        libc::SYS_statx => names::statx(call),
        libc::SYS_faccessat | libc::SYS_faccessat2 => {
            names::access(call, call.args[1], call.number(2))
        }
        libc::SYS_close => closes(call, call.number(0), call.number(0)),
        libc::SYS_close_range => {
            let last = call.args[1].min(i32::MAX as u64) as i32;
            closes(call, call.args[0].min(i32::MAX as u64) as i32, last)
        }
        libc::SYS_dup3 => duplicates(call),
        libc::SYS_execve | libc::SYS_execveat => {
            call.give_back(|_| true);
            call.process.forget(0..=i32::MAX);
            call.supervisor.processes.forget_threads();
            Answer::Continue
        }
        libc::SYS_clone | libc::SYS_clone3 => forks(call),
        libc::SYS_dup | libc::SYS_fcntl => {
            let fd = call.number(0);
            call.uses(|swapped| swapped.fd == fd)
        }
        libc::SYS_sendmsg | libc::SYS_sendmmsg => call.uses(|_| true),
        _ => old(call, nr, buffers),
    }
}

/// Calls that only older processors have.
#[cfg(target_arch = "x86_64")]
fn old(call: &Call<'_>, nr: libc::c_long, buffers: &mut Buffers) -> Answer {
    match nr {
        libc::SYS_poll => waiting::poll(call, buffers),
        libc::SYS_select => waiting::select(call, buffers),
        libc::SYS_epoll_wait => sets::wait(call),
        libc::SYS_open => names::open(call, call.args[0], call.number(1)),
        libc::SYS_creat => {
            let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
            names::open(call, call.args[0], flags)
        }
        libc::SYS_dup2 => duplicates(call),
        libc::SYS_stat | libc::SYS_lstat => names::stat(call, call.args[0], call.args[1]),
        libc::SYS_access => names::access(call, call.args[0], call.number(1)),
        libc::SYS_fork | libc::SYS_vfork => forks(call),
        _ => Answer::Continue,
    }
}

/// There are none.
#[cfg(not(target_arch = "x86_64"))]
fn old(_: &Call<'_>, _: libc::c_long, _: &mut Buffers) -> Answer {
    Answer::Continue
}

/// The numbers are about to mean something else, or nothing.
fn closes(call: &Call<'_>, first: i32, last: i32) -> Answer {
    if first >= 0 && first <= last {
        call.give_back(|swapped| (first..=last).contains(&swapped.fd));
        for fd in call.process.numbers(first, last) {
            if let Some(Some(of)) = call.process.known(fd) {
                // It would hide the last close.
                drop(of.take_kept());
                call.process.closes(call.tid, of);
            }
        }
        call.process.vanish(call.tid, first..=last);
        call.process.forget(first..=last);
    }
    Answer::Continue
}

/// A child has the numbers as they are now, and threads get numbers that others had.
fn forks(call: &Call<'_>) -> Answer {
    call.supervisor.processes.forget_threads();
    call.uses(|_| true)
}

/// A number is to be what another one is.
fn duplicates(call: &Call<'_>) -> Answer {
    let from = call.number(0);
    closes(call, call.number(1), call.number(1));
    call.uses(|swapped| swapped.fd == from)
}

fn ioctl(call: &Call<'_>) -> Answer {
    let (fd, request) = (call.number(0), call.args[1] as u32);
    if request >> 8 & 0xff != u32::from(b'i') {
        call.give_back(|swapped| swapped.fd == fd);
        return Answer::Continue;
    }
    let Some(of) = call.find(fd) else {
        return Answer::Continue;
    };
    let served = match request {
        NIOCTXSYNC => of.sync(true),
        NIOCRXSYNC => of.sync(false),
        _ => {
            call.supervisor.takes_time();
            // A REGISTER may be for a name that was in use.
            call.supervisor.settle();
            let memory = call.memory();
            let _there = Visit::to(call.tid);
            let served = match request {
                NIOCCTRL => requests::control(&of, &memory, call.args[2]),
                other => requests::old(&of, &memory, other, call.args[2]),
            };
            // Whoever waits for edges since before waits for those of what it is bound to now.
            call.supervisor.woken(&of);
            served
        }
    };
    match served {
        Ok(()) => Answer::Value(0),
        Err(errno) => Answer::Error(errno),
    }
}

/// Fails as system calls do.
fn fails(errno: Errno) -> Answer {
    Answer::Error(errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_sockets() {
        assert_eq!(socket(b"socket:[123]"), Some(123));
        for other in [&b"/dev/null"[..], b"socket:[x]", b"socket:[1", b"pipe:[3]"] {
            assert_eq!(socket(other), None);
        }
    }
}
