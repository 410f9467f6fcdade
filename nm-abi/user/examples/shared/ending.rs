//! How an example ends: on SIGINT or SIGTERM with a line of counts, else with a sentence that says what is wrong.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
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

/// Says how it went. Nobody may be there to read it, which is no reason to panic, as `println!` would.
pub fn end(program: &str, result: Result<impl Display, Box<dyn Error>>) -> ExitCode {
    match result {
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
