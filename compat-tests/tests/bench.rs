//! `uvale bench`: every suite measures what it says, and what it prints can be read, drawn and compared. No figure
//! decides a test.

use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::said::Said;
use compat_tests::target::binaries;
use serde_json::Value;

/// A directory that goes.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let dir =
            std::env::temp_dir().join(format!("uvale-test-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("the temporary folder can be written");
        Self(dir)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn bench(args: &[&str]) -> Command {
    let mut command = Command::new(&binaries().uvale);
    command.arg("bench").args(args);
    command.env("NMSHIM", &binaries().shim);
    command
}

/// What a run with `--json` prints.
fn json(args: &[&str]) -> Value {
    let said = Said::of(bench(args).arg("--json")).assert_code(0);
    let report: Value = serde_json::from_str(&said.out).expect("one JSON object");
    assert_eq!(
        (&report["format"], &report["version"]),
        (&"uvale-bench".into(), &1.into())
    );
    report
}

fn list<'a>(report: &'a Value, name: &str) -> &'a [Value] {
    report[name].as_array().map_or(&[], Vec::as_slice)
}

fn texts(report: &Value, name: &str) -> Vec<String> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    list(report, name).iter().map(text).collect()
}

fn number(figure: &Value, name: &str) -> f64 {
    figure[name]
        .as_f64()
        .unwrap_or_else(|| panic!("{name} of {figure}"))
}

/// Columns of a suite's first case, without percentiles.
fn columns(report: &Value) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for figure in list(report, "figures") {
        let what = figure["what"].as_str().unwrap_or_default();
        let plain = [" p50", " p99", " p99.9"]
            .iter()
            .find_map(|p| what.strip_suffix(p));
        let name = plain.unwrap_or(what).to_owned();
        if !columns.contains(&name) {
            columns.push(name);
        }
    }
    columns
}

/// Something was counted in every column, its range holds its median, and no more arrived than was sent, to so many.
fn holds_together(report: &Value, receivers: f64) -> Result<(), String> {
    for figure in list(report, "figures") {
        let [least, median, most] = ["least", "median", "most"].map(|name| number(figure, name));
        assert!(least <= most, "{figure}");
        if median <= 0.0 {
            return Err(format!("nothing arrived: {figure}"));
        }
        let Some(sent) = figure["sent"].as_f64() else {
            continue;
        };
        // One look at two counters is not one moment, and a ring's packets may be of the window before.
        if median > receivers * (1.5 * sent + 0.05) {
            return Err(format!("more than was sent: {figure}"));
        }
    }
    Ok(())
}

/// A suite's figures, from longer and longer windows while a busy machine lets nothing arrive.
fn measured(suite: &str, more: &[&str], receivers: f64) -> Value {
    let mut why = String::new();
    for window in ["100", "1000", "5000"] {
        let mut args = vec![
            "--quick",
            "--windows",
            "1",
            "--window",
            window,
            "--only",
            suite,
        ];
        args.extend(more);
        let report = json(&args);
        let skipped = texts(&report, "skipped");
        let result = match skipped.iter().find(|why| why.ends_with("nothing arrived")) {
            Some(why) => Err(why.clone()),
            None => holds_together(&report, receivers),
        };
        match result {
            Ok(()) => {
                assert!(list(&report, "figures").iter().all(|f| f["suite"] == suite));
                return report;
            }
            Err(reason) => why = reason,
        }
    }
    panic!("{suite}: {why}");
}

/// Two short windows of one case of a suite.
fn short(suite: &str) -> Vec<&str> {
    let more = "--windows 2 --window 100 --batch 8 --size 60";
    let mut args = vec!["--only", suite];
    args.extend(more.split(' '));
    args
}

/// The columns of a suite that needs nothing but this machine's processors.
#[track_caller]
fn check(suite: &str, more: &[&str], receivers: f64, expected: &[&str]) -> Value {
    let report = measured(suite, more, receivers);
    assert_eq!(texts(&report, "skipped"), [""; 0]);
    assert_eq!(columns(&report), expected);
    report
}

