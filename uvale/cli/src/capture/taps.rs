//! All captured ports: those that were named, and those of named switches, which come and go.

use core::sync::atomic::Ordering::Acquire;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use uvale_engine::Host;
use uvale_link::proto::Report;
use uvale_link::report;
use uvale_link::session::Session;
use uvale_tools::nearest::{hint, label};
use uvale_tools::output::line;

use super::super::show::fetch;
use super::super::table::printable;
use super::sink::Sink;
use super::tap::{Direction, Tap};

/// The longest sleep: nobody tells that a port has been closed, or that a switch has got one.
const NOW_AND_THEN: Duration = Duration::from_millis(50);
/// The same while a switch is followed.
const SOON: Duration = Duration::from_millis(10);
/// Time between two looks at the ports of a switch to which nothing has been attached: persistent ports get opened.
const AGAIN: Duration = Duration::from_secs(1);
/// Packets that are taken from a port before the others, and the output, are looked at.
const TURN: u64 = 1024;

/// The captured ports of a world.
pub struct Taps {
    dir: PathBuf,
    session: Arc<Session>,
    direction: Direction,
    switches: Vec<Followed>,
    taps: Vec<Tap>,
    /// names of ports that cannot be captured, which has been said
    refused: BTreeSet<String>,
    looked: Instant,
}

/// A switch whose ports are captured.
struct Followed {
    name: String,
    /// its number and generation, when last looked at
    seen: Option<(u32, u32)>,
}

impl Followed {
    /// Has its list of ports changed?
    fn has_changed(&self, session: &Session) -> bool {
        let Some((index, generation)) = self.seen else {
            return false;
        };
        let switch = session.ctl().switch(index);
        switch.is_some_and(|s| s.generation.load(Acquire) != generation)
    }
}

/// What is to be captured: ports, and names of switches.
pub struct Targets {
    ports: Vec<report::Port>,
    switches: Vec<String>,
}

impl Targets {
    /// Finds out what `names` are names of.
    ///
    /// # Errors
    /// A sentence, with the name that was probably meant.
    pub fn find(session: &Session, names: &[String]) -> Result<Self, String> {
        let (_, ports) = fetch::<Vec<report::Port>>(session, Report::Ports)?;
        let mut targets = Self {
            ports: Vec::new(),
            switches: Vec::new(),
        };
        for name in names {
            let label = label(name);
            let known = ports.iter().find(|p| p.name == label && is_ordinary(p));
            if name.contains('/') {
                return Err(format!(
                    "{} names a monitor: capture the port itself, {}, with -Q in or -Q out for one direction",
                    printable(name),
                    printable(&label)
                ));
            } else if let Some(port) = known {
                if port.users == 0 {
                    return Err(format!("{}: no program has it open", printable(&label)));
                }
                if targets.ports.iter().all(|other| other.name != label) {
                    targets.ports.push(port.clone());
                }
            } else if ports.iter().any(|p| p.switch.as_deref() == Some(&label)) {
                targets.switches.push(label);
            } else {
                return Err(unknown(name, &ports));
            }
        }
        Ok(targets)
    }
}

fn unknown(name: &str, ports: &[report::Port]) -> String {
    let names = ports
        .iter()
        .filter(|p| is_ordinary(p))
        .map(|p| p.name.as_str());
    let switches = ports.iter().filter_map(|p| p.switch.as_deref());
    let near = hint(name, names.chain(switches));
    format!(
        "there is no port or switch {}; see: uvale ports{near}\n(a filter is for tcpdump: uvale capture PORT -w - | \
         tcpdump -r - FILTER)",
        printable(name)
    )
}

/// Is it a port that a program sends or receives by?
pub fn is_ordinary(port: &report::Port) -> bool {
    !matches!(port.kind.as_str(), "monitor" | "null")
}

/// What stands beside the name of a port: of what kind it is, and who has it open.
pub fn description(port: &report::Port) -> String {
    let holders: Vec<String> = port
        .holders
        .iter()
        .map(|h| format!("{} ({})", printable(&h.program), h.pid))
        .collect();
    let kind = match port.kind.as_str() {
        "vale" => "VALE port",
        "persistent" => "persistent VALE port",
        "pipe-master" => "pipe, master end",
        "pipe-slave" => "pipe, slave end",
        "nic" => "network interface",
        other => other,
    };
    match holders.is_empty() {
        true => kind.to_owned(),
        false => format!("{kind} of {}", holders.join(", ")),
    }
}

/// What ended a sleep.
#[derive(PartialEq, Eq)]
pub enum Woken {
    /// perhaps there is something to do
    Perhaps,
    /// the daemon is gone
    Lost,
}

impl Taps {
    /// Begins to capture.
    ///
    /// # Errors
    /// A named port cannot be captured, or no port of a switch: a sentence.
    pub fn open(
        (dir, session): (PathBuf, Arc<Session>),
        targets: Targets,
        direction: Direction,
        sink: &mut Sink,
    ) -> Result<Self, String> {
        let followed = |name| Followed { name, seen: None };
        let mut taps = Self {
            dir,
            session,
            direction,
            switches: targets.switches.into_iter().map(followed).collect(),
            taps: Vec::new(),
            refused: BTreeSet::new(),
            looked: Instant::now(),
        };
        for port in &targets.ports {
            taps.add(port, sink)?;
        }
        taps.look(sink)?;
        if let (true, Some(name)) = (taps.taps.is_empty(), taps.refused.first()) {
            let switch = taps.switches.first().map_or("?", |s| s.name.as_str());
            return Err(format!(
                "no port of {switch} can be captured, {name} neither"
            ));
        }
        Ok(taps)
    }

