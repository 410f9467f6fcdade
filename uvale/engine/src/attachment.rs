//! A bound descriptor: the rings it selected, and what NIOCTXSYNC, NIOCRXSYNC and poll do on them.

mod selected;

use core::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::Arc;

use super::monitor::Regions;
use super::sleep::{RX, TX};
use super::vale::Scratch;
use super::{Host, RegionMap, nic};
use rustix::io::Errno;
pub(crate) use selected::{OtherEnd, Selected, Several, Short};
use uvale_shared::binding::Binding;
use uvale_shared::ctl::{Ctl, Kring, PORT_GONE, PORT_ON, Port, Tuning};
use uvale_shared::held::Held;
use uvale_shared::lock::Owner;
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
            Selected::new(host, &region, tx_kring, ring, work)
        });
        let rx = binding
            .rings(RX)
            .map(|ring| Selected::new(host, &region, rx_kring, ring, Regions::default()));
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
        let owner = host.owner();
        match self.poll_short(host, owner, events) {
            Some(revents) => revents,
            None => self.poll_rings(host, owner, events),
        }
    }

    /// The short way, which is that of ports with a ring in each direction that `events` concern. What it knows of a
    /// ring ends with the port. `None`: the general way has to follow; there may be less to do for it.
    #[inline(always)]
    fn poll_short(&self, host: &dyn Host, owner: Owner, events: Events) -> Option<Events> {
        if events & WANT_TX != 0 {
            let [one] = &*self.tx else { return None };
            let is_ready = self.send_few(host, owner, one) && has_news(&one.kring);
            if !is_ready || events & WANT_RX == 0 {
                return is_ready.then_some(events & WANT_TX);
            }
        } else if self.binding.tx_poll {
            match &*self.tx {
                [] => (),
                [one] if !has_pending(one)? => (),
                _ => return None,
            }
        }
        let (want, mut revents) = (events & WANT_RX, events & WANT_TX);
        let [one] = &*self.rx else { return None };
        if want != 0 && self.receive_few(host, owner, one)? {
            revents |= want;
        }
        (want != 0).then_some(revents)
    }

    #[inline(never)]
    fn poll_rings(&self, host: &dyn Host, owner: Owner, events: Events) -> Events {
        if !self.is_live() {
            return libc::POLLERR;
        }
        let mut revents = 0;
        if self.binding.tx_poll || events & WANT_TX != 0 {
            revents |= self.poll_tx(host, owner, events & WANT_TX);
        }
        if events & WANT_RX != 0 {
            revents |= self.poll_rx(host, owner, events & WANT_RX);
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
    fn poll_tx(&self, host: &dyn Host, owner: Owner, mut want: Events) -> Events {
        let mut revents = 0;
        for ring in &self.tx {
            if want == 0 && !self.may_have_pending(ring) {
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
    fn may_have_pending(&self, ring: &Selected<Scratch>) -> bool {
        let k = &*ring.kring;
        let (ofs, n) = (k.ring_ofs.load(Relaxed), k.num_slots.load(Relaxed));
        RingView::new(&self.region.map, ofs, n)
            .is_some_and(|r| r.header().head.load(Relaxed) != k.hwcur.load(Relaxed))
    }

    /// Receives on all rings, so that none starves.
    fn poll_rx(&self, host: &dyn Host, owner: Owner, want: Events) -> Events {
        let mut revents = 0;
        for ring in &self.rx {
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

/// Has the program moved head since the last sync of `ring`, which was where it was at REGISTER? `None`: that is not
/// known without another look.
#[inline(always)]
fn has_pending(ring: &Selected<Scratch>) -> Option<bool> {
    let header = ring.held()?.view().header();
    Some(header.head.load(Relaxed) != ring.kring.hwcur.load(Relaxed))
}

/// After a sync: does the program own slots it has not looked at?
#[inline]
fn has_news(kring: &Kring) -> bool {
    kring.rcur.load(Relaxed) != kring.rtail.load(Relaxed)
}
