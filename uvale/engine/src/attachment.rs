//! A bound descriptor: the rings it selected, and what NIOCTXSYNC, NIOCRXSYNC and poll do on them.

use core::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::Arc;

use super::monitor::Regions;
use super::sleep::{RX, TX};
use super::vale::Scratch;
use super::{Host, RegionMap, nic};
use rustix::io::Errno;
use uvale_shared::binding::Binding;
use uvale_shared::ctl::{Kring, PORT_GONE, PORT_ON, Port};
use uvale_shared::lock::Guarded;
use uvale_shared::shm::RingView;
use uvale_shared::sleepers::{announce, withdraw};

/// poll(2) event bits, as the program passes them.
pub type Events = i16;

const WANT_TX: Events = libc::POLLOUT | libc::POLLWRNORM;
const WANT_RX: Events = libc::POLLIN | libc::POLLRDNORM;

/// A bound descriptor in the process that uses it.
pub struct Attachment {
    binding: Binding,
    region: Arc<RegionMap>,
    rx_kring: u32,
    tx_kring: u32,
    /// one per selected tx ring
    scratch: Vec<Guarded<Scratch>>,
    /// of monitors, one per selected rx ring
    monitors: Vec<Guarded<Regions>>,
}

impl Attachment {
    /// Prepares to use what `binding` says. `ENXIO` if it is inconsistent or the port is gone, `ENOMEM` if
    /// there is no memory to work with.
    pub fn new(host: &dyn Host, binding: Binding, region: Arc<RegionMap>) -> Result<Self, Errno> {
        if region.number != binding.region {
            return Err(Errno::NXIO);
        }
        let port = host.ctl().port(binding.port).ok_or(Errno::NXIO)?;
        let (rx_kring, tx_kring) = (port.rx_kring.load(Acquire), port.tx_kring.load(Acquire));
        let kring = |base: u32, ring| {
            let index = base.checked_add(ring);
            index.and_then(|i| host.ctl().kring(i)).ok_or(Errno::NXIO)
        };
        let scratch = binding
            .rings(TX)
            .map(|ring| {
                let work = Scratch::new().map_err(|_| Errno::NOMEM)?;
                Ok(Guarded::new(&kring(tx_kring, ring)?.busy, work))
            })
            .collect::<Result<_, Errno>>()?;
        let monitors = binding
            .rings(RX)
            .map(|ring| {
                Ok(Guarded::new(
                    &kring(rx_kring, ring)?.busy,
                    Regions::default(),
                ))
            })
            .collect::<Result<_, Errno>>()?;
        Ok(Self {
            binding,
            region,
            rx_kring,
            tx_kring,
            scratch,
            monitors,
        })
    }

    /// The binding.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// The memory of the port.
    pub fn region(&self) -> &Arc<RegionMap> {
        &self.region
    }

    pub(super) fn selected(&self, dir: usize) -> core::ops::Range<u32> {
        let base = if dir == RX {
            self.rx_kring
        } else {
            self.tx_kring
        };
        base + self.binding.first[dir]..base + self.binding.last[dir]
    }

    /// The selected tx rings: their work areas and krings.
    #[inline(always)]
    pub(super) fn tx_rings(&self) -> impl Iterator<Item = (&Guarded<Scratch>, u32)> {
        self.scratch.iter().zip(self.selected(TX))
    }

    /// The selected rx rings, likewise.
    #[inline(always)]
    pub(super) fn rx_rings(&self) -> impl Iterator<Item = (&Guarded<Regions>, u32)> {
        self.monitors.iter().zip(self.selected(RX))
    }

