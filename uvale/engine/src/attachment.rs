//! A bound descriptor: the rings it selected, and what NIOCTXSYNC, NIOCRXSYNC and poll do on them.

use core::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::Arc;

use super::monitor::{self, Regions};
use super::ring::Synced;
use super::sleep::{RX, TX};
use super::vale::{self, Scratch};
use super::{Host, RegionMap, pipe};
use nm_abi::NR_TIMESTAMP;
use rustix::io::Errno;
use uvale_shared::ctl::{Kring, PORT_ON, Port};
use uvale_shared::lock::{Guarded, LockGuard};
use uvale_shared::sleepers::{announce, withdraw};

/// poll(2) event bits, as the program passes them.
pub type Events = i16;

const WANT_TX: Events = libc::POLLOUT | libc::POLLWRNORM;
const WANT_RX: Events = libc::POLLIN | libc::POLLRDNORM;

/// What a successful REGISTER leaves behind for the data path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// index of the port record
    pub port: u32,
    /// its generation
    pub generation: u32,
    /// number of the region
    pub region: u32,
    /// first selected ring by direction ([`RX`], [`TX`])
    pub first: [u32; 2],
    /// one past the last selected ring by direction
    pub last: [u32; 2],
    /// poll sends what waits in tx rings even if nobody waits for room (no NR_NO_TX_POLL)
    pub tx_poll: bool,
    /// bit in the port's sleeper table; `None`: there was none left
    pub sleeper: Option<u8>,
    /// a null port: nothing is behind its rings and a sync changes nothing
    pub is_null: bool,
    /// a monitor: it receives only, from the syncs of the port it monitors
    pub is_monitor: bool,
}

/// A bound descriptor in the process that uses it.
pub struct Attachment {
    binding: Binding,
    region: Arc<RegionMap>,
    rx_kring: u32,
    tx_kring: u32,
    /// one per selected tx ring
    pub(super) scratch: Vec<Guarded<Scratch>>,
    /// of monitors, one per selected rx ring
    pub(super) monitors: Vec<Guarded<Regions>>,
}

impl Attachment {
    /// Prepares to use what `binding` says. `ENXIO` if it makes no sense or the port is gone, `ENOMEM` if
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
        let scratch = (binding.first[TX]..binding.last[TX])
            .map(|ring| {
                let work = Scratch::new().map_err(|_| Errno::NOMEM)?;
                Ok(Guarded::new(&kring(tx_kring, ring)?.busy, work))
            })
            .collect::<Result<_, Errno>>()?;
        let monitors = (binding.first[RX]..binding.last[RX])
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

