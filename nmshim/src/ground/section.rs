//! Sections: stretches of our own code that are to the program what a system call is.
//!
//! In the kernel no signal handler runs in the middle of a sync, and no thread ends there. Here a sync is ordinary
//! code, so each stretch that holds a lock or calls the driver is a section of its thread: a handler that comes
//! meanwhile waits until the section is over (`handlers`), and so does asynchronous cancellation. A section
//! makes no system call unless one of them comes.
//!
//! | state of a thread | enter | leave | signal |
//! |---|---|---|---|
//! | outside (depth 0) | depth 1; an asynchronous cancellation is put off | - | its handler runs |
//! | inside | depth + 1 | depth - 1; at 0 signals come in again, then cancellation | put off, all of them blocked |
//! | asleep (`outside`) | - | - | what sleeps is withdrawn, then the handler runs: it may jump away |
//!
//! Sections are held by plain calls at the entry points, not by guards: nothing is to be unwound where a handler may
//! jump or a thread may end. The state is in the thread's static TLS: no call, no allocation.

use super::served::Served;
use super::{mask, memory, next};
use core::arch::{asm, global_asm};
use core::ptr::null_mut;
use core::sync::atomic::{
    AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering::*, compiler_fence, fence,
};
use libc::c_int;

/// One thread's state. Read and written by the thread itself and by handlers that interrupt it.
#[repr(C)]
pub struct Thread {
    /// how many sections, one within another; `READING`; and in the upper half how many of these have ended
    depth: AtomicU32,
    /// what is to be minded where a section begins or ends: `DEFERRED`, `ASYNCHRONOUS`
    notes: AtomicU32,
    /// handlers of the program's that have begun and not come back
    handlers: AtomicU32,
    /// the mask to go back to once a signal was put off
    mask: AtomicU64,
    /// what was told that this thread sleeps
    asleep: AtomicPtr<*mut dyn Sleeper>,
    pub served: Served,
    /// end of the stack on which its trapped calls are served (`interpose::trap`); 0: none yet
    pub stack: AtomicUsize,
}

/// A signal was put off, all are blocked.
const DEFERRED: u32 = 1;
/// The program has asked for asynchronous cancellation.
const ASYNCHRONOUS: u32 = 2;
/// What the end of a section has to mind.
const MINDED: u32 = DEFERRED | ASYNCHRONOUS;

/// In `depth`: the outermost section reads.
const READING: u32 = 1 << 15;
/// In `depth`: how many sections.
const SECTIONS: u32 = READING - 1;
/// In `depth`: one section that read has ended.
const ENDED: u32 = 1 << 16;

/// What was told that a thread sleeps, and hears the contrary if a handler comes.
pub trait Sleeper {
    fn withdraw(&mut self);
}

global_asm!(
    ".section .tbss.nmshim_thread, \"awT\", %nobits",
    ".balign 64",
    ".hidden nmshim_thread",
    ".globl nmshim_thread",
    ".type nmshim_thread, %object",
    ".size nmshim_thread, 64",
    "nmshim_thread:",
    ".zero 64",
    ".previous",
);
const _: () = assert!(size_of::<Thread>() <= 64);

/// The calling thread's state.
#[inline(always)]
pub fn this() -> &'static Thread {
    let p: *const Thread;
    // SAFETY: the address of a thread-local object, by the initial-exec model of each architecture. Zero bytes
    // are a valid Thread; it is used by this thread alone, so 'static does not outlive it.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("mov {p}, qword ptr [rip + nmshim_thread@GOTTPOFF]", "add {p}, qword ptr fs:[0]",
             p = out(reg) p, options(nostack, readonly, pure));
        #[cfg(target_arch = "aarch64")]
        asm!("adrp {p}, :gottprel:nmshim_thread", "ldr {p}, [{p}, :gottprel_lo12:nmshim_thread]",
             "mrs {t}, tpidr_el0", "add {p}, {p}, {t}",
             p = out(reg) p, t = out(reg) _, options(nostack, readonly, pure));
        &*p
    }
}

/// Begins a section, or one within another.
#[inline(always)]
pub fn enter() {
    let t = this();
    t.depth
        .store(t.depth.load(Relaxed).wrapping_add(1), Relaxed);
    compiler_fence(SeqCst);
    if t.has(ASYNCHRONOUS) {
        put_cancellation_off();
    }
}

/// The outermost section has begun: its thread is not cancelled until it is over.
#[cold]
pub fn put_cancellation_off() {
    let t = this();
    if t.has(ASYNCHRONOUS) && t.depth.load(Relaxed) & SECTIONS == 1 {
        cancellation(libc_cancel::DEFERRED);
    }
}

