//! What the daemon of the run's world says of ports.

use std::collections::BTreeSet;

use uvale_link::proto::Report;
use uvale_link::report::Port;
use uvale_link::session::Session;
use uvale_system::refusal::Refusal;

use super::names::{Name, Names};
use super::why::{Done, error};
use crate::plan::{Action, Run};
use uvale_tools::nearest::label;

/// The daemon.
pub struct World {
    session: Session,
    /// the tester's ports on switches and of pipes
    testers: BTreeSet<String>,
    /// number of the programs' network namespace
    home: Option<u64>,
}

impl World {
    /// Attaches to the daemon of this process's world.
    pub fn attach(names: &Names, home: Option<u64>) -> Done<Self> {
        let session = Session::attach(&uvale_link::place::runtime_dir()).map_err(gone)?;
        let own = |(_, name): (&str, &Name)| Some(label(name.tester.as_deref()?));
        // At the ends of a veth pair ports have the same name, in different namespaces.
        let is_program = |label: &String| names.all().any(|(_, name)| name.is(label));
        let testers = names
            .all()
            .filter_map(own)
            .filter(|label| !is_program(label));
        Ok(Self {
            testers: testers.collect(),
            session,
            home,
        })
    }

    /// The ports of programs.
    pub fn look(&self) -> Done<Ports> {
        let json = self.session.report(Report::Ports).map_err(gone)?;
        let all: Vec<Port> = serde_json::from_slice(&json)
            .map_err(|e| error(format!("the daemon's report cannot be decoded: {e}")))?;
        let is_program = |port: &Port| {
            let elsewhere = port.nic.as_ref().and_then(|nic| nic.namespace);
            let is_home = elsewhere.is_none() || self.home.is_none() || elsewhere == self.home;
            // What is sent to an interface before its wire is there goes to the host.
            let is_ready = !port.nic.as_ref().is_some_and(|nic| nic.is_opening());
            is_home && is_ready && port.users > 0 && !self.testers.contains(&port.name)
        };
        Ok(Ports(all.into_iter().filter(is_program).collect()))
    }
}

fn gone(refusal: Refusal) -> crate::plan::Verdict {
    error(format!("the daemon of this run does not answer: {refusal}"))
}

/// Does the case name the port as an interface, so that programs of the kernel may read there?
pub fn kernel_reads(run: &Run, port: &str) -> bool {
    let named = format!("${{interface.{port}}}");
    let is_it = |text: &String| text.contains(&named);
    let programs = run.programs.iter();
    let mut texts = programs.flat_map(|program| program.run.iter().chain(program.env.values()));
    let spaces = run.namespaces.iter();
    let mut commands = spaces.flat_map(|space| space.commands.iter().flatten());
    let mut runs = run.steps.iter().flat_map(|step| match &step.action {
        Action::Run { run, .. } => run.iter(),
        _ => [].iter(),
    });
    texts.any(is_it) || commands.any(is_it) || runs.any(is_it)
}

/// The ports that programs have open at a moment.
pub struct Ports(Vec<Port>);

impl Ports {
    /// The program's end of a port, if it is open.
    pub fn of(&self, name: &Name) -> Option<&Port> {
        self.0.iter().find(|port| name.is(&port.name))
    }

    /// Is it?
    pub fn has(&self, name: &Name) -> bool {
        self.of(name).is_some()
    }

    /// All of them, for people.
    pub fn list(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|port| port.name.as_str()).collect();
        match names.is_empty() {
            true => "programs have no port open".to_owned(),
            false => format!("programs have open: {}", names.join(", ")),
        }
    }

    /// Free slots for what is sent to a switch: of the fullest ring of its ports; none if nobody is on it.
    pub fn room_on(&self, switch: &str) -> Option<u32> {
        let ports = self
            .0
            .iter()
            .filter(|port| port.switch.as_deref() == Some(switch));
        ports.flat_map(free).min()
    }

    /// How many slots have been delivered to the program's end, and are read or not.
    pub fn delivered(&self, name: &Name) -> Option<u64> {
        let port = self.of(name)?;
        Some(port.rx.iter().map(|ring| ring.packets).sum())
    }

    /// Ports with packets that their programs have not read, and how many slots these take. Ports that `names` does not
    /// have count once something of theirs was read: many are open only to send.
    pub fn unread(&self, names: &Names, ignore: &[String]) -> Vec<(String, u32)> {
        let mut unread = Vec::new();
        for port in &self.0 {
            let pending = port.rx.iter().map(|ring| ring.pending).sum::<u32>();
            let delivered = port.rx.iter().map(|ring| ring.packets).sum::<u64>();
            let known = names.all().find(|(_, name)| name.is(&port.name));
            let counts = match known {
                Some((name, _)) => !ignore.iter().any(|ignored| ignored == name),
                None => delivered > pending.into(),
            };
            if counts && pending > 0 {
                let shown = known.map_or(port.name.clone(), |(name, _)| {
                    format!("{name} ({})", port.name)
                });
                unread.push((shown, pending));
            }
        }
        unread
    }
}

/// Free slots of each of its rings; netmap leaves one of them free.
fn free(port: &Port) -> impl Iterator<Item = u32> {
    let slots = port.rx_slots.saturating_sub(1);
    port.rx
        .iter()
        .map(move |ring| slots.saturating_sub(ring.pending))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uvale_link::report::RxRing;

    fn port(name: &str, pending: &[u32], packets: u64) -> Port {
        let ring = |pending: &u32| RxRing {
            pending: *pending,
            packets,
            ..RxRing::default()
        };
        Port {
            name: name.into(),
            switch: name.split_once(':').map(|(switch, _)| switch.to_owned()),
            users: 1,
            rx_slots: 1024,
            rx: pending.iter().map(ring).collect(),
            ..Port::default()
        }
    }

    #[test]
    fn the_fullest_ring_counts() {
        let ports = Ports(vec![
            port("vale0:a", &[0, 23], 50),
            port("vale0:b", &[5], 5),
            port("vale1:c", &[1023], 1023),
        ]);
        assert_eq!(ports.room_on("vale0"), Some(1000));
        assert_eq!(ports.room_on("vale1"), Some(0));
        assert_eq!(ports.room_on("vale2"), None);
    }
}
