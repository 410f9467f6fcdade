//! Signals that end the command, told to everybody who waits; and children, of which none is left behind.

use std::collections::HashSet;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use uvale_tools::signals::is_ignored;

/// Whether it is to end: the first signal asks children to end, the second kills them.
pub struct Stop {
    interrupts: UnixStream,
    /// the last of the signals, 0 before
    signal: Arc<AtomicUsize>,
    halts: [Halt; 2],
    pub children: Children,
}

/// Something that happens once; its descriptor is readable from then on.
pub struct Halt {
    waits: OwnedFd,
    speaks: Mutex<Option<OwnedFd>>,
}

impl Halt {
    fn new() -> std::io::Result<Self> {
        let (waits, speaks) = std::io::pipe()?;
        Ok(Halt {
            waits: waits.into(),
            speaks: Mutex::new(Some(speaks.into())),
        })
    }

    /// Now. False if it was before.
    fn happen(&self) -> bool {
        locked(&self.speaks).take().is_some()
    }

    fn has_happened(&self) -> bool {
        locked(&self.speaks).is_none()
    }
}

impl AsFd for Halt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.waits.as_fd()
    }
}

impl Stop {
    /// From now on SIGINT, SIGTERM and SIGHUP are noted; one that is ignored stays so. What children leave behind falls
    /// to this process.
    ///
    /// # Errors
    /// A sentence.
    pub fn new() -> Result<Self, String> {
        let fail = |e: std::io::Error| {
            format!(
                "cannot wait for signals: {}",
                uvale_tools::output::plain(&e)
            )
        };
        let (interrupts, writes) = UnixStream::pair().map_err(fail)?;
        interrupts.set_nonblocking(true).map_err(fail)?;
        let number = Arc::new(AtomicUsize::new(0));
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            if !is_ignored(signal as i32) {
                let number = number.clone();
                signal_hook::flag::register_usize(signal as i32, number, signal as usize)
                    .map_err(fail)?;
                let writes = writes.try_clone().map_err(fail)?;
                // not blocked: children would begin with what is blocked here
                signal_hook::low_level::pipe::register(signal as i32, writes).map_err(fail)?;
            }
        }
        // where a kernel does not know it, orphans fall to process 1
        let _ = nix::sys::prctl::set_child_subreaper(true);
        Ok(Stop {
            interrupts,
            signal: number,
            halts: [Halt::new().map_err(fail)?, Halt::new().map_err(fail)?],
            children: Children::default(),
        })
    }

    /// Readable when a signal has come: [`Stop::note`] it then.
    pub fn interrupts(&self) -> BorrowedFd<'_> {
        self.interrupts.as_fd()
    }

    /// Takes signals that have come, and tells the others.
    pub fn note(&self) {
        let mut bytes = [0; 16];
        while let Ok(n @ 1..) = std::io::Read::read(&mut &self.interrupts, &mut bytes) {
            for _ in 0..n {
                let is_first = self.halts[0].happen();
                if !is_first {
                    self.halts[1].happen();
                }
            }
        }
    }

    /// Whether a signal has come.
    pub fn has_come(&self) -> bool {
        self.halts[0].has_happened()
    }

    /// The signal that came last.
    pub fn signal(&self) -> Option<u8> {
        let number = self.signal.load(Ordering::Relaxed);
        u8::try_from(number).ok().filter(|number| *number > 0)
    }

    /// Readable from the first signal on.
    pub fn first(&self) -> &Halt {
        &self.halts[0]
    }

    /// Readable from the second signal on.
    pub fn second(&self) -> &Halt {
        &self.halts[1]
    }
}

/// The processes that were started here and have not ended.
#[derive(Default)]
pub struct Children(Mutex<HashSet<i32>>);

impl Children {
    /// Starts one.
    pub fn start(&self, command: &mut Command) -> std::io::Result<Child> {
        // held until it is known: nobody takes it for an orphan
        let mut known = locked(&self.0);
        let child = command.spawn()?;
        known.insert(child.id() as i32);
        Ok(child)
    }

    /// One has ended, and was waited for.
    pub fn ended(&self, id: u32) {
        locked(&self.0).remove(&(id as i32));
    }

    /// Ends all that children have left behind, and waits for them. Their own children become ours then, so it is done
    /// until there are none. Who has not ended when it was asked to for a while is killed.
    pub fn sweep(&self) {
        let known = locked(&self.0);
        let end = Instant::now() + GRACE;
        let mut asked = HashSet::new();
        loop {
            let orphans = children().into_iter().filter(|id| !known.contains(id));
            let mut is_left = false;
            for id in orphans {
                let pid = Pid::from_raw(id);
                is_left = true;
                if Instant::now() >= end {
                    let _ = kill(pid, Signal::SIGKILL);
                } else if asked.insert(id) {
                    let _ = kill(pid, Signal::SIGTERM);
                }
                let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            }
            if !is_left {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// How long orphans have to clean up, as the daemon of a world does, which removes its folder.
const GRACE: Duration = Duration::from_secs(5);

/// All children of this process.
fn children() -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let ids = lists.flat_map(|list| {
        let ids: Vec<i32> = list
            .split_whitespace()
            .filter_map(|id| id.parse().ok())
            .collect();
        ids
    });
    ids.collect()
}

/// What a thread that panicked has left is as good as before: each of these is one value.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
