//! The frames of a receiving socket, which the kernel fills and other processes may write.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering};

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use uvale_shared::shm::prefetch;
use uvale_system::sys::forks;

use super::FrameShape;

/// A frame begins with it: `struct tpacket2_hdr` of `linux/if_packet.h`.
#[repr(C)]
pub(super) struct Header {
    /// whose the frame is: 0 the kernel's
    pub(super) status: AtomicU32,
    /// length of the packet
    pub(super) len: AtomicU32,
    /// bytes of it in the frame
    pub(super) snaplen: AtomicU32,
    /// where they begin
    pub(super) mac: AtomicU16,
    net: AtomicU16,
    sec: AtomicU32,
    nsec: AtomicU32,
    /// VLAN tag that was taken out of it
    pub(super) vlan_tci: AtomicU16,
    /// its protocol
    pub(super) vlan_tpid: AtomicU16,
    padding: [AtomicU8; 4],
}

const _: () = assert!(size_of::<Header>() == 32 && align_of::<Header>() == 4);
const _: () = assert!(core::mem::offset_of!(Header, mac) == 12);
const _: () = assert!(core::mem::offset_of!(Header, vlan_tci) == 24);

/// Frames are a multiple of it (`TPACKET_ALIGNMENT`).
const UNIT: usize = 16;
/// A cache line.
const LINE: usize = 64;

/// The mapping of all frames, one behind the other.
#[derive(Debug)]
pub(super) struct Memory {
    base: NonNull<u8>,
    size: usize,
    count: usize,
    forks: u32,
}

// SAFETY: plain memory, valid in every thread until drop; what is written in it is written by atomics.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps the frames of packet socket `fd`. The kernel refuses a length other than that of all its frames,
    /// and keeps their memory for as long as it is mapped. The child of a fork does not get it.
    pub(super) fn map(fd: impl AsFd, shape: &FrameShape) -> Result<Self, Errno> {
        let (size, count) = (shape.size as usize, shape.count as usize);
        if size < size_of::<Header>() || !size.is_multiple_of(UNIT) || count == 0 {
            return Err(Errno::INVAL);
        }
        let len = size.checked_mul(count).ok_or(Errno::INVAL)?;
        // SAFETY: a new mapping where nothing is overlaps nothing.
        let base = unsafe {
            rustix::mm::mmap(
                core::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )?
        };
        let memory = Self {
            base: NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?,
            size,
            count,
            forks: forks(),
        };
        // SAFETY: of our own mapping, it changes nothing for this process.
        unsafe { rustix::mm::madvise(base, len, Advice::LinuxDontFork)? };
        Ok(memory)
    }

    /// Number of frames.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The header of frame `at`; `None` if there is no such frame.
    #[inline]
    pub(super) fn header(&self, at: usize) -> Option<&Header> {
        // SAFETY: a frame has room for a header (see `map`), and is aligned for it: the mapping is by pages, and
        // frames by `UNIT`. It consists of atomics, so others may write it.
        self.frame(at)
            .map(|frame| unsafe { frame.cast::<Header>().as_ref() })
    }

    /// Asks for the first bytes of the packet in frame `at`, which are behind the first line.
    #[inline]
    pub(super) fn ask_for(&self, at: usize) {
        if let Some(frame) = self.frame(at) {
            let line = |i: usize| frame.as_ptr().wrapping_add(i * LINE);
            prefetch(line(1));
            prefetch(line(2));
        }
    }

    /// `len` bytes from byte `from` of frame `at` on; `None` if they are not all inside.
    #[inline]
    pub(super) fn bytes(&self, at: usize, from: usize, len: usize) -> Option<&[u8]> {
        let frame = self.frame(at)?;
        if from > self.size || len > self.size - from {
            return None;
        }
        // SAFETY: the range is inside the frame, which stays mapped as long as `self`. The kernel does not write
        // a frame that it has given away. Another process of the port could: the bytes are then any bytes, so
        // they are only copied, and nothing that is in them is relied on (see `Packet`).
        Some(unsafe { core::slice::from_raw_parts(frame.as_ptr().add(from), len) })
    }

    /// `N` bytes of it as they are at this moment, each read once.
    #[inline]
    pub(super) fn copy<const N: usize>(&self, at: usize, from: usize) -> Option<[u8; N]> {
        let frame = self.frame(at)?;
        if from > self.size || N > self.size - from {
            return None;
        }
        // SAFETY: the range is inside the frame. Atomics, since others may write it.
        let bytes = unsafe {
            let first = frame.as_ptr().add(from).cast::<[AtomicU8; N]>();
            &*first
        };
        Some(core::array::from_fn(|i| bytes[i].load(Ordering::Relaxed)))
    }

    #[inline]
    fn frame(&self, at: usize) -> Option<NonNull<u8>> {
        // SAFETY: frame `at` is inside the mapping.
        (at < self.count).then(|| unsafe { self.base.add(at * self.size) })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // The child of a fork has something else there.
        if self.forks != forks() {
            return;
        }
        // SAFETY: the mapping is ours, and every reference into it borrows from `self`.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.size * self.count) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use rustix::mm::{madvise, mmap_anonymous};
    use uvale_system::sys::{Fd, OwnFd, close_own_in_child};

    #[test]
    fn the_child_of_a_fork_keeps_what_it_has_in_the_place_of_a_wire() {
        let file = memfd_create("frames", MemfdFlags::CLOEXEC).expect("memory");
        ftruncate(&file, 1 << 16).expect("room");
        let shape = FrameShape {
            size: 4096,
            count: 16,
        };
        let memory = Memory::map(&file, &shape).expect("it is as long");
        let fd = OwnFd::new(Fd::from(file));
        let (base, number) = (
            memory.base.as_ptr().cast(),
            rustix::fd::AsRawFd::as_raw_fd(&fd),
        );
        // SAFETY: the child makes system calls only, and ends by `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            close_own_in_child();
            // SAFETY: nothing is mapped there in the child, and what is now is not used as memory.
            let all_stays = unsafe {
                let place = MapFlags::PRIVATE | MapFlags::FIXED;
                let is_mapped = mmap_anonymous(base, 1 << 16, ProtFlags::READ, place).is_ok();
                let is_open = libc::dup2(2, number) == number;
                drop((memory, fd));
                let is_there = madvise(base, 1 << 16, Advice::Normal).is_ok();
                is_mapped && is_open && is_there && libc::fcntl(number, libc::F_GETFD) >= 0
            };
            // SAFETY: it ends the child.
            unsafe { libc::_exit(i32::from(!all_stays)) }
        }
        let mut status = 0;
        // SAFETY: `status` is writable, and the child is ours.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
    }
}
