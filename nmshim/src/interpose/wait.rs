//! poll and ppoll, and the one loop behind every call that waits for several descriptors.
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
use super::inline::Inline;
use super::raw::{self, SIGSET_BYTES, libc_call};
use super::section;
use super::signals::Blocked;
use super::slot::{Object, Ref};
use super::symbols::next;
use super::{handlers, memory, table};
use crate::device::{Errno, Result};
use core::ptr::null;
use libc::{
    POLLERR, POLLHUP, POLLIN, POLLNVAL, c_int, c_short, nfds_t, pollfd, sigset_t, size_t, timespec,
};
use std::os::fd::RawFd;

/// How long a sleep may last when another process may take our wake-up token.
const SHARED_NAP: u64 = 100_000_000;
/// How long any sleep may last before the rings are looked at again: a sender that was stopped
/// between taking our announcement and sending the token wakes nobody, and neither do those after it.
const LONGEST_NAP: u64 = 1_000_000_000;
/// More descriptors than any process may have: such a call is the kernel's to refuse.
const TOO_MANY: nfds_t = 1 << 21;

/// When a wait ends.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Timeout {
    Never,
    /// That many nanoseconds from now; 0: don't wait.
    After(u64),
    /// At this time of the monotonic clock.
    At(u64),
}

impl Timeout {
    /// poll's and epoll's milliseconds.
    pub fn millis(ms: c_int) -> Self {
        u64::try_from(ms).map_or(Self::Never, |ms| Self::After(ms * 1_000_000))
    }

    /// A timespec, null for ever.
    ///
    /// # Safety
    /// `t` is a pointer of the program's.
    pub unsafe fn timespec(t: *const timespec) -> Result<Self> {
        // SAFETY: two integers.
        let Some(t) = (unsafe { memory::read_if(t) })? else {
            return Ok(Self::Never);
        };
        if t.tv_sec < 0 || !(0..1_000_000_000).contains(&t.tv_nsec) {
            return Err(Errno(libc::EINVAL));
        }
        Ok(Self::After(
            (t.tv_sec as u64)
                .saturating_mul(1_000_000_000)
                .saturating_add(t.tv_nsec as u64),
        ))
    }

    pub fn is_zero(self) -> bool {
        self == Self::After(0)
    }

    /// The same end as a point in time.
    pub fn fixed(self) -> Self {
        match self {
            Self::After(ns) => Self::At(raw::now().saturating_add(ns)),
            other => other,
        }
    }

    /// Nanoseconds left, `None` for ever.
    pub fn left(self) -> Option<u64> {
        match self {
            Self::Never => None,
            Self::After(ns) => Some(ns),
            Self::At(t) => Some(t.saturating_sub(raw::now())),
        }
    }

    /// How long to sleep in the kernel.
    pub fn nap(self, shared: bool) -> u64 {
        let longest = if shared { SHARED_NAP } else { LONGEST_NAP };
        self.left().unwrap_or(u64::MAX).min(longest)
    }
}

/// A kernel timespec.
pub fn to_timespec(ns: u64) -> timespec {
    timespec {
        tv_sec: (ns / 1_000_000_000) as i64,
        tv_nsec: (ns % 1_000_000_000) as i64,
    }
}

/// The descriptors of a set that are ours.
struct Ours {
    list: Inline<(usize, Ref), 8>,
    /// How many others there are.
    ordinary: usize,
}

impl Ours {
    fn find(fds: &[pollfd]) -> Self {
        let mut ours = Self {
            list: Inline::new(),
            ordinary: 0,
        };
        for (i, p) in fds.iter().enumerate().filter(|(_, p)| p.fd >= 0) {
            match table::ours(table::word(p.fd))
                .then(|| table::slot(p.fd))
                .flatten()
            {
                Some(r) => ours.list.push((i, r)),
                None => ours.ordinary += 1,
            }
        }
        ours
    }

    /// Asks each of ours; writes revents and returns how many have any.
    fn poll(&self, fds: &mut [pollfd]) -> usize {
        let mut ready = 0;
        for (i, r) in self.list.iter() {
            let p = &mut fds[*i];
            p.revents = ask(r, p.fd, p.events);
            ready += usize::from(p.revents != 0);
        }
        ready
    }

    fn spin(&self, fds: &[pollfd]) -> bool {
        self.list.iter().any(|(i, r)| {
            r.device()
                .is_some_and(|d| d.spin(fds[*i].fd, fds[*i].events) != 0)
        })
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
        let mut real = self.real_set(fds, &[]);
        // SAFETY: the mask is the program's, null or valid.
        match unsafe { raw::poll_now(&mut real, mask.unwrap_or(null())) } {
            Ok(_) => Ok(ready + self.copy_ordinary(fds, &real)),
            Err(_) if ready != 0 => Ok(ready),
            Err(e) => Err(e),
        }
    }

