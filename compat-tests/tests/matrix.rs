//! All scenarios on every target that is there.

use std::path::Path;
use std::process::{Command, Stdio};

use compat_tests::matrix::layout::Layout;
use compat_tests::matrix::platform::Platform;
use compat_tests::matrix::scenario::{self, Work};
use compat_tests::matrix::{self, Outcome, Plan, expected, in_guest, junit, table};
use compat_tests::{Skip, or_skip, report_skip};

fn scenarios(layout: &Layout) -> Result<Vec<scenario::Scenario>, Skip> {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let there = std::process::Command::new(&compiler)
        .arg("--version")
        .output();
    there.map_err(|e| Skip::required(format!("no C compiler {compiler}: {e}")))?;
    Ok(scenario::all(layout).expect("the scenarios compile"))
}

#[test]
fn every_scenario_is_as_expected() {
    let layout = Layout::find();
    let scenarios = or_skip!("scenarios", scenarios(&layout));
    let plan = Plan {
        targets: Platform::usual(),
        scenarios,
        record: false,
    };
    let matrix =
        matrix::run(&layout, &plan, &mut |_, _| Ok(())).expect("expected facts are readable");
    let text = table::render(&matrix);
    assert!(!matrix.failed(), "\n{text}");
    for cell in &matrix.columns[0].cells {
        if let Outcome::Skipped(why) = &cell.outcome {
            report_skip(&cell.scenario, &Skip::optional(why.clone()));
        }
    }
    if std::env::var_os(in_guest::ENV_KMOD).is_some() {
        let guest = matrix.columns.iter().find(|c| c.target == "ptnet");
        let cell = guest.and_then(|c| c.cells.iter().find(|c| c.scenario == "interface"));
        let passed = cell.is_some_and(|c| matches!(c.outcome, Outcome::Pass { .. }));
        assert!(passed, "\n{text}");
    } else {
        let skip = Skip::optional(format!("{} not set", in_guest::ENV_KMOD));
        report_skip("scenarios in a guest", &skip);
    }
    let xml = junit::render(&matrix);
    let document = roxmltree::Document::parse(&xml).expect("well-formed XML");
    let suites = document
        .descendants()
        .filter(|n| n.has_tag_name("testsuite"));
    assert_eq!(suites.count(), matrix.columns.len());
}

/// Makes a veth pair in namespaces of its own; `$0` and what follows replaces it then.
const PAIR: &str = "set -e; mount -t sysfs none /sys; ip link add va type veth peer name vb
ip link set va up; ip link set vb up; exec \"$0\" \"$@\"";

fn on_a_pair() -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "sh", "-c", PAIR])
        .stdin(Stdio::null());
    command
}

fn can_make_a_pair() -> Result<(), Skip> {
    let output = on_a_pair().arg("true").output();
    let output = output.map_err(|e| Skip::optional(format!("no unshare: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(Skip::optional(format!(
        "no veth pair for us: {}",
        why.trim()
    )))
}

/// The target `nic:IFACE`, on one end of a veth pair.
#[test]
fn an_interface_is_as_expected() {
    or_skip!("scenarios on an interface", can_make_a_pair());
    or_skip!("scenarios on an interface", scenarios(&Layout::find()));
    let output = on_a_pair()
        .arg(env!("CARGO_BIN_EXE_compat-tests"))
        .args(["run", "--target", "nic:va", "--scenario", "interface"])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let has_run = said.contains("nic:va interface: pass");
    assert!(output.status.success() && has_run, "{output:?}");
}

