//! A bound descriptor: the rings it selected, and what NIOCTXSYNC, NIOCRXSYNC and poll do on them.

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::Arc;

use super::monitor::Regions;
use super::sleep::{RX, TX};
use super::synced::{Known, Synced, Way};
use super::vale::Scratch;
use super::{Host, RegionMap, nic};
use rustix::io::Errno;
use uvale_shared::binding::Binding;
use uvale_shared::ctl::{Ctl, Kring, PORT_GONE, PORT_ON, Port, Tuning};
use uvale_shared::held::Held;
use uvale_shared::lock::{Guarded, Owner};
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
    /// record of the port
    port: Held<Port>,
    pub(super) tuning: Held<Tuning>,
    /// the selected rings
    pub(super) tx: Vec<Selected<Scratch>>,
    pub(super) rx: Vec<Selected<Regions>>,
}

/// A ring that a descriptor has selected, and what syncs of it need every time.
pub(crate) struct Selected<Work> {
    pub(super) kring: Held<Kring>,
    /// its index in control memory
    pub(super) index: u32,
    /// belongs to whoever holds `busy`: of a tx ring a [`Scratch`], of an rx ring the regions of its monitors
    pub(super) work: Guarded<Work>,
    /// belongs to whoever holds `busy`, too
    pub(super) known: Guarded<Known>,
    /// of a pipe: the other end's ring, and its index plus one
    peer: Option<(u32, Held<Kring>)>,
    /// the short way would not have done for the last sync, and will probably not do for the next one
    is_long: AtomicBool,
}

impl<Work> Selected<Work> {
    /// Ring `ring` of those that begin with `base`. `ENXIO` if there is no such ring.
    fn new(host: &dyn Host, base: u32, ring: u32, work: Work) -> Result<Self, Errno> {
        let index = base.checked_add(ring).ok_or(Errno::NXIO)?;
        let kring = Held::new(host.ctl(), |ctl| ctl.kring(index)).ok_or(Errno::NXIO)?;
        let pipe = kring.pipe.load(Acquire);
        let peer = pipe.checked_sub(1);
        let peer = peer.and_then(|i| Held::new(host.ctl(), |ctl| ctl.kring(i)));
        Ok(Self {
            work: Guarded::new(&kring.busy, work),
            known: Guarded::new(&kring.busy, Known::default()),
            peer: peer.map(|kring| (pipe, kring)),
            kring,
            index,
            is_long: AtomicBool::new(false),
        })
    }

    /// A sync begins of slots up to `head`.
    #[inline(always)]
    pub(super) fn note(&self, ring: &Synced<'_>, head: u32) {
        let from = ring.kring.hwcur.load(Relaxed);
        let is_few = head == from || head == ring.ring.next(from);
        self.is_long
            .store(!is_few || ring.way == Way::Other, Relaxed);
    }

    /// Is the short way worth a try?
    #[inline(always)]
    pub(super) fn is_short(&self) -> bool {
        !self.is_long.load(Relaxed)
    }

    /// The other end of a pipe, as it was at REGISTER.
    #[inline(always)]
    pub(super) fn other_end(&self) -> Option<&Kring> {
        self.peer.as_ref().map(|(_, kring)| &**kring)
    }

    /// The other end of a pipe, if `pipe` is what the kring says of it.
    #[inline(always)]
    pub(super) fn peer(&self, pipe: u32) -> Option<&Kring> {
        let (known, kring) = self.peer.as_ref()?;
        (*known == pipe).then_some(kring)
    }
}

