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
    /// of a pipe
    other: Option<OtherEnd>,
    /// where it was at REGISTER, if the short ways can do with it: its buffers are made of whole lines
    held: Option<HeldRing>,
    /// which short way would have done for the last sync, and will probably do for the next one: one of those below
    short: AtomicU8,
}

/// The ring at the other end of a pipe.
pub(crate) struct OtherEnd {
    /// its index plus one, by which the ring of this end names it
    pipe: u32,
    pub(crate) kring: Held<Kring>,
    /// as [`Selected::held`]
    pub(crate) held: Option<HeldRing>,
}

impl OtherEnd {
    /// That of `kring`, if it is of a pipe.
    fn of(kring: &Kring, host: &dyn Host, region: &Arc<RegionMap>) -> Option<Self> {
        let pipe = kring.pipe.load(Acquire);
        let kring = Held::new(host.ctl(), |ctl| ctl.kring(pipe.checked_sub(1)?))?;
        let held = hold(&kring, region);
        Some(Self { pipe, kring, held })
    }
}

/// The ring of `kring`, if it is in `region`, whose buffers are made of whole lines.
fn hold(kring: &Kring, region: &Arc<RegionMap>) -> Option<HeldRing> {
    let (ofs, n) = (kring.ring_ofs.load(Relaxed), kring.num_slots.load(Relaxed));
    HeldRing::new(region, RingPlace::new(&region.map, ofs, n)?)
}

/// No short way.
const LONG: u8 = 0;
const BY_SWITCH: u8 = 1;
const BY_PIPE: u8 = 2;
const FEW_BY_SWITCH: u8 = 3;
const FEW_BY_PIPE: u8 = 4;

/// What is worth a try.
pub(crate) enum Short<'a> {
    /// the short way for one slot into a switch
    Switch,
    /// and to the other end of a pipe
    Pipe(&'a OtherEnd),
    /// that for several, if there is one
    Several,
}

/// The short way for several slots that is worth a try.
pub(crate) enum Several<'a> {
    Switch,
    Pipe(&'a OtherEnd),
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
        Ok(Self {
            held: hold(&kring, region),
            work: Guarded::new(&kring.busy, work),
            known: Guarded::new(&kring.busy, Known::default()),
            other: OtherEnd::of(&kring, host, region),
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
            (Way::Vale, ..=FEW) => FEW_BY_SWITCH,
            (Way::Pipe, ..=FEW) => FEW_BY_PIPE,
            _ => LONG,
        };
        self.short.store(short, Relaxed);
    }

    /// The packets that were sent are of several flows: the short way for one slot is for one flow.
    #[inline(always)]
    pub(crate) fn note_mixed(&self) {
        if self.short.load(Relaxed) == BY_SWITCH {
            self.short.store(FEW_BY_SWITCH, Relaxed);
        }
    }

    /// What is worth a try. Few answers, which cost two comparisons.
    #[inline(always)]
    pub(crate) fn short(&self) -> Short<'_> {
        match (self.short.load(Relaxed), &self.other) {
            (BY_SWITCH, _) => Short::Switch,
            (BY_PIPE, Some(other)) => Short::Pipe(other),
            _ => Short::Several,
        }
    }

    /// The short way for several slots that is worth a try, if there is one.
    #[inline(always)]
    pub(crate) fn several(&self) -> Option<Several<'_>> {
        match self.short.load(Relaxed) {
            FEW_BY_SWITCH => Some(Several::Switch),
            FEW_BY_PIPE => self.other.as_ref().map(Several::Pipe),
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
    pub(crate) fn other(&self, pipe: u32) -> Option<&OtherEnd> {
        self.other.as_ref().filter(|other| other.pipe == pipe)
    }

    /// Its kring.
    #[inline(always)]
    pub(crate) fn peer(&self, pipe: u32) -> Option<&Kring> {
        Some(&self.other(pipe)?.kring)
    }
}
