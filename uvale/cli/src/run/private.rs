//! Programs whose parent `uvale run` stays: in a private world, whose directory and daemon are gone when the program
//! has ended, and in a container whose process 1 it is.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigHandler, SigSet, Signal, kill, signal};
use nix::unistd::Pid;
use rustix::process::{Resource, Rlimit, WaitOptions, WaitStatus};
use uvale_reach::Reached;

use crate::log::Log;
use crate::spawn;

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

/// Runs the command in a world of its own and gives its exit status.
pub fn run(
    mut command: Command,
    max_switches: Option<u32>,
    served: Option<Served>,
) -> Result<ExitCode, String> {
    // With SIGCHLD ignored, as inherited from some parents, children could not be waited for.
    let inherited = disposition(SigHandler::SigDfl)?;
    let mut world = World::new(max_switches)?;
    command
        .env(uvale_link::environment::ENV_DIR, &world.dir)
        .env(uvale_link::environment::ENV_AUTOSTART, "0");
    // If this process is killed outright, the world ends; the program should not outlive it.
    die_with_parent(&mut command, Signal::SIGTERM);
    let its = uvale_reach::World {
        dir: world.dir.clone(),
        may_start: false,
    };
    let reach = |command: &mut Command| served.map(|s| s.reach(command, its)).transpose();
    supervise(command, inherited, reach, |pid| world.ended(pid))
}

/// Runs the command, served from here in the world at `dir`, and gives its exit status.
pub fn run_served(command: Command, dir: PathBuf, served: Served) -> Result<ExitCode, String> {
    let autostart = uvale_link::environment::get(uvale_link::environment::ENV_AUTOSTART);
    let world = uvale_reach::World {
        dir,
        may_start: autostart.is_none_or(|value| value != "0"),
    };
    let inherited = disposition(SigHandler::SigDfl)?;
    let reach = |command: &mut Command| served.reach(command, world).map(Some);
    supervise(command, inherited, reach, |_| {})
}

/// Runs the command as the only child of process 1, which every orphan falls to, and gives its exit status.
pub fn run_as_process_one(command: Command) -> Result<ExitCode, String> {
    let inherited = disposition(SigHandler::SigDfl)?;
    supervise(command, inherited, |_| Ok(None), |_| {})
}

/// Runs the command to its end, passes signals on to it, and waits for whatever else becomes a child of this process.
fn supervise(
    mut command: Command,
    of_child: SigHandler,
    reach: impl FnOnce(&mut Command) -> Result<Option<Reached>, String>,
    mut ended: impl FnMut(Pid),
) -> Result<ExitCode, String> {
    // From here on signals are for the program; they are taken from the queue and passed on.
    let mut passed_on = SigSet::empty();
    for signal in PASSED_ON {
        passed_on.add(signal);
    }
    passed_on.add(Signal::SIGCHLD);
    // This process stops when the program does: one that handles these goes on, and is served.
    for signal in STOPS {
        passed_on.add(signal);
    }
    let before = passed_on
        .thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)
        .map_err(|e| e.to_string())?;
    restore(&mut command, before, of_child);
    let mut reached = reach(&mut command)?;
    let started = command.spawn();
    if let Some(reached) = &mut reached {
        reached.started();
    }
    let program = match started {
        Ok(child) => Pid::from_raw(child.id() as i32),
        Err(e) => return Ok(super::not_run(command.get_program(), &e)),
    };
    let status = wait_passing_signals(program, &mut ended, &passed_on)?;
    if let Some(reached) = reached {
        linger(reached, &mut ended, &passed_on);
    }
    Ok(match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitCode::from(code as u8),
        (None, Some(signal)) => ExitCode::from(128u8.wrapping_add(signal as u8)),
        (None, None) => ExitCode::FAILURE,
    })
}

const PASSED_ON: [Signal; 9] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGALRM,
    Signal::SIGCONT,
];

/// Signals of a terminal that stop a program.
const STOPS: [Signal; 3] = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];

/// Whether this process is to stop, so that the shell which started it sees that.
#[derive(Default)]
struct Stop {
    /// it has been asked to
    is_asked: bool,
    /// the program has stopped
    is_due: bool,
}

impl Stop {
    /// Stops where both have happened, in either order, until somebody continues it; then its process group goes on.
    /// A program that somebody else has stopped may be continued by them alone.
    fn follow(&mut self) {
        if self.is_asked && self.is_due {
            *self = Self::default();
            stop();
            let _ = kill(Pid::from_raw(0), Signal::SIGCONT);
        }
    }
}

/// Stops this process now, with all its threads.
fn stop() {
    let _ = nix::sys::signal::raise(Signal::SIGSTOP);
}

