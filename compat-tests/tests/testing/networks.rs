//! Interfaces and namespaces, for users without rights, too.

use compat_tests::wait::until;
use compat_tests::{Skip, or_skip};
use serde_json::json;
use std::process::Command;
use std::time::Duration;
use uvale_test::plan::{Kind, Namespace, Target, Verdict};

use crate::ground::{Case, numbered, switch};

/// Makes another user of a command.
const OTHER: [&str; 5] = [
    "setpriv",
    "--reuid=65533",
    "--regid=65533",
    "--clear-groups",
    "--",
];

fn works(command: &[&str]) -> bool {
    let output = Command::new(command[0]).args(&command[1..]).output();
    output.is_ok_and(|output| output.status.success())
}

/// Who may have namespaces: this user, and another one where this one may become it.
pub fn users() -> Result<Vec<Vec<&'static str>>, Skip> {
    let namespaces = ["unshare", "--user", "--map-root-user", "--net", "true"];
    if !works(&["ip", "-V"]) {
        return Err(Skip::required("no program ip"));
    }
    let mut users = Vec::new();
    if works(&namespaces) || works(&["unshare", "--net", "true"]) {
        users.push(Vec::new());
    }
    if works(&[&OTHER[..], &namespaces].concat()) {
        users.push(OTHER.into());
    }
    match users.is_empty() {
        true => Err(Skip::optional("no network namespaces for us")),
        false => Ok(users),
    }
}

/// What another user may write to.
pub fn open_to_all(case: &Case) {
    compat_tests::place::set_mode(case.dir(), 0o777);
}

#[test]
fn interfaces_at_both_sides_of_a_bridge() {
    for user in or_skip!("namespaces", users()) {
        let mut case = Case::new();
        open_to_all(&case);
        case.port("lan", Kind::Nic { peer: None });
        case.port("wan", Kind::Nic { peer: None });
        case.port("side", switch("vale0"));
        or_skip!("bridge", case.bridge("lan", "wan"));
        case.send("lan", numbered(1000))
            .same("wan", "lan", json!({}));
        case.send("wan", numbered(1000))
            .same("lan", "wan", json!({}));
        case.passes_by(&user);
    }
}

#[test]
fn programs_of_the_kernel_in_namespaces() {
    if !works(&["busybox", "ping", "-c", "1", "127.0.0.1"]) {
        let skip = Skip::required("no busybox with ping");
        return compat_tests::report_skip("ping", &skip);
    }
    for user in or_skip!("namespaces", users()) {
        let mut case = Case::new();
        open_to_all(&case);
        for (name, address) in [("inside", "10.0.0.1/24"), ("outside", "10.0.0.2/24")] {
            let peer = Some(name.to_owned());
            case.port(&format!("to_{name}"), Kind::Nic { peer });
            let command = format!("ip address add {address} dev ${{interface.to_{name}}}");
            case.run.namespaces.push(Namespace {
                name: name.into(),
                commands: vec![command.split(' ').map(str::to_owned).collect()],
            });
        }
        // What stays in the background is not waited for, and ends with the run.
        let stays = ["sh", "-c", "sleep 1000 &"].map(str::to_owned);
        case.run.namespaces[0].commands.push(stays.into());
        or_skip!("bridge", case.bridge("to_inside", "to_outside"));
        case.command(&["busybox", "ping", "-c", "2", "10.0.0.2"], Some("inside"));
        case.passes_by(&user);
        let said = case.left("line-1.stdout");
        assert!(said.contains("2 packets received"), "{said}");
        case.run.namespaces[1].commands[0][3] = "nonsense".into();
        let Verdict::Error(why) = case.outcome_by(&user).result else {
            panic!("nonsense is an address");
        };
        assert!(
            why.contains("namespace outside: `ip address add nonsense"),
            "{why}"
        );
    }
}

