//! Lines for the person, by `NMSHIM_VERBOSE` as the shim does, on the stderr of `uvale run`.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, OnceLock};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
pub use uvale_link::manner::Level;
use uvale_link::manner::{MAX_REASONS, Manner};

use crate::locks::lock;

static MANNER: OnceLock<Manner> = OnceLock::new();

/// How much is said: as the program is told by `verbose`, if it is.
pub fn set(verbose: Option<i8>) {
    MANNER.get_or_init(|| Manner::new(verbose, std::io::stderr().is_terminal()));
}

/// Prints a line if the person wants to hear it.
pub fn say(level: Level, line: &str) {
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let Some(manner) = MANNER.get() else {
        return;
    };
    if !manner.says(level) {
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
