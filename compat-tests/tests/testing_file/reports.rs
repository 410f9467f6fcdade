//! What is run, what is reported of it, to people and to CI.

use roxmltree::Document;
use serde_json::Value;

use super::*;

/// One case that passes, one that fails, one whose program is not there.
fn three() -> String {
    let case = |name: &str, rest: &str| format!("[[cases]]\nname = '{name}'\n{rest}\n");
    let passes = "[{ send = \"lan\", frame = { udp.dstport = 7, data = \"x\" } }, \
                  { expect = \"wan\", same_as = \"lan\" }]";
    let fails = "[{ send = \"lan\", frame = { ip.ttl = 64, udp.dstport = 7 } },\n\
                 { expect = \"wan\", same_as = \"lan\", change = { ip.ttl = 63 } }]";
    let hostile = "it <fails> & \"says\" ]]> why";
    [
        format!("timeout = \"2s\"\nquiet = \"10ms\"\n{JOINED}"),
        case("it passes", &format!("steps = {passes}")),
        case(hostile, &format!("steps = {fails}")),
        case(
            "no program",
            &format!("programs = [{{ run = [\"/nosuch/program\"] }}]\nsteps = {passes}"),
        ),
    ]
    .concat()
}

#[test]
fn ids_are_listed_and_chosen() {
    let folder = Folder::new();
    let text = format!(
        "repeat = 2\n[matrix]\nmode = [\"swap\", \"copy\"]\n{JOINED}[[cases]]\nname = \"a\"\n\
         steps = [{{ run = ['true'] }}]\n\
         [[cases]]\nname = \"ab\"\nrepeat = 1\nmatrix.mode = [\"none\"]\nsteps = [{{ run = ['true'] }}]\n"
    );
    folder.write("f.toml", text);
    let list = |args: &[&str]| {
        let said = folder
            .test(&[&["f.toml", "--list"], args].concat())
            .assert_code(0);
        said.out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let all = [
        "f/a [mode=swap] #1",
        "f/a [mode=swap] #2",
        "f/a [mode=copy] #1",
        "f/a [mode=copy] #2",
    ];
    assert_eq!(list(&[])[..4], all);
    assert_eq!(list(&[]).len(), 5);
    assert_eq!(list(&["--only", "f/a [mode=copy]"]), all[2..]);
    assert_eq!(list(&["--only", "copy] #2"]), all[3..]);
    assert_eq!(list(&["--only", "f/ab"]), ["f/ab [mode=none]"]);
    assert_eq!(list(&["--only", "a*none"]), ["f/ab [mode=none]"]);
    assert_eq!(
        list(&["--set", "mode=x", "--repeat", "1"]),
        ["f/a [mode=x]", "f/ab [mode=x]"]
    );
    let json = folder
        .test(&["f.toml", "--list", "--json", "--only", "f/ab"])
        .assert_code(0);
    assert_eq!(json.out, "[\"f/ab [mode=none]\"]\n");
}

#[test]
fn everybody_is_told_what_came_of_each_case() {
    let folder = Folder::new();
    folder.write("f.toml", three());
    let said = folder
        .test(&["f.toml", "--junit", "results.xml"])
        .assert_code(1);
    folder.assert_swept();
    for part in [
        "passed  f/it passes  ",
        "FAILED  f/it <fails> & \"says\" ]]> why  ",
        "ip.ttl",
        "ERROR   f/no program  ",
        "/nosuch/program",
        "1 passed, 1 failed, 1 with errors in ",
    ] {
        assert!(said.out.contains(part), "no {part:?} in: {}", said.out);
    }
    assert!(!said.out.contains("os error"), "{}", said.out);
    assert!(!said.out.contains('\x1b'), "no colours in a pipe");

    let xml = read(&folder.path("results.xml"));
    let document = Document::parse(&xml).expect("well-formed XML");
    let root = document.root_element();
    for (name, count) in [("tests", "3"), ("failures", "1"), ("errors", "1")] {
        assert_eq!(root.attribute(name), Some(count), "{xml}");
    }
    let case = |name: &str| {
        let is = |n: &roxmltree::Node<'_, '_>| {
            n.attribute("name") == Some(name) && n.has_tag_name("testcase")
        };
        document
            .descendants()
            .find(is)
            .unwrap_or_else(|| panic!("no {name}: {xml}"))
    };
    let failed = case("it <fails> & \"says\" ]]> why");
    assert_eq!(failed.attribute("classname"), Some("f"));
    let failure = failed
        .children()
        .find(|n| n.has_tag_name("failure"))
        .expect("a failure");
    let text = failure.text().unwrap_or_default();
    assert!(
        text.contains("ip.ttl") && text.contains("again: uvale test f.toml --only"),
        "{text}"
    );
    assert!(
        case("no program")
            .children()
            .any(|n| n.has_tag_name("error"))
    );
    assert!(
        !case("it passes")
            .children()
            .any(|n| n.is_element() && !n.has_tag_name("system-out"))
    );

    // what is kept: a folder for each that did not pass, with what was sent
    let kept: Vec<_> = std::fs::read_dir(folder.path("uvale-test.failed"))
        .expect("kept")
        .flatten()
        .collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let failed = kept
        .iter()
        .find(|entry| entry.file_name().to_string_lossy().contains("fails"));
    let names: Vec<_> = std::fs::read_dir(failed.expect("its folder").path())
        .expect("a folder")
        .flatten()
        .collect();
    let has = |name: &str| names.iter().any(|entry| entry.file_name() == name);
    assert!(
        has("run.json") && has("lan.sent.pcapng") && has("wan.received.pcapng"),
        "{names:?}"
    );

    // the command that it prints runs this one again
    let commands = said
        .out
        .lines()
        .filter_map(|line| line.trim().strip_prefix("again: uvale test "));
    let again = commands
        .into_iter()
        .find(|command| command.contains("fails"));
    let again = again.expect("the command").to_owned();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("exec \"$UVALE\" test {again}")])
        .current_dir(folder.path("."));
    shell
        .env("UVALE", &binaries().uvale)
        .env("TMPDIR", folder.path("tmp"))
        .env_remove("UVALE_DIR");
    let again = Said::of(&mut shell).assert_code(1);
    assert!(
        again.out.contains("0 passed, 1 failed in "),
        "{}",
        again.out
    );
}

