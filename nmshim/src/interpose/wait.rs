//! The one loop behind every call that waits for several descriptors.
//!
//! A call with only ordinary descriptors goes on to the next library untouched. A call with one of ours:
//!
//! ```text
//! ask ours -> found, or nothing to wait for: ask the ordinary ones with timeout 0 (if any), answer
//!   | nothing
//! block signals -> spin (no ordinary ones in the set) -> arm -> ask ours again -> found: disarm, as above
//!   | nothing
//! one real ppoll on everything, with the program's mask and the time that is left
//! disarm -> ask ours -> found, time over, or a signal: answer; otherwise spin again
//! ```

use super::armed::Armed;
use super::slot::{Object, Ref};
use super::{lookup, table};
use crate::device::{Errno, Result};
use crate::ground::guarded::guarded;
use crate::ground::signals::{Blocked, poll_now};
use crate::ground::timeout::{Timeout, to_timespec};
use crate::ground::{next, raw, section};
use core::ptr::null;
use libc::{POLLERR, POLLHUP, POLLIN, POLLNVAL, c_short, nfds_t, pollfd, sigset_t};
use smallvec::SmallVec;
use std::os::fd::RawFd;

/// A descriptor of a set that is ours.
struct Member {
    /// place in the set
    at: usize,
    slot: Ref,
    /// by which it is open now: another thread may close the program's while we wait, and may get it for something
    /// else. `None`: it is closed.
    number: Option<RawFd>,
}

impl Member {
    fn ask(&self, p: &pollfd) -> c_short {
        ask(&self.slot, self.number.unwrap_or(p.fd), p.events)
    }
}

/// The descriptors of a set that are ours.
struct Ours {
    list: SmallVec<[Member; 8]>,
    /// How many others there are.
    ordinary: usize,
}

impl Ours {
    fn find(fds: &[pollfd]) -> Self {
        let mut ours = Self {
            list: SmallVec::new(),
            ordinary: 0,
        };
        for (i, p) in fds.iter().enumerate().filter(|(_, p)| p.fd >= 0) {
            match table::ours(table::word(p.fd))
                .then(|| lookup::slot(p.fd))
                .flatten()
            {
                Some(slot) => ours.list.push(Member {
                    at: i,
                    slot,
                    number: Some(p.fd),
                }),
                None => ours.ordinary += 1,
            }
        }
        ours
    }

    /// Asks each of ours; writes revents and returns how many have any.
    fn poll(&self, fds: &mut [pollfd]) -> usize {
        let mut ready = 0;
        for m in self.list.iter() {
            let p = &mut fds[m.at];
            p.revents = m.ask(p);
            ready += usize::from(p.revents != 0);
        }
        ready
    }

    fn spin(&self, fds: &[pollfd]) -> bool {
        self.list.iter().any(|m| {
            let p = &fds[m.at];
            let number = m.number.unwrap_or(p.fd);
            let device = m.slot.device();
            device.is_some_and(|d| d.spin(number, p.events) != 0)
        })
    }

    /// Says that this thread is about to sleep.
    fn arm(&mut self, fds: &[pollfd]) -> Armed {
        let mut armed = Armed::new();
        for m in self.list.iter_mut() {
            let p = &fds[m.at];
            m.number = m.slot.open_number(p.fd);
            if let Some(number) = m.number {
                armed.add(&m.slot, number, p.events, Some(number));
            }
        }
        armed
    }

    /// No more waiting: adds what the ordinary ones say now.
    fn finish(
        &self,
        fds: &mut [pollfd],
        ready: usize,
        mask: Option<*const sigset_t>,
    ) -> Result<usize> {
        fds.iter_mut()
            .filter(|p| p.fd < 0)
            .for_each(|p| p.revents = 0);
        if self.ordinary == 0 && (ready != 0 || mask.is_none()) {
            return Ok(ready);
        }
        let mut real = self.real_set(fds, &[], &[]);
        // SAFETY: the mask is the program's, null or valid.
        match unsafe { poll_now(&mut real, mask.unwrap_or(null())) } {
            Ok(_) => Ok(ready + self.copy_ordinary(fds, &real)),
            Err(_) if ready != 0 => Ok(ready),
            Err(e) => Err(e),
        }
    }

    /// The set for the kernel: ours wait for a token (`liveness` not empty or sleeping) or are left out.
    fn real_set(
        &self,
        fds: &[pollfd],
        liveness: &[RawFd],
        sources: &[RawFd],
    ) -> SmallVec<[pollfd; 32]> {
        let mut real: SmallVec<[pollfd; 32]> = SmallVec::new();
        for p in fds {
            real.push(pollfd {
                fd: p.fd,
                events: p.events,
                revents: 0,
            });
        }
        for m in self.list.iter() {
            real[m.at].fd = -1;
        }
        for &fd in liveness.iter().chain(sources) {
            real.push(pollfd {
                fd,
                events: POLLIN,
                revents: 0,
            });
        }
        real
    }

