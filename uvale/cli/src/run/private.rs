//! Programs in a world of their own, whose directory and daemon are gone when the program has ended.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::beside::{Ended, Own, Served, supervise};
use super::inherited;
use crate::log::Log;
use crate::spawn;

/// Runs the command in a world of its own.
///
/// # Errors
/// A sentence.
pub fn run(
    mut command: Command,
    max_switches: Option<u32>,
    served: Option<Served>,
    own: Own,
) -> Result<Ended, String> {
    inherited::raise_files();
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
    supervise(command, own, reach, |pid| world.ended(pid))
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
