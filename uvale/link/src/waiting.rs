//! Waiting for a slow daemon.
//!
//! A daemon on a loaded machine is slow, one that is stopped does not answer at all, and the two
//! cannot be told apart for certain. So nobody waits silently: after each second the process's
//! [`Waiter`] is called. Commands give up, at once if they can see that the daemon is stopped; the
//! shim says what it waits for and continues to wait (`docs/design/0014-reasons.md`).

use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::SocketAddrUnix;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::silence::Listener;

/// Called after each second without an answer, with the connection's other end, if there is one yet,
/// and the seconds so far. An error ends the call.
pub type Waiter = fn(Option<Listener>, u64) -> Result<(), Errno>;

/// Seconds after which a program gives up waiting for a daemon that does not answer; not set: never.
pub const ENV_PATIENCE: &str = "UVALE_PATIENCE";
/// Seconds that a command waits for a daemon that does not seem to be stopped.
pub const PATIENCE: u64 = 10;

static WAITER: OnceLock<Waiter> = OnceLock::new();

/// Sets the process' waiter, once.
pub fn set_waiter(waiter: Waiter) {
    let _ = WAITER.set(waiter);
}

/// What commands do.
fn give_up(listener: Option<Listener>, seconds: u64) -> Result<(), Errno> {
    let stopped = listener.is_some_and(|l| l.is_stopped());
    if stopped || seconds >= PATIENCE {
        return Err(Errno::TIMEDOUT);
    }
    Ok(())
}

fn ask(listener: Option<Listener>, seconds: u64) -> Result<(), Errno> {
    WAITER.get().copied().unwrap_or(give_up)(listener, seconds)
}

fn milliseconds() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// Waits until one of `events` is there on `fd`, or an end; the daemon is at the other end of `connection`.
pub fn until(
    fd: BorrowedFd<'_>,
    events: PollFlags,
    connection: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let mut seconds = 0;
    let start = milliseconds();
    loop {
        let passed = milliseconds() - start;
        if passed >= (seconds + 1) * 1000 {
            seconds += 1;
            ask(Some(Listener::of(connection)), seconds)?;
            continue;
        }
        let rest = (seconds + 1) * 1000 - passed;
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: (rest * 1_000_000).min(999_999_999) as _,
        };
        match poll(&mut [PollFd::from_borrowed_fd(fd, events)], Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

/// connect(2) to a listener whose queue may be full: nobody accepts while a daemon is stopped.
pub fn connect(socket: impl AsFd, address: &SocketAddrUnix) -> Result<(), Errno> {
    let socket = socket.as_fd();
    let second = core::time::Duration::from_secs(1);
    set_socket_timeout(socket, Timeout::Send, Some(second))?;
    let mut seconds = 0;
    loop {
        match rustix::net::connect(socket, address) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                seconds += 1;
                // Not connected yet: nobody can be named.
                ask(None, seconds)?;
            }
            Ok(()) => break,
            other => return other,
        }
    }
    set_socket_timeout(socket, Timeout::Send, None)
}
