//! What `uvale ports`, `switches`, `fdb`, `stats`, `status`, `stop` and `ctl` say of a world, against
//! what programs did in it.

mod ctl;
mod daemon;
mod metrics;
mod param;
mod stats;
mod top;
mod wait;

use std::process::Command;

use compat_tests::capture::Frame;
use compat_tests::wait::wait_for;
use compat_tests::world::{Program, World};
use rustix::process::Signal;
use serde_json::Value;

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
const BROADCAST: [u8; 6] = [0xff; 6];
/// Packets that a receive ring of 1024 slots takes.
const RING: u64 = 1023;

/// How a command ended, and what it said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn of(mut command: Command) -> Said {
        let output = command.output().expect("uvale starts");
        Said {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts success, and gives standard output.
    fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// Asserts that it ended with 1, said nothing on standard output and why on standard error.
    fn failed(self, why: &str) -> String {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        assert_eq!(self.out, "", "nothing but the error is said");
        assert!(self.err.contains(why), "no {why:?} in: {}", self.err);
        self.err
    }
}

fn uvale(world: &World, args: &[&str]) -> Said {
    Said::of(world.uvale(args))
}

/// `uvale ARGS... --json`, read.
fn json(world: &World, args: &[&str]) -> Value {
    let text = uvale(world, &[args, &["--json"]].concat()).ok();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Lines of a table as words; the head line is the first.
fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .map(|line| line.split_whitespace().collect())
        .collect()
}

/// A program that holds a port open and never touches its rings: a generator that waits for the
/// link.
fn hold(world: &World, port: &str) -> Program {
    let program = world.generator(&["-i", port, "-f", "rx", "-w", "3600"]);
    program.wait_text("waiting 3600 s");
    program
}

/// A frame of `len` bytes.
fn frame(destination: [u8; 6], source: [u8; 6], len: usize) -> Frame {
    let mut bytes = [&destination[..], &source[..], &[0x88, 0xb5]].concat();
    bytes.resize(len, 0);
    Frame {
        bytes,
        original: len as u32,
    }
}

/// The port of this name in a report.
fn port<'a>(report: &'a Value, name: &str) -> &'a Value {
    let ports = report.as_array().expect("a list of ports");
    let found = ports.iter().find(|p| p["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {report}"))
}

#[test]
fn an_empty_world_is_described_in_words() {
    let world = World::new();
    assert_eq!(uvale(&world, &["ports"]).ok(), "no port is open\n");
    assert_eq!(uvale(&world, &["stats"]).ok(), "no port is open\n");
    assert!(
        uvale(&world, &["switches"])
            .ok()
            .starts_with("no switch exists")
    );
    uvale(&world, &["fdb", "vale0"]).failed("there is no switch vale0");
    assert_eq!(json(&world, &["ports"]), Value::Array(Vec::new()));
    assert_eq!(json(&world, &["stats"]), Value::Array(Vec::new()));
    assert_eq!(uvale(&world, &["ctl"]).ok(), "");
}

#[test]
fn ports_and_switches_are_listed() {
    let world = World::new();
    let _held = [
        hold(&world, "vale0:a"),
        hold(&world, "vale0:b"),
        hold(&world, "netmap:x{1"),
    ];
    let text = uvale(&world, &["ports"]).ok();
    let table = rows(&text);
    assert_eq!(&table[0][..3], ["PORT", "KIND", "SWITCH"]);
    let row = |name: &str| {
        let found = table.iter().find(|row| row[0] == name);
        found.unwrap_or_else(|| panic!("no {name} in:\n{text}"))
    };
    assert_eq!(row("vale0:a")[1..4], ["vale", "vale0", "0"]);
    assert_eq!(row("vale0:b")[1..4], ["vale", "vale0", "1"]);
    assert_eq!(row("x{1")[1..4], ["pipe-master", "-", "-"]);
    assert_eq!(row("vale0:a")[4..10], ["1", "x", "1024", "1", "x", "1024"]);

    let ports = json(&world, &["ports"]);
    assert_eq!(port(&ports, "vale0:b")["number"], 1);
    assert_eq!(port(&ports, "vale0:b")["users"], 1);
    assert_eq!(port(&ports, "x{1")["switch"], Value::Null);

    let text = uvale(&world, &["switches"]).ok();
    assert_eq!(
        rows(&text)[1..],
        [
            vec!["vale0", "0", "0", "0", "vale0:a"],
            vec!["1", "vale0:b"]
        ],
        "{text}"
    );
    let switches = json(&world, &["switches"]);
    assert_eq!(switches[0]["name"], "vale0");
    assert_eq!(switches[0]["ports"][1][1], "vale0:b");
}

