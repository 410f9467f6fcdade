//! `[[cases]]`: each with every combination of the matrix.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fill::{Scope, fill};
use super::frames::Place;
use super::matrix::{self, Variable};
use super::section::{At, Section};
use super::steps::{World, steps};
use super::tree::{Node, Value};
use super::{ports, programs};
use crate::plan::{Kind, Namespace, Port, Program, Run, Target};

const KEYS: [&str; 11] = [
    "name",
    "timeout",
    "quiet",
    "repeat",
    "repeatable",
    "matrix",
    "ports",
    "namespaces",
    "programs",
    "ignore",
    "steps",
];

/// What the command line says of all files.
pub struct Settings {
    /// values in the place of a matrix
    pub set: Vec<(String, String)>,
    pub repeat: Option<u32>,
    pub seed: u64,
    pub target: Target,
}

/// A case with one combination of the matrix.
#[derive(Debug)]
pub struct Case {
    /// without the number of a repetition: `firewall/answers are let in [mode=swap]`
    pub id: String,
    pub line: usize,
    pub repeat: u32,
    /// Are repetitions that differ from the first a failure?
    pub is_repeatable: bool,
    /// without `keep`, and with an `id` that lacks the repetition
    pub run: Run,
}

/// What the cases of a file have in common.
pub struct Common<'a, 'b> {
    pub file: &'b Section<'a>,
    pub name: &'b str,
    /// where the file is
    pub folder: &'b Path,
    pub dir: &'b Path,
    pub matrix: &'b [Variable],
    pub settings: &'b Settings,
}

/// All cases of a file.
#[derive(Default)]
pub struct Expanded {
    pub cases: Vec<Case>,
    pub variables: BTreeSet<String>,
    pub ports: BTreeSet<String>,
}

/// Ports, namespaces and programs of a case.
struct Parts {
    ports: Vec<Port>,
    namespaces: Vec<Namespace>,
    programs: Vec<Program>,
}

