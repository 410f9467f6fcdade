//! What passes, and what a failure says.

use std::collections::BTreeMap;
use std::time::Duration;

use compat_tests::or_skip;
use serde_json::json;
use uvale_test::plan::{Action, Count, Frame, Kind, Target, Verdict};

use crate::ground::{Case, numbered, switch, table, udp};

/// For what has to fail by waiting.
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_bridge_carries_both_ways() {
    let mut case = or_skip!("bridge", Case::of_bridge());
    case.tells_its_world();
    case.send("lan", numbered(10)).same("wan", "lan", json!({}));
    case.send("wan", vec![udp("back")])
        .same("lan", "wan", json!({}));
    let digest = case.passes();
    case.assert_nothing_left();
    assert_eq!(digest, case.passes());
    assert!(!case.run.keep.join("lan.sent.pcapng").exists());
}

#[test]
fn more_than_rings_hold_and_none_is_lost() {
    for kinds in [[switch("vale0"), switch("vale1")], [Kind::Pipe, Kind::Pipe]] {
        let mut case = Case::new();
        let [lan, wan] = kinds;
        case.port("lan", lan);
        case.port("wan", wan);
        or_skip!("bridge", case.bridge("lan", "wan"));
        case.send("lan", numbered(5000))
            .same("wan", "lan", json!({}));
        case.send("wan", numbered(2500))
            .same("lan", "wan", json!({}));
        case.passes();
    }
}

/// Ports with several rings: each flow keeps its order.
#[test]
fn flows_over_several_rings() {
    let mut case = or_skip!("bridge", Case::of_bridge());
    case.run
        .ports
        .iter_mut()
        .for_each(|port| port.rings = Some(4));
    let frames: Vec<Frame> = (0..64u8)
        .map(|n| {
            Frame::Fields(table(json!({
                "eth": { "src": "02:00:00:00:00:01", "dst": "ff:ff:ff:ff:ff:ff" },
                "ip": { "src": format!("10.0.0.{n}"), "dst": "10.0.1.1" },
                "udp": { "srcport": 1, "dstport": 2 },
            })))
        })
        .collect();
    case.send("lan", frames.clone());
    case.same("wan", "lan", json!({}));
    case.send("lan", frames.clone()).step(Action::Expect {
        on: "wan".into(),
        frames,
        is_ordered: true,
    });
    case.passes();
}

