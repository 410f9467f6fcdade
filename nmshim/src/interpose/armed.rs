//! Going to sleep on devices, and waking up.

use super::slot::{Object, Ref};
use crate::ground::guarded::guarded;
use crate::ground::raw;
use crate::ground::section::Sleeper;
use libc::c_short;
use smallvec::SmallVec;
use std::os::fd::RawFd;

/// Devices that were told a thread is about to sleep; told the contrary when this goes out of scope.
pub struct Armed {
    list: SmallVec<[Armament; 4]>,
    sets: SmallVec<[Ref; 1]>,
    /// of the driver: where packets come from, and what tells when a daemon is gone
    sources: SmallVec<[RawFd; 4]>,
    liveness: SmallVec<[RawFd; 4]>,
    longest_nap: u64,
}

struct Armament {
    slot: Ref,
    fd: RawFd,
    /// The descriptor that stands for it in the blocking call: its own, or that of an epoll set around it.
    via: RawFd,
    events: c_short,
    counted: bool,
    token: bool,
}

impl Armed {
    pub fn new() -> Self {
        Self {
            list: SmallVec::new(),
            sets: SmallVec::new(),
            sources: SmallVec::new(),
            liveness: SmallVec::new(),
            longest_nap: u64::MAX,
        }
    }

    /// Arms what `slot` is: a device, or all devices of an epoll set. `via` stands for it in the blocking
    /// call; `None`: the call sleeps in the epoll set itself, so that its members stand for themselves.
    pub fn add(&mut self, slot: &Ref, fd: RawFd, events: c_short, via: Option<RawFd>) {
        match slot.object() {
            Object::Epoll(e) => {
                // Counted before the set is read: who changes it later sees us and wakes us up.
                e.sleeper(true);
                self.sets.push(slot.clone());
                for m in e.members(via).iter() {
                    self.add(&m.slot, m.fd, m.events, m.via);
                }
            }
            Object::Named(_) => {}
            Object::Device(d) => {
                // The same description twice in one wait counts once: it must not wait for itself.
                let again = self.list.iter().any(|a| a.slot == *slot);
                let counted = !again && d.gate.enter(&*d.file, fd);
                d.arm(fd, events);
                let via = via.unwrap_or(fd);
                self.list.push(Armament {
                    slot: slot.clone(),
                    fd,
                    via,
                    events,
                    counted,
                    token: false,
                });
                let nap = guarded(0, || d.file.longest_nap(events));
                self.longest_nap = self.longest_nap.min(nap);
                let sources = &mut self.sources;
                guarded((), || d.file.sources(events, &mut |fd| sources.push(fd)));
                let liveness = guarded(-1, || d.file.liveness());
                if liveness >= 0 && !self.liveness.contains(&liveness) {
                    self.liveness.push(liveness);
                }
            }
        }
    }

    /// The kernel said that `via` is readable. False: nothing of ours stands behind it.
    pub fn token_on(&mut self, via: RawFd) -> bool {
        let mut any = false;
        for a in self.list.iter_mut().filter(|a| a.via == via) {
            a.token = a.fd == via || raw::readable(a.fd);
            any = true;
        }
        any
    }

    /// How long the sleep may last, in nanoseconds.
    pub fn longest_nap(&self) -> u64 {
        self.longest_nap
    }

    /// The driver's descriptors that end the sleep when they become readable.
    pub fn sources(&self) -> &[RawFd] {
        &self.sources
    }

    /// Descriptors that tell when a daemon is gone.
    pub fn liveness(&self) -> &[RawFd] {
        &self.liveness
    }
}

impl Sleeper for Armed {
    /// The sleep is over, or never comes to an end: a handler that interrupted it may jump away.
    fn withdraw(&mut self) {
        self.sets
            .iter()
            .filter_map(Ref::epoll)
            .for_each(|e| e.sleeper(false));
        for a in self.list.iter() {
            if let Some(d) = a.slot.device() {
                d.disarm(a.fd, a.events);
                if a.counted {
                    d.gate.leave(a.token);
                }
            }
        }
        (self.list, self.sets) = (SmallVec::new(), SmallVec::new());
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        self.withdraw();
    }
}
