//! `uvale run`: a program that finds /dev/netmap.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use super::log::{Log, no_input};

/// Options of `uvale run`.
#[derive(clap::Args)]
pub struct Args {
    /// A world for this command and its children alone, gone afterwards
    #[arg(long, conflicts_with = "dir")]
    private: bool,
    /// Use the world of this runtime directory
    #[arg(long)]
    dir: Option<PathBuf>,
    /// VALE switches the private world may have
    #[arg(long, value_name = "N", requires = "private")]
    max_switches: Option<u32>,
    /// Print what the shim has to say (0 to 2)
    #[arg(long, short, value_name = "LEVEL")]
    verbose: Option<u8>,
    /// Say nothing, whatever goes wrong
    #[arg(long, short, conflicts_with = "verbose")]
    quiet: bool,
    /// Program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<OsString>,
}

/// Runs the command. Without `--private` the program takes this process' place, so that signals,
/// terminal and exit status are its own.
pub fn run(args: Args) -> Result<ExitCode, String> {
    let mut command = Command::new(&args.program[0]);
    command.args(&args.program[1..]);
    preload(&mut command)?;
    if let Some(level) = args.verbose {
        command.env("NMSHIM_VERBOSE", level.to_string());
    }
    if args.quiet {
        command.env("NMSHIM_VERBOSE", "-1");
    }
    if args.private {
        return private(command, args.max_switches);
    }
    if let Some(dir) = args.dir {
        command.env(uvale::place::ENV_DIR, uvale::place::absolute(&dir));
        // This run may be inside a private one, which forbids it.
        command.env_remove(uvale::start::ENV_AUTOSTART);
    }
    Ok(not_run(&args.program[0], &command.exec()))
}

/// Says why a program did not run; the exit status is that of env(1) and nohup(1).
fn not_run(program: &OsString, e: &std::io::Error) -> ExitCode {
    eprintln!("uvale: {}", cannot_run(program, e));
    ExitCode::from(if e.kind() == std::io::ErrorKind::NotFound {
        127
    } else {
        126
    })
}

fn cannot_run(program: &OsString, e: &std::io::Error) -> String {
    format!("cannot run {}: {e}", program.to_string_lossy())
}

/// Puts the shim into the program's environment.
fn preload(command: &mut Command) -> Result<(), String> {
    let shim = uvale::start::shim()
        .ok_or("libnmshim.so was not found beside this program or in ../lib; name it in NMSHIM")?;
    // The loader takes both for the end of a name.
    if shim
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .any(|b| b" :".contains(b))
    {
        return Err(format!(
            "{} cannot be preloaded: there is a space or a colon in its name; put it into another \
             folder and name it in NMSHIM",
            shim.display()
        ));
    }
    let mut preload = shim.clone().into_os_string();
    let others = std::env::var_os("LD_PRELOAD").unwrap_or_default();
    for other in std::env::split_paths(&others).filter(|p| *p != shim && !p.as_os_str().is_empty())
    {
        preload.push(":");
        preload.push(other);
    }
    command.env("LD_PRELOAD", preload);
    if let Ok(exe) = uvale::start::this_program() {
        command.env(uvale::start::ENV_PROGRAM, exe);
    }
    Ok(())
}

/// Makes sure that this very process finds /dev/netmap: if the kernel has none and the shim is not
/// loaded, starts itself again under the shim.
pub fn under_shim() -> Result<(), String> {
    const MARK: &str = "UVALE_UNDER_SHIM";
    let loaded = std::fs::metadata("/dev/netmap").is_ok();
    if loaded || std::env::var_os(MARK).is_some() {
        return Ok(());
    }
    let exe = uvale::start::this_program().map_err(|e| e.to_string())?;
    let mut command = Command::new(&exe);
    command.args(std::env::args_os().skip(1)).env(MARK, "1");
    preload(&mut command)?;
    Err(cannot_run(&exe.into_os_string(), &command.exec()))
}

