//! One sync: what the program has done to a ring (`synced.rs`), and what is behind the ring.
//!
//! ```text
//!   NIOCTXSYNC   enter   prologue   send: VALE, a pipe, nothing       finalize
//!   NIOCRXSYNC   enter   prologue   receive: give back and take in    finalize   leave     (rx.rs)
//! ```

mod rx;

use core::sync::atomic::Ordering::Relaxed;

use super::attachment::Attachment;
use super::synced::Synced;
use super::trace::{self, Tracing};
use super::vale::{self, Scratch};
use super::{Host, monitor, nic, pipe};
use uvale_shared::binding::Binding;
use uvale_shared::lock::{Guarded, LockGuard};

impl Attachment {
    /// NIOCTXSYNC: sends what the program has put into its tx rings.
    #[inline(always)]
    pub fn txsync(&self, host: &dyn Host) {
        for (work, kring) in self.tx_rings() {
            if let Some(mut sync) = self.enter(host, kring, work) {
                sync.tx();
            }
        }
    }

    /// NIOCRXSYNC: gives back what the program has released and shows it what has arrived.
    #[inline(always)]
    pub fn rxsync(&self, host: &dyn Host) {
        for (work, kring) in self.rx_rings() {
            if let Some(mut sync) = self.enter(host, kring, work) {
                sync.rx();
                sync.leave();
            }
        }
    }

    /// Begins a sync of ring `kring`, whose work area is `work`.
    #[inline(always)]
    pub(super) fn enter<'a, Work>(
        &'a self,
        host: &'a dyn Host,
        kring: u32,
        work: &'a Guarded<Work>,
    ) -> Option<Sync<'a, Work>> {
        let (binding, region) = (self.binding(), self.region());
        let (ring, guard) = Synced::enter(host, region, kring, binding.generation)?;
        Some(Sync {
            host,
            binding,
            ring,
            guard,
            work,
        })
    }
}

/// A sync of one ring of a descriptor: of a tx ring with a [`Scratch`], of an rx ring with the regions
/// of its monitors as work area.
pub(super) struct Sync<'a, Work> {
    host: &'a dyn Host,
    binding: &'a Binding,
    pub(super) ring: Synced<'a>,
    guard: LockGuard<'a>,
    /// belongs to whoever holds the lock
    work: &'a Guarded<Work>,
}

/// Why a tx ring did not send.
pub(super) enum Unsent {
    /// monitors do not send
    Monitor,
    /// its work area is another thread's
    Busy,
}

impl Sync<'_, Scratch> {
    /// Sends. False if the program's indices were wrong.
    #[inline(always)]
    pub(super) fn tx(&mut self) -> bool {
        let Ok(head) = self.ring.tx_prologue() else {
            self.refuse();
            return false;
        };
        match self.send(head) {
            Ok(hwtail) => {
                self.ring.finalize(hwtail);
                true
            }
            Err(Unsent::Monitor) => false,
            Err(Unsent::Busy) => true,
        }
    }

    /// Sends what the last sync had no room for, and shows the program what has become free since.
    pub(super) fn tx_again(&mut self) {
        let head = self.ring.kring.rhead.load(Relaxed);
        if head < self.ring.n
            && let Ok(hwtail) = self.send(head)
        {
            self.ring.finalize(hwtail);
        }
    }

    /// Sends what lies before `head`, and shows it to the ring's monitors. Returns hwtail.
    #[inline(always)]
    pub(super) fn send(&mut self, head: u32) -> Result<u32, Unsent> {
        if self.ring.kring.is_monitored() || self.ring.kring.is_traced() {
            return self.send_watched(head);
        }
        self.pass_on(head)
    }

    /// head or cur make no sense.
    #[cold]
    #[inline(never)]
    pub(super) fn refuse(&self) {
        self.ring.reinit();
        if let Some(tracing) = trace::of(self.host, self.ring.kring) {
            trace::refused(self.host, &self.ring, &tracing);
        }
    }

    #[cold]
    #[inline(never)]
    fn send_watched(&mut self, head: u32) -> Result<u32, Unsent> {
        let is_sender = !self.binding.is_null && !self.binding.is_monitor;
        let tracing = trace::of(self.host, self.ring.kring).filter(|_| is_sender);
        if let Some(tracing) = tracing
            && let Some(work) = self.work.get(&mut self.guard)
        {
            return Ok(traced(self.host, &self.ring, head, work, &tracing));
        }
        let from = self.ring.kring.hwcur.load(Relaxed);
        let hwtail = self.send_monitored(head)?;
        if is_sender && self.ring.kring.is_traced() {
            trace::unrecorded(&self.ring, from, self.ring.kring.hwcur.load(Relaxed));
        }
        Ok(hwtail)
    }

    fn send_monitored(&mut self, head: u32) -> Result<u32, Unsent> {
        if !self.ring.kring.is_monitored() {
            return self.pass_on(head);
        }
        let Some(work) = self.work.get(&mut self.guard) else {
            return Err(Unsent::Busy);
        };
        let freed = monitor::sending(self.host, &self.ring, head, &mut work.monitors);
        let hwtail = self.pass_on(head)?;
        monitor::sent(self.host, &self.ring, freed, hwtail);
        Ok(hwtail)
    }

    /// What is behind the ring takes what lies before `head`. Returns hwtail.
    #[inline(always)]
    fn pass_on(&mut self, head: u32) -> Result<u32, Unsent> {
        let (host, ring, guard, work) = (self.host, &self.ring, &mut self.guard, self.work);
        if self.binding.is_null {
            return Ok(ring.kring.hwtail.load(Relaxed));
        }
        if self.binding.is_monitor {
            return Err(Unsent::Monitor);
        }
        if ring.kring.pipe.load(Relaxed) != 0 {
            return Ok(pipe::txsync(host, ring, head, move || {
                work.get(guard).map(|work| &mut work.monitors)
            }));
        }
        match work.get(guard) {
            Some(work) if self.binding.is_nic => Ok(nic::txsync(host, ring, head, work)),
            Some(work) => Ok(vale::txsync(host, ring, head, work)),
            None => Err(Unsent::Busy),
        }
    }
}

/// Sends what lies before `head`, packet by packet, and says what has happened to each. Returns hwtail.
fn traced(
    host: &dyn Host,
    tx: &Synced<'_>,
    head: u32,
    work: &mut Scratch,
    tracing: &Tracing,
) -> u32 {
    let (is_pipe, is_nic) = (
        tx.kring.pipe.load(Relaxed) != 0,
        tx.kring.wire.load(Relaxed) != 0,
    );
    let area = (work, Scratch::monitors as fn(&mut Scratch) -> &mut _);
    trace::send(
        host,
        tx,
        head,
        tracing,
        area,
        |watching, end, data, work, events| {
            if is_pipe {
                pipe::txsync_traced(watching, tx, end, work.monitors(), events)
            } else if is_nic {
                nic::txsync_traced(watching, tx, end, work, events)
            } else {
                vale::txsync_traced(watching, tx, end, data, work, events)
            }
        },
    )
}
