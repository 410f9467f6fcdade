//! What a sync goes by that the daemon alone changes, and rarely: found out once in each epoch of the ring.

use core::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::RegionMap;
use crate::offsets::Offsets;
use uvale_shared::binding::Binding;
use uvale_shared::ctl::{Kring, RING_ON};
use uvale_shared::lock::Owner;
use uvale_shared::shm::{HeldRing, RingPlace, RingView};

/// What is behind a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// a switch, and nobody looks on
    Vale,
    /// another end of a pipe, and nobody looks on
    Pipe,
    /// something else, or there are monitors or a trace: to be looked at every time
    #[default]
    Other,
}

/// What was found out about a ring of a descriptor.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// by which session, and in which epoch; 0: nothing. A fork may have copied it half written: the child is another
    /// session.
    when: u64,
    place: RingPlace,
    way: Way,
    /// `when`, if a switch is behind the ring, or another end of a pipe, and it lies where it did at REGISTER; else 0
    by_switch: u64,
    by_pipe: u64,
    /// of a pipe: the same of the ring at the other end
    peer_when: u64,
    peer_place: RingPlace,
    /// `peer_when`, if that ring lies where it did at REGISTER; else 0
    peer_held: u64,
}

/// By whom, and in which epoch of `kring`, something is found out. To be asked before: what changes meanwhile ends this
/// epoch.
#[inline(always)]
pub fn now(owner: Owner, kring: &Kring) -> u64 {
    owner.session_above(kring.now())
}

impl Known {
    /// Where the ring is, and what is behind it; `None` if it is not, or no longer, the one that `binding` names in
    /// `region`. `held`: where it was at REGISTER. The caller, who is `owner`, holds its lock.
    #[inline(always)]
    pub(super) fn of(
        &mut self,
        owner: Owner,
        kring: &Kring,
        region: &RegionMap,
        binding: &Binding,
        held: Option<&HeldRing>,
    ) -> Option<(RingPlace, Way, u64)> {
        let now = now(owner, kring);
        if self.when != now {
            self.find_out(now, kring, region, binding, held)?;
        }
        kring.check(now as u32, |kring| {
            place(kring, region) == Some(self.place) && way(kring, binding) == self.way
        });
        Some((self.place, self.way, now))
    }

    /// Is a switch behind the ring, which lies where it did at REGISTER?
    #[inline(always)]
    pub fn is_by_switch(&self, owner: Owner, kring: &Kring) -> bool {
        self.is_by(self.by_switch, owner, kring)
    }

    /// The same of a pipe.
    #[inline(always)]
    pub fn is_by_pipe(&self, owner: Owner, kring: &Kring) -> bool {
        self.is_by(self.by_pipe, owner, kring)
    }

    #[inline(always)]
    fn is_by(&self, when: u64, owner: Owner, kring: &Kring) -> bool {
        let now = now(owner, kring);
        let is_so = when == now;
        if is_so {
            kring.check(now as u32, |k| !k.is_monitored() && !k.is_traced());
        }
        is_so
    }

    /// Is the ring at the other end of the pipe, whose kring is `peer`, a plain one (see [`Known::peer`]) that lies
    /// where it did at REGISTER?
    #[inline(always)]
    pub fn is_peer_held(&self, owner: Owner, peer: &Kring) -> bool {
        let now = now(owner, peer);
        let is_so = self.peer_held == now;
        if is_so {
            peer.check(now as u32, |k| {
                !k.is_monitored() && Offsets::of(k).is_none()
            });
        }
        is_so
    }

    #[cold]
    #[inline(never)]
    fn find_out(
        &mut self,
        now: u64,
        kring: &Kring,
        region: &RegionMap,
        binding: &Binding,
        held: Option<&HeldRing>,
    ) -> Option<()> {
        *self = Self::default();
        if kring.generation.load(Relaxed) != binding.generation {
            return None;
        }
        self.place = place(kring, region)?;
        self.way = way(kring, binding);
        if held.is_some_and(|held| held.is_at(&region.map, self.place)) {
            match self.way {
                Way::Vale => self.by_switch = now,
                Way::Pipe => self.by_pipe = now,
                Way::Other => {}
            }
        }
        self.when = now;
        Some(())
    }

    /// The ring at the other end of a pipe, whose kring is `peer`: one of `n` slots in the same region, whose packets
    /// begin where their buffers do, and nobody looks on. `None`: to be looked at more closely. `held`: where it was at
    /// REGISTER.
    #[inline(always)]
    pub fn peer<'a>(
        &mut self,
        owner: Owner,
        peer: &Kring,
        held: Option<&HeldRing>,
        region: &'a RegionMap,
        n: u32,
    ) -> Option<RingView<'a>> {
        let now = now(owner, peer);
        if self.peer_when != now {
            self.find_peer(now, peer, held, region, n)?;
        }
        peer.check(now as u32, |peer| {
            plain_place(peer, region) == Some(self.peer_place)
        });
        RingView::at(&region.map, self.peer_place)
    }

    #[cold]
    #[inline(never)]
    fn find_peer(
        &mut self,
        now: u64,
        peer: &Kring,
        held: Option<&HeldRing>,
        region: &RegionMap,
        n: u32,
    ) -> Option<()> {
        (self.peer_when, self.peer_held) = (0, 0);
        self.peer_place = plain_place(peer, region).filter(|place| place.num_slots() == n)?;
        if held.is_some_and(|held| held.is_at(&region.map, self.peer_place)) {
            self.peer_held = now;
        }
        self.peer_when = now;
        Some(())
    }
}

/// Where the ring of `peer`, the other end of a pipe, is, if packets in it begin where their buffers do and nobody
/// looks on.
fn plain_place(peer: &Kring, region: &RegionMap) -> Option<RingPlace> {
    let is_plain = Offsets::of(peer).is_none() && !peer.is_monitored();
    if !is_plain || peer.region.load(Relaxed) != region.number {
        return None;
    }
    let (ofs, n) = (peer.ring_ofs.load(Relaxed), peer.num_slots.load(Relaxed));
    RingPlace::new(&region.map, ofs, n)
}

/// What is behind `kring`, a ring of the port that `binding` names.
fn way(kring: &Kring, binding: &Binding) -> Way {
    let is_watched = kring.is_monitored() || kring.is_traced();
    match kring.pipe.load(Relaxed) {
        _ if is_watched || binding.is_null || binding.is_monitor || binding.is_nic => Way::Other,
        0 => Way::Vale,
        _ => Way::Pipe,
    }
}

/// Where `kring` has its slots, if it is in service and lies in `region`. It is locked, or its epoch was noted before.
pub fn place(kring: &Kring, region: &RegionMap) -> Option<RingPlace> {
    // Looked at under the lock: the daemon takes a ring out of service by clearing the mode
    // and then passing through this lock once.
    // SYNC POINT: Acquire pairs with the Release in `epoch::set_mode`.
    if kring.mode.load(Acquire) != RING_ON || kring.region.load(Relaxed) != region.number {
        return None;
    }
    let (ofs, n) = (kring.ring_ofs.load(Relaxed), kring.num_slots.load(Relaxed));
    RingPlace::new(&region.map, ofs, n)
}
