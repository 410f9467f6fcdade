//! A world of the benchmark's own (directory and daemon), and the workers.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::board::{Board, wait_for};
use super::raw::die_with_parent;
use super::reach::raw::start_on;
use super::worker::{Role, Spec};
use uvale_link::{environment, start};
use uvale_wire::Carrier;

/// Directory, daemon and shim.
pub struct World {
    dir: PathBuf,
    shim: PathBuf,
    daemon: Child,
}

impl World {
    /// Starts a daemon in a directory of its own.
    pub fn new() -> Result<Self, String> {
        let shim = start::shim().ok_or(
            "libnmshim.so was not found beside this program or in ../lib; name it in NMSHIM",
        )?;
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("uvale-bench-XXXXXX"))
            .map_err(|e| format!("cannot make a directory: {e}"))?;
        let flags = rustix::pipe::PipeFlags::CLOEXEC;
        let (reader, writer) = rustix::pipe::pipe_with(flags).map_err(|e| e.to_string())?;
        let log = std::fs::File::create(dir.join("uvale.log")).map_err(|e| e.to_string())?;
        let mut command = this_program()?;
        command
            .args(["daemon", "--ready-fd", "1", "--dir"])
            .arg(&dir)
            .process_group(0);
        command.stdin(Stdio::null()).stdout(writer).stderr(log);
        let daemon = command
            .spawn()
            .map_err(|e| format!("cannot start a daemon: {e}"))?;
        drop(command);
        let world = Self { dir, shim, daemon };
        let mut word = [0u8; 16];
        let n = std::fs::File::from(reader).read(&mut word).unwrap_or(0);
        if word[..n].starts_with(b"ready") {
            return Ok(world);
        }
        let log = std::fs::read_to_string(world.dir.join("uvale.log")).unwrap_or_default();
        Err(format!("the daemon did not start: {}", log.trim()))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        end(&mut self.daemon);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// This program, free of any shim, and killed when this process dies.
pub fn this_program() -> Result<Command, String> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(exe);
    command.env_remove("LD_PRELOAD");
    die_with_parent(&mut command);
    Ok(command)
}

/// SIGTERM, and a while to obey it.
pub fn end(child: &mut Child) {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
    if !wait_for(Duration::from_secs(3), || {
        !matches!(child.try_wait(), Ok(None))
    }) {
        let _ = child.kill();
    }
    let _ = child.wait();
}

/// Workers that are started and stopped together.
pub struct Group<'a> {
    board: &'a Board,
    number: usize,
    workers: Vec<(Spec, Child)>,
}

impl<'a> Group<'a> {
    /// Starts the workers, each with an optional standard output of its own, and waits until all
    /// are ready. `world` is needed for those that use netmap.
    pub fn start(
        board: &'a Board,
        number: usize,
        world: Option<&World>,
        specs: Vec<(Spec, Option<OwnedFd>)>,
    ) -> Result<Self, String> {
        let mut group = Self {
            board,
            number,
            workers: Vec::new(),
        };
        for (spec, stdout) in specs {
            let child = spawn(board, world, &spec, stdout)?;
            group.workers.push((spec, child));
            // One by one: receivers come first and have been learned when senders start.
            group.wait_until_ready()?;
        }
        Ok(group)
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let Some((spec, child)) = self.workers.last_mut() else {
            return Ok(());
        };
        let (board, index) = (self.board, spec.index);
        wait_for(Duration::from_secs(10), || {
            board.is_ready(index) || !matches!(child.try_wait(), Ok(None))
        });
        if board.is_ready(index) {
            return Ok(());
        }
        Err(format!("a worker did not get ready ({:?})", spec.role))
    }

    /// Lets the group run or stops it.
    pub fn set_running(&self, running: bool) {
        self.board.set_running(self.number, running);
    }

    /// The workers.
    pub fn specs(&self) -> impl Iterator<Item = &Spec> {
        self.workers.iter().map(|(spec, _)| spec)
    }

    /// The processes that ought to be busy all the time and have their processor for themselves: for each processor
    /// those that share it and only ever go on in turns, as a worker and who serves it.
    pub fn busy(&self) -> Vec<Vec<u32>> {
        let mut cpus: Vec<usize> = self.specs().map(|spec| spec.cpu).collect();
        cpus.sort_unstable();
        cpus.dedup();
        let on = |cpu| {
            let here = self.workers.iter().filter(move |(spec, _)| spec.cpu == cpu);
            let takes_turns = |(spec, _): &(Spec, Child)| matches!(spec.role, Role::Reach(_));
            let is_busy = here.clone().all(|(spec, _)| spec.role.spins())
                && (here.clone().count() == 1 || here.clone().all(takes_turns));
            let mut pids: Vec<u32> = here
                .flat_map(|(spec, child)| [child.id(), self.board.process(spec.index)])
                .collect();
            pids.sort_unstable();
            pids.dedup();
            is_busy.then_some(pids)
        };
        cpus.into_iter().filter_map(on).collect()
    }

    /// An error if one of the workers has gone.
    pub fn check(&mut self) -> Result<(), String> {
        for (spec, child) in &mut self.workers {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(format!("a worker ended with {status} ({:?})", spec.role));
            }
        }
        Ok(())
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        self.board.quit(self.number);
        for (_, child) in &mut self.workers {
            if !wait_for(Duration::from_secs(2), || {
                !matches!(child.try_wait(), Ok(None))
            }) {
                let _ = child.kill();
            }
            let _ = child.wait();
        }
    }
}

fn spawn(
    board: &Board,
    world: Option<&World>,
    spec: &Spec,
    stdout: Option<OwnedFd>,
) -> Result<Child, String> {
    let text = serde_json::to_string(spec).map_err(|e| e.to_string())?;
    let mut command = this_program()?;
    let world = || world.ok_or("no world for a netmap worker");
    if let Some(reach) = spec.reach {
        let exe = command.get_program().to_owned();
        command.args(["run", reach.option(), "--dir"]);
        command.arg(&world()?.dir).arg("--").arg(exe);
        start_on(&mut command, spec.cpu);
    }
    command
        .args(["bench", "--worker", &text])
        .stdin(board.descriptor()?);
    if let Some(stdout) = stdout {
        command.stdout(stdout);
    }
    if spec.role.is_netmap() && spec.reach.is_none() {
        let world = world()?;
        command
            .env("LD_PRELOAD", &world.shim)
            .env(environment::ENV_DIR, &world.dir);
        command.env(environment::ENV_AUTOSTART, "0");
        let carrier = match spec.carrier {
            Carrier::Best => "best",
            Carrier::Packet => "packet",
            Carrier::Xdp => "xdp",
        };
        command.env("NMSHIM_WIRE", carrier);
    }
    command
        .spawn()
        .map_err(|e| format!("cannot start a worker: {e}"))
}
