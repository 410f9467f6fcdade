//! Static programs and those of Go that a preloaded program starts: by whatever means, they find the device.

use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::made::{exchange, exchange_with_c, folder, statically, statically_of};
use compat_tests::place::Place;
use compat_tests::programs::{program, value};
use compat_tests::said::Said;
use compat_tests::wait::{deadline, until};
use compat_tests::world::Program;
use compat_tests::{Skip, apps, or_skip, target};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// `uvale run OPTIONS -- WORDS` in a place.
fn run(place: &Place, options: &[&str], words: &[&str]) -> Command {
    let mut command = Command::new(&target::binaries().uvale);
    command.arg("run").args(options).arg("--").args(words);
    command
        .env("UVALE_DIR", place.dir())
        .env_remove("LD_PRELOAD")
        .env_remove("NMSHIM_VERBOSE")
        .env_remove("CI");
    command
}

/// A static program that says how it was started; it names the device, or it does not.
fn alone(names_device: bool) -> Result<PathBuf, Skip> {
    let source = folder("reach").join("alone.c");
    match names_device {
        false => statically_of(&source, "alone"),
        true => {
            let flags = ["-O1", "-static", "-DDEVICE"];
            Ok(apps::compile_c(&source, "static-alone-device", &flags)?.path)
        }
    }
}

/// Is there that command?
fn has(command: &str) -> bool {
    let output = Command::new(command).arg("--version").output();
    output.is_ok_and(|output| output.status.success())
}

/// Ways to start a program: `$0` and its arguments.
const STARTERS: [(&str, &[&str]); 7] = [
    ("sh", &["sh", "-c", "\"$0\" \"$@\"; exit $?"]),
    ("sh", &["sh", "-c", "exec \"$0\" \"$@\""]),
    ("bash", &["bash", "-c", "\"$0\" \"$@\"; exit $?"]),
    ("env", &["env", "A=b"]),
    ("timeout", &["timeout", "600"]),
    (
        "python3",
        &[
            "python3",
            "-c",
            "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))",
        ],
    ),
    ("perl", &["perl", "-e", "exit(system(@ARGV) >> 8)"]),
];

/// A port, a packet, and the end.
const ONE: [&str; 4] = ["tx", "vale0:x", "n=1", "how=sync"];

#[test]
fn whoever_starts_them() {
    let whole = or_skip!("static program", statically("robust/traffic"));
    let place = Place::new();
    let mut programs = vec![whole];
    match exchange() {
        Ok(go) => programs.push(go),
        Err(skip) => compat_tests::report_skip("Go program", &skip),
    }
    for (name, starter) in STARTERS {
        if name != "sh" && !has(name) {
            compat_tests::report_skip(name, &Skip::optional(format!("no {name}")));
            continue;
        }
        for program in &programs {
            let program = program.to_string_lossy();
            let words = [starter, &[&*program], &ONE[..]].concat();
            let said = Said::of(&mut run(&place, &[], &words)).assert_code(0);
            assert!(said.out.contains("end n=1 "), "{starter:?}: {}", said.out);
            place.assert_nothing_left();
        }
    }
    // Found in PATH.
    let folder = programs[0]
        .parent()
        .expect("a folder")
        .to_string_lossy()
        .into_owned();
    let name = programs[0]
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let path = format!("{folder}:{}", std::env::var("PATH").unwrap_or_default());
    let words = [&["env", &*name][..], &ONE].concat();
    let said = Said::of(run(&place, &[], &words).env("PATH", path)).assert_code(0);
    assert!(said.out.contains("end n=1 "), "{}", said.out);
    place.assert_left_clean();
}

/// A script whose programs are of all kinds.
#[test]
fn they_exchange_packets() {
    let whole = or_skip!("static program", statically("robust/traffic"));
    let loaded = or_skip!("C compiler", program("traffic"));
    let go = or_skip!("Go program", exchange());
    let place = Place::new();
    let [whole, loaded, go] = [whole, loaded, go].map(|p| p.to_string_lossy().into_owned());
    for (receiver, sender) in [(&whole, &loaded), (&loaded, &go), (&go, &whole)] {
        let ready = place.file("ready");
        let ready = ready.to_string_lossy();
        let script = "\"$1\" rx 'vale0:p}1' how=poll gapless=1 n=20000 > \"$3\" & rx=$!
            until grep -q ready \"$3\"; do sleep 0.05; done
            \"$2\" tx 'vale0:p{1' how=poll n=0 & tx=$!
            wait $rx || exit; grep end \"$3\"
            kill $tx; wait $tx; true";
        let words = ["sh", "-c", script, "sh", receiver, sender, &ready];
        let said = Said::of(&mut run(&place, &[], &words)).assert_code(0);
        assert!(
            said.out.contains("end n=200"),
            "{receiver} {sender}: {}",
            said.out
        );
        let _ = std::fs::remove_file(&*ready);
    }
    place.assert_left_clean();
}

/// Names, arguments, statuses and signals are theirs.
#[test]
fn they_are_started_as_they_were_to_be() {
    let alone = or_skip!("static program", alone(true));
    let place = Place::new();
    let alone = alone.to_string_lossy();
    let start = |script: &str| Said::of(&mut run(&place, &[], &["bash", "-c", script, &alone]));
    if !has("bash") {
        return compat_tests::report_skip("bash", &Skip::optional("no bash"));
    }
    let said = start("(exec -a other \"$0\" a 'b c' 7); echo $?").assert_code(0);
    assert!(
        said.out.starts_with("args=4 name=other filtered=1 "),
        "{}",
        said.out
    );
    assert!(said.out.ends_with("\n7\n"), "{}", said.out);
    let said = start("\"$0\" kill; echo $?").assert_code(0);
    assert!(said.out.ends_with("\n137\n"), "{}", said.out);
    let said = start("\"$0\" term & sleep 0.5; kill $!; wait $!; echo $?").assert_code(0);
    assert!(said.out.ends_with("\n143\n"), "{}", said.out);
    // More arguments than are passed on: it is started all the same, and one line says what that means.
    let said =
        start("NMSHIM_VERBOSE=1 bash -c '\"$0\" $(seq 2000) 5' \"$0\"; echo $?").assert_code(0);
    assert!(said.out.contains("args=2002 "), "{}", said.out);
    said.assert_says(
        "is static: it is not served, and finds no /dev/netmap: it has more arguments",
    );
    place.assert_left_clean();
}

