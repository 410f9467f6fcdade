//! What `uvale ports`, `switches`, `fdb`, `stats`, `status`, `stop` and `ctl` say of a world, against
//! what programs did in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::capture::Frame;
use compat_tests::wait::wait_for;
use compat_tests::world::{Program, World};
use compat_tests::{or_skip, target};
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
    let idle = |name| vec![name, "tx", "0", "0", "0"];
    let receiver = vec!["rx", &packets, &bytes, &full, "receiver", "full", &full];
    assert_eq!(
        rows(&text)[1..],
        [
            idle("vale0:b"),
            receiver.clone(),
            idle("vale0:c"),
            receiver.clone()
        ],
        "{text}"
    );
    let only = uvale(&world, &["stats", "--port", "vale0:c"]).ok();
    assert_eq!(rows(&only)[1..], [idle("vale0:c"), receiver]);
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
    let first = text.lines().nth(1).expect("a line for tx");
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
    let text = uvale(&world, &["stats"]).ok();
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
            words.len() > 2 && words[..2] == ["vale0:a", "tx"] && words[2] != "0"
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

/// The end of a cycle as kernel netmap has it: attached ports cannot be removed, detached ones are
/// not found, names are free when the port is gone.
#[test]
fn ctl_goes_the_kernels_way() {
    let world = World::new();
    let ctl = |args: &[&str]| uvale(&world, &[&["ctl"], args].concat());
    let said = ctl(&["-n", "v0", "-C", "512,256,2", "-v"]).ok();
    assert!(
        said.starts_with(
            "tx_slots:   512\nrx_slots:   256\ntx_rings:   2\nrx_rings:   2\nmem_id:  "
        ),
        "{said}"
    );
    ctl(&["-n", "v0"]).failed("failed to create v0: File exists (EEXIST)");
    let info = ctl(&["-g", "v0"]).ok();
    let info = rows(&info);
    assert_eq!(
        info[1..5].concat(),
        [
            "tx_slots:",
            "512",
            "rx_slots:",
            "256",
            "tx_rings:",
            "2",
            "rx_rings:",
            "2"
        ]
    );

    assert_eq!(ctl(&["-a", "vale2:v0", "-v"]).ok(), "port_index: 0\n");
    let busy =
        ctl(&["-a", "vale2:v0"]).failed("failed to attach vale2:v0: Device or resource busy");
    assert!(
        busy.contains("nmshim: VALE_ATTACH vale2:v0"),
        "with the reason: {busy}"
    );
    ctl(&["-a", "vale1:v0"]).failed("(EBUSY)");
    ctl(&["-r", "v0"]).failed("failed to remove v0: Device or resource busy (EBUSY)");
    assert_eq!(ctl(&[]).ok(), "vale2:v0 bridge_idx 0 port_idx 0\n");
    assert_eq!(
        ctl(&["-l", "vale2:v0"]).ok(),
        "bridge_idx: 0\nport_idx:   0\n"
    );
    ctl(&["-l", "v0"]).failed("invalid vale port name: 'v0'");
    ctl(&["-l", "vale9:v0"]).failed("(ENOENT)");
    assert_eq!(json(&world, &["ports"])[0]["kind"], "persistent");

    assert_eq!(ctl(&["-d", "vale2:v0", "-v"]).ok(), "port_index: 0\n");
    ctl(&["-d", "vale2:v0"]).failed("failed to detach vale2:v0: No such device or address (ENXIO)");
    assert_eq!(ctl(&["-a", "vale2:v0"]).ok(), "");
    assert_eq!(ctl(&["-d", "vale2:v0"]).ok(), "");
    assert_eq!(ctl(&[]).ok(), "");
    assert_eq!(ctl(&["-r", "v0"]).ok(), "");
    ctl(&["-r", "v0"]).failed("failed to remove v0: No such device or address (ENXIO)");
    assert_eq!(uvale(&world, &["ports"]).ok(), "no port is open\n");
}

#[test]
fn ctl_refuses_what_the_kernel_refuses() {
    let world = World::new();
    let ctl = |args: &[&str]| uvale(&world, &[&["ctl"], args].concat());
    ctl(&["-a", "vale0:nope"]).failed("(EINVAL)");
    ctl(&["-d", "vale0:nope"]).failed("(ENXIO)");
    ctl(&["-d", "nope"]).failed("(EINVAL)");
    let _held = hold(&world, "vale0:a");
    ctl(&["-a", "vale0:a"]).failed("(EBUSY)");
    ctl(&["-d", "vale0:a"]).failed("(EBUSY)");
    // only NICs are polled
    ctl(&["-p", "vale0:a", "-C", "0,0"]).failed("failed to enable polling on vale0:a");
    ctl(&["-P", "vale0:a"]).failed("failed to disable polling on vale0:a");
    // and what makes no sense does not get that far
    ctl(&["-p", "vale0:a"]).failed("-p needs -C");
    ctl(&["-n", "v0", "-C", "many"]).failed("'many' is no number");
    ctl(&["-n", "v0", "-m", "x"]).failed("-m x");
    ctl(&["-C", "1"]).failed("-C and -m go with");
    ctl(&["-r", &"x".repeat(64)]).failed("at most 63 bytes");
    assert_eq!(ctl(&[]).ok(), "vale0:a bridge_idx 0 port_idx 0\n");
}

