//! Which descriptors are ours: one word per descriptor, read without locks.
//!
//! | word | meaning | bit 0 |
//! |---|---|---|
//! | 0 | ordinary | 0 |
//! | `EPOLL` / `EPOLL_WAITED` | an epoll descriptor without any of ours in it / on which a thread may sleep | 0 |
//! | `CANDIDATE` | a socket that came from elsewhere; the driver is asked at its first use | 1 |
//! | slot + `LIVE` | a device, or an epoll set with devices in it | 1 |
//! | slot + `DORMANT` | an epoll set known under several numbers or nested, without devices so far; a named file | 0 |
//!
//! So "is it ours?" is one load and one branch on bit 0. A vfork child runs on our memory but on a
//! descriptor table of its own: nothing here may be changed there (`process::borrowed_memory`).

use super::slot::{Device, Object, Ref, Slot};
use super::{mapped, raw};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering::*};
use libc::c_int;

const NEAR: usize = 4096;
const FAR: usize = 256;
type Chunk = [AtomicUsize; NEAR];

pub const EPOLL: usize = 4;
pub const EPOLL_WAITED: usize = 8;
const CANDIDATE: usize = 1;
const LIVE: usize = 1;
const DORMANT: usize = 2;
const TAG: usize = 63;

static FIRST: Chunk = [const { AtomicUsize::new(0) }; NEAR];
static REST: [AtomicPtr<Chunk>; FAR] = [const { AtomicPtr::new(null_mut()) }; FAR];
/// One more than the highest number ever entered.
static END: AtomicI32 = AtomicI32::new(0);

/// The word of `fd`. Anything that is no descriptor number is ordinary.
#[inline(always)]
pub fn word(fd: c_int) -> usize {
    let i = fd as u32 as usize;
    if i < NEAR {
        FIRST[i].load(Acquire)
    } else {
        far_word(i)
    }
}

/// Is the word one of ours (bit 0)?
#[inline(always)]
pub fn ours(word: usize) -> bool {
    word & LIVE != 0
}

#[inline(never)]
fn far_word(i: usize) -> usize {
    chunk(i / NEAR).map_or(0, |c| c[i % NEAR].load(Acquire))
}

fn chunk(n: usize) -> Option<&'static Chunk> {
    if n == 0 {
        return Some(&FIRST);
    }
    let p = REST.get(n)?.load(Acquire);
    // SAFETY: null or a chunk that `cell` mapped and never unmaps.
    unsafe { p.as_ref() }
}

/// The place of `fd`'s word, made if need be. None: beyond what the table holds (2^20).
fn cell(fd: c_int) -> Option<&'static AtomicUsize> {
    let i = usize::try_from(fd).ok().filter(|&i| i < NEAR * FAR)?;
    if chunk(i / NEAR).is_none() {
        // SAFETY: a fresh anonymous mapping; zero bytes are valid AtomicUsize values.
        let new = unsafe {
            raw::call(
                libc::SYS_mmap,
                [
                    0,
                    size_of::<Chunk>(),
                    (libc::PROT_READ | libc::PROT_WRITE) as usize,
                    (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize,
                    usize::MAX,
                    0,
                ],
            )
        };
        let new = raw::check(new).ok()? as *mut Chunk;
        // Who loses the race leaves 32 KiB mapped, at most once per chunk and thread.
        let _ = REST[i / NEAR].compare_exchange(null_mut(), new, AcqRel, Acquire);
    }
    END.fetch_max(fd + 1, AcqRel);
    chunk(i / NEAR).map(|c| &c[i % NEAR])
}

fn slot_of(word: usize) -> Option<NonNull<Slot>> {
    NonNull::new((word & !TAG) as *mut Slot)
}

fn tagged(r: &Ref) -> usize {
    let tag = match r.object() {
        Object::Epoll(e) if !e.active() => DORMANT,
        Object::Named(_) => DORMANT,
        _ => LIVE,
    };
    r.as_ptr().as_ptr() as usize | tag
}