    fn krings<'a>(&self, host: &'a dyn Host, dir: usize) -> impl Iterator<Item = &'a Kring> {
        let host = host.ctl();
        self.selected(dir).filter_map(move |i| host.kring(i))
    }

    fn port<'a>(&self, host: &'a dyn Host) -> Option<&'a Port> {
        let port = host.ctl().port(self.binding.port)?;
        let live = port.generation.load(Relaxed) == self.binding.generation
            && port.flags.load(Relaxed) & (PORT_ON | PORT_GONE) == PORT_ON;
        live.then_some(port)
    }

    /// Has the interface of a NIC port gone?
    #[inline]
    pub fn is_gone(&self, host: &dyn Host) -> bool {
        self.binding.is_nic && self.port(host).is_none()
    }

    /// netmap's poll: syncs as `events` ask and answers which of them are true. Never blocks.
    pub fn poll(&self, host: &dyn Host, events: Events) -> Events {
        if self.port(host).is_none() {
            return libc::POLLERR;
        }
        let mut revents = 0;
        if self.binding.tx_poll || events & WANT_TX != 0 {
            revents |= self.poll_tx(host, events & WANT_TX);
        }
        if events & WANT_RX != 0 {
            revents |= self.poll_rx(host, events & WANT_RX);
        }
        revents
    }

    /// As [`Attachment::poll`], by the indices that the last sync has taken over: the program is not in a call now and
    /// may be changing those in its rings. It is shown what has arrived and what has become free.
    pub fn refresh(&self, host: &dyn Host, events: Events) -> Events {
        if self.port(host).is_none() {
            return libc::POLLERR;
        }
        let mut revents = 0;
        if events & WANT_TX != 0 {
            for (work, kring) in self.tx_rings() {
                if let Some(mut sync) = self.enter(host, kring, work) {
                    sync.tx_again();
                    if has_news(sync.ring.kring) {
                        revents |= events & WANT_TX;
                    }
                }
            }
        }
        if events & WANT_RX != 0 {
            for (work, kring) in self.rx_rings() {
                if let Some(mut sync) = self.enter(host, kring, work) {
                    sync.rx_again();
                    if has_news(sync.ring.kring) {
                        revents |= events & WANT_RX;
                    }
                    sync.leave();
                }
            }
        }
        revents
    }

    /// Sends on all rings that have something to send, and on the others until one has room.
    fn poll_tx(&self, host: &dyn Host, mut want: Events) -> Events {
        let mut revents = 0;
        for (work, kring) in self.tx_rings() {
            if want == 0 && !self.has_pending(host, kring) {
                continue;
            }
            let Some(mut sync) = self.enter(host, kring, work) else {
                continue;
            };
            if !sync.tx() {
                revents |= libc::POLLERR;
            }
            if has_news(sync.ring.kring) {
                revents |= want;
                want = 0;
            }
        }
        revents
    }

    /// Has the program moved head since the last sync?
    fn has_pending(&self, host: &dyn Host, index: u32) -> bool {
        let Some(kring) = host.ctl().kring(index) else {
            return false;
        };
        let (ofs, n) = (kring.ring_ofs.load(Relaxed), kring.num_slots.load(Relaxed));
        RingView::new(&self.region.map, ofs, n)
            .is_some_and(|r| r.header().head.load(Relaxed) != kring.hwcur.load(Relaxed))
    }

    /// Receives on all rings, so that none starves.
    fn poll_rx(&self, host: &dyn Host, want: Events) -> Events {
        let mut revents = 0;
        for (work, kring) in self.rx_rings() {
            let Some(mut sync) = self.enter(host, kring, work) else {
                continue;
            };
            if !sync.rx() {
                revents |= libc::POLLERR;
            }
            if has_news(sync.ring.kring) {
                revents |= want;
            }
            sync.leave();
        }
        revents
    }

    /// Announces on all rings that `events` concern that this descriptor is about to sleep. False if
    /// it has no sleeper bit, cannot be woken, and has to look again from time to time.
    pub fn announce(&self, host: &dyn Host, events: Events) -> bool {
        let Some(bit) = self.binding.sleeper else {
            return false;
        };
        for dir in directions(events) {
            self.krings(host, dir)
                .for_each(|k| announce(&k.sleepers, bit));
        }
        true
    }

    /// Takes [`Attachment::announce`] back.
    pub fn withdraw(&self, host: &dyn Host, events: Events) {
        let Some(bit) = self.binding.sleeper else {
            return;
        };
        for dir in directions(events) {
            self.krings(host, dir)
                .for_each(|k| withdraw(&k.sleepers, bit));
        }
    }

    /// A number that changes with every event for edge-triggered waiters.
    pub fn edges(&self, host: &dyn Host) -> u64 {
        [RX, TX]
            .into_iter()
            .flat_map(|dir| self.krings(host, dir))
            .fold(0, |sum, k| {
                sum.wrapping_add(k.produced.progress.load(Relaxed))
            })
    }

    /// Is there something that `events` wait for, as far as the indices show without a sync? For
    /// the short spin before sleeping.
    pub fn glance(&self, host: &dyn Host, events: Events) -> bool {
        self.glance_at(host, events, |_, _| true)
    }

    /// The same, only at rings that count: their direction, and their place among the selected ones.
    pub fn glance_at(
        &self,
        host: &dyn Host,
        events: Events,
        counts: impl Fn(usize, usize) -> bool,
    ) -> bool {
        let fresh = |k: &Kring| k.published().load(Relaxed) != k.rtail.load(Relaxed);
        let is_ready =
            |dir, k: &Kring| fresh(k) || dir == RX && self.binding.is_nic && nic::is_ready(host, k);
        directions(events).any(|dir| {
            let mut krings = self.krings(host, dir).enumerate();
            krings.any(|(i, k)| counts(dir, i) && is_ready(dir, k))
        })
    }

    /// The descriptors that become readable when something for `events` is on a wire.
    pub fn readable(&self, host: &dyn Host, events: Events, each: impl FnMut(i32)) {
        self.readable_at(host, events, |_, _| true, each);
    }

    /// The same, only of rings that count, as for [`Attachment::glance_at`].
    pub fn readable_at(
        &self,
        host: &dyn Host,
        events: Events,
        counts: impl Fn(usize, usize) -> bool,
        each: impl FnMut(i32),
    ) {
        if self.binding.is_nic && events & WANT_RX != 0 {
            let krings = self.krings(host, RX).enumerate();
            krings
                .filter(|(i, _)| counts(RX, *i))
                .filter_map(|(_, k)| nic::readable(host, k))
                .for_each(each);
        }
    }

    /// Has the last sync left something in a ring of an interface, for which its wire had no room? Another one has to
    /// send it.
    pub fn has_unsent(&self, host: &dyn Host) -> bool {
        self.binding.is_nic && self.krings(host, TX).any(nic::has_unsent)
    }

    /// Does a sleep for `events` have to be short, because nothing ends it when it should?
    pub fn is_restless(&self, host: &dyn Host, events: Events) -> bool {
        self.binding.is_nic
            && directions(events).any(|dir| {
                self.krings(host, dir)
                    .any(|k| nic::is_restless(host, k, dir == TX))
            })
    }
}

/// The directions in which `events` wait.
fn directions(events: Events) -> impl Iterator<Item = usize> {
    let rx = (events & WANT_RX != 0).then_some(RX);
    let tx = (events & WANT_TX != 0).then_some(TX);
    rx.into_iter().chain(tx)
}

/// After a sync: does the program own slots it has not looked at?
#[inline]
fn has_news(kring: &Kring) -> bool {
    kring.rcur.load(Relaxed) != kring.rtail.load(Relaxed)
}
