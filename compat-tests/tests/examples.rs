//! The examples of nm-user, and the bridge in C: `uvale test` passes their cases, and fails them if the function is
//! broken.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use compat_tests::place::Place;
use compat_tests::{Skip, report_skip, target};
use serde_json::Value;

/// Texts of a file, and what is put in their places.
type Changes = &'static [(&'static str, &'static str)];

/// Each file, and what breaks its function.
const FILES: [(&str, Changes); 9] = [
    // each packet is a byte short
    (
        "docs/examples/bridge.toml",
        &[
            (
                r#""cc", "-O2", "-I", "include", "-o", "${env.CARGO_TARGET_DIR:-target}/bridge", "#,
                r#""sh", "-c", "sed 's/= full->len;/= full->len - 1;/' $1 | cc -I include -o $0 -x c -",
                   "${env.CARGO_TARGET_DIR:-target}/bridge-broken", "#,
            ),
            (
                r#"/bridge", "${port.a}""#,
                r#"/bridge-broken", "${port.a}""#,
            ),
        ],
    ),
    (
        "nm-abi/user/examples/bridge.toml",
        &[(r#"bridge""#, r#"firewall""#)],
    ),
    (
        "nm-abi/user/examples/firewall.toml",
        &[(r#""udp/53", "tcp/80@10.0.0.0/24", "icmp","#, "")],
    ),
    (
        "nm-abi/user/examples/nat.toml",
        &[("\"198.51.100.1\",\n]", "\"198.51.100.2\",\n]")],
    ),
    (
        "nm-abi/user/examples/balancer.toml",
        &[(
            r#""02:00:00:00:00:0a", "02:00:00:00:00:0b","#,
            r#""02:00:00:00:00:0a","#,
        )],
    ),
    (
        "nm-abi/user/examples/limiter.toml",
        &[("burst = [10]", "burst = [11]")],
    ),
    (
        "nm-abi/user/examples/ids.toml",
        &[(r#""shell=/bin/sh""#, r#""shell=/bin/zsh""#)],
    ),
    (
        "nm-abi/user/examples/dns.toml",
        &[("mail.example=192.0.2.25", "mail.example=192.0.2.26")],
    ),
    (
        "nm-abi/user/examples/tcp_echo.toml",
        &[(r#""10.0.0.7/24", "7"]"#, r#""10.0.0.7/24", "8"]"#)],
    ),
];

/// What `uvale test` says of a file: its exit status, and its report.
fn tested(file: &Path, options: &[&str]) -> (Option<i32>, Value) {
    let (binaries, place) = (target::binaries(), Place::empty());
    let mut command = Command::new(&binaries.uvale);
    command.arg("test").arg(file).args(options).arg("--json");
    command.arg("--keep").arg(place.dir().join("kept"));
    command.env("NMSHIM", &binaries.shim);
    command.env("CARGO_TARGET_DIR", target::target_dir());
    let output = command.current_dir(target::workspace()).output();
    let output = output.expect("uvale starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{}: {e}\n{said}", file.display()));
    (output.status.code(), report)
}

/// Why runs of a report had this result.
fn reasons(report: &Value, result: &str) -> Vec<String> {
    let runs = report["runs"].as_array().expect("a list of runs");
    let those = runs.iter().filter(|run| run["result"] == result);
    those
        .map(|run| format!("{}: {}", run["id"], run["why"].as_str().unwrap_or_default()))
        .collect()
}

#[test]
fn they_pass() {
    for (file, _) in FILES {
        let (status, report) = tested(Path::new(file), &[]);
        for why in reasons(&report, "skipped") {
            report_skip(file, &Skip::optional(why));
        }
        let wrong = [reasons(&report, "failed"), reasons(&report, "error")].concat();
        assert_eq!(wrong, Vec::<String>::new());
        assert_eq!(status, Some(0), "{file}");
        assert!(report["passed"].as_u64() > Some(0), "{file}");
    }
}

#[test]
fn they_fail_if_the_function_is_broken() {
    let place = Place::empty();
    for (number, (file, changes)) in FILES.into_iter().enumerate() {
        let mut text =
            std::fs::read_to_string(target::workspace().join(file)).expect("it is there");
        for (old, new) in changes {
            assert!(text.contains(old), "{file} has no {old}");
            text = text.replace(old, new);
        }
        // It is elsewhere, and programs run where they did.
        let dir = target::workspace().display();
        let lines = text.lines().map(|line| match line.starts_with("dir = ") {
            true => format!("dir = '{dir}'\n"),
            false => format!("{line}\n"),
        });
        let broken = place.dir().join(format!("broken{number}.toml"));
        std::fs::write(&broken, lines.collect::<String>()).expect("it can be written");
        let (status, report) = tested(&broken, &["--set", "kind=switch", "--fail-fast"]);
        assert_eq!(status, Some(1), "{file}: {report:#}");
        assert_ne!(
            reasons(&report, "failed"),
            Vec::<String>::new(),
            "{file}: {report:#}"
        );
        assert_eq!(reasons(&report, "error"), Vec::<String>::new(), "{file}");
    }
}

/// The README breaks a rule of the firewall with `sed`.
#[test]
fn the_readme_breaks_what_is_there() {
    let readme = std::fs::read_to_string(target::workspace().join("README.md")).expect("a README");
    let line = readme
        .lines()
        .find_map(|line| line.strip_prefix("$ sed -i "));
    let (script, file) = line.and_then(|line| line.rsplit_once(' ')).expect("sed");
    let mut command = Command::new("sed");
    command.args([script.trim_matches('\''), file]);
    let output = command.current_dir(target::workspace()).output();
    let changed = output.expect("sed starts").stdout;
    let changed = String::from_utf8(changed).expect("text");
    let source = std::fs::read_to_string(target::workspace().join(file)).expect("a source");
    let pairs = source.lines().zip(changed.lines());
    let different = pairs.filter(|(old, new)| old != new).count();
    assert_eq!(different, 1, "{script} {file}");
}

/// The README says what belongs to each example, and that no file is long.
#[test]
fn the_readme_says_what_to_copy() {
    let folder = target::workspace().join("nm-abi/user/examples");
    let text = |file: &str| {
        std::fs::read_to_string(folder.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
    };
    let readme = text("README.md");
    let rows = readme.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, example, shared, lines, _] = cells[..] else {
            return None;
        };
        Some((example, shared, lines.parse::<usize>().ok()?))
    });
    let mut count = 0;
    for (example, shared, lines) in rows {
        let source = text(example);
        let named = source
            .lines()
            .filter_map(|line| line.strip_prefix("    pub mod ")?.strip_suffix(';'));
        let named: Vec<&str> = named.collect();
        let of_shared = named
            .iter()
            .map(|name| text(&format!("shared/{name}.rs")).lines().count());
        let own = source.lines().count();
        assert!(own <= 250, "{example} has {own} lines");
        let said = match named[..] {
            [] => "nothing".to_owned(),
            _ => named.join(", "),
        };
        let total = own + of_shared.sum::<usize>();
        assert_eq!((shared, lines), (&*said, total), "{example}");
        count += 1;
    }
    // The bridge in C is elsewhere; `echo_tokio` has no cases.
    assert_eq!(count, FILES.len() - 1 + 1);
}

/// Every example has its cases, and every file of cases is here.
#[test]
fn none_is_forgotten() {
    let named = |ending: &str| -> BTreeSet<String> {
        let folder = target::workspace().join("nm-abi/user/examples");
        let files = std::fs::read_dir(folder).expect("a folder");
        let names = files.map(|file| {
            file.expect("a file")
                .file_name()
                .to_string_lossy()
                .into_owned()
        });
        names
            .filter_map(|name| Some(name.strip_suffix(ending)?.to_owned()))
            .collect()
    };
    let listed = FILES.iter().filter_map(|(file, _)| {
        Some(
            file.strip_prefix("nm-abi/user/examples/")?
                .strip_suffix(".toml")?
                .to_owned(),
        )
    });
    assert_eq!(named(".toml"), listed.collect());
    let mut programs = named(".rs");
    // needs a feature, and is run by the test `nm_user`
    assert!(programs.remove("echo_tokio"));
    assert_eq!(named(".toml"), programs);
}