/// Waits for the program's end, and for every other child's: as process 1 of a container this process is the parent
/// of whatever the program leaves behind.
fn wait_passing_signals(
    program: Pid,
    other_ended: &mut impl FnMut(Pid),
    signals: &SigSet,
) -> Result<WaitStatus, String> {
    let mut stop = Stop::default();
    loop {
        while let Some((pid, status)) = next_change()? {
            match (pid == program, is_over(status)) {
                (true, true) => return Ok(status),
                (true, false) => stop.is_due = status.stopped(),
                (false, true) => other_ended(pid),
                (false, false) => {}
            }
        }
        stop.follow();
        match next_signal(signals) {
            Some((signal, sender)) if STOPS.contains(&signal) => {
                stop.is_asked = true;
                if let Sender::Process = sender {
                    let _ = kill(program, signal);
                }
            }
            // A terminal sends its signals to the whole group, the program has them already.
            Some((Signal::SIGCHLD, _) | (_, Sender::Kernel)) | None => {}
            Some((signal, Sender::Process)) => {
                let _ = kill(program, signal);
            }
        }
    }
}

/// The program has ended and has perhaps left processes behind: they are served until they end, or a signal ends this.
fn linger(reached: Reached, ended: &mut impl FnMut(Pid), signals: &SigSet) {
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
        match next_signal(signals) {
            Some((Signal::SIGINT | Signal::SIGTERM | Signal::SIGHUP | Signal::SIGQUIT, _)) => break,
            Some((Signal::SIGTSTP, _)) => stop(),
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

/// Who sent a signal.
enum Sender {
    Kernel,
    Process,
}

/// Waits for one of `signals`; `None` if interrupted.
#[allow(unsafe_code)]
fn next_signal(signals: &SigSet) -> Option<(Signal, Sender)> {
    // SAFETY: an all-zero siginfo_t is valid, and the kernel fills it in.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    // SAFETY: the set and the siginfo are valid for the call.
    let number = unsafe { libc::sigwaitinfo(signals.as_ref(), &mut info) };
    let signal = Signal::try_from(number).ok()?;
    let sender = if info.si_code == libc::SI_KERNEL {
        Sender::Kernel
    } else {
        Sender::Process
    };
    Some((signal, sender))
}

struct World {
    dir: PathBuf,
    /// `None` once it has ended: its id may be another process's then
    daemon: Option<Pid>,
}

impl World {
    fn new(max_switches: Option<u32>) -> Result<Self, String> {
        let mut world = Self {
            dir: private_dir()?,
            daemon: None,
        };
        let mut command = spawn::daemon(&world.dir)?;
        command.arg("--remove-dir");
        if let Some(n) = max_switches {
            command.args(["--max-switches", &n.to_string()]);
        }
        // A ^C at the terminal is for the program; the daemon exits after the program.
        command.process_group(0);
        die_with_parent(&mut command, Signal::SIGTERM);
        let daemon = spawn::start(command, Log::open(&world.dir)?)
            .map_err(|not| format!("the private daemon did not start: {}", not.why))?;
        world.daemon = Some(Pid::from_raw(daemon.id() as i32));
        Ok(world)
    }

    /// A child has ended.
    fn ended(&mut self, pid: Pid) {
        if self.daemon == Some(pid) {
            self.daemon = None;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon {
            let _ = kill(daemon, Signal::SIGTERM);
            let _ = nix::sys::wait::waitpid(daemon, None);
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Where a private world lives: in a directory of its own, or, where none can be made, under an abstract
/// name, which is found in this network namespace only.
fn private_dir() -> Result<PathBuf, String> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|v| !v.is_empty());
    let bases = [
        runtime.map(PathBuf::from),
        Some(std::env::temp_dir()),
        Some("/tmp".into()),
        Some("/dev/shm".into()),
    ];
    let made = bases
        .into_iter()
        .flatten()
        .find_map(|base| nix::unistd::mkdtemp(&base.join("uvale-XXXXXX")).ok());
    match made {
        Some(dir) => Ok(uvale_link::name::absolute(&dir)),
        None => uvale_link::name::new_abstract()
            .map_err(|e| format!("cannot make a name for a private world: {e}")),
    }
}

/// What SIGCHLD does, and did before.
#[allow(unsafe_code)]
fn disposition(of_child: SigHandler) -> Result<SigHandler, String> {
    // SAFETY: no function of ours becomes a handler.
    unsafe { signal(Signal::SIGCHLD, of_child) }.map_err(|e| e.to_string())
}

/// The program gets the signal mask, and what SIGCHLD did, as this process got them.
#[allow(unsafe_code)]
fn restore(command: &mut Command, mask: SigSet, of_child: SigHandler) {
    // SAFETY: setting a disposition and the signal mask are async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            signal(Signal::SIGCHLD, of_child)?;
            mask.thread_set_mask().map_err(std::io::Error::from)
        });
    }
}

/// The program gets that limit, whatever this process has by then.
#[allow(unsafe_code)]
pub fn keep_limit(command: &mut Command, of: Resource, limit: Rlimit) {
    // SAFETY: setrlimit is async-signal-safe.
    unsafe {
        command.pre_exec(move || rustix::process::setrlimit(of, limit).map_err(Into::into));
    }
}

/// If this process is killed outright, the child goes too. It begins with no signal blocked that ends a command.
#[allow(unsafe_code)]
pub fn die_with_parent(command: &mut Command, signal: Signal) {
    // SAFETY: prctl and sigprocmask are async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            uvale_tools::signals::let_through();
            nix::sys::prctl::set_pdeathsig(signal).map_err(std::io::Error::from)
        });
    }
}
