//! epoll_wait, epoll_pwait and epoll_pwait2 on active sets; the loop is that of `interpose::wait`.

use super::cookie::{self, Meaning};
use super::set::{Epoll, ONESHOT, State};
use crate::device::{Errno, Result};
use crate::ground::guarded::guarded;
use crate::ground::raw::{self, SIGSET_BYTES};
use crate::ground::section::test_cancel;
use crate::ground::signals::{Blocked, checked_mask, poll_now};
use crate::ground::timeout::{Timeout, to_timespec};
use crate::ground::{memory, next, section, trapped};
use crate::interpose::armed::Armed;
use crate::interpose::slot::Ref;
use crate::interpose::{lookup, table};
use core::mem::MaybeUninit;
use core::ptr::null;
use libc::{EPOLLERR, EPOLLHUP, c_int, epoll_event, sigset_t, timespec};
use smallvec::SmallVec;
use std::os::fd::RawFd;

/// One call's arguments.
struct Call<'a> {
    set: &'a Epoll,
    slot: &'a Ref,
    epfd: RawFd,
    out: *mut epoll_event,
    max: usize,
    mask: Option<*const sigset_t>,
}

impl Call<'_> {
    /// Writes what devices have to report behind the first `have` events; returns how many events there are then.
    fn collect(&self, have: usize) -> Result<usize> {
        self.collect_in(&mut self.set.state.lock(), have)
    }

    fn collect_in(&self, state: &mut State, have: usize) -> Result<usize> {
        let mut n = have;
        state.interests.retain(|i| i.alive());
        let count = state.interests.len();
        let first = state.turn;
        for k in 0..count {
            if n == self.max {
                break;
            }
            let at = if first + k < count {
                first + k
            } else {
                (first + k) % count
            };
            let i = &mut state.interests[at];
            i.unkick(self.epfd);
            let Some((revents, edges)) = i.due() else {
                continue;
            };
            let event = epoll_event {
                events: revents as u16 as u32,
                u64: i.data,
            };
            // SAFETY: the program's array. As in the kernel, what could not be told stays to be told.
            match unsafe { memory::write(self.out.wrapping_add(n), event) } {
                Err(e) if n == 0 => return Err(e),
                Err(_) => break,
                Ok(()) => {}
            }
            (i.seen, i.fresh) = (edges, false);
            i.off = i.events & ONESHOT != 0;
            n += 1;
            state.turn = at + 1;
        }
        Ok(n)
    }

    fn ordinary(&self) -> bool {
        self.set.state.lock().ordinary
    }

    /// Asks the kernel for ordinary events with timeout 0, behind the first `have`.
    fn ordinary_now(&self, have: usize) -> Result<usize> {
        let mut n = have;
        // A token that stands in the way of an ordinary event costs a round, and is thrown away.
        for _ in 0..8 {
            if n == self.max {
                break;
            }
            let (max, mask) = (self.max - n, self.mask.unwrap_or(null()));
            let args = [
                self.epfd as usize,
                self.out.wrapping_add(n) as usize,
                max,
                0,
                mask as usize,
                SIGSET_BYTES,
            ];
            // SAFETY: room for `max` events at `n`; the mask is the program's, null or valid, and may let a handler
            // run: no lock is held.
            let got =
                section::this().aside(0, || unsafe { raw::call(libc::SYS_epoll_pwait, args) });
            let got = match raw::check(got) {
                Ok(got) => got as usize,
                Err(_) if n != 0 => break,
                Err(e) => return Err(e),
            };
            let kept = self.filter(n, got, None);
            n += kept;
            if kept == got {
                break;
            }
        }
        Ok(n)
    }

    /// Takes cookies out of `got` events behind the first `have`; returns how many are left.
    fn filter(&self, have: usize, got: usize, mut armed: Option<&mut Armed>) -> usize {
        let mut kept = 0;
        for k in 0..got {
            // SAFETY: the kernel wrote `got` events there; `kept <= k`.
            unsafe {
                let event = self.out.add(have + k).read_unaligned();
                match cookie::read(event.u64) {
                    None => {
                        self.out.add(have + kept).write_unaligned(event);
                        kept += 1;
                    }
                    Some(Meaning::Liveness(fd)) => {
                        let _ = raw::epoll_ctl(self.epfd, libc::EPOLL_CTL_DEL, fd, 0, 0);
                        self.daemon_lost(fd);
                    }
                    Some(Meaning::Interest(id)) => {
                        self.woken(id, event.events, armed.as_deref_mut())
                    }
                }
            }
        }
        kept
    }

    /// The daemon behind `liveness` is gone: every device of its that is in the set says so from
    /// here on.
    fn daemon_lost(&self, liveness: RawFd) {
        let mut state = self.set.state.lock();
        for i in state
            .interests
            .iter_mut()
            .filter(|i| i.liveness == liveness)
        {
            (i.failed, i.fresh) = (true, true);
            if let Some(d) = i.target.device() {
                guarded((), || d.file.lost(false));
            }
        }
    }

    /// The kernel reported a registration of ours.
    fn woken(&self, id: u32, events: u32, armed: Option<&mut Armed>) {
        let mut state = self.set.state.lock();
        let Some(i) = state.interests.iter_mut().find(|i| i.id == id) else {
            return;
        };
        i.unkick(self.epfd);
        let Some(d) = i.target.device() else {
            i.fresh = true;
            armed.map(|a| a.token_on(i.fd));
            return;
        };
        if events & (EPOLLERR | EPOLLHUP) as u32 != 0 {
            // The other end is gone for good: reported from here on, and not by the kernel again and again.
            (i.failed, i.fresh) = (true, true);
            guarded((), || d.file.lost(true));
            if i.has_number() {
                let _ = raw::epoll_ctl(self.epfd, libc::EPOLL_CTL_DEL, i.fd, 0, 0);
            }
            return;
        }
        let fd = i.target.number(i.fd);
        if events & libc::EPOLLIN as u32 != 0 && !armed.is_some_and(|a| a.token_on(fd)) {
            d.gate.clean(&*d.file, fd);
        }
    }

    /// Devices and, if there are any, ordinary descriptors, without waiting.
    fn now(&self) -> Result<usize> {
        let mut state = self.set.state.lock();
        if !state.ordinary {
            return self.collect_in(&mut state, 0);
        }
        // Neither side starves the other when both have more than fits.
        state.devices_first = !state.devices_first;
        if state.devices_first {
            let n = self.collect_in(&mut state, 0)?;
            drop(state);
            return self.ordinary_now(n);
        }
        drop(state);
        let n = self.ordinary_now(0)?;
        self.collect(n)
    }

    fn spin(&self) -> bool {
        self.set.state.lock().interests.iter().any(|i| {
            !i.off
                && i.alive()
                && i.target
                    .device()
                    .is_some_and(|d| d.spin(i.target.number(i.fd), i.asked()) != 0)
        })
    }

    /// One real sleep; the number of ordinary events it brought.
    fn sleep(&self, mut armed: Armed, timeout: Timeout, signals: &Blocked) -> Result<usize> {
        let nap = timeout.nap(armed.longest_nap());
        let mask = self.mask.unwrap_or(signals.before());
        // ppoll and not epoll_pwait: a signal that is ignored ends the latter with EINTR if it came while
        // it was blocked, and goes unnoticed otherwise. The next library's function, because it is where
        // a thread can be cancelled.
        let mut real: SmallVec<[libc::pollfd; 8]> = core::iter::once(self.epfd)
            .chain(armed.sources().iter().copied())
            .map(|fd| libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
        let time = to_timespec(nap);
        // SAFETY: the set and the timeout outlive the call, the mask is the program's or ours.
        let n = section::outside(&mut armed, || unsafe {
            next::ppoll(real.as_mut_ptr(), real.len() as libc::nfds_t, &time, mask)
        });
        if n < 0 {
            return Err(Errno(raw::errno()));
        }
        real[1..]
            .iter()
            .filter(|p| p.revents & libc::POLLERR != 0)
            .for_each(|p| raw::take_error(p.fd));
        // SAFETY: the program's array.
        let n = unsafe {
            raw::check(raw::call(
                libc::SYS_epoll_pwait,
                [self.epfd as usize, self.out as usize, self.max, 0, 0, 0],
            ))?
        };
        Ok(self.filter(0, n as usize, Some(&mut armed)))
    }

    fn run(&self, mut timeout: Timeout) -> Result<usize> {
        let n = self.now()?;
        if n != 0 || timeout.is_zero() {
            return Ok(n);
        }
        timeout = timeout.fixed();
        let signals = Blocked::new();
        loop {
            if !self.ordinary() && self.spin() {
                let n = self.collect(0)?;
                if n != 0 {
                    return Ok(n);
                }
            }
            let mut armed = Armed::new();
            armed.add(self.slot, self.epfd, 0, None);
            let n = self.collect(0)?;
            if n != 0 {
                drop(armed);
                return if self.ordinary() {
                    self.ordinary_now(n)
                } else {
                    Ok(n)
                };
            }
            let n = self.sleep(armed, timeout, &signals)?;
            let n = self.collect(n)?;
            if n != 0 || timeout.left() == Some(0) {
                return Ok(n);
            }
            let asleep = self.mask.unwrap_or(signals.before());
            // SAFETY: the mask is the program's or ours.
            unsafe { poll_now(&mut [], asleep)? };
        }
    }
}

