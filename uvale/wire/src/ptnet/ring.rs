//! A ring of the host's port: netmap's protocol over the CSB, from the guest's side.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicU32, fence};

use nm_abi::csb_words::{APPL_NEED_KICK, CUR, HEAD, HWCUR, HWTAIL, KERN_NEED_KICK, SYNC_FLAGS};
use rustix::io::Errno;
use uvale_shared::shm::{Mapping, RegionMap, RingView, Slots};

/// Words of an entry of the CSB.
pub use nm_abi::csb_words::ENTRY as CSB_WORDS;

/// Bytes of a page of the CSB.
pub const PAGE: usize = 4096;
/// Pages of the CSB: what the guest writes, what the host writes.
pub const PAGES: usize = 2;
/// Rings that a page of the CSB has room for.
pub const MOST_RINGS: u32 = (PAGE / (CSB_WORDS * 4)) as u32;

/// Wakes the host's loop for one ring.
pub trait Kick {
    /// Does it.
    ///
    /// # Errors
    /// What the system says.
    fn kick(&self) -> Result<(), Errno>;
}

/// The entries of a ring in the CSB.
#[derive(Clone, Copy)]
pub struct Csb<'a> {
    /// `nm_csb_atok`: written by the guest.
    pub to_host: &'a [AtomicU32; CSB_WORDS],
    /// `nm_csb_ktoa`: written by the host.
    pub to_guest: &'a [AtomicU32; CSB_WORDS],
}

impl<'a> Csb<'a> {
    /// The entries of ring `ring`, rx rings being behind tx rings, in the two pages of a CSB; `None` if they have no
    /// room for it.
    #[must_use]
    pub fn of(pages: &'a Mapping, ring: u32) -> Option<Self> {
        if ring >= MOST_RINGS {
            return None;
        }
        let entry = |page: usize| pages.at(page * PAGE + ring as usize * CSB_WORDS * 4);
        Some(Self {
            to_host: entry(0)?,
            to_guest: entry(1)?,
        })
    }

    /// As it is to be before the host's loop starts: the host is to be kicked. The guest is not: nobody here could
    /// take an interrupt.
    pub fn reset(&self) {
        for word in self.to_host.iter().chain(self.to_guest) {
            word.store(0, Relaxed);
        }
        self.to_guest[KERN_NEED_KICK].store(1, Relaxed);
    }
}

/// A ring, and what the guest knows of it.
pub struct Ring<'a> {
    region: &'a RegionMap,
    view: RingView<'a>,
    csb: Csb<'a>,
    kick: &'a dyn Kick,
    head: u32,
    hwcur: u32,
    tail: u32,
    kicks: u64,
}

/// What the host does with a ring: it has said something that no ring has, or it cannot be reached.
type Told<T> = Result<T, String>;

impl<'a> Ring<'a> {
    /// A ring of which the host's loop has written the indices into `csb`; `kick` wakes that loop.
    ///
    /// # Errors
    /// A sentence, if the indices are none of this ring.
    pub fn new(
        region: &'a RegionMap,
        view: RingView<'a>,
        csb: Csb<'a>,
        kick: &'a dyn Kick,
    ) -> Told<Self> {
        let mut ring = Self {
            region,
            view,
            csb,
            kick,
            head: 0,
            hwcur: 0,
            tail: 0,
            kicks: 0,
        };
        ring.head = ring.index("head", ring.csb.to_host[HEAD].load(Acquire))?;
        ring.glance()?;
        Ok(ring)
    }

    /// The slots that are the guest's: free ones of a tx ring, filled ones of an rx ring.
    #[must_use]
    pub fn slots(&self) -> Slots<'a> {
        let slots = Slots::new(self.region, self.view, self.head, self.tail);
        slots.expect("indices are checked when they are read")
    }

    /// How many slots are the guest's.
    #[must_use]
    pub fn space(&self) -> u32 {
        self.view.distance(self.head, self.tail)
    }

    /// Slots of the ring.
    #[must_use]
    pub fn num_slots(&self) -> u32 {
        self.view.num_slots()
    }

    /// Kicks so far.
    #[must_use]
    pub fn kicks(&self) -> u64 {
        self.kicks
    }

    /// Has the host worked on all that it was given?
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.hwcur == self.head
    }

    /// Gives the host the slots before `head`, and looks what it gives back. The host is kicked if it has said that it
    /// sleeps and there is something that it should know: slots that it has not worked on, or that the guest has none
    /// left.
    ///
    /// # Errors
    /// A sentence, if the host writes nonsense or cannot be kicked.
    pub fn sync(&mut self, head: u32) -> Told<()> {
        self.head = head;
        let to_host = self.csb.to_host;
        to_host[APPL_NEED_KICK].store(0, Relaxed);
        // The host reads head first, so that it never sees a head that is ahead of cur. What is in the slots is
        // written before both.
        to_host[CUR].store(head, Release);
        to_host[HEAD].store(head, Release);
        // SYNC POINT: the host announces its sleep, fences and looks at head once more. Either it sees ours, or we see
        // the announcement.
        fence(SeqCst);
        self.glance()?;
        let host_sleeps = self.csb.to_guest[KERN_NEED_KICK].load(Relaxed) != 0;
        if host_sleeps && (!self.is_done() || self.space() == 0) {
            to_host[SYNC_FLAGS].store(0, Relaxed);
            let kicked = self.kick.kick();
            kicked.map_err(|e| format!("the host cannot be kicked: {e}"))?;
            self.kicks += 1;
        }
        Ok(())
    }

    /// Looks what the host has given back, without telling it anything.
    ///
    /// # Errors
    /// A sentence, if the host writes nonsense.
    pub fn glance(&mut self) -> Told<()> {
        let to_guest = self.csb.to_guest;
        // The host writes hwcur before hwtail, and the slots before both.
        let tail = to_guest[HWTAIL].load(Acquire);
        let hwcur = to_guest[HWCUR].load(Acquire);
        self.tail = self.index("hwtail", tail)?;
        self.hwcur = self.index("hwcur", hwcur)?;
        Ok(())
    }

    fn index(&self, what: &str, value: u32) -> Told<u32> {
        match value < self.view.num_slots() {
            true => Ok(value),
            false => Err(format!(
                "the host's {what} is {value}, and the ring has {} slots",
                self.view.num_slots()
            )),
        }
    }
}
