//! What the shim says on the program's stderr, and where it says nothing.

use std::path::Path;
use std::process::Command;

use compat_tests::{Skip, or_skip};

use compat_tests::place::Place;
use compat_tests::programs::program;
use compat_tests::said::Said;

/// `reasons ARGS...` in `place`, with these variables and no other that counts.
fn reasons(place: &Place, path: &Path, args: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut command = place.command(path);
    command.args(args);
    command.env_remove("CI").env_remove("NMSHIM_VERBOSE");
    command.envs(variables.iter().copied());
    Said::of(&mut command)
}

#[test]
fn refusals_are_explained_where_ci_is_set() {
    let path = or_skip!("reasons", program("reasons/reasons"));
    let place = Place::new();
    let said = |n, variables: &[_]| reasons(&place, &path, &["refused", n], variables).err;
    let count = |text: &str| text.matches("no such memory").count();

    assert_eq!(said("3", &[]), "", "a pipe is data");
    let told = said("3", &[("CI", "true")]);
    assert_eq!(count(&told), 3, "each reason once: {told}");
    assert!(
        told.contains("nmshim: REGISTER vale0:x: Invalid argument: nr_mem_id=1000: no such memory"),
        "{told}"
    );
    let told = said("50", &[("CI", "true")]);
    assert_eq!(count(&told), 10, "there is an end: {told}");
    assert_eq!(told.lines().count(), 11, "{told}");
    assert!(
        told.contains("further reasons are not shown; NMSHIM_VERBOSE=1"),
        "{told}"
    );
    // What is set rules.
    assert_eq!(count(&said("50", &[("NMSHIM_VERBOSE", "1")])), 100);
    assert_eq!(said("3", &[("CI", "true"), ("NMSHIM_VERBOSE", "0")]), "");
}

/// The shim was loaded before the command could say what it wants to hear.
#[test]
fn commands_are_told_why_under_a_shim_that_is_loaded() {
    let place = Place::new();
    let uvale = &compat_tests::target::binaries().uvale;
    for variables in [&[][..], &[("CI", "true")]] {
        let said = reasons(
            &place,
            uvale,
            &["gen", "-i", "vale0:b/rt", "-f", "rx"],
            variables,
        );
        let why = "nmshim: REGISTER vale0:b: Invalid argument: vale0:b: nobody has it open";
        assert_eq!(said.err.matches(why).count(), 1, "{}", said.err);
    }
}

#[test]
fn refusals_are_explained_on_a_terminal() {
    let path = or_skip!("reasons", program("reasons/reasons"));
    or_skip!("terminal", has_script());
    let place = Place::new();
    let on_terminal = |run: &str| {
        let mut command = place.command(Path::new("script"));
        let line = format!("{run} {} refused 2", path.display());
        command.args(["-qec", &line, "/dev/null"]);
        command.env_remove("CI").env_remove("NMSHIM_VERBOSE");
        Said::of(&mut command).out
    };
    let said = on_terminal("");
    assert_eq!(said.matches("no such memory").count(), 2, "{said}");
    let run = format!(
        "{} run -q --",
        compat_tests::target::binaries().uvale.display()
    );
    let said = on_terminal(&run);
    assert_eq!(said.matches("no such memory").count(), 0, "{said}");
    assert!(said.contains("done"), "{said}");
}

/// script(1) runs a command on a terminal of its own.
fn has_script() -> Result<(), Skip> {
    let found = Command::new("script").arg("--version").output();
    found
        .map(drop)
        .map_err(|e| Skip::required(format!("script: {e}")))
}

#[test]
fn nothing_is_written_to_what_is_no_longer_stderr() {
    let path = or_skip!("reasons", program("reasons/reasons"));
    let place = Place::new();
    for by in ["socket", "pipe", "file"] {
        for variable in [("CI", "1"), ("NMSHIM_VERBOSE", "2")] {
            let said = reasons(&place, &path, &["lost", by], &[variable]);
            assert_eq!(said.out, "bytes=0\n", "{by}, {variable:?}: {}", said.err);
        }
    }
}

#[test]
fn a_reader_that_is_gone_ends_nobody() {
    let path = or_skip!("reasons", program("reasons/reasons"));
    let place = Place::new();
    let mut command = place.command(Path::new("sh"));
    // `true` reads nothing; the program starts when it has ended.
    let line = "{ { sleep 1; exec \"$0\" refused 2; } 2>&1 >&3 | true; } 3>&1";
    command.args(["-c", line]).arg(&path).env("CI", "1");
    assert_eq!(Said::of(&mut command).out, "done\n");
}

#[test]
fn a_limit_is_named_with_its_value() {
    let path = or_skip!("reasons", program("reasons/reasons"));
    let place = Place::new();
    let mut command = place.command(Path::new("sh"));
    // 0, 1 and 2 are there, and the shim's own; nothing is left for a session.
    command
        .args(["-c", "ulimit -Sn 4; exec \"$0\" device"])
        .arg(&path);
    let said = Said::of(&mut command);
    assert_eq!(said.out, "open: errno=24\n", "{}", said.err);
    for part in [
        "cannot open /dev/netmap",
        "its limit is 4 (ulimit -n)",
        "can be raised to",
    ] {
        assert!(said.err.contains(part), "no {part:?} in: {}", said.err);
    }
}
