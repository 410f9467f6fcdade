//! select and pselect: sets with one of ours become poll arrays and back.

use super::inline::Inline;
use super::raw::{self, SIGSET_BYTES, libc_call};
use super::symbols::next;
use super::table;
use super::wait::{self, Timeout, to_timespec};
use crate::device::{Errno, Result};
use core::ptr::null;
use libc::{
    POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI, POLLRDBAND, POLLRDNORM, POLLWRBAND,
    POLLWRNORM, c_int, c_short, fd_set, pollfd, sigset_t, timespec, timeval,
};

type Word = libc::c_ulong;
const BITS: usize = Word::BITS as usize;

/// The events that each of the three sets stands for, asked and answered.
const ASK: [c_short; 3] = [
    POLLIN | POLLRDNORM | POLLRDBAND,
    POLLOUT | POLLWRNORM | POLLWRBAND,
    POLLPRI,
];
const ANSWER: [c_short; 3] = [ASK[0] | POLLHUP | POLLERR, ASK[1] | POLLERR, POLLPRI];

/// The three sets, each null or an array of bits of `n` descriptors.
struct Sets {
    n: usize,
    sets: [*mut Word; 3],
}

impl Sets {
    /// `None`: a count the kernel refuses or that no set holds.
    fn new(n: c_int, r: *mut fd_set, w: *mut fd_set, x: *mut fd_set) -> Option<Self> {
        let n = usize::try_from(n).ok().filter(|&n| n <= 1 << 20)?;
        Some(Self {
            n,
            sets: [r.cast(), w.cast(), x.cast()],
        })
    }

    fn words(&self) -> usize {
        self.n.div_ceil(BITS)
    }

    /// One word of set `s`, without the bits beyond `n`.
    ///
    /// # Safety
    /// The sets are the program's, valid for `n` bits.
    unsafe fn word(&self, s: usize, i: usize) -> Word {
        if self.sets[s].is_null() {
            return 0;
        }
        // SAFETY: `i` is below `words`, the caller's promise covers the rest.
        let w = unsafe { self.sets[s].add(i).read() };
        let last = self.n - i * BITS;
        if last < BITS {
            w & ((1 << last) - 1)
        } else {
            w
        }
    }

    /// Every descriptor in any set, with what is asked of it.
    ///
    /// # Safety
    /// As `word`.
    unsafe fn for_each(&self, mut f: impl FnMut(c_int, c_short) -> bool) -> bool {
        for i in 0..self.words() {
            // SAFETY: `i` is in range.
            let w = unsafe { [self.word(0, i), self.word(1, i), self.word(2, i)] };
            let mut any = w[0] | w[1] | w[2];
            while any != 0 {
                let bit = any.trailing_zeros() as usize;
                any &= any - 1;
                let events = (0..3)
                    .filter(|&s| w[s] >> bit & 1 != 0)
                    .fold(0, |e, s| e | ASK[s]);
                if f((i * BITS + bit) as c_int, events) {
                    return true;
                }
            }
        }
        false
    }

    /// # Safety
    /// As `word`.
    unsafe fn with_ours(&self) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.for_each(|fd, _| table::ours(table::word(fd))) }
    }

    /// Waits, and writes the answer into the sets unless it is an error.
    ///
    /// # Safety
    /// As `word`.
    unsafe fn wait(&self, timeout: &mut Timeout, mask: Option<*const sigset_t>) -> Result<c_int> {
        let mut fds: Inline<pollfd, 32> = Inline::new();
        // SAFETY: the caller's promise.
        unsafe {
            self.for_each(|fd, events| {
                fds.push(pollfd {
                    fd,
                    events,
                    revents: 0,
                });
                false
            });
        }
        wait::wait(&mut fds, timeout, mask)?;
        if fds.iter().any(|p| p.revents & POLLNVAL != 0) {
            return Err(Errno(libc::EBADF));
        }
        let mut count = 0;
        for s in (0..3).filter(|&s| !self.sets[s].is_null()) {
            for i in 0..self.words() {
                // SAFETY: in range; the kernel too writes whole words.
                unsafe { self.sets[s].add(i).write(0) };
            }
            for p in fds
                .iter()
                .filter(|p| p.events & ASK[s] != 0 && p.revents & ANSWER[s] != 0)
            {
                let fd = p.fd as usize;
                // SAFETY: `fd` is below `n`, it came from the sets.
                unsafe { *self.sets[s].add(fd / BITS) |= 1 << (fd % BITS) };
                count += 1;
            }
        }
        Ok(count)
    }
}

