//! The gate that decides when wake-up tokens may be thrown away.

use crate::device::File;
use crate::ground::guarded::guarded;
use crate::ground::raw;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};
use std::os::fd::RawFd;

const DIRTY: u64 = 1 << 63;
const DRAINING: u64 = 1 << 62;
const COUNT: u64 = DRAINING - 1;
/// How often a sleeper that waits for the others to wake looks again before it goes on without draining
/// (the last rounds last 50 microseconds each).
const PATIENCE: u32 = 500;

/// Who sleeps on a description, and whether a token was seen on it.
///
/// A token wakes everybody armed on the descriptor. It may be thrown away only when all of them
/// have seen it: somebody whose blocking call looks again after the token went would sleep on. So
///
/// | state | enter | leave | prohibited |
/// |---|---|---|---|
/// | clean | count+1, no system call | count-1, dirty if a token was seen | drain |
/// | dirty, count > 0 | wait: all sleepers are being woken | count-1 | drain |
/// | dirty, count = 0 | drain, then clean with count 1 | - | - |
pub struct SleepGate {
    state: AtomicU64,
    drainer: AtomicUsize,
}

impl SleepGate {
    pub const fn new() -> Self {
        Self {
            state: AtomicU64::new(0),
            drainer: AtomicUsize::new(0),
        }
    }

    /// A thread is going to arm. False: it runs in a signal handler that interrupted this thread's own
    /// drain, and is not counted.
    pub fn enter(&self, file: &dyn File, fd: RawFd) -> bool {
        let mut round = 0;
        loop {
            let s = self.state.load(Acquire);
            if s & DRAINING != 0 {
                if self.drainer.load(Relaxed) == raw::thread_pointer() {
                    return false;
                }
            } else if s == DIRTY || (s & DIRTY != 0 && round > PATIENCE) {
                // Whoever has not left by now has jumped out of a signal handler and never will.
                if self.drain(file, fd, s, 1) {
                    return true;
                }
                continue;
            } else if s & DIRTY == 0
                && self
                    .state
                    .compare_exchange(s, s + 1, AcqRel, Relaxed)
                    .is_ok()
            {
                return true;
            }
            round += 1;
            raw::relax(round);
        }
    }

    /// The thread is awake again; `token`: it saw the descriptor readable.
    pub fn leave(&self, token: bool) {
        let dirty = if token { DIRTY } else { 0 };
        // A fork's child may leave what its parent entered: `reset` has forgotten that.
        let _ = self.state.fetch_update(AcqRel, Acquire, |s| {
            Some((if s & COUNT == 0 { s } else { s - 1 }) | dirty)
        });
    }

    /// A token was seen by a call that did not sleep: throw it away unless somebody is armed, who will
    /// see it too and leave the gate dirty.
    pub fn clean(&self, file: &dyn File, fd: RawFd) {
        let s = self.state.load(Acquire);
        if s & (COUNT | DRAINING) == 0 {
            self.drain(file, fd, s, 0);
        }
    }

    /// `from` (nobody armed) -> draining -> clean with `count` armed. False: it is no longer `from`.
    fn drain(&self, file: &dyn File, fd: RawFd, from: u64, count: u64) -> bool {
        if self
            .state
            .compare_exchange(from, DRAINING, AcqRel, Relaxed)
            .is_err()
        {
            return false;
        }
        self.drainer.store(raw::thread_pointer(), Relaxed);
        guarded((), || file.drain(fd));
        self.drainer.store(0, Relaxed);
        // SYNC POINT: Release pairs with the Acquire load in `enter`: who arms after this sees the drain done.
        let _ = self
            .state
            .fetch_update(AcqRel, Acquire, |s| Some((s & !DRAINING) + count));
        true
    }

    /// In a fork's child: the sleepers stayed in the parent.
    pub fn reset(&self) {
        self.state.store(DIRTY, Release);
        self.drainer.store(0, Release);
    }
}
