//! `uvale daemon`

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use uvale_daemon::ALREADY_SERVED;
use uvale_link::start::IDLE_SECONDS;
use uvale_shared::shm::Huge;

use super::log::Log;
use super::metrics;
use super::settings;
use super::spawn::{self, NotStarted};

/// Options of `uvale daemon`.
#[derive(clap::Args)]
pub struct Args {
    /// Runtime directory [default: $UVALE_DIR, $XDG_RUNTIME_DIR/uvale, /run/uvale or /tmp/uvale-UID]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Let this group (name or number) reach the socket
    #[arg(long)]
    group: Option<String>,
    /// Exit when nobody has used the world for this many seconds and nothing persistent is in it
    #[arg(long, value_name = "SECONDS")]
    idle: Option<u64>,
    /// Exit after the same time as a daemon that started by itself
    #[arg(long, hide = true)]
    idle_default: bool,
    /// Return as soon as the socket listens, and continue in the background
    #[arg(long)]
    detach: bool,
    /// Configuration file (TOML) [default: $UVALE_CONFIG, $XDG_CONFIG_HOME/uvale.toml or /etc/uvale.toml]
    #[arg(long)]
    config: Option<PathBuf>,
    /// Most VALE switches that may exist at a time
    #[arg(long, value_name = "N")]
    max_switches: Option<u32>,
    /// Huge pages for the memory of ports: off, auto, hugetlb (reserved ones) or thp [default: off]
    #[arg(long, value_name = "KIND", value_parser = Huge::of)]
    huge_pages: Option<Huge>,
    /// NUMA node that the memory of ports comes from, as long as it has any
    #[arg(long, value_name = "N")]
    numa_node: Option<u32>,
    /// Serve OpenMetrics over HTTP there: unix:PATH, or ADDRESS:PORT of loopback, or PORT
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<String>,
    /// Remove the runtime directory at the end
    #[arg(long, hide = true)]
    remove_dir: bool,
    /// Descriptor that is told when the socket listens
    #[arg(long, hide = true)]
    ready_fd: Option<i32>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode, String> {
    let dir = args.dir.as_deref().map(uvale_link::name::absolute);
    let dir = dir.unwrap_or_else(uvale_link::place::runtime_dir);
    if args.detach {
        return detach(&dir, &args);
    }
    match serve(&dir, &args) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(why) => {
            if let Some(fd) = args.ready_fd {
                let _ = rustix::io::write(uvale_system::sys::borrow(&fd), why.as_bytes());
            }
            if !why.contains(ALREADY_SERVED) {
                return Err(why);
            }
            eprintln!("uvale: {why}");
            Ok(ExitCode::from(SERVED_BY_ANOTHER))
        }
    }
}

/// Serves until it is time to exit.
fn serve(dir: &Path, args: &Args) -> Result<(), String> {
    if args.remove_dir {
        // That of one program: what was open there is the program's.
        close_inherited();
    }
    // Started by a program for itself and later ones, or for one program alone.
    let is_started_by_program = args.idle_default || args.remove_dir;
    uvale_daemon::surroundings::raise_limits(is_started_by_program);
    let settings::Settings {
        mut config,
        metrics: address,
    } = settings::load(args.config.as_deref())?;
    if let Some(n) = args.max_switches {
        config.max_switches = n;
    }
    config.pages.huge = args.huge_pages.unwrap_or(config.pages.huge);
    config.pages.node = args.numa_node.or(config.pages.node);
    settings::check(&config)?;
    let idle = args
        .idle
        .or(args.idle_default.then_some(IDLE_SECONDS))
        .map(Duration::from_secs);
    let group = args.group.as_deref().map(group_number).transpose()?;
    // the file's address is for the one daemon that somebody started, not for those that programs start for themselves
    let address = address.filter(|_| !is_started_by_program);
    let address = args
        .metrics
        .clone()
        .or(address)
        .map(|address| metrics::absolute(&address));
    let _name = match address {
        // another daemon's address is not the point if this one cannot be at all
        Some(address) if !answers(dir) => serve_metrics(&address, group, dir)?,
        _ => None,
    };
    let outcome = uvale_daemon::run(uvale_daemon::Options {
        dir: dir.to_owned(),
        group,
        idle,
        config,
        ready: args.ready_fd,
        // Any other daemon is known to whoever started it by its process id.
        may_move: args.idle_default,
    });
    if args.remove_dir {
        let _ = std::fs::remove_dir_all(dir);
    }
    outcome
}