#[test]
fn a_full_receiver_is_a_reason() {
    let world = World::new();
    let _receivers = [hold(&world, "vale0:b"), hold(&world, "vale0:c")];
    let sent = 3000;
    let count = sent.to_string();
    world
        .generator(&["-i", "vale0:a", "-f", "tx", "-n", &count])
        .wait_success();

    let text = uvale(&world, &["stats"]).ok();
    let (packets, full) = (RING.to_string(), (sent - RING).to_string());
    let bytes = (RING * 60).to_string();
    let line = |name| {
        vec![
            name, "0", "0", &packets, &bytes, &full, "receiver", "full", &full,
        ]
    };
    assert_eq!(
        rows(&text)[1..],
        [line("vale0:b"), line("vale0:c")],
        "{text}"
    );
    for name in ["vale0:c", "netmap:vale0:c", "vale?:c"] {
        let only = uvale(&world, &["stats", "--port", name]).ok();
        assert_eq!(rows(&only)[1..], [line("vale0:c")]);
        let only = uvale(&world, &["stats", name]).ok();
        assert_eq!(rows(&only)[1..], [line("vale0:c")]);
    }
    for all in ["vale0", "vale0:", "vale0:*", "*"] {
        let only = uvale(&world, &["stats", all]).ok();
        assert_eq!(rows(&only).len(), 3, "{only}");
    }
    let rings = uvale(&world, &["stats", "--rings", "vale0:c"]).ok();
    assert_eq!(
        rows(&rings)[1..],
        [
            vec!["vale0:c", "tx", "0", "0", "0"],
            vec!["rx", &packets, &bytes, &full, "receiver", "full", &full]
        ],
        "{rings}"
    );
    uvale(&world, &["stats", "--port", "vale0:z"]).failed("no port vale0:z");

    let stats = json(&world, &["stats"]);
    let b = port(&stats, "vale0:b");
    for rx in [&b["rx"][0], &b["total"]["rx"]] {
        assert_eq!(rx["packets"], RING);
        assert_eq!(rx["bytes"], RING * 60);
        assert_eq!(rx["drops"]["full"], sent - RING);
        assert_eq!(rx["drops"]["bad_copy"], 0);
        assert_eq!(rx["pending"], RING);
    }
}

#[test]
fn senders_drops_have_their_reasons() {
    let world = World::new();
    // the port lives on, and its counters with it, when the sender that shares it has left
    let _held = [hold(&world, "vale0:a"), hold(&world, "vale0:b")];
    let frames = [
        frame(BROADCAST, A, 60),
        frame(BROADCAST, A, 13),
        frame(BROADCAST, A, 13),
        // for a station behind the port it comes from
        frame(A, A, 60),
        // nobody has been seen with this address: to everyone
        frame(B, A, 60),
    ];
    world.send("vale0:a", &frames);

    let stats = json(&world, &["stats"]);
    let tx = &port(&stats, "vale0:a")["total"]["tx"];
    assert_eq!(tx["packets"], frames.len());
    assert_eq!(tx["drops"]["short"], 2, "{tx}");
    assert_eq!(tx["drops"]["no_destination"], 1, "{tx}");
    assert_eq!(port(&stats, "vale0:b")["total"]["rx"]["packets"], 2);
    let text = uvale(&world, &["stats", "-p", "vale0:a"]).ok();
    let first = text.lines().nth(1).expect("a line for the port");
    assert!(
        first.ends_with(" 3  short frame 2, no destination 1"),
        "{text}"
    );
}

#[test]
fn rings_are_told_apart() {
    let world = World::new();
    uvale(&world, &["ctl", "-n", "v0", "-C", "1024,1024,2,2"]).ok();
    uvale(&world, &["ctl", "-a", "vale0:v0"]).ok();
    let _held = hold(&world, "netmap:v0");
    world.send("vale0:a", &[frame(BROADCAST, A, 60)]);
    let stats = json(&world, &["stats"]);
    let ports = stats.as_array().expect("a list");
    assert_eq!(ports.len(), 1, "{stats}");
    let rx = &ports[0]["rx"];
    // broadcasts go to ring 0
    assert_eq!(
        (&rx[0]["packets"], &rx[1]["packets"]),
        (&1.into(), &0.into())
    );
    assert_eq!(ports[0]["total"]["rx"]["packets"], 1);
    let text = uvale(&world, &["stats", "--rings"]).ok();
    let table = rows(&text);
    let rx = ["rx", "ring"];
    assert_eq!(table[4], ["rx", "1", "60", "0"], "{text}");
    assert_eq!(table[5][..4], [rx[0], rx[1], "0", "1"], "{text}");
    assert_eq!(table[6][..4], [rx[0], rx[1], "1", "0"], "{text}");
}

