//! Where the addresses of flows are in a switch's table, so that their packets need no hash.

use std::collections::TryReserveError;

use crate::fdb;

/// Flows that are remembered at most: so many that few of a hundred share a place here.
const FLOWS: usize = 4096;

/// Not the first twelve bytes of any packet that was read at once: the words overlap.
pub(super) const NO_WORDS: (u64, u64) = (0, u64::MAX);

/// Where the addresses of a packet are in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) destination: u16,
    pub(super) source: u16,
}

impl Place {
    /// Of packets that begin with `words`.
    pub(super) fn of(words: (u64, u64)) -> Self {
        let (destination, source) = fdb::addresses(words.0, words.1);
        // The table has fewer places than there are numbers of 16 bits.
        let place = |mac| fdb::hash(mac) as u16;
        Self {
            destination: place(destination),
            source: place(source),
        }
    }
}

/// Those of the last flows. They are guesses: another flow may have left one. An entry of the table has its address in
/// it and lies where that belongs, so who finds the entries that he looks for has guessed right.
#[derive(Default)]
pub(super) struct Places(Option<Box<[Place; FLOWS]>>);

impl Places {
    /// From now on places are remembered, if there is memory for it.
    #[inline]
    pub(super) fn remember(&mut self) -> Result<(), TryReserveError> {
        if self.0.is_none() {
            let mut places = Vec::new();
            places.try_reserve_exact(FLOWS)?;
            places.resize(FLOWS, Place::default());
            self.0 = places.into_boxed_slice().try_into().ok();
        }
        Ok(())
    }

    /// Those of packets that begin with `words`, probably.
    #[inline(always)]
    pub(super) fn guess(&self, words: (u64, u64)) -> Option<Place> {
        Some(self.0.as_ref()?[index(words)])
    }

    /// Those of packets that begin with `words`, by the hashes of their addresses; noted, if places are remembered.
    pub(super) fn work_out(&mut self, words: (u64, u64)) -> Place {
        let place = Place::of(words);
        if let Some(places) = &mut self.0 {
            places[index(words)] = place;
        }
        place
    }
}

/// Where a flow is remembered.
#[inline(always)]
fn index((lo, hi): (u64, u64)) -> usize {
    const { assert!(FLOWS.is_power_of_two()) };
    const SHIFT: u32 = u64::BITS - FLOWS.trailing_zeros();
    // All twelve bytes, of which the last ones of both addresses differ most.
    let mixed = (lo ^ hi.rotate_left(24)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> SHIFT) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_of_64_flows_are_guessed_right() {
        let words = |n: u64| {
            let (to, from) = (0x0200_0000_0002 | n << 32, 0x0200_0000_0102 | n << 24);
            let (lo, hi) = (to | from << 48, from << 16 | to >> 32);
            assert_eq!(fdb::addresses(lo, hi), (to, from));
            (lo, hi)
        };
        let mut places = Places::default();
        places.work_out(words(0));
        assert_eq!(places.guess(words(0)), None, "nothing is remembered yet");
        places.remember().unwrap();
        (0..64).for_each(|n| assert_eq!(places.work_out(words(n)), Place::of(words(n))));
        let is_right = |n: &u64| places.guess(words(*n)) == Some(Place::of(words(*n)));
        let right = (0..64).filter(is_right).count();
        assert!(right >= 60, "{right}");
    }
}
