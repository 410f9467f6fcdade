//! Mappings of devices.
//!
//! In the kernel a mapping holds the open file: a device that is closed while a page of it is mapped goes on as
//! it is, and its close comes with the last `munmap`, with what is mapped over it, with exec or exit. Here the device
//! is a socket, and what is mapped belongs to another file. So at the close of its last number the description
//! gets a number that the program does not see, its *keeper*.
//!
//! | a description | `fds` counts | keeper | goes to |
//! |---|---|---|---|
//! | open | its numbers | none | kept at the last close if it is mapped, else closed |
//! | kept | the keeper | there | closed, when its last page is unmapped |
//! | closed | nothing | none | - |
//!
//! exec and exit close the keeper by themselves; a fork's child inherits it with the mapping. Whoever has no device
//! mapped pays one load in `munmap`; who unmaps something else, two more.
//!
//! The lock is held over the system call, so that addresses which another thread gets meanwhile are not mistaken for
//! those that were given back. It is the innermost lock, and who holds it is in a section (`section`).

use super::slot::{Device, Ref};
use crate::driver;
use crate::ground::guarded::guarded;
use crate::ground::lock::{Lock, Locked};
use crate::ground::next;
use crate::ground::ranges::Ranges;
use crate::ground::raw::{self, page_size};
use crate::ground::vfork::borrowed_memory;
use core::mem::MaybeUninit;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering::*};
use libc::{c_int, c_void, off_t, size_t};
use std::os::fd::RawFd;

static MAPPED: Lock<Ranges<Share>> = Lock::new(Ranges::new());
/// Outside of `LOW..HIGH` no device is mapped.
static LOW: AtomicUsize = AtomicUsize::new(usize::MAX);
static HIGH: AtomicUsize = AtomicUsize::new(0);

/// A mapping's share in a description.
struct Share(Ref);

impl Share {
    fn of(slot: Ref) -> Self {
        slot.device().inspect(|d| {
            d.mappings.fetch_add(1, Relaxed);
        });
        Self(slot)
    }

    /// Gives it up. The description, if it is closed by that.
    fn give_up(self) -> Option<Ref> {
        let d = self.0.device()?;
        if d.mappings.fetch_sub(1, Relaxed) != 1 {
            return None;
        }
        let keeper = d.keeper()?;
        d.keeper.store(-1, Release);
        let closed = self.0.drop_fd();
        if closed {
            guarded((), || d.file.last_close(keeper));
        }
        guarded((), || driver().let_go(keeper));
        closed.then_some(self.0)
    }
}

impl Clone for Share {
    fn clone(&self) -> Self {
        Self::of(self.0.clone())
    }
}

/// May there be a device's pages among these?
#[inline(always)]
pub fn touches(start: usize, len: usize) -> bool {
    let high = HIGH.load(Relaxed);
    high != 0 && start < high && start.saturating_add(len) > LOW.load(Relaxed)
}

type Held = Locked<'static, Ranges<Share>>;

/// The lock; `None` if this thread has it already (its fork handlers run), or is a vfork child on its parent's memory.
fn hold() -> Option<Held> {
    (!MAPPED.is_mine() && !borrowed_memory()).then(|| MAPPED.lock())
}

/// Lets go, and waits until what was closed meanwhile is closed.
fn finish(mut held: Held, closed: Option<Ref>) {
    let (low, high) = held.hull();
    LOW.store(low, Relaxed);
    HIGH.store(high, Relaxed);
    drop(held);
    if let Some(d) = closed.as_ref().and_then(Ref::device) {
        guarded((), || d.file.closed());
    }
}

fn pages(start: usize, len: usize) -> Range<usize> {
    let page = page_size();
    start..start.saturating_add(len.checked_next_multiple_of(page).unwrap_or(len))
}

/// The description was mapped there.
pub fn add(start: usize, len: usize, slot: &Ref) {
    let Some(mut held) = hold() else { return };
    let (range, mut closed) = (pages(start, len), None);
    // MAP_FIXED has replaced what was there.
    held.remove(&range, |share| closed = share.give_up().or(closed.take()));
    // Without memory for it the mapping keeps nothing.
    if let Err(share) = held.insert(range, Share::of(slot.clone())) {
        share.give_up();
    }
    finish(held, closed);
}

/// What a number that goes leaves of a description.
pub enum Left {
    /// nothing: that was the last, and no mapping keeps it
    Last,
    Others,
    /// mappings, which keep it by this number
    Kept(RawFd),
}

/// Number `fd` of the description, which is still open, is about to be closed.
pub fn leave(slot: &Ref, device: &Device, fd: RawFd) -> Left {
    let held = hold();
    if device.is_mapped()
        && slot.fds() == 1
        && let Some(keeper) = guarded(None, || driver().keep(fd))
    {
        // `fds` counts it in the place of the number that goes.
        device.keeper.store(keeper, Release);
        drop(held);
        return Left::Kept(keeper);
    }
    match slot.drop_fd() {
        true => Left::Last,
        false => Left::Others,
    }
}