/// Listens for those that ask for metrics, and says where. The name of a Unix socket lives as long as what is returned.
fn serve_metrics(
    address: &str,
    group: Option<u32>,
    dir: &Path,
) -> Result<Option<metrics::Name>, String> {
    let (listener, name) = metrics::Listener::new(address, group)?;
    let at = listener.said(address);
    metrics::serve(listener, dir)?;
    uvale_tools::output::line(format_args!("uvale: metrics at {at}"));
    Ok(name)
}

/// Exit status of a daemon that found another one in its directory.
const SERVED_BY_ANOTHER: u8 = 75;

fn group_number(group: &str) -> Result<u32, String> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    match nix::unistd::Group::from_name(group) {
        Ok(Some(found)) => Ok(found.gid.as_raw()),
        _ => Err(format!("there is no group {group}")),
    }
}

/// Starts the daemon in the background and returns once it listens. If another one is being
/// started for the same directory at the same moment, that one is used.
fn detach(dir: &Path, args: &Args) -> Result<ExitCode, String> {
    // The daemon must not keep what the program that started us had open.
    close_inherited();
    uvale_daemon::surroundings::leave();
    let deadline = Instant::now() + PATIENCE;
    loop {
        if answers(dir) {
            return Ok(ExitCode::SUCCESS);
        }
        match start(dir, args) {
            Ok(()) => return Ok(ExitCode::SUCCESS),
            Err(not) if not.code != Some(i32::from(SERVED_BY_ANOTHER)) => return Err(not.why),
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            Err(_) => {
                let dir = dir.display();
                return Err(format!("a uvale daemon serves {dir} and does not answer"));
            }
        }
    }
}

/// How long another daemon of the directory may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

fn answers(dir: &Path) -> bool {
    uvale_link::session::Session::attach(dir).is_ok()
}

/// Starts the daemon proper in a session of its own.
fn start(dir: &Path, args: &Args) -> Result<(), NotStarted> {
    let mut command = spawn::daemon(dir)?;
    if args.idle_default {
        command.arg("--idle-default");
    }
    if let Some(idle) = args.idle {
        command.args(["--idle", &idle.to_string()]);
    }
    if let Some(group) = &args.group {
        command.args(["--group", group]);
    }
    if let Some(config) = &args.config {
        let config = std::path::absolute(config).map_err(|e| e.to_string())?;
        command.arg("--config").arg(config);
    }
    if let Some(n) = args.max_switches {
        command.args(["--max-switches", &n.to_string()]);
    }
    if let Some(huge) = args.huge_pages {
        command.args(["--huge-pages", &huge.to_string()]);
    }
    if let Some(node) = args.numa_node {
        command.args(["--numa-node", &node.to_string()]);
    }
    if let Some(address) = &args.metrics {
        command.args(["--metrics", &metrics::absolute(address)]);
    }
    command.current_dir("/");
    of_its_own_session(&mut command);
    spawn::start(command, Log::open(dir)?).map(drop)
}

/// No terminal, and a process session of its own.
#[allow(unsafe_code)]
fn of_its_own_session(command: &mut Command) {
    // SAFETY: setsid is async-signal-safe.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into));
    }
}

/// Closes everything above stderr.
fn close_inherited() {
    use rustix::process::{Resource, getrlimit};
    // SAFETY: nothing in this process holds a descriptor yet.
    #[allow(unsafe_code)]
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) } == 0;
    if !closed {
        // A kernel from before 2020.
        let most = getrlimit(Resource::Nofile).current.unwrap_or(1024);
        (3..most.min(65_536) as i32).for_each(|fd| drop(uvale_system::sys::Fd::from_raw(fd)));
    }
}
