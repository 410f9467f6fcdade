//! Static programs and those of Go that a preloaded program starts: what they find, and what is said of it.

use std::path::PathBuf;
use std::process::Command;

use compat_tests::made::{exchange, exchange_with_c, folder, statically, statically_of};
use compat_tests::place::{Place, set_mode};
use compat_tests::programs::program;
use compat_tests::said::Said;
use compat_tests::{Skip, apps, or_skip, target};

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

/// What the person is told.
const LINE: &str = "is static and finds no /dev/netmap: ";

#[test]
fn whoever_starts_them() {
    let alone = or_skip!("static program", alone(true));
    let place = Place::new();
    let name = alone.file_name().expect("a name").to_string_lossy();
    let path = std::env::var("PATH").unwrap_or_default();
    let folder = alone.parent().expect("a folder").to_string_lossy();
    let path = format!("{folder}:{path}");
    let alone = alone.to_string_lossy();
    for (starter, words) in STARTERS {
        if starter != "sh" && !has(starter) {
            compat_tests::report_skip(starter, &Skip::optional(format!("no {starter}")));
            continue;
        }
        // by its path, and found in PATH
        for program in [&*alone, &*name] {
            let words = [words, &[program, "0"]].concat();
            let start = |options: &[&str]| {
                let mut command = run(&place, options, &words);
                Said::of(command.env("PATH", &path)).assert_code(0)
            };
            let said = start(&["-v1"]);
            assert!(said.out.contains("filtered=0"), "{words:?}: {}", said.out);
            assert_eq!(said.err.matches(LINE).count(), 1, "{words:?}: {}", said.err);
            let said = start(&["-v1", "--reach=notify"]);
            assert!(said.out.contains("filtered=1"), "{words:?}: {}", said.out);
            assert!(said.err.is_empty(), "{words:?}: {}", said.err);
        }
    }
    place.assert_left_clean();
}

/// All functions that execute, with arguments of all places; also what a script of such a program is run by.
#[test]
fn however_they_are_executed() {
    let alone = or_skip!("static program", alone(true));
    let execs = or_skip!("C compiler", program("reach/execs"));
    let place = Place::new();
    let [alone, execs] = [alone, execs].map(|path| path.to_string_lossy().into_owned());
    let script = place.file("script");
    std::fs::write(&script, format!("#! {alone}\n")).expect("the folder can be written");
    set_mode(&script, 0o755);
    let script = script.to_string_lossy();
    let ways = [
        "execl", "execle", "execlp", "fexecve", "execveat", "opened", "relative",
    ];
    for how in ways {
        for (program, args) in [(&*alone, 9), (&script, 10)] {
            let mut command = run(&place, &["-v1"], &[&execs, how, program]);
            // It says nothing of who serves.
            command.env("UVALE_REACH_DIR", place.dir());
            let said = Said::of(&mut command).assert_code(0);
            let args = format!("args={args} ");
            assert!(said.out.contains(&args), "{how} {program}: {}", said.out);
            assert_eq!(
                said.err.matches(LINE).count(),
                1,
                "{how} {program}: {}",
                said.err
            );
        }
    }
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
        let said = Said::of(&mut run(&place, &["--reach=notify"], &words)).assert_code(0);
        assert!(
            said.out.contains("end n=200"),
            "{receiver} {sender}: {}",
            said.out
        );
        let _ = std::fs::remove_file(&*ready);
    }
    place.assert_left_clean();
}

/// Nothing is said of programs that do not name the device, nor to those who have asked for a way or for silence.
#[test]
fn of_others_nothing_is_said() {
    let [ordinary, device] = [false, true].map(alone);
    let (ordinary, device) = (
        or_skip!("static program", ordinary),
        or_skip!("static program", device),
    );
    let place = Place::new();
    for (options, program) in [
        (&["-v1"][..], &ordinary),
        (&["-v0"], &device),
        (&["-q"], &device),
        (&["-v1", "--reach=preload"], &device),
    ] {
        let program = program.to_string_lossy();
        let mut command = run(
            &place,
            options,
            &["sh", "-c", "\"$0\" 0; exit $?", &program],
        );
        let said = Said::of(&mut command).assert_code(0);
        assert!(said.out.contains("filtered=0"), "{options:?}: {}", said.out);
        assert!(said.err.is_empty(), "{options:?}: {}", said.err);
    }
    place.assert_left_clean();
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