fn enough_processors() -> bool {
    let enough = std::thread::available_parallelism().is_ok_and(|n| n.get() >= 2);
    if !enough {
        println!("skipped: bench: it needs two processors");
    }
    enough
}

#[test]
fn one_sender_and_one_receiver() {
    if !enough_processors() {
        return;
    }
    let four = ["limit", "synced", "spinning", "blocking"];
    for (suite, batches) in [("vale", "1,512"), ("pipe", "8")] {
        let report = check(suite, &["--batch", batches], 1.0, &four);
        for figure in list(&report, "figures") {
            let told = figure["wakeups"]["median"].is_number();
            assert_eq!(told, figure["what"] == "blocking", "{figure}");
        }
    }
    // a packet of five slots counts as one
    check("sizes", &[], 1.0, &["memcpy", "VALE"]);
}

#[test]
fn several_addresses_senders_receivers_ports_and_rings() {
    if !enough_processors() {
        return;
    }
    let mixed = ["limit, 1 flow", "1 flow", "limit, 64 flows", "64 flows"];
    check("mixed", &[], 1.0, &mixed);
    check("senders", &[], 1.0, &["limit", "spinning", "blocking"]);
    check("flood", &[], 8.0, &["limit", "spinning"]);
    check(
        "ports",
        &[],
        1.0,
        &["limit, 2", "2 ports", "limit, 252", "252 ports"],
    );
    check("rings", &[], 1.0, &["limit", "1 ring", "16 rings"]);
}

#[test]
fn chains_monitors_and_headers() {
    if !enough_processors() {
        return;
    }
    check(
        "chain",
        &[],
        1.0,
        &[
            "limit, swap",
            "limit, swap, blocking",
            "swap",
            "limit, copy",
            "limit, copy, blocking",
            "copy",
        ],
    );
    check(
        "monitored",
        &[],
        1.0,
        &["plain", "copying", "both ways", "zero-copy"],
    );
    let vnet = ["limit", "without", "both", "sender only", "receiver only"];
    check("vnet", &[], 1.0, &vnet);
}

/// Said by a build without it.
const NO_ICEORYX: &str =
    "iceoryx2: built without the feature iceoryx2 (cargo build -p uvale --features iceoryx2)";

/// Said where memif's latency cannot be measured.
const NO_DPDK: &str = "memif latency: cc and libdpdk-dev are needed \
                       (Debian: apt install build-essential pkg-config libdpdk-dev)";

#[test]
fn latencies_rise_with_the_percentile() {
    if !enough_processors() {
        return;
    }
    let ways = [
        "VALE, spinning",
        "VALE, blocking",
        "pipe, spinning",
        "pipe, blocking",
    ];
    let report = measured("latency", &[], 1.0);
    let skipped = texts(&report, "skipped");
    let peer: &[&str] = match &skipped[..] {
        [] => &["memif"],
        [why] if why == NO_DPDK => &[],
        _ => panic!("{skipped:?}"),
    };
    let expected = [&ways[..], peer, &["socketpair"]].concat();
    assert_eq!(columns(&report), expected);
    let cases = |f: &&Value| f["case"]["label"] == "50 % load";
    let at_half: Vec<_> = list(&report, "figures").iter().filter(cases).collect();
    assert_eq!(at_half.len(), (ways.len() + peer.len()) * 3);
    if peer.is_empty() {
        println!("skipped: {NO_DPDK}");
    } else {
        let ratio = |f: &Value| f["ratios"][0]["of"].as_str().map(str::to_owned);
        let compared = at_half.iter().filter_map(|f| Some((&f["what"], ratio(f)?)));
        let compared: Vec<_> = compared.filter(|(_, of)| of == "memif").collect();
        assert_eq!(compared.len(), 2 * 3, "{compared:?}");
        let targets = list(&report, "targets").iter();
        let named = |t: &&Value| t["name"] == "one way at 50 % load, VALE: of memif's p50";
        assert_eq!(targets.filter(named).count(), 1, "{report}");
    }
    for three in list(&report, "figures").windows(3) {
        let percentile = |f: &Value, p: &str| f["what"].as_str().unwrap_or_default().ends_with(p);
        if percentile(&three[0], " p50") {
            let [p50, p99, p999] = [0, 1, 2].map(|i| number(&three[i], "median"));
            assert!(p50 <= p99 && p99 <= p999, "{three:?}");
        }
    }
    check("wakeup", &[], 1.0, &["socketpair", "VALE"]);
}