#[test]
fn what_differs_is_shown() {
    let mut case = or_skip!("bridge", Case::of_bridge());
    case.run.timeout = SHORT;
    case.send("lan", vec![udp("a")])
        .same("wan", "lan", json!({ "ip.ttl": 63 }));
    let (line, why) = case.fails();
    assert_eq!(line, Some(2));
    for part in [
        "1 of 1 expected frame did not come",
        "ip.ttl: expected 63, got 64",
    ] {
        assert!(why.contains(part), "no {part:?} in: {why}");
    }
    for (file, part) in [
        ("lan.sent.pcapng", b"\x0a\x0d\x0d\x0a".as_slice()),
        ("wan.received.pcapng", b"expected by no step"),
        ("bridge.stderr", b""),
    ] {
        let bytes =
            std::fs::read(case.run.keep.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(
            part.is_empty() || bytes.windows(part.len()).any(|w| w == part),
            "{file}"
        );
    }
}

#[test]
fn what_no_step_expects_fails_the_case() {
    let mut case = or_skip!("bridge", Case::of_bridge());
    case.send("lan", numbered(7));
    let (line, why) = case.fails();
    assert_eq!(line, None);
    assert!(
        why.contains("port wan: nothing was to come\n7 frames came there"),
        "{why}"
    );
    case.step(Action::Nothing { on: "wan".into() });
    assert_eq!(case.fails().0, Some(2));
    case.run.steps.pop();
    case.run.ignore.push("wan".into());
    case.passes();
}

#[test]
fn counts_and_fields() {
    let mut case = or_skip!("bridge", Case::of_bridge());
    case.send("lan", numbered(7))
        .matching("wan", "udp", 5, u64::MAX);
    case.passes();
    case.run.steps.pop();
    case.matching("wan", "udp.dstport == 53", 1, 5);
    let (line, why) = case.fails();
    assert_eq!(line, Some(2));
    assert!(
        why.contains("7 frames came that match `udp.dstport == 53`, expected 1 to 5"),
        "{why}"
    );
    case.run.steps.pop();
    case.step(Action::ExpectMatching {
        on: "wan".into(),
        filter: Some("ip".into()),
        count: Count { min: 7, max: 7 },
        fields: table(json!({ "ip.src": "10.0.0.9" })),
        learn: BTreeMap::new(),
    });
    let (_, why) = case.fails();
    assert!(
        why.contains("ip.src: expected 10.0.0.9, got 10.0.0.1"),
        "{why}"
    );
    case.run.steps.pop();
    case.run.timeout = SHORT;
    case.matching("wan", "arp", 1, 1);
    let (_, why) = case.fails();
    assert!(
        why.contains("0 frames came within 300ms that match `arp`, expected 1"),
        "{why}"
    );
}

#[test]
fn what_one_step_learns_another_one_uses() {
    let mut case = or_skip!("bridge", Case::of_bridge());
    case.send("lan", vec![udp("first")]);
    case.step(Action::ExpectMatching {
        on: "wan".into(),
        filter: None,
        count: Count { min: 1, max: 1 },
        fields: table(json!({})),
        learn: [("port".to_owned(), "udp.srcport".to_owned())].into(),
    });
    let frame = json!({
        "eth": { "src": "02:00:00:00:00:02", "dst": "02:00:00:00:00:01" },
        "ip": { "src": "10.0.0.2", "dst": "10.0.0.1" },
        "udp": { "srcport": 53, "dstport": "${port+1}" },
    });
    case.send("wan", vec![Frame::Fields(table(frame))]);
    case.matching(
        "lan",
        "udp.dstport == ${port+1} && udp.dstport == 1001",
        1,
        1,
    );
    case.command(&["test", "${port}", "=", "1000"], None);
    case.passes();
    case.matching("lan", "udp.dstport == ${prt}", 1, 1);
    let (line, why) = case.fails();
    assert_eq!(line, Some(6));
    assert!(why.contains("did you mean port?"), "{why}");
}

#[test]
fn what_a_program_prints_is_looked_for() {
    let mut case = Case::new();
    let script =
        "for i in 1 2 3; do echo said $i; done; echo err said 4 >&2; printf said; exec sleep 1000";
    case.program("talker", &["sh", "-c", script], &[]);
    let prints = |text: &str, min, max| Action::Prints {
        program: "talker".into(),
        text: text.into(),
        count: Count { min, max },
    };
    case.step(prints("said", 4, 4))
        .step(prints("said 2", 1, u64::MAX));
    case.passes();
    case.step(prints("said", 1, 3));
    let (line, why) = case.fails();
    assert_eq!(line, Some(3));
    assert!(
        why.contains("program talker: 4 lines with \"said\", expected 1 to 3"),
        "{why}"
    );
    case.run.steps.pop();
    case.run.timeout = SHORT;
    case.step(prints("said 5", 1, u64::MAX));
    let (_, why) = case.fails();
    assert!(
        why.contains("0 lines with \"said 5\" within 300ms, expected 1 or more"),
        "{why}"
    );
}

#[test]
fn a_monitor_sees_what_the_program_sends_and_gets() {
    let mut case = or_skip!("bridge", Case::of_bridge());
    let (of, suffix) = ("lan".into(), "/rt".into());
    case.port("tap", Kind::Monitor { of, suffix });
    let uvale = compat_tests::target::binaries().uvale.to_string_lossy();
    let counts = [&uvale, "gen", "-i", "${port.tap}", "-f", "rx", "-n", "9"];
    case.program("monitor", &counts, &["tap"]).status = Some(0);
    case.send("lan", numbered(7)).same("wan", "lan", json!({}));
    case.send("wan", numbered(2)).same("lan", "wan", json!({}));
    case.passes();
}

#[test]
fn mistakes_in_a_run_are_sentences() {
    let error = |case: &Case| match case.outcome().result {
        Verdict::Error(why) => why,
        Verdict::Failed { why, .. } => why,
        other => panic!("{other:?}"),
    };
    let mut case = Case::new();
    case.port("lan", switch("vale0")).link = Some([("los".into(), "1%".into())].into());
    assert!(error(&case).contains("did you mean loss?"));
    case.run.ports[0].link = None;
    case.send("lam", vec![udp("a")]);
    assert!(error(&case).contains("there is no port lam; did you mean lan?"));
    case.run.steps.clear();
    case.send("lan", vec![Frame::Bytes("0g".into())]);
    assert!(error(&case).contains("'g' is no hexadecimal digit"));
    case.run.steps.clear();
    case.program("nobody", &["no-such-program"], &[]);
    assert!(error(&case).contains("cannot run no-such-program: No such file"));
    case.run.programs.clear();
    case.run.dir = "/no/such/folder".into();
    assert!(error(&case).contains("/no/such/folder"));
}

/// On a kernel programs are not waited for as in a world, and switches have names of their own. Its `/dev/netmap` is
/// another world's here, for which the kernel shows no descriptors: the programs of this case open no port that is
/// waited for.
#[test]
fn on_another_netmap_there_is_no_world() {
    let uvale = compat_tests::target::binaries().uvale.to_string_lossy();
    let by = [&uvale, "run", "--private", "--"];
    let mut case = or_skip!("bridge", Case::of_bridge());
    case.run.target = Target::Kernel;
    case.run.programs[0].opens.clear();
    let named = "echo ${port.lan}; uvale=$0; until \"$uvale\" ports | grep -q ${port.wan}; do sleep 0.01; done";
    case.program("named", &["sh", "-c", named, &uvale], &[])
        .status = Some(0);
    case.command(
        &[
            "sh",
            "-c",
            "until test -s keep/named.stdout; do sleep 0.01; done",
        ],
        None,
    );
    case.command(
        &[
            "sh",
            "-c",
            "until \"$0\" ports | grep -q ${port.wan}; do sleep 0.01; done",
            &uvale,
        ],
        None,
    );
    case.send("lan", numbered(500))
        .same("wan", "lan", json!({}));
    case.passes_by(&by);
    let name = case.left("named.stdout");
    assert!(
        name.starts_with("vale") && !name.starts_with("vale0:"),
        "{name}"
    );
}

#[test]
fn a_command_has_to_end_as_it_is_said() {
    let mut case = Case::new();
    case.port("lan", switch("vale0"));
    case.command(&["sh", "-c", "echo why >&2; exit 4"], None);
    for _ in 0..5 {
        let (line, why) = case.fails();
        assert_eq!(line, Some(1));
        assert!(
            why.contains("exit 4` ended with exit status 4, not with exit status 0"),
            "{why}"
        );
        assert!(why.ends_with("  why"), "{why}");
    }
    case.command(&["true"], None);
    if let Action::Run { status, .. } = &mut case.run.steps[0].action {
        *status = 4;
    }
    case.passes();
    case.run.timeout = SHORT;
    case.command(&["sleep", "1000"], None);
    assert!(
        case.fails()
            .1
            .contains("`sleep 1000` has not ended within 300ms")
    );
}

/// Packets of several slots.
#[test]
fn frames_longer_than_a_buffer() {
    let long = |n: usize| {
        Frame::Bytes("020000000001020000000002".to_owned() + "0800" + &"5a".repeat(n - 14))
    };
    for kinds in [[switch("vale0"), switch("vale1")], [Kind::Pipe, Kind::Pipe]] {
        let mut case = Case::new();
        let [lan, wan] = kinds;
        case.port("lan", lan);
        case.port("wan", wan);
        or_skip!("bridge", case.bridge("lan", "wan"));
        let frames = (0..600).map(|i| long(1500 + 9 * i)).collect();
        case.send("lan", frames).same("wan", "lan", json!({}));
        case.passes();
        case.run.steps.clear();
        case.run.ports[0].slots = Some(16);
        case.send("lan", vec![long(60_000)]);
        let (line, why) = case.fails();
        assert_eq!(line, Some(1));
        assert!(
            why.contains("a frame of 60000 bytes is longer than the rings"),
            "{why}"
        );
    }
}
