//! The memory that the benchmark shares with its workers: flags, counters, samples, and the rings
//! of the limit loops. Each worker gets it as its standard input.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::thread::futex;

use super::histogram::Counters;
use super::raw::{Line, Memory, Slot};
use uvale_shared::shm::{Memfd, Shared};

/// Workers that may exist at a time.
pub const WORKERS: usize = 64;
/// Groups of workers that are started and stopped together.
pub const GROUPS: usize = 16;
/// Slots of a ring, netmap's default.
pub const SLOTS: usize = 1024;
/// Lines of a buffer, netmap's default of 2048 bytes.
pub const BUFFER_LINES: usize = 32;
/// Pairs of sender and receiver that the limit loops of a contest can have.
pub const LANES: usize = 40;
/// Entries of the limit loops' table of addresses.
pub const TABLE: usize = 1024;

const IDLE: u32 = 0;
/// Value of a group's word while it runs.
pub const RUN: u32 = 1;
/// Value of it when its workers are to go home.
pub const QUIT: u32 = 2;

/// A word on cache lines of its own.
#[repr(C, align(128))]
pub struct Word {
    pub value: AtomicU32,
    /// somebody sleeps until it changes
    pub sleeps: AtomicU32,
    pad: [AtomicU32; 30],
}

/// What a worker tells.
#[repr(C, align(128))]
pub struct Worker {
    /// its process, when it is ready
    ready: AtomicU32,
    pad: AtomicU32,
    /// packets, or round trips
    pub count: AtomicU64,
    pad1: [AtomicU64; 14],
    pub latencies: Counters,
}

#[repr(C, align(4096))]
struct Header {
    groups: [Word; GROUPS],
    workers: [Worker; WORKERS],
}

/// What a sync locks and whom it wakes.
#[repr(C)]
pub struct Owed {
    /// of the sending ring, of the receiving ring, of those who fill it
    pub locks: [Word; 3],
    /// who sleeps until something has come, and until something has come back
    pub sleepers: [Word; 2],
}

/// A ring between one sender and one receiver of the limit loops: indices, slots and buffers as
/// netmap lays them out. `tx` and `rx` are the slots of the two rings.
#[repr(C, align(4096))]
pub struct Lane<const N: usize = SLOTS> {
    /// what the sender has published
    pub tail: Word,
    /// what the receiver has given back
    pub head: Word,
    /// of the loops that do what a sync owes (see `limit::synced`)
    pub owed: Owed,
    pub tx: [Slot; N],
    pub rx: [Slot; N],
    /// buffers of the sender, then of the receiver
    pub buffers: [[[Line; BUFFER_LINES]; N]; 2],
}

/// The limit loops' forwarding table.
#[repr(C, align(4096))]
pub struct Table(pub [AtomicU64; TABLE]);

// SAFETY of those below: repr(C), integer atomics and such structures only.
#[allow(unsafe_code, clippy::undocumented_unsafe_blocks)]
mod shared {
    use super::*;
    unsafe impl Shared for Word {}
    unsafe impl Shared for Owed {}
    unsafe impl Shared for Worker {}
    unsafe impl Shared for Counters {}
    unsafe impl Shared for Header {}
    unsafe impl<const N: usize> Shared for Lane<N> {}
    unsafe impl Shared for Table {}
}

const TABLE_AT: usize = size_of::<Header>();
const LANES_AT: usize = TABLE_AT + size_of::<Table>();
const LEN: usize = LANES_AT + LANES * size_of::<Lane>();

/// The shared memory, mapped.
pub struct Board {
    memory: Memory,
    memfd: Option<Memfd>,
}

impl Board {
    /// Makes a new one.
    pub fn new() -> Result<Self, String> {
        let memfd = Memfd::create("uvale-bench", LEN)
            .map_err(|e| format!("cannot make shared memory: {e}"))?;
        let number = memfd.as_fd();
        use std::os::fd::AsRawFd;
        let memory = Memory::map(&number.as_raw_fd(), LEN).map_err(|e| e.to_string())?;
        Ok(Self {
            memory,
            memfd: Some(memfd),
        })
    }

    /// The one that this process was given.
    pub fn from_stdin() -> Result<Self, String> {
        let size = rustix::fs::fstat(std::io::stdin())
            .map_err(|e| e.to_string())?
            .st_size;
        if usize::try_from(size) != Ok(LEN) {
            return Err("workers are started by `uvale bench` itself".into());
        }
        let memory = Memory::map(&std::io::stdin(), LEN).map_err(|e| e.to_string())?;
        Ok(Self {
            memory,
            memfd: None,
        })
    }

    /// A descriptor for a worker's standard input.
    pub fn descriptor(&self) -> Result<OwnedFd, String> {
        let memfd = self.memfd.as_ref().ok_or("not the maker of this board")?;
        memfd
            .as_fd()
            .try_clone_to_owned()
            .map_err(|e| e.to_string())
    }

    fn header(&self) -> &Header {
        self.memory.at(0).expect("the header fits: LEN covers it")
    }