impl Attachment {
    /// Prepares to use what `binding` says. `ENXIO` if it is inconsistent or the port is gone, `ENOMEM` if
    /// there is no memory to work with.
    pub fn new(host: &dyn Host, binding: Binding, region: Arc<RegionMap>) -> Result<Self, Errno> {
        if region.number != binding.region {
            return Err(Errno::NXIO);
        }
        let ctl = host.ctl();
        let port = Held::new(ctl, |ctl| ctl.port(binding.port)).ok_or(Errno::NXIO)?;
        let tuning = Held::new(ctl, Ctl::tuning).ok_or(Errno::NXIO)?;
        let (rx_kring, tx_kring) = (port.rx_kring.load(Acquire), port.tx_kring.load(Acquire));
        let tx = binding.rings(TX).map(|ring| {
            let work = Scratch::new(Some(region.clone())).map_err(|_| Errno::NOMEM)?;
            Selected::new(host, tx_kring, ring, work)
        });
        let rx = binding
            .rings(RX)
            .map(|ring| Selected::new(host, rx_kring, ring, Regions::default()));
        let (tx, rx) = (tx.collect::<Result<_, _>>()?, rx.collect::<Result<_, _>>()?);
        Ok(Self {
            binding,
            region,
            port,
            tuning,
            tx,
            rx,
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

    /// The selected rings of a direction.
    pub(super) fn krings(&self, dir: usize) -> impl Iterator<Item = &Kring> {
        let (rx, tx) = match dir {
            RX => (&self.rx[..], &[][..]),
            _ => (&[][..], &self.tx[..]),
        };
        let rx = rx.iter().map(|ring| &*ring.kring);
        rx.chain(tx.iter().map(|ring| &*ring.kring))
    }

    /// Is the port what it was when the descriptor was bound, and in netmap mode?
    #[inline(always)]
    fn is_live(&self) -> bool {
        self.port.generation.load(Relaxed) == self.binding.generation
            && self.port.flags.load(Relaxed) & (PORT_ON | PORT_GONE) == PORT_ON
    }

    /// Has the interface of a NIC port gone?
    #[inline(always)]
    pub fn is_gone(&self) -> bool {
        self.binding.is_nic && !self.is_live()
    }

    /// netmap's poll: syncs as `events` ask and answers which of them are true. Never blocks.
    #[inline(always)]
    pub fn poll(&self, host: &dyn Host, events: Events) -> Events {
        if !self.is_live() {
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
        if !self.is_live() {
            return libc::POLLERR;
        }
        let (mut revents, owner) = (0, host.owner());
        if events & WANT_TX != 0 {
            for ring in &self.tx {
                if let Some((sync, mut guard)) = self.enter(host, owner, ring) {
                    sync.tx_again(&mut guard);
                    if has_news(sync.ring.kring) {
                        revents |= events & WANT_TX;
                    }
                }
            }
        }
        if events & WANT_RX != 0 {
            for ring in &self.rx {
                if let Some((sync, mut guard)) = self.enter(host, owner, ring) {
                    sync.rx_again(&mut guard);
                    if has_news(sync.ring.kring) {
                        revents |= events & WANT_RX;
                    }
                    sync.leave(guard);
                }
            }
        }
        revents
    }

    /// Sends on all rings that have something to send, and on the others until one has room.
    #[inline(always)]
    fn poll_tx(&self, host: &dyn Host, want: Events) -> Events {
        let owner = host.owner();
        match &*self.tx {
            [one] if want == 0 && !self.has_pending(&one.kring) => 0,
            [one] if self.send_one(host, owner, one) && has_news(&one.kring) => want,
            all => self.poll_tx_rings(host, owner, all, want),
        }
    }

    #[inline(never)]
    fn poll_tx_rings(
        &self,
        host: &dyn Host,
        owner: Owner,
        rings: &[Selected<Scratch>],
        mut want: Events,
    ) -> Events {
        let mut revents = 0;
        for ring in rings {
            if want == 0 && !self.has_pending(&ring.kring) {
                continue;
            }
            let Some((sync, mut guard)) = self.enter(host, owner, ring) else {
                continue;
            };
            if !sync.tx(&mut guard) {
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
    fn has_pending(&self, kring: &Kring) -> bool {
        let (ofs, n) = (kring.ring_ofs.load(Relaxed), kring.num_slots.load(Relaxed));
        RingView::new(&self.region.map, ofs, n)
            .is_some_and(|r| r.header().head.load(Relaxed) != kring.hwcur.load(Relaxed))
    }

    /// Receives on all rings, so that none starves.
    #[inline(always)]
    fn poll_rx(&self, host: &dyn Host, want: Events) -> Events {
        let owner = host.owner();
        match &*self.rx {
            [one] if self.receive_few(host, owner, one) => match has_news(&one.kring) {
                true => want,
                false => 0,
            },
            all => self.poll_rx_rings(host, owner, all, want),
        }
    }

    #[inline(never)]
    fn poll_rx_rings(
        &self,
        host: &dyn Host,
        owner: Owner,
        rings: &[Selected<Regions>],
        want: Events,
    ) -> Events {
        let mut revents = 0;
        for ring in rings {
            let Some((sync, mut guard)) = self.enter(host, owner, ring) else {
                continue;
            };
            if !sync.rx(&mut guard) {
                revents |= libc::POLLERR;
            }
            if has_news(sync.ring.kring) {
                revents |= want;
            }
            sync.leave(guard);
        }
        revents
    }

    /// Announces on all rings that `events` concern that this descriptor is about to sleep. False if
    /// it has no sleeper bit, cannot be woken, and has to look again from time to time.
    pub fn announce(&self, events: Events) -> bool {
        let Some(bit) = self.binding.sleeper else {
            return false;
        };
        for dir in directions(events) {
            self.krings(dir).for_each(|k| announce(&k.sleepers, bit));
        }
        true
    }

    /// Takes [`Attachment::announce`] back.
    pub fn withdraw(&self, events: Events) {
        let Some(bit) = self.binding.sleeper else {
            return;
        };
        for dir in directions(events) {
            self.krings(dir).for_each(|k| withdraw(&k.sleepers, bit));
        }
    }

    /// A number that changes with every event for edge-triggered waiters.
    pub fn edges(&self) -> u64 {
        [RX, TX]
            .into_iter()
            .flat_map(|dir| self.krings(dir))
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
            let mut krings = self.krings(dir).enumerate();
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
            let krings = self.krings(RX).enumerate();
            krings
                .filter(|(i, _)| counts(RX, *i))
                .filter_map(|(_, k)| nic::readable(host, k))
                .for_each(each);
        }
    }

    /// Has the last sync left something in a ring of an interface, for which its wire had no room? Another one has to
    /// send it.
    pub fn has_unsent(&self) -> bool {
        self.binding.is_nic && self.krings(TX).any(nic::has_unsent)
    }

    /// Does a sleep for `events` have to be short, because nothing ends it when it should?
    pub fn is_restless(&self, host: &dyn Host, events: Events) -> bool {
        self.binding.is_nic
            && directions(events).any(|dir| {
                self.krings(dir)
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
