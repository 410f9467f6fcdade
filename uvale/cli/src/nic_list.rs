//! `uvale nic list`: the interfaces that `uvale nic add` has made, and others that are NIC ports now.

use std::process::ExitCode;

use uvale_link::proto::Report;
use uvale_link::report::Interface;

use super::show::{Args, show};
use super::table::{Align, Table};

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, String> {
    show(args, Report::Interfaces, |all: Vec<Interface>, _| {
        Ok(text(&all))
    })
}

fn text(all: &[Interface]) -> String {
    if all.is_empty() {
        return "no interface: `uvale nic add NAME` makes one\n".to_owned();
    }
    let mut table = Table::new(&[
        ("INTERFACE", Align::Left),
        ("NAMESPACE", Align::Left),
        ("MADE BY", Align::Left),
        ("QUEUES", Align::Right),
        ("ON A SWITCH", Align::Left),
        ("OPEN", Align::Left),
        ("BY", Align::Left),
        ("PID", Align::Right),
    ]);
    let none = || "-".to_owned();
    for interface in all {
        let mut users = interface.opened.iter().zip(&interface.holders);
        let user = |(opened, holder): (&String, &uvale_link::report::Holder)| {
            let program = match holder.program.as_str() {
                "" => "?",
                program => program,
            };
            [opened.clone(), program.to_owned(), holder.pid.to_string()]
        };
        let first = users.next().map_or_else(|| [none(), none(), none()], user);
        let namespace = match interface.namespace {
            Some(number) => format!("net:[{number}]"),
            None => "?".to_owned(),
        };
        let cells = [
            interface.name.clone(),
            namespace,
            if interface.made { "uvale" } else { "-" }.to_owned(),
            interface.queues.map_or_else(none, |n| n.to_string()),
            interface.attached.clone().unwrap_or_else(none),
        ];
        let width = cells.len();
        table.row(cells.into_iter().chain(first));
        for more in users {
            let blank = vec![String::new(); width];
            table.row(blank.into_iter().chain(user(more)));
        }
    }
    table.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uvale_link::report::Holder;

    #[test]
    fn who_has_made_it_and_who_has_it() {
        assert!(text(&[]).contains("uvale nic add"));
        let interface = |name: &str, made| Interface {
            name: name.into(),
            netns: 9,
            index: 2,
            namespace: Some(4026),
            made,
            queues: made.then_some(4),
            attached: None,
            holders: Vec::new(),
            opened: Vec::new(),
        };
        let holder = |pid| Holder {
            program: "gen".into(),
            pid,
            ..Holder::default()
        };
        let open = Interface {
            holders: vec![holder(7), holder(8)],
            opened: vec!["eth0".into(), "eth0^".into()],
            ..interface("eth0", false)
        };
        let attached = Interface {
            attached: Some("vale0:tap0".into()),
            ..interface("tap0", true)
        };
        let text = text(&[open, attached]);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let wanted: [&[&str]; 3] = [
            &["eth0", "net:[4026]", "-", "-", "-", "eth0", "gen", "7"],
            &["eth0^", "gen", "8"],
            &[
                "tap0",
                "net:[4026]",
                "uvale",
                "4",
                "vale0:tap0",
                "-",
                "-",
                "-",
            ],
        ];
        assert_eq!(lines[1..], wanted, "{text}");
    }
}
