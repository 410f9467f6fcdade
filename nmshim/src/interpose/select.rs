//! select and pselect: sets with one of ours become poll arrays and back.

use super::{handlers, table, wait};
use crate::device::{Errno, Result};
use crate::ground::timeout::Timeout;
use crate::ground::{memory, next, raw, section, signals, trapped};
use core::mem::MaybeUninit;
use libc::{
    POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI, POLLRDBAND, POLLRDNORM, POLLWRBAND,
    POLLWRNORM, c_int, c_short, fd_set, pollfd, sigset_t, timespec, timeval,
};
use smallvec::SmallVec;

type Word = libc::c_ulong;
const BITS: usize = Word::BITS as usize;

/// The events that each of the three sets stands for, asked and answered.
const ASK: [c_short; 3] = [
    POLLIN | POLLRDNORM | POLLRDBAND,
    POLLOUT | POLLWRNORM | POLLWRBAND,
    POLLPRI,
];
const ANSWER: [c_short; 3] = [ASK[0] | POLLHUP | POLLERR, ASK[1] | POLLERR, POLLPRI];

/// The program's three sets: where they are, null for none, and a copy of them.
struct Sets {
    n: usize,
    at: [*mut Word; 3],
    bits: [SmallVec<[Word; 16]>; 3],
}

/// Every descriptor in any of three words of sets, with what is asked of it, until `f` says true.
fn descriptors(w: [Word; 3], base: usize, mut f: impl FnMut(c_int, c_short) -> bool) -> bool {
    let mut any = w[0] | w[1] | w[2];
    while any != 0 {
        let bit = any.trailing_zeros() as usize;
        any &= any - 1;
        let events = (0..3)
            .filter(|&s| w[s] >> bit & 1 != 0)
            .fold(0, |e, s| e | ASK[s]);
        if f((base + bit) as c_int, events) {
            return true;
        }
    }
    false
}

/// Word `i` of the three sets of `n` bits.
///
/// # Safety
/// Pointers of the program's.
unsafe fn words(at: [*mut Word; 3], i: usize, n: usize) -> Result<[Word; 3]> {
    let last = n - i * BITS;
    let mask = if last < BITS {
        (1 << last) - 1
    } else {
        Word::MAX
    };
    let mut words = [0; 3];
    for (word, set) in words.iter_mut().zip(at) {
        if !set.is_null() {
            // SAFETY: an integer.
            *word = unsafe { memory::read(set.wrapping_add(i)) }? & mask;
        }
    }
    Ok(words)
}

/// A count that the kernel does not refuse and that sets hold.
fn count(n: c_int) -> Option<usize> {
    usize::try_from(n).ok().filter(|&n| n <= 1 << 20)
}

/// Is one of ours in a set? What cannot be read is for the kernel to refuse.
#[inline(never)]
unsafe fn scan(n: c_int, at: [*mut Word; 3]) -> bool {
    let Some(n) = count(n) else { return false };
    for i in 0..n.div_ceil(BITS) {
        // SAFETY: the caller's promise.
        let Ok(words) = (unsafe { words(at, i, n) }) else {
            return false;
        };
        if descriptors(words, i * BITS, |fd, _| table::ours(table::word(fd))) {
            return true;
        }
    }
    false
}

impl Sets {
    /// # Safety
    /// Pointers of the program's.
    unsafe fn read(n: c_int, at: [*mut Word; 3]) -> Result<Self> {
        let n = count(n).ok_or(Errno(libc::EINVAL))?;
        let mut sets = Self {
            n,
            at,
            bits: Default::default(),
        };
        for i in 0..n.div_ceil(BITS) {
            // SAFETY: by contract.
            let words = unsafe { words(at, i, n) }?;
            (0..3).for_each(|s| sets.bits[s].push(words[s]));
        }
        Ok(sets)
    }

    /// Waits, and writes the answer into the program's sets unless it is an error.
    ///
    /// # Safety
    /// As `read`.
    unsafe fn wait(
        mut self,
        timeout: &mut Timeout,
        mask: Option<*const sigset_t>,
    ) -> Result<c_int> {
        let mut fds: SmallVec<[pollfd; 32]> = SmallVec::new();
        for i in 0..self.n.div_ceil(BITS) {
            descriptors(
                [0, 1, 2].map(|s| self.bits[s][i]),
                i * BITS,
                |fd, events| {
                    fds.push(pollfd {
                        fd,
                        events,
                        revents: 0,
                    });
                    false
                },
            );
        }
        wait::wait(&mut fds, timeout, mask)?;
        if fds.iter().any(|p| p.revents & POLLNVAL != 0) {
            return Err(Errno(libc::EBADF));
        }
        let mut count = 0;
        for s in (0..3).filter(|&s| !self.at[s].is_null()) {
            self.bits[s].fill(0);
            for p in fds
                .iter()
                .filter(|p| p.events & ASK[s] != 0 && p.revents & ANSWER[s] != 0)
            {
                let fd = p.fd as usize;
                self.bits[s][fd / BITS] |= 1 << (fd % BITS);
                count += 1;
            }
            for (i, word) in self.bits[s].iter().enumerate() {
                // SAFETY: the program's set; the kernel too writes whole words.
                unsafe { memory::write(self.at[s].wrapping_add(i), *word) }?;
            }
        }
        Ok(count)
    }
}

/// select with one of ours in a set, inside a section.
#[inline(never)]
unsafe fn select_ours(n: c_int, at: [*mut Word; 3], timeout: *mut timeval) -> Result<c_int> {
    // SAFETY: the program's own arguments.
    unsafe {
        let mut end = Timeout::timeval(memory::read_if(timeout)?)?;
        let answer = Sets::read(n, at)?.wait(&mut end, None);
        if let Some(left) = end.left() {
            let left = timeval {
                tv_sec: (left / 1_000_000_000) as i64,
                tv_usec: (left % 1_000_000_000 / 1000) as i64,
            };
            // As in the kernel: a time that cannot be told is no error.
            let _ = memory::write(timeout, left);
        }
        answer
    }
}

pub unsafe fn select(
    n: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    x: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    let at = [r.cast(), w.cast(), x.cast()];
    // SAFETY: the program's own arguments.
    unsafe {
        if !handlers::taken_over() || !section::run(|| scan(n, at)) {
            return next::select(n, r, w, x, timeout);
        }
        section::test_cancel();
        raw::answer(section::run(|| select_ours(n, at, timeout)))
    }
}

/// The same for pselect.
#[inline(never)]
unsafe fn pselect_ours(
    n: c_int,
    at: [*mut Word; 3],
    timeout: *const timespec,
    mask: *const sigset_t,
) -> Result<c_int> {
    // SAFETY: the program's own arguments.
    unsafe {
        let mut timeout = Timeout::timespec(timeout)?;
        let mask = signals::checked_mask(mask)?;
        Sets::read(n, at)?.wait(&mut timeout, mask)
    }
}

pub unsafe fn pselect(
    n: c_int,
    r: *mut fd_set,
    w: *mut fd_set,
    x: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    let at = [r.cast(), w.cast(), x.cast()];
    let mut room = MaybeUninit::uninit();
    // SAFETY: the program's own arguments.
    unsafe {
        let mask = trapped::mask(mask, &mut room);
        if !handlers::taken_over() || !section::run(|| scan(n, at)) {
            return next::pselect(n, r, w, x, timeout, mask);
        }
        section::test_cancel();
        raw::answer(section::run(|| pselect_ours(n, at, timeout, mask)))
    }
}
