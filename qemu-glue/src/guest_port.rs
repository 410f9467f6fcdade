//! What the processes of `uvale vm` have in common: the options that name a port, and how it is opened.

use std::path::{Path, PathBuf};

use uvale_port::{Info, Port, Register, Wanted};
use uvale_system::refusal::Refusal;
use uvale_tools::output::line;

use crate::qemu_options::{Options, lines};

/// Which port.
#[derive(clap::Args)]
pub struct PortArgs {
    /// The port: vale0:vm1, netmap:x{1, netmap:eth0
    #[arg(long, value_name = "PORT")]
    pub port: String,
    /// Runtime directory of the world [default: $UVALE_DIR, $XDG_RUNTIME_DIR/uvale, /run/uvale or /tmp/uvale-UID]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// End when this parent process does
    #[arg(long, value_name = "PID", hide = true)]
    pub end_with: Option<i32>,
    /// Remove this directory in the end, if the parent has not lived to do it
    #[arg(long, value_name = "DIR", hide = true, requires = "end_with")]
    pub temporary: Option<PathBuf>,
}

impl PortArgs {
    /// Opens it; `register` may change what REGISTER asks for.
    pub fn open(&self, register: &dyn Fn(&mut Register)) -> Result<Port, String> {
        self.end_with.map_or(Ok(()), end_with_parent)?;
        let port = self.with(&self.port, register, Port::open);
        port.map_err(|refusal| format!("{}: {refusal}", self.port))
    }

    /// The same of another port of the same world.
    pub fn open_other(
        &self,
        name: &str,
        register: &dyn Fn(&mut Register),
    ) -> Result<Port, Refusal> {
        self.with(name, register, Port::open)
    }

    /// What it is, without opening it.
    pub fn info(&self) -> Result<Info, String> {
        let info = self.with(&self.port, &|_| {}, Port::info);
        info.map_err(|refusal| format!("{}: {refusal}", self.port))
    }

    fn with<T>(
        &self,
        name: &str,
        register: &dyn Fn(&mut Register),
        what: fn(&Wanted<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let dir = self.runtime_dir();
        let wanted = Wanted {
            dir: &dir,
            name,
            register,
            say: &|lack| line(format_args!("uvale vm: {lack}")),
        };
        what(&wanted)
    }

    fn runtime_dir(&self) -> PathBuf {
        let dir = self.dir.clone();
        dir.unwrap_or_else(uvale_link::place::runtime_dir)
    }

    /// What a user gives to a QEMU that shares the guest's RAM with this process: `options`, one a line, after those of
    /// the RAM. `which` QEMU, if not any.
    pub fn qemu_options(&self, which: &str, options: &Options) -> String {
        format!(
            "{}: start QEMU{which} with these options (1G is the size of the guest's memory):\n{}\n{}",
            self.port,
            concat!("-m 1G ", shared_ram!("1G")),
            lines(options)
        )
    }

    /// Does a daemon answer in its world?
    pub fn is_served(&self) -> bool {
        uvale_link::place::connect(&self.runtime_dir()).is_ok()
    }

    /// The end: `outcome` is what came of it.
    pub fn end<T>(&self, outcome: T) -> T {
        if let (Some(parent), Some(dir)) = (self.end_with, &self.temporary)
            && !is_parent(parent)
        {
            let _ = std::fs::remove_dir_all(dir);
        }
        outcome
    }

    /// After the daemon has gone.
    pub fn lost(&self) -> String {
        format!(
            "{}: the uvale daemon is gone, and the port with it: start this command again",
            self.port
        )
    }
}

/// `path` as a process with another working directory finds it.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// However this process's parent ends, which has that number, this one gets SIGTERM: the kernel sees to it.
pub fn end_with_parent(parent: i32) -> Result<(), String> {
    use rustix::process::{Signal, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|e| format!("cannot watch the parent process: {e}"))?;
    match is_parent(parent) {
        true => Ok(()),
        false => Err(format!("the parent process {parent} has ended")),
    }
}

fn is_parent(pid: i32) -> bool {
    use rustix::process::{Pid, getppid};
    getppid().map(Pid::as_raw_pid) == Some(pid)
}
