//! `uvale run`: its options, the shim it is told to use, and what becomes of its children.

use std::process::Command;

use compat_tests::or_skip;
use compat_tests::said::Said;
use compat_tests::target;

use super::{needs, sh, ten, uvale};

#[test]
fn options_are_no_programs() {
    for (options, hint) in [
        (&["-v1"][..], "<PROGRAM>"),
        (&["--privat"], "'--private'"),
        (&["--privat", "true"], "'--private'"),
        (&["-x", "true"], "unexpected argument '-x'"),
        (
            &["--private", "--bogus", "true"],
            "unexpected argument '--bogus'",
        ),
        (&["-v", "x", "true"], "invalid value 'x'"),
        (&["--"], "<PROGRAM>"),
    ] {
        let mut command = uvale(["run"]);
        Said::of(command.args(options))
            .assert_code(2)
            .assert_says(hint);
    }
}

#[test]
fn a_programs_own_options_are_its_own() {
    for before in [
        &["run", "--private"][..],
        &["run", "-v1", "--private", "--"],
    ] {
        let mut command = uvale(before);
        command.args(["echo", "--private", "-x", "--", "-v1", "--dir=x"]);
        let said = Said::of(&mut command).assert_code(0);
        assert_eq!(said.out, "--private -x -- -v1 --dir=x\n");
    }
    Said::of(&mut uvale(["run", "--", "-x"]))
        .assert_code(127)
        .assert_says("cannot run -x");
}

#[test]
fn a_shim_that_is_none_is_refused() {
    for (named, why) in [
        ("/nonexistent/libnmshim.so", "No such file"),
        ("/etc/passwd", "not a shared library"),
        ("/bin/sh", "not a shared library"),
        ("/", "not a shared library"),
    ] {
        let mut command = uvale(["run", "--", "true"]);
        Said::of(command.env("NMSHIM", named))
            .assert_code(1)
            .assert_says(why);
    }
}

#[test]
fn a_shim_named_relatively_is_found_from_elsewhere() {
    let ten = or_skip!("relative shim", ten());
    let shim = &target::binaries().shim;
    let mut command = uvale([
        "run",
        "--private",
        "--",
        "sh",
        "-c",
        "cd / && exec \"$1\"",
        "sh",
    ]);
    command
        .arg(ten)
        .current_dir(shim.parent().expect("a folder"));
    command.env("NMSHIM", "./libnmshim.so");
    Said::of(&mut command).assert_code(0);
}

/// As process 1 it is the parent of whatever the program leaves behind.
#[test]
fn orphans_are_reaped() {
    let mut probe = Command::new("unshare");
    probe.args(["-pf", "--mount-proc", "true"]);
    or_skip!("process 1", needs("a PID namespace", &mut probe));
    // Two that end while the program runs; then a look at all there are, which has to find no zombie in the end.
    let script = "for i in 1 2; do (sleep 0.1 &); done; sleep 0.3; n=0; \
                  while grep -q '^State:.Z' /proc/[0-9]*/status; do \
                  n=$((n+1)); [ $n -lt 200 ] || exit 1; sleep 0.1; done";
    for run in [&["run", "--private"][..], &["run"]] {
        let mut command = Command::new("unshare");
        command
            .args(["-pf", "--mount-proc"])
            .arg(&target::binaries().uvale);
        // A shell would wait for them itself if it were process 1.
        command.args(run).args(["--", "sh", "-c", script]);
        Said::of(command.env_remove("UVALE_DIR")).assert_code(0);
    }
}

/// A parent that ignores SIGCHLD hands that on: the program has it, `uvale run` works all the same.
#[test]
fn where_sigchld_is_ignored() {
    let ten = or_skip!("ignored SIGCHLD", ten());
    let uvale = &target::binaries().uvale;
    let run = |program: &str| {
        let script = format!("exec env --ignore-signal=CHLD \"$1\" run --private -- {program}");
        Said::of(&mut sh(&script, [uvale, &ten]))
    };
    run("\"$2\"").assert_code(0);
    run("sh -c 'exit 7'").assert_code(7);
    let ignored = run("grep SigIgn /proc/self/status").assert_code(0).out;
    let mask = ignored.split_whitespace().nth(1).expect("a mask");
    let mask = u64::from_str_radix(mask, 16).expect("hexadecimal");
    assert!(
        mask & 1 << 16 != 0,
        "the program has SIGCHLD ignored: {ignored}"
    );
}

/// What the program's environment becomes after its start decides nothing: the world is the one it was started in.
#[test]
fn a_cleared_environment_keeps_the_world() {
    let ten = or_skip!("cleared environment", ten());
    for script in [
        "\"$1\" fork",
        "\"$1\" hold & sleep 0; \"$1\" clear; wait $!",
    ] {
        // The receiver of the second has to be there first: it says so.
        let script = script.replace(
            "& sleep 0;",
            ">$2 & while [ ! -s $2 ]; do sleep 0.02; done;",
        );
        let place = compat_tests::place::Place::empty();
        let mut command = uvale(["run", "--private", "--", "sh", "-c", &script, "sh"]);
        command
            .arg(&ten)
            .arg(place.file("said"))
            .env("XDG_RUNTIME_DIR", place.dir());
        Said::of(&mut command).assert_code(0);
        assert!(
            !place.dir().join("uvale").exists(),
            "a daemon of the default world"
        );
    }
}