#[test]
fn peers_are_measured_if_they_are_there() {
    if !enough_processors() {
        return;
    }
    let report = measured("peers", &[], 1.0);
    let skipped = texts(&report, "skipped");
    // a build has it that was made with the feature
    let more: &[&str] = match &skipped[..] {
        [] => &["iceoryx2"],
        [why] if why == NO_ICEORYX => &[],
        _ => panic!("{skipped:?}"),
    };
    let peers = [&["channel", "socketpair"], more].concat();
    assert_eq!(columns(&report), [&peers[..], &["VALE", "pipe"]].concat());
    let ratios = |f: &Value| f["ratios"].as_array().map_or(0, Vec::len);
    let counts = list(&report, "figures").iter().map(ratios);
    let ours = peers.len() + 1;
    let expected = [vec![0; peers.len()], vec![ours; 2]].concat();
    assert_eq!(counts.collect::<Vec<_>>(), expected);
    let nowhere = Said::of(bench(&["--quick", "--only", "memif"]).env("PATH", "/nowhere"));
    let said = nowhere.assert_code(0);
    let why = "skipped: memif: dpdk-testpmd not installed (Debian: apt install dpdk-dev)";
    assert!(said.out.contains(why), "{}", said.out);
    let args = [
        "--quick",
        "--windows",
        "1",
        "--window",
        "20",
        "--only",
        "latency",
    ];
    let nowhere = Said::of(bench(&args).env("PATH", "/nowhere"));
    let said = nowhere.assert_code(0);
    let why = format!("skipped: {NO_DPDK}");
    assert!(said.out.contains(&why), "{}", said.out);
    let report = json(&["--quick", "--windows", "1", "--only", "memif"]);
    let skipped = texts(&report, "skipped");
    if skipped.is_empty() {
        let expected = [
            "memif",
            "VALE's limit",
            "pipe's limit",
            "VALE",
            "pipe",
            "rings",
        ];
        assert_eq!(columns(&report), expected);
    } else {
        println!("skipped: {skipped:?}");
    }
}

#[test]
fn memory_of_worlds_and_ports() {
    if !enough_processors() {
        return;
    }
    let report = json(&["--quick", "--only", "memory"]);
    assert_eq!(texts(&report, "skipped"), [""; 0]);
    let sizes = ["shared", "daemon", "program", "all"];
    assert_eq!(
        columns(&report),
        [&sizes[..], &["first port", "a port"]].concat()
    );
    let target = &list(&report, "targets")[0];
    assert_eq!(target["met"], true, "{target}");
}

#[test]
fn without_a_second_processor_it_says_so() {
    let mut command = Command::new("taskset");
    command
        .args(["-c", "0"])
        .arg(&binaries().uvale)
        .args(["bench", "--quick"]);
    let said = Said::of(&mut command).assert_code(0);
    let why = "skipped: everything: sender and receiver need a processor each, and there is one";
    assert!(said.out.contains(why), "{}", said.out);
}