#[test]
fn the_same_as_json() {
    let folder = Folder::new();
    folder.write("f.toml", three());
    let said = folder
        .test(&["f.toml", "--json", "--seed", "9", "--keep", "here"])
        .assert_code(1);
    let summary: Value = serde_json::from_str(&said.out).expect("one JSON object");
    assert_eq!(
        (&summary["passed"], &summary["failed"], &summary["errors"]),
        (&1.into(), &1.into(), &1.into())
    );
    assert_eq!(summary["seed"], 9);
    let runs = summary["runs"].as_array().expect("runs");
    let of = |result: &str| {
        runs.iter()
            .find(|run| run["result"] == result)
            .expect(result)
    };
    assert_eq!(
        (&of("passed")["kept"], &of("passed")["why"]),
        (&Value::Null, &Value::Null)
    );
    let lines = three();
    let line = lines
        .lines()
        .position(|line| line.contains("change"))
        .map(|at| at + 1);
    assert_eq!(
        of("failed")["line"].as_u64(),
        line.map(|line| line as u64),
        "{summary}"
    );
    let kept = of("failed")["kept"].as_str().expect("a path");
    assert!(
        kept.starts_with("here/") && folder.path(kept).is_dir(),
        "{kept}"
    );
    assert!(said.err.contains("passed  f/it passes"), "{}", said.err);
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    if Command::new("script").arg("--version").output().is_err() {
        println!("skipped: no script(1)");
        return;
    }
    let folder = Folder::new();
    folder.write(
        "f.toml",
        "[[cases]]\nname = \"x\"\nsteps = [{ run = ['true'] }]\n",
    );
    for (variable, value, has_colours) in [
        ("TERM", "xterm", true),
        ("NO_COLOR", "1", false),
        ("TERM", "dumb", false),
    ] {
        let mut command = Command::new("script");
        command
            .args(["-qec", "\"$UVALE\" test f.toml", "/dev/null"])
            .current_dir(folder.path("."));
        command
            .env("UVALE", &binaries().uvale)
            .env("TMPDIR", folder.path("tmp"))
            .env_remove("UVALE_DIR");
        command
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .env(variable, value)
            .stdin(Stdio::null());
        let said = Said::of(&mut command);
        assert!(said.out.contains("passed"), "{}{}", said.out, said.err);
        assert_eq!(
            said.out.contains("\x1b[32m"),
            has_colours,
            "{variable}={value}: {}",
            said.out
        );
    }
}

