//! `uvale stop`: asks the daemon of a directory to exit, whatever its version.
//!
//! The daemon is told in words that do not change from version to version ([`uvale_link::plain`]), which
//! also reach it in another PID namespace. A daemon from before protocol 8 does not know them and gets
//! SIGTERM: the process that the kernel names as the listener at the other end of our connection,
//! held by a pidfd, if it is a uvale daemon of our own user.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use uvale_link::plain::{Answer, Heard, Word, say};
use uvale_link::silence::Listener;
use uvale_system::peer::credentials;
use uvale_system::sys::Fd;

use super::show::Place;
use super::table::print;

/// Options of `uvale stop`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
}

/// How long a daemon may take to exit.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode, String> {
    let (dir, connection) = (args.place.dir(), args.place.connect()?);
    let process = own_process(&connection);
    let answer = match say(connection.as_fd(), Word::Stop) {
        Ok(Heard::Daemon(answer)) if answer.refused => {
            return Err("the daemon serves another user, and does not leave for you".into());
        }
        Ok(Heard::Daemon(answer)) => answer,
        Ok(Heard::Old) => {
            terminate(process.as_ref(), &connection)?;
            Answer::default()
        }
        Ok(Heard::Stranger) => {
            return Err(format!(
                "what answers in {} is no uvale daemon: nothing was stopped",
                dir.display()
            ));
        }
        // It was about to exit anyway.
        Err(Errno::NXIO) => Answer::default(),
        Err(Errno::TIMEDOUT) => return Err(stopped(&connection)),
        Err(e) => return Err(format!("telling the daemon to leave: {e}")),
    };
    wait_for_end(&dir, &connection, process.as_ref())?;
    let mut text = format!("the daemon of {} has left\n", dir.display());
    if answer.passed {
        text.push_str(
            "its socket was passed to it, as by systemd, and who comes next starts it again; to end that: \
             systemctl [--user] stop uvale.socket\n",
        );
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// A daemon that does not answer cannot be told anything.
fn stopped(connection: &Fd) -> String {
    let why = Listener::of(connection).why();
    match credentials(connection) {
        Ok(peer) if peer.pid > 0 => format!("{why}, or end it: kill -KILL {}", peer.pid),
        _ => why,
    }
}

/// The process that made the listening socket, if it is a visible uvale daemon.
fn own_process(connection: &Fd) -> Option<OwnedFd> {
    let number = credentials(connection).ok()?.pid;
    let process = pidfd_open(Pid::from_raw(number)?, PidfdFlags::empty()).ok()?;
    // systemd makes sockets for others.
    let name = std::fs::read_to_string(format!("/proc/{number}/comm")).ok()?;
    if name.trim_end() != "uvale" {
        return None;
    }
    // While the connection is up, the process at its other end lives; so the pidfd, which was made
    // before, does not refer to a later process with the same id.
    (!has_hung_up(connection, Duration::ZERO)).then_some(process)
}

/// SIGTERM, for a daemon from before protocol 8.
fn terminate(process: Option<&OwnedFd>, connection: &Fd) -> Result<(), String> {
    let listener =
        credentials(connection).map_err(|e| format!("cannot tell who the daemon is: {e}"))?;
    let own = rustix::process::geteuid().as_raw();
    if listener.uid != own {
        let uid = listener.uid;
        return Err(format!(
            "the daemon belongs to user {uid}, not to you ({own})"
        ));
    }
    let process = process.ok_or_else(|| match listener.pid {
        0 => "the daemon is of an older version and runs where its process number is not visible (another \
              container); stop it there"
            .to_owned(),
        pid => format!(
            "the daemon is of an older version and serves a socket that process {pid} made, as under systemd; \
             stop it there: systemctl [--user] stop uvale.service uvale.socket"
        ),
    })?;
    pidfd_send_signal(process, Signal::TERM).map_err(|e| {
        format!(
            "cannot tell the daemon (pid {}) to leave: {e}",
            listener.pid
        )
    })
}

/// The daemon's end of the connection is closed, and its process gone as far as that can be seen.
fn wait_for_end(dir: &Path, connection: &Fd, process: Option<&OwnedFd>) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    let left = || until.saturating_duration_since(Instant::now());
    let late = || {
        let seconds = PATIENCE.as_secs();
        let name = Listener::of(connection).name();
        Err(format!(
            "{name} of {} was told to leave and has not in {seconds} s",
            dir.display()
        ))
    };
    if !has_hung_up(connection, left()) {
        return late();
    }
    match process {
        Some(process) if !is_ready(process, PollFlags::IN, left()) => late(),
        _ => Ok(()),
    }
}

fn has_hung_up(connection: &Fd, within: Duration) -> bool {
    is_ready(connection, PollFlags::RDHUP, within)
}

/// A pidfd is readable when its process has ended.
fn is_ready(fd: &impl AsFd, events: PollFlags, within: Duration) -> bool {
    let until = Instant::now() + within;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = left.try_into().ok();
        match poll(&mut [PollFd::new(fd, events)], timeout.as_ref()) {
            Ok(0) if !left.is_zero() => {}
            Err(Errno::INTR) => {}
            Ok(n) => return n > 0,
            Err(_) => return true,
        }
    }
}
