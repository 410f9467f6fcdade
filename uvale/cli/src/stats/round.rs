//! Packets that go round: switches joined to a ring by programs that forward, as a bridge with both
//! ports on one switch.
//!
//! A program that has two ports on switches and sends on either what it received on the other joins
//! the two switches. Joints that close a ring, and carry far more than anybody else sends into the
//! ring's switches, probably carry packets that go round. It is a guess: it may also be two programs
//! that play ping-pong over two paths.

use std::collections::HashMap;

use uvale_link::report::{Holder, Port};

use super::super::table::{printable, rate};
use super::change::PortChange;

/// Packets a second below which nobody needs to be told.
const BUSY: f64 = 1000.0;
/// How many times more the joints carry than others send.
const EXCESS: f64 = 10.0;
/// How much the rates of what came and what was sent on may differ.
const SAME: std::ops::Range<f64> = 0.5..2.0;

/// A program's two ports.
struct Joint<'a> {
    ports: [&'a PortChange; 2],
    who: &'a Holder,
}

fn sent(port: &PortChange) -> f64 {
    port.tx.total.packets_per_second.unwrap_or(0.0)
}

/// What arrived, including what was dropped because of a full ring.
fn came(port: &PortChange) -> f64 {
    port.rx.total.packets_per_second.unwrap_or(0.0) + port.rx.total.dropped_per_second()
}

fn switch(port: &Port) -> &str {
    port.switch.as_deref().unwrap_or_default()
}

/// What identifies a process: process id, whether that is of another namespace, program.
type Process<'a> = (i32, bool, &'a str);

/// Pairs of ports on switches that one process alone has open.
fn pairs<'a, T>(ports: &'a [T], of: impl Fn(&'a T) -> &'a Port) -> Vec<([&'a T; 2], &'a Holder)> {
    let mut by_process: HashMap<Process<'_>, Vec<(&T, &Holder)>> = HashMap::new();
    for port in ports {
        // all its descriptors are of one process
        let holders = &of(port).holders;
        let same = |holder: &Holder| {
            (holder.pid, holder.other_pid_namespace)
                == (holders[0].pid, holders[0].other_pid_namespace)
        };
        if let (Some(_), Some(holder)) = (&of(port).switch, holders.first())
            && holders.iter().all(same)
        {
            let process = (
                holder.pid,
                holder.other_pid_namespace,
                holder.program.as_str(),
            );
            by_process.entry(process).or_default().push((port, holder));
        }
    }
    let mut pairs: Vec<_> = by_process
        .into_values()
        .flat_map(|ports| {
            let mut pairs = Vec::new();
            for (index, (first, holder)) in ports.iter().enumerate() {
                pairs.extend(
                    ports[index + 1..]
                        .iter()
                        .map(|(second, _)| ([*first, *second], *holder)),
                );
            }
            pairs
        })
        .collect();
    pairs.sort_by(|(a, _), (b, _)| of(a[0]).name.cmp(&of(b[0]).name));
    pairs
}

/// Sets of switches that joints have connected.
#[derive(Default)]
struct Connected<'a>(Vec<Vec<&'a str>>);

impl<'a> Connected<'a> {
    /// Connects two switches; whether they were so before, so that this closes a ring.
    fn join(&mut self, a: &'a str, b: &'a str) -> bool {
        let of = |sets: &[Vec<&str>], name: &str| sets.iter().position(|set| set.contains(&name));
        if a == b {
            return true;
        }
        match (of(&self.0, a), of(&self.0, b)) {
            (Some(x), Some(y)) if x == y => return true,
            (Some(x), Some(y)) => {
                let set = self.0.swap_remove(x.max(y));
                self.0[x.min(y)].extend(set);
            }
            (Some(x), None) => self.0[x].push(b),
            (None, Some(y)) => self.0[y].push(a),
            (None, None) => self.0.push(vec![a, b]),
        }
        false
    }