#[test]
fn what_cannot_be_prepared_is_not_run() {
    let folder = Folder::new();
    folder.write(
        "bad.toml",
        "prepare = [[\"true\"], [\"sh\", \"-c\", \"echo no compiler >&2; exit 3\"], [\"touch\", \"never\"]]\n\
         [[cases]]\nname = \"x\"\nsteps = [{ run = ['true'] }]\n",
    );
    folder.write(
        "good.toml",
        "prepare = [[\"touch\", \"prepared\"]]\n[[cases]]\nname = \"x\"\nsteps = [{ run = ['true'] }]\n",
    );
    let said = folder.test(&["bad.toml", "good.toml"]).assert_code(1);
    assert!(said.out.contains("1 passed, 1 with errors"), "{}", said.out);
    for part in [
        "ERROR   bad/x",
        "prepare: sh -c 'echo no compiler >&2; exit 3': exit status: 3",
        "no compiler",
    ] {
        assert!(said.out.contains(part), "no {part:?} in: {}", said.out);
    }
    assert!(folder.path("prepared").exists() && !folder.path("never").exists());
    // only the files that something is run of are prepared
    std::fs::remove_file(folder.path("prepared")).expect("it was there");
    folder
        .test(&["bad.toml", "good.toml", "--only", "bad/x"])
        .assert_code(1);
    assert!(!folder.path("prepared").exists());
}