/// Ends it. The outermost one may run handlers here, and the thread may end.
#[inline(always)]
pub fn leave() {
    let t = this();
    compiler_fence(SeqCst);
    t.depth
        .store(t.depth.load(Relaxed).wrapping_sub(1), Relaxed);
    compiler_fence(SeqCst);
    if t.has(MINDED) {
        leave_at_last();
    }
}

/// A section of a thread in the list of `readers`, in which it may look at what others may be taking away: they wait
/// until it has ended. There is nothing else that says so, and nothing to be counted.
pub struct Reading(());

/// Why a section does not read.
#[derive(Clone, Copy)]
pub enum Plain {
    /// it would be within another one, and has not begun
    Nested,
    /// its thread has something to mind, or is not in the list
    Unlisted,
}

/// Begins one; if there is only a plain section for it, `readers::begin` has to follow.
#[inline(always)]
pub fn enter_reading() -> Result<Reading, Plain> {
    let t = this();
    let depth = t.depth.load(Relaxed);
    if depth & (READING | SECTIONS) != 0 {
        return Err(Plain::Nested);
    }
    t.depth.store(depth.wrapping_add(READING + 1), Relaxed);
    // What is read from here on is read after that is visible: to the processor by the barrier of `readers`, and to the
    // compiler by
    compiler_fence(SeqCst);
    match t.notes.load(Relaxed) == Thread::LISTED {
        true => Ok(Reading(())),
        false => Err(Plain::Unlisted),
    }
}

impl Reading {
    /// The section goes on, and does not read any more.
    #[cold]
    pub fn stop(self) {
        this().stop_reading();
    }

    /// Ends it; if something has come meanwhile, which is true, [`leave_at_last`] has to follow.
    #[inline(always)]
    #[must_use]
    pub fn leave(self) -> bool {
        let t = this();
        compiler_fence(SeqCst);
        let depth = t.depth.load(Relaxed).wrapping_add(ENDED - READING - 1);
        // SYNC POINT: Release pairs with the Acquire in `Thread::reads`: what was read comes before.
        t.depth.store(depth, Release);
        compiler_fence(SeqCst);
        t.notes.load(Relaxed) != Thread::LISTED
    }
}

/// What has waited for the end of the section, if that was the outermost one.
#[cold]
#[inline(never)]
pub fn leave_at_last() {
    let t = this();
    if t.is_inside() {
        return;
    }
    if let Some(mask) = t.take_deferred() {
        mask::set_mask(&raw const mask, null_mut());
    }
    if t.has(ASYNCHRONOUS) {
        cancellation(libc_cancel::ASYNCHRONOUS);
    }
}

/// `f` as a section. It must not unwind.
#[inline(always)]
pub fn run<T>(f: impl FnOnce() -> T) -> T {
    enter();
    let value = f();
    leave();
    value
}

