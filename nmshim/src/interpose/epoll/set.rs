//! A set: what the program registered in it, and what that has to report.

use super::cookie;
use crate::ground::lock::Lock;
use crate::ground::raw;
use crate::interpose::slot::{Object, Ref};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use libc::{EPOLLIN, EPOLLOUT, POLLERR, POLLHUP, POLLIN, POLLRDNORM, c_short};
use smallvec::SmallVec;
use std::os::fd::RawFd;

/// A set.
pub struct Epoll {
    active: AtomicBool,
    /// Threads asleep in it, or about to be; counted before they read the interests.
    sleepers: AtomicUsize,
    /// Threads may sleep in it, or in a set around it, without our knowing.
    suspect: AtomicBool,
    pub(super) state: Lock<State>,
}

pub struct State {
    pub interests: Vec<Interest>,
    /// Ordinary descriptors may be registered too.
    pub ordinary: bool,
    /// Where the next round of asking begins, so that nobody starves.
    pub turn: usize,
    /// Who comes first in the next call when both sides have events.
    pub devices_first: bool,
}

/// What the program registered for one descriptor of ours.
pub struct Interest {
    pub id: u32,
    pub fd: RawFd,
    pub target: Ref,
    pub liveness: RawFd,
    pub events: u32,
    pub data: u64,
    /// The device's edge counter when the last event was reported.
    pub seen: u64,
    /// Just added or modified (or the kernel reported an edge of a nested set): ready counts as an edge.
    pub fresh: bool,
    /// ONESHOT fired.
    pub off: bool,
    /// The real registration waits for `EPOLLOUT` too.
    pub kicked: bool,
    /// The kernel reported a hang-up and the real registration is gone.
    pub failed: bool,
    /// False: a nested set without devices, registered for real with the program's data.
    pub emulated: bool,
}

/// A member of a set, as `Armed` takes it.
pub struct Member {
    pub slot: Ref,
    pub fd: RawFd,
    pub events: c_short,
    pub via: Option<RawFd>,
}

pub const ET: u32 = libc::EPOLLET as u32;
pub const ONESHOT: u32 = libc::EPOLLONESHOT as u32;

/// The kernel's event bits for a kick.
pub const KICK: u32 = (EPOLLIN | EPOLLOUT) as u32;

impl Interest {
    pub fn alive(&self) -> bool {
        self.target.fds() != 0
    }

    pub fn asked(&self) -> c_short {
        (self.events & 0xffff) as c_short
    }

    /// Asks the target: revents, and the edge counter from before the question.
    fn ask(&self) -> (c_short, u64) {
        if self.failed {
            return (POLLERR | POLLHUP, self.seen);
        }
        match self.target.object() {
            Object::Device(d) => {
                let edges = d.edges();
                (d.poll(self.target.number(self.fd), self.asked()), edges)
            }
            Object::Named(_) => (0, 0),
            Object::Epoll(e) => {
                let edges = e.edges();
                let ready = e.ready(self.target.number(self.fd));
                (
                    if ready {
                        self.asked() & (POLLIN | POLLRDNORM)
                    } else {
                        0
                    },
                    edges,
                )
            }
        }
    }

    /// What an epoll_wait would report now, and the edge counter that goes with it.
    pub fn due(&self) -> Option<(c_short, u64)> {
        if self.off || !self.emulated {
            return None;
        }
        let (revents, edges) = self.ask();
        let edge = self.fresh || edges != self.seen;
        (revents != 0 && (self.events & ET == 0 || edge)).then_some((revents, edges))
    }

    /// Does the number by which it is registered still lead to it? A description that a mapping keeps is
    /// closed, but registered; the number may be something else's by now.
    pub fn has_number(&self) -> bool {
        self.target.is_at(self.fd)
    }

    /// Takes the kick back.
    pub fn unkick(&mut self, epfd: RawFd) {
        if self.kicked && self.has_number() {
            self.unkick_by_number(epfd);
        }
    }

