//! A ring of a descriptor: what syncs of it need every time.

use core::sync::atomic::AtomicU8;
use core::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::Arc;

use crate::synced::{FEW, Known, Synced, Way};
use crate::{Host, RegionMap};
use rustix::io::Errno;
use uvale_shared::ctl::Kring;
use uvale_shared::held::Held;
use uvale_shared::lock::Guarded;
use uvale_shared::shm::{HeldRing, RingPlace};

/// A ring that a descriptor has selected, and what syncs of it need every time.
pub(crate) struct Selected<Work> {
    pub(crate) kring: Held<Kring>,
    /// its index in control memory
    pub(crate) index: u32,
    /// belongs to whoever holds `busy`: of a tx ring a [`Scratch`], of an rx ring the regions of its monitors
    pub(crate) work: Guarded<Work>,
    /// belongs to whoever holds `busy`, too
    pub(crate) known: Guarded<Known>,
    /// of a pipe: the other end's ring, and its index plus one
    peer: Option<(u32, Held<Kring>)>,
    /// where it was at REGISTER, if the short ways can do with it: its buffers are made of whole lines
    held: Option<HeldRing>,
    /// which short way would have done for the last sync, and will probably do for the next one: one of those below
    short: AtomicU8,
}

/// No short way.
const LONG: u8 = 0;
const BY_SWITCH: u8 = 1;
const BY_PIPE: u8 = 2;
const FEW_BY_SWITCH: u8 = 3;
const FEW_BY_PIPE: u8 = 4;

/// A short way that is worth a try.
pub(crate) enum Short<'a> {
    Switch,
    /// to the other end of a pipe
    Pipe(&'a Kring),
    /// the same two for several slots
    FewBySwitch,
    FewByPipe(&'a Kring),
}

impl<Work> Selected<Work> {
    /// Ring `ring` of those that begin with `base`. `ENXIO` if there is no such ring.
    pub(super) fn new(
        host: &dyn Host,
        region: &Arc<RegionMap>,
        base: u32,
        ring: u32,
        work: Work,
    ) -> Result<Self, Errno> {
        let index = base.checked_add(ring).ok_or(Errno::NXIO)?;
        let kring = Held::new(host.ctl(), |ctl| ctl.kring(index)).ok_or(Errno::NXIO)?;
        let pipe = kring.pipe.load(Acquire);
        let peer = pipe.checked_sub(1);
        let peer = peer.and_then(|i| Held::new(host.ctl(), |ctl| ctl.kring(i)));
        let (ofs, n) = (kring.ring_ofs.load(Relaxed), kring.num_slots.load(Relaxed));
        let place = RingPlace::new(&region.map, ofs, n);
        Ok(Self {
            held: place.and_then(|place| HeldRing::new(region, place)),
            work: Guarded::new(&kring.busy, work),
            known: Guarded::new(&kring.busy, Known::default()),
            peer: peer.map(|kring| (pipe, kring)),
            kring,
            index,
            short: AtomicU8::new(LONG),
        })
    }

    /// A sync begins of slots up to `head`.
    #[inline(always)]
    pub(crate) fn note(&self, ring: &Synced<'_>, head: u32) {
        let from = ring.kring.hwcur.load(Relaxed);
        let slots = match from.max(head) < ring.n {
            true => ring.ring.distance(from, head) as usize,
            false => usize::MAX,
        };
        let short = match (ring.way, slots) {
            (Way::Vale, 0..=1) => BY_SWITCH,
            (Way::Pipe, 0..=1) => BY_PIPE,
            // A sender into a switch has none for several packets.
            (Way::Vale, ..=FEW) if ring.kring.dir.load(Relaxed) == 0 => FEW_BY_SWITCH,
            (Way::Pipe, ..=FEW) => FEW_BY_PIPE,
            _ => LONG,
        };
        self.short.store(short, Relaxed);
    }

    /// The short way that is worth a try, if there is one.
    #[inline(always)]
    pub(crate) fn short(&self) -> Option<Short<'_>> {
        let peer = || Some(&*self.peer.as_ref()?.1);
        match self.short.load(Relaxed) {
            BY_SWITCH => Some(Short::Switch),
            BY_PIPE => peer().map(Short::Pipe),
            FEW_BY_SWITCH => Some(Short::FewBySwitch),
            FEW_BY_PIPE => peer().map(Short::FewByPipe),
            _ => None,
        }
    }

    /// Where it was at REGISTER, if that is of use.
    #[inline(always)]
    pub(crate) fn held(&self) -> Option<&HeldRing> {
        self.held.as_ref()
    }

    /// The other end of a pipe, if `pipe` is what the kring says of it.
    #[inline(always)]
    pub(crate) fn peer(&self, pipe: u32) -> Option<&Kring> {
        let (known, kring) = self.peer.as_ref()?;
        (*known == pipe).then_some(kring)
    }
}
