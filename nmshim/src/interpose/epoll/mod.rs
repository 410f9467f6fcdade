//! epoll sets with devices in them.
//!
//! The real epoll instance holds a device's descriptor as level-triggered `EPOLLIN` (a wake-up token) with
//! a cookie as its data; what the program asked for (LT, ET, ONESHOT, event bits, user data) is kept
//! here. Ordinary descriptors are registered by the program's own calls, untouched.
//!
//! | state | word in the table | epoll_wait | goes to |
//! |---|---|---|---|
//! | unknown, plain | 0, `EPOLL`, `EPOLL_WAITED` | the real one | dormant at dup or nesting, active at a device |
//! | dormant | slot + `DORMANT` | the real one | active at the first device, also in a nested set |
//! | active | slot + `LIVE` | `wait::wait` | stays active until closed |
//!
//! Whoever changes a set while threads sleep in it kicks them: the device's registration also gets
//! `EPOLLOUT`, at once true for a socket; the thread that wakes takes it away again and arms what is new.
//!
//! A registration ends with its description (`fds() == 0`), which a mapping may keep when all numbers are closed;
//! such interests are dropped when the set is used next, so close() takes no lock of a set.
//! Lock order: a set before the sets nested in it, never the other way.

mod cookie;
mod ctl;
mod wait;

pub use ctl::ctl;
pub use wait::{pwait, pwait2, wait};

use super::armed::Armed;
use super::inline::Inline;
use super::lock::Lock;
use super::slot::{Object, Ref};
use super::symbols::next;
use super::{process, raw, table};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use libc::{EPOLLIN, EPOLLOUT, POLLERR, POLLHUP, POLLIN, POLLRDNORM, c_int, c_short};
use std::os::fd::RawFd;

/// See the module.
pub struct Epoll {
    active: AtomicBool,
    /// Threads asleep in it, or about to be; counted before they read the interests.
    sleepers: AtomicUsize,
    /// Threads may sleep in it, or in a set around it, without our knowing.
    suspect: AtomicBool,
    state: Lock<State>,
}

struct State {
    interests: Vec<Interest>,
    /// Ordinary descriptors may be registered too.
    ordinary: bool,
    /// Where the next round of asking begins, so that nobody starves.
    turn: usize,
    /// Who comes first in the next call when both sides have events.
    devices_first: bool,
}

/// What the program registered for one descriptor of ours.
struct Interest {
    id: u32,
    fd: RawFd,
    target: Ref,
    liveness: RawFd,
    events: u32,
    data: u64,
    /// The device's edge counter when the last event was reported.
    seen: u64,
    /// Just added or modified (or the kernel reported an edge of a nested set): ready counts as an edge.
    fresh: bool,
    /// ONESHOT fired.
    off: bool,
    /// The real registration waits for `EPOLLOUT` too.
    kicked: bool,
    /// The kernel reported a hang-up and the real registration is gone.
    failed: bool,
    /// False: a nested set without devices, registered for real with the program's data.
    emulated: bool,
}

const ET: u32 = libc::EPOLLET as u32;
const ONESHOT: u32 = libc::EPOLLONESHOT as u32;

impl Interest {
    fn alive(&self) -> bool {
        self.target.fds() != 0
    }

    fn asked(&self) -> c_short {
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
                (
                    d.poll(table::number(&self.target, self.fd), self.asked()),
                    edges,
                )
            }
            Object::Named(_) => (0, 0),
            Object::Epoll(e) => {
                let edges = e.edges();
                let ready = e.ready(table::number(&self.target, self.fd));
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
    fn due(&self) -> Option<(c_short, u64)> {
        if self.off || !self.emulated {
            return None;
        }
        let (revents, edges) = self.ask();
        let edge = self.fresh || edges != self.seen;
        (revents != 0 && (self.events & ET == 0 || edge)).then_some((revents, edges))
    }

    /// Does the number by which it is registered still lead to it? A description that a mapping keeps is
    /// closed, but registered; the number may be something else's by now.
    fn has_number(&self) -> bool {
        table::is_at(self.fd, &self.target)
    }

    /// Takes the kick back.
    fn unkick(&mut self, epfd: RawFd) {
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
    fn must_kick(&self) -> bool {
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

    /// Arms every device in the set and in the sets nested in it. Not under the lock: arming waits for
    /// sleepers to wake, and they need the lock for that.
    pub fn arm(&self, armed: &mut Armed, via: Option<RawFd>) {
        let mut members: Inline<(Ref, RawFd, c_short, Option<RawFd>), 4> = Inline::new();
        for i in self.state.lock().interests.iter() {
            if i.emulated && !i.off && !i.failed && i.alive() {
                let fd = table::number(&i.target, i.fd);
                // A nested set's members are seen through the set's own descriptor.
                let via = via.or(i.target.epoll().map(|_| i.fd));
                members.push((i.target.clone(), fd, i.asked(), via));
            }
        }
        for (target, fd, events, via) in members.iter() {
            armed.add(target, *fd, *events, *via);
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
                let fd = table::number(&i.target, i.fd);
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

/// Number `fd` of `target` is about to be closed, and a mapping keeps the description. Its registrations stay,
/// but cannot be changed any more: kicks are taken back now. A set that is in use does that itself.
pub fn number_goes(target: &Ref, fd: RawFd) {
    table::for_each(0, c_int::MAX, |epfd, w| {
        if w > table::EPOLL_WAITED
            && let Some(set) = table::slot(epfd)
            && let Some(mut state) = set.epoll().and_then(|e| e.state.try_lock())
        {
            let here = |i: &&mut Interest| i.fd == fd && i.target == *target;
            let interests = state.interests.iter_mut();
            interests
                .filter(here)
                .for_each(|i| i.unkick_by_number(epfd));
        }
    });
}

pub unsafe fn create(size: c_int) -> c_int {
    // SAFETY: plain number.
    created(unsafe { next::epoll_create(size) })
}

pub unsafe fn create1(flags: c_int) -> c_int {
    // SAFETY: plain number.
    created(unsafe { next::epoll_create1(flags) })
}

fn created(fd: c_int) -> c_int {
    if fd >= 0 && !process::borrowed_memory() {
        table::mark(fd, table::EPOLL);
    }
    fd
}

/// The kernel's event bits for a kick.
const KICK: u32 = (EPOLLIN | EPOLLOUT) as u32;
