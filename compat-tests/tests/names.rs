//! Names of VALE ports that are interfaces of the system: `vale0:eth0` is eth0 attached to a switch, and no port
//! that an open may make. What counts is the network namespace of the program.

use std::path::Path;
use std::process::{Command, Stdio};

use compat_tests::place::Place;
use compat_tests::programs::program;
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip};

/// What opening each name gave, in a network namespace of its own if `apart`.
fn open(place: &Place, register: &Path, names: &[&str], apart: bool) -> String {
    let mut command = place.command(register);
    if apart {
        let mut outer = place.command(Path::new("unshare"));
        // Only what is started in the namespace is under the shim.
        let shim = format!(
            "LD_PRELOAD={}",
            compat_tests::target::binaries().shim.display()
        );
        outer.env_remove("LD_PRELOAD");
        outer.args(["--net", "env"]).arg(shim).arg(register);
        command = outer;
    }
    command.args(names);
    Program::start("register", command).wait_success()
}

/// An interface of this namespace other than `lo`.
fn interface() -> Result<String, Skip> {
    let text = std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    let names = text.lines().filter_map(|l| l.split_once(':'));
    let mut names = names.map(|(name, _)| name.trim().to_owned());
    names
        .find(|n| n != "lo" && n.len() < 10)
        .ok_or_else(|| Skip::optional("there is no interface but lo"))
}

fn can_unshare() -> Result<(), Skip> {
    let mut command = Command::new("unshare");
    command.args(["--net", "true"]).stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Skip::optional("no network namespace can be made here")),
    }
}

#[test]
fn a_port_cannot_have_the_name_of_an_interface() {
    let register = or_skip!("names of interfaces", program("fidelity/register"));
    let place = Place::new();
    let names = [
        "vale0:lo",
        "vale0:lo{1",
        "vale0:lo}1",
        "vale0:lo2",
        "vale0:lo:1",
        "valea:lo",
    ];
    let said = open(&place, &register, &names, false);
    let want = "vale0:lo EINVAL\nvale0:lo{1 EINVAL\nvale0:lo}1 EINVAL\nvale0:lo2 OK\nvale0:lo:1 OK\nvalea:lo EINVAL\n";
    assert_eq!(said, want);
    assert!(place.ports().is_empty(), "{:?}", place.ports());
    // and a person is told why
    let mut command = place.command(&register);
    command.arg("vale0:lo").env("NMSHIM_VERBOSE", "1");
    let mut program = Program::start("register", command);
    assert!(program.wait().success());
    let said = program.said();
    assert!(said.contains("lo is an interface of this system"), "{said}");
    place.assert_left_clean();
}

#[test]
fn the_callers_network_namespace_counts() {
    let register = or_skip!("names in namespaces", program("fidelity/register"));
    let interface = or_skip!("names in namespaces", interface());
    or_skip!("names in namespaces", can_unshare());
    let place = Place::new();
    let name = format!("vale0:{interface}");
    let said = open(&place, &register, &[&name], false);
    assert_eq!(said, format!("{name} EINVAL\n"));
    let said = open(&place, &register, &["vale0:lo", &name], true);
    assert_eq!(said, format!("vale0:lo EINVAL\n{name} OK\n"));
}