pub unsafe fn select(
    n: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    x: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    let ours = Sets::new(n, r, w, x);
    // SAFETY: the program's own arguments.
    unsafe {
        match ours.filter(|s| s.with_ours()) {
            None => next::select(n, r, w, x, timeout),
            Some(sets) => {
                let mut end = match timeval_timeout(timeout) {
                    Ok(t) => t,
                    Err(e) => return raw::fail(e.0),
                };
                let answer = sets.wait(&mut end, None);
                if let (Some(t), Some(left)) = (timeout.as_mut(), end.left()) {
                    (t.tv_sec, t.tv_usec) = (
                        (left / 1_000_000_000) as i64,
                        (left % 1_000_000_000 / 1000) as i64,
                    );
                }
                raw::answer(answer)
            }
        }
    }
}

/// select's timeout: microseconds may be more than a second's.
unsafe fn timeval_timeout(t: *const timeval) -> Result<Timeout> {
    // SAFETY: null or the program's timeval.
    let Some(t) = (unsafe { t.as_ref() }) else {
        return Ok(Timeout::Never);
    };
    let (Ok(s), Ok(us)) = (u64::try_from(t.tv_sec), u64::try_from(t.tv_usec)) else {
        return Err(Errno(libc::EINVAL));
    };
    Ok(Timeout::After(
        s.saturating_mul(1_000_000_000)
            .saturating_add(us.saturating_mul(1000)),
    ))
}

pub unsafe fn pselect(
    n: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    x: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the program's own arguments.
    unsafe {
        match Sets::new(n, r, w, x).filter(|s| s.with_ours()) {
            None => next::pselect(n, r, w, x, timeout, mask),
            Some(sets) => {
                let mask = (!mask.is_null()).then_some(mask);
                raw::answer(Timeout::timespec(timeout).and_then(|mut t| sets.wait(&mut t, mask)))
            }
        }
    }
}

/// select as one system call.
pub unsafe fn raw_select(
    n: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    x: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    // SAFETY: the program's own arguments; the kernel takes a timespec and writes the rest back.
    unsafe {
        let mut time = match timeval_timeout(timeout) {
            Ok(Timeout::After(ns)) => Some(to_timespec(ns)),
            Ok(_) => None,
            Err(e) => return raw::fail(e.0),
        };
        let p = time
            .as_mut()
            .map_or(null(), |t| t as *mut timespec as *const timespec);
        let answer = libc_call!(libc::SYS_pselect6, n, r, w, x, p, 0) as c_int;
        if let (Some(t), Some(left)) = (timeout.as_mut(), time) {
            (t.tv_sec, t.tv_usec) = (left.tv_sec, left.tv_nsec / 1000);
        }
        answer
    }
}

/// pselect as one system call.
pub unsafe fn raw_pselect(
    n: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    x: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the program's own arguments; the kernel wants the mask's address and size behind one pointer.
    unsafe {
        let mut time = timeout.as_ref().copied();
        let p = time
            .as_mut()
            .map_or(null(), |t| t as *mut timespec as *const timespec);
        let mask = [mask as usize, SIGSET_BYTES];
        libc_call!(libc::SYS_pselect6, n, r, w, x, p, mask.as_ptr()) as c_int
    }
}
