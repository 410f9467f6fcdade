//! One sync: what the program has done to a ring (`synced.rs`), and what is behind the ring.
//!
//! ```text
//!   NIOCTXSYNC   enter   prologue   send: VALE, a pipe, nothing       finalize
//!   NIOCRXSYNC   enter   prologue   receive: give back and take in    finalize   leave     (rx.rs)
//! ```

mod rx;

use core::sync::atomic::Ordering::Relaxed;

use super::attachment::{Attachment, Selected, Several, Short};
use super::monitor::Regions;
use super::pipe::Peer;
use super::synced::{Synced, Way};
use super::trace::{self, Tracing};
use super::vale::{self, Scratch};
use super::{Host, RegionMap, monitor, nic, pipe};
use uvale_shared::ctl::Tuning;
use uvale_shared::lock::{LockGuard, Owner};

impl Attachment {
    /// NIOCTXSYNC: sends what the program has put into its tx rings.
    pub fn txsync(&self, host: &dyn Host) {
        self.try_txsync(host);
    }

    /// NIOCRXSYNC: gives back what the program has released and shows it what has arrived.
    pub fn rxsync(&self, host: &dyn Host) {
        self.try_rxsync(host);
    }

    /// [`Attachment::txsync`]; false if the port's interface has gone.
    #[inline(always)]
    pub fn try_txsync(&self, host: &dyn Host) -> bool {
        let owner = host.owner();
        let few = move |one: &_| self.send_few(host, owner, one);
        self.sync(&self.tx, few, move |ring| {
            if let Some((sync, mut guard)) = self.enter(host, owner, ring) {
                sync.tx(&mut guard);
            }
        })
    }

    /// [`Attachment::rxsync`]; false if the port's interface has gone.
    #[inline(always)]
    pub fn try_rxsync(&self, host: &dyn Host) -> bool {
        let owner = host.owner();
        let few = move |one: &_| self.receive_few(host, owner, one).is_some();
        self.sync(&self.rx, few, move |ring| {
            if let Some((sync, mut guard)) = self.enter(host, owner, ring) {
                sync.rx(&mut guard);
                sync.leave(guard);
            }
        })
    }

    /// Syncs `rings`, one by the short way `few`, if that will do, else `each` by the general one.
    #[inline(always)]
    fn sync<Work>(
        &self,
        rings: &[Selected<Work>],
        few: impl FnOnce(&Selected<Work>) -> bool,
        each: impl Fn(&Selected<Work>),
    ) -> bool {
        match rings {
            // What the short ways know of a ring ends with the port, and no interface is behind it.
            [one] if few(one) => true,
            all => self.sync_all(all, each),
        }
    }

    #[inline(never)]
    fn sync_all<Work>(&self, rings: &[Selected<Work>], each: impl Fn(&Selected<Work>)) -> bool {
        rings.iter().for_each(each);
        !self.is_gone()
    }

    /// Syncs `ring` by the short way, if that will do. False: nothing has happened.
    #[inline(always)]
    pub(super) fn send_few(&self, host: &dyn Host, owner: Owner, ring: &Selected<Scratch>) -> bool {
        match ring.short() {
            Short::Switch => vale::send_few::<false>(host, owner, ring),
            Short::Pipe(other) => pipe::send_few::<false>(host, owner, ring, other).is_some(),
            Short::Several => send_several(host, owner, ring),
        }
    }

    /// The same of an rx ring; does the program own slots then that it has not looked at?
    #[inline(always)]
    pub(super) fn receive_few(
        &self,
        host: &dyn Host,
        owner: Owner,
        ring: &Selected<Regions>,
    ) -> Option<bool> {
        let to: (&Tuning, &RegionMap) = (&self.tuning, self.region());
        match ring.short() {
            Short::Switch => rx::receive_few::<false>(host, to, owner, ring),
            Short::Pipe(other) => rx::receive_few_of_pipe::<false>(host, to, owner, ring, other),
            Short::Several => receive_several(host, to, owner, ring),
        }
    }

