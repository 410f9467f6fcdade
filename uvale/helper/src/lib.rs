//! `uvale nic-helper`: opens what needs privilege, for users and interfaces that an administrator allowed, hands the
//! descriptors over and forgets them. `docs/security.md` says what it gives away.
//!
//! | file | what |
//! |---|---|
//! | `listen.rs` | the listening socket |
//! | `attend.rs` | a process for each connection, how many, and for how long |
//! | `serve.rs` | one request, in such a process: who asks, for what, in which namespace |
//! | `allow.rs` | the rules |
//! | `cable.rs` | a wire that leads to one interface and to no other |
//!
//! The process that listens never receives anything from a client. A process of one request can be killed whatever it
//! is stuck in, and takes all that it holds with it: nothing of one request is left for the next.
#![deny(unsafe_code)]

mod allow;
mod attend;
mod cable;
mod listen;
mod serve;

use std::path::PathBuf;

pub use allow::Rules;

/// The rules, if nobody says otherwise.
pub const ALLOW: &str = "/etc/uvale/nic-helper.allow";

/// Options of the command.
#[derive(Debug, Clone)]
pub struct Options {
    /// where to listen
    pub socket: PathBuf,
    /// the file with the rules
    pub allow: PathBuf,
}

/// Serves until it is killed.
pub fn run(options: &Options) -> Result<(), String> {
    let unknown = Rules::read(&options.allow)?.unknown;
    if !unknown.is_empty() {
        return Err(unknown.join("; "));
    }
    let listener = listen::listener(&options.socket)?;
    log(format_args!(
        "listening at {}, rules in {}",
        options.socket.display(),
        options.allow.display()
    ));
    attend::attend(&listener, options)
}

/// One line of the log, which is stderr. A log that cannot be written stops nothing.
fn log(line: core::fmt::Arguments<'_>) {
    use std::io::Write;
    let _ = std::io::stderr()
        .lock()
        .write_all(format!("uvale nic-helper: {line}\n").as_bytes());
}
