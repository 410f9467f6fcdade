//! What a loop knows of its rings, and whose turn it is.

use core::cell::Cell;

use super::pace::Pace;

/// A ring of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// its number in the guest's arrays
    pub number: usize,
    /// how many slots it has
    pub slots: u32,
    /// it is one by which the guest receives
    pub is_rx: bool,
}

/// What a loop remembers of an entry. The guest cannot write it.
pub struct Known {
    /// which ring it is
    pub entry: Entry,
    /// the head that the last pass took
    pub taken: Cell<u32>,
    /// the last pass came to nothing: head and cur cannot be, or the ring could not be worked on
    pub has_failed: Cell<bool>,
    /// hwcur and hwtail as last written
    pub shown: Cell<Option<(u32, u32)>>,
    /// kern_need_kick as last written
    pub asks: Cell<Option<bool>>,
    /// how the guest moves its head
    pub pace: Pace,
}

impl Known {
    /// Nothing is known yet.
    pub fn new(entry: &Entry) -> Self {
        Self {
            entry: *entry,
            taken: Cell::default(),
            has_failed: Cell::default(),
            shown: Cell::default(),
            asks: Cell::default(),
            pace: Pace::default(),
        }
    }

    /// Does the loop have to know at once what the guest does next? Not as long as it is the port that has to move:
    /// a tx ring without room gets nothing new, and slots that are given back count when an rx ring has no others.
    pub fn is_guest_s_turn(&self) -> bool {
        let (head, (_, hwtail)) = (self.taken.get(), self.shown.get().unwrap_or_default());
        match self.entry.is_rx {
            _ if self.has_failed.get() => true,
            false => head != hwtail,
            true => self.distance(hwtail, head) == 1,
        }
    }

    /// Slots from `from` to `to`; 0 if one of them is none of the ring.
    pub fn distance(&self, from: u32, to: u32) -> u32 {
        let n = self.entry.slots;
        match (from < n && to < n, to.checked_sub(from)) {
            (false, _) => 0,
            (true, Some(forward)) => forward,
            (true, None) => n - (from - to),
        }
    }

    /// Has the guest received something that it has not given back?
    pub fn is_held(&self) -> bool {
        let shown = self.shown.get();
        self.entry.is_rx && shown.is_some_and(|(_, hwtail)| hwtail != self.taken.get())
    }
}
