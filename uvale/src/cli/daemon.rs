//! `uvale daemon`

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use uvale::daemon::ALREADY_SERVED;
use uvale::start::IDLE_SECONDS;

use super::log::{Log, no_input};
use super::settings;

/// Options of `uvale daemon`.
#[derive(clap::Args)]
pub struct Args {
    /// Runtime directory [default: $UVALE_DIR, $XDG_RUNTIME_DIR/uvale or /run/uvale]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Let this group (name or number) reach the socket
    #[arg(long)]
    group: Option<String>,
    /// Leave when nobody has used the world for this many seconds and nothing persistent is in it
    #[arg(long, value_name = "SECONDS")]
    idle: Option<u64>,
    /// Leave after the time a daemon that started by itself waits
    #[arg(long, hide = true)]
    idle_default: bool,
    /// Return as soon as the socket listens, and go on in the background
    #[arg(long)]
    detach: bool,
    /// Configuration file (TOML) [default: $UVALE_CONFIG, ~/.config/uvale.toml or /etc/uvale.toml]
    #[arg(long)]
    config: Option<PathBuf>,
    /// VALE switches that may exist at a time
    #[arg(long, value_name = "N")]
    max_switches: Option<u32>,
    /// Remove the runtime directory at the end
    #[arg(long, hide = true)]
    remove_dir: bool,
    /// Descriptor that hears when the socket listens
    #[arg(long, hide = true)]
    ready_fd: Option<i32>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode, String> {
    let dir = args.dir.as_deref().map(uvale::place::absolute);
    let dir = dir.unwrap_or_else(uvale::place::runtime_dir);
    if args.detach {
        return detach(&dir, &args);
    }
    let mut config = settings::load(args.config.as_deref())?;
    if let Some(n) = args.max_switches {
        config.max_switches = n;
    }
    settings::check(&config)?;
    let idle = args
        .idle
        .or(args.idle_default.then_some(IDLE_SECONDS))
        .map(Duration::from_secs);
    let group = args.group.as_deref().map(group_number).transpose()?;
    let remove = args.remove_dir.then(|| dir.clone());
    let outcome = uvale::daemon::run(uvale::daemon::Options {
        dir,
        group,
        idle,
        config,
        ready: args.ready_fd,
    });
    if let Some(dir) = remove {
        let _ = std::fs::remove_dir_all(dir);
    }
    match outcome {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(why) if why.contains(ALREADY_SERVED) => {
            eprintln!("uvale: {why}");
            Ok(ExitCode::from(SERVED_BY_ANOTHER))
        }
        Err(why) => Err(why),
    }
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
/// started for the same directory at the same moment, that one will do.
fn detach(dir: &Path, args: &Args) -> Result<ExitCode, String> {
    // What the program that made us start had open is none of the daemon's business.
    close_inherited();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if answers(dir) {
            return Ok(ExitCode::SUCCESS);
        }
        match spawn(dir, args)? {
            Spawned::Listens => return Ok(ExitCode::SUCCESS),
            Spawned::AnotherServes if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Spawned::AnotherServes => {
                let dir = dir.display();
                return Err(format!("a uvale daemon serves {dir} and does not answer"));
            }
        }
    }
}

/// What became of a daemon that was started.
enum Spawned {
    Listens,
    AnotherServes,
}

fn answers(dir: &Path) -> bool {
    uvale::session::Session::attach(dir).is_ok()
}

/// Starts the daemon proper; an error is what it wrote before it gave up.
fn spawn(dir: &Path, args: &Args) -> Result<Spawned, String> {
    let exe = uvale::start::this_program().map_err(|e| e.to_string())?;
    let (reader, writer) = std::io::pipe().map_err(|e| e.to_string())?;
    let mut command = Command::new(exe);
    command.arg("daemon").arg("--dir").arg(dir);
    // The daemon's stdout is the pipe: "ready" on it, or the reason why not on stderr.
    command.args(["--ready-fd", "1"]);
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
        command.arg("--config").arg(config);
    }
    if let Some(n) = args.max_switches {
        command.args(["--max-switches", &n.to_string()]);
    }
    let log = Log::open(dir)?;
    command
        .env_remove("LD_PRELOAD")
        .current_dir("/")
        .process_group(0);
    command
        .stdin(no_input()?)
        .stdout(writer)
        .stderr(log.stdio()?);
    let mut child = command
        .spawn()
        .map_err(|e| format!("cannot start the daemon: {e}"))?;
    drop(command);
    let mut first = [0u8; 16];
    let mut reader = reader;
    let n = reader.read(&mut first).unwrap_or(0);
    if first[..n].starts_with(b"ready") {
        log.serves();
        return Ok(Spawned::Listens);
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    if status.code() == Some(i32::from(SERVED_BY_ANOTHER)) {
        return Ok(Spawned::AnotherServes);
    }
    let text = log.text();
    let last = text
        .lines()
        .next_back()
        .unwrap_or("the daemon did not start");
    Err(last.trim_start_matches("uvale: ").to_owned())
}

/// Closes everything above stderr and clears the signal mask a starting program may have had.
fn close_inherited() {
    use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else {
        return;
    };
    let numbers: Vec<i32> = open
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect();
    // The descriptor that listed the others is closed by now.
    let is_open = |fd: &i32| rustix::io::fcntl_getfd(uvale::sys::borrow(fd)).is_ok();
    for fd in numbers.into_iter().filter(|fd| *fd > 2 && is_open(fd)) {
        drop(uvale::sys::Fd::from_raw(fd));
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}
