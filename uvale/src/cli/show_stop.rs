//! `uvale stop`: asks the daemon of a directory to leave.
//!
//! A process number in a report is not reason enough to send a signal: the signal goes to the
//! process that the kernel names as the listener at the other end of our connection, held by a
//! pidfd, if that is the daemon itself and of our own user.

use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use uvale::peer::credentials;
use uvale::proto::Report;
use uvale::report;
use uvale::session::Session;

use super::show::{Place, fetch};
use super::table::print;

/// Options of `uvale stop`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
}

/// How long a daemon may take to leave.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode, String> {
    let session = args.place.attach()?;
    let (_, daemon) = fetch::<report::Daemon>(&session, Report::Daemon)?;
    let process = own_daemon(&session, &daemon)?;
    pidfd_send_signal(&process, Signal::TERM)
        .map_err(|e| format!("cannot tell the daemon (pid {}) to leave: {e}", daemon.pid))?;
    wait_for_end(&process)?;
    print(&format!(
        "the daemon of {} has left\n",
        args.place.dir().display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The daemon's process, if it is certain that it is the daemon and ours.
fn own_daemon(session: &Session, daemon: &report::Daemon) -> Result<OwnedFd, String> {
    let listener = credentials(session.connection())
        .map_err(|e| format!("cannot tell who the daemon is: {e}"))?;
    let own = rustix::process::getuid().as_raw();
    if listener.uid != own {
        return Err(format!(
            "the daemon belongs to user {}, not to you ({own})",
            listener.uid
        ));
    }
    let pid = Pid::from_raw(listener.pid).ok_or(
        "the daemon runs where its process number is not visible (another container); stop it there",
    )?;
    let process = pidfd_open(pid, PidfdFlags::empty())
        .map_err(|e| format!("cannot hold on to process {}: {e}", listener.pid))?;
    if number_in_its_namespace(listener.pid) != Some(daemon.pid) {
        return Err(format!(
            "the daemon (pid {}) serves a socket that process {} made, as under systemd; stop it \
             there: systemctl [--user] stop uvale.service uvale.socket",
            daemon.pid, listener.pid
        ));
    }
    // While the connection is up, the process at its other end lives; so the pidfd, which was made
    // before this look, is of no process that got the number later.
    if session.is_alive() {
        Ok(process)
    } else {
        Err("the daemon has just left".into())
    }
}

/// The number that process `pid` has in its own, innermost namespace.
fn number_in_its_namespace(pid: i32) -> Option<i32> {
    innermost(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn innermost(status: &str) -> Option<i32> {
    let numbers = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_whitespace().next_back()?.parse().ok()
}

/// A pidfd is readable when its process has ended.
fn wait_for_end(process: &OwnedFd) -> Result<(), String> {
    let timeout = PATIENCE.try_into().ok();
    loop {
        let mut fds = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => {
                return Err(format!(
                    "the daemon was told to leave and has not in {} s",
                    PATIENCE.as_secs()
                ));
            }
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(format!("waiting for the daemon to leave: {e}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_number_counts() {
        assert_eq!(
            innermost("Name:\tx\nNSpid:\t4711\t17\t1\nVmPeak: 1"),
            Some(1)
        );
        assert_eq!(innermost("NSpid:\t4711\n"), Some(4711));
        assert_eq!(innermost("Name:\tx\n"), None);
    }

    #[test]
    fn the_kernel_names_the_listener() {
        let (a, _b) = uvale::channel::pair().unwrap();
        assert_eq!(
            number_in_its_namespace(credentials(&a).unwrap().pid),
            innermost(&std::fs::read_to_string("/proc/self/status").unwrap())
        );
    }
}