#[test]
fn learned_addresses_are_shown_and_move() {
    let world = World::new();
    let held = [hold(&world, "vale0:a"), hold(&world, "vale0:b")];
    assert_eq!(
        uvale(&world, &["fdb", "vale0"]).ok(),
        "vale0 has not learned an address yet\n"
    );
    world.send("vale0:a", &[frame(BROADCAST, A, 60)]);
    world.send("vale0:b", &[frame(BROADCAST, B, 60)]);
    let text = uvale(&world, &["fdb", "vale0"]).ok();
    assert_eq!(
        rows(&text),
        [
            ["MAC", "PORT", "NAME"],
            ["02:00:00:00:00:0a", "0", "vale0:a"],
            ["02:00:00:00:00:0b", "1", "vale0:b"],
        ],
        "{text}"
    );
    assert_eq!(json(&world, &["switches"])[0]["learned"], 2);

    world.send("vale0:b", &[frame(BROADCAST, A, 60)]);
    let entries = json(&world, &["fdb", "vale0:"]);
    let entries = entries.as_array().expect("a list");
    let moved = entries.iter().find(|e| e["mac"] == "02:00:00:00:00:0a");
    let moved = moved.expect("still there");
    assert_eq!(
        (&moved["number"], &moved["port"]),
        (&1.into(), &"vale0:b".into())
    );
    uvale(&world, &["fdb", "vale7"]).failed("there is no switch vale7; there are: vale0");
    drop(held);
}

#[test]
fn status_tells_who_uses_what() {
    let world = World::new();
    let _held = hold(&world, "vale0:a");
    let daemon = json(&world, &["status"]);
    assert_eq!(daemon["descriptors"], 1);
    assert_eq!(daemon["processes"], 2, "the holder and the asker");
    let memories = daemon["memories"].as_array().expect("a list");
    let ports = json(&world, &["ports"]);
    let mem_id = &port(&ports, "vale0:a")["mem_id"];
    let memory = memories.iter().find(|m| m["mem_id"] == *mem_id);
    let memory = memory.expect("the port's memory");
    assert!(memory["used"][2].as_u64() >= Some(2048), "{memory}");

    let text = uvale(&world, &["status"]).ok();
    for line in [
        "switches     1 of 8",
        "ports        1",
        "processes    1, and this command",
        "descriptors  1 of /dev/netmap open",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line:?} in:\n{text}");
    }
    let dir = format!("directory    {}", world.runtime_dir().display());
    assert!(text.contains(&dir), "{text}");
}

#[test]
fn rates_are_watched() {
    let world = World::new();
    let _receiver = hold(&world, "vale0:b");
    let sender = world.generator(&["-i", "vale0:a", "-f", "tx", "-R", "2000"]);
    let watch = |options: &[&str]| {
        let args = [&["stats", "--watch", "0.2"], options].concat();
        Program::start("uvale stats --watch", world.uvale(&args))
    };
    let text = watch(&[]);
    // a block each interval, also without a terminal
    wait_for("two blocks with packets from vale0:a", || {
        let said = text.stdout();
        let tx = |line: &&str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.len() > 2 && words[0] == "vale0:a" && words[1] != "0"
        };
        said.matches("per second, over").count() >= 2 && said.lines().filter(tx).count() >= 2
    });
    wait_for("drops by reason", || {
        text.stdout().contains("receiver full ")
    });
    assert!(!text.stdout().contains('\x1b'), "{}", text.said());
    text.signal(Signal::INT);

    let lines = watch(&["--json", "-p", "vale0:b"]);
    let line = lines.wait_line("a rate of drops", |line| line.contains("\"full\":"));
    let rates: Value = serde_json::from_str(&line).expect("an object a line");
    assert!(rates["seconds"].as_f64() > Some(0.0));
    let ports = rates["ports"].as_array().expect("a list");
    assert_eq!(ports.len(), 1);
    let rx = &ports[0]["rx"];
    assert_eq!(
        rx["total"]["why"]["full"],
        rx["total"]["dropped_per_second"]
    );
    assert_eq!(rx["rings"][0], rx["total"]);
    lines.signal(Signal::INT);
    drop(sender);

    // a reader that goes away ends the watch
    let mut command = world.uvale(&["stats", "--watch", "0.1"]);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("uvale starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("a child of ours").success());
}

#[test]
fn every_command_shows_an_example_and_no_long_line() {
    let world = World::new();
    for command in [
        "run", "daemon", "gen", "stats", "ports", "switches", "fdb", "wait", "ctl", "status",
        "stop", "bench",
    ] {
        let help = uvale(&world, &[command, "--help"]).ok();
        assert!(
            help.contains(&format!("Examples:\n  uvale {command}")),
            "{help}"
        );
        let long = help.lines().find(|line| line.chars().count() > 100);
        assert_eq!(long, None, "{command}");
        assert!(!help.contains('\x1b'), "{help}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let world = World::new();
    let _held = hold(&world, "vale0:a");
    for args in [
        "ports",
        "switches",
        "stats",
        "status",
        "ports --json",
        "stats --json",
        "ctl param",
        "ctl",
        "--help",
        "gen --help",
        "fdb vale0",
    ] {
        // `true` reads nothing; the shell's status is uvale's
        let script = format!("{{ \"$0\" {args}; echo $? >&2; }} | true");
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &script])
            .arg(&compat_tests::target::binaries().uvale);
        shell.env("UVALE_DIR", world.runtime_dir());
        let said = Said::of(shell);
        assert_eq!(said.err, "0\n", "{args}");
    }
}