/// The sleep of a section: signals that the sleep lets in have their handlers run, after `sleeper` was told.
#[inline(always)]
pub fn outside<T>(sleeper: &mut (impl Sleeper + 'static), sleep: impl FnOnce() -> T) -> T {
    let t = this();
    let mut sleeper: *mut dyn Sleeper = sleeper;
    t.asleep.store(&raw mut sleeper, Relaxed);
    let value = t.aside(0, sleep);
    t.asleep.store(null_mut(), Relaxed);
    value
}

/// A section that lasts long lets handlers run that were put off.
#[inline]
pub fn breathe() {
    let t = this();
    if let Some(mask) = t.take_deferred() {
        t.aside(0, || mask::set_mask(&raw const mask, null_mut()));
    }
}

impl Thread {
    /// Noted: it is in the list of those that read (`readers`).
    const LISTED: u32 = 4;
    /// Noted: it never will be.
    const UNLISTED: u32 = 8;

    /// Is that noted? A handler that comes in between may note something else.
    #[inline(always)]
    fn has(&self, note: u32) -> bool {
        self.notes.load(Relaxed) & note != 0
    }

    /// Is this thread in a section?
    pub fn is_inside(&self) -> bool {
        self.depth.load(Relaxed) & SECTIONS != 0
    }

    /// In which section does the thread whose state was at `thread` read what others may be taking away? A number that
    /// the next 65,535 of its sections do not have; 0: it does not read, or there is no memory any more.
    ///
    /// # Safety
    /// Aligned as a [`Thread`].
    pub unsafe fn reads(thread: *const Self) -> u32 {
        // SAFETY: eight bytes, of which `depth` is the lower half, read as a whole; a fault is an answer.
        let word = unsafe { memory::read_word(thread.cast()) };
        // SYNC POINT: Acquire pairs with the Release in `Reading::leave`.
        fence(Acquire);
        match word {
            Ok(word) if word as u32 & READING != 0 => word as u32 & !SECTIONS,
            _ => 0,
        }
    }

    /// The section goes on, and does not read.
    pub fn stop_reading(&self) {
        let depth = self.depth.load(Relaxed).wrapping_add(ENDED - READING);
        self.depth.store(depth, Release);
    }

    /// Is it known whether it is in the list?
    pub fn is_asked(&self) -> bool {
        self.has(Self::LISTED | Self::UNLISTED)
    }

    /// Whether it is.
    pub fn list(&self, is_listed: bool) {
        let (now, not) = match is_listed {
            true => (Self::LISTED, Self::UNLISTED),
            false => (Self::UNLISTED, Self::LISTED),
        };
        self.notes.fetch_or(now, Relaxed);
        self.notes.fetch_and(!not, Relaxed);
    }

    /// Runs `f` at another depth: not to come back from it leaves the thread at that depth. A section that reads goes
    /// on to read.
    pub fn aside<T>(&self, depth: u32, f: impl FnOnce() -> T) -> T {
        let before = self.depth.load(Relaxed);
        self.depth.store(before & !SECTIONS | depth, Relaxed);
        compiler_fence(SeqCst);
        let value = f();
        compiler_fence(SeqCst);
        self.depth.store(before, Relaxed);
        value
    }

    /// Runs a handler of the program's. One that jumps away counts as running for as long as the thread lives.
    pub fn handle(&self, handler: impl FnOnce()) {
        let before = self.handlers.load(Relaxed);
        self.handlers.store(before.wrapping_add(1), Relaxed);
        compiler_fence(SeqCst);
        self.aside(0, handler);
        compiler_fence(SeqCst);
        self.handlers.store(before, Relaxed);
    }

    /// May this be a handler of the program's, which can have interrupted libc at any place?
    pub fn is_in_handler(&self) -> bool {
        self.handlers.load(Relaxed) != 0
    }

    /// A signal was put off; `mask` is the thread's own.
    pub fn defer(&self, mask: u64) {
        self.mask.store(mask, Relaxed);
        self.notes.fetch_or(DEFERRED, Relaxed);
    }

    /// The thread's own mask if signals were put off; from here on the caller sees to it.
    pub fn take_deferred(&self) -> Option<u64> {
        self.has(DEFERRED).then(|| {
            self.notes.fetch_and(!DEFERRED, Relaxed);
            self.mask.load(Relaxed)
        })
    }

    /// A handler is going to run in the middle of a sleep.
    pub fn withdraw_sleeper(&self) {
        let sleeper = self.asleep.swap(null_mut(), Relaxed);
        // SAFETY: null, or what `outside` of this thread, which is interrupted in its sleep, borrows exclusively.
        if let Some(sleeper) = unsafe { sleeper.as_ref().and_then(|s| s.as_mut()) } {
            sleeper.withdraw();
        }
    }
}

/// Kinds of cancellation, as glibc numbers them.
mod libc_cancel {
    pub const DEFERRED: super::c_int = 0;
    pub const ASYNCHRONOUS: super::c_int = 1;
}

#[cold]
fn cancellation(kind: c_int) {
    // SAFETY: a plain number, and nowhere to put the old one. May end the thread, with no frame of ours in between
    // that has anything to undo.
    unsafe { next::pthread_setcanceltype(kind, null_mut()) };
}

/// Blocking calls are cancellation points even when they need not block.
pub fn test_cancel() {
    unsafe extern "C-unwind" {
        fn pthread_testcancel();
    }
    // SAFETY: takes nothing; may unwind, with nothing of ours on the way but plain frames.
    unsafe { pthread_testcancel() }
}

/// # Safety
/// As the C function.
pub unsafe fn pthread_setcanceltype(kind: c_int, old: *mut c_int) -> c_int {
    // Noted first: a section of a handler that comes in between puts off what it need not.
    let is_asynchronous = kind == libc_cancel::ASYNCHRONOUS;
    if is_asynchronous {
        this().notes.fetch_or(ASYNCHRONOUS, Relaxed);
    }
    // SAFETY: the program's own arguments.
    let answer = unsafe { next::pthread_setcanceltype(kind, old) };
    if answer == 0 && !is_asynchronous {
        this().notes.fetch_and(!ASYNCHRONOUS, Relaxed);
    }
    answer
}

/// `f`, in which nothing is a cancellation point.
pub fn uncancelled<T>(f: impl FnOnce() -> T) -> T {
    unsafe extern "C" {
        fn pthread_setcancelstate(state: c_int, old: *mut c_int) -> c_int;
    }
    let mut before = 0;
    // SAFETY: `before` lives over both calls; 1 is PTHREAD_CANCEL_DISABLE in glibc and musl.
    unsafe { pthread_setcancelstate(1, &raw mut before) };
    let value = f();
    // SAFETY: as above; what libc has just given.
    unsafe { pthread_setcancelstate(before, null_mut()) };
    value
}
