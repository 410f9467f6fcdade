//! Which descriptors are ours: one word per descriptor, read without locks. `lookup` and `entries` know what the
//! words stand for.
//!
//! | word | meaning | bit 0 |
//! |---|---|---|
//! | 0 | ordinary | 0 |
//! | `EPOLL` / `EPOLL_WAITED` | an epoll descriptor without any of ours in it / on which a thread may sleep | 0 |
//! | `CANDIDATE` | a socket that came from elsewhere; the driver is asked at its first use | 1 |
//! | slot + `DEVICE` | a device | 1 |
//! | slot + `LIVE` | an epoll set with devices in it | 1 |
//! | slot + `DORMANT` | an epoll set known under several numbers or nested, without devices so far; a named file | 0 |
//!
//! So "is it ours?" is one load and one branch on bit 0. A vfork child runs on our memory but on a
//! descriptor table of its own: nothing here may be changed there (`vfork`).

use crate::ground::raw;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize, Ordering::*};
use libc::c_int;

const NEAR: usize = 4096;
const FAR: usize = 256;
type Chunk = [AtomicUsize; NEAR];

pub const EPOLL: usize = 4;
pub const EPOLL_WAITED: usize = 8;
pub const CANDIDATE: usize = 1;
pub const LIVE: usize = 1;
pub const DORMANT: usize = 2;
pub const DEVICE: usize = LIVE | 16;
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

/// The place of the word of a number that is not high; `None` of others.
#[inline(always)]
pub fn near(fd: c_int) -> Option<&'static AtomicUsize> {
    FIRST.get(fd as u32 as usize)
}

/// The place of any number's word, if there is one.
pub fn place(fd: c_int) -> Option<&'static AtomicUsize> {
    let i = fd as u32 as usize;
    chunk(i / NEAR).map(|c| &c[i % NEAR])
}

/// Is the word one of ours (bit 0)?
#[inline(always)]
pub fn ours(word: usize) -> bool {
    word & LIVE != 0
}

/// Does it stand for a slot with a device?
#[inline(always)]
pub fn is_device(word: usize) -> bool {
    word & (DEVICE & !LIVE) != 0
}

#[inline(never)]
fn far_word(i: usize) -> usize {
    place(i as c_int).map_or(0, |word| word.load(Acquire))
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

/// Puts another word in the place of `fd`'s, which is the answer. `None`: no room for that number.
pub fn swap(fd: c_int, word: usize) -> Option<usize> {
    cell(fd).map(|c| c.swap(word, AcqRel))
}

/// Is there room for that number?
pub fn has_room(fd: c_int) -> bool {
    cell(fd).is_some()
}

/// Where the slot is that a word stands for; 0: it stands for none.
pub fn address(word: usize) -> usize {
    word & !TAG
}

/// Changes a word that still is `from`.
pub fn change(fd: c_int, from: usize, to: usize) -> bool {
    cell(fd).is_some_and(|c| c.compare_exchange(from, to, AcqRel, Relaxed).is_ok())
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
