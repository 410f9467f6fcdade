//! Lines for the person, by `NMSHIM_VERBOSE` as the shim does, on the stderr of `uvale run`.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, OnceLock};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::locks::lock;

/// When a line is worth printing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// nothing works
    Trouble = 0,
    /// a request was refused
    Refusal = 1,
    /// what happens
    Trace = 2,
}

/// Reasons that are shown where nobody has set how much is to be said.
const MAX_REASONS: usize = 10;

struct Manner {
    level: i8,
    /// a reason that was given is not given again, and there is an end
    once: bool,
}

static MANNER: OnceLock<Manner> = OnceLock::new();

/// How much is said: as the program is told by `verbose`, if it is.
pub fn set(verbose: Option<i8>) {
    let set = verbose.or_else(|| std::env::var("NMSHIM_VERBOSE").ok()?.trim().parse().ok());
    let ci = std::env::var_os("CI").is_some_and(|v| !v.is_empty() && v != "false" && v != "0");
    let person = ci || std::io::stderr().is_terminal();
    MANNER.get_or_init(|| Manner {
        level: set.unwrap_or(if person { 1 } else { 0 }),
        once: set.is_none_or(|level| level < 1),
    });
}

/// Prints a line if the person wants to hear it.
pub fn say(level: Level, line: &str) {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let Some(manner) = MANNER.get() else {
        return;
    };
    if level as i8 > manner.level {
        return;
    }
    if manner.once {
        let mut said = lock(&SAID);
        if said.len() >= MAX_REASONS || said.iter().any(|s| s == line) {
            return;
        }
        said.push(line.to_owned());
    }
    // Nobody may read it, which is no reason to fail, nor to wait.
    let stderr = std::io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if poll(&mut fds, Some(&now)) != Ok(1) || fds[0].revents() != PollFlags::OUT {
        return;
    }
    let _ = writeln!(std::io::stderr(), "uvale: {line}");
}