/// Waits on `epfd`, which is (or has just become) an active set, inside a section.
#[inline(never)]
unsafe fn emulated(
    epfd: RawFd,
    out: *mut epoll_event,
    max: c_int,
    timeout: &dyn Fn() -> Result<Timeout>,
    mask: *const sigset_t,
) -> Option<Result<usize>> {
    let slot = lookup::slot(epfd)?;
    let set = slot.epoll().filter(|e| e.active())?;
    let call = || {
        let timeout = timeout()?;
        if max <= 0 {
            return Err(Errno(libc::EINVAL));
        }
        if out.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        // SAFETY: the program's own argument.
        let mask = unsafe { checked_mask(mask) }?;
        Call {
            set,
            slot: &slot,
            epfd,
            out,
            max: max as usize,
            mask,
        }
        .run(timeout)
    };
    Some(call())
}

/// The common shape: `plain` is the next library's function with the program's own arguments.
#[inline(always)]
unsafe fn either(
    epfd: RawFd,
    out: *mut epoll_event,
    max: c_int,
    timeout: impl Fn() -> Result<Timeout>,
    mask: *const sigset_t,
    plain: impl Fn() -> c_int,
) -> c_int {
    let w = table::word(epfd);
    if !table::ours(w) {
        if w == table::EPOLL {
            note_wait(epfd);
        }
        let n = plain();
        if n <= 0 || !table::ours(table::word(epfd)) {
            return n;
        }
        // SAFETY: the kernel wrote `n` events.
        let n = section::run(|| unsafe { became_ours(epfd, out, max, n as usize) });
        if n != 0 {
            return n;
        }
    }
    // SAFETY: the program's own arguments.
    unsafe { wait_in_section(epfd, out, max, &timeout, mask) }.unwrap_or_else(plain)
}