    /// Begins a sync of `of`, one of the selected rings, in the name of `owner`.
    #[inline(always)]
    pub(super) fn enter<'a, Work>(
        &'a self,
        host: &'a dyn Host,
        owner: Owner,
        of: &'a Selected<Work>,
    ) -> Option<(Sync<'a, Work>, LockGuard<'a>)> {
        let kring = (of.index, &*of.kring);
        let known = (&of.known, of.held());
        let (ring, guard) = Synced::enter(owner, self.region(), kring, known, self.binding())?;
        let sync = Sync {
            host,
            attachment: self,
            of,
            ring,
        };
        Some((sync, guard))
    }
}

/// Syncs tx ring `ring` by the short way for several slots. Apart, so that the one for one has the registers to itself.
#[inline(never)]
fn send_several(host: &dyn Host, owner: Owner, ring: &Selected<Scratch>) -> bool {
    match ring.several() {
        Some(Several::Switch) => vale::send_few::<true>(host, owner, ring),
        Some(Several::Pipe(other)) => pipe::send_few::<true>(host, owner, ring, other).is_some(),
        None => false,
    }
}

/// The same of an rx ring.
#[inline(never)]
fn receive_several(
    host: &dyn Host,
    to: (&Tuning, &RegionMap),
    owner: Owner,
    ring: &Selected<Regions>,
) -> Option<bool> {
    match ring.several()? {
        Several::Switch => rx::receive_few::<true>(host, to, owner, ring),
        Several::Pipe(other) => rx::receive_few_of_pipe::<true>(host, to, owner, ring, other),
    }
}

/// A sync of one ring of a descriptor: of a tx ring with a [`Scratch`], of an rx ring with the regions
/// of its monitors as work area. Handed on by value, and the guard of its lock apart, so that on the usual way it is
/// nowhere but in registers.
pub(super) struct Sync<'a, Work> {
    host: &'a dyn Host,
    attachment: &'a Attachment,
    of: &'a Selected<Work>,
    pub(super) ring: Synced<'a>,
}

impl<Work> Clone for Sync<'_, Work> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Work> Copy for Sync<'_, Work> {}

/// Why a tx ring did not send.
pub(super) enum Unsent {
    /// monitors do not send
    Monitor,
    /// its work area is another thread's
    Busy,
}

impl<'a, Work> Sync<'a, Work> {
    /// The other end of a pipe, if nothing about it has to be looked at.
    #[inline(always)]
    fn plain_peer(self, guard: &mut LockGuard<'_>) -> Option<Peer<'a>> {
        let ring = self.ring;
        let other = self.of.other(ring.kring.pipe.load(Relaxed))?;
        let (known, held) = (self.of.known.get(guard)?, other.held.as_ref());
        let view = known.peer(ring.owner, &other.kring, held, ring.region, ring.n)?;
        Some(Peer::plain(&other.kring, view))
    }
}

impl Sync<'_, Scratch> {
    /// Sends. False if the program's indices were wrong.
    #[inline(always)]
    pub(super) fn tx(self, guard: &mut LockGuard<'_>) -> bool {
        let Ok(head) = self.ring.tx_prologue() else {
            self.refuse();
            return false;
        };
        self.of.note(&self.ring, head);
        let sent = match self.ring.way {
            Way::Vale => match self.of.work.get(guard) {
                Some(work) => {
                    let hwtail = vale::txsync(self.host, &self.ring, head, work);
                    if work.is_mixed() {
                        self.of.note_mixed();
                    }
                    Ok(hwtail)
                }
                None => Err(Unsent::Busy),
            },
            Way::Pipe => match self.plain_peer(guard) {
                Some(peer) => Ok(pipe::txsync(
                    self.host,
                    &self.ring,
                    head,
                    || Some(peer),
                    || None,
                )),
                None => self.send_anyhow(guard, head),
            },
            Way::Other => self.send_anyhow(guard, head),
        };
        match sent {
            Ok(hwtail) => {
                self.ring.finalize(hwtail);
                true
            }
            Err(Unsent::Monitor) => false,
            Err(Unsent::Busy) => true,
        }
    }

