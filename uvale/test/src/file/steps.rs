//! `steps` of a case.

use std::collections::{BTreeMap, BTreeSet};

use uvale_frame::{Fields, Filter};
use uvale_tools::nearest::hint;

use super::fill::{Scope, fill, is_variable};
use super::frames::{self, Place};
use super::ports::namespace;
use super::programs::port_of_tester;
use super::section::{At, Section};
use super::tree::{Node, Value};
use crate::plan::{Action, Count, Namespace, Port, Program, Step};

/// What a step does is said by one of these keys; the others that it may have.
const SEND: [&str; 7] = ["send", "frame", "frames", "hex", "gen", "capture", "count"];
const EXPECT: [&str; 13] = [
    "expect", "frame", "frames", "hex", "gen", "capture", "count", "order", "same_as", "change",
    "filter", "fields", "learn",
];
const NOTHING: [&str; 1] = ["nothing"];
const PRINTS: [&str; 3] = ["prints", "text", "count"];
const RUN: [&str; 3] = ["run", "namespace", "status"];
const ANY: [&str; 18] = [
    "send", "expect", "nothing", "prints", "run", "text", "frame", "frames", "hex", "gen",
    "capture", "count", "order", "same_as", "change", "filter", "fields", "learn",
];

/// What steps refer to.
pub struct World<'a> {
    pub scope: Scope<'a>,
    pub ports: &'a [Port],
    pub namespaces: &'a [Namespace],
    pub programs: &'a [Program],
    pub place: Place<'a>,
}

/// The steps in their order.
pub fn steps(at: &At<'_>, world: &World<'_>) -> Vec<Step> {
    let mut learnt = BTreeSet::new();
    let mut steps = Vec::new();
    for at in at.list().unwrap_or_default() {
        let scope = Scope {
            learnt: &learnt,
            ports: is_run(at.node).then_some(world.scope.ports).flatten(),
            ..world.scope
        };
        let node = fill(&at, &scope);
        let at = At { node: &node, ..at };
        let Some(action) = step(&at, world) else {
            continue;
        };
        if let Action::ExpectMatching { learn, .. } = &action {
            learnt.extend(learn.keys().cloned());
        }
        steps.push(Step {
            line: at.line,
            action,
        });
    }
    steps
}

/// Programs know ports by name, frames do not.
fn is_run(node: &Node) -> bool {
    matches!(&node.value, Value::Table(entries) if entries.iter().any(|e| e.name == "run"))
}

fn step(at: &At<'_>, world: &World<'_>) -> Option<Action> {
    let names: Vec<&str> = at.entries()?.iter().map(|(name, _)| *name).collect();
    let kinds: [&[&str]; 5] = [&SEND, &EXPECT, &NOTHING, &PRINTS, &RUN];
    let given: Vec<_> = kinds
        .into_iter()
        .filter(|keys| names.contains(&keys[0]))
        .collect();
    match given[..] {
        [keys] => {
            let step = at.section(keys)?;
            match keys[0] {
                "send" => send(&step, world),
                "expect" => expect(&step, world),
                "nothing" => Some(Action::Nothing {
                    on: port_of_tester(step.get("nothing")?, world.ports)?,
                }),
                "prints" => prints(&step, world),
                _ => run(&step, world),
            }
        }
        [] => {
            at.section(&ANY);
            at.wrong("does nothing: a step has one of send, expect, nothing, prints, run");
            None
        }
        [first, second, ..] => {
            at.wrong(format!(
                "has both {} and {}; make two steps of it",
                first[0], second[0]
            ));
            None
        }
    }
}

fn send(step: &Section<'_>, world: &World<'_>) -> Option<Action> {
    let on = port_of_tester(step.get("send")?, world.ports);
    let frames = frames::of(step, &world.place);
    Some(Action::Send {
        on: on?,
        frames: frames?,
    })
}