/// Runs a case behind a bad wire so often with each of two seeds: the same each time, and another with another seed.
fn repeated(times: u64) {
    let folder = Folder::new();
    let text = "repeatable = true\n[ports.lan]\n\
                link = { loss = \"10%\", duplicate = \"5%\", corrupt = \"5%\", reorder = \"5%\" }\n[ports.wan]\n\
                [[programs]]\nrun = [\"${env.UVALE}\", \"link\", \"${port.lan}\", \"${port.wan}\"]\n\
                [[cases]]\nname = \"lossy\"\nsteps = [\n\
                { send = \"lan\", gen = \"-n 100 -s 10.0.0.1:1-100\" },\n\
                { expect = \"wan\", count = \">=70\" },\n]\n";
    folder.write("f.toml", text);
    let digests = |seed: &str| {
        let said = folder
            .test(&[
                "f.toml",
                "--json",
                "--seed",
                seed,
                "--repeat",
                &times.to_string(),
            ])
            .assert_code(0);
        let summary: Value = serde_json::from_str(&said.out).expect("one JSON object");
        let runs = summary["runs"].as_array().expect("runs").clone();
        let all: Vec<String> = runs
            .iter()
            .map(|run| run["digest"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(
            (summary["passed"].as_u64(), all.len()),
            (Some(times), times as usize),
            "{}",
            said.err
        );
        assert!(
            all.iter()
                .all(|digest| !digest.is_empty() && *digest == all[0]),
            "{all:?}"
        );
        all[0].clone()
    };
    assert_eq!(digests("5"), digests("5"));
    assert_ne!(digests("5"), digests("6"));
}

#[test]
fn repetitions_behind_a_bad_wire_are_the_same() {
    repeated(20);
}

#[test]
#[ignore = "takes minutes: the long form of the test above"]
fn a_thousand_repetitions_behind_a_bad_wire_are_the_same() {
    repeated(1000);
}

/// Like `| head`: who has read enough of the lines has not read all that is to be known.
#[test]
fn a_reader_that_goes_costs_no_result() {
    let folder = Folder::new();
    folder.write("f.toml", three());
    for args in [&[][..], &["--json"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command =
            folder.command(&[&["f.toml", "--jobs", "1", "--junit", "results.xml"], args].concat());
        Said::of(command.stdout(writer)).assert_code(1);
        let xml = read(&folder.path("results.xml"));
        for part in ["tests=\"3\"", "failures=\"1\"", "errors=\"1\""] {
            assert!(xml.contains(part), "no {part} in: {xml}");
        }
        std::fs::remove_file(folder.path("results.xml")).expect("it was there");
    }
}

#[test]
fn what_this_machine_cannot_run_is_skipped_unless_that_is_an_error() {
    let folder = Folder::new();
    let text =
        "[ports.lan]\nkind = \"nic\"\n[[cases]]\nname = \"x\"\nsteps = [{ nothing = \"lan\" }]\n";
    folder.write("f.toml", text);
    // without ip(8) there are no interfaces
    let test = |args: &[&str]| Said::of(folder.command(args).env("PATH", "/nosuch"));
    let said = test(&["f.toml"]).assert_code(0);
    assert!(
        said.out.contains("skipped  f/x: ") && said.out.contains("0 passed, 1 skipped in "),
        "{}",
        said.out
    );
    let said = test(&["f.toml", "--no-skip"]).assert_code(1);
    for part in [
        "ERROR   f/x  ",
        "skipped, which --no-skip does not allow: ",
        "again: uvale test f.toml --only f/x --seed 1 --no-skip",
        "0 passed, 1 with errors in ",
    ] {
        assert!(said.out.contains(part), "no {part:?} in: {}", said.out);
    }
}

/// `$${` is `${` for programs and steps, wherever it is filled in.
#[test]
fn names_can_be_escaped() {
    let folder = Folder::new();
    let script = "test \"$0\" = '$''{port.lan}' && test \"$TEXT\" = '$''{x}' && test -n \"$1\" && echo '$''{said}'";
    let text = format!(
        "timeout = \"300s\"\nquiet = \"10ms\"\n[ports.lan]\n[ports.wan]\n[[programs]]\nname = \"joined\"\n\
         run = [\"sh\", \"-c\", '{}', \"$${{port.nosuch}}\", \"${{port.lan}}\", \"${{port.wan}}\"]\n\
         [[programs]]\nname = \"escapes\"\nstatus = 0\n\
         run = [\"sh\", \"-c\", \"\"\"{script}\"\"\", \"$${{port.lan}}\", \"${{port.wan}}\"]\n\
         opens = []\nenv.TEXT = \"$${{x}}\"\n\
         [[cases]]\nname = \"x\"\nsteps = [\n\
         {{ prints = \"escapes\", text = \"$${{said}}\" }},\n\
         {{ run = [\"sh\", \"-c\", \"\"\"test \"$0\" = '$''{{port.lan}}'\"\"\", \"$${{port.lan}}\"] }},\n\
         {{ send = \"lan\", frame = {{ udp.dstport = 9, data = \"$${{a}}\" }} }},\n\
         {{ expect = \"wan\", filter = 'data contains \"$${{a}}\"', fields = {{ data.hex = \"247b617d\" }} }},\n]\n",
        "exec \"$UVALE\" link \"$1\" \"$2\"",
    );
    folder.write("f.toml", text);
    folder.test(&["f.toml"]).assert_code(0);
}
