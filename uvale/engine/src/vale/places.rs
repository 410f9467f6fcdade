//! Where addresses are in a switch's table, so that the packets of known flows need no hash.

use std::collections::TryReserveError;

use crate::fdb;

/// Flows that are remembered; a power of two.
const FLOWS: usize = 256;

/// Not the first twelve bytes of any packet, which overlap.
pub(super) const NO_WORDS: (u64, u64) = (0, u64::MAX);

/// Where the addresses of a packet are in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) destination: u16,
    pub(super) source: u16,
}

impl Place {
    /// Of packets that begin with `words`.
    #[inline(always)]
    fn of(words: (u64, u64)) -> Self {
        let (destination, source) = fdb::addresses(words.0, words.1);
        // The table has fewer places than there are numbers of 16 bits.
        let place = |mac| fdb::hash(mac) as u16;
        Self {
            destination: place(destination),
            source: place(source),
        }
    }
}

/// Those of the last flows. What is here never becomes wrong: it follows from the addresses alone.
#[derive(Default)]
pub(super) struct Places(Vec<((u64, u64), Place)>);

impl Places {
    /// From now on places are remembered, if there is memory for it.
    #[cold]
    pub(super) fn remember(&mut self) -> Result<(), TryReserveError> {
        if self.0.is_empty() {
            self.0.try_reserve_exact(FLOWS)?;
            self.0.resize(FLOWS, (NO_WORDS, Place::of(NO_WORDS)));
        }
        Ok(())
    }

    /// Of packets that begin with `words`.
    #[inline(always)]
    pub(super) fn of(&mut self, words: (u64, u64)) -> Place {
        // All twelve bytes, of which the last ones of both addresses differ most.
        let mixed = (words.0 ^ words.1.rotate_left(24)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let Some(known) = self.0.get_mut((mixed >> 56) as usize % FLOWS) else {
            return Place::of(words);
        };
        if known.0 != words {
            *known = (words, Place::of(words));
        }
        debug_assert_eq!(known.1, Place::of(words));
        known.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_what_would_be_found() {
        let mut places = Places::default();
        for is_remembering in [false, true] {
            if is_remembering {
                places.remember().unwrap();
            }
            for round in 0..3 {
                for flow in 0..4 * FLOWS as u64 {
                    let (to, from) = (0x0200_0000_0002 | flow << 32, 0x0200_0000_0102 | flow << 24);
                    let (lo, hi) = (to | from << 48, from << 16 | to >> 32);
                    assert_eq!(fdb::addresses(lo, hi), (to, from));
                    let expected = Place {
                        destination: fdb::hash(to) as u16,
                        source: fdb::hash(from) as u16,
                    };
                    assert_eq!(places.of((lo, hi)), expected, "{round} {flow}");
                }
            }
        }
        let none = places.of(NO_WORDS);
        assert_eq!(none, Place::of(NO_WORDS));
    }
}