    /// What worker `i` tells.
    #[inline]
    pub fn worker(&self, i: usize) -> &Worker {
        &self.header().workers[i]
    }

    /// The limit loops' ring number `i`.
    pub fn lane(&self, i: usize) -> Option<&Lane> {
        self.memory.at(LANES_AT + i * size_of::<Lane>())
    }

    /// The limit loops' table.
    pub fn table(&self) -> &Table {
        self.memory
            .at(TABLE_AT)
            .expect("the table fits: LEN covers it")
    }

    /// Where a worker that is no Rust program finds its part: how many bytes from the start it has to map, where the
    /// word of its group is, and where it says that it is ready, what it has counted, and latencies.
    pub fn places(index: usize, group: usize) -> [usize; 5] {
        let group = offset_of!(Header, groups) + group * size_of::<Word>();
        let worker = offset_of!(Header, workers) + index * size_of::<Worker>();
        [
            size_of::<Header>(),
            group + offset_of!(Word, value),
            worker + offset_of!(Worker, ready),
            worker + offset_of!(Worker, count),
            worker + offset_of!(Worker, latencies),
        ]
    }

    /// Forgets what former workers told.
    pub fn reset(&self) {
        for worker in &self.header().workers {
            worker.ready.store(0, Relaxed);
            worker.count.store(0, Relaxed);
        }
        for group in &self.header().groups {
            group.value.store(IDLE, Release);
        }
    }

    /// Lets group `i` run, or stops it.
    pub fn set_running(&self, i: usize, running: bool) {
        self.set(i, if running { RUN } else { IDLE });
    }

    /// Sends group `i` home.
    pub fn quit(&self, i: usize) {
        self.set(i, QUIT);
    }

    fn set(&self, i: usize, state: u32) {
        let word = &self.header().groups[i].value;
        word.store(state, Release);
        let _ = futex::wake(word, futex::Flags::empty(), u32::MAX >> 1);
    }

    /// Has worker `i` said that it is ready?
    pub fn is_ready(&self, i: usize) -> bool {
        self.process(i) != 0
    }

    /// The process of a worker that is ready; 0 if it is not.
    pub fn process(&self, i: usize) -> u32 {
        self.worker(i).ready.load(Acquire)
    }

    /// Says that worker `i` is ready.
    #[inline]
    pub fn tell_ready(&self, i: usize) {
        self.worker(i).ready.store(std::process::id(), Release);
    }

    /// Waits until group `i` runs; false: go home.
    #[inline]
    pub fn wait_to_run(&self, i: usize) -> bool {
        let word = &self.header().groups[i].value;
        loop {
            match word.load(Acquire) {
                RUN => return true,
                QUIT => return false,
                seen => {
                    let timeout = futex::Timespec {
                        tv_sec: 0,
                        tv_nsec: 100_000_000,
                    };
                    let _ = futex::wait(word, futex::Flags::empty(), seen, Some(&timeout));
                }
            }
        }
    }

    /// The word to look at in a loop.
    #[inline]
    pub fn flag(&self, group: usize) -> Running<'_> {
        Running(&self.header().groups[group].value)
    }
}

/// Is the group of a worker running?
#[derive(Clone, Copy)]
pub struct Running<'a>(&'a AtomicU32);

impl Running<'_> {
    /// One load of a line that nobody writes meanwhile.
    #[inline(always)]
    pub fn is_set(self) -> bool {
        self.0.load(Relaxed) == RUN
    }
}

/// A worker's place: where it tells, and when it performs.
pub struct Stage<'a> {
    board: &'a Board,
    index: usize,
    group: usize,
}

impl<'a> Stage<'a> {
    /// The place of worker `index`, which starts and stops with `group`.
    #[inline]
    pub fn new(board: &'a Board, index: usize, group: usize) -> Self {
        Self {
            board,
            index,
            group,
        }
    }

    /// Where this worker tells.
    #[inline]
    pub fn me(&self) -> &'a Worker {
        self.board.worker(self.index)
    }

    /// Calls `part` whenever the group runs, until it is sent home. `part` returns when the flag
    /// is no longer set.
    #[inline]
    pub fn perform(
        &self,
        mut part: impl FnMut(Running<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        self.board.tell_ready(self.index);
        while self.board.wait_to_run(self.group) {
            part(self.board.flag(self.group))?;
        }
        Ok(())
    }

    /// Repeats `step` while the group runs and adds up what it says.
    #[inline(always)]
    pub fn count(
        &self,
        running: Running<'_>,
        mut step: impl FnMut() -> Result<u32, String>,
    ) -> Result<(), String> {
        let total = &self.me().count;
        let mut sum = total.load(Relaxed);
        while running.is_set() {
            let n = step()?;
            if n != 0 {
                sum += u64::from(n);
                total.store(sum, Relaxed);
            }
        }
        Ok(())
    }
}

/// Waits for `condition`, asking `alive` meanwhile; false when the time is over.
pub fn wait_for(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}