/// A reference to the slot behind `fd`, device or epoll, dormant ones included.
#[inline(always)]
pub fn slot(fd: c_int) -> Option<Ref> {
    let w = word(fd);
    if w != CANDIDATE
        && let Some(r) = Ref::try_take(slot_of(w)?)
        && word(fd) == w
    {
        return Some(r);
    }
    slot_slow(fd)
}

/// A candidate, or a slot that was closed between the two looks.
#[cold]
fn slot_slow(fd: c_int) -> Option<Ref> {
    loop {
        let w = word(fd);
        if w == CANDIDATE {
            if !super::process::adopt(fd) {
                return None;
            }
            continue;
        }
        let r = Ref::try_take(slot_of(w)?);
        // The slot may have been closed, and even reused for another descriptor, between the two reads:
        // the reference counts only if the table still says so.
        if word(fd) == w
            && let Some(r) = r
        {
            return Some(r);
        }
    }
}

/// The device behind `fd`, if it is one.
#[inline(always)]
pub fn device(fd: c_int) -> Option<DeviceRef> {
    if ours(word(fd)) {
        found_device(fd)
    } else {
        None
    }
}

#[inline]
fn found_device(fd: c_int) -> Option<DeviceRef> {
    slot(fd).filter(|r| r.device().is_some()).map(DeviceRef)
}

/// A reference that is known to hold a device.
pub struct DeviceRef(Ref);

impl DeviceRef {
    pub fn slot(&self) -> &Ref {
        &self.0
    }
}

impl core::ops::Deref for DeviceRef {
    type Target = Device;
    fn deref(&self) -> &Device {
        match self.0.object() {
            Object::Device(d) => d,
            // SAFETY: `found_device` checked it, and a live slot's object never changes.
            _ => unsafe { core::hint::unreachable_unchecked() },
        }
    }
}

/// Enters `r` under `fd`; what stood there before was closed behind our back. False: no room for that number.
pub fn install(fd: c_int, r: Ref) -> bool {
    let Some(cell) = cell(fd) else { return false };
    r.add_fd();
    let kept = r.clone();
    let mut w = tagged(&kept);
    release(cell.swap(w, AcqRel), None);
    let _ = r.into_raw();
    // An epoll set may have woken up in between: then its words were rewritten before ours was there.
    while tagged(&kept) != w {
        let new = tagged(&kept);
        if cell.compare_exchange(w, new, AcqRel, Relaxed).is_err() {
            break;
        }
        w = new;
    }
    true
}

/// Notes an epoll descriptor or a candidate.
pub fn mark(fd: c_int, mark: usize) {
    if let Some(cell) = cell(fd) {
        release(cell.swap(mark, AcqRel), None);
    }
}

/// `fd` is a socket to ask the driver about at its first use.
pub fn mark_candidate(fd: c_int) {
    mark(fd, CANDIDATE);
}

/// Changes a word that still is `from`.
pub fn change(fd: c_int, from: usize, to: usize) -> bool {
    cell(fd).is_some_and(|c| c.compare_exchange(from, to, AcqRel, Relaxed).is_ok())
}

/// A candidate's answer is known.
pub fn settle(fd: c_int, found: Option<Ref>) {
    match found {
        None => {
            change(fd, CANDIDATE, 0);
        }
        Some(r) => {
            r.add_fd();
            if change(fd, CANDIDATE, tagged(&r)) {
                let _ = r.into_raw();
            } else {
                r.drop_fd();
                change(fd, CANDIDATE, 0);
            }
        }
    }
}

/// `fd` is about to be closed (`closing`), or turned out to be something else by now.
/// What was behind it, if that was its last descriptor here.
pub fn remove(fd: c_int, closing: bool) -> Option<Ref> {
    if word(fd) == 0 {
        return None;
    }
    release(cell(fd)?.swap(0, AcqRel), closing.then_some(fd))
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
    let p = slot_of(word)?;
    // SAFETY: the word held a count and was taken out of the table by the caller's swap.
    let r = unsafe { Ref::from_raw(p) };
    let last = match (closing, r.device()) {
        (Some(fd), Some(d)) if d.is_mapped() => mapped::leave(&r, d, fd),
        _ => r.drop_fd(),
    };
    if !last {
        return None;
    }
    if let (Some(fd), Some(d)) = (closing, r.device()) {
        super::slot::guarded((), || d.file.last_close(fd));
    }
    Some(r)
}

