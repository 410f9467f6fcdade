//! How an example begins and ends: with arguments, else with its usage; on SIGINT or SIGTERM with a line of counts,
//! else with a sentence that says what is wrong.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

/// How long to sleep at most: a signal that comes right before a sleep does not end it.
pub const TICK: Duration = Duration::from_secs(1);

/// Set by SIGINT and SIGTERM.
pub fn flag() -> io::Result<Arc<AtomicBool>> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, ended.clone())?;
    }
    Ok(ended)
}

/// Runs a program and says how it went. Status 2: the arguments are wrong. Nobody may be there to read it, which is no
/// reason to panic, as `println!` would.
pub fn run<A, C: Display>(
    usage: &str,
    parse: impl FnOnce(&[String]) -> Result<A, Box<dyn Error>>,
    run: impl FnOnce(A) -> Result<C, Box<dyn Error>>,
) -> ExitCode {
    let program = usage.split(' ').next().unwrap_or_default();
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let args = match parse(&args) {
        Ok(args) => args,
        Err(why) => {
            let _ = writeln!(io::stderr(), "{program}: {why}\nusage: {usage}");
            return ExitCode::from(2);
        }
    };
    match run(args) {
        Ok(counts) => {
            let _ = writeln!(io::stdout(), "{program}: {counts}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            let _ = writeln!(io::stderr(), "{program}: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What is said of other arguments than the usage has.
pub const WRONG: &str = "too few or too many arguments";

#[allow(dead_code, reason = "not every program takes numbers")]
pub fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is no number, or too large a one"))
}
