//! A world of the benchmark's own (directory and daemon), and the workers.

use core::cell::OnceCell;
use core::sync::atomic::Ordering::Relaxed;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::board::{Board, wait_for};
use super::histogram::Histogram;
use super::measure::{Look, Party, Wakeups, time_on_cpu};
use super::raw::{die_with_parent, start_real_time};
use super::reach::raw::start_on;
use super::temporary::Removed;
use super::worker::{Role, Spec};
use uvale_link::report::{self, RxRing};
use uvale_link::session::Session;
use uvale_link::{environment, proto, start};
use uvale_wire::Carrier;

/// Longest time until a worker is ready, on a machine that has other things to do.
const READY: Duration = Duration::from_secs(60);

/// Directory, daemon and shim.
pub struct World {
    dir: Removed,
    shim: PathBuf,
    daemon: Child,
    session: OnceCell<Option<Session>>,
}

impl World {
    /// Starts a daemon of this build in a directory of its own.
    pub fn new() -> Result<Self, String> {
        let shim = start::shim().ok_or(
            "libnmshim.so was not found beside this program or in ../lib; name it in NMSHIM",
        )?;
        let exe = std::env::current_exe().map_err(|e| e.to_string())?;
        Self::of(&exe, shim)
    }

    /// The same of another build: its program, and the shim beside it.
    pub fn of_build(program: &Path) -> Result<Self, String> {
        let name = program.display();
        let program = program
            .canonicalize()
            .map_err(|e| format!("--against {name}: {e}"))?;
        if !start::is_program(&program) {
            return Err(format!(
                "--against {name}: this is no program; name another build's uvale"
            ));
        }
        let shim = start::shim_of(&program).ok_or_else(|| {
            format!("--against {name}: there is no libnmshim.so beside it or in ../lib; build it there, too")
        })?;
        Self::of(&program, shim).map_err(|why| format!("--against {name}: {why}"))
    }

    fn of(program: &Path, shim: PathBuf) -> Result<Self, String> {
        let dir = Removed::new()?;
        let flags = rustix::pipe::PipeFlags::CLOEXEC;
        let (reader, writer) = rustix::pipe::pipe_with(flags).map_err(|e| e.to_string())?;
        let log = std::fs::File::create(dir.0.join("uvale.log")).map_err(|e| e.to_string())?;
        let mut command = free(Command::new(program));
        command
            .args(["daemon", "--ready-fd", "1", "--dir"])
            .arg(&dir.0)
            .process_group(0);
        command.stdin(Stdio::null()).stdout(writer).stderr(log);
        let daemon = command
            .spawn()
            .map_err(|e| format!("cannot start a daemon: {e}"))?;
        drop(command);
        let session = OnceCell::new();
        let world = Self {
            dir,
            shim,
            daemon,
            session,
        };
        let mut word = [0u8; 16];
        let n = std::fs::File::from(reader).read(&mut word).unwrap_or(0);
        if word[..n].starts_with(b"ready") {
            return Ok(world);
        }
        let log = std::fs::read_to_string(world.dir.0.join("uvale.log")).unwrap_or_default();
        Err(format!("the daemon did not start: {}", log.trim()))
    }
}

impl World {
    /// Process id of the daemon.
    pub fn daemon(&self) -> u32 {
        self.daemon.id()
    }

    /// What has gone into rx rings so far; `None` if the daemon, which may be another build's, does not say.
    fn wakeups(&self) -> Option<Wakeups> {
        let session = self
            .session
            .get_or_init(|| Session::attach(&self.dir.0).ok());
        let json = session.as_ref()?.report(proto::Report::Ports).ok()?;
        let ports: Vec<report::Port> = serde_json::from_slice(&json).ok()?;
        let rings: RxRing = ports.into_iter().flat_map(|port| port.rx).sum();
        Some(Wakeups {
            packets: rings.packets,
            sent: rings.wakeups,
        })
    }

    /// Has the program find `/dev/netmap`: this world's.
    pub fn preload(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.shim)
            .env(environment::ENV_DIR, &self.dir.0)
            .env(environment::ENV_AUTOSTART, "0");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        end(&mut self.daemon);
    }
}

/// This program, free of any shim, and killed when this process dies.
pub fn this_program() -> Result<Command, String> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    Ok(free(Command::new(exe)))
}

fn free(mut command: Command) -> Command {
    command.env_remove("LD_PRELOAD");
    die_with_parent(&mut command);
    command
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
    world: Option<&'a World>,
    workers: Vec<Worker>,
}

/// A worker's process, and what it writes to its standard error.
struct Worker {
    spec: Spec,
    child: Child,
    errors: File,
}

impl Worker {
    /// What is wrong with it, in its own words if it has said any.
    fn why(&self, what: &str) -> String {
        let role = format!("{:?}", self.spec.role);
        let role = role
            .split(|c: char| !c.is_alphanumeric())
            .next()
            .unwrap_or_default();
        let mut said = Vec::new();
        // From the beginning: the worker has the same file, and has left off at its end.
        let _ = (&self.errors).rewind();
        let _ = (&self.errors).read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        let last = said.lines().rev().find(|line| !line.trim().is_empty());
        match last {
            Some(last) => format!(
                "a worker ({role}) {what}: {}",
                last.trim_start_matches("uvale: bench: ")
            ),
            None => format!("a worker ({role}) {what}"),
        }
    }
}

