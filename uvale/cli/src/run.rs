//! `uvale run`: a program that finds /dev/netmap.

pub mod beside;
pub mod inherited;
mod preload;
pub mod private;
mod reach;
mod signals;
mod start;

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use beside::{Ended, Own, run_as_process_one, run_served};
use preload::{PRELOAD, Shim};
pub use start::Start;
use uvale_tools::reach::Reach;

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

/// Runs the command. Without `--private` the program replaces this process, so that signals, terminal and exit status
/// are its own; except where it is served from here, and as process 1, which has duties that few programs know.
pub fn run(args: Args) -> Result<ExitCode, String> {
    let mut command = Command::new(&args.program[0]);
    command.args(&args.program[1..]);
    inherited::give_start(&mut command);
    let start = Start::of(&command, args.reach)?;
    let by = |way: &str| format!("start it by `uvale run --reach={way}`");
    if let Some(why) = start.obstacle(by).filter(|_| !args.quiet) {
        eprintln!("uvale: {why}");
    }
    start.enter(&mut command);
    if let Some(level) = args.verbose {
        command.env("NMSHIM_VERBOSE", level.to_string());
    }
    if args.quiet {
        command.env("NMSHIM_VERBOSE", "-1");
    }
    let served = start.served(match args.quiet {
        true => Some(-1),
        false => args.verbose.map(|level| level.min(2) as i8),
    });
    if args.private {
        return private::run(command, args.max_switches, served, Own::LetGo).map(Ended::alike);
    }
    let dir = args.dir.map(|dir| uvale_link::name::absolute(&dir));
    if let Some(dir) = &dir {
        command.env(uvale_link::environment::ENV_DIR, dir);
        // This run may be inside a private one, which forbids it.
        command.env_remove(uvale_link::environment::ENV_AUTOSTART);
    }
    if let Some(served) = served {
        let dir = dir.unwrap_or_else(uvale_link::place::runtime_dir);
        return run_served(command, dir, &served).map(Ended::alike);
    }
    if std::process::id() == 1 {
        return run_as_process_one(command, Own::LetGo).map(Ended::alike);
    }
    let e = command.exec();
    Ok(not_run(&args.program[0], &e).alike())
}

/// Says why a program did not run; the exit status is that of env(1) and nohup(1).
fn not_run(program: &OsStr, e: &std::io::Error) -> Ended {
    eprintln!("uvale: {}", cannot_run(program, e));
    Ended::With(if e.kind() == std::io::ErrorKind::NotFound {
        127
    } else {
        126
    })
}

fn cannot_run(program: &OsStr, e: &std::io::Error) -> String {
    format!("cannot run {}: {e}", program.to_string_lossy())
}

/// Can the shim be loaded into processes of this very program?
///
/// # Errors
/// A sentence.
pub fn can_be_preloaded() -> Result<(), String> {
    match cfg!(target_feature = "crt-static") {
        false => Ok(()),
        true => Err(
            "bench: the shim is measured in processes of this program, which is static, so that nothing can be \
             preloaded into it: use the uvale of a release for glibc"
                .to_owned(),
        ),
    }
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
    // No preload reaches a static build of this program: it is served as other static programs are.
    let is_static = cfg!(target_feature = "crt-static");
    if !is_found && is_static {
        command.args(["run", "--"]).arg(&exe);
    }
    command.args(std::env::args_os().skip(1)).env(MARK, "1");
    if !is_found && !is_static {
        Shim::find()?.enter(&mut command);
    }
    Err(cannot_run(exe.as_os_str(), &command.exec()))
}
