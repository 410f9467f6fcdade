//! Lines for the person: on stderr, at the verbosity of `NMSHIM_VERBOSE` (0 to 2, default 0).

use core::fmt::Arguments;
use core::sync::atomic::{AtomicU8, Ordering};

/// When a line is worth printing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// nothing works: always
    Trouble = 0,
    /// a request was refused
    Refusal = 1,
    /// what happens
    Trace = 2,
}

const UNKNOWN: u8 = u8::MAX;
static VERBOSITY: AtomicU8 = AtomicU8::new(UNKNOWN);

fn verbosity() -> u8 {
    let seen = VERBOSITY.load(Ordering::Relaxed);
    if seen != UNKNOWN {
        return seen;
    }
    let read = std::env::var("NMSHIM_VERBOSE")
        .ok()
        .and_then(|v| v.trim().parse().ok());
    let value = read.unwrap_or(0u8).min(UNKNOWN - 1);
    VERBOSITY.store(value, Ordering::Relaxed);
    value
}

/// Prints a line if the verbosity asks for it.
pub fn say(level: Level, line: Arguments<'_>) {
    if level as u8 > verbosity() {
        return;
    }
    // One write, straight to the kernel: stdio belongs to the program.
    let text = format!("nmshim: {line}\n");
    let _ = rustix::io::write(uvale::sys::borrow(&2), text.as_bytes());
}