pub unsafe fn munmap(addr: *mut c_void, len: size_t) -> c_int {
    // SAFETY: the program's own arguments.
    let call = || unsafe { next::munmap(addr, len) };
    if touches(addr as usize, len) {
        return unmapped(pages(addr as usize, len), call, |r| *r == 0);
    }
    call()
}

/// mmap with MAP_FIXED of something that is no device, over what may be one.
pub unsafe fn map_over(
    addr: *mut c_void,
    len: size_t,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    // SAFETY: the program's own arguments.
    let call = || unsafe { next::mmap(addr, len, prot, flags, fd, offset) };
    unmapped(pages(addr as usize, len), call, |at| {
        *at != libc::MAP_FAILED
    })
}

pub unsafe fn shmat(id: c_int, addr: *const c_void, flags: c_int) -> *mut c_void {
    // SAFETY: the program's own arguments.
    let call = || unsafe { next::shmat(id, addr, flags) };
    if flags & libc::SHM_REMAP != 0
        && HIGH.load(Relaxed) != 0
        && let Some(len) = segment_size(id)
    {
        // SHM_RND cuts the address down.
        let at = addr as usize & !(page_size() - 1);
        return unmapped(pages(at, len), call, |at| *at != libc::MAP_FAILED);
    }
    call()
}

/// Bytes of a System V segment that may be attached.
fn segment_size(id: c_int) -> Option<usize> {
    let mut segment = MaybeUninit::<libc::shmid_ds>::zeroed();
    let args = [
        id as usize,
        libc::IPC_STAT as usize,
        segment.as_mut_ptr() as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the kernel fills in the structure, or says that it does not; zeroes are one as well.
    unsafe {
        raw::check(raw::call(libc::SYS_shmctl, args)).ok()?;
        Some(segment.assume_init().shm_segsz)
    }
}

/// Does a call that, if it is `done`, leaves nothing of what was mapped in `range`.
#[cold]
fn unmapped<T>(range: Range<usize>, call: impl FnOnce() -> T, done: impl Fn(&T) -> bool) -> T {
    let Some(mut held) = hold() else {
        return call();
    };
    let (result, mut closed) = (call(), None);
    if done(&result) {
        held.remove(&range, |share| closed = share.give_up().or(closed.take()));
    }
    finish(held, closed);
    result
}

pub unsafe fn mremap(
    old: *mut c_void,
    old_len: size_t,
    new_len: size_t,
    flags: c_int,
    new: *mut c_void,
) -> *mut c_void {
    // SAFETY: the program's own arguments.
    let call = || unsafe { next::mremap(old, old_len, new_len, flags, new) };
    let to_new = flags & libc::MREMAP_FIXED != 0;
    // Without an old length it is a second mapping of what is there.
    if touches(old as usize, old_len.max(1)) || to_new && touches(new as usize, new_len) {
        return remapped(pages(old as usize, old_len), new_len, flags, call);
    }
    call()
}

#[cold]
fn remapped(
    from: Range<usize>,
    new_len: usize,
    flags: c_int,
    call: impl FnOnce() -> *mut c_void,
) -> *mut c_void {
    let Some(mut held) = hold() else {
        return call();
    };
    let at = call();
    if at == libc::MAP_FAILED {
        finish(held, None);
        return at;
    }
    let (to, mut closed) = (pages(at as usize, new_len), None);
    let mut gone = |share: Share| closed = share.give_up().or(closed.take());
    if to.start != from.start {
        held.remove(&to, &mut gone);
    }
    if from.is_empty() || flags & libc::MREMAP_DONTUNMAP != 0 {
        let second = held.find(from.start).cloned();
        if let Some(Err(share)) = second.map(|share| held.insert(to, share)) {
            gone(share);
        }
    } else {
        held.relocate(&from, &to, &mut gone);
    }
    finish(held, closed);
    at
}

/// Before a fork, when all other locks that it needs are held: nothing here is half done.
pub fn before_fork() {
    MAPPED.hold();
}

/// After it, in the parent.
///
/// # Safety
/// `before_fork` of this thread holds it.
pub unsafe fn after_fork_in_parent() {
    // SAFETY: by contract.
    unsafe { MAPPED.release() };
}

/// After it, in the child: what `f` does to devices that are closed but mapped, which no number leads to.
///
/// # Safety
/// This is the copy of the thread whose `before_fork` holds it.
pub unsafe fn after_fork_in_child(mut f: impl FnMut(&Device)) {
    // SAFETY: by contract.
    unsafe { MAPPED.release() };
    MAPPED.lock().for_each(|share| {
        share.0.device().inspect(|d| f(d));
    });
}