/// Others are left alone: those that do not name the device, those that are not to be served.
#[test]
fn others_are_left_alone() {
    let [ordinary, device] = [false, true].map(alone);
    let (ordinary, device) = (
        or_skip!("static program", ordinary),
        or_skip!("static program", device),
    );
    let place = Place::new();
    let start = |options: &[&str], program: &Path, script: &str| {
        let program = program.to_string_lossy();
        Said::of(&mut run(&place, options, &["sh", "-c", script, &program])).assert_code(0)
    };
    let said = start(&["-v1"], &ordinary, "\"$0\" 0");
    assert!(
        said.out.contains(" filtered=0 ") && said.err.is_empty(),
        "{} {}",
        said.out,
        said.err
    );
    let said = start(&[], &device, "\"$0\" 0");
    assert!(said.out.contains(" filtered=1 "), "{}", said.out);
    // The person wants the preload alone, and is told what that means if told anything.
    let line =
        "is static: it is not served, and finds no /dev/netmap: NMSHIM_REACH names another way";
    for (verbose, lines) in [("-v1", 1), ("-v0", 0)] {
        let said = start(&["--reach=preload", verbose], &device, "\"$0\" 0");
        assert!(said.out.contains(" filtered=0 "), "{}", said.out);
        assert_eq!(said.err.matches(line).count(), lines, "{}", said.err);
    }
    // Without an environment there is no shim for whoever is executed.
    let said = start(&["-v1"], &device, "env -i \"$0\" 0");
    assert!(
        said.out.contains(" filtered=0 ") && said.err.is_empty(),
        "{} {}",
        said.out,
        said.err
    );
    // Whoever is served from beside has no need.
    let said = start(
        &["--reach=notify"],
        &device,
        "LD_PRELOAD=libnmshim.so \"$0\" 0 2>/dev/null",
    );
    assert!(said.out.contains(" filtered=1 "), "{}", said.out);
    place.assert_left_clean();
}

/// Where the kernel cannot hand calls over, the program is started all the same.
#[test]
fn where_nobody_can_be_served() {
    let alone = or_skip!("static program", alone(true));
    let refuse = or_skip!("C compiler", program("reach/refuse"));
    let place = Place::new();
    let uvale = target::binaries().uvale.to_string_lossy().into_owned();
    let mut command = Command::new(&refuse);
    command.args([
        "notify",
        &uvale,
        "run",
        "-v1",
        "--",
        "sh",
        "-c",
        "\"$0\" 6; exit $?",
    ]);
    command
        .arg(&alone)
        .env("UVALE_DIR", place.dir())
        .env_remove("LD_PRELOAD");
    let said = Said::of(&mut command).assert_code(6);
    said.assert_says("has no user notification");
}

/// Whoever serves is killed, or the program is.
#[test]
fn kills() {
    let whole = or_skip!("static program", statically("robust/traffic"));
    let place = Place::new();
    let whole = whole.to_string_lossy();
    let script = "\"$0\" rx vale0:x how=poll & echo shell=$!; wait $!; echo status=$?";
    for is_program in [true, false] {
        let running = Program::start("script", run(&place, &[], &["sh", "-c", script, &whole]));
        let pid = |line: String, key| {
            let pid = value(&line, key).and_then(|pid| Pid::from_raw(pid as i32));
            pid.expect("a number of a process")
        };
        let serves = pid(
            running.wait_line("shell", |line| line.starts_with("shell=")),
            "shell",
        );
        let program = pid(
            running.wait_line("ready", |line| line.starts_with("ready")),
            "pid",
        );
        assert_ne!(serves, program, "served from beside");
        let whom = if is_program { program } else { serves };
        kill_process(whom, Signal::KILL).expect("it runs");
        let said = running.wait_success();
        assert!(said.contains("status=137"), "{said}");
        let is_gone = || test_kill_process(program).is_err().then_some(());
        assert!(until(deadline(), is_gone).is_some(), "it goes on");
        place.assert_left_clean();
    }
}

/// Go with C code, started by a preloaded program, is trapped by itself.
#[test]
fn go_with_c_code() {
    let cgo = or_skip!("cgo", exchange_with_c(&[]));
    let place = Place::new();
    let cgo = cgo.to_string_lossy();
    let script = "\"$0\" \"$@\"; exit $?";
    let words = [
        &["sh", "-c", script, &*cgo][..],
        &["tx", "vale0:x", "n=1", "how=sync"],
    ]
    .concat();
    let said = Said::of(&mut run(&place, &[], &words));
    if said.err.contains("cannot be trapped") {
        return compat_tests::report_skip("trapped calls", &Skip::required(said.err));
    }
    assert!(said.assert_code(0).out.contains("end n=1 "));
    // Unless the person wants the preload alone.
    let said = Said::of(&mut run(&place, &["--reach=preload"], &words)).assert_code(4);
    assert!(said.out.contains("open "), "{}", said.out);
    place.assert_left_clean();
}