/// Nothing comes that nobody has sent: no neighbour is looked for, no router asked.
#[test]
fn a_cable_is_silent() {
    for user in or_skip!("namespaces", users()) {
        let mut case = Case::new();
        open_to_all(&case);
        case.port("lan", Kind::Nic { peer: None });
        case.port(
            "wan",
            Kind::Nic {
                peer: Some("outside".to_owned()),
            },
        );
        case.run.namespaces.push(Namespace {
            name: "outside".into(),
            commands: vec![],
        });
        or_skip!("bridge", case.bridge("lan", "wan"));
        // Time in which the kernel would have spoken by itself.
        case.run.quiet = Duration::from_secs(2);
        case.passes_by(&user);
    }
}

/// A machine that does not allow it is no failure of the function.
#[test]
fn without_namespaces_it_is_skipped() {
    let none = "echo 0 > /proc/sys/user/max_net_namespaces && exec \"$@\"";
    let by = [
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        none,
        "sh",
    ];
    if !works(&[&by[..], &["true"]].concat()) {
        return compat_tests::report_skip("limits", &Skip::optional("no user namespaces for us"));
    }
    let mut case = Case::new();
    case.port("lan", Kind::Nic { peer: None });
    let Verdict::Skipped(why) = case.outcome_by(&by).result else {
        panic!("it may not have a namespace");
    };
    assert!(why.contains("or run it as root"), "{why}");
    // Without interfaces it needs none.
    case.run.ports.clear();
    case.port("lan", switch("vale0"));
    case.passes_by(&by);
}

/// Namespaces end with the run that has made them, killed or not.
#[test]
fn a_killed_run_leaves_no_interface() {
    or_skip!("namespaces", users());
    let mut case = Case::new();
    case.tells_its_world();
    case.port("lan", Kind::Nic { peer: None });
    case.port("wan", Kind::Nic { peer: None });
    or_skip!("bridge", case.bridge("lan", "wan"));
    case.run.timeout = Duration::from_secs(86_400);
    case.matching("wan", "arp", 1, 1);
    let mut child = case.start(&[]);
    case.world();
    until(Duration::from_millis(200), || None::<()>);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    // A namespace lives as long as a process is in it.
    case.assert_nothing_left();
}

/// Interfaces of the machine in the place of ports: here of a machine made of a namespace, in which two pairs are.
#[test]
fn interfaces_of_the_machine() {
    let pairs = "ip link set lo up && for pair in 'in1 in2' 'out1 out2'; do set -- $pair \"$@\"; \
                 ip link add $1 type veth peer name $2; for end in $1 $2; do \
                 echo 1 > /proc/sys/net/ipv6/conf/$end/disable_ipv6; ip link set $end up; done; shift 2; done; \
                 exec \"$@\"";
    let user = or_skip!("namespaces", users()).remove(0);
    let unshare = [
        "unshare",
        "--user",
        "--map-root-user",
        "--net",
        "sh",
        "-c",
        pairs,
        "sh",
    ];
    let by = [&user[..], &unshare].concat();
    if !works(&[&by[..], &["true"]].concat()) {
        let skip = Skip::optional("no veth pairs for us");
        return compat_tests::report_skip("interfaces", &skip);
    }
    let mut case = or_skip!("bridge", Case::of_bridge());
    let nics = [("lan", "in1+in2"), ("wan", "out1")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    case.run.target = Target::Nic(nics.into());
    case.send("lan", numbered(1000))
        .same("wan", "lan", json!({}));
    case.send("wan", numbered(1000))
        .same("lan", "wan", json!({}));
    case.passes_by(&by);
    let nics = [("lan", "nothere+in2")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    case.run.target = Target::Nic(nics.into());
    let why = match case.outcome_by(&by).result {
        Verdict::Failed { why, .. } | Verdict::Error(why) => why,
        other => panic!("{other:?}"),
    };
    assert!(why.contains("nothere"), "{why}");
}
