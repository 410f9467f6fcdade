//! What the threads share that answer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use uvale_link::session::Session;
use uvale_system::refusal::Refusal;

use crate::description::Description;
use crate::kernel::Listener;
use crate::locks::{lock, read, write};
use crate::processes::Processes;
use crate::say::{Level, say};
use crate::watch::Watch;

/// Threads at most: those of calls that take their time, such as an open that starts a daemon.
const MOST_THREADS: usize = 64;
/// Descriptions at most.
const MOST: usize = 1 << 14;

/// The world that programs find.
#[derive(Clone, Debug)]
pub struct World {
    /// its runtime directory
    pub dir: PathBuf,
    /// a daemon may be started there
    pub may_start: bool,
}

/// Adds a thread.
pub type More = fn(&Arc<Supervisor>) -> Result<(), Errno>;

/// See the module.
pub struct Supervisor {
    /// where calls come from
    pub listener: Listener,
    world: World,
    session: Mutex<Option<Arc<Session>>>,
    /// who is served
    pub processes: Processes,
    descriptions: RwLock<HashMap<u64, Arc<Description>>>,
    /// what happens meanwhile
    pub watch: Watch,
    /// threads that wait for calls
    pub waiting: AtomicUsize,
    /// threads that take calls
    pub threads: AtomicUsize,
    fetches: bool,
    more: More,
}

impl Supervisor {
    /// Nobody is served yet. `fetches`: the kernel gives descriptors of other processes; `more` adds a thread that
    /// takes calls.
    pub fn new(
        listener: Listener,
        world: World,
        session: Option<Arc<Session>>,
        fetches: bool,
        more: More,
    ) -> Result<Self, Errno> {
        Ok(Self {
            listener,
            world,
            session: Mutex::new(session),
            processes: Processes::default(),
            descriptions: RwLock::default(),
            watch: Watch::new()?,
            waiting: AtomicUsize::new(0),
            threads: AtomicUsize::new(0),
            fetches,
            more,
        })
    }

    /// The thread that calls is about to take its time: another one takes the next calls.
    pub fn takes_time(self: &Arc<Self>) {
        if self.waiting.load(Acquire) == 0 && self.threads.load(Relaxed) < MOST_THREADS {
            // Without one the next call waits for this one.
            let _ = (self.more)(self);
        }
    }

    /// The session with the daemon of the world.
    pub fn session(&self) -> Result<Arc<Session>, Refusal> {
        let mut known = lock(&self.session);
        if let Some(session) = known.as_ref().filter(|session| session.is_alive()) {
            return Ok(session.clone());
        }
        let session = Arc::new(attach(&self.world)?);
        *known = Some(session.clone());
        Ok(session)
    }

    /// Where the world is.
    pub fn dir(&self) -> &std::path::Path {
        &self.world.dir
    }

    /// Does the kernel give descriptors of programs?
    pub fn fetches(&self) -> bool {
        self.fetches
    }

    /// The description with the program's end `inode`.
    pub fn description(&self, inode: u64) -> Option<Arc<Description>> {
        read(&self.descriptions).get(&inode).cloned()
    }

    /// A new one.
    pub fn add(&self, description: Description) -> Result<Arc<Description>, Refusal> {
        let mut all = write(&self.descriptions);
        if all.len() >= MOST {
            let why = format!("programs served by one uvale run have {MOST} descriptors open");
            return Err(Refusal::new(Errno::NFILE, why));
        }
        let description = Arc::new(description);
        self.watch.add(&description)?;
        all.insert(description.inode, description.clone());
        Ok(description)
    }

    /// No program has it any more.
    pub fn closed(&self, description: &Arc<Description>) {
        description.close();
        // Whoever settled meanwhile has found it, and waited.
        self.watch.remove(description);
        write(&self.descriptions).remove(&description.inode);
        self.processes.forget_description(description);
    }

    /// Whatever has been closed by now: its names are free when this returns.
    pub fn settle(&self) {
        self.processes
            .reap(!self.fetches, |process| self.let_go(process.tgid));
        loop {
            let closed = self.watch.closed();
            let closed: Vec<_> = closed.iter().filter_map(|n| self.description(*n)).collect();
            if closed.is_empty() {
                return;
            }
            closed
                .iter()
                .for_each(|description| self.closed(description));
        }
    }

    /// The same of one.
    pub fn settle_one(&self, description: &Arc<Description>) {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let is_closed = description.with_end(|end| {
            end.is_some_and(|end| {
                let mut fds = [PollFd::new(end, PollFlags::empty())];
                poll(&mut fds, Some(&now)) == Ok(1)
            })
        });
        if is_closed {
            self.closed(description);
        }
    }

    /// Whoever waits for a set of a set that has one of ours in it: what is there is there by now, token or not.
    pub fn refresh(&self) {
        let all: Vec<_> = read(&self.descriptions)
            .values()
            .filter(|description| description.is_armed())
            .cloned()
            .collect();
        all.iter().for_each(|description| self.woken(description));
    }

    /// Somebody may have to be woken.
    pub fn woken(&self, description: &Arc<Description>) {
        description.woken(&|nap, wires| self.watch.sleeps(description, nap, wires));
    }

    /// A process has ended: what it had mapped is not kept, and what the daemon left when it went is not, either.
    pub fn process_ended(&self, tgid: i32) {
        self.processes.ended(tgid);
        self.let_go(tgid);
        let lost: Vec<_> = read(&self.descriptions)
            .values()
            .filter(|d| d.is_lost() && d.was_of(tgid))
            .cloned()
            .collect();
        for description in &lost {
            self.closed(description);
        }
    }

    /// A process has ended: handles that are kept of what it had would hide the last close.
    fn let_go(&self, tgid: i32) {
        if !self.fetches {
            let all = read(&self.descriptions);
            let its = all.values().filter(|d| d.was_of(tgid));
            its.for_each(|description| drop(description.take_kept()));
        }
    }

    /// Waits until no process is left that is served.
    pub fn wait_until_alone(&self) {
        let mut fds = [PollFd::new(&self.listener, PollFlags::empty())];
        while poll(&mut fds, None) == Err(Errno::INTR) {}
    }

    /// The kernel gives no descriptor of a program: what it has been told of a descriptor stands, though it is so no
    /// longer. A program that waits for it finds nothing, again and again; not as often as it can.
    pub fn hold(self: &Arc<Self>) {
        self.takes_time();
        say(
            Level::Refusal,
            "descriptors of programs cannot be fetched (pidfd_getfd): a wait for a port may end early, again and again",
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A session with the daemon of `world`.
pub fn attach(world: &World) -> Result<Session, Refusal> {
    match world.may_start {
        true => uvale_link::start::attach(&world.dir),
        false => Session::attach(&world.dir),
    }
}