impl<'a> Group<'a> {
    /// Starts the workers, each with an optional standard output of its own, and waits until all
    /// are ready. `world` is needed for those that use netmap.
    pub fn start(
        board: &'a Board,
        number: usize,
        world: Option<&'a World>,
        specs: Vec<(Spec, Option<OwnedFd>)>,
    ) -> Result<Self, String> {
        let mut group = Self {
            board,
            number,
            world,
            workers: Vec::new(),
        };
        for (spec, stdout) in specs {
            group.workers.push(spawn(board, world, spec, stdout)?);
            // One by one: receivers come first and have been learned when senders start.
            group.wait_until_ready()?;
        }
        Ok(group)
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let Some(worker) = self.workers.last_mut() else {
            return Ok(());
        };
        let (board, index) = (self.board, worker.spec.index);
        wait_for(READY, || {
            board.is_ready(index) || !matches!(worker.child.try_wait(), Ok(None))
        });
        if board.is_ready(index) {
            return Ok(());
        }
        Err(worker.why("did not get ready"))
    }

    /// The workers.
    pub fn specs(&self) -> impl Iterator<Item = &Spec> {
        self.workers.iter().map(|worker| &worker.spec)
    }

    /// The processes that ought to be busy all the time and have their processor for themselves: for each processor
    /// those that share it and only ever go on in turns, as a worker and who serves it.
    pub fn busy(&self) -> Vec<Vec<u32>> {
        let mut cpus: Vec<usize> = self.specs().map(|spec| spec.cpu).collect();
        cpus.sort_unstable();
        cpus.dedup();
        let on = |cpu| {
            let here = self.workers.iter().filter(move |w| w.spec.cpu == cpu);
            let takes_turns = |w: &Worker| matches!(w.spec.role, Role::Reach(_));
            let is_busy = here.clone().all(|w| w.spec.role.spins())
                && (here.clone().count() == 1 || here.clone().all(takes_turns));
            let mut pids: Vec<u32> = here
                .flat_map(|w| [w.child.id(), self.board.process(w.spec.index)])
                .collect();
            pids.sort_unstable();
            pids.dedup();
            is_busy.then_some(pids)
        };
        cpus.into_iter().filter_map(on).collect()
    }
}

impl Party for Group<'_> {
    fn set_running(&mut self, running: bool) -> Result<(), String> {
        self.board.set_running(self.number, running);
        Ok(())
    }

    fn look(&mut self) -> Result<Look, String> {
        let time = |pids: Vec<u32>| pids.into_iter().map(time_on_cpu).sum();
        let on_cpu = self.busy().into_iter().map(time).collect();
        let workers = || {
            self.specs()
                .map(|spec| (spec, self.board.worker(spec.index)))
        };
        let sum = |receives| {
            workers()
                .filter(|(spec, _)| spec.role.receives() == receives)
                .map(|(_, worker)| worker.count.load(Relaxed))
                .fold(0, u64::wrapping_add)
        };
        let (sent, delivered, at) = (sum(false), sum(true), Instant::now());
        let mut latencies = Histogram::default();
        workers().for_each(|(_, worker)| latencies.merge(&worker.latencies.read()));
        Ok(Look {
            at,
            sent,
            delivered,
            on_cpu,
            latencies,
        })
    }

    fn wakeups(&mut self) -> Option<Wakeups> {
        let world = self.world?;
        let blocks = self.specs().any(|spec| spec.role.blocks());
        blocks.then(|| world.wakeups()).flatten()
    }

    fn check(&mut self) -> Result<(), String> {
        for worker in &mut self.workers {
            if let Ok(Some(status)) = worker.child.try_wait() {
                return Err(worker.why(&format!("ended with {status}")));
            }
        }
        Ok(())
    }
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        self.board.quit(self.number);
        for Worker { child, .. } in &mut self.workers {
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
    spec: Spec,
    stdout: Option<OwnedFd>,
) -> Result<Worker, String> {
    let text = serde_json::to_string(&spec).map_err(|e| e.to_string())?;
    let mut command = match &spec.role {
        Role::Memif(end) => free(end.command(spec.cpu, Board::places(spec.index, spec.group))),
        _ => this_program()?,
    };
    let world = || world.ok_or("no world for a netmap worker");
    if let Some(reach) = spec.reach {
        let exe = command.get_program().to_owned();
        command.args(["run", reach.option(), "--dir"]);
        command.arg(&world()?.dir.0).arg("--").arg(exe);
        start_on(&mut command, spec.cpu);
    }
    // who serves a worker goes before others as the worker does, and so does another program
    let others = matches!(spec.role, Role::Reach(_) | Role::Memif(_));
    if spec.real_time && (spec.reach.is_some() || others) {
        start_real_time(&mut command);
    }
    match spec.role {
        Role::Memif(_) => command.stdout(Stdio::null()),
        _ => command.args(["bench", "--worker", &text]),
    };
    command.stdin(board.descriptor()?);
    let errors = rustix::fs::memfd_create("uvale-bench-errors", rustix::fs::MemfdFlags::CLOEXEC);
    let errors = File::from(errors.map_err(|e| e.to_string())?);
    command.stderr(errors.try_clone().map_err(|e| e.to_string())?);
    if let Some(stdout) = stdout {
        command.stdout(stdout);
    }
    if spec.role.is_netmap() && spec.reach.is_none() {
        world()?.preload(&mut command);
        let carrier = match spec.carrier {
            Carrier::Best => "best",
            Carrier::Packet => "packet",
            Carrier::Xdp => "xdp",
        };
        command.env("NMSHIM_WIRE", carrier);
    }
    let child = command.spawn();
    let child = child.map_err(|e| format!("cannot start a worker: {e}"))?;
    Ok(Worker {
        spec,
        child,
        errors,
    })
}
