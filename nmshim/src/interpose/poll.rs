//! poll and ppoll: the program's array, read once and answered once.

use super::slot::Device;
use super::wait::{ask, wait};
use super::{handlers, lookup, slot, table};
use crate::device::Result;
use crate::ground::next;
use crate::ground::section::{Plain, Reading};
use crate::ground::timeout::Timeout;
use crate::ground::{memory, raw, readers, section, signals, trapped};
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering::Acquire;
use libc::{c_int, c_short, nfds_t, pollfd, sigset_t, size_t, timespec};
use smallvec::SmallVec;

/// More descriptors than any process may have: such a call is the kernel's to refuse.
const TOO_MANY: nfds_t = 1 << 21;

/// The usual case without the machinery: nothing but ours, and one is ready (or nobody waits).
#[inline(always)]
fn ready_now(fds: &mut [pollfd], wait: bool) -> Option<usize> {
    let mut ready = 0;
    for p in fds {
        let word = table::word(p.fd);
        let r = table::ours(word)
            .then(|| lookup::slot_in(p.fd, word))
            .flatten()?;
        p.revents = ask(&r, p.fd, p.events);
        ready += usize::from(p.revents != 0);
    }
    (ready != 0 || !wait).then_some(ready)
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
    handlers::taken_over() && n <= TOO_MANY && section::run(|| unsafe { scan(fds, n as usize) })
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
        // SAFETY: the program's array.
        unsafe { memory::write_short(revents_of(to.wrapping_add(i)), p.revents) }
    })
}

/// Where an entry of the program's array has its answer.
#[inline(always)]
fn revents_of(p: *mut pollfd) -> *mut c_short {
    let field = p.cast::<u8>();
    field
        .wrapping_add(core::mem::offset_of!(pollfd, revents))
        .cast()
}

/// Waits for the program's array, on a copy.
#[inline(never)]
unsafe fn wait_for(
    to: *mut pollfd,
    n: nfds_t,
    timeout: &mut Timeout,
    mask: Option<*const sigset_t>,
) -> Result<usize> {
    let mut fds: SmallVec<[pollfd; 32]> = SmallVec::new();
    for i in 0..n as usize {
        // SAFETY: plain integers, of the program's array.
        fds.push(unsafe { memory::read(to.wrapping_add(i)) }?);
    }
    let answer = wait(&mut fds, timeout, mask);
    // SAFETY: as above.
    unsafe { put_back(to, &fds) }?;
    answer
}

/// poll with one of ours in the array. `few`: the array, if it is short.
#[inline(always)]
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
        wait_for(to, n, &mut timeout, signals::checked_mask(mask)?)
    }
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

/// No frame of this function's has anything to undo: a thread may end before the section and where it does. The most
/// usual array, of one device that is ready, is served here, and what is rare is the end of the function.
#[inline(never)]
unsafe fn poll_any(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int {
    section::test_cancel();
    let reading = match section::enter_reading() {
        Ok(reading) => reading,
        // SAFETY: the program's own arguments.
        Err(why) => return unsafe { poll_rarely(why, fds, n, timeout) },
    };
    // SAFETY: the program's own arguments.
    let Some((p, device)) = (unsafe { one_device(&reading, fds, n) }) else {
        // SAFETY: as above.
        return unsafe { poll_more(fds, n, timeout, reading) };
    };
    let revents = device.poll(p.fd, p.events);
    if revents == 0 && timeout != 0 {
        // SAFETY: as above.
        return unsafe { poll_waits(fds, n, timeout, reading) };
    }
    // SAFETY: as above.
    if unsafe { memory::write_short(revents_of(fds), revents) }.is_err() {
        // SAFETY: as above.
        return unsafe { poll_more(fds, n, timeout, reading) };
    }
    let ready = c_int::from(revents != 0);
    match reading.leave() {
        true => poll_has_left(ready),
        false => ready,
    }
}

/// What the array has, if that is one descriptor of a device. `None`: it is something else, or has to be looked at once
/// more.
#[inline(always)]
unsafe fn one_device(
    reading: &Reading,
    fds: *const pollfd,
    n: nfds_t,
) -> Option<(pollfd, &Device)> {
    if n != 1 {
        return None;
    }
    // SAFETY: the program's array, of plain integers.
    let word = unsafe { memory::read_word(fds.cast()) }.ok()?;
    // SAFETY: as many bytes, and any will do.
    let p = unsafe { core::mem::transmute::<u64, pollfd>(word) };
    let place = table::near(p.fd)?;
    Some((p, slot::device_read(reading, place.load(Acquire))?))
}

/// A section has begun that does not read.
#[cold]
#[inline(never)]
unsafe fn poll_rarely(why: Plain, fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int {
    readers::begin(why);
    // SAFETY: the program's own arguments.
    unsafe { poll_general(fds, n, timeout) }
}

/// A section has begun that reads, and there is more to do, or something else.
#[inline(never)]
unsafe fn poll_more(fds: *mut pollfd, n: nfds_t, timeout: c_int, reading: Reading) -> c_int {
    reading.stop();
    // SAFETY: the program's own arguments.
    unsafe { poll_general(fds, n, timeout) }
}

/// A section has begun, and ends here. It lasts from the first look to the sleep, so that a signal in between ends
/// that.
#[inline(never)]
unsafe fn poll_general(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> c_int {
    // SAFETY: the program's own arguments.
    let answer = unsafe { poll_with_ours(fds, n, timeout) };
    section::leave();
    match answer {
        Some(answer) => finish(answer),
        // SAFETY: as above.
        None => unsafe { next::poll(fds, n, timeout) },
    }
}

/// The same where nothing was ready.
#[inline(never)]
unsafe fn poll_waits(fds: *mut pollfd, n: nfds_t, timeout: c_int, reading: Reading) -> c_int {
    reading.stop();
    // SAFETY: the program's own arguments.
    let answer = unsafe { wait_for(fds, n, &mut Timeout::millis(timeout), None) };
    section::leave();
    finish(answer)
}

/// Something may have waited for the end of the section.
#[cold]
#[inline(never)]
fn poll_has_left(ready: c_int) -> c_int {
    section::leave_at_last();
    ready
}

/// Inside a section, where the look is, too: asynchronous cancellation cannot unwind from the middle of it.
/// `None`: none of ours is in the array.
#[inline(always)]
unsafe fn poll_with_ours(fds: *mut pollfd, n: nfds_t, timeout: c_int) -> Option<Result<usize>> {
    let mut few = [NOTHING; 4];
    let mut few = few.get_mut(..n as usize);
    // SAFETY: the program's own arguments.
    unsafe {
        let any = match &mut few {
            // A short array is read once.
            Some(few) => memory::read_into(few, fds).is_ok() && any_ours(few),
            None => n <= TOO_MANY && scan(fds, n as usize),
        };
        any.then(|| poll_ours(fds, few, n, timeout))
    }
}

pub unsafe fn ppoll(
    fds: *mut pollfd,
    n: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let mut room = MaybeUninit::uninit();
    // SAFETY: the program's own arguments.
    unsafe {
        let mask = trapped::mask(mask, &mut room);
        if !with_ours(fds, n) {
            return next::ppoll(fds, n, timeout, mask);
        }
        section::test_cancel();
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
