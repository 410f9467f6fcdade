//! `uvale run`: a program that finds /dev/netmap.

mod preload;
pub mod private;
mod reach;

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

pub use preload::{PRELOAD, Shim, leave};
pub use reach::reach;

/// Tells the shim how to reach the program: `trap`, or not set.
const ENV_REACH: &str = "NMSHIM_REACH";

/// How a program finds the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Reach {
    /// As its file says: trap for what Go has made and a loader loads, else preload
    Auto,
    /// A library that the program's loader loads first
    Preload,
    /// As preload, and system calls that pass that library by come back to it
    Trap,
}

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
    /// How the program finds the device
    #[arg(long, value_enum, default_value_t = Reach::Auto)]
    reach: Reach,
    /// Program and its arguments
    #[arg(required = true, trailing_var_arg = true)]
    program: Vec<OsString>,
}

/// Runs the command. Without `--private` the program replaces this process, so that signals,
/// terminal and exit status are its own; except as process 1, which has duties that few programs know.
pub fn run(args: Args) -> Result<ExitCode, String> {
    let mut command = Command::new(&args.program[0]);
    command.args(&args.program[1..]);
    let (shim, obstacle) = reach(&args.program[0], Shim::find()?);
    match args.reach {
        Reach::Trap => command.env(ENV_REACH, "trap"),
        Reach::Auto if reach::is_go_with_loader(&args.program[0]) => command.env(ENV_REACH, "trap"),
        Reach::Auto | Reach::Preload => command.env_remove(ENV_REACH),
    };
    if let Some(obstacle) = obstacle.as_ref().filter(|_| !args.quiet) {
        eprintln!("uvale: {}", obstacle.why);
    }
    match obstacle.is_some_and(|o| o.is_fatal) {
        true => preload::leave(&mut command),
        false => shim.enter(&mut command),
    }
    if let Some(level) = args.verbose {
        command.env("NMSHIM_VERBOSE", level.to_string());
    }
    if args.quiet {
        command.env("NMSHIM_VERBOSE", "-1");
    }
    if args.private {
        return private::run(command, args.max_switches);
    }
    if let Some(dir) = args.dir {
        command.env(
            uvale_link::environment::ENV_DIR,
            uvale_link::name::absolute(&dir),
        );
        // This run may be inside a private one, which forbids it.
        command.env_remove(uvale_link::environment::ENV_AUTOSTART);
    }
    if std::process::id() == 1 {
        return private::run_as_process_one(command);
    }
    let e = command.exec();
    Ok(not_run(&args.program[0], &e))
}

/// Says why a program did not run; the exit status is that of env(1) and nohup(1).
fn not_run(program: &OsStr, e: &std::io::Error) -> ExitCode {
    eprintln!("uvale: {}", cannot_run(program, e));
    ExitCode::from(if e.kind() == std::io::ErrorKind::NotFound {
        127
    } else {
        126
    })
}

fn cannot_run(program: &OsStr, e: &std::io::Error) -> String {
    format!("cannot run {}: {e}", program.to_string_lossy())
}

/// Makes sure that this very process finds /dev/netmap, with its present environment. Unless the kernel has one, it
/// executes itself again under the shim, also if a shim is loaded already, which read the environment as it was then:
/// `uvale run -- uvale ctl --dir D` means D.
pub fn under_shim() -> Result<(), String> {
    const MARK: &str = "UVALE_UNDER_SHIM";
    if std::env::var_os(MARK).is_some() {
        return Ok(());
    }
    let is_found = std::fs::metadata("/dev/netmap").is_ok();
    let may_be_shims = is_found && std::env::var_os(PRELOAD).is_some();
    if is_found && !may_be_shims {
        return Ok(());
    }
    let exe = match uvale_system::sys::this_program() {
        Err(_) if is_found => return Ok(()),
        exe => exe.map_err(|e| e.to_string())?,
    };
    let mut command = Command::new(&exe);
    command.args(std::env::args_os().skip(1)).env(MARK, "1");
    if !is_found {
        Shim::find()?.enter(&mut command);
    }
    Err(cannot_run(exe.as_os_str(), &command.exec()))
}
