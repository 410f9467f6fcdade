//! `[[programs]]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use uvale_tools::reach::Reach;

use super::fill::mentions_port;
use super::ports::{namespace, no_port};
use super::section::{At, Section};
use crate::plan::{Kind, Namespace, Port, Program};

const KEYS: [&str; 7] = [
    "name",
    "run",
    "env",
    "namespace",
    "opens",
    "status",
    "reach",
];

/// The programs in their order.
pub fn programs(at: &At<'_>, ports: &[Port], namespaces: &[Namespace]) -> Vec<Program> {
    let mut names = BTreeSet::new();
    let all = at.list().unwrap_or_default();
    let programs = all.iter().filter_map(|at| {
        let section = at.section(&KEYS)?;
        let program = program(&section, ports, namespaces)?;
        if !names.insert(program.name.clone()) {
            let name = &program.name;
            at.wrong(format!(
                "two programs are called {name}: give one another name = \"...\""
            ));
        }
        Some(program)
    });
    programs.collect()
}

fn program(section: &Section<'_>, ports: &[Port], namespaces: &[Namespace]) -> Option<Program> {
    let run = section
        .need("run", "the program and its arguments")?
        .command()?;
    let file_name = || {
        Path::new(&run[0])
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let name = match section.get("name") {
        Some(at) => at.name()?,
        None => file_name().unwrap_or_default(),
    };
    let env = match section.get("env") {
        Some(at) => variables(at)?,
        None => BTreeMap::new(),
    };
    let opens = match section.get("opens") {
        Some(at) => opens(at, ports)?,
        None => ports
            .iter()
            .filter(|port| {
                let mut texts = run.iter().chain(env.values());
                texts.any(|text| mentions_port(text, &port.name))
            })
            .map(|port| port.name.clone())
            .collect(),
    };
    Some(Program {
        name,
        env,
        namespace: section
            .get("namespace")
            .and_then(|at| namespace(at, namespaces)),
        opens,
        status: section
            .get("status")
            .and_then(|at| at.number(0..=255))
            .map(|n| n as i32),
        reach: section
            .get("reach")
            .and_then(|at| Reach::named(at.word(&Reach::NAMES)?))
            .unwrap_or_default(),
        run,
    })
}

fn variables(at: &At<'_>) -> Option<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    for (name, at) in at.entries()? {
        let value = at.text()?;
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            at.wrong("is no variable of an environment");
        }
        variables.insert(name.to_owned(), value);
    }
    Some(variables)
}

fn opens(at: &At<'_>, ports: &[Port]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for at in at.list()? {
        let name = at.text()?;
        if !ports.iter().any(|port| port.name == name) {
            no_port(&at, &name, ports.iter());
        }
        names.push(name);
    }
    Some(names)
}

/// The port that is named, if the tester has an end of it.
pub fn port_of_tester(at: &At<'_>, ports: &[Port]) -> Option<String> {
    let name = at.text()?;
    let Some(port) = ports.iter().find(|port| port.name == name) else {
        no_port(at, &name, ports.iter());
        return None;
    };
    match &port.kind {
        Kind::Nic { peer: Some(peer) } => {
            at.wrong(format!(
                "the other end of the port {name} is in the namespace {peer}, not the tester's"
            ));
            None
        }
        Kind::Monitor { of, .. } => {
            at.wrong(format!(
                "the port {name} is a monitor for programs; what passes is seen on {of}"
            ));
            None
        }
        _ => Some(name),
    }
}
