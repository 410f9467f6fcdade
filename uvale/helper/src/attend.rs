//! A process for each connection. It accepts the connection itself, so that the process that listens holds nothing of a
//! client's, not even what lies unread in a socket, and says whose it is; it is told whether that user has room.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, recv, send};
use uvale_link::channel::pair;
use uvale_link::nic_helper;
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;

use crate::allow::Caller;
use crate::serve::serve;
use crate::{Options, log};

/// Requests under way at a time, of all users and of one.
const MOST: usize = 64;
const OF_A_USER: usize = 4;
/// How long a request may take, in all.
const LIFE: Duration = Duration::from_secs(20);
/// Between two looks at processes that ought to have ended.
const LOOK: Duration = Duration::from_millis(100);
/// What a process may take to say whose connection it has.
const INTRODUCTION: Duration = Duration::from_secs(5);

/// What a process with a connection is told.
const GO_ON: &[u8] = b"g";
const NO_ROOM: &[u8] = b"n";

/// A process that has a connection.
struct Request {
    pid: Pid,
    uid: u32,
    until: Instant,
    /// hangs up when it ends; `None` when it has hung up
    ends: Option<Fd>,
}

impl Request {
    /// Is the process gone? One that takes too long is killed.
    fn is_over(&mut self, now: Instant) -> bool {
        if now >= self.until {
            let _ = nix::sys::signal::kill(self.pid, nix::sys::signal::Signal::SIGKILL);
        }
        match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => false,
            Ok(WaitStatus::Exited(_, 0)) => true,
            Ok(status) => {
                log(format_args!("a request of user {}: {status:?}", self.uid));
                true
            }
            Err(e) => e != nix::errno::Errno::EINTR,
        }
    }
}

/// Attends to connections for ever.
pub(crate) fn attend(listener: &Fd, options: &Options) -> Result<(), String> {
    let mut requests: Vec<Request> = Vec::new();
    loop {
        let now = Instant::now();
        requests.retain_mut(|request| !request.is_over(now));
        if wait(listener, &mut requests, now)? {
            begin(listener, options, &mut requests);
        }
    }
}

/// Waits until a process ends or should have. True if a connection waits, and there is room for it.
fn wait(listener: &Fd, requests: &mut [Request], now: Instant) -> Result<bool, String> {
    let has_room = requests.len() < MOST;
    let ending = |r: &Request| r.ends.is_none() || r.until <= now;
    let patience = match requests.iter().any(ending) {
        true => Some(LOOK),
        false => requests.iter().map(|r| r.until - now).min(),
    };
    let patience = patience.map(|p| p.try_into()).transpose();
    let patience = patience.map_err(|_| "time does not fit".to_owned())?;
    let mut fds = Vec::new();
    if has_room {
        fds.push(PollFd::new(listener, PollFlags::IN));
    }
    let ends = requests.iter().filter_map(|r| r.ends.as_ref());
    fds.extend(ends.map(|fd| PollFd::new(fd, PollFlags::empty())));
    match poll(&mut fds, patience.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => return Err(format!("poll: {e}")),
    }
    let came: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
    drop(fds);
    let (waits, ended) = came.split_at(usize::from(has_room));
    let heard = requests.iter_mut().filter(|r| r.ends.is_some());
    for (request, ended) in heard.zip(ended) {
        if *ended {
            request.ends = None;
        }
    }
    Ok(waits.contains(&true))
}

/// Starts a process that takes the connection.
fn begin(listener: &Fd, options: &Options, requests: &mut Vec<Request>) {
    let started = match pair().map_err(|e| e.to_string()).and_then(fork) {
        Ok(Forked::Parent(pid, ends)) => introduced(pid, ends, requests),
        Ok(Forked::Child(to)) => {
            // Nothing of the parent's is run to its end here.
            let outcome = catch_unwind(AssertUnwindSafe(|| child(listener, options, &to)));
            std::process::exit(i32::from(outcome.is_err()));
        }
        Err(why) => Err(why),
    };
    if let Err(why) = started {
        log(format_args!("no process for a connection: {why}"));
        std::thread::sleep(LOOK);
    }
}

enum Forked {
    Parent(Pid, Fd),
    Child(Fd),
}

#[allow(unsafe_code)]
fn fork((mine, theirs): (Fd, Fd)) -> Result<Forked, String> {
    // SAFETY: this process has one thread, so the child may do whatever this process may.
    match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Parent { child }) => Ok(Forked::Parent(child, mine)),
        Ok(ForkResult::Child) => Ok(Forked::Child(theirs)),
        Err(e) => Err(e.to_string()),
    }
}

/// Hears whose connection the process `pid` has, and tells it whether there is room.
fn introduced(pid: Pid, ends: Fd, requests: &mut Vec<Request>) -> Result<(), String> {
    let mut uid = [0; 4];
    let patience = INTRODUCTION.try_into().ok();
    let heard = poll(&mut [PollFd::new(&ends, PollFlags::IN)], patience.as_ref());
    let heard = match heard {
        Ok(1) => recv(&ends, &mut uid[..], RecvFlags::DONTWAIT).map_or(0, |(n, _)| n),
        _ => 0,
    };
    let mut request = Request {
        pid,
        uid: u32::from_ne_bytes(uid),
        until: Instant::now() + LIFE,
        ends: Some(ends),
    };
    if heard < uid.len() {
        // Its caller may have gone, which is no reason to wait; or it is stuck.
        request.until = Instant::now();
    }
    let of_user = requests.iter().filter(|r| r.uid == request.uid).count();
    let word = if of_user < OF_A_USER { GO_ON } else { NO_ROOM };
    if let Some(ends) = &request.ends {
        let _ = send(ends, word, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
    requests.push(request);
    Ok(())
}

/// One connection, from beginning to end.
fn child(listener: &Fd, options: &Options, parent: &Fd) {
    use rustix::process::{Signal, set_parent_process_death_signal};
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let Ok(connection) = rustix::net::accept_with(listener, flags).map(Fd::from) else {
        return;
    };
    let Ok(caller) = caller(&connection) else {
        return;
    };
    let said = send(parent, &caller.uid.to_ne_bytes(), SendFlags::NOSIGNAL);
    let mut word = [0; 1];
    // A parent that is gone says nothing: then there is no helper.
    if said.is_err() || !matches!(recv(parent, &mut word[..], RecvFlags::empty()), Ok((1, _))) {
        return;
    }
    let opened = match word == GO_ON {
        true => serve(&connection, &caller, options),
        false => Err(Refusal::new(
            Errno::BUSY,
            format!(
                "user {} has {OF_A_USER} requests under way already",
                caller.uid
            ),
        )),
    };
    if let Err(e) = nic_helper::answer(connection.as_fd(), opened) {
        log(format_args!(
            "user {}: no answer could be given: {e}",
            caller.uid
        ));
    }
}

fn caller(connection: &Fd) -> Result<Caller, Errno> {
    let peer = uvale_system::peer::credentials(connection)?;
    let mut groups = uvale_system::peer::groups(connection)?;
    groups.push(peer.gid);
    Ok(Caller {
        pid: peer.pid,
        uid: peer.uid,
        groups,
    })
}
