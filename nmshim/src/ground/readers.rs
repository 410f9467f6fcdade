//! Threads that read what others may be taking away, and who waits for them.
//!
//! A thread that looks at a slot for the time of a short call does not count itself as a user of it: it is in a section
//! that says so (`section::Reading`), and that is all. Who has taken a slot out of the table notes in which sections
//! others read ([`Alone::look`]), and the object in it goes when these have ended ([`Alone::have_passed`]). It is the
//! asymmetric form of a read-copy-update: a barrier in all threads of the process (`membarrier`), made by who waits,
//! stands for one that each reader would have to make.
//!
//! | reader | who takes away |
//! |---|---|
//! | 1. notes that it reads | a. takes the word out of the table |
//! | 2. looks into the table | b. barrier in all threads |
//! | 3. uses what it has found | c. who reads, in which section? |
//! | 4. notes the end | d. if nobody, or when these have ended: drops the object |
//!
//! If the barrier comes before 2, the reader finds the word gone; if it comes after, 1 is seen by c, for 1 comes before
//! 2. What is not in the list counts instead: threads of a kernel without the barrier, those beyond [`MOST`], and those
//! that end.

use super::lock::{Lock, Locked};
use super::raw;
use super::section::{self, Plain, Thread};
use core::ptr::{null_mut, without_provenance_mut};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::*};
use libc::{c_void, pthread_key_t};

/// Threads in the list.
const MOST: usize = 1024;

static LIST: [AtomicPtr<Thread>; MOST] = [const { AtomicPtr::new(null_mut()) }; MOST];
/// By place in the list: the section in which its thread read at the last look; 0: it did not, or has left it since.
static SEEN: [AtomicU32; MOST] = [const { AtomicU32::new(0) }; MOST];
/// Who holds it sees threads that live: one that ends takes itself out of the list first, and its memory goes after.
static GOING: Lock<()> = Lock::new(());
/// One more than the key whose destructor does that; 0: there is none.
static KEY: AtomicU32 = AtomicU32::new(0);
static HAS_BARRIER: AtomicBool = AtomicBool::new(false);
/// Keys below this one have their place in each thread; for others glibc allocates one, which a handler may not.
const AT_HAND: pthread_key_t = 32;

/// When the library is loaded.
pub fn start() {
    let mut key: pthread_key_t = 0;
    // SAFETY: `key` lives; the destructor is a function of ours.
    let made = unsafe { libc::pthread_key_create(&raw mut key, Some(of_ended_thread)) } == 0;
    if made && key < AT_HAND {
        KEY.store(key + 1, Relaxed);
    }
}

/// The program uses the device: is there a barrier? Asked now, and not when a thread first reads, because a program may
/// have put itself into a sandbox by then.
pub fn ask() {
    let there = barrier(libc::MEMBARRIER_CMD_QUERY);
    // Never back: threads that are in the list have to be looked at.
    HAS_BARRIER.fetch_or(there > 0 && there & EXPEDITED != 0, Relaxed);
}

const EXPEDITED: isize = libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED as isize;

fn barrier(command: libc::c_int) -> isize {
    // SAFETY: takes plain numbers.
    unsafe { raw::call(libc::SYS_membarrier, [command as usize, 0, 0, 0, 0, 0]) }
}

/// What `section::enter_reading` has not done: the section begins if it has not, and does not read, the thread is put
/// into the list if it can be, for the next one, and its cancellation is put off.
#[cold]
pub fn begin(why: Plain) {
    if matches!(why, Plain::Nested) {
        return section::enter();
    }
    let thread = section::this();
    thread.stop_reading();
    if !thread.is_asked() {
        thread.list(enlist(thread));
    }
    section::put_cancellation_off();
}

/// Puts the calling thread into the list. False: it will never be there. Calls nothing that a signal handler may not.
fn enlist(thread: &'static Thread) -> bool {
    let key = KEY.load(Relaxed).checked_sub(1);
    let Some(key) = key.filter(|_| HAS_BARRIER.load(Relaxed)) else {
        return false;
    };
    let own = core::ptr::from_ref(thread).cast_mut();
    let is_taken = |place: &&AtomicPtr<Thread>| {
        place.load(Relaxed).is_null()
            && place
                .compare_exchange(null_mut(), own, Relaxed, Relaxed)
                .is_ok()
    };
    let Some(place) = LIST.iter().find(is_taken) else {
        return false;
    };
    // A value that is not null, so that the destructor is called.
    // SAFETY: the key was made at the start.
    if unsafe { libc::pthread_setspecific(key, without_provenance_mut::<c_void>(1)) } != 0 {
        place.store(null_mut(), Relaxed);
        return false;
    }
    true
}

/// The destructor of a thread that ends.
unsafe extern "C" fn of_ended_thread(_: *mut c_void) {
    let own = section::this();
    let _alone = GOING.lock();
    own.list(false);
    let own = core::ptr::from_ref(own).cast_mut();
    LIST.iter()
        .filter(|place| place.load(Relaxed) == own)
        .for_each(|place| place.store(null_mut(), Relaxed));
}

/// Who looks at the threads, one at a time.
pub struct Alone(#[allow(dead_code)] Locked<'static, ()>);

/// Whether others read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Others {
    Read,
    DoNot,
    /// a sandbox came in between: there is no barrier any more
    Unknown,
}

/// Waits for who looks just now.
pub fn alone() -> Alone {
    Alone(GOING.lock())
}

impl Alone {
    /// Notes who has perhaps a reference to what was taken out of the table before.
    pub fn look(&self) -> Others {
        if !HAS_BARRIER.load(Relaxed) {
            // Nobody is in the list.
            return Others::DoNot;
        }
        let register = libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
        let expedited = libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED;
        if barrier(expedited) != 0 && (barrier(register) != 0 || barrier(expedited) != 0) {
            return Others::Unknown;
        }
        let mut others = Others::DoNot;
        for (place, seen) in LIST.iter().zip(&SEEN) {
            let section = section_of(place);
            seen.store(section, Relaxed);
            if section != 0 {
                others = Others::Read;
            }
        }
        others
    }

    /// Have all sections ended that there were at the last look?
    pub fn have_passed(&self) -> bool {
        LIST.iter().zip(&SEEN).fold(true, |passed, (place, seen)| {
            let was = seen.load(Relaxed);
            if was == 0 || section_of(place) != was {
                seen.store(0, Relaxed);
                return passed;
            }
            false
        })
    }
}

/// The section in which the thread in that place of the list reads; 0: none.
fn section_of(place: &AtomicPtr<Thread>) -> u32 {
    let thread = place.load(Acquire);
    if thread.is_null() {
        return 0;
    }
    // One that has ended by a system call of its own has no destructor: its memory may be gone, or be another's.
    // SAFETY: an address where the state of a thread was; a fault is an answer.
    unsafe { Thread::reads(thread) }
}

/// Before a fork: nobody is in the middle of ending.
pub fn before_fork() {
    GOING.hold();
}

/// After it, in the parent.
///
/// # Safety
/// `before_fork` of this thread holds it.
pub unsafe fn after_fork_in_parent() {
    // SAFETY: by contract.
    unsafe { GOING.release() };
}

/// After it, in the child, which has one thread.
///
/// # Safety
/// This is the copy of the thread whose `before_fork` holds it.
pub unsafe fn after_fork_in_child() {
    // SAFETY: by contract.
    unsafe { GOING.release() };
    let own = core::ptr::from_ref(section::this()).cast_mut();
    LIST.iter()
        .filter(|place| place.load(Relaxed) != own)
        .for_each(|place| place.store(null_mut(), Relaxed));
}
