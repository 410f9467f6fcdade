//! Why a daemon does not answer as it should: it is of another version, not uvale's, gone or stopped.

use std::path::Path;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use crate::plain::{self, Heard, Word};
use crate::proto::{PROTOCOL, Reply, refused};
use crate::silence::Listener;
use uvale_system::refusal::Refusal;

/// Why a first call on `connection` failed.
pub fn explain(connection: BorrowedFd<'_>, errno: Errno, dir: Option<&Path>) -> Refusal {
    match errno {
        // Its answer cannot be decoded.
        Errno::PROTO => of_versions(connection, dir),
        Errno::TIMEDOUT => Refusal::new(errno, Listener::of(connection).why()),
        other => other.into(),
    }
}

/// The answer to a first call, which is not the one that was asked for.
pub fn refused_first(connection: BorrowedFd<'_>, reply: Reply, dir: Option<&Path>) -> Refusal {
    let refusal = refused(reply);
    if refusal.errno == Errno::PROTO {
        return of_versions(connection, dir);
    }
    refusal
}

/// Asks what the daemon is in words that all versions know.
pub fn of_versions(connection: BorrowedFd<'_>, dir: Option<&Path>) -> Refusal {
    let name = Listener::of(connection).name();
    let what = match plain::say(connection, Word::Who) {
        Ok(Heard::Daemon(daemon)) => format!(
            "{name} is of version {} (protocol {})",
            daemon.version, daemon.protocol
        ),
        Ok(Heard::Old) => format!("{name} is of an older version (before protocol 8)"),
        Ok(Heard::Stranger) | Err(_) => {
            return Refusal::new(
                Errno::PROTO,
                format!(
                    "what answers there is no uvale daemon ({name} in name only): another directory is meant"
                ),
            );
        }
    };
    Refusal::new(
        Errno::PROTO,
        format!(
            "{what}, this is {} (protocol {PROTOCOL}): `uvale stop{}` ends it and the next program \
             starts one of its own",
            env!("CARGO_PKG_VERSION"),
            dir.map_or(String::new(), |dir| format!(" --dir {}", dir.display())),
        ),
    )
}
