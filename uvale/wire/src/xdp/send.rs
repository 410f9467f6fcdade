//! Packets sent by a socket.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::SendFlags;
use uvale_system::sys::OwnFd;

use super::queue::Queue;
use super::ring::{Descriptor, Ring, Which};
use crate::packet::Batch;

/// Chunks that take turns without zero copy, a power of 2: no more packets are in the ring at a time.
const AT_A_TIME: u32 = 128;
const _: () = assert!(Batch::MOST <= AT_A_TIME as usize);

/// The sending side of a socket. Entry `i` of the tx ring is always for the same one of the chunks for sending, and
/// completions are counted only: the kernel is done with chunks in the order in which it got them, or, without zero
/// copy, as soon as it has taken them.
///
/// Without zero copy the kernel takes packets out of the tx ring only in a call of whoever holds the `busy` lock
/// (the socket is bound without `XDP_USE_NEED_WAKEUP`, with which a poll would do it, too). So those that it did
/// not take count as not sent, and the next call writes over them: the same ones again, or other ones if whoever
/// wanted them sent has died. The kernel remembers how many there were: if the next batch is shorter, the rest
/// become entries that the kernel passes over, whose completion comes with some kernels only.
#[derive(Debug)]
pub struct Sender {
    pub(super) queue: Arc<Queue>,
    pub(super) tx: Ring<Descriptor>,
    pub(super) completion: Ring<AtomicU64>,
}

/// Entries of the tx ring that can be written.
pub(super) struct Room {
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Sender {
    pub(super) fn new(queue: Arc<Queue>) -> Result<Self, Errno> {
        let (fd, offsets, count) = (&queue.fd, &queue.offsets, queue.shape.tx);
        Ok(Self {
            tx: Ring::map(fd, Which::Tx, offsets, count)?,
            completion: Ring::map(fd, Which::Completion, offsets, count)?,
            queue,
        })
    }

    /// The socket.
    pub fn fd(&self) -> &OwnFd {
        &self.queue.fd
    }

    /// As [`crate::Transmitter::send`].
    pub fn send(&self, batch: &Batch<'_>, from: usize) -> Result<usize, Errno> {
        let wanted = batch.len().saturating_sub(from);
        if wanted == 0 {
            return Ok(0);
        }
        let room = self.room();
        let mut n = 0;
        while n < wanted && (n as u32) < room.len {
            match self.write(room.start.wrapping_add(n as u32), batch, from + n) {
                Ok(()) => n += 1,
                Err(e) if n == 0 => return Err(e),
                Err(_) => break,
            }
        }
        if n > 0 && !self.queue.is_zero_copy() {
            self.take_back(room.start.wrapping_add(n as u32));
        }
        self.produce(room.start.wrapping_add(n as u32));
        if self.queue.is_zero_copy() {
            self.wake_driver();
            return if n == 0 { Err(Errno::AGAIN) } else { Ok(n) };
        }
        let error = self.hand_over();
        let taken = self
            .tx
            .consumer()
            .load(Ordering::Acquire)
            .wrapping_sub(room.start);
        match (taken as usize).min(n) {
            0 => Err(error),
            taken => Ok(taken),
        }
    }

    /// The entries whose chunks the kernel is done with.
    #[inline]
    pub(super) fn room(&self) -> Room {
        let count = self.queue.shape.tx;
        let start = if self.queue.is_zero_copy() {
            self.tx.producer().load(Ordering::Relaxed)
        } else {
            self.tx.consumer().load(Ordering::Acquire)
        };
        // Pairs with the kernel's release after it has read a chunk for the last time.
        let completed = self.completion.producer().load(Ordering::Acquire);
        self.completion
            .consumer()
            .store(completed, Ordering::Relaxed);
        let len = match self.queue.is_zero_copy() {
            true => completed.wrapping_add(count).wrapping_sub(start),
            // What it has taken it has copied.
            false => count,
        };
        // More there cannot be.
        let len = if len <= count { len } else { 0 };
        Room { start, len }
    }

    /// Makes nothing of the entries from `end` on that the kernel was given and did not take.
    fn take_back(&self, end: u32) {
        let produced = self.tx.producer().load(Ordering::Relaxed);
        let left = produced.wrapping_sub(end);
        if left >= self.queue.shape.tx {
            return;
        }
        for i in 0..left {
            let entry = self.tx.entry(end.wrapping_add(i));
            // No address of the socket's memory, for every kernel: it is passed over.
            entry.address.store(u64::MAX, Ordering::Relaxed);
            entry.len.store(0, Ordering::Relaxed);
            entry.options.store(0, Ordering::Relaxed);
        }
    }

    /// Writes packet `number` of the batch to entry `at`.
    #[inline]
    fn write(&self, at: u32, batch: &Batch<'_>, number: usize) -> Result<(), Errno> {
        let (memory, address) = (&self.queue.memory, self.chunk(at));
        let longest = self.queue.shape.longest as usize;
        let len = batch
            .copy(number, memory, address as usize, longest)
            .ok_or(Errno::MSGSIZE)?;
        if len == 0 {
            return Err(Errno::INVAL);
        }
        let entry = self.tx.entry(at);
        entry.address.store(address, Ordering::Relaxed);
        entry.len.store(len as u32, Ordering::Relaxed);
        entry.options.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Where the chunk of entry `at` is.
    #[inline]
    pub(super) fn chunk(&self, at: u32) -> u64 {
        let super::Shape { rx, tx, chunk, .. } = self.queue.shape;
        let turns = match self.queue.is_zero_copy() {
            true => tx,
            // Those of a batch are free again when it is sent: a few of them stay in the processor's cache.
            false => tx.min(AT_A_TIME),
        };
        u64::from(rx + (at & (turns - 1))) * u64::from(chunk)
    }

    /// Gives the kernel the entries before `end`.
    #[inline]
    pub(super) fn produce(&self, end: u32) {
        let produced = self.tx.producer().load(Ordering::Relaxed);
        // Some that were not taken last time may be behind.
        if end.wrapping_sub(produced) <= self.queue.shape.tx {
            // Pairs with the kernel's acquire before it reads the entries.
            self.tx.producer().store(end, Ordering::Release);
        }
    }

    /// Makes the kernel take what is in the ring; a call may take a part. If it stopped, why.
    fn hand_over(&self) -> Errno {
        let mut before = self.tx.consumer().load(Ordering::Relaxed);
        loop {
            let answer = self.call();
            let taken = self.tx.consumer().load(Ordering::Acquire);
            let is_all = taken == self.tx.producer().load(Ordering::Relaxed);
            match answer {
                Err(Errno::INTR) => {}
                _ if is_all || taken == before => return answer.err().unwrap_or(Errno::AGAIN),
                Ok(()) | Err(Errno::AGAIN | Errno::BUSY | Errno::NOBUFS) => before = taken,
                Err(e) => return e,
            }
        }
    }

    fn wake_driver(&self) {
        if self.tx.needs_wakeup() {
            let _ = self.call();
        }
    }

    pub(super) fn call(&self) -> Result<(), Errno> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::net::send(&self.queue.fd, &[], flags).map(drop)
    }
}
