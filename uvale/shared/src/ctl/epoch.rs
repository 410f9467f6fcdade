//! The epoch of a ring: what a sync has found out about it holds until the daemon changes something.

use super::Kring;
use crate::atomics::Ordering;

impl Kring {
    /// The daemon, which calls this, has changed the ring's configuration: a sync that finds the epoch it knows goes by
    /// what it has found out in that epoch.
    pub fn changed(&self) {
        // SYNC POINT: Release pairs with the Acquire in `now`: who finds the new epoch finds what has changed.
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Puts the ring into service, or takes it out.
    pub fn set_mode(&self, mode: u32) {
        // SYNC POINT: Release pairs with the Acquire in `Lease::take`, `known::place` and `lookup::member_ring`:
        // whoever sees RING_ON sees the ring's place and size.
        self.mode.store(mode, Ordering::Release);
        self.changed();
    }

    /// The epoch. To be read before what is to be known of it.
    #[inline(always)]
    pub fn now(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// In a build with debug assertions: is what somebody knows of `epoch` so? If not, the daemon is about to end it.
    ///
    /// # Panics
    /// If it does not: something about the ring was changed without [`Kring::changed`].
    #[inline(always)]
    pub fn check(&self, epoch: u32, is_so: impl Fn(&Self) -> bool) {
        #[cfg(all(debug_assertions, not(loom)))]
        if !is_so(self) {
            let begin = std::time::Instant::now();
            while self.now() == epoch {
                assert!(
                    begin.elapsed().as_secs() < 10,
                    "a change of a ring that its epoch does not tell"
                );
                std::thread::yield_now();
            }
        }
        #[cfg(any(not(debug_assertions), loom))]
        let _ = (epoch, is_so);
    }
}