impl<'a> Common<'a, '_> {
    /// Every case with every combination of the matrix.
    pub fn expand(&self) -> Option<Expanded> {
        let cases = self
            .file
            .need("cases", "what is tested, as [[cases]]")?
            .list()?;
        if cases.is_empty() {
            self.file.wrong("has no [[cases]]");
        }
        let mut all = Expanded::default();
        let mut ids = BTreeSet::new();
        for at in cases {
            let Some(case) = at.section(&KEYS) else {
                continue;
            };
            let own = case.get("matrix").map_or(Vec::new(), matrix::variables);
            let mut variables = matrix::merged(self.matrix, own);
            all.variables
                .extend(variables.iter().map(|v| v.name.clone()));
            matrix::set(&mut variables, &self.settings.set);
            let Some(combinations) = matrix::combinations(&variables) else {
                case.wrong(format!("has more than {} combinations", matrix::MOST));
                continue;
            };
            for values in combinations {
                let Some(one) = self.one(&case, &values) else {
                    continue;
                };
                if !ids.insert(one.id.clone()) {
                    case.wrong(format!("another case is called {:?}, too", one.id));
                }
                all.ports
                    .extend(one.run.ports.iter().map(|port| port.name.clone()));
                all.cases.push(one);
            }
        }
        Some(all)
    }

    /// The case with these values.
    fn one(&self, case: &Section<'a>, values: &[(String, Value)]) -> Option<Case> {
        let none = BTreeSet::new();
        let scope = Scope {
            values,
            dir: Some(self.dir),
            ports: None,
            learnt: &none,
            is_filled_later: false,
        };
        let name = case.need("name", "what holds when the case passes")?;
        let name = with(name, &scope, |at| at.name())?;
        let parts = self.parts(case, &scope);
        let kinds = kinds(&parts.ports);
        let world = World {
            scope: Scope {
                ports: Some(&kinds),
                is_filled_later: true,
                ..scope
            },
            ports: &parts.ports,
            namespaces: &parts.namespaces,
            programs: &parts.programs,
            place: Place {
                folder: self.folder,
                seed: self.settings.seed,
            },
        };
        let given = case.need("steps", "what is sent and what is expected")?;
        if given.list().is_some_and(|steps| steps.is_empty()) {
            given.wrong("has no step, so nothing is tested; { nothing = \"PORT\" } is one, too");
        }
        let steps = steps(given, &world);
        let ignore = case.get("ignore").and_then(|at| {
            with(at, &scope, |at| {
                let all = at.list()?;
                all.iter()
                    .map(|at| programs::port_of_tester(at, &parts.ports))
                    .collect()
            })
        });
        let id = format!("{}/{name}{}", self.name, matrix::label(values));
        let repeat = self.settings.repeat.or_else(|| {
            self.either(case, "repeat", &scope, |at| at.number(1..=1_000_000))
                .map(|n| n as u32)
        });
        let duration = |key, default| {
            self.either(case, key, &scope, |at| at.duration())
                .unwrap_or(default)
        };
        Some(Case {
            line: case.line,
            repeat: repeat.unwrap_or(1),
            is_repeatable: self
                .either(case, "repeatable", &scope, |at| at.flag())
                .unwrap_or(false),
            run: Run {
                id: id.clone(),
                dir: self.dir.to_owned(),
                timeout: duration("timeout", Duration::from_secs(10)),
                quiet: duration("quiet", Duration::from_millis(100)),
                seed: self.settings.seed,
                target: self.settings.target.clone(),
                ports: parts.ports,
                namespaces: parts.namespaces,
                programs: parts.programs,
                steps,
                ignore: ignore.unwrap_or_default(),
                keep: PathBuf::new(),
            },
            id,
        })
    }

    /// What the case says, or else the file.
    fn either<T>(
        &self,
        case: &Section<'a>,
        key: &str,
        scope: &Scope<'_>,
        read: impl Fn(&At<'_>) -> Option<T>,
    ) -> Option<T> {
        let at = case.get(key).or_else(|| self.file.get(key))?;
        with(at, scope, read)
    }

    fn parts(&self, case: &Section<'a>, scope: &Scope<'_>) -> Parts {
        let merged = |key| merged(self.file.get(key), case.get(key));
        let (ports, namespaces) = (merged("ports"), merged("namespaces"));
        let name_only = |(name, _): &(&str, At<'_>)| Namespace {
            name: (*name).to_owned(),
            commands: Vec::new(),
        };
        let names: Vec<_> = namespaces.iter().map(name_only).collect();
        let nodes: Vec<_> = ports.iter().map(|(_, at)| fill(at, scope)).collect();
        let ports = ports::ports(&with_nodes(&ports, &nodes), &names);
        let ports: Vec<Port> = ports.into_iter().map(|(port, _)| port).collect();
        let kinds: BTreeMap<String, bool> = kinds(&ports);
        let scope = Scope {
            ports: Some(&kinds),
            is_filled_later: true,
            ..*scope
        };
        let nodes: Vec<_> = namespaces.iter().map(|(_, at)| fill(at, &scope)).collect();
        let namespaces = ports::namespaces(&with_nodes(&namespaces, &nodes));
        let programs = self.either(case, "programs", &scope, |at| {
            Some(programs::programs(at, &ports, &namespaces))
        });
        Parts {
            programs: programs.unwrap_or_default(),
            ports,
            namespaces,
        }
    }
}

/// Reads a value with its names in place.
fn with<T>(at: &At<'_>, scope: &Scope<'_>, read: impl Fn(&At<'_>) -> Option<T>) -> Option<T> {
    let node = fill(at, scope);
    let key = at.key.clone();
    read(&At {
        key,
        node: &node,
        ..*at
    })
}

fn with_nodes<'n>(all: &[(&'n str, At<'n>)], nodes: &'n [Node]) -> Vec<(&'n str, At<'n>)> {
    let at = all.iter().zip(nodes).map(|((name, at), node)| {
        let key = at.key.clone();
        (*name, At { key, node, ..*at })
    });
    at.collect()
}

/// Tables by name, a case's in the place of the file's.
fn merged<'a>(file: Option<&At<'a>>, case: Option<&At<'a>>) -> Vec<(&'a str, At<'a>)> {
    let entries = |at: Option<&At<'a>>| at.and_then(At::entries).unwrap_or_default();
    let mut all = entries(file);
    for (name, at) in entries(case) {
        match all.iter_mut().find(|(n, _)| *n == name) {
            Some(same) => *same = (name, at),
            None => all.push((name, at)),
        }
    }
    all
}

/// Which ports there are, and whether they are interfaces.
fn kinds(ports: &[Port]) -> BTreeMap<String, bool> {
    let is_nic = |port: &Port| matches!(port.kind, Kind::Nic { .. });
    ports
        .iter()
        .map(|port| (port.name.clone(), is_nic(port)))
        .collect()
}