    fn add(&mut self, port: &report::Port, sink: &mut Sink) -> Result<(), String> {
        let opened = Tap::open((&self.dir, &self.session), port, self.direction);
        let mut tap = opened.map_err(|f| format!("{}: {}", printable(&port.name), f.why))?;
        if let Some((theirs, own)) = tap.cut() {
            line(format_args!(
                "uvale capture: {}: its buffers have {theirs} bytes, and those of its monitors {own}: longer packets \
                 are cut off, unless uvale ctl param priv_buf_size {theirs} comes first",
                printable(&port.name)
            ));
        }
        tap.is_number(sink.interface(&port.name, &description(port)));
        self.taps.push(tap);
        Ok(())
    }

    /// Captures ports that have come to the followed switches. A daemon that does not answer is asked again later.
    pub fn follow(&mut self, sink: &mut Sink) {
        let changed = self.switches.iter().any(|s| s.has_changed(&self.session));
        if changed || self.looked.elapsed() >= AGAIN {
            let _ = self.look(sink);
        }
    }

    fn look(&mut self, sink: &mut Sink) -> Result<(), String> {
        self.looked = Instant::now();
        if self.switches.is_empty() {
            return Ok(());
        }
        let (_, switches) = fetch::<Vec<report::Switch>>(&self.session, Report::Switches)?;
        for followed in &mut self.switches {
            // Its generation before its ports: what comes after this is looked at again.
            let index = switches
                .iter()
                .find(|s| s.name == followed.name)
                .map(|s| s.index);
            followed.seen = index.and_then(|index| {
                let switch = self.session.ctl().switch(index)?;
                Some((index, switch.generation.load(Acquire)))
            });
        }
        let (_, ports) = fetch::<Vec<report::Port>>(&self.session, Report::Ports)?;
        for port in ports {
            let is_followed = |name: &str| self.switches.iter().any(|s| s.name == name);
            let is_new = |tap: &Tap| tap.name() != port.name || tap.is_orphan();
            if !port.switch.as_deref().is_some_and(is_followed)
                || !is_ordinary(&port)
                || port.users == 0
                || !self.taps.iter().all(is_new)
            {
                continue;
            }
            match self.add(&port, sink) {
                Ok(()) => drop(self.refused.remove(&port.name)),
                Err(why) => {
                    if self.refused.insert(port.name.clone()) {
                        line(format_args!("uvale capture: {why}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes what is there, up to `most` packets. Answers with how many there were. Ports that are closed, and of
    /// which everything has been taken, are given up.
    pub fn take(&mut self, most: u64, sink: &mut Sink) -> u64 {
        let mut taken = 0;
        let mut over = Vec::new();
        for (i, tap) in self.taps.iter_mut().enumerate() {
            if taken >= most || !sink.has_room() {
                break;
            }
            let was_orphan = tap.is_orphan();
            let n = tap.take(TURN.min(most - taken), &mut |at, seen| {
                sink.packet(at, seen)
            });
            if was_orphan && n == 0 {
                over.push(i);
            }
            taken += n;
        }
        for i in over.into_iter().rev() {
            let tap = self.taps.remove(i);
            sink.end(&tap);
            tap.close();
        }
        taken
    }

    /// Is nothing captured any more, and nothing going to be?
    pub fn are_over(&self) -> bool {
        self.taps.is_empty() && self.switches.is_empty()
    }

    /// Ends the capture of all ports.
    pub fn end(self, sink: &mut Sink) {
        for tap in self.taps {
            sink.end(&tap);
            tap.close();
        }
    }

    /// Sleeps until there may be packets (`for_packets`), or one of `others` is as it is waited for.
    pub fn sleep(
        &self,
        for_packets: bool,
        others: &[(BorrowedFd<'_>, PollFlags)],
        longest: Option<Duration>,
    ) -> Woken {
        let taps: &[Tap] = if for_packets { &self.taps } else { &[] };
        let deaf = taps.iter().filter(|tap| !tap.announce()).count();
        let is_ready = taps.iter().any(Tap::glance);
        let nap = match (deaf, self.switches.is_empty()) {
            (0, true) => NOW_AND_THEN,
            _ => SOON,
        };
        let nap = match is_ready {
            true => Duration::ZERO,
            false => longest.map_or(nap, |longest| nap.min(longest)),
        };
        let daemon = PollFd::new(self.session.connection(), PollFlags::empty());
        let mut fds = vec![daemon];
        fds.extend(
            taps.iter()
                .map(|tap| PollFd::from_borrowed_fd(tap.as_fd(), PollFlags::IN)),
        );
        let others = others.iter().copied();
        fds.extend(others.map(|(fd, events)| PollFd::from_borrowed_fd(fd, events)));
        let nap = Timespec {
            tv_sec: nap.as_secs() as _,
            tv_nsec: nap.subsec_nanos().into(),
        };
        let _ = poll(&mut fds, Some(&nap));
        let is_lost = !fds[0].revents().is_empty();
        taps.iter().for_each(Tap::withdraw);
        match is_lost {
            true => Woken::Lost,
            false => Woken::Perhaps,
        }
    }
}
