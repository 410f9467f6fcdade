//! The sync loops of a guest: threads that sync its rings for it. Each has a descriptor of its own with the rings that
//! it syncs, and an eventfd for the guest's kicks.
//!
//! | state | start | stop | unmap of the CSB | map | end |
//! |---|---|---|---|---|---|
//! | idle | running | idle | idle | idle | over |
//! | running | running, begun anew | idle | suspended | running | over |
//! | suspended | running, begun anew | idle | suspended | running, where it was | over |
//! | over | over | over | over | over | over |
//!
//! Whoever leaves "running" has joined the threads: nothing of the guest's RAM is touched any more, and what the guest
//! had written into the CSB before has been taken.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fd::AsFd;
use rustix::io::Errno;
use uvale_engine::csb::Manner;
use uvale_port::{POLLIN, POLLOUT, Port, RX, Woken};

use super::csb::{ENTRY, Entry, GuestCsb};
use super::interrupts::Interrupts;
use super::part::{Kick, Part};
use super::still::{Kicked, Still};
use crate::guest_memory::{GuestMemory, Words};

/// Looks in a row that find nothing before the clock is asked.
const LOOKS: u32 = 64;
/// Sleeps while the guest may give something back without a kick: each is twice as long as the one before.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(3);

/// A thread.
struct Running {
    kick: Arc<Kick>,
    thread: JoinHandle<()>,
}

enum State {
    Idle,
    Running {
        threads: Vec<Running>,
        arrays: [Words; 2],
        still: Still,
    },
    Suspended,
    Over,
}

/// The loops of a guest.
pub struct Loops {
    rings: usize,
    interrupts: Arc<Interrupts>,
    spin: Duration,
    kicks: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    parts: Vec<Part>,
    state: State,
}

/// Why no loop could be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoLoop {
    /// an array of the CSB does not lie in RAM that is mapped
    NoCsb,
    /// the system does not give a thread
    NoThread,
    /// this process is about to end
    Over,
}

