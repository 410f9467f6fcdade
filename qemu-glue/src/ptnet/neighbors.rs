//! Who else is in the memory of a guest's port: the guest sees that, too, and can write it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use uvale_link::proto::Report;
use uvale_link::report;
use uvale_port::Port;

/// Names in a sentence, and names that are remembered as said.
const MOST_SHOWN: usize = 4;
const MOST_SAID: usize = 64;
/// Time between two questions, whoever has come.
const ASK_EVERY: Duration = Duration::from_secs(60);

/// Why a port is not shown to a guest: others are in its memory.
pub fn check(port: &Port, option: &str) -> Result<(), String> {
    let others = others(port)?;
    match others.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{option}: the guest would also see the packets of {}, which share its memory; {}",
            shown(&others),
            remedy(port.name())
        )),
    }
}

/// Who has joined since the guest has its port.
#[derive(Default)]
pub struct Neighbors {
    /// when the daemon was asked last, and the arrivals in any memory, as counted before
    asked: Option<(Instant, u64)>,
    said: BTreeSet<String>,
}

impl Neighbors {
    /// Looks: a sentence about those who are there for the first time. The daemon is asked when somebody has come into
    /// a memory, and now and then: the count of those who come is where each client can write it.
    pub fn look(&mut self, port: &Port) -> Option<String> {
        let arrivals = port.session().shared_ctl().arrivals();
        if !self.has_to_ask(arrivals) {
            return None;
        }
        // Without a daemon the end is near anyway.
        let mut new = others(port).ok()?;
        self.asked = Some((Instant::now(), arrivals));
        new.retain(|name| self.said.len() < MOST_SAID && self.said.insert(name.clone()));
        (!new.is_empty()).then(|| {
            format!(
                "now in the same memory as this guest's port: {}. The guest can read and change those packets, too; \
                 {}",
                shown(&new),
                remedy(port.name())
            )
        })
    }
}

impl Neighbors {
    fn has_to_ask(&self, arrivals: u64) -> bool {
        let is_known = |(at, n): (Instant, u64)| n == arrivals && at.elapsed() < ASK_EVERY;
        !self.asked.is_some_and(is_known)
    }
}

/// Names of the ports that are in the memory of `port` and in use, but its own and that of a pipe's other end.
fn others(port: &Port) -> Result<Vec<String>, String> {
    let failed = |e: &dyn std::fmt::Display| format!("the daemon does not report its ports: {e}");
    let json = port.session().report(Report::Ports);
    let ports: Vec<report::Port> =
        serde_json::from_slice(&json.map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;
    Ok(strangers(&ports, port.name(), port.registered().nr_mem_id))
}

fn strangers(ports: &[report::Port], own: &str, memory: u16) -> Vec<String> {
    let other_end = other_end(own);
    let is_ours = |name: &str| name == own || other_end.as_deref() == Some(name);
    // A monitor has nothing but what the port has that it looks at.
    let watched = |port: &report::Port| match port.kind == "monitor" {
        true => port.name.rsplit_once('/').map(|(name, _)| name.to_owned()),
        false => None,
    };
    let is_stranger = |port: &&report::Port| {
        // The name that pipes are on is a port by itself only when somebody has opened it.
        let is_used = port.users > 0 || port.switch.is_some();
        port.mem_id == memory
            && is_used
            && !is_ours(&port.name)
            && !watched(port).is_some_and(|name| is_ours(&name))
    };
    let strangers = ports.iter().filter(is_stranger);
    strangers.map(|port| port.name.clone()).collect()
}

/// `x}1` of `x{1`, and the other way round.
fn other_end(name: &str) -> Option<String> {
    let at = name.rfind(['{', '}'])?;
    let brace = match &name[at..=at] {
        "{" => "}",
        _ => "{",
    };
    Some([&name[..at], brace, &name[at + 1..]].concat())
}

fn shown(names: &[String]) -> String {
    let first = names.iter().take(MOST_SHOWN).cloned();
    let mut text = first.collect::<Vec<_>>().join(", ");
    if names.len() > MOST_SHOWN {
        text += &format!(" and {} more", names.len() - MOST_SHOWN);
    }
    text
}

fn remedy(own: &str) -> String {
    match own.rfind(['{', '}']) {
        Some(at) => format!(
            "all pipes of a base share its memory: for this pipe use a base other than {}, at both ends",
            &own[..at]
        ),
        None => "a port shares its memory with its pipes and with ports that name it by number: use a port without \
                 pipes, and without @ in its name"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, kind: &str, mem_id: u16, users: u32) -> report::Port {
        report::Port {
            name: name.into(),
            kind: kind.into(),
            mem_id,
            users,
            ..report::Port::default()
        }
    }

    #[test]
    fn the_other_end_of_a_pipe_is_no_stranger_and_all_others_are() {
        let ports = [
            port("x", "pipe-base", 2, 0),
            port("x{1", "pipe-master", 2, 1),
            port("x}1", "pipe-slave", 2, 1),
            port("x{1/t", "monitor", 2, 1),
            port("y{1", "pipe-master", 3, 1),
        ];
        assert_eq!(strangers(&ports, "x{1", 2), [""; 0]);
        assert_eq!(strangers(&ports, "x}1", 2), [""; 0]);
        let more = [
            port("x", "pipe-base", 2, 1),
            port("x{2", "pipe-master", 2, 1),
            port("x}11", "pipe-slave", 2, 1),
            port("x{2/t", "monitor", 2, 1),
        ];
        let all = [&ports[1..], &more].concat();
        assert_eq!(strangers(&all, "x{1", 2), ["x", "x{2", "x}11", "x{2/t"]);
        let attached = report::Port {
            switch: Some("vale0".into()),
            ..port("x", "persistent", 2, 0)
        };
        assert_eq!(strangers(&[attached], "x{1", 2), ["x"]);
        assert_eq!(strangers(&all, "x", 2).len(), 6);
    }

    #[test]
    fn the_daemon_is_asked_after_arrivals_and_now_and_then() {
        let asked = |ago| Neighbors {
            asked: Some((Instant::now() - ago, 5)),
            ..Neighbors::default()
        };
        assert!(Neighbors::default().has_to_ask(0));
        assert!(!asked(Duration::ZERO).has_to_ask(5));
        assert!(asked(Duration::ZERO).has_to_ask(6));
        assert!(asked(ASK_EVERY).has_to_ask(5));
    }

    #[test]
    fn ends_of_pipes() {
        let ends = ["x{1", "x}1", "a{b}c", "vale0:x"].map(other_end);
        let wanted = [Some("x}1"), Some("x{1"), Some("a{b{c"), None];
        assert_eq!(ends, wanted.map(|end| end.map(str::to_owned)));
    }
}