    fn krings<'a>(&self, host: &'a dyn Host, dir: usize) -> impl Iterator<Item = &'a Kring> {
        let host = host.ctl();
        self.selected(dir).filter_map(move |i| host.kring(i))
    }

    fn port<'a>(&self, host: &'a dyn Host) -> Option<&'a Port> {
        let port = host.ctl().port(self.binding.port)?;
        let live = port.generation.load(Relaxed) == self.binding.generation
            && port.flags.load(Relaxed) & PORT_ON != 0;
        live.then_some(port)
    }

    #[inline]
    pub(super) fn enter<'a>(
        &'a self,
        host: &'a dyn Host,
        kring: u32,
    ) -> Option<(Synced<'a>, LockGuard<'a>)> {
        Synced::enter(host, &self.region, kring, self.binding.generation)
    }

    /// One tx ring. False if the program's indices were wrong.
    #[inline(always)]
    fn tx(
        &self,
        host: &dyn Host,
        ring: &Synced<'_>,
        scratch: &Guarded<Scratch>,
        guard: &mut LockGuard<'_>,
    ) -> bool {
        let Ok(head) = ring.tx_prologue() else {
            ring.reinit();
            return false;
        };
        match self.send(host, ring, head, scratch, guard) {
            Ok(hwtail) => {
                ring.finalize(hwtail);
                true
            }
            Err(Unsent::Monitor) => false,
            Err(Unsent::Busy) => true,
        }
    }

    /// Sends what lies before `head`. Returns hwtail.
    #[inline(always)]
    pub(super) fn send(
        &self,
        host: &dyn Host,
        ring: &Synced<'_>,
        head: u32,
        scratch: &Guarded<Scratch>,
        guard: &mut LockGuard<'_>,
    ) -> Result<u32, Unsent> {
        if ring.kring.is_watched() {
            return self.send_watched(host, ring, head, scratch, guard);
        }
        self.pass_on(host, ring, head, scratch, guard)
    }

    /// The same for a ring that has monitors.
    #[cold]
    #[inline(never)]
    fn send_watched(
        &self,
        host: &dyn Host,
        ring: &Synced<'_>,
        head: u32,
        scratch: &Guarded<Scratch>,
        guard: &mut LockGuard<'_>,
    ) -> Result<u32, Unsent> {
        let Some(work) = scratch.get(guard) else {
            return Err(Unsent::Busy);
        };
        let freed = monitor::sending(host, ring, head, &mut work.monitors);
        let hwtail = self.pass_on(host, ring, head, scratch, guard)?;
        monitor::sent(host, ring, freed, hwtail);
        Ok(hwtail)
    }

    /// What is behind the ring takes what lies before `head`. Returns hwtail.
    #[inline(always)]
    fn pass_on(
        &self,
        host: &dyn Host,
        ring: &Synced<'_>,
        head: u32,
        scratch: &Guarded<Scratch>,
        guard: &mut LockGuard<'_>,
    ) -> Result<u32, Unsent> {
        if self.binding.is_null {
            return Ok(ring.kring.hwtail.load(Relaxed));
        }
        if self.binding.is_monitor {
            return Err(Unsent::Monitor);
        }
        if ring.kring.pipe.load(Relaxed) != 0 {
            return Ok(pipe::txsync(host, ring, head, move || {
                scratch.get(guard).map(|scratch| &mut scratch.monitors)
            }));
        }
        match scratch.get(guard) {
            Some(scratch) => Ok(vale::txsync(host, ring, head, scratch)),
            None => Err(Unsent::Busy),
        }
    }

    /// NIOCTXSYNC: sends what the program has put into its tx rings.
    #[inline(always)]
    pub fn txsync(&self, host: &dyn Host) {
        for (scratch, kring) in self.scratch.iter().zip(self.selected(TX)) {
            if let Some((ring, mut guard)) = self.enter(host, kring) {
                self.tx(host, &ring, scratch, &mut guard);
            }
        }
    }

    /// NIOCRXSYNC: gives back what the program has released and shows it what has arrived.
    #[inline(always)]
    pub fn rxsync(&self, host: &dyn Host) {
        for (monitors, kring) in self.monitors.iter().zip(self.selected(RX)) {
            if let Some((ring, mut guard)) = self.enter(host, kring) {
                self.rx(host, &ring, monitors, &mut guard);
                let watched = ring.kring.is_watched();
                drop(guard);
                if watched {
                    monitor::catch_up(host, kring, &self.region, monitors);
                }
            }
        }
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

    /// Sends on all rings that have something to send, and on the others until one has room.
    fn poll_tx(&self, host: &dyn Host, mut want: Events) -> Events {
        let mut revents = 0;
        for (scratch, kring) in self.scratch.iter().zip(self.selected(TX)) {
            if want == 0 && !self.has_pending(host, kring) {
                continue;
            }
            let Some((ring, mut guard)) = self.enter(host, kring) else {
                continue;
            };
            if !self.tx(host, &ring, scratch, &mut guard) {
                revents |= libc::POLLERR;
            }
            if has_news(ring.kring) {
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
        uvale_shared::shm::RingView::new(&self.region.map, ofs, n)
            .is_some_and(|r| r.header().head.load(Relaxed) != kring.hwcur.load(Relaxed))
    }

    /// Receives on all rings, so that none starves.
    fn poll_rx(&self, host: &dyn Host, want: Events) -> Events {
        let mut revents = 0;
        for (monitors, kring) in self.monitors.iter().zip(self.selected(RX)) {
            let Some((ring, mut guard)) = self.enter(host, kring) else {
                continue;
            };
            if !self.rx(host, &ring, monitors, &mut guard) {
                revents |= libc::POLLERR;
            }
            if has_news(ring.kring) {
                revents |= want;
            }
            let watched = ring.kring.is_watched();
            drop(guard);
            if watched {
                monitor::catch_up(host, kring, &self.region, monitors);
            }
        }
        revents
    }

    /// One rx ring. False if the program's indices were wrong, or if it is a monitor's and the
    /// monitored port has gone; in the first case it goes on, like netmap, with what the
    /// re-initialisation made of them.
    #[inline(always)]
    fn rx(
        &self,
        host: &dyn Host,
        ring: &Synced<'_>,
        monitors: &Guarded<Regions>,
        guard: &mut LockGuard<'_>,
    ) -> bool {
        let k = ring.kring;
        // What a pipe's sender has published becomes hwtail in `pipe::rxsync` only, after the indices
        // are checked.
        let hwtail = k.indices().arrived();
        let good = ring.rx_prologue(hwtail).is_ok();
        if !good {
            ring.reinit();
        }
        let Some(hwtail) = self.receive(host, ring, hwtail, monitors, guard) else {
            stamp(host, ring);
            return false;
        };
        ring.finalize(hwtail);
        stamp(host, ring);
        good
    }

    /// Gives back what lies before `rhead`, and takes in what has arrived. Returns hwtail; `None`
    /// for a monitor whose port has gone.
    #[inline(always)]
    pub(super) fn receive(
        &self,
        host: &dyn Host,
        ring: &Synced<'_>,
        hwtail: u32,
        monitors: &Guarded<Regions>,
        guard: &mut LockGuard<'_>,
    ) -> Option<u32> {
        let k = ring.kring;
        let head = k.rhead.load(Relaxed);
        let watched = k.is_watched();
        if watched {
            monitor::released(host, ring, head);
        }
        let hwtail = if k.pipe.load(Relaxed) != 0 {
            pipe::rxsync(host, ring, head)
        } else if self.binding.is_monitor {
            if k.orphan.load(Relaxed) != 0 {
                return None;
            }
            give_back(ring, head);
            hwtail
        } else {
            release(ring, head);
            hwtail
        };
        if watched && let Some(monitors) = monitors.get(guard) {
            monitor::arrived(host, ring, hwtail, monitors);
        }
        Some(hwtail)
    }

    /// Says on all rings that `events` concern that this descriptor is about to sleep. False if
    /// it cannot be woken one by one and has to look again from time to time.
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

    /// A number that changes with every event that an edge-triggered waiter must hear of.
    pub fn edges(&self, host: &dyn Host) -> u64 {
        [RX, TX]
            .into_iter()
            .flat_map(|dir| self.krings(host, dir))
            .fold(0, |sum, k| {
                sum.wrapping_add(k.produced.progress.load(Relaxed))
            })
    }

    /// Is there, at first glance and without a sync, something that `events` wait for? What a
    /// short spin before sleeping looks at.
    pub fn glance(&self, host: &dyn Host, events: Events) -> bool {
        let fresh = |k: &Kring| k.published().load(Relaxed) != k.rtail.load(Relaxed);
        directions(events).any(|dir| self.krings(host, dir).any(fresh))
    }
}

/// Why a tx ring did not send.
pub(super) enum Unsent {
    /// monitors do not send
    Monitor,
    /// its work area is another thread's
    Busy,
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

/// VALE: gives `hwcur..head` back to the senders.
#[inline]
fn release(ring: &Synced<'_>, head: u32) {
    let from = ring.kring.hwcur.load(Relaxed);
    if from == head || head >= ring.n || from >= ring.n {
        return;
    }
    let mut i = from;
    while i != head {
        let view = &ring.ring.slots()[i as usize];
        view.clear_changed(view.load());
        i = ring.ring.next(i);
    }
    give_back(ring, head);
}

/// VALE and monitors: the slots before `head` may be filled again.
#[inline]
fn give_back(ring: &Synced<'_>, head: u32) {
    if head < ring.n {
        ring.kring.indices().give_back(head);
    }
}

/// The time of this sync, as netmap writes it into rx rings, unless no_timestamp says not to.
#[inline]
fn stamp(host: &dyn Host, ring: &Synced<'_>) {
    let always = |t: &uvale_shared::ctl::Tuning| t.timestamps.load(Relaxed) != 0;
    let asked = || ring.ring.header().flags.load(Relaxed) & NR_TIMESTAMP != 0;
    if !host.ctl().tuning().is_some_and(always) && !asked() {
        return;
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let ts = &ring.ring.header().ts;
    ts[0].store(now.tv_sec as u64, Relaxed);
    ts[1].store((now.tv_nsec / 1000) as u64, Relaxed);
}