    /// Takes over the kernel's answers for the ordinary ones.
    fn copy_ordinary(&self, fds: &mut [pollfd], real: &[pollfd]) -> usize {
        let mut ready = 0;
        let mut ours = self.list.iter().map(|m| m.at).peekable();
        for (i, p) in fds.iter_mut().enumerate() {
            if ours.next_if_eq(&i).is_none() {
                p.revents = real[i].revents;
                ready += usize::from(p.revents != 0);
            }
        }
        ready
    }

    /// One real sleep on everything, then another look at ours.
    fn sleep(
        &self,
        fds: &mut [pollfd],
        mut armed: Armed,
        timeout: Timeout,
        mask: *const sigset_t,
    ) -> Result<usize> {
        let mut real = self.real_set(fds, armed.liveness(), armed.sources());
        for m in self.list.iter() {
            (real[m.at].fd, real[m.at].events) = (m.number.unwrap_or(-1), POLLIN);
        }
        let time = to_timespec(timeout.nap(armed.longest_nap()));
        // The next library's function, because it is where a thread can be cancelled.
        // SAFETY: `real` and `time` outlive the call; the mask is the program's, null or valid.
        let n = section::outside(&mut armed, || unsafe {
            next::ppoll(real.as_mut_ptr(), real.len() as nfds_t, &time, mask)
        });
        let error = raw::errno();
        let liveness = fds.len()..fds.len() + armed.liveness().len();
        for p in self.list.iter().map(|m| &real[m.at]) {
            if p.revents != 0 {
                armed.token_on(p.fd);
            }
        }
        drop(armed);
        if n < 0 {
            return Err(Errno(error));
        }
        real[liveness.end..]
            .iter()
            .filter(|p| p.revents & POLLERR != 0)
            .for_each(|p| raw::take_error(p.fd));
        let lost = real[liveness.clone()].iter().any(|p| p.revents != 0);
        let ready = self.copy_ordinary(fds, &real);
        for m in self.list.iter() {
            let own = real[m.at].revents & (POLLERR | POLLHUP) != 0;
            if let (true, Some(d)) = (own || lost, m.slot.device()) {
                guarded((), || d.file.lost(own));
            }
        }
        self.poll(fds);
        for m in self.list.iter() {
            // A hang-up the device does not speak of must not become an endless loop.
            if fds[m.at].revents == 0 && m.slot.device().is_some() {
                fds[m.at].revents = match real[m.at].revents {
                    e if e & POLLNVAL != 0 => POLLNVAL,
                    e if e & (POLLERR | POLLHUP) != 0 || lost => POLLERR | POLLHUP,
                    _ => 0,
                };
            }
        }
        fds.iter_mut()
            .filter(|p| p.fd < 0)
            .for_each(|p| p.revents = 0);
        Ok(ready + self.list.iter().filter(|m| fds[m.at].revents != 0).count())
    }
}

/// What a device or an epoll set of ours answers to poll.
pub fn ask(r: &Ref, fd: RawFd, events: c_short) -> c_short {
    match r.object() {
        Object::Device(d) => d.poll(fd, events),
        Object::Epoll(e) if e.ready(fd) => events & (POLLIN | libc::POLLRDNORM),
        Object::Epoll(_) | Object::Named(_) => 0,
    }
}

/// Waits for `fds`, of which at least one is ours. `mask`: `Some` for calls that take a signal mask and give one.
/// `timeout` becomes a point in time if it comes to waiting.
pub fn wait(
    fds: &mut [pollfd],
    timeout: &mut Timeout,
    mask: Option<*const sigset_t>,
) -> Result<usize> {
    let mut ours = Ours::find(fds);
    let ready = ours.poll(fds);
    if ready != 0 || timeout.is_zero() {
        return ours.finish(fds, ready, mask);
    }
    *timeout = timeout.fixed();
    let signals = Blocked::new();
    loop {
        if ours.ordinary == 0 && ours.spin(fds) {
            let ready = ours.poll(fds);
            if ready != 0 {
                return ours.finish(fds, ready, mask);
            }
        }
        let armed = ours.arm(fds);
        let ready = ours.poll(fds);
        if ready != 0 {
            drop(armed);
            return ours.finish(fds, ready, mask);
        }
        let asleep = mask.unwrap_or(signals.before());
        let ready = ours.sleep(fds, armed, *timeout, asleep)?;
        if ready != 0 || timeout.left() == Some(0) {
            return Ok(ready);
        }
        // A sleep that a token ended at once has let no signal in.
        // SAFETY: the mask is the program's or ours.
        unsafe { poll_now(&mut [], asleep)? };
    }
}
