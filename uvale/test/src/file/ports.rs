//! `[ports.NAME]` and `[namespaces.NAME]`.

use std::collections::BTreeMap;

use nm_abi::name::NmportName;
use uvale_tools::nearest::hint;

use super::section::{At, Section};
use super::tree::Value;
use crate::plan::{Kind, Namespace, Port};

const KEYS: [&str; 8] = [
    "kind", "switch", "rings", "slots", "link", "peer", "of", "suffix",
];
const KINDS: [&str; 4] = ["switch", "pipe", "nic", "monitor"];

/// Interfaces have no longer names.
const LONGEST_NAME: usize = 15;

/// The ports, in their order in the file; each with where it is.
pub fn ports<'a>(all: &[(&'a str, At<'a>)], namespaces: &[Namespace]) -> Vec<(Port, At<'a>)> {
    let mut ports: Vec<(Port, At<'a>)> = Vec::new();
    let named = all.iter().filter_map(|(_, at)| match &at.node.value {
        Value::Table(entries) => entries.iter().find(|e| e.name == "switch"),
        _ => None,
    });
    let mut switches: Vec<String> = named.map(|entry| entry.node.value.plain()).collect();
    for (name, at) in all {
        if let Some(port) = port(name, at, &mut switches, namespaces) {
            ports.push((port, at.clone()));
        }
    }
    for (port, at) in &ports {
        let Kind::Monitor { of, .. } = &port.kind else {
            continue;
        };
        let other = ports.iter().find(|(other, _)| other.name == *of);
        let at = at
            .section(&KEYS)
            .and_then(|port| port.get("of").cloned())
            .unwrap_or(at.clone());
        match other.map(|(other, _)| &other.kind) {
            Some(Kind::Monitor { .. }) => at.wrong(format!("the port {of} is a monitor itself")),
            Some(_) => {}
            None => no_port(&at, of, ports.iter().map(|(port, _)| port)),
        }
    }
    ports
}

/// Says that there is no such port.
pub fn no_port<'p>(at: &At<'_>, name: &str, ports: impl Iterator<Item = &'p Port>) {
    let hint = hint(name, ports.map(|port| port.name.as_str()));
    at.wrong(format!("there is no port {name:?}{hint}"));
}

fn port(
    name: &str,
    at: &At<'_>,
    switches: &mut Vec<String>,
    namespaces: &[Namespace],
) -> Option<Port> {
    let port = at.section(&KEYS)?;
    if !is_name(name) {
        at.wrong(format!(
            "a port's name has letters, digits and _, {LONGEST_NAME} at most"
        ));
        return None;
    }
    let kind = match port.get("kind") {
        Some(kind) => kind.word(&KINDS)?,
        None => "switch",
    };
    let foreign: &[&str] = match kind {
        "switch" => &["peer", "of", "suffix"],
        "pipe" => &["switch", "peer", "of", "suffix"],
        "nic" if port.has("peer") => &["switch", "of", "suffix", "link", "rings", "slots"],
        "nic" => &["switch", "of", "suffix"],
        _ => &["switch", "peer", "link", "rings", "slots"],
    };
    let why = match port.has("peer") && kind == "nic" {
        true => "has no meaning beside peer: the tester has no end of this port".to_owned(),
        false => format!("has no meaning for kind = {kind:?}"),
    };
    port.refuse(foreign, &why);
    let kind = match kind {
        "switch" => Kind::Switch {
            switch: switch(&port, name, switches)?,
        },
        "pipe" => Kind::Pipe,
        "nic" => Kind::Nic {
            peer: port.get("peer").and_then(|at| namespace(at, namespaces)),
        },
        _ => monitor(&port)?,
    };
    let number = |key, most| port.get(key).and_then(|at| at.number(1..=most));
    Some(Port {
        name: name.to_owned(),
        rings: number("rings", 64).map(|n| n as u16),
        slots: number("slots", 65536).map(|n| n as u32),
        link: port.get("link").and_then(link),
        kind,
    })
}

/// Names that are good for interfaces, for ports of switches and for files.
pub fn is_name(name: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=LONGEST_NAME).contains(&name.len()) && name.chars().all(is_good)
}

/// The switch that is named, or one that no other port is on.
fn switch(port: &Section<'_>, name: &str, switches: &mut Vec<String>) -> Option<String> {
    if let Some(at) = port.get("switch") {
        let switch = at.text()?;
        let whole = format!("{switch}:{name}");
        let is_good = switch.len() <= LONGEST_NAME
            && NmportName::parse(&whole).is_ok_and(|parsed| parsed.name() == whole.as_bytes());
        if !is_good {
            at.wrong(format!(
                "{switch:?} is no switch's name, which is vale with letters or digits: vale0"
            ));
        }
        return Some(switch);
    }
    let free = (0..)
        .map(|n| format!("vale{n}"))
        .find(|name| !switches.contains(name))?;
    switches.push(free.clone());
    Some(free)
}

fn monitor(port: &Section<'_>) -> Option<Kind> {
    let of = port
        .need("of", "the port that it is a monitor of")?
        .text()?;
    let suffix = match port.get("suffix") {
        None => "/rt".to_owned(),
        Some(at) => {
            let suffix = at.text()?;
            let letters = suffix.strip_prefix('/').unwrap_or_default();
            let is_good = letters.contains(['r', 't'])
                && letters.chars().all(|c| matches!(c, 'r' | 't' | 'z'));
            if !is_good {
                at.wrong(format!(
                    "{suffix:?} is none of /r, /t, /rt, and with z for zero-copy"
                ));
            }
            suffix
        }
    };
    Some(Kind::Monitor { of, suffix })
}

/// Options of `uvale link`.
fn link(at: &At<'_>) -> Option<BTreeMap<String, String>> {
    let mut options = BTreeMap::new();
    for (name, at) in at.entries()? {
        let value = match &at.node.value {
            Value::Integer(_) | Value::Float(_) => at.node.value.plain(),
            _ => at.text()?,
        };
        if let Err(why) = uvale_impair::ways([(name, value.as_str())], 0) {
            at.wrong(why);
        }
        options.insert(name.to_owned(), value);
    }
    Some(options)
}

/// The namespace that is named.
pub fn namespace(at: &At<'_>, namespaces: &[Namespace]) -> Option<String> {
    let name = at.text()?;
    if !namespaces.iter().any(|n| n.name == name) {
        let hint = hint(&name, namespaces.iter().map(|n| n.name.as_str()));
        at.wrong(format!("there is no namespace {name:?}{hint}"));
    }
    Some(name)
}

/// The names of namespaces, before their commands are read.
pub fn namespaces(all: &[(&str, At<'_>)]) -> Vec<Namespace> {
    let mut namespaces = Vec::new();
    for (name, at) in all {
        if !is_name(name) {
            at.wrong(format!(
                "a namespace's name has letters, digits and _, {LONGEST_NAME} at most"
            ));
        }
        namespaces.push(Namespace {
            name: (*name).to_owned(),
            commands: commands(at).unwrap_or_default(),
        });
    }
    namespaces
}

fn commands(at: &At<'_>) -> Option<Vec<Vec<String>>> {
    let namespace = at.section(&["commands"])?;
    match namespace.get("commands") {
        Some(at) => at.list()?.iter().map(At::command).collect(),
        None => Some(Vec::new()),
    }
}
