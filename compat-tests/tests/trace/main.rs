//! `uvale trace`: what it says of packets is what has happened to them, whoever sends them; whatever happens to it, or
//! to those it traces, the packets go on.

mod endings;
#[path = "../capture/ground.rs"]
#[allow(dead_code)]
mod ground;
mod nic;
mod shared;

use std::process::Stdio;

use compat_tests::or_skip;
use compat_tests::place::Place;
use compat_tests::said::Said;
use compat_tests::target;
use compat_tests::world::Program;
use ground::{Captured, End, debian, numbered, numbers, text, uvale};
use serde_json::Value;

/// Starts `uvale trace ARGS...`, and waits until it traces.
fn trace(place: &Place, args: &[&str]) -> Program {
    let args = [&["trace"], args].concat();
    let program = Program::start(&args.join(" "), uvale(place, &args));
    program.wait_text("uvale trace: tracing");
    program
}

/// What a trace has written as JSON, to its end.
fn records(mut trace: Program, status: i32) -> Vec<Value> {
    let code = trace.wait().code();
    assert_eq!(code, Some(status), "{}", trace.said());
    let out = trace.stdout();
    let lines = out.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

fn packet(to: u8, from: u8) -> Vec<u8> {
    let mut packet = vec![2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5];
    packet.resize(60, from);
    packet
}

/// The events of a record, without what is told of each.
fn names(record: &Value) -> Vec<&str> {
    let events = record["events"].as_array().expect("events");
    events
        .iter()
        .map(|e| e["event"].as_str().expect("a name"))
        .collect()
}

#[test]
fn unchanged_programs_are_traced() {
    let place = Place::new();
    let generator = &target::binaries().uvale;
    let receiver = place.spawn(generator, &["gen", "-i", "vale0:b", "-f", "rx", "-n", "3"]);
    let _other = End::open(&place, "vale0:c");
    compat_tests::wait::wait_for("the receiver", || place.port("vale0:b").is_some());
    // The receiver has its rings, and the sender gets them, before and after the trace begins.
    let trace = trace(&place, &["vale0", "--json", "-c", "3", "-s", "64"]);
    let mut sender = place.spawn(
        generator,
        &["gen", "-i", "vale0:a", "-f", "tx", "-n", "3", "-l", "100"],
    );
    let records = records(trace, 0);
    assert!(sender.wait().success(), "{}", sender.said());
    let pid = |program: &Program| program.pid().as_raw_nonzero().get();
    assert_eq!(records.len(), 3);
    for (i, record) in records.iter().enumerate() {
        assert_eq!(record["port"], "vale0:a");
        assert_eq!((&record["slot"], &record["len"]), (&i.into(), &100.into()));
        assert_eq!(record["data"].as_str().map(str::len), Some(128));
        assert_eq!(
            (&record["program"], &record["pid"]),
            (&"uvale".into(), &pid(&sender).into())
        );
        let to = |e: &&Value| e["event"] == "copied" && e["port"] == "vale0:b";
        let copied = record["events"]
            .as_array()
            .and_then(|all| all.iter().find(to));
        assert_eq!(copied.expect("it is copied")["slot"], i);
    }
    // It sleeps from the beginning.
    let woke = records
        .iter()
        .flat_map(|r| r["events"].as_array().expect("events"));
    let woke = woke.filter(|e| e["event"] == "woke").collect::<Vec<_>>();
    assert!(
        woke.iter()
            .any(|e| e["pid"] == pid(&receiver) && e["port"] == "vale0:b"),
        "{woke:?}"
    );
    receiver.wait_success();
}

#[test]
fn text_says_it_in_sentences() {
    let place = Place::new();
    let [a, b] = ["vale0:a", "vale0:b"].map(|name| End::open(&place, name));
    let mut trace = trace(&place, &["vale0", "-c", "3"]);
    assert_eq!(a.send(&[packet(0xb, 0xa)]), 1);
    b.send(&[packet(0xa, 0xb), packet(0xb, 0xb)]);
    assert!(trace.wait().success(), "{}", trace.said());
    let out = trace.stdout();
    for sentence in [
        "vale0:a tx ring 0 slot 0, 60 bytes, by ",
        "    02:00:00:00:00:0a > 02:00:00:00:00:0b",
        "    learnt: 02:00:00:00:00:0a is behind port 0\n",
        "    flooded to the one other port: 02:00:00:00:00:0b has not been learnt\n",
        "    copied to vale0:b rx ring 0 slot 0; nobody slept there\n",
        "    looked up: 02:00:00:00:00:0a is behind port 0\n",
        "    copied to vale0:a rx ring 0 slot 0; nobody slept there\n",
        "    dropped: no destination: that is behind the port that it came from\n",
    ] {
        assert!(out.contains(sentence), "no {sentence:?} in {out}");
    }
    let said = trace.said();
    assert!(
        said.contains("uvale trace: 3 of 3 packets traced, 0 missed"),
        "{said}"
    );
}

#[test]
fn two_senders_and_a_full_ring() {
    let place = Place::new();
    let [a, b, _c] = ["vale0:a", "vale0:b", "vale0:c"].map(|name| End::open(&place, name));
    let trace = trace(&place, &["vale0", "--json", "-c", "4", "--dropped"]);
    // 1024 slots, of which one stays empty
    for sender in [&a, &b] {
        assert_eq!(sender.send(&numbers(0, 512)), 512);
    }
    let drops = [&a, &b].map(|sender| sender.send(&numbers(900, 1)));
    assert_eq!(drops, [1, 1]);
    b.send(&numbers(901, 1));
    a.send(&numbers(902, 1));
    let records = records(trace, 0);
    let who: Vec<&str> = records.iter().filter_map(|r| r["port"].as_str()).collect();
    assert_eq!(
        who,
        ["vale0:b", "vale0:a", "vale0:b", "vale0:b"],
        "{records:?}"
    );
    for record in &records {
        let last = record["events"]
            .as_array()
            .and_then(|e| e.iter().find(|e| e["event"] == "dropped"));
        let last = last.expect("a drop");
        assert_eq!(
            (&last["reason"], &last["counter"], &last["port"]),
            (&"full".into(), &"full".into(), &"vale0:c".into())
        );
    }
}

#[test]
fn a_filter_picks_packets() {
    let place = Place::new();
    let [a, _b] = ["vale0:a", "vale0:b"].map(|name| End::open(&place, name));
    let trace = trace(
        &place,
        &[
            "vale0:a",
            "--json",
            "-c",
            "2",
            "eth.dst",
            "==",
            "02:00:00:00:00:05",
        ],
    );
    let sent: Vec<_> = (0..10).map(|to| packet(to % 8, 0xa)).collect();
    a.send(&sent);
    a.send(&[packet(5, 0xa)]);
    let found = records(trace, 0);
    assert_eq!([&found[0]["slot"], &found[1]["slot"]], [&5, &10]);
    for (args, why) in [
        (&["vale0:a", "eth.dst =="][..], "eth.dst =="),
        (&["vale0:a", "no.such.field == 1"], "no.such.field"),
        (&["vale0:a", "--json", "-w", "x"], "cannot be used with"),
    ] {
        let said = Said::of(&mut uvale(&place, &[&["trace"], args].concat()));
        said.assert_code(2).assert_says(why);
    }
    for (port, why) in [
        ("vale0:aa", "there is no port or switch vale0:aa"),
        ("vale7", "there is no port or switch vale7"),
        ("netmap:a/r", "names a monitor"),
    ] {
        Said::of(&mut uvale(&place, &["trace", port]))
            .assert_code(1)
            .assert_says(why);
    }
}

#[test]
fn a_pipe_passes_slots() {
    let place = Place::new();
    let [master, slave] = ["netmap:x{1", "netmap:x}1"].map(|name| End::open(&place, name));
    let mut trace = trace(&place, &["x{1", "-c", "2"]);
    master.send(&numbers(0, 2));
    assert_eq!(slave.receive(), numbers(0, 2));
    assert!(trace.wait().success(), "{}", trace.said());
    let out = trace.stdout();
    assert!(
        out.contains("    passed to x}1 rx ring 0 slot 1, without a copy; nobody slept there\n"),
        "{out}"
    );
}

#[test]
fn pcapng_has_it_in_comments() {
    let place = Place::new();
    let [a, b] = ["vale0:a", "vale0:b"].map(|name| End::open(&place, name));
    let file = place.file("traced.pcapng");
    let mut trace = trace(
        &place,
        &["vale0", "-c", "4", "-w", text(&file), "-s", "2000"],
    );
    a.send(&numbers(0, 3));
    b.send(&[packet(0xb, 0xb)]);
    assert!(trace.wait().success(), "{}", trace.said());
    let captured = Captured::read(&file);
    assert_eq!(captured.of("vale0:a", true), numbers(0, 3));
    assert_eq!(captured.of("vale0:b", true), [packet(0xb, 0xb)]);
    let comments = &captured.packets[0].comments;
    assert!(
        comments[0].starts_with("vale0:a tx ring 0 slot 0, 60 bytes, by"),
        "{comments:?}"
    );
    assert_eq!(
        comments.last().map(String::as_str),
        Some("copied to vale0:b rx ring 0 slot 0; nobody slept there")
    );

    let program = or_skip!("tshark", debian("tshark"));
    let mut tshark = std::process::Command::new(program);
    tshark.args([
        "-r",
        text(&file),
        "-T",
        "fields",
        "-e",
        "frame.interface_name",
        "-e",
        "frame.comment",
    ]);
    tshark.env("HOME", place.file("")).stdin(Stdio::null());
    let out = Said::of(&mut tshark).assert_code(0).out;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    assert!(
        lines[3].contains("vale0:b") && lines[3].contains("dropped: no destination"),
        "{out}"
    );
}

#[test]
fn monitors_and_other_senders_are_told() {
    let place = Place::new();
    let [a, _b] = ["vale0:a", "vale0:b"].map(|name| End::open(&place, name));
    let file = place.file("all.pcapng");
    let args = ["capture", "vale0:a", "-w", text(&file)];
    let capture = Program::start("capture", uvale(&place, &args));
    capture.wait_text("uvale capture: capturing");
    let trace = trace(&place, &["vale0:a", "--json", "-c", "1"]);
    a.send(&[numbered(1)]);
    let records = records(trace, 0);
    assert!(names(&records[0]).contains(&"shown"), "{records:?}");
}