    /// The set for the kernel: ours wait for a token (`liveness` not empty or sleeping) or are left out.
    fn real_set(&self, fds: &[pollfd], liveness: &[RawFd]) -> Inline<pollfd, 32> {
        let mut real = Inline::new();
        for p in fds {
            real.push(pollfd {
                fd: p.fd,
                events: p.events,
                revents: 0,
            });
        }
        for (i, _) in self.list.iter() {
            real[*i].fd = -1;
        }
        for &fd in liveness {
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
        let mut ours = self.list.iter().map(|(i, _)| *i).peekable();
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
        let mut real = self.real_set(fds, armed.liveness());
        for (i, _) in self.list.iter() {
            (real[*i].fd, real[*i].events) = (fds[*i].fd, POLLIN);
        }
        let time = to_timespec(timeout.nap(armed.shared()));
        // The next library's function, because it is where a thread can be cancelled.
        // SAFETY: `real` and `time` outlive the call; the mask is the program's, null or valid.
        let n = section::outside(&mut armed, || unsafe {
            next::ppoll(real.as_mut_ptr(), real.len() as nfds_t, &time, mask)
        });
        let error = raw::errno();
        self.list
            .iter()
            .filter(|(i, _)| real[*i].revents != 0)
            .for_each(|(i, _)| {
                armed.token_on(fds[*i].fd);
            });
        drop(armed);
        if n < 0 {
            return Err(Errno(error));
        }
        let lost = real[fds.len()..].iter().any(|p| p.revents != 0);
        let ready = self.copy_ordinary(fds, &real);
        for (i, r) in self.list.iter() {
            let own = real[*i].revents & (POLLERR | POLLHUP) != 0;
            if let (true, Some(d)) = (own || lost, r.device()) {
                super::slot::guarded((), || d.file.lost(own));
            }
        }
        self.poll(fds);
        for (i, r) in self.list.iter() {
            // A hang-up the device does not speak of must not become an endless loop.
            if fds[*i].revents == 0 && r.device().is_some() {
                fds[*i].revents = match real[*i].revents {
                    e if e & POLLNVAL != 0 => POLLNVAL,
                    e if e & (POLLERR | POLLHUP) != 0 || lost => POLLERR | POLLHUP,
                    _ => 0,
                };
            }
        }
        fds.iter_mut()
            .filter(|p| p.fd < 0)
            .for_each(|p| p.revents = 0);
        Ok(ready
            + self
                .list
                .iter()
                .filter(|(i, _)| fds[*i].revents != 0)
                .count())
    }
}

/// What a device or an epoll set of ours answers to poll.
fn ask(r: &Ref, fd: RawFd, events: c_short) -> c_short {
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
    let ours = Ours::find(fds);
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
        let mut armed = Armed::new();
        for (i, r) in ours.list.iter() {
            armed.add(r, fds[*i].fd, fds[*i].events, Some(fds[*i].fd));
        }
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
        unsafe { raw::poll_now(&mut [], asleep)? };
    }
}

/// The usual case without the machinery: nothing but ours, and one is ready (or nobody waits).
#[inline]
fn ready_now(fds: &mut [pollfd], wait: bool) -> Option<usize> {
    let mut ready = 0;
    for p in fds {
        let r = table::ours(table::word(p.fd))
            .then(|| table::slot(p.fd))
            .flatten()?;
        p.revents = ask(&r, p.fd, p.events);
        ready += usize::from(p.revents != 0);
    }
    (ready != 0 || !wait).then_some(ready)
}

/// Blocking calls are cancellation points even when they need not block.
pub fn test_cancel() {
    unsafe extern "C-unwind" {
        fn pthread_testcancel();
    }
    // SAFETY: takes nothing; may unwind, with nothing of ours on the way but plain frames.
    unsafe { pthread_testcancel() }
}

const NOTHING: pollfd = pollfd {
    fd: -1,
    events: 0,
    revents: 0,
};

/// Is one of ours in the program's array? What cannot be read is for the kernel to refuse.
#[inline(always)]
unsafe fn with_ours(fds: *mut pollfd, n: nfds_t) -> bool {
    // SAFETY: the caller's promise.
    handlers::taken_over() && n <= TOO_MANY && unsafe { scan(fds, n as usize) }
}

#[inline(never)]
unsafe fn scan(fds: *const pollfd, n: usize) -> bool {
    let mut some = [NOTHING; 16];
    for at in (0..n).step_by(some.len()) {
        let some = &mut some[..(n - at).min(16)];
        // SAFETY: plain integers, of the program's array.
        if unsafe { memory::read_into(some, fds.wrapping_add(at)) }.is_err() {
            return false;
        }
        if any_ours(some) {
            return true;
        }
    }
    false
}

#[inline(always)]
fn any_ours(fds: &[pollfd]) -> bool {
    fds.iter().any(|p| table::ours(table::word(p.fd)))
}

/// What the program is to read of `fds`.
unsafe fn put_back(to: *mut pollfd, fds: &[pollfd]) -> Result<()> {
    fds.iter().enumerate().try_for_each(|(i, p)| {
        let field = to.wrapping_add(i).cast::<u8>();
        let field = field.wrapping_add(core::mem::offset_of!(pollfd, revents));
        // SAFETY: the program's array.
        unsafe { memory::write(field.cast(), p.revents) }
    })
}

