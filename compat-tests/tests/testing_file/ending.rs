//! Signals, children that die, disks that are full: what is complete is kept, and nothing goes on.

use std::path::PathBuf;

use compat_tests::wait::wait_for;
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip};
use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// Processes whose environment has the folder's temporary one, this test's own left out.
fn processes(folder: &Folder) -> Vec<(i32, String)> {
    let mark = format!("TMPDIR={}", folder.path("tmp").display());
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let with_mark = ids.filter_map(|id| {
        let read = |name: &str| std::fs::read(PathBuf::from(format!("/proc/{id}/{name}"))).ok();
        let environment = read("environ")?;
        let has_mark = environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == mark.as_bytes());
        let line = read("cmdline")?;
        (has_mark && !line.is_empty())
            .then(|| (id, String::from_utf8_lossy(&line).replace('\0', " ")))
    });
    with_mark.collect()
}

fn assert_nobody_is_left(folder: &Folder) {
    let left = || processes(folder);
    wait_for(
        &format!("the end of all processes in {}", folder.path("").display()),
        || left().is_empty(),
    );
    folder.assert_swept();
}

/// Steps of a case that passes.
const NO_MORE: &str = "[{ run = ['true'] }]";

/// Two cases that pass, and two that wait for what never comes, with programs that note that they run.
fn waiting() -> String {
    let case = |name: &str, steps: &str| format!("[[cases]]\nname = \"{name}\"\nsteps = {steps}\n");
    let waits = "[{ run = [\"touch\", \"waits-here\"] }, { expect = \"wan\" }]";
    [
        format!("timeout = \"300s\"\nquiet = \"10ms\"\n{JOINED}"),
        case("first", NO_MORE),
        case("second", NO_MORE),
        case("third", &waits.replace("here", "third")),
        case("fourth", &waits.replace("here", "fourth")),
        case("fifth", NO_MORE),
    ]
    .concat()
}

#[test]
fn a_signal_ends_everything_and_what_is_done_is_reported() {
    for (signal, number) in [(Signal::INT, 2), (Signal::TERM, 15)] {
        let folder = Folder::new();
        folder.write("f.toml", waiting());
        let command = folder.command(&["f.toml", "--jobs", "2", "--junit", "results.xml"]);
        let mut test = Program::start("uvale test", command);
        let is_waiting = |name: &str| folder.path(&format!("waits-{name}")).exists();
        wait_for("two cases that wait", || {
            is_waiting("third") && is_waiting("fourth")
        });
        let running = processes(&folder);
        assert!(
            running.iter().any(|(_, line)| line.contains(" link ")),
            "{running:?}"
        );
        test.signal(signal);
        assert_eq!(test.wait().code(), Some(128 + number), "{}", test.said());
        assert_nobody_is_left(&folder);
        let said = test.said();
        assert!(
            said.contains("passed  f/first") && said.contains("passed  f/second"),
            "{said}"
        );
        assert!(
            said.contains("2 passed in") && said.contains("interrupted, 5 were to run"),
            "{said}"
        );
        assert!(
            !said.contains("fifth") && !folder.path("uvale-test.failed").exists(),
            "{said}"
        );
        let xml = read(&folder.path("results.xml"));
        let document = roxmltree::Document::parse(&xml).expect("well-formed XML");
        assert_eq!(
            document.root_element().attribute("tests"),
            Some("2"),
            "{xml}"
        );
    }
}

#[test]
fn a_signal_ends_what_prepares() {
    let folder = Folder::new();
    let text = "prepare = [[\"sh\", \"-c\", \"touch begun; sleep 1000 & wait\"], [\"touch\", \"never\"]]\n\
                [[cases]]\nname = \"x\"\nsteps = [{ run = ['true'] }]\n";
    folder.write("f.toml", text);
    let mut test = Program::start("uvale test", folder.command(&["f.toml"]));
    wait_for("what prepares", || folder.path("begun").exists());
    test.signal(Signal::INT);
    assert_eq!(test.wait().code(), Some(130), "{}", test.said());
    assert_nobody_is_left(&folder);
    let said = test.said();
    assert!(
        said.contains("0 passed in") && said.contains("interrupted, 1 were to run"),
        "{said}"
    );
    assert!(!folder.path("never").exists());
}

#[test]
fn a_killed_command_leaves_nobody() {
    let folder = Folder::new();
    folder.write("f.toml", waiting());
    let mut test = Program::start("uvale test", folder.command(&["f.toml", "--jobs", "2"]));
    wait_for("two cases that wait", || {
        folder.path("waits-third").exists() && folder.path("waits-fourth").exists()
    });
    test.signal(Signal::KILL);
    test.wait();
    wait_for("the end of all processes", || processes(&folder).is_empty());
    let is_left = || {
        let entries = std::fs::read_dir(folder.path("tmp")).expect("it is there");
        let mut names = entries.flatten().map(|entry| entry.file_name());
        names.any(|name| name.to_string_lossy().starts_with("uvale-test-"))
    };
    wait_for("the end of its folder", || !is_left());
    // one that its runs could not remove goes with the next command
    let left = folder.path("tmp").join("uvale-test-aaaaaa");
    std::fs::create_dir(&left).expect("it is made");
    std::fs::write(left.join("running"), "").expect("it is written");
    folder.test(&["f.toml", "--only", "f/first"]).assert_code(0);
    assert!(!is_left());
}

