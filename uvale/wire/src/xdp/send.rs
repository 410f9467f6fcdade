//! Packets sent by a socket.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::SendFlags;
use uvale_system::sys::OwnFd;

use super::queue::Queue;
use super::ring::{Descriptor, Ring, Which};
use crate::packet::Batch;

/// The sending side of a socket.
///
/// Without zero copy the kernel takes packets out of the tx ring only in a call of whoever holds the `busy` lock (the
/// socket is bound without `XDP_USE_NEED_WAKEUP`, with which a poll would do it, too). So those that it did not take
/// count as not sent, and the next call writes over them: the same ones again, or other ones if whoever wanted them
/// sent has died.
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

    /// Says that all chunks of a new socket have been sent.
    pub(super) fn prime(&self) {
        let super::Shape { rx, tx, chunk, .. } = self.queue.shape;
        for i in 0..tx {
            let address = u64::from(rx + i) * u64::from(chunk);
            self.completion.entry(i).store(address, Ordering::Relaxed);
        }
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

    /// The entries whose chunks the kernel has done with.
    #[inline]
    pub(super) fn room(&self) -> Room {
        let count = self.queue.shape.tx;
        let start = if self.queue.is_zero_copy() {
            self.tx.producer().load(Ordering::Relaxed)
        } else {
            self.tx.consumer().load(Ordering::Acquire)
        };
        // Pairs with the kernel's release of the entries of the completion ring.
        let completed = self.completion.producer().load(Ordering::Acquire);
        let len = completed.wrapping_add(count).wrapping_sub(start);
        // More there cannot be.
        let len = if len <= count { len } else { 0 };
        Room { start, len }
    }

    /// Writes packet `number` of the batch to entry `at`.
    #[inline]
    fn write(&self, at: u32, batch: &Batch<'_>, number: usize) -> Result<(), Errno> {
        let super::Shape {
            rx,
            tx,
            chunk,
            longest,
            ..
        } = self.queue.shape;
        let chunk = u64::from(chunk);
        let address = self.completion.entry(at).load(Ordering::Relaxed);
        // Of what somebody else may have written there, a chunk for sending.
        let address = (address / chunk % u64::from(tx) + u64::from(rx)) * chunk;
        let memory = &self.queue.memory;
        let len = batch
            .copy(number, memory, address as usize, longest as usize)
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

    /// Gives the kernel the entries before `end`, and room for as many completions.
    #[inline]
    pub(super) fn produce(&self, end: u32) {
        let produced = self.tx.producer().load(Ordering::Relaxed);
        let count = self.queue.shape.tx;
        // Some that were not taken last time may be behind.
        if end.wrapping_sub(produced) <= count {
            let before = end.wrapping_sub(count);
            self.completion.consumer().store(before, Ordering::Release);
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