    fn unkick_by_number(&mut self, epfd: RawFd) {
        if core::mem::take(&mut self.kicked) && !self.failed {
            let _ = raw::epoll_ctl(
                epfd,
                libc::EPOLL_CTL_MOD,
                self.fd,
                EPOLLIN as u32,
                cookie::interest(self.id),
            );
        }
    }
}

impl Epoll {
    /// A dormant set. `suspect`: threads may already be sleeping in it.
    pub fn new(suspect: bool) -> Self {
        Self {
            active: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            suspect: AtomicBool::new(suspect),
            state: Lock::new(State {
                interests: Vec::new(),
                ordinary: false,
                turn: 0,
                devices_first: false,
            }),
        }
    }

    pub fn active(&self) -> bool {
        self.active.load(Acquire)
    }

    pub fn activate(&self) {
        self.active.store(true, Release);
    }

    /// Threads may sleep in it from now on without our knowing.
    pub fn suspect(&self) {
        self.suspect.store(true, Release);
    }

    /// A thread begins or ends a sleep.
    pub fn sleeper(&self, begins: bool) {
        if begins {
            self.sleepers.fetch_add(1, SeqCst);
        } else {
            // A fork's child may end what its parent began: `reset_lock` has forgotten that.
            let _ = self
                .sleepers
                .fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1));
        }
    }

    /// Must a change of the set be told to sleepers?
    pub fn must_kick(&self) -> bool {
        self.suspect.load(Acquire) || self.sleepers.load(SeqCst) != 0
    }

    /// In a fork's child.
    ///
    /// # Safety
    /// No other thread may be running.
    pub unsafe fn reset_lock(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.state.reset() };
        self.sleepers.store(0, SeqCst);
    }

    /// What a sleeper in the set has to arm: the devices in it, and the sets nested in it. Not done under the lock:
    /// arming waits for sleepers to wake, and they need the lock for that.
    pub fn members(&self, via: Option<RawFd>) -> SmallVec<[Member; 4]> {
        let mut members = SmallVec::new();
        for i in self.state.lock().interests.iter() {
            if i.emulated && !i.off && !i.failed && i.alive() {
                let fd = i.target.number(i.fd);
                // A nested set's members are seen through the set's own descriptor.
                let via = via.or(i.target.epoll().map(|_| i.fd));
                members.push(Member {
                    slot: i.target.clone(),
                    fd,
                    events: i.asked(),
                    via,
                });
            }
        }
        members
    }

    /// Number `fd` of `target` is about to be closed: kicks of its registrations are taken back. A set that is in use
    /// does that itself.
    pub fn number_goes(&self, epfd: RawFd, target: &Ref, fd: RawFd) {
        if let Some(mut state) = self.state.try_lock() {
            let here = |i: &&mut Interest| i.fd == fd && i.target == *target;
            let interests = state.interests.iter_mut();
            interests
                .filter(here)
                .for_each(|i| i.unkick_by_number(epfd));
        }
    }

    /// Would an epoll_wait on `epfd` report anything? Takes nothing away.
    pub fn ready(&self, epfd: RawFd) -> bool {
        let mut state = self.state.lock();
        state.interests.retain(Interest::alive);
        for i in &mut state.interests {
            i.unkick(epfd);
        }
        if state.interests.iter().any(|i| i.due().is_some()) {
            return true;
        }
        if !state.ordinary || !raw::readable(epfd) {
            return false;
        }
        // Readable: by an ordinary descriptor, or by a token that is still there.
        let mut tokens = false;
        for i in state.interests.iter().filter(|i| i.emulated) {
            if let Some(d) = i.target.device() {
                let fd = i.target.number(i.fd);
                if raw::readable(fd) {
                    d.gate.clean(&*d.file, fd);
                    tokens |= raw::readable(fd);
                }
            }
        }
        !tokens && raw::readable(epfd)
    }

    /// Changes whenever a device in the set has an edge.
    fn edges(&self) -> u64 {
        self.state
            .lock()
            .interests
            .iter()
            .fold(0, |sum, i| match i.target.object() {
                Object::Device(d) => sum.wrapping_add(d.edges()),
                Object::Epoll(e) => sum.wrapping_add(e.edges()),
                Object::Named(_) => sum,
            })
    }
}
