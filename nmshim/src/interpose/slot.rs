//! Open file descriptions that are ours, in memory that is never given back.
//!
//! A slot is counted (`refs`: table words, users, epoll interests). Because its memory stays a slot forever,
//! a thread may try to take a reference on a slot it read from the table a moment ago: at zero it
//! fails, otherwise the table is asked again whether the slot is still the one meant.
//!
//! | state | refs | goes to | prohibited |
//! |---|---|---|---|
//! | live | > 0 | retired when the last reference goes | reuse, dropping the object |
//! | retired | 0 | free when somebody opens, and nobody reads it (`reap`) | taking a reference |
//! | free | 0 | live | taking a reference, touching the object |
//!
//! Retiring is two atomic operations, so close() stays async-signal-safe; the object (allocations,
//! mappings) is dropped at the next open. What others would notice, the sockets of a NIC port, goes at the close itself
//! (`File::closed`).

use super::epoll::set::Epoll;
use super::gate::SleepGate;
use super::name::Name;
use super::table;
use crate::device::{Errno, File, Result};
use crate::ground::guarded::{caught, guarded};
use crate::ground::readers::{self, Others};
use crate::ground::section::Reading;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering::*};
use libc::{POLLERR, POLLHUP, c_int, c_short, c_ulong, c_void};
use std::os::fd::RawFd;
use std::sync::Arc;

/// What a slot holds.
pub enum Object {
    Device(Device),
    Epoll(Epoll),
    /// an ordinary descriptor that stands for a name of ours
    Named(Name),
}

/// One description of the device.
pub struct Device {
    pub file: Kept,
    pub gate: SleepGate,
    /// Stretches of addresses at which it is mapped.
    pub mappings: AtomicUsize,
    /// See `mapped`; negative if there is none.
    pub keeper: AtomicI32,
}

/// A file with a share in it, and at hand: where it lies in its `Arc` is to be computed otherwise, each time.
pub struct Kept {
    at: NonNull<dyn File>,
    arc: Arc<dyn File>,
}

// SAFETY: a reference to a file, which is Send and Sync, and a share in it.
unsafe impl Send for Kept {}
// SAFETY: as above.
unsafe impl Sync for Kept {}

impl Kept {
    /// Is it this one?
    pub fn is(&self, file: &Arc<dyn File>) -> bool {
        Arc::ptr_eq(&self.arc, file)
    }
}

impl core::ops::Deref for Kept {
    type Target = dyn File;

    #[inline(always)]
    fn deref(&self) -> &Self::Target {
        // SAFETY: of `arc`, which lives as long as `self`.
        unsafe { self.at.as_ref() }
    }
}

/// See the module. Aligned so that the table can keep tags in the low bits.
#[repr(align(64))]
pub struct Slot {
    refs: AtomicUsize,
    fds: AtomicUsize,
    next: AtomicPtr<Slot>,
    object: UnsafeCell<MaybeUninit<Object>>,
}

// SAFETY: counters are atomic; the object is Sync and is written only while no reference exists.
unsafe impl Sync for Slot {}

/// A counted reference to a live slot.
pub struct Ref(NonNull<Slot>);

// SAFETY: a Ref is a counted pointer to a Sync slot.
unsafe impl Send for Ref {}
// SAFETY: as above.
unsafe impl Sync for Ref {}

static RETIRED: AtomicPtr<Slot> = AtomicPtr::new(null_mut());
/// Retired ones that somebody may have read when they were looked at last. Changed by who is `readers::alone`.
static WAITING: AtomicPtr<Slot> = AtomicPtr::new(null_mut());
static FREE: AtomicPtr<Slot> = AtomicPtr::new(null_mut());

impl Ref {
    /// A live slot around `object`, with one reference and no descriptor yet.
    pub fn new(object: Object) -> Self {
        reap();
        let slot = pop_free();
        // SAFETY: a free slot is owned by whoever took it off the list; refs is 0, so nobody else
        // touches the object.
        unsafe { (*slot.as_ref().object.get()).write(object) };
        // SAFETY: slots are never unmapped.
        let s = unsafe { slot.as_ref() };
        s.fds.store(0, Relaxed);
        // SYNC POINT: Release pairs with the Acquire in `try_take`: who gets a reference sees the object.
        s.refs.store(1, Release);
        Self(slot)
    }

    /// A reference to the slot at `p` unless its last one is gone.
    pub fn try_take(p: NonNull<Slot>) -> Option<Self> {
        // SAFETY: `p` came from the table, so it points to a slot, and slots are never unmapped.
        let refs = unsafe { &p.as_ref().refs };
        refs.fetch_update(Acquire, Relaxed, |n| (n != 0).then_some(n + 1))
            .ok()
            .map(|_| Self(p))
    }

