//! Starting a guest and the processes of its ports, and ending with it.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use uvale_tools::output::plain;

use super::network::Network;
use uvale_tools::signals::Signals;

/// A process that is not ready, or has not ended, in this time will not.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);
/// Between two looks at whether a process has ended.
const LOOK: Duration = Duration::from_millis(500);

/// Where the sockets are: a directory of the user's, or one of ours that goes with this.
pub struct Sockets {
    dir: PathBuf,
    is_ours: bool,
}

impl Sockets {
    /// `named`, or one below the directory for temporary files. It is made if it is `needed` now.
    pub fn new(named: Option<&Path>, needed: bool) -> Result<Self, String> {
        let below = std::env::temp_dir();
        let (dir, is_ours) = match named {
            Some(dir) => (dir.to_owned(), false),
            // Who types the commands needs a directory that is there.
            None if !needed => (below, false),
            None => {
                let made = nix::unistd::mkdtemp(&below.join("uvale-vm-XXXXXX"));
                let why = |e| format!("cannot make a directory in {}: {e}", below.display());
                (made.map_err(why)?, true)
            }
        };
        Ok(Self { dir, is_ours })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// Processes that end with this.
struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &self.0 {
            let _ = kill_process(Pid::from_child(child), Signal::TERM);
        }
        let end = Instant::now() + PATIENCE;
        for child in &mut self.0 {
            while !has_ended(child) {
                if Instant::now() > end {
                    let _ = child.kill();
                }
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// Runs all of it until QEMU ends; the status is QEMU's.
pub fn run(networks: &[Network], qemu: &[String], sockets: &Sockets) -> Result<ExitCode, String> {
    let signals = Signals::take()?;
    let mut children = Children(Vec::new());
    for network in networks {
        children.0.push(start_network(network, sockets)?);
    }
    children.0.iter_mut().try_for_each(wait_until_ready)?;
    let own_number = std::process::id().to_string();
    let mut command = itself()?;
    command.args(["vm", "become", &own_number, "--"]).args(qemu);
    children.0.push(start(command)?);
    let status = supervise(&mut children, networks.len(), &signals)?;
    // What the shell says of a program that a signal ended.
    let by_signal = status
        .signal()
        .map(|signal| 128u8.wrapping_add(signal as u8));
    let code = status.code().map(|code| code as u8).or(by_signal);
    Ok(ExitCode::from(code.unwrap_or(1)))
}

fn start_network(network: &Network, sockets: &Sockets) -> Result<Child, String> {
    let mut command = itself()?;
    command.args(&network.command);
    command.args(["--end-with", &std::process::id().to_string()]);
    if sockets.is_ours {
        command.arg("--temporary").arg(sockets.dir());
    }
    command.stdout(Stdio::piped());
    start(command)
}

/// This program, once more.
fn itself() -> Result<Command, String> {
    let program = uvale_system::sys::this_program();
    let program = program.map_err(|e| format!("cannot find the program uvale itself: {e}"))?;
    Ok(Command::new(program))
}

fn start(mut command: Command) -> Result<Child, String> {
    let spawned = command.spawn();
    spawned.map_err(|e| format!("cannot start uvale: {}", plain(&e)))
}

/// A process that serves a port says so in a line, with which QEMU finds it.
fn wait_until_ready(child: &mut Child) -> Result<(), String> {
    let Some(mut said) = child.stdout.take() else {
        return Ok(());
    };
    let patience = rustix::event::Timespec {
        tv_sec: PATIENCE.as_secs() as _,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(&said, PollFlags::IN)];
    match poll(&mut fds, Some(&patience)) {
        Ok(1..) if said.read(&mut [0; 4096]).is_ok_and(|n| n > 0) => Ok(()),
        Ok(1..) => Err("a port could not be opened; the line above says why".into()),
        _ => Err(format!(
            "a port is not ready after {} seconds",
            PATIENCE.as_secs()
        )),
    }
}

fn has_ended(child: &mut Child) -> bool {
    !matches!(child.try_wait(), Ok(None))
}

/// Until QEMU, the child behind those of `ports`, ends. Signals are passed on to it.
fn supervise(
    children: &mut Children,
    ports: usize,
    signals: &Signals,
) -> Result<ExitStatus, String> {
    let qemu = Pid::from_child(&children.0[ports]);
    let ended = pidfd_open(qemu, PidfdFlags::empty()).map_err(|e| e.to_string())?;
    let mut warned = false;
    loop {
        if let Some(status) = children.0[ports].try_wait().map_err(|e| e.to_string())? {
            return Ok(status);
        }
        if signals.has_come() {
            let _ = kill_process(qemu, Signal::TERM);
        }
        if !warned && children.0[..ports].iter_mut().any(has_ended) {
            warned = true;
            uvale_tools::output::line(format_args!(
                "uvale vm: the process of one of this guest's ports has ended; the line above says why"
            ));
        }
        let mut fds = [
            PollFd::new(&ended, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        let time = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: LOOK.subsec_nanos().into(),
        };
        let _ = poll(&mut fds, Some(&time));
    }
}

/// Options of `uvale vm become`.
#[derive(clap::Args)]
pub struct Become {
    /// The process that starts it
    parent: i32,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    words: Vec<String>,
}

impl Become {
    /// Becomes the program, which gets SIGTERM when the parent ends.
    pub fn run(&self) -> Result<ExitCode, String> {
        crate::guest_port::end_with_parent(self.parent)?;
        uvale_tools::signals::let_through();
        let mut command = Command::new(&self.words[0]);
        let e = command.args(&self.words[1..]).exec();
        Err(format!("cannot run {}: {}", self.words[0], plain(&e)))
    }
}