impl Loops {
    /// `ports` have all `rings` (tx, rx) among them. A loop looks for `spin` before it sleeps.
    pub fn new(
        ports: Vec<Arc<Port>>,
        rings: [usize; 2],
        interrupts: Arc<Interrupts>,
        spin: Duration,
    ) -> Result<Self, Errno> {
        let parts = ports.into_iter().map(|port| Part::new(port, rings[0]));
        let inner = Inner {
            parts: parts.collect::<Result<_, _>>()?,
            state: State::Idle,
        };
        Ok(Self {
            rings: rings[0] + rings[1],
            interrupts,
            spin,
            kicks: AtomicU64::new(0),
            inner: Mutex::new(inner),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kicks since the beginning.
    pub fn kicks(&self) -> u64 {
        self.kicks.load(Relaxed)
    }

    /// The guest wants ring `entry` to be looked at.
    pub fn kick(&self, entry: usize) -> Kicked {
        let mut inner = self.inner();
        if let Some(part) = inner.parts.iter().find(|p| p.has(entry)) {
            self.kicks.fetch_add(1, Relaxed);
            part.kick.kick();
        }
        match &mut inner.state {
            State::Running { still, arrays, .. } => still.kick(&arrays[0]),
            _ => Kicked::Well,
        }
    }

    /// Starts with the arrays at guest addresses `csb`, guest to host first.
    pub fn start(&self, memory: &GuestMemory, csb: [u64; 2]) -> Result<(), NoLoop> {
        self.run(memory, csb, true)
    }

    /// Goes on if it was suspended and the CSB is there again.
    pub fn resume(&self, memory: &GuestMemory, csb: [u64; 2]) {
        if matches!(self.inner().state, State::Suspended) {
            let _ = self.run(memory, csb, false);
        }
    }

    fn run(&self, memory: &GuestMemory, csb: [u64; 2], anew: bool) -> Result<(), NoLoop> {
        let mut inner = self.inner();
        let Inner { parts, state } = &mut *inner;
        stop(state, if anew { State::Idle } else { State::Suspended });
        if matches!(state, State::Over) {
            return Err(NoLoop::Over);
        }
        let array = |guest: u64| {
            let words = (guest != 0).then(|| memory.words(guest, self.rings * ENTRY));
            words.flatten().ok_or(NoLoop::NoCsb)
        };
        let arrays = [array(csb[0])?, array(csb[1])?];
        let begun = |part: &Part| {
            let csb = GuestCsb::new(arrays[0].clone(), arrays[1].clone(), &part.entries);
            if anew {
                part.port.attachment().csb_init(&csb);
            }
            csb
        };
        let csbs: Vec<GuestCsb> = parts.iter().map(begun).collect();
        let still = Still::new(&arrays[0]);
        let mut threads = Vec::new();
        for (part, csb) in parts.iter().zip(csbs) {
            part.kick.is_over.store(false, Relaxed);
            let looped = Loop {
                port: part.port.clone(),
                csb,
                entries: part.entries.clone(),
                tx: part.tx,
                kick: part.kick.clone(),
                interrupts: self.interrupts.clone(),
                spin: self.spin,
            };
            let thread = std::thread::Builder::new().name("sync loop".into());
            match thread.spawn(move || looped.run()) {
                Ok(thread) => threads.push(Running {
                    kick: part.kick.clone(),
                    thread,
                }),
                Err(_) => {
                    threads.into_iter().for_each(Running::join);
                    return Err(NoLoop::NoThread);
                }
            }
        }
        *state = State::Running {
            threads,
            arrays,
            still,
        };
        Ok(())
    }

    /// Stops.
    pub fn stop(&self) {
        stop(&mut self.inner().state, State::Idle);
    }

    /// Stops, and throws away what has arrived: the next guest is another one.
    pub fn forget(&self) {
        let mut inner = self.inner();
        stop(&mut inner.state, State::Idle);
        inner.parts.iter().for_each(Part::flush);
    }

    /// Stops for good, and gives the ports back.
    pub fn end(&self) -> Vec<Arc<Port>> {
        let mut inner = self.inner();
        stop(&mut inner.state, State::Over);
        inner.parts.drain(..).map(|part| part.port).collect()
    }

    /// `len` bytes of the guest's RAM from `guest` on are about to go: stops if the CSB lies there.
    pub fn suspend(&self, guest: u64, len: u64) {
        let state = &mut self.inner().state;
        let is_hit = |arrays: &[Words; 2]| arrays.iter().any(|a| a.touches(guest, len));
        if matches!(state, State::Running { arrays, .. } if is_hit(arrays)) {
            stop(state, State::Suspended);
        }
    }
}

/// Joins the threads; then the state is `next`, unless it is over already.
fn stop(state: &mut State, next: State) {
    let before = std::mem::replace(state, next);
    if let State::Running { threads, .. } = before {
        threads.into_iter().for_each(Running::join);
    } else if let State::Over = before {
        *state = State::Over;
    }
}

impl Running {
    fn join(self) {
        self.kick.is_over.store(true, Release);
        self.kick.kick();
        let _ = self.thread.join();
    }
}

/// One loop, in its thread.
struct Loop {
    port: Arc<Port>,
    csb: GuestCsb,
    entries: Vec<Entry>,
    tx: usize,
    kick: Arc<Kick>,
    interrupts: Arc<Interrupts>,
    spin: Duration,
}

impl Loop {
    /// Until it is told to stop, or the port is lost.
    fn run(&self) {
        let mut nap = SHORTEST;
        // The last sleep was a short one, in the middle of a guest's stream.
        let mut is_stream = false;
        while !self.kick.is_over.load(Acquire) {
            self.passes();
            let has_moved = self.csb.has_moved();
            if has_moved {
                nap = SHORTEST;
            } else if !is_stream {
                nap = LONGEST.min(nap * 2);
            }
            if has_moved || !is_stream && self.finds_something() {
                is_stream = false;
                continue;
            }
            let soon = self.csb.ask_for_kicks(Instant::now());
            is_stream = soon.is_some();
            let others = [(self.kick.event.as_fd(), PollFlags::IN)];
            let late = self.csb.is_incomplete().then_some(nap);
            let longest = [soon, late].into_iter().flatten().min();
            let woken = self.port.wait_at(
                POLLIN | POLLOUT,
                &|dir, i| self.counts(dir, i),
                &others,
                longest,
                &|| self.csb.has_news(),
            );
            self.kick.forget();
            if woken == Woken::Lost || !self.port.is_alive() {
                return;
            }
        }
        // What the guest has sent and given back before it stopped counts: who comes next starts there.
        self.passes();
    }

    /// A pass over each ring: none waits for another to be done.
    fn passes(&self) {
        let host = &**self.port.session();
        let now = Instant::now();
        for (i, entry) in self.entries.iter().enumerate() {
            let tell = || self.interrupts.raise(entry.number);
            // One sync a pass; when to ask for kicks is decided here, for all rings together.
            let manner = Manner {
                busy_wait: true,
                direct: false,
                tell: Some(&tell),
            };
            self.csb.begin_pass(i, now);
            let attachment = self.port.attachment();
            match i.checked_sub(self.tx) {
                None => attachment.csb_tx(host, i, &self.csb, &manner),
                Some(i) => attachment.csb_rx(host, i, &self.csb, &manner),
            }
        }
    }

    /// Does it matter that the port has something for its `i`th ring of that direction? Not if the loop cannot give it
    /// to the guest.
    fn counts(&self, dir: usize, i: usize) -> bool {
        !self.csb.has_failed(if dir == RX { self.tx + i } else { i })
    }

    /// Looks for a while before a sleep: a guest that goes on need not kick, and is not waited for in vain.
    fn finds_something(&self) -> bool {
        let began = Instant::now();
        loop {
            for _ in 0..LOOKS {
                let glance = || {
                    let counts = |dir, i| self.counts(dir, i);
                    self.port.glance_at(POLLIN | POLLOUT, &counts)
                };
                if self.csb.has_news() || glance() {
                    return true;
                }
                core::hint::spin_loop();
            }
            if began.elapsed() >= self.spin || self.kick.is_over.load(Relaxed) {
                return false;
            }
        }
    }
}