    /// Hands the count over to a table word.
    pub fn into_raw(self) -> NonNull<Slot> {
        let p = self.0;
        core::mem::forget(self);
        p
    }

    /// Takes the count of a table word back.
    ///
    /// # Safety
    /// `p` must come from `into_raw`, each time once.
    pub unsafe fn from_raw(p: NonNull<Slot>) -> Self {
        Self(p)
    }

    /// The word that stands for it in the table.
    pub fn word(&self) -> usize {
        let tag = match self.object() {
            Object::Epoll(e) if !e.active() => table::DORMANT,
            Object::Named(_) => table::DORMANT,
            Object::Epoll(_) => table::LIVE,
            Object::Device(_) => table::DEVICE,
        };
        self.address() | tag
    }

    fn address(&self) -> usize {
        self.0.as_ptr() as usize
    }

    /// Is it what this word stands for?
    pub fn is_in(&self, word: usize) -> bool {
        table::address(word) == self.address()
    }

    /// Does it stand under `fd`?
    pub fn is_at(&self, fd: RawFd) -> bool {
        self.is_in(table::word(fd))
    }

    /// A number under which it is open: `hint` if it still is; `None` if it is closed.
    pub fn open_number(&self, hint: RawFd) -> Option<RawFd> {
        if self.is_at(hint) {
            return Some(hint);
        }
        if let Some(keeper) = self.device().and_then(Device::keeper) {
            return Some(keeper);
        }
        let mut found = None;
        table::for_each(0, RawFd::MAX, |fd, w| {
            if self.is_in(w) {
                found = Some(fd);
            }
        });
        found
    }

    /// The same for one that somebody keeps open: `hint` if not.
    pub fn number(&self, hint: RawFd) -> RawFd {
        self.open_number(hint).unwrap_or(hint)
    }

    fn slot(&self) -> &Slot {
        // SAFETY: slots are never unmapped.
        unsafe { self.0.as_ref() }
    }

    pub fn object(&self) -> &Object {
        // SAFETY: the slot is live while a reference exists, and a live slot's object is initialised
        // and only shared.
        unsafe { (*self.slot().object.get()).assume_init_ref() }
    }

    pub fn device(&self) -> Option<&Device> {
        match self.object() {
            Object::Device(d) => Some(d),
            _ => None,
        }
    }

    pub fn epoll(&self) -> Option<&Epoll> {
        match self.object() {
            Object::Epoll(e) => Some(e),
            _ => None,
        }
    }

    /// Descriptors of this process that the table knows.
    pub fn fds(&self) -> usize {
        self.slot().fds.load(Acquire)
    }

    pub fn add_fd(&self) {
        self.slot().fds.fetch_add(1, AcqRel);
    }

    /// True: that was the last one.
    pub fn drop_fd(&self) -> bool {
        self.slot().fds.fetch_sub(1, AcqRel) == 1
    }
}

impl Clone for Ref {
    fn clone(&self) -> Self {
        self.slot().refs.fetch_add(1, Relaxed);
        Self(self.0)
    }
}

impl Drop for Ref {
    #[inline(always)]
    fn drop(&mut self) {
        if self.slot().refs.fetch_sub(1, AcqRel) == 1 {
            retire(self.0);
        }
    }
}

/// Leaves a slot whose last reference is gone to the next open.
#[cold]
#[inline(never)]
fn retire(slot: NonNull<Slot>) {
    push(&RETIRED, slot);
}

