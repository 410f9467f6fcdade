//! The indices of a ring that senders fill and a receiver empties: whose which slot is.
//!
//! ```text
//!   receiver's: hwcur..hwtail          senders': hwtail..hwcur, but for one slot
//! ```
//!
//! Senders are one at a time (`q_lock`), and so are syncs of the receiver (`busy`). Slots pass from
//! one to the other with one store, so whoever dies in the middle has passed nothing.

use crate::atomics::{AtomicU32, Ordering};

/// The four indices of a ring.
#[derive(Clone, Copy)]
pub struct Indices<'a> {
    /// first slot that the receiver has not given back; it alone writes this
    pub hwcur: &'a AtomicU32,
    /// first slot that is not filled; the sender that holds `q_lock` writes this
    pub hwtail: &'a AtomicU32,
    /// the senders' own copy of `hwtail`
    pub filled: &'a AtomicU32,
    /// `hwcur` as a sender saw it last
    pub hwcur_seen: &'a AtomicU32,
}

/// Free slots: where they begin and how many they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// the first
    pub at: u32,
    /// how many
    pub free: u32,
}

impl Indices<'_> {
    /// Room for `wanted` slots if there is so much, else what there is, on a ring of `n` slots, of
    /// which one always stays empty. `None` if the indices make no sense. The caller holds `q_lock`.
    #[inline(always)]
    pub fn room(self, n: u32, wanted: u32) -> Option<Room> {
        let at = self.filled.load(Ordering::Relaxed);
        // What some sender saw of hwcur is still true: slots that were free then, and were not
        // filled since, are free. The line of hwcur itself is the receiver's, and busy.
        if let Some(room) = Room::between(at, self.hwcur_seen.load(Ordering::Relaxed), n)
            && room.free >= wanted
        {
            return Some(room);
        }
        // SYNC POINT: Acquire pairs with the Release in `give_back`: the program's last accesses to
        // the slots it gives back come before ours. Other senders that go by hwcur_seen have that
        // through `Kring::q_lock`.
        let hwcur = self.hwcur.load(Ordering::Acquire);
        self.hwcur_seen.store(hwcur, Ordering::Relaxed);
        Room::between(at, hwcur, n)
    }

    /// Shows the receiver the slots before `end`. The caller holds `q_lock`.
    #[inline(always)]
    pub fn publish(self, end: u32) {
        self.filled.store(end, Ordering::Relaxed);
        // SYNC POINT: Release pairs with the Acquire in `arrived`: slots and payload are visible
        // before the index that shows them.
        self.hwtail.store(end, Ordering::Release);
    }

    /// What has arrived: the slots from hwcur to this one. The caller holds `busy`.
    #[inline(always)]
    pub fn arrived(self) -> u32 {
        // SYNC POINT: Acquire pairs with the Release in `publish`.
        self.hwtail.load(Ordering::Acquire)
    }

    /// Gives the senders the slots before `head`. The caller holds `busy`.
    #[inline(always)]
    pub fn give_back(self, head: u32) {
        // SYNC POINT: Release pairs with the Acquire in `room`.
        self.hwcur.store(head, Ordering::Release);
    }
}

impl Room {
    /// From slot `at` to the one before `hwcur`.
    #[inline(always)]
    fn between(at: u32, hwcur: u32, n: u32) -> Option<Self> {
        if at >= n || hwcur >= n {
            return None;
        }
        let free = n - 1 - distance(hwcur, at, n);
        Some(Self { at, free })
    }
}

/// How many slots `from..to` is on a ring of `n` slots; both are slots of it.
#[inline(always)]
pub fn distance(from: u32, to: u32, n: u32) -> u32 {
    if to >= from { to - from } else { to + n - from }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_slot_stays_empty() {
        for n in 2..6 {
            for at in 0..n {
                for hwcur in 0..n {
                    let busy = (0..n).find(|i| (hwcur + i) % n == at).unwrap();
                    let room = Room::between(at, hwcur, n).unwrap();
                    assert_eq!(
                        (room.at, room.free + busy),
                        (at, n - 1),
                        "{at} {hwcur} of {n}"
                    );
                }
            }
            assert_eq!(
                (Room::between(n, 0, n), Room::between(0, n, n)),
                (None, None)
            );
        }
    }

    #[test]
    fn hwcur_is_asked_when_what_was_seen_of_it_leaves_too_little_room() {
        let [hwcur, hwtail, filled, hwcur_seen] = [5, 7, 7, 0].map(AtomicU32::new);
        let ring = Indices {
            hwcur: &hwcur,
            hwtail: &hwtail,
            filled: &filled,
            hwcur_seen: &hwcur_seen,
        };
        assert_eq!(ring.room(8, 0), Some(Room { at: 7, free: 0 }));
        assert_eq!(ring.room(8, 1), Some(Room { at: 7, free: 5 }));
        assert_eq!(hwcur_seen.load(Ordering::Relaxed), 5);
        ring.publish(2);
        assert_eq!((ring.arrived(), filled.load(Ordering::Relaxed)), (2, 2));
        ring.give_back(2);
        assert_eq!(ring.room(8, 7), Some(Room { at: 2, free: 7 }));
    }
}
