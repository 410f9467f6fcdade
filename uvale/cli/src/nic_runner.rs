//! `uvale nic-runner`: brings in what arrives at a NIC on a switch. The daemon starts it, and it ends with the daemon.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{CpuSet, sched_setaffinity};
use uvale_engine::{Brought, Host};
use uvale_link::session::Session;
use uvale_system::sockets::take_errors;
use uvale_system::sys::{Fd, borrow};

/// Two numbers with a comma between them.
type Pair = (u32, u32);

/// Options of `uvale nic-runner`.
#[derive(clap::Args)]
pub struct Args {
    /// Record and generation of the NIC port
    #[arg(long, value_parser = pair)]
    nic: Pair,
    /// Record and generation of the port on the switch
    #[arg(long, value_parser = pair)]
    port: Pair,
    /// Processor that looks at all rings all the time
    #[arg(long, value_name = "CPU")]
    poll_all: Option<u32>,
    /// First processor, and how many, that look at the rings of their numbers
    #[arg(long, value_parser = pair, value_name = "CPU,N")]
    poll_each: Option<Pair>,
    /// Name of the port, which process lists show
    name: String,
}

fn pair(text: &str) -> Result<Pair, String> {
    let (a, b) = text
        .split_once(',')
        .ok_or("two numbers with a comma between them")?;
    let number = |s: &str| s.parse::<u32>().map_err(|e| e.to_string());
    Ok((number(a)?, number(b)?))
}

/// The longest sleep: a sender does not say that it has left something in a ring.
const NOW_AND_THEN: Duration = Duration::from_millis(50);
/// The same while there is something that nothing else tells of: each that finds nothing is twice as long.
const SOON: Duration = Duration::from_millis(1);
const LATER: Duration = Duration::from_millis(16);
/// Looks between two looks at the daemon, while there is something each time.
const TURNS: u64 = 64;
/// Looks in a row that find nothing before a polling thread lets another one of its processor go first.
const LOOKS: u32 = 1000;

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, String> {
    let session = Session::attach_by(Fd::from_raw(0)).map_err(|e| e.to_string())?;
    let session = Arc::new(session);
    let is_over = Arc::new(AtomicBool::new(false));
    let mut pollers = Vec::new();
    for (cpu, ring) in args.polled() {
        let polled = match ring {
            None => args.brought(&session, &|r| args.is_nic_ring(&session, r)),
            Some(ring) => args.brought(&session, &|r| r == ring),
        };
        let Some(polled) = polled else { break };
        let (session, is_over) = (session.clone(), is_over.clone());
        pollers.push(std::thread::spawn(move || {
            look_always(&session, polled, cpu, &is_over)
        }));
    }
    let is_polled = |ring| match (args.poll_all, args.poll_each) {
        (Some(_), _) => args.is_nic_ring(&session, ring),
        (None, Some((first, n))) => {
            args.is_nic_ring(&session, ring) && (first..first.saturating_add(n)).contains(&ring)
        }
        (None, None) => false,
    };
    if let Some(rest) = args.brought(&session, &|ring| !is_polled(ring)) {
        sleep_and_look(&session, rest);
    }
    is_over.store(true, Relaxed);
    for poller in pollers {
        let _ = poller.join();
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn brought(&self, session: &Session, takes: &dyn Fn(u32) -> bool) -> Option<Brought> {
        Brought::new(session, self.nic, self.port, takes)
    }

    /// Is it none of the host?
    fn is_nic_ring(&self, session: &Session, ring: u32) -> bool {
        let port = session.ctl().port(self.nic.0);
        port.is_some_and(|p| ring < p.num_rx_rings.load(Relaxed))
    }

    /// Processors that poll, and what: one ring, or all.
    fn polled(&self) -> Vec<(u32, Option<u32>)> {
        match (self.poll_all, self.poll_each) {
            (Some(cpu), _) => vec![(cpu, None)],
            (None, Some((first, n))) => (first..first.saturating_add(n))
                .map(|cpu| (cpu, Some(cpu)))
                .collect(),
            (None, None) => Vec::new(),
        }
    }
}

/// Looks whenever something arrives, until the daemon is gone.
fn sleep_and_look(session: &Session, mut brought: Brought) {
    let mut soon = SOON;
    for turn in 1u64.. {
        let is_idle = !brought.turn(session);
        if (is_idle || turn.is_multiple_of(TURNS)) && !session.is_alive() {
            return;
        }
        if !is_idle {
            soon = SOON;
            continue;
        }
        let time = if brought.is_restless(session) {
            let time = soon;
            soon = LATER.min(soon * 2);
            time
        } else {
            soon = SOON;
            NOW_AND_THEN
        };
        if !wait(session, &brought.readable(session), time) {
            // Nothing has arrived: a socket has an error, which would not let anybody sleep.
            std::thread::sleep(SOON);
        }
    }
}

/// Waits until something arrives, or time is over. False if there is an error.
fn wait(session: &Session, sources: &[i32], time: Duration) -> bool {
    let connection = PollFd::new(session.connection(), PollFlags::empty());
    let sources = sources
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(borrow(fd), PollFlags::IN));
    let mut fds: Vec<PollFd<'_>> = std::iter::once(connection).chain(sources).collect();
    let time = Timespec {
        tv_sec: 0,
        tv_nsec: time.as_nanos() as _,
    };
    let _ = poll(&mut fds, Some(&time));
    !take_errors(&fds[1..])
}

/// Looks all the time, on processor `cpu`.
fn look_always(session: &Session, mut brought: Brought, cpu: u32, is_over: &AtomicBool) {
    let mut only = CpuSet::new();
    only.set(cpu as usize);
    let _ = sched_setaffinity(None, &only);
    let mut idle = 0;
    while !is_over.load(Relaxed) {
        if brought.turn(session) {
            idle = 0;
            continue;
        }
        idle += 1;
        std::hint::spin_loop();
        if idle == LOOKS {
            idle = 0;
            std::thread::yield_now();
        }
    }
}
