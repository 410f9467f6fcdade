//! Programs whose parent this process stays: it passes signals on, stops and ends as they do, and serves them.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::unistd::Pid;
use rustix::process::{DumpableBehavior, WaitOptions, WaitStatus, set_dumpable_behavior};
use uvale_reach::Reached;

use super::inherited::{self, Signals};
use super::signals::{self, Arrived, STOPS};

/// How a program is served whose system calls come here: how much is said of it.
pub struct Served {
    /// as `uvale run -v`
    pub verbose: Option<i8>,
}

impl Served {
    /// Has `command`, not started yet, served by threads of this process.
    ///
    /// # Errors
    /// A sentence: what this system lacks.
    pub fn reach(
        &self,
        command: &mut Command,
        world: uvale_reach::World,
    ) -> Result<Reached, String> {
        uvale_reach::reach(command, world, self.verbose)
    }
}

/// How a program has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// by itself, or it was not started
    With(u8),
    /// of the signal of that number
    Of(i32),
}

impl From<WaitStatus> for Ended {
    fn from(status: WaitStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::With(code as u8),
            (None, Some(signal)) => Self::Of(signal),
            (None, None) => Self::With(1),
        }
    }
}

impl Ended {
    /// Ends this process in the same way: a shell ends a loop at ^C only if it sees that the program has died of it.
    /// The status is what a shell says of a signal that does not end this process: as process 1.
    pub fn alike(self) -> ExitCode {
        match self {
            Self::With(code) => ExitCode::from(code),
            Self::Of(signal) => {
                die(signal);
                ExitCode::from(128u8.wrapping_add(signal as u8))
            }
        }
    }
}

/// Dies of a signal, without a core, which the program has left already.
#[allow(unsafe_code)]
fn die(signal: i32) {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // SAFETY: no function becomes a handler; a set is made before it is used.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        let mut set = core::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, core::ptr::null_mut());
        libc::raise(signal);
    }
}

/// What becomes of this process's own descriptors when the program has been started.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// whoever waits for the end of what the program writes does not wait for this process
    LetGo,
    /// it reads or writes by them afterwards
    Kept,
}

/// Runs the command, served from here in the world at `dir`.
///
/// # Errors
/// A sentence.
pub fn run_served(command: Command, dir: PathBuf, served: &Served) -> Result<Ended, String> {
    let autostart = uvale_link::environment::get(uvale_link::environment::ENV_AUTOSTART);
    let world = uvale_reach::World {
        dir,
        may_start: autostart.is_none_or(|value| value != "0"),
    };
    inherited::raise_files();
    let reach = |command: &mut Command| served.reach(command, world).map(Some);
    supervise(command, Own::LetGo, reach, |_| {})
}

/// Runs the command as the only child of process 1, which every orphan falls to.
///
/// # Errors
/// A sentence.
pub fn run_as_process_one(command: Command, own: Own) -> Result<Ended, String> {
    supervise(command, own, |_| Ok(None), |_| {})
}

/// Runs the command to its end, passes signals on to it, and waits for whatever else becomes a child of this process,
/// of which `ended` is told.
///
/// # Errors
/// A sentence.
pub fn supervise(
    mut command: Command,
    own: Own,
    reach: impl FnOnce(&mut Command) -> Result<Option<Reached>, String>,
    mut ended: impl FnMut(Pid),
) -> Result<Ended, String> {
    // From here on signals are for the program; they are taken from the queue and passed on.
    let all = signals::all();
    Signals::take(all)?.give(&mut command);
    let mut reached = reach(&mut command)?;
    inherited::give_timers(&mut command);
    inherited::give_files(&mut command);
    let started = command.spawn();
    if let Some(reached) = &mut reached {
        reached.started();
    }
    let program = match started {
        Ok(child) => Pid::from_raw(child.id() as i32),
        Err(e) => return Ok(super::not_run(command.get_program(), &e)),
    };
    if own == Own::LetGo {
        inherited::let_go();
    }
    let status = wait_passing_signals(program, &mut ended, &all)?;
    if let Some(reached) = reached {
        if own == Own::LetGo {
            inherited::let_error_go();
        }
        linger(reached, &mut ended, &all);
    }
    Ok(status.into())
}

/// Whether this process is to stop, so that the shell which started it sees that.
#[derive(Default)]
struct Stop {
    /// it has been asked to, or the program has been
    is_asked: bool,
    /// the program has stopped
    is_due: bool,
}

impl Stop {
    /// The program has stopped, or goes on. One that somebody stops by SIGSTOP may be continued by them alone.
    fn learn(&mut self, status: WaitStatus) {
        self.is_due = status.stopped();
        self.is_asked |= status
            .stopping_signal()
            .is_some_and(|by| by != libc::SIGSTOP);
    }

    /// Stops where both have happened, in either order, until somebody continues it: that is passed on then.
    fn follow(&mut self) {
        if self.is_asked && self.is_due {
            *self = Self::default();
            stop();
        }
    }
}

/// Stops this process now, with all its threads.
fn stop() {
    let _ = raise(Signal::SIGSTOP);
}

/// Waits for the program's end, and for every other child's: as process 1 of a container this process is the parent
/// of whatever the program leaves behind.
fn wait_passing_signals(
    program: Pid,
    other_ended: &mut impl FnMut(Pid),
    all: &SigSet,
) -> Result<WaitStatus, String> {
    let mut stop = Stop::default();
    loop {
        while let Some((pid, status)) = next_change()? {
            match (pid == program, is_over(status)) {
                (true, true) => return Ok(status),
                (true, false) => stop.learn(status),
                (false, true) => other_ended(pid),
                (false, false) => {}
            }
        }
        stop.follow();
        if let Some(signal) = Arrived::next(all).filter(|signal| signal.number != libc::SIGCHLD) {
            stop.is_asked |= STOPS.contains(&signal.number);
            signal.pass_on(program);
        }
    }
}

/// The program has ended and has perhaps left processes behind: they are served until they end, or a signal ends this.
fn linger(reached: Reached, ended: &mut impl FnMut(Pid), all: &SigSet) {
    let is_alone = Arc::new(AtomicBool::new(false));
    let alone = is_alone.clone();
    reached.when_alone(move || {
        alone.store(true, Ordering::Release);
        let _ = kill(Pid::this(), Signal::SIGCHLD);
    });
    while !is_alone.load(Ordering::Acquire) {
        // There may be no child left.
        while let Ok(Some((pid, status))) = next_change() {
            if is_over(status) {
                ended(pid);
            }
        }
        match Arrived::next(all).map(|signal| signal.number) {
            Some(libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT) => break,
            Some(libc::SIGTSTP) => stop(),
            _ => {}
        }
    }
}

/// A child that has ended, stopped or been continued, if there is one.
fn next_change() -> Result<Option<(Pid, WaitStatus)>, String> {
    let what = WaitOptions::NOHANG | WaitOptions::UNTRACED | WaitOptions::CONTINUED;
    let changed =
        rustix::process::wait(what).map_err(|e| format!("cannot wait for the program: {e}"))?;
    Ok(changed.map(|(pid, status)| (Pid::from_raw(pid.as_raw_nonzero().get()), status)))
}

/// Has it ended?
fn is_over(status: WaitStatus) -> bool {
    status.exited() || status.signaled()
}