impl PartialEq for Ref {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// The device that `word`, which the table has just said, stands for, if it is one: for the time of a short call, of
/// which nobody need know.
#[inline(always)]
pub fn device_read(_: &Reading, word: usize) -> Option<&Device> {
    if !table::is_device(word) {
        return None;
    }
    let slot = table::address(word) as *const Slot;
    // SAFETY: the word was in the table after this section began, so the slot in it was live and held a device
    // (`Ref::word`), and its object stays until the section has ended (`reap`).
    unsafe {
        match (*(*slot).object.get()).assume_init_ref() {
            Object::Device(device) => Some(device),
            _ => core::hint::unreachable_unchecked(),
        }
    }
}

/// The slot that a word of the table points to.
pub fn in_word(word: usize) -> Option<NonNull<Slot>> {
    NonNull::new(table::address(word) as *mut Slot)
}

fn push(list: &AtomicPtr<Slot>, slot: NonNull<Slot>) {
    // SAFETY: slots are never unmapped; `next` belongs to whoever owns the unlinked slot.
    let next = unsafe { &slot.as_ref().next };
    let _ = list.fetch_update(AcqRel, Acquire, |head| {
        next.store(head, Relaxed);
        Some(slot.as_ptr())
    });
}

/// Takes a whole list: no ABA problem, whoever swaps owns all of it.
fn take_all(list: &AtomicPtr<Slot>) -> impl Iterator<Item = NonNull<Slot>> {
    chain(list.swap(null_mut(), AcqRel))
}

/// The slots of a list that is the caller's.
fn chain(mut head: *mut Slot) -> impl Iterator<Item = NonNull<Slot>> {
    core::iter::from_fn(move || {
        let slot = NonNull::new(head)?;
        // SAFETY: slots are never unmapped, and the unlinked list is the caller's.
        head = unsafe { slot.as_ref().next.load(Relaxed) };
        Some(slot)
    })
}

/// Drops what was closed since the last time, and whom nobody reads. Not async-signal-safe.
fn reap() {
    for slot in unread().into_iter().flat_map(chain) {
        // SAFETY: retired means that no reference exists and none can be taken, and who has read it without
        // one has passed; lists are taken as a whole, so this slot is seen here once.
        let object = unsafe { (*slot.as_ref().object.get()).assume_init_read() };
        guarded((), move || drop(object));
        push(&FREE, slot);
    }
}

/// Two lists of retired slots that nobody reads any more. Others begin to wait.
fn unread() -> [*mut Slot; 2] {
    const NOTHING: *mut Slot = null_mut();
    if RETIRED.load(Relaxed).is_null() && WAITING.load(Relaxed).is_null() {
        return [NOTHING; 2];
    }
    let readers = readers::alone();
    if !WAITING.load(Acquire).is_null() && !readers.have_passed() {
        return [NOTHING; 2];
    }
    let waited = WAITING.swap(NOTHING, AcqRel);
    // Taken before the look: who reads one of them is seen.
    let retired = RETIRED.swap(NOTHING, AcqRel);
    if retired.is_null() {
        return [waited, NOTHING];
    }
    match readers.look() {
        Others::DoNot => [waited, retired],
        Others::Read => {
            WAITING.store(retired, Release);
            [waited, NOTHING]
        }
        Others::Unknown => {
            chain(retired).for_each(|slot| push(&RETIRED, slot));
            [waited, NOTHING]
        }
    }
}

fn pop_free() -> NonNull<Slot> {
    let mut all = take_all(&FREE);
    let first = all.next();
    for other in all {
        push(&FREE, other);
    }
    first.unwrap_or_else(|| {
        NonNull::from(Box::leak(Box::new(Slot {
            refs: AtomicUsize::new(0),
            fds: AtomicUsize::new(0),
            next: AtomicPtr::new(null_mut()),
            object: UnsafeCell::new(MaybeUninit::uninit()),
        })))
    })
}

impl Device {
    pub fn new(file: Arc<dyn File>) -> Self {
        Self {
            file: Kept {
                at: NonNull::from(&*file),
                arc: file,
            },
            gate: SleepGate::new(),
            mappings: AtomicUsize::new(0),
            keeper: AtomicI32::new(-1),
        }
    }

    /// The number that keeps it open for its mappings, if there is one.
    pub fn keeper(&self) -> Option<RawFd> {
        let keeper = self.keeper.load(Acquire);
        (keeper >= 0).then_some(keeper)
    }

    /// Is any page of it mapped here?
    pub fn is_mapped(&self) -> bool {
        self.mappings.load(Relaxed) != 0
    }

    /// Within a section.
    #[inline(always)]
    pub fn ioctl(&self, fd: RawFd, request: c_ulong, arg: *mut c_void) -> Result<c_int> {
        caught(Err(Errno(libc::EIO)), || self.file.ioctl(fd, request, arg))
    }

    /// Within a section.
    #[inline(always)]
    pub fn poll(&self, fd: RawFd, events: c_short) -> c_short {
        caught(POLLERR, || self.file.poll(fd, events)) & (events | POLLERR | POLLHUP)
    }

    pub fn spin(&self, fd: RawFd, events: c_short) -> c_short {
        guarded(0, || self.file.spin(fd, events))
    }

    pub fn arm(&self, fd: RawFd, events: c_short) {
        guarded((), || self.file.arm(fd, events));
    }

    pub fn disarm(&self, fd: RawFd, events: c_short) {
        guarded((), || self.file.disarm(fd, events));
    }

    pub fn edges(&self) -> u64 {
        guarded(0, || self.file.edges())
    }
}