/// From here on a thread may sleep in the set.
#[cold]
#[inline(never)]
fn note_wait(epfd: RawFd) {
    table::change(epfd, table::EPOLL, table::EPOLL_WAITED);
}

/// No frame of this function's has anything to undo: a thread may end where the section does.
#[inline(never)]
unsafe fn wait_in_section(
    epfd: RawFd,
    out: *mut epoll_event,
    max: c_int,
    timeout: &dyn Fn() -> Result<Timeout>,
    mask: *const sigset_t,
) -> Option<c_int> {
    test_cancel();
    // SAFETY: the program's own arguments.
    let answer = section::run(|| unsafe { emulated(epfd, out, max, timeout, mask) })?;
    Some(raw::answer(answer.map(|n| n as c_int)))
}

/// The set got its first device while a thread slept in it: what it brought may be the kick.
#[cold]
#[inline(never)]
unsafe fn became_ours(epfd: RawFd, out: *mut epoll_event, max: c_int, got: usize) -> c_int {
    let Some(slot) = lookup::slot(epfd) else {
        return got as c_int;
    };
    let Some(set) = slot.epoll() else {
        return got as c_int;
    };
    let call = Call {
        set,
        slot: &slot,
        epfd,
        out,
        max: max as usize,
        mask: None,
    };
    call.filter(0, got, None) as c_int
}

pub unsafe fn wait(epfd: c_int, out: *mut epoll_event, max: c_int, timeout: c_int) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        either(
            epfd,
            out,
            max,
            || Ok(Timeout::millis(timeout)),
            null(),
            || next::epoll_wait(epfd, out, max, timeout),
        )
    }
}

pub unsafe fn pwait(
    epfd: c_int,
    out: *mut epoll_event,
    max: c_int,
    timeout: c_int,
    mask: *const sigset_t,
) -> c_int {
    let mut room = MaybeUninit::uninit();
    // SAFETY: the program's own arguments.
    unsafe {
        let mask = trapped::mask(mask, &mut room);
        either(
            epfd,
            out,
            max,
            || Ok(Timeout::millis(timeout)),
            mask,
            || next::epoll_pwait(epfd, out, max, timeout, mask),
        )
    }
}

pub unsafe fn pwait2(
    epfd: c_int,
    out: *mut epoll_event,
    max: c_int,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let mut room = MaybeUninit::uninit();
    // SAFETY: the program's own arguments.
    unsafe {
        let mask = trapped::mask(mask, &mut room);
        either(
            epfd,
            out,
            max,
            || Timeout::timespec(timeout),
            mask,
            || next::epoll_pwait2(epfd, out, max, timeout, mask),
        )
    }
}