/// Waits for the program's array, on a copy.
unsafe fn wait_for(
    to: *mut pollfd,
    n: nfds_t,
    timeout: &mut Timeout,
    mask: Option<*const sigset_t>,
) -> Result<usize> {
    let mut fds: Inline<pollfd, 32> = Inline::new();
    for i in 0..n as usize {
        // SAFETY: plain integers, of the program's array.
        fds.push(unsafe { memory::read(to.wrapping_add(i)) }?);
    }
    let answer = wait(&mut fds, timeout, mask);
    // SAFETY: as above.
    unsafe { put_back(to, &fds) }?;
    answer
}

/// poll with one of ours in the array, inside a section. `few`: the array, if it is short.
#[inline(never)]
unsafe fn poll_ours(
    to: *mut pollfd,
    few: Option<&mut [pollfd]>,
    n: nfds_t,
    timeout: c_int,
) -> Result<usize> {
    // SAFETY: the program's array, of plain integers.
    unsafe {
        if let Some(few) = few
            && let Some(ready) = ready_now(few, timeout != 0)
        {
            return put_back(to, few).map(|()| ready);
        }
        wait_for(to, n, &mut Timeout::millis(timeout), None)
    }
}

/// The same for ppoll.
#[inline(never)]
unsafe fn ppoll_ours(
    to: *mut pollfd,
    n: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> Result<usize> {
    // SAFETY: the program's own arguments.
    unsafe {
        let mut timeout = Timeout::timespec(timeout)?;
        wait_for(to, n, &mut timeout, checked_mask(mask)?)
    }
}

/// The program's mask, if it gives one.
///
/// # Safety
/// A pointer of the program's.
pub unsafe fn checked_mask(mask: *const sigset_t) -> Result<Option<*const sigset_t>> {
    // SAFETY: the kernel's part of it, an integer.
    let there = unsafe { memory::read_if(mask.cast::<u64>()) }?;
    Ok(there.map(|_| mask))
}

/// An answer of a section, which may end here with the thread.
fn finish(r: Result<usize>) -> c_int {
    raw::answer(r.map(|n| n as c_int))
}

#[inline(always)]
pub unsafe fn poll(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        if handlers::taken_over() {
            return poll_any(fds, n, timeout);
        }
        next::poll(fds, n, timeout)
    }
}

#[inline(never)]
unsafe fn poll_any(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int {
    let mut few = [NOTHING; 4];
    let mut few = few.get_mut(..n as usize);
    // SAFETY: the program's own arguments.
    unsafe {
        let any = match &mut few {
            // A short array is read once.
            Some(few) => memory::read_into(few, fds).is_ok() && any_ours(few),
            None => n <= TOO_MANY && scan(fds, n as usize),
        };
        if !any {
            return next::poll(fds, n, timeout);
        }
        test_cancel();
        finish(section::run(|| poll_ours(fds, few, n, timeout)))
    }
}

pub unsafe fn ppoll(
    fds: *mut pollfd,
    n: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        if !with_ours(fds, n) {
            return next::ppoll(fds, n, timeout, mask);
        }
        test_cancel();
        finish(section::run(|| ppoll_ours(fds, n, timeout, mask)))
    }
}

pub unsafe fn poll_chk(fds: *mut pollfd, n: nfds_t, timeout: c_int, room: size_t) -> c_int {
    // SAFETY: the program's own arguments; an overflow is for the real function to report.
    unsafe {
        if room / size_of::<pollfd>() < n as usize || !with_ours(fds, n) {
            return next::__poll_chk(fds, n, timeout, room);
        }
        poll(fds, n, timeout)
    }
}

pub unsafe fn ppoll_chk(
    fds: *mut pollfd,
    n: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
    room: size_t,
) -> c_int {
    // SAFETY: as poll_chk.
    unsafe {
        if room / size_of::<pollfd>() < n as usize || !with_ours(fds, n) {
            return next::__ppoll_chk(fds, n, timeout, mask, room);
        }
        ppoll(fds, n, timeout, mask)
    }
}

/// poll as one system call.
pub unsafe fn raw_poll(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int {
    let time = u64::try_from(timeout)
        .ok()
        .map(|ms| to_timespec(ms * 1_000_000));
    // SAFETY: the program's own arguments.
    unsafe {
        raw_ppoll(
            fds,
            n,
            time.as_ref().map_or(null(), |t| t as *const timespec),
            null(),
        )
    }
}

/// ppoll as one system call, which gets a copy of the timeout because the kernel writes to it.
pub unsafe fn raw_ppoll(
    fds: *mut pollfd,
    n: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        let mut copy = timeout.as_ref().copied();
        let time = copy
            .as_mut()
            .map_or(null(), |t| t as *mut timespec as *const timespec);
        libc_call!(libc::SYS_ppoll, fds, n, time, mask, SIGSET_BYTES) as c_int
    }
}