/// The target `ptnet` without netmap's module: it is listed, and says what to do.
#[test]
fn a_guest_without_a_module_is_skipped_aloud() {
    or_skip!("scenarios in a guest", scenarios(&Layout::find()));
    let said = |args: &[&str], folder: Option<&Path>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_compat-tests"));
        command.args(args).env_remove(in_guest::ENV_KMOD);
        if let Some(folder) = folder {
            command.env(in_guest::ENV_KMOD, folder);
        }
        let output = command.stdin(Stdio::null()).output().expect("it starts");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let run = ["run", "--target", "ptnet", "--scenario", "interface"];
    for (args, line) in [
        (&["list"][..], "  ptnet    not here: "),
        (&run, "ptnet interface: skipped"),
    ] {
        let text = said(args, None);
        assert!(text.contains(line), "{text}");
        let hint = "NETMAP_KMOD names no folder with netmap.ko for a guest's kernel: compat-tests/README.md";
        assert!(text.contains(hint), "{text}");
    }
    let dir = std::env::temp_dir().join(format!("compat-kmod-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder of ours");
    let text = said(&run, Some(&dir));
    assert!(text.contains("NETMAP_KMOD: there is no "), "{text}");
    // A guest is started for this one, and its kernel says no.
    std::fs::write(dir.join("netmap.ko"), "no module").expect("a file of ours");
    let text = said(&run, Some(&dir));
    std::fs::remove_dir_all(&dir).expect("a folder of ours");
    if let Some((_, why)) = text.split_once("no guest: ") {
        return report_skip("scenarios in a guest", &Skip::required(why.trim()));
    }
    assert!(text.contains("no interface: insmod: "), "{text}");
    assert!(text.contains("whose kernel is "), "{text}");
}

/// A record says where it comes from, and each scenario has one.
#[test]
fn every_scenario_has_expected_facts() {
    let layout = Layout::find();
    for scenario in or_skip!("scenarios", scenarios(&layout)) {
        let platform = match scenario.needs {
            scenario::Needs::Switch => Platform::Kernel,
            scenario::Needs::Interface => Platform::Nic("any".into()),
        };
        let record = expected::record(&layout.expected(), &platform, &scenario.name);
        let record = record.unwrap_or_else(|| panic!("{} has no expected facts", scenario.name));
        let text = std::fs::read_to_string(&record.file).expect("a record is text");
        let first = text.lines().next().unwrap_or_default();
        assert!(
            first.starts_with("# derived from source") || first.starts_with("# recorded"),
            "{}: the first line says where the facts come from",
            record.file.display()
        );
        if matches!(scenario.work, Work::Facts { .. }) {
            assert!(!record.facts.contains_key("stopped"), "{}", scenario.name);
        }
    }
}

/// Expected facts and known differences that no scenario has are leftovers.
#[test]
fn nothing_is_expected_of_scenarios_that_are_gone() {
    let layout = Layout::find();
    let names: Vec<String> = or_skip!("scenarios", scenarios(&layout))
        .into_iter()
        .map(|s| s.name)
        .collect();
    for folder in ["uvale", "kernel", "nic", "ptnet"] {
        let Ok(entries) = std::fs::read_dir(layout.expected().join(folder)) else {
            continue;
        };
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            assert!(names.contains(&name.into_owned()), "{}", path.display());
        }
    }
    for known in expected::known(&layout.expected()).expect("the list is well formed") {
        assert!(names.contains(&known.scenario), "{known:?}");
    }
}

/// A program that is killed or prints something else must not pass.
#[test]
fn a_broken_scenario_differs() {
    let layout = Layout::find();
    let mut scenarios = or_skip!("scenarios", scenarios(&layout));
    scenarios.retain(|s| s.name == "option_list");
    for broken in ["/bin/false", "/bin/echo"] {
        scenarios[0].work = Work::Facts {
            dynamic: Path::new(broken).into(),
            fixed: None,
        };
        let plan = Plan {
            targets: vec![Platform::Uvale],
            scenarios: scenarios.clone(),
            record: false,
        };
        let matrix =
            matrix::run(&layout, &plan, &mut |_, _| Ok(())).expect("expected facts are readable");
        assert!(matrix.failed(), "{broken}\n{}", table::render(&matrix));
    }
}
