//! What is entered in the table, and what is taken out.

use super::mapped::{self, Left};
use super::slot::{Ref, in_word};
use super::table::{CANDIDATE, EPOLL, EPOLL_WAITED, change, for_each, has_room, swap, word};
use super::{handlers, lookup};
use crate::device::SOCKET_NAME;
use crate::driver;
use crate::ground::guarded::guarded;
use crate::ground::raw;
use crate::ground::vfork::borrowed_memory;
use libc::c_int;

/// Enters `r` under `fd`; what stood there before was closed behind our back. False: no room for that number.
pub fn install(fd: c_int, r: Ref) -> bool {
    if !has_room(fd) {
        return false;
    }
    r.add_fd();
    let kept = r.clone();
    let mut w = kept.word();
    release(swap(fd, w).unwrap_or(0), None);
    let _ = r.into_raw();
    // An epoll set may have woken up in between: then its words were rewritten before ours was there.
    while kept.word() != w {
        let new = kept.word();
        if !change(fd, w, new) {
            break;
        }
        w = new;
    }
    true
}

/// Notes an epoll descriptor or a candidate.
pub fn mark(fd: c_int, mark: usize) {
    if let Some(before) = swap(fd, mark) {
        release(before, None);
    }
}

/// Is this one a socket of the device's daemon, unknown so far? Then the driver is asked at its first use.
pub fn consider(fd: c_int) {
    if raw::peer_ends_with(fd, SOCKET_NAME)
        && !guarded(false, || driver().is_private(fd))
        && !borrowed_memory()
    {
        handlers::take_over();
        mark(fd, CANDIDATE);
    }
}

/// `fd` is about to be closed (`closing`), or turned out to be something else by now.
/// What was behind it, if that was its last descriptor here.
pub fn remove(fd: c_int, closing: bool) -> Option<Ref> {
    if word(fd) == 0 {
        return None;
    }
    release(swap(fd, 0)?, closing.then_some(fd))
}

/// The kernel gave `fd` to something ordinary: an entry left here was closed behind our back.
#[inline(always)]
pub fn forget_stale(fd: c_int) {
    if word(fd) != 0 {
        remove(fd, false);
    }
}

/// Gives up what a word held. `closing`: the number under which it is still open. What was behind it,
/// if nothing of this process keeps that open any more.
fn release(word: usize, closing: Option<c_int>) -> Option<Ref> {
    let p = in_word(word)?;
    // SAFETY: the word held a count and was taken out of the table by the caller's swap.
    let r = unsafe { Ref::from_raw(p) };
    let last = match (closing, r.device()) {
        (Some(fd), Some(d)) if d.is_mapped() => match mapped::leave(&r, d, fd) {
            Left::Last => true,
            Left::Others => false,
            Left::Kept(keeper) => {
                forget_stale(keeper);
                number_goes(&r, fd);
                false
            }
        },
        _ => r.drop_fd(),
    };
    if !last {
        return None;
    }
    if let (Some(fd), Some(d)) = (closing, r.device()) {
        guarded((), || d.file.last_close(fd));
    }
    Some(r)
}

/// Number `fd` of `target` is about to be closed, and a mapping keeps the description. Its registrations stay,
/// but cannot be changed any more: kicks are taken back now.
fn number_goes(target: &Ref, fd: c_int) {
    for_each(0, c_int::MAX, |epfd, w| {
        if w > EPOLL_WAITED
            && let Some(set) = lookup::slot(epfd)
        {
            set.epoll().inspect(|e| e.number_goes(epfd, target, fd));
        }
    });
}

/// The kernel made `new` a duplicate of `old`.
pub fn duplicate(old: c_int, new: c_int) {
    if word(old) | word(new) == 0 || old == new {
        return;
    }
    let known = match word(old) {
        0 => None,
        CANDIDATE => return mark(new, CANDIDATE),
        EPOLL | EPOLL_WAITED => {
            let Some(r) = lookup::epoll_slot(old) else {
                return;
            };
            // From here on plain waits are no longer noted in the word.
            r.epoll().inspect(|e| e.suspect());
            Some(r)
        }
        _ => lookup::slot(old),
    };
    match known {
        Some(r) => {
            install(new, r);
        }
        None => forget_stale(new),
    }
}

/// An epoll set changed between dormant and active: rewrites its words.
pub fn retag(r: &Ref) {
    for_each(0, c_int::MAX, |fd, w| {
        if r.is_in(w) {
            change(fd, w, r.word());
        }
    });
}