#[test]
fn a_child_that_is_killed_costs_its_case_alone() {
    let folder = Folder::new();
    folder.write(
        "f.toml",
        waiting().replace(
            "[{ run = [\"touch\", \"waits-fourth\"] }, { expect = \"wan\" }]",
            NO_MORE,
        ),
    );
    let mut test = Program::start("uvale test", folder.command(&["f.toml", "--jobs", "1"]));
    wait_for("the case that waits", || {
        folder.path("waits-third").exists()
    });
    let runs =
        |(_, line): &&(i32, String)| line.contains(" test-run") && !line.contains("--inside");
    let all = processes(&folder);
    let (id, _) = all.iter().find(runs).unwrap_or_else(|| panic!("{all:?}"));
    kill_process(Pid::from_raw(*id).expect("a process"), Signal::KILL).expect("it is there");
    assert_eq!(test.wait().code(), Some(1), "{}", test.said());
    assert_nobody_is_left(&folder);
    let said = test.said();
    assert!(
        said.contains("ERROR   f/third") && said.contains("signal: 9"),
        "{said}"
    );
    assert!(said.contains("4 passed, 1 with errors"), "{said}");
}

#[test]
fn the_first_failure_is_the_last_case_if_that_is_wanted() {
    let folder = Folder::new();
    let text = "timeout = \"50ms\"\n[ports.lan]\n[[cases]]\nname = \"a\"\nsteps = [{ expect = \"lan\" }]\n\
                [[cases]]\nname = \"b\"\nsteps = [{ run = ['true'] }]\n";
    folder.write("f.toml", text);
    let said = folder
        .test(&["f.toml", "--jobs", "1", "--fail-fast"])
        .assert_code(1);
    assert!(
        said.out.contains("0 passed, 1 failed in") && !said.out.contains("f/b"),
        "{}",
        said.out
    );
    let said = folder.test(&["f.toml", "--jobs", "1"]).assert_code(1);
    assert!(said.out.contains("1 passed, 1 failed in"), "{}", said.out);
}

#[test]
fn results_that_cannot_be_written_are_said_and_the_others_are_there() {
    let folder = Folder::new();
    folder.write(
        "f.toml",
        "[[cases]]\nname = \"x\"\nsteps = [{ run = ['true'] }]\n",
    );
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let mut command = folder.command(&["f.toml", "--junit", "results.xml"]);
    let said = Said::of(command.stdout(full)).assert_code(1);
    said.assert_says("cannot write to standard output: No space left on device");
    let xml = read(&folder.path("results.xml"));
    assert!(
        xml.contains("tests=\"1\"") && xml.contains("failures=\"0\""),
        "{xml}"
    );
}

#[test]
fn a_full_disk_costs_no_result() {
    let probe = Command::new("unshare").args(["-rm", "true"]).status();
    let may_mount = match probe {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Skip::required("unshare -rm is not permitted")),
    };
    or_skip!("a full disk", may_mount);
    let folder = Folder::new();
    let text = "timeout = \"50ms\"\n[ports.lan]\n[[cases]]\nname = \"a\"\n\
                steps = [{ send = \"lan\", gen = \"-l 1500 -n 200\" }, { expect = \"lan\" }]\n\
                [[cases]]\nname = \"b\"\nsteps = [{ run = ['true'] }]\n";
    folder.write("f.toml", text);
    std::fs::create_dir(folder.path("disk")).expect("a folder");
    // JUnit and what is kept on a disk with room for the one and not for the other; then for neither
    for (room, has_junit) in [(16, true), (0, false)] {
        let script = "mount -t tmpfs -o size=64k small disk && { head -c $((65536 - $0 * 1024)) /dev/zero > disk/fill; \
                      \"$UVALE\" test f.toml --keep disk/kept --junit disk/results.xml; s=$?; \
                      cp disk/results.xml copy.xml; ls -A disk/kept; exit $s; }";
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", script, &room.to_string()]);
        command
            .current_dir(folder.path("."))
            .env("TMPDIR", folder.path("tmp"))
            .env("UVALE", &binaries().uvale);
        let said = Said::of(command.env_remove("UVALE_DIR").stdin(Stdio::null())).assert_code(1);
        if !has_junit {
            said.assert_says("--junit disk/results.xml: No space left on device");
            continue;
        }
        assert!(
            said.out.contains("1 passed, 1 failed in"),
            "{}{}",
            said.out,
            said.err
        );
        assert!(
            said.out.contains("No space left on device"),
            "{}{}",
            said.out,
            said.err
        );
        let kept = said
            .out
            .lines()
            .find_map(|line| line.trim().strip_prefix("kept: "))
            .expect("a place");
        assert!(
            std::path::Path::new(kept).join("run.json").is_file(),
            "{}",
            said.out
        );
        let xml = read(&folder.path("copy.xml"));
        assert!(
            xml.contains("tests=\"2\"") && xml.trim_end().ends_with("</testsuites>"),
            "{xml}"
        );
    }
}
