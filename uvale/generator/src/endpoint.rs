//! A bound descriptor with its rings, as the functions use it. The descriptor is a trait so that
//! the same loops run over rings in ordinary memory in tests.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::config::Config;
use super::memory::Ring;
use super::sys;
use super::tally::Counters;
use uvale_tools::output;

/// Longest sleep in one go; afterwards the loops look whether they should end.
pub const TICK: Duration = Duration::from_millis(100);

/// What a bound netmap descriptor does.
pub trait Device {
    /// Sends what was published on the tx rings and reclaims slots.
    fn sync_tx(&self) -> io::Result<()>;
    /// Releases read slots and fetches new packets.
    fn sync_rx(&self) -> io::Result<()>;
    /// Sleeps until `events` (`POLLIN`, `POLLOUT`) or the timeout; returns what happened, 0 for
    /// nothing.
    fn poll(&self, events: i16, timeout: Duration) -> io::Result<i16>;
}

impl Device for sys::Descriptor {
    fn sync_tx(&self) -> io::Result<()> {
        sys::Descriptor::sync_tx(self)
    }

    fn sync_rx(&self) -> io::Result<()> {
        sys::Descriptor::sync_rx(self)
    }

    fn poll(&self, events: i16, timeout: Duration) -> io::Result<i16> {
        sys::Descriptor::poll(self, events, timeout)
    }
}

/// A descriptor and the rings it gives access to.
pub struct Endpoint<D> {
    /// The descriptor.
    pub device: D,
    /// Its tx rings.
    pub tx: Vec<Ring>,
    /// Its rx rings.
    pub rx: Vec<Ring>,
    /// Bytes of the virtio-net header in front of each packet.
    pub header: usize,
}

impl<D: Device> Endpoint<D> {
    /// Sends what was published.
    pub fn sync_tx(&self) -> Result<(), String> {
        self.device
            .sync_tx()
            .map_err(|error| format!("NIOCTXSYNC: {}", output::plain(&error)))
    }

    /// Gives the slots of received packets back to netmap.
    pub fn release_rx(&self) -> Result<(), String> {
        self.device
            .sync_rx()
            .map_err(|error| format!("NIOCRXSYNC: {}", output::plain(&error)))
    }

    /// Waits for packets at most `timeout`; spins once when `busy`. False when nothing came.
    pub fn wait_rx(&self, busy: bool, timeout: Duration) -> Result<bool, String> {
        if busy {
            self.release_rx()?;
            return Ok(true);
        }
        self.poll(libc::POLLIN, timeout)
    }

    /// Waits for room at most `timeout`; spins once when `busy`. False when none came.
    pub fn wait_tx(&self, busy: bool, timeout: Duration) -> Result<bool, String> {
        if busy {
            self.sync_tx()?;
            return Ok(true);
        }
        self.poll(libc::POLLOUT, timeout)
    }

    fn poll(&self, events: i16, timeout: Duration) -> Result<bool, String> {
        let got = self
            .device
            .poll(events, timeout)
            .map_err(|error| format!("poll: {error}"))?;
        if got & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0 {
            return Err(
                "poll reports an error on the port (it went away, or a ring was in disorder)"
                    .into(),
            );
        }
        Ok(got != 0)
    }

    /// The first tx ring.
    pub fn first_tx(&mut self) -> Result<&mut Ring, String> {
        self.tx
            .first_mut()
            .ok_or_else(|| "this descriptor has no tx ring".into())
    }
}

/// A number of packets that threads share.
pub struct Budget(AtomicU64);

impl Budget {
    /// `count` packets, 0 for no end.
    pub fn new(count: u64) -> Self {
        Budget(AtomicU64::new(if count == 0 { u64::MAX } else { count }))
    }

    /// Takes up to `most` packets out.
    pub fn take(&self, most: u64) -> u64 {
        let mut left = self.0.load(Ordering::Relaxed);
        loop {
            if left == u64::MAX {
                return most;
            }
            let taken = left.min(most);
            let swapped = self.0.compare_exchange_weak(
                left,
                left - taken,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match swapped {
                Ok(_) => return taken,
                Err(now) => left = now,
            }
        }
    }

    /// Puts back what was taken and not used.
    pub fn give_back(&self, count: u64) {
        // without an end nothing was really taken; otherwise the sum stays below the first count
        if count > 0 && self.0.load(Ordering::Relaxed) != u64::MAX {
            self.0.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Whether nothing is left.
    pub fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// What a thread needs to know besides its endpoint.
pub struct Worker<'a> {
    /// Options.
    pub config: &'a Config,
    /// Where it counts.
    pub counters: &'a Counters,
    /// Its part of the packets, 0 for no end.
    pub limit: u64,
    /// rx: what all threads together may still receive.
    pub budget: &'a Budget,
    /// Its part of the rate, 0 for no limit.
    pub rate: u64,
    /// Which thread, from 0.
    pub index: usize,
    /// Set when all threads are to end.
    pub stop: &'a AtomicBool,
}

impl Worker<'_> {
    /// Whether it is time to end.
    #[inline]
    pub fn stopping(&self) -> bool {
        sys::interrupted() || output::reader_has_gone() || self.stop.load(Ordering::Relaxed)
    }

    /// Packets left after `done`; `u64::MAX` when there is no end.
    #[inline]
    pub fn left(&self, done: u64) -> u64 {
        if self.limit == 0 {
            u64::MAX
        } else {
            self.limit.saturating_sub(done)
        }
    }

    /// Sleeps, but not through the end.
    pub fn sleep(&self, time: Duration) {
        let end = Instant::now() + time;
        while !self.stopping() {
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return;
            }
            // the scheduler wakes late by some 60 microseconds; the last bit is spun away
            match rest.checked_sub(Duration::from_micros(80)) {
                Some(coarse) if !coarse.is_zero() => std::thread::sleep(coarse.min(TICK)),
                _ => std::hint::spin_loop(),
            }
        }
    }
}

/// Nanoseconds on a monotonic clock that starts with the process.
pub fn monotonic() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}