    /// All switches connected with this one, itself included.
    fn with(&self, name: &'a str) -> Vec<&'a str> {
        let set = self.0.iter().find(|set| set.contains(&name));
        set.cloned().unwrap_or_else(|| vec![name])
    }
}

/// A sentence for each ring in which packets seem to go round.
pub fn find(ports: &[PortChange], seconds: f64) -> Vec<String> {
    if seconds <= 0.0 {
        return Vec::new();
    }
    let joints: Vec<Joint<'_>> = pairs(ports, |change| &change.port)
        .into_iter()
        .map(|(ports, who)| Joint { ports, who })
        .filter(Joint::forwards)
        .collect();
    let mut connected = Connected::default();
    let mut closing = Vec::new();
    for joint in &joints {
        let [a, b] = joint.ports.map(|change| switch(&change.port));
        if connected.join(a, b) {
            closing.push(joint);
        }
    }
    let mut told: Vec<&str> = Vec::new();
    let mut sentences = Vec::new();
    for joint in closing {
        let ring = connected.with(switch(&joint.ports[0].port));
        if told.iter().any(|name| ring.contains(name)) {
            continue;
        }
        let is_in = |change: &&PortChange| ring.contains(&switch(&change.port));
        let joins = |change: &PortChange| {
            joints
                .iter()
                .any(|joint| joint.ports.iter().any(|port| std::ptr::eq(*port, change)))
        };
        let others: f64 = ports
            .iter()
            .filter(is_in)
            .filter(|c| !joins(c))
            .map(sent)
            .sum();
        let carried: f64 = joint.ports.iter().map(|port| sent(port)).sum();
        if carried > EXCESS * others {
            sentences.push(joint.sentence(&ring, carried));
            told.extend(ring);
        }
    }
    sentences
}

impl Joint<'_> {
    /// Does the program send on either port what it got on the other, and much of it?
    fn forwards(&self) -> bool {
        let [a, b] = self.ports;
        [(a, b), (b, a)]
            .into_iter()
            .all(|(from, to)| sent(to) >= BUSY && SAME.contains(&(sent(to) / came(from).max(1.0))))
    }

    fn sentence(&self, ring: &[&str], carried: f64) -> String {
        let names = self.ports.map(|change| printable(&change.name));
        let program = match self.who.program.as_str() {
            "" => format!("process {}", self.who.pid),
            program => format!("{} (pid {})", printable(program), self.who.pid),
        };
        format!(
            "{}: packets seem to go round: {program} sends {} packets a second from {} to {} and back; two ports of a \
             bridge belong on two switches, with one path between them",
            printable(&ring.join(", ")),
            rate(carried),
            names[0],
            names[1]
        )
    }
}

/// Has a program two ports that may close a ring?
pub fn is_possible(ports: &[Port]) -> bool {
    let mut connected = Connected::default();
    pairs(ports, |port| port)
        .into_iter()
        .any(|([a, b], _)| connected.join(switch(a), switch(b)))
}

#[cfg(test)]
mod tests {
    use super::super::change::changes;
    use super::super::counters::tests::{holder, port, rx, tx};
    use super::*;

    /// A port that sent and received these numbers, held by process `pid`.
    fn held(name: &str, pid: i32, sent: u64, came: u64) -> Port {
        let mut port = port(name, vec![tx(sent, 0)], vec![rx(came, 0)]);
        port.switch = name.split_once(':').map(|(switch, _)| switch.to_owned());
        port.holders = vec![holder(pid)];
        port
    }

    fn found(ports: &[Port]) -> Vec<String> {
        find(&changes(ports, &[], 1.0), 1.0)
    }

    #[test]
    fn a_bridge_with_both_ports_on_one_switch_is_told() {
        let bridge = [
            held("vale0:a", 7, 90_000, 100_000),
            held("vale0:b", 7, 99_000, 91_000),
        ];
        let found = found(&bridge);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(
                "vale0: packets seem to go round: bridge (pid 7) sends 189.0 K packets"
            ),
            "{found:?}"
        );
    }

    #[test]
    fn two_bridges_between_two_switches_are_told_once() {
        let bridge =
            |pid, a: &str, b: &str| [held(a, pid, 50_000, 50_000), held(b, pid, 50_000, 50_000)];
        let one = bridge(7, "vale0:a", "vale1:a");
        assert!(found(&one).is_empty());
        let two = [one, bridge(8, "vale0:b", "vale1:b")].concat();
        let found = found(&two);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("vale0, vale1: "), "{found:?}");
    }

    #[test]
    fn traffic_that_somebody_sends_is_no_ring() {
        let bridge = [
            held("vale0:a", 7, 90_000, 100_000),
            held("vale0:b", 7, 99_000, 91_000),
        ];
        let busy = [&bridge[..], &[held("vale0:c", 8, 90_000, 0)]].concat();
        assert!(found(&busy).is_empty());
        // little, one direction, two programs
        for quiet in [
            [held("vale0:a", 7, 90, 100), held("vale0:b", 7, 99, 91)],
            [
                held("vale0:a", 7, 0, 100_000),
                held("vale0:b", 7, 100_000, 0),
            ],
            [
                held("vale0:a", 7, 90_000, 90_000),
                held("vale0:b", 8, 90_000, 90_000),
            ],
        ] {
            assert!(found(&quiet).is_empty());
        }
    }
}