#[test]
fn a_run_is_drawn_and_compared_with_another_one() {
    if !enough_processors() {
        return;
    }
    let folder = Folder::new("compare");
    let (picture, old) = (folder.file("figures.svg"), folder.file("old.json"));
    let args = short("vale");
    let report = json(&[&args[..], &["--svg", &picture]].concat());
    let text = std::fs::read_to_string(&picture).expect("a picture");
    let picture = roxmltree::Document::parse(&text).expect("well-formed");
    let drawn = |text: &str| {
        picture
            .descendants()
            .any(|n| n.text().is_some_and(|t| t.trim() == text))
    };
    assert!(
        drawn("60 bytes, batch 8: blocking") && drawn("uvale bench"),
        "{text}"
    );
    let machine = &report["machine"];
    for fact in ["processor", "kernel", "architecture", "uvale"] {
        assert!(
            machine[fact].as_str().is_some_and(|f| !f.is_empty()),
            "{machine}"
        );
    }

    // as it was; as it never can be; as if on another machine
    let ranges = |report: &Value, least: f64, most: f64| {
        let mut changed = report.clone();
        for figure in changed["figures"].as_array_mut().into_iter().flatten() {
            for (name, value) in [("least", least), ("median", most), ("most", most)] {
                figure[name] = value.into();
            }
        }
        changed
    };
    let compare = |before: &Value| {
        std::fs::write(&old, before.to_string()).expect("it can be written");
        json(&[&args[..], &["--compare", &old]].concat())
    };
    let rates = |report: &Value| {
        let rates = |d: &&Value| d["of"].is_null();
        let differs = |d: &Value| d["differs"].as_bool();
        list(report, "compared")
            .iter()
            .filter(rates)
            .map(differs)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        rates(&compare(&ranges(&report, 0.0, 1e9))),
        [Some(false); 4]
    );
    let mut other = ranges(&report, 1e8, 1e9);
    other["machine"]["processor"] = "another".into();
    let compared = compare(&other);
    assert_eq!(rates(&compared), [Some(true); 4]);
    let on_another = |note: &String| note.contains("another machine");
    assert!(
        texts(&compared, "notes").iter().any(on_another),
        "{compared}"
    );
    let said = Said::of(&mut bench(&[&args[..], &["--compare", &old]].concat()));
    assert!(
        said.out.contains("(worse)") && said.out.contains("since the earlier run"),
        "{}",
        said.out
    );
}

#[test]
fn another_build_takes_turns_with_this_one() {
    if !enough_processors() {
        return;
    }
    let this = binaries().uvale.display().to_string();
    let args = short("pipe");
    let report = json(&[&args[..], &["--against", &this]].concat());
    let columns: Vec<_> = list(&report, "against")
        .iter()
        .map(|d| d["what"].clone())
        .collect();
    assert_eq!(columns, ["spinning", "blocking"]);
    // the other build's figures are not this build's
    assert_eq!(list(&report, "figures").len(), 4);
}

#[test]
fn wrong_options_get_a_sentence() {
    let folder = Folder::new("wrong");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.0.join(name), text).expect("it can be written");
        folder.file(name)
    };
    let (text, other) = (
        write("text", "hello"),
        write("other.json", "{\"figures\": []}"),
    );
    let newer = write(
        "newer.json",
        "{\"format\": \"uvale-bench\", \"version\": 99}",
    );
    let alone = write("uvale", "");
    let missing = folder.file("missing");
    for (option, value, why) in [
        ("--only", "nothing", "possible values: vale, pipe, sizes"),
        ("--batch", "0", "0 is not in 1..=1023"),
        ("--window", "0", "0 is not in 1..=60000"),
        ("--windows", "0", "0 is not in 1..=1000"),
        ("--compare", &missing, "No such file"),
        (
            "--compare",
            &text,
            "this is not what `uvale bench --json` prints",
        ),
        (
            "--compare",
            &other,
            "it does not say `\"format\": \"uvale-bench\"`",
        ),
        (
            "--compare",
            &newer,
            "it has version 99, and this uvale reads version 1",
        ),
        ("--svg", &folder.file("none/figures.svg"), "No such file"),
        ("--against", &missing, "No such file"),
        ("--against", &alone, "this is no program"),
    ] {
        let said = Said::of(&mut bench(&["--quick", "--only", "preload", option, value]));
        assert_ne!(said.code, Some(0), "{option} {value}: {}", said.out);
        assert!(said.err.contains(why), "{option} {value}: {}", said.err);
        assert!(said.err.contains(option), "{option} {value}: {}", said.err);
    }
    let other_shim = Path::new("/bin/true").display().to_string();
    let said = Said::of(&mut bench(&[
        "--quick",
        "--only",
        "preload",
        "--against",
        &other_shim,
    ]));
    assert!(
        said.err.contains("there is no libnmshim.so beside it"),
        "{}",
        said.err
    );
}