/// A world of its own: directory and daemon, both gone when the program has ended.
fn private(mut command: Command, max_switches: Option<u32>) -> Result<ExitCode, String> {
    let world = PrivateWorld::new(max_switches)?;
    command
        .env(uvale::place::ENV_DIR, &world.dir)
        .env(uvale::start::ENV_AUTOSTART, "0");

    // From here on signals are for the program; they are taken from the queue and passed on.
    let mut passed_on = SigSet::empty();
    for signal in PASSED_ON {
        passed_on.add(signal);
    }
    passed_on.add(Signal::SIGCHLD);
    let before = passed_on
        .thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK)
        .map_err(|e| e.to_string())?;
    let program = command.get_program().to_owned();
    restore_mask(&mut command, before);
    // If this process is killed outright, the world goes; the program should not outlive it.
    die_with_parent(&mut command);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => return Ok(not_run(&program, &e)),
    };
    let status = wait_passing_signals(&mut child, &passed_on)?;
    drop(world);
    Ok(match (status.code(), status.signal()) {
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

#[allow(unsafe_code)]
fn restore_mask(command: &mut Command, mask: SigSet) {
    // SAFETY: setting the signal mask is async-signal-safe.
    unsafe {
        command.pre_exec(move || mask.thread_set_mask().map_err(std::io::Error::from));
    }
}

fn wait_passing_signals(
    child: &mut Child,
    signals: &SigSet,
) -> Result<std::process::ExitStatus, String> {
    let pid = Pid::from_raw(child.id() as i32);
    loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return Ok(status);
        }
        match next_signal(signals) {
            // A terminal sends its signals to the whole group, the program has them already.
            Some((Signal::SIGCHLD, _) | (_, Sender::Kernel)) | None => {}
            Some((signal, Sender::Process)) => {
                let _ = kill(pid, signal);
            }
        }
    }
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

struct PrivateWorld {
    dir: PathBuf,
    daemon: Child,
}

impl PrivateWorld {
    fn new(max_switches: Option<u32>) -> Result<Self, String> {
        let dir = private_dir()?;
        let exe = uvale::start::this_program().map_err(|e| e.to_string())?;
        let mut command = Command::new(exe);
        let (mut reader, writer) = std::io::pipe().map_err(|e| e.to_string())?;
        command
            .args(["daemon", "--remove-dir", "--ready-fd", "1", "--dir"])
            .arg(&dir);
        if let Some(n) = max_switches {
            command.args(["--max-switches", &n.to_string()]);
        }
        let log = Log::open(&dir)?;
        command
            .stdin(no_input()?)
            .stdout(writer)
            .stderr(log.stdio()?);
        // A ^C at the terminal is for the program; the daemon leaves when the program has.
        command.env_remove("LD_PRELOAD").process_group(0);
        die_with_parent(&mut command);
        let daemon = command
            .spawn()
            .map_err(|e| format!("cannot start a daemon: {e}"))?;
        drop(command);
        let world = Self { dir, daemon };
        let mut word = [0u8; 16];
        let n = std::io::Read::read(&mut reader, &mut word).unwrap_or(0);
        if word[..n].starts_with(b"ready") {
            log.serves();
            return Ok(world);
        }
        let why = log.text();
        Err(format!("the private daemon did not start: {}", why.trim()))
    }
}

impl Drop for PrivateWorld {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.daemon.id() as i32), Signal::SIGTERM);
        let _ = self.daemon.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// If this process is killed outright, its private daemon goes too.
#[allow(unsafe_code)]
fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(std::io::Error::from)
        });
    }
}

/// Where a private world lives: in a directory of its own, and where none can be made under a name
/// alone, which is found in this network namespace only.
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
        Some(dir) => Ok(uvale::place::absolute(&dir)),
        None => uvale::place::new_abstract()
            .map_err(|e| format!("cannot make a name for a private world: {e}")),
    }
}
