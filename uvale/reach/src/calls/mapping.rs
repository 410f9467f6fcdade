//! mmap of the device. A socket cannot be mapped: while the kernel carries out the call its number stands for the
//! region's memory, and afterwards for the socket again. Meanwhile a handle is held here, so that epoll sets keep it.

use std::os::fd::AsFd;

use rustix::io::Errno;
use uvale_system::refusal::Refusal;

use super::{Call, fails};
use crate::kernel::{Answer, To};
use crate::process::Swapped;
use crate::requests::explain;

const PAGE: u64 = 4096;

fn refused(refusal: &Refusal) -> Answer {
    explain("mmap", refusal);
    fails(refusal.errno)
}

impl Call<'_> {
    /// Gives numbers back to what they stood for.
    pub(super) fn give_back(&self, which: impl Fn(&Swapped) -> bool) {
        for swapped in self.process.take_swapped(which) {
            let handle = swapped.handle.as_fd();
            let to = To::Number(swapped.fd);
            let listener = &self.supervisor.listener;
            // The caller may have been killed: then this process does not have it any more.
            let _ = listener.give(self.id, handle, to, swapped.close_on_exec);
        }
    }

    /// mmap(2) of a number that may be ours.
    pub(super) fn mmap(&self) -> Answer {
        let [_, len, prot, _, _, offset] = self.args;
        let fd = self.number(4);
        // Whoever maps once more finds the socket first.
        self.give_back(|swapped| swapped.fd == fd);
        let Some(of) = self.find(fd) else {
            return Answer::Continue;
        };
        let Some(bound) = of.bound() else {
            return fails(Errno::INVAL);
        };
        let access = of.flags() & libc::O_ACCMODE;
        let writes = prot as i32 & libc::PROT_WRITE != 0;
        if access == libc::O_WRONLY || writes && access != libc::O_RDWR {
            return fails(Errno::ACCESS);
        }
        let size = bound.attachment.binding().mem_size.next_multiple_of(PAGE);
        let end = offset.checked_add(len).filter(|end| *end <= size);
        if len == 0 || end.is_none() {
            let why = format!("{len} bytes from {offset} were asked for and the region has {size}");
            return refused(&Refusal::new(Errno::INVAL, why));
        }
        self.supervisor.takes_time();
        let memory = match of.memory() {
            Ok(memory) => memory,
            Err(refusal) => return refused(&refusal),
        };
        let (from, len) = (offset as usize, len as usize);
        let piece = memory.pieces(from, len).next();
        // One descriptor stands for one file, and the program's offset is its.
        let Some(piece) = piece.filter(|piece| piece.len >= len && piece.ofs == from) else {
            let why = "the region is in several files, because RLIMIT_FSIZE is smaller than it is: raise it (ulimit \
                       -f) for the daemon, or link the program dynamically";
            return refused(&Refusal::new(Errno::NODEV, why));
        };
        of.is_at(self.process.place(fd));
        let Some(handle) = of.any_handle() else {
            let why = "the kernel gives no descriptors of programs (pidfd_getfd): a port can be mapped once";
            return refused(&Refusal::new(Errno::NODEV, why));
        };
        let close_on_exec = self.process.closes_on_exec(fd);
        let listener = &self.supervisor.listener;
        let given = listener.give(self.id, piece.fd.as_fd(), To::Number(fd), close_on_exec);
        if let Err(errno) = given {
            return fails(errno);
        }
        // It is needed no more, and would hide the last close.
        drop(of.take_kept());
        self.process.swap(Swapped {
            fd,
            tid: self.tid,
            handle,
            close_on_exec,
        });
        Answer::Continue
    }
}
