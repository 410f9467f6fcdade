//! Packets taken out of a socket.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{RecvFlags, sockopt};
use uvale_system::sys::OwnFd;

use super::queue::Queue;
use super::ring::{Descriptor, Ring, Which};
use crate::packet::Packet;

/// Chunks that are given back together.
const PORTION: u32 = 64;

/// The receiving side of a socket.
#[derive(Debug)]
pub struct Receiver {
    pub(super) queue: Arc<Queue>,
    pub(super) rx: Ring<Descriptor>,
    pub(super) fill: Ring<AtomicU64>,
    /// the kernel may have dropped packets
    losing: AtomicBool,
}

impl Receiver {
    pub(super) fn new(queue: Arc<Queue>) -> Result<Self, Errno> {
        let (fd, offsets, count) = (&queue.fd, &queue.offsets, queue.shape.rx);
        Ok(Self {
            rx: Ring::map(fd, Which::Rx, offsets, count)?,
            fill: Ring::map(fd, Which::Fill, offsets, count)?,
            losing: AtomicBool::new(false),
            queue,
        })
    }

    /// Gives all chunks of a new socket to the kernel.
    pub(super) fn prime(&self) {
        for i in 0..self.count() {
            let chunk = u64::from(i) * u64::from(self.queue.shape.chunk);
            self.rx.entry(i).address.store(chunk, Ordering::Relaxed);
        }
        self.give_back();
    }

    /// Becomes readable when a packet is there.
    pub fn fd(&self) -> &OwnFd {
        &self.queue.fd
    }

    /// Packets that find room.
    pub fn count(&self) -> u32 {
        self.queue.shape.rx
    }

    /// Is there a packet? A glance for it wakes a driver that sleeps although it has chunks.
    #[inline]
    pub fn is_ready(&self) -> bool {
        let is_ready = self.ready(self.rx.consumer().load(Ordering::Relaxed)) > 0;
        if !is_ready && self.fill.needs_wakeup() {
            self.wake();
        }
        is_ready
    }

    /// Packets from entry `at` on.
    #[inline]
    pub(super) fn ready(&self, at: u32) -> u32 {
        // Pairs with the kernel's release of what it has written.
        let ready = self.rx.producer().load(Ordering::Acquire).wrapping_sub(at);
        // More there cannot be.
        if ready <= self.count() { ready } else { 0 }
    }

    #[cold]
    fn wake(&self) {
        // It answers that there is nothing to receive in this way.
        let _ = rustix::net::recv(&self.queue.fd, &mut [0u8; 0][..], RecvFlags::DONTWAIT);
    }

    /// Takes packets in order until `take` says that it has no room for one, which then stays, and gives their chunks
    /// back to the kernel, a few dozen at a time. What makes no sense is given back untaken. If the caller dies, those
    /// of the portion that it was at come once more.
    pub fn take_in(&self, mut take: impl FnMut(Packet<'_>) -> bool) {
        self.give_back();
        let mut at = self.rx.consumer().load(Ordering::Relaxed);
        let mut left = self.ready(at);
        if left == self.count() {
            self.losing.store(true, Ordering::Relaxed);
        }
        while left > 0 {
            let portion = left.min(PORTION);
            let taken = (0..portion).take_while(|i| self.offer(at.wrapping_add(*i), &mut take));
            let taken = taken.count() as u32;
            at = at.wrapping_add(taken);
            // The chunks stay ours until they are in the fill ring; what was read of them was read before.
            self.rx.consumer().store(at, Ordering::Release);
            self.give_back();
            if taken < portion {
                break;
            }
            left -= taken;
        }
    }

    /// Offers the packet in entry `at`. False: there is no room for it.
    #[inline]
    fn offer(&self, at: u32, take: &mut impl FnMut(Packet<'_>) -> bool) -> bool {
        let entry = self.rx.entry(at);
        let address = entry.address.load(Ordering::Relaxed);
        let len = entry.len.load(Ordering::Relaxed) as usize;
        let chunk = u64::from(self.queue.shape.chunk);
        let room = (chunk - address % chunk) as usize;
        if address / chunk >= self.count().into() || len > room || len == 0 {
            return true;
        }
        let Some(bytes) = self.queue.memory.range(address as usize, len) else {
            return true;
        };
        // SAFETY: the range is inside the memory, which stays mapped as long as `self`. The kernel does not write a
        // chunk between filling it and getting it back. Another process of the port could: the bytes are then any
        // bytes, so they are only copied, and nothing that is in them is relied on (see `Packet`).
        let bytes = unsafe { core::slice::from_raw_parts(bytes, len) };
        take(Packet {
            pieces: [bytes, &[], &[]],
            header: None,
        })
    }

    /// Gives to the kernel the chunks of all entries that have been taken, those too that somebody who died has not
    /// given. There is nothing to remember: the fill ring is behind by as many as are with us.
    pub(crate) fn give_back(&self) {
        let count = self.count();
        let end = self
            .rx
            .consumer()
            .load(Ordering::Relaxed)
            .wrapping_add(count);
        let start = self.fill.producer().load(Ordering::Relaxed);
        let missing = end.wrapping_sub(start);
        if missing == 0 || missing > count {
            return;
        }
        let chunk = u64::from(self.queue.shape.chunk);
        for i in 0..missing {
            let at = start.wrapping_add(i);
            let address = self.rx.entry(at).address.load(Ordering::Relaxed);
            // Of what somebody else may have written there, a chunk for receiving.
            let address = address / chunk % u64::from(count) * chunk;
            self.fill.entry(at).store(address, Ordering::Relaxed);
        }
        // Pairs with the kernel's acquire before it reads the entries.
        self.fill.producer().store(end, Ordering::Release);
        if self.fill.needs_wakeup() {
            self.wake();
        }
    }

    /// Packets that the kernel dropped since somebody asked last, in this process or another; `None` if the socket
    /// has not been found full since.
    pub fn dropped(&self) -> Option<u32> {
        if !self.losing.swap(false, Ordering::Relaxed) {
            return None;
        }
        let statistics = sockopt::xdp_statistics(&self.queue.fd).ok()?;
        let all = statistics.rx_dropped + statistics.rx_ring_full.unwrap_or(0);
        let told = self.queue.told()?.swap(all as u32, Ordering::Relaxed);
        Some((all as u32).wrapping_sub(told))
    }
}
