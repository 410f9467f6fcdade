//! mmap of the device. A socket cannot be mapped: while the kernel carries out the call its number stands for the
//! region's memory, and afterwards for the socket again. Meanwhile a handle is held here, so that epoll sets keep it.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::io::Errno;
use uvale_system::refusal::Refusal;

use super::{Call, fails};
use crate::kernel::{Answer, To};
use crate::locks::lock;
use crate::requests::explain;
use crate::swapped::{File, Swapped};

const PAGE: u64 = 4096;

fn refused(refusal: &Refusal) -> Answer {
    explain("mmap", refusal);
    fails(refusal.errno)
}

impl Call<'_> {
    /// Gives numbers back to what they stood for.
    pub(super) fn give_back(&self, which: impl Fn(&Swapped) -> bool) {
        for swapped in self.process.swapped(which) {
            if swapped.by.tid != self.tid {
                // Until the kernel has carried out the other thread's mmap.
                self.supervisor.takes_time();
            }
            let to = To::Number(swapped.fd);
            let listener = &self.supervisor.listener;
            // The caller may have been killed: then this process does not have it any more.
            let put = || {
                let handle = swapped.handle.as_fd();
                listener.give(self.id, handle, to, swapped.close_on_exec)
            };
            if swapped.put_back(put) {
                self.process.is_back(&swapped);
            }
        }
    }

    /// The kernel is to carry this call out, and it uses what numbers of `which` stand for: not memory.
    pub(super) fn uses(&self, which: impl Fn(&Swapped) -> bool) -> Answer {
        let pending = &self.process.pending;
        // Who swaps from now on waits for this call.
        pending.add(self.made);
        if !self.process.swapped(&which).is_empty() {
            // Who is about to swap does not wait for one that waits for it.
            pending.is_over(self.tid);
            self.supervisor.takes_time();
            let _alone = lock(&self.process.mapping);
            self.give_back(which);
            pending.add(self.made);
        }
        Answer::Continue
    }

    /// mmap(2) of a number that may be ours.
    pub(super) fn mmap(&self) -> Answer {
        let [_, len, prot, _, _, offset] = self.args;
        let fd = self.number(4);
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
        let piece = piece.filter(|piece| piece.len >= len && piece.ofs == from);
        let Some(piece) = piece.filter(|_| memory.can_map(from, len)) else {
            let why = "the region is in several files, because RLIMIT_FSIZE is smaller than it is (raise it for the \
                       daemon: ulimit -f) or because it has huge pages of hugetlb; or link the program dynamically";
            return refused(&Refusal::new(Errno::NODEV, why));
        };
        // One at a time. Whoever maps once more finds the socket first.
        let _alone = lock(&self.process.mapping);
        self.give_back(|swapped| swapped.fd == fd);
        of.is_at(self.process.place(fd));
        let Some(handle) = of.any_handle() else {
            let why = match self.supervisor.fetches() {
                true => "it is another descriptor by now, or uvale run has none left to hold it by",
                false => {
                    "the kernel gives no descriptors of programs (pidfd_getfd): a port can be mapped once"
                }
            };
            return refused(&Refusal::new(Errno::NODEV, why));
        };
        let close_on_exec = self.process.closes_on_exec(fd);
        let (handle, file) = (Arc::new(handle), piece.fd.as_fd());
        let is = match rustix::fs::fstat(file) {
            Ok(stat) => File(stat.st_dev, stat.st_ino),
            Err(errno) => return fails(errno),
        };
        of.holds(&handle);
        let swapped = Swapped::new(fd, self.made, handle, close_on_exec, is);
        let listener = &self.supervisor.listener;
        let given = swapped.swap(|| {
            self.process.swaps(swapped.clone());
            // What others were about to do with the number is about the socket.
            self.process.pending.wait(self.tid);
            listener.give(self.id, file, To::Number(fd), close_on_exec)
        });
        if let Err(errno) = given {
            self.process.is_back(&swapped);
            return fails(errno);
        }
        // It is needed no more, and would hide the last close.
        drop(of.take_kept());
        Answer::Continue
    }
}