/// Calls `f` for every number from `first` to `last` that has a word.
pub fn for_each(first: c_int, last: c_int, mut f: impl FnMut(c_int, usize)) {
    let end = END.load(Acquire).min(last.saturating_add(1));
    let mut fd = first.max(0);
    while fd < end {
        if chunk(fd as usize / NEAR).is_none() {
            fd = (fd / NEAR as c_int + 1) * NEAR as c_int;
            continue;
        }
        let w = word(fd);
        if w != 0 {
            f(fd, w);
        }
        fd += 1;
    }
}

/// The kernel made `new` a duplicate of `old`.
pub fn duplicate(old: c_int, new: c_int) {
    if word(old) | word(new) == 0 || old == new {
        return;
    }
    match word(old) {
        0 => drop(remove(new, false)),
        CANDIDATE => mark_candidate(new),
        EPOLL | EPOLL_WAITED => {
            if let Some(r) = epoll_slot(old) {
                // From here on plain waits are no longer noted in the word.
                r.epoll().inspect(|e| e.suspect());
                install(new, r);
            }
        }
        _ => match slot(old) {
            Some(r) => {
                install(new, r);
            }
            None => drop(remove(new, false)),
        },
    }
}

/// The epoll object of `fd`, which is made if only a mark (or nothing) stands there.
pub fn epoll_slot(fd: c_int) -> Option<Ref> {
    loop {
        let w = word(fd);
        if slot_of(w).is_some() || w == CANDIDATE {
            return slot(fd).filter(|r| r.epoll().is_some());
        }
        let r = Ref::new(Object::Epoll(super::epoll::Epoll::new(w != EPOLL)));
        r.add_fd();
        if change(fd, w, tagged(&r)) {
            let _ = r.clone().into_raw();
            return Some(r);
        }
        cell(fd)?;
    }
}

/// An epoll set changed between dormant and active: rewrites its words.
pub fn retag(r: &Ref) {
    let p = r.as_ptr().as_ptr() as usize;
    for_each(0, c_int::MAX, |fd, w| {
        if w & !TAG == p {
            change(fd, w, tagged(r));
        }
    });
}

/// Does `r` stand under `fd`?
pub fn is_at(fd: c_int, r: &Ref) -> bool {
    word(fd) & !TAG == r.as_ptr().as_ptr() as usize
}

/// A number under which `r` is open: `hint` if it still is.
pub fn number(r: &Ref, hint: c_int) -> c_int {
    let p = r.as_ptr().as_ptr() as usize;
    let mut found = hint;
    if !is_at(hint, r) {
        if let Some(keeper) = r.device().and_then(Device::keeper) {
            return keeper;
        }
        for_each(0, c_int::MAX, |fd, w| {
            if w & !TAG == p {
                found = fd;
            }
        });
    }
    found
}

/// The epoll sets that may hold other epoll sets.
pub fn epoll_sets() -> Vec<(c_int, Ref)> {
    let mut sets = Vec::new();
    for_each(0, c_int::MAX, |fd, w| {
        if slot_of(w).is_some()
            && let Some(r) = slot(fd)
            && r.epoll().is_some()
        {
            sets.push((fd, r));
        }
    });
    sets
}

/// Another description already known for this file object.
pub fn same_file(file: &std::sync::Arc<dyn crate::device::File>) -> Option<Ref> {
    let mut found = None;
    for_each(0, c_int::MAX, |fd, w| {
        if found.is_none() && slot_of(w).is_some() {
            found = slot(fd).filter(|r| {
                r.device()
                    .is_some_and(|d| std::sync::Arc::ptr_eq(&d.file, file))
            });
        }
    });
    found
}