fn expect(step: &Section<'_>, world: &World<'_>) -> Option<Action> {
    let on = port_of_tester(step.get("expect")?, world.ports);
    let is_ordered = step.get("order").and_then(At::flag).unwrap_or(true);
    if step.has("same_as") {
        let others = [&frames::KEYS[..], &["filter", "count", "fields", "learn"]].concat();
        step.refuse(&others, "has no meaning beside same_as");
        let port = step
            .get("same_as")
            .and_then(|at| port_of_tester(at, world.ports));
        return Some(Action::ExpectSame {
            on: on?,
            port: port?,
            change: fields(step, "change")?,
            is_ordered,
        });
    }
    step.refuse(&["change"], "goes with same_as, whose frames it changes");
    if frames::KEYS.iter().any(|key| step.has(key)) {
        step.refuse(
            &["filter", "fields", "learn"],
            "has no meaning beside frames that are expected as they are",
        );
        let frames = frames::of(step, &world.place);
        return Some(Action::Expect {
            on: on?,
            frames: frames?,
            is_ordered,
        });
    }
    step.refuse(
        &["order"],
        "goes with frames or same_as, which have an order",
    );
    let filter = match step.get("filter") {
        Some(at) => Some(filter(at)?),
        None => None,
    };
    let count = match step.get("count") {
        Some(at) => count(at)?,
        None => Count { min: 1, max: 1 },
    };
    let learn = learn(step, world)?;
    if !learn.is_empty() && count.min == 0 {
        step.wrong(
            "learns from the last frame, of which there may be none: count begins with 1 then",
        );
    }
    Some(Action::ExpectMatching {
        on: on?,
        filter,
        count,
        fields: fields(step, "fields")?,
        learn,
    })
}

fn fields(step: &Section<'_>, key: &str) -> Option<Fields> {
    step.get(key).map_or(Some(Fields::new()), frames::checked)
}

fn filter(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    // one with learnt values is looked at when they are known
    if !text.contains("${")
        && let Err(wrong) = text.parse::<Filter>()
    {
        at.wrong(wrong.to_string());
    }
    Some(text)
}

fn prints(step: &Section<'_>, world: &World<'_>) -> Option<Action> {
    let at = step.get("prints")?;
    let program = at.name()?;
    let mut programs = world.programs.iter().map(|program| program.name.as_str());
    if !programs.clone().any(|name| name == program) {
        let hint = hint(&program, &mut programs);
        at.wrong(format!("there is no program {program:?}{hint}"));
    }
    let text = step
        .need("text", "what a line has that is printed")?
        .text()?;
    let at_least_one = Count {
        min: 1,
        max: u64::MAX,
    };
    let count = step.get("count").map_or(Some(at_least_one), count)?;
    Some(Action::Prints {
        program,
        text,
        count,
    })
}

/// `3`, `"1..5"`, `">=3"`, `"<=3"`.
fn count(at: &At<'_>) -> Option<Count> {
    let exactly = |n: u64| Count { min: n, max: n };
    let found = match &at.node.value {
        Value::Integer(n) => u64::try_from(*n).ok().map(exactly),
        Value::Text(text) => range(text.trim()),
        _ => None,
    };
    match found {
        Some(Count { max: 0, .. }) => {
            at.wrong("is 0: write { nothing = \"PORT\" } for nothing");
            None
        }
        Some(count) if count.min <= count.max => Some(count),
        _ => at.wants("a number of frames: 3, \"1..5\", \">=3\" or \"<=3\""),
    }
}

fn range(text: &str) -> Option<Count> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (min, max) = if let Some(min) = text.strip_prefix(">=") {
        (number(min)?, u64::MAX)
    } else if let Some(max) = text.strip_prefix("<=") {
        (0, number(max)?)
    } else if let Some((min, max)) = text.split_once("..") {
        (number(min)?, number(max)?)
    } else {
        (number(text)?, number(text)?)
    };
    Some(Count { min, max })
}

fn learn(step: &Section<'_>, world: &World<'_>) -> Option<BTreeMap<String, String>> {
    let mut learn = BTreeMap::new();
    let Some(at) = step.get("learn") else {
        return Some(learn);
    };
    for (name, at) in at.entries()? {
        let field = at.text()?;
        let any = Fields::from_iter([(field.clone(), "*".into())]);
        if let Err(wrong) = uvale_frame::check(&any) {
            at.wrong(wrong.to_string());
        }
        if !is_variable(name) || world.scope.values.iter().any(|(n, _)| n == name) {
            at.wrong("the name has letters, digits and _, and is not one of the matrix or dir");
        }
        learn.insert(name.to_owned(), field);
    }
    Some(learn)
}

fn run(step: &Section<'_>, world: &World<'_>) -> Option<Action> {
    let status = step.get("status").and_then(|at| at.number(0..=255));
    Some(Action::Run {
        run: step.get("run")?.command()?,
        namespace: step
            .get("namespace")
            .and_then(|at| namespace(at, world.namespaces)),
        status: status.unwrap_or(0) as i32,
    })
}