#[test]
fn ctl_makes_ports_that_share_memory() {
    let world = World::new();
    let _held = hold(&world, "vale0:a");
    let mem_id = |name: &str| port(&json(&world, &["ports"]), name)["mem_id"].clone();
    let ctl = |args: &[&str]| uvale(&world, &[&["ctl"], args].concat()).ok();
    ctl(&["-n", "v0", "-m", "1"]);
    ctl(&["-n", "v1", "-m", "vale0:a"]);
    ctl(&["-n", "v2"]);
    assert_eq!(mem_id("v0"), 1);
    assert_eq!(mem_id("v1"), mem_id("vale0:a"));
    assert_ne!(mem_id("v2"), mem_id("vale0:a"));
    assert_ne!(mem_id("v2"), 1);
}

#[test]
fn ctl_takes_a_directory() {
    let world = World::new();
    let ctl = |args: &[&str]| {
        let mut command = Command::new(&target::binaries().uvale);
        command
            .arg("ctl")
            .args(args)
            .arg("--dir")
            .arg(world.runtime_dir());
        command.env_remove("UVALE_DIR").env("UVALE_AUTOSTART", "0");
        Said::of(command)
    };
    ctl(&["-n", "v0"]).ok();
    assert_eq!(json(&world, &["ports"])[0]["name"], "v0");
    ctl(&["-r", "v0"]).ok();
    assert_eq!(json(&world, &["ports"]), Value::Array(Vec::new()));
}

/// A directory for a daemon that is no private world's.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let dir = std::env::temp_dir().join(format!("uvale-cli-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Place(dir)
    }

    fn uvale(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&target::binaries().uvale);
        command.args(args).arg("--dir").arg(&self.0);
        command.env_remove("UVALE_DIR");
        command
    }

    fn say(&self, args: &[&str]) -> Said {
        Said::of(self.uvale(args))
    }

    fn daemon(&self) -> Program {
        let daemon = Program::start("uvale daemon", self.uvale(&["daemon"]));
        daemon.wait_text("listening at");
        daemon
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const REPORTS: [&[&str]; 6] = [
    &["ports"],
    &["switches"],
    &["fdb", "vale0"],
    &["stats"],
    &["status"],
    &["stop"],
];

#[test]
fn reports_start_no_daemon() {
    let place = Place::new("none");
    for command in REPORTS {
        place.say(command).failed("no uvale daemon answers in");
        assert!(!place.0.exists(), "{command:?} made {}", place.0.display());
    }
    // what a killed daemon leaves behind is no daemon either
    let daemon = place.daemon();
    drop(daemon);
    assert!(place.0.join("uvale.sock").exists(), "it was killed");
    for command in REPORTS {
        place.say(command).failed("no uvale daemon answers in");
    }
}

#[test]
fn a_directory_that_others_can_write_to_is_not_trusted() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new("open");
    let _daemon = place.daemon();
    place.say(&["ports"]).ok();
    std::fs::set_permissions(&place.0, std::fs::Permissions::from_mode(0o777)).expect("it is ours");
    for command in REPORTS {
        place.say(command).failed("can be written by others");
    }
}

#[test]
fn stop_ends_the_daemon_of_the_directory() {
    let place = Place::new("stop");
    let other = Place::new("stop-other");
    let (mut daemon, mut bystander) = (place.daemon(), other.daemon());
    let watch = Program::start(
        "uvale stats --watch",
        place.uvale(&["stats", "--watch", "0.1"]),
    );
    watch.wait_text("per second");
    let said = place.say(&["stop"]).ok();
    assert!(said.contains("has left"), "{said}");
    assert!(daemon.has_ended());
    assert!(daemon.wait().success(), "{}", daemon.said());
    assert!(!place.0.join("uvale.sock").exists());
    place.say(&["stop"]).failed("no uvale daemon answers in");

    let mut watch = watch;
    assert_eq!(watch.wait().code(), Some(1), "{}", watch.said());
    watch.wait_text("the uvale daemon is gone");
    assert!(!bystander.has_ended());
    other.say(&["stop"]).ok();
}

/// A daemon that serves a socket which another process made, as systemd does: the process at the
/// other end of the connection is not the daemon, and must not get its signal.
#[test]
fn stop_leaves_the_maker_of_a_passed_socket_alone() {
    let place = Place::new("activated");
    std::fs::create_dir_all(&place.0).expect("the temporary folder can be written");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&place.0, std::fs::Permissions::from_mode(0o700)).expect("it is ours");
    let socket = or_skip!("passed socket", listener(&place.0.join("uvale.sock")));

    let mut command = Command::new("sh");
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
    command.args(["-c", script, "sh"]);
    command
        .arg(&target::binaries().uvale)
        .args(["daemon", "--dir"])
        .arg(&place.0);
    let mut daemon = Program::start("uvale daemon", {
        command.stdin(socket);
        command
    });
    daemon.wait_text("listening at");
    place.say(&["ports"]).ok();
    // were the signal sent to the maker, this test would be gone here
    let why = place.say(&["stop"]).failed("serves a socket that process");
    assert!(
        why.contains(&format!("process {} made", std::process::id())),
        "{why}"
    );
    assert!(!daemon.has_ended());
    place.say(&["ports"]).ok();
}

fn listener(path: &Path) -> Result<std::os::fd::OwnedFd, compat_tests::Skip> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let make = || -> rustix::io::Result<std::os::fd::OwnedFd> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::listen(&socket, 16)?;
        Ok(socket)
    };
    make().map_err(|e| compat_tests::Skip::required(format!("{}: {e}", path.display())))
}