    /// Sends what the last sync had no room for, and shows the program what has become free since.
    pub(super) fn tx_again(self, guard: &mut LockGuard<'_>) {
        let head = self.ring.kring.rhead.load(Relaxed);
        if head < self.ring.n
            && let Ok(hwtail) = self.send(guard, head)
        {
            self.ring.finalize(hwtail);
        }
    }

    /// [`Sync::send`], apart: it is not for rings that are in a hurry.
    #[inline(never)]
    fn send_anyhow(self, guard: &mut LockGuard<'_>, head: u32) -> Result<u32, Unsent> {
        self.send(guard, head)
    }

    /// Sends what lies before `head`, and shows it to the ring's monitors. Returns hwtail.
    #[inline(always)]
    pub(super) fn send(self, guard: &mut LockGuard<'_>, head: u32) -> Result<u32, Unsent> {
        let kring = self.ring.kring;
        if kring.is_monitored() || kring.is_traced() {
            return self.send_watched(guard, head);
        }
        self.pass_on(guard, head)
    }

    /// head or cur make no sense.
    #[cold]
    #[inline(never)]
    pub(super) fn refuse(self) {
        self.ring.reinit();
        if let Some(tracing) = trace::of(self.host, self.ring.kring) {
            trace::refused(self.host, &self.ring, &tracing);
        }
    }

    #[cold]
    #[inline(never)]
    fn send_watched(self, guard: &mut LockGuard<'_>, head: u32) -> Result<u32, Unsent> {
        let (binding, kring) = (self.attachment.binding(), self.ring.kring);
        let is_sender = !binding.is_null && !binding.is_monitor;
        let tracing = trace::of(self.host, kring).filter(|_| is_sender);
        if let Some(tracing) = tracing
            && let Some(work) = self.of.work.get(guard)
        {
            return Ok(traced(self.host, &self.ring, head, work, &tracing));
        }
        let from = kring.hwcur.load(Relaxed);
        let hwtail = self.send_monitored(guard, head)?;
        if is_sender && kring.is_traced() {
            trace::unrecorded(&self.ring, from, kring.hwcur.load(Relaxed));
        }
        Ok(hwtail)
    }

    fn send_monitored(self, guard: &mut LockGuard<'_>, head: u32) -> Result<u32, Unsent> {
        if !self.ring.kring.is_monitored() {
            return self.pass_on(guard, head);
        }
        let Some(work) = self.of.work.get(guard) else {
            return Err(Unsent::Busy);
        };
        let freed = monitor::sending(self.host, &self.ring, head, &mut work.monitors);
        let hwtail = self.pass_on(guard, head)?;
        monitor::sent(self.host, &self.ring, freed, hwtail);
        Ok(hwtail)
    }

    /// What is behind the ring takes what lies before `head`. Returns hwtail.
    #[inline(always)]
    fn pass_on(self, guard: &mut LockGuard<'_>, head: u32) -> Result<u32, Unsent> {
        let Self { host, ring, of, .. } = self;
        let (binding, pipe) = (self.attachment.binding(), ring.kring.pipe.load(Relaxed));
        if binding.is_null {
            return Ok(ring.kring.hwtail.load(Relaxed));
        }
        if binding.is_monitor {
            return Err(Unsent::Monitor);
        }
        // What is not done here gets a copy of its own.
        if pipe != 0 {
            let ring = &{ ring };
            let peer = || Peer::find(host, ring, of.peer(pipe));
            return Ok(pipe::txsync(host, ring, head, peer, move || {
                Some(&mut of.work.get(guard)?.monitors)
            }));
        }
        match of.work.get(guard) {
            Some(work) if binding.is_nic => Ok(nic::txsync(host, &{ ring }, head, work)),
            Some(work) => Ok(vale::txsync(host, &{ ring }, head, work)),
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
