//! `uvale nic-helper`: users without rights get the wires that its rules allow, and nothing else; whatever they send,
//! and whenever anything is killed, nothing stays behind.
//!
//! Each test has network namespaces of its own. One stands for the machine's, in which the helper runs.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use compat_tests::place::Place;
use compat_tests::programs::kills;
use compat_tests::wait::{until, wait_for};
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip, target};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Gid, Signal, Uid};
use uvale_link::channel;
use uvale_link::nic_helper::{self, PROTOCOL, Question};
use uvale_link::proto::encode;
use uvale_system::refusal::Refusal;
use uvale_system::sys::{Fd, network_of};
use uvale_wire::interface::look_up;
use uvale_wire::{Carrier, Kind, Opened, Wanted, Wire};

/// Users without any rights: what the system calls them does not matter.
const NOBODY: u32 = 65534;
const OTHER: u32 = 60001;
const STRANGER: u32 = 60002;
/// A group that is in no database.
const MEMBERS: u32 = 60010;

/// A network namespace, which lives as long as this.
struct Namespace(Program);

impl Namespace {
    fn new(name: &str) -> Result<Self, Skip> {
        if !rustix::process::geteuid().is_root() {
            return Err(Skip::optional("it takes root to make interfaces"));
        }
        let probe = Command::new("unshare")
            .args(["--net", "ip", "link", "add", "va0", "type", "veth"])
            .output();
        match probe {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(Skip::optional(format!("no veth pairs here: {why}")));
            }
            Err(e) => return Err(Skip::optional(format!("unshare: {e}"))),
        }
        let mut command = Command::new("unshare");
        let script = "ip link set lo up; echo ready; exec sleep infinity";
        command
            .args(["--net", "sh", "-c", script])
            .stdin(Stdio::null());
        let keeper = Program::start(name, command);
        keeper.wait_line("ready", |l| l == "ready");
        Ok(Self(keeper))
    }

    fn pid(&self) -> String {
        self.0.pid().as_raw_nonzero().to_string()
    }

    fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--net", "--target", &self.pid(), "--"])
            .arg(program);
        command.stdin(Stdio::null());
        command
    }

    /// What a command in it says.
    fn run(&self, words: &str) -> String {
        let words: Vec<&str> = words.split(' ').collect();
        let output = self
            .inside(words[0])
            .args(&words[1..])
            .output()
            .expect("it starts");
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A veth pair: `near` in it, `far` in another one, both up.
    fn pair(&self, near: &str, far: &str, other: &Namespace) {
        let there = other.pid();
        self.run(&format!(
            "ip link add {near} type veth peer name {far} netns {there}"
        ));
        self.run(&format!("ip link set {near} up"));
        other.run(&format!("ip link set {far} up"));
    }

    /// What a thread does that stands in it and is that user's, without any right.
    fn as_user<T: Send>(&self, uid: u32, groups: &[u32], act: impl FnOnce() -> T + Send) -> T {
        let there =
            std::fs::File::open(format!("/proc/{}/ns/net", self.pid())).expect("it is there");
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                use rustix::thread::{
                    LinkNameSpaceType, move_into_link_name_space, set_thread_groups,
                    set_thread_res_gid, set_thread_res_uid,
                };
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(there.as_fd(), kind).expect("root may");
                let groups: Vec<_> = groups.iter().map(|g| Gid::from_raw(*g)).collect();
                set_thread_groups(&groups).expect("root may");
                if uid != 0 {
                    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
                    set_thread_res_gid(gid, gid, gid).expect("root may");
                    set_thread_res_uid(uid, uid, uid).expect("root may");
                }
                act()
            });
            thread.join().expect("the thread ends well")
        })
    }

    /// Nothing that a wire needs is left here.
    fn assert_clean(&self) {
        let links = || self.run("ip -o link");
        let gone = until(Duration::from_secs(10), || {
            (!links().contains("uv")).then_some(())
        });
        assert!(gone.is_some(), "left: {}", links());
        let tables = self.inside("nft").args(["list", "tables"]).output();
        let tables = tables.map_or_else(
            |e| e.to_string(),
            |o| String::from_utf8_lossy(&o.stdout).into_owned(),
        );
        assert!(!tables.contains("uvale"), "left: {tables}");
    }
}

/// A machine: interfaces `e1` and `e2` with their other ends `p1` and `p2` elsewhere, and a helper.
struct Machine {
    helper: Option<Program>,
    own: Namespace,
    elsewhere: Namespace,
    place: Place,
}

impl Machine {
    fn new(rules: &str) -> Result<Self, Skip> {
        let (own, elsewhere) = (Namespace::new("own")?, Namespace::new("elsewhere")?);
        own.pair("e1", "p1", &elsewhere);
        own.pair("e2", "p2", &elsewhere);
        let place = Place::empty();
        // The users of these tests go through here.
        std::fs::set_permissions(place.dir(), std::fs::Permissions::from_mode(0o755))
            .expect("ours");
        let mut machine = Self {
            helper: None,
            own,
            elsewhere,
            place,
        };
        machine.allow(rules);
        machine.start();
        Ok(machine)
    }

    fn socket(&self) -> PathBuf {
        self.place.file("run/socket")
    }

    fn rules(&self) -> PathBuf {
        self.place.file("allow")
    }

    /// Replaces the rules.
    fn allow(&self, rules: &str) {
        let new = self.place.file("allow.new");
        let mut file = std::fs::File::create(&new).expect("the folder is ours");
        file.write_all(rules.as_bytes()).expect("there is room");
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o644)).expect("ours");
        std::fs::rename(new, self.rules()).expect("ours");
    }

    fn command(&self) -> Command {
        let mut command = self.own.inside(&target::binaries().uvale);
        command.args(["nic-helper", "--socket"]).arg(self.socket());
        command.arg("--allow").arg(self.rules());
        command
    }

    fn start(&mut self) {
        let helper = Program::start("nic-helper", self.command());
        helper.wait_text("listening at");
        self.helper = Some(helper);
    }

    /// Why the helper does not start.
    fn fault(&self) -> String {
        let output = self.command().output().expect("it starts");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn log(&self) -> String {
        self.helper.as_ref().map_or_else(String::new, Program::said)
    }

    /// A wire of an interface of the machine's, asked for by a user.
    fn ask(&self, uid: u32, name: &str) -> Result<Opened, Refusal> {
        let socket = self.socket();
        self.own.as_user(uid, &[], || ask(&socket, name))
    }

    /// Processes of the helper besides the one that listens.
    fn requests(&self) -> usize {
        let pid = self
            .helper
            .as_ref()
            .expect("it runs")
            .pid()
            .as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        children
            .expect("the helper runs")
            .split_whitespace()
            .count()
    }
}

/// A wire of an interface in the namespace of this thread.
fn ask(socket: &Path, name: &str) -> Result<Opened, Refusal> {
    let interface = look_up(name.as_bytes()).expect("the interface is there");
    let wanted = Wanted {
        name,
        interface: &interface,
        rings: [1, 1],
        host: true,
        steal: true,
        programs: true,
        carrier: Carrier::Packet,
    };
    nic_helper::ask(socket, &wanted)
}

fn errno(answer: Result<Opened, Refusal>) -> (Errno, String) {
    let refusal = answer
        .map(|opened| opened.shape)
        .expect_err("it is refused");
    (refusal.errno, refusal.why)
}

/// A wire that root opens without anybody's help.
fn open(namespace: &Namespace, name: &str) -> Opened {
    namespace.as_user(0, &[], || {
        let interface = look_up(name.as_bytes()).expect("the interface is there");
        let opened = uvale_wire::open(&Wanted {
            name,
            interface: &interface,
            rings: [1, 1],
            host: false,
            steal: false,
            programs: true,
            carrier: Carrier::Packet,
        });
        opened.expect("root may")
    })
}

/// A frame of ours.
fn frame(number: u32) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.extend(number.to_be_bytes());
    frame.resize(60, 0);
    frame
}

/// Both ways, in order.
fn assert_joined(one: Opened, other: Opened) {
    for opened in [&one, &other] {
        assert_eq!(
            (opened.shape.kind, opened.shape.frames.len()),
            (Kind::Packet, 1),
            "{:?}",
            opened.shape
        );
    }
    let sender = |opened: &Opened| {
        let fd = opened.fds[opened.shape.frames.len()].as_fd();
        Fd::from(rustix::io::fcntl_dupfd_cloexec(fd, 0).expect("there is room"))
    };
    let senders = [sender(&one), sender(&other)];
    let (kept, wires): (Vec<_>, Vec<_>) = [one, other]
        .map(|o| (o.kept, Wire::new(o.shape, o.fds).expect("a wire")))
        .into_iter()
        .unzip();
    for (from, to) in [(0, 1), (1, 0)] {
        for number in 0..50 {
            let sent = rustix::net::send(&senders[from], &frame(number), SendFlags::empty());
            assert_eq!(sent, Ok(60));
        }
        let frames = wires[to].frames(0).expect("a ring");
        let (mut at, mut next) = (0, 0);
        wait_for("50 frames", || {
            at = frames.take_in(
                at,
                |_| {},
                |packet| {
                    let bytes = packet.pieces.concat();
                    // The system has things of its own to send.
                    if bytes[12..14] == [0x88, 0xb5] {
                        assert_eq!(bytes, frame(next));
                        next += 1;
                    }
                    true
                },
            );
            next == 50
        });
    }
    drop((wires, kept));
}

#[test]
fn nobody_gets_the_wire_of_one_interface_and_no_other() {
    let machine = or_skip!("one interface", Machine::new(&format!("{NOBODY} e1\n")));
    let opened = machine.ask(NOBODY, "e1").expect("it is allowed");
    assert!(
        opened.shape.is_stolen && opened.shape.host.is_none(),
        "{:?}",
        opened.shape
    );
    // Whoever has a packet socket can turn it to any interface of its namespace. Here there is none to turn to.
    let own = open(&machine.own, "e2");
    for fd in &opened.fds {
        let ours =
            rustix::fs::fstat(network_of(&own.fds[0]).expect("root may ask")).expect("it is there");
        let its = rustix::fs::fstat(network_of(fd).expect("root may ask")).expect("it is there");
        assert_ne!(ours.st_ino, its.st_ino);
    }
    let names = machine.own.run("ip -o link");
    assert!(names.contains("uvh"), "{names}");
    assert_joined(opened, open(&machine.elsewhere, "p1"));
    machine.own.assert_clean();

    let (errno, why) = errno(machine.ask(NOBODY, "e2"));
    assert_eq!(errno, Errno::ACCESS);
    assert!(
        why.contains(&format!("e2 is not allowed for user {NOBODY} in")),
        "{why}"
    );
}

/// The whole way: a program of nobody's, the shim, a daemon of nobody's.
#[test]
fn a_program_of_nobodys_sends_by_the_interface() {
    let machine = or_skip!("a program", Machine::new(&format!("{NOBODY} e1\n")));
    let there = open(&machine.elsewhere, "p1");
    let there = Wire::new(there.shape, there.fds).expect("a wire");
    let world = machine.place.file("world");
    std::fs::create_dir(&world).expect("the folder is ours");
    std::fs::set_permissions(&world, std::fs::Permissions::from_mode(0o700)).expect("ours");
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    rustix::fs::chown(&world, Some(uid), Some(gid)).expect("root may");
    let uvale = target::binaries().uvale.display().to_string();
    let mut command = machine.own.inside("setpriv");
    let (uid, gid) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
    command
        .args([&uid, &gid, "--clear-groups", &uvale, "run", "--", &uvale])
        .args(["gen", "-i", "netmap:e1", "-f", "tx", "-n", "100", "-w", "0"])
        .env("UVALE_DIR", &world)
        .env("UVALE_NIC_HELPER", machine.socket());
    Program::start("gen", command).wait_success();
    let frames = there.frames(0).expect("a ring");
    let (mut at, mut seen) = (0, 0);
    wait_for("100 packets", || {
        at = frames.take_in(
            at,
            |_| {},
            |packet| {
                // IPv4, which nobody else has reason to send here.
                seen += u32::from(packet.pieces.concat()[12..14] == [8, 0]);
                true
            },
        );
        seen == 100
    });
    let mut stop = machine.own.inside("setpriv");
    stop.args([&uid, &gid, "--clear-groups", &uvale, "stop", "--dir"]);
    stop.arg(&world);
    Program::start("stop", stop).wait_success();
    machine.own.assert_clean();
}

#[test]
fn who_may_use_all_interfaces_gets_the_wire_itself() {
    let machine = or_skip!("all interfaces", Machine::new(&format!("@{MEMBERS} *\n")));
    let socket = machine.socket();
    let opened = machine
        .own
        .as_user(OTHER, &[MEMBERS], || ask(&socket, "e1"));
    let opened = opened.expect("it is allowed");
    let names = machine.own.run("ip -o link");
    assert!(!names.contains("uvh"), "{names}");
    assert_joined(opened, open(&machine.elsewhere, "p1"));
    machine.own.assert_clean();
    // Not of the group.
    let (errno, why) = errno(machine.ask(OTHER, "e1"));
    assert_eq!(errno, Errno::ACCESS);
    assert!(
        why.contains(&format!(
            "no line of {} is about user {OTHER}",
            machine.rules().display()
        )),
        "{why}"
    );
}

#[test]
fn interfaces_of_other_namespaces_have_rules_of_their_own() {
    let rules = format!("{NOBODY} */p1\n{OTHER} p1\n{OTHER} e*\n");
    let machine = or_skip!("other namespaces", Machine::new(&rules));
    let socket = machine.socket();
    let there = |uid, name: &str| machine.elsewhere.as_user(uid, &[], || ask(&socket, name));
    let opened = there(NOBODY, "p1").expect("it is allowed");
    assert_joined(opened, open(&machine.own, "e1"));
    machine.elsewhere.assert_clean();
    for (refusal, says) in [
        (there(NOBODY, "p2"), "*/p2 is not allowed"),
        (there(OTHER, "p1"), "*/p1 is not allowed"),
        (machine.ask(NOBODY, "e1"), "e1 is not allowed"),
    ] {
        let (errno, why) = errno(refusal);
        assert!(
            errno == Errno::ACCESS && why.contains(says),
            "{errno}: {why}"
        );
    }
}

/// Sends bytes with descriptors, and gives what is answered.
fn say(socket: &Path, bytes: &[u8], with: &[&Fd]) -> String {
    let connection = connect(socket);
    let fds: Vec<_> = with.iter().map(AsFd::as_fd).collect();
    let sent = channel::send_bytes(connection.as_fd(), bytes, &fds, SendFlags::empty());
    sent.expect("it is sent");
    let receive = || channel::receive(connection.as_fd(), RecvFlags::empty());
    // That the helper has left something unread comes first, as an error.
    let answer = receive().or_else(|_| receive()).expect("an answer");
    let answer = answer.expect("an answer");
    assert_eq!(answer.fds.len(), 0);
    String::from_utf8_lossy(&answer.bytes).into_owned()
}

fn connect(socket: &Path) -> Fd {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let fd = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None).expect("a socket");
    let address = SocketAddrUnix::new(socket).expect("a short name");
    rustix::net::connect(&fd, &address).expect("the helper listens");
    fd.into()
}

#[test]
fn whatever_is_asked_in_a_wrong_way_is_refused() {
    let machine = or_skip!("nonsense", Machine::new(&format!("{NOBODY} *\n")));
    let socket = machine.socket();
    machine.own.as_user(NOBODY, &[], || {
        let e1 = look_up(b"e1").expect("it is there");
        let right = Question {
            protocol: PROTOCOL,
            name: "e1".into(),
            index: e1.index,
            rings: [1, 1],
            carrier: Carrier::Packet,
        };
        let ask = |question: &Question, with: &[&Fd]| say(&socket, &encode(question), with);
        let own = Fd::from(
            rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None).expect("a socket"),
        );
        let file = |path: &str| {
            Fd::from(std::os::fd::OwnedFd::from(
                std::fs::File::open(path).expect("it is there"),
            ))
        };
        for path in [
            "/dev/null",
            "/proc/thread-self/ns/net",
            "/proc/thread-self/ns/mnt",
        ] {
            let why = ask(&right, &[&file(path)]);
            assert!(
                why.contains("no socket of a network namespace"),
                "{path}: {why}"
            );
        }
        let why = ask(&right, &[]);
        assert!(why.contains("without a socket"), "{why}");
        let index = look_up(b"e2").expect("it is there").index;
        let name = "e9".to_owned();
        let wrong = [
            (
                Question {
                    index,
                    ..right.clone()
                },
                "no interface of this name and number",
            ),
            (
                Question {
                    name,
                    ..right.clone()
                },
                "no interface of this name and number",
            ),
            (
                Question {
                    rings: [1000, 1],
                    ..right.clone()
                },
                "1000 and 1 rings",
            ),
            (
                Question {
                    protocol: PROTOCOL + 1,
                    ..right.clone()
                },
                "different versions",
            ),
        ];
        for (question, says) in wrong {
            let why = ask(&question, &[&own]);
            assert!(why.contains(says), "{why}");
        }
        for bytes in [&b"\xff"[..], &[0; 9], &[1; 16 * 1024]] {
            say(&socket, bytes, &[&own]);
        }
    });
    machine.ask(NOBODY, "e1").expect("it goes on");
    let log = machine.log();
    assert!(!log.contains("panicked"), "{log}");
    machine.own.assert_clean();
}

#[test]
fn rules_that_are_none_are_refused() {
    let machine = or_skip!("rules", Machine::new("# nobody may do anything\n"));
    let rules = machine.rules();
    for (text, says) in [
        ("\nalice\n", "line 2: not `USER INTERFACE`"),
        (
            "0 a b\n0 lab/e1\n",
            "line 1: not `USER INTERFACE` or `@GROUP INTERFACE`; line 2: lab/e1:",
        ),
        ("no-such-user e1\n", "line 1: there is no user no-such-user"),
        (
            "@no-such-group e1\n",
            "line 1: there is no group no-such-group",
        ),
    ] {
        machine.allow(text);
        let why = machine.fault();
        assert!(why.contains(says), "{why}");
    }
    machine.allow("");
    std::fs::set_permissions(&rules, std::fs::Permissions::from_mode(0o664)).expect("ours");
    assert!(machine.fault().contains("can be written by others"));
    std::fs::set_permissions(&rules, std::fs::Permissions::from_mode(0o644)).expect("ours");
    rustix::fs::chown(&rules, Some(Uid::from_raw(OTHER)), None).expect("root may");
    assert!(machine.fault().contains("has to be root's"));
    std::fs::remove_file(&rules).expect("ours");
    assert!(machine.fault().contains("says who may use which interface"));
    // The helper that runs: as the file is now, so is the answer.
    assert!(
        errno(machine.ask(NOBODY, "e1"))
            .1
            .contains("nobody is allowed anything")
    );
    machine.allow(&format!("{NOBODY} e1\n"));
    machine.ask(NOBODY, "e1").expect("it is allowed");
    machine.allow(&format!("{NOBODY} e1\noops\n"));
    assert!(
        errno(machine.ask(NOBODY, "e1"))
            .1
            .contains("nobody is allowed anything")
    );
    wait_for("the log", || machine.log().contains("line 2"));
    machine.own.assert_clean();
}

#[test]
fn who_floods_it_or_sleeps_harms_nobody_else() {
    let machine = or_skip!("a flood", Machine::new(&format!("{NOBODY} *\n{OTHER} *\n")));
    let socket = machine.socket();
    // More than one user may have, none of whom ever asks, reads or hangs up.
    let sleepers: Vec<Fd> = machine
        .own
        .as_user(NOBODY, &[], || (0..4).map(|_| connect(&socket)).collect());
    wait_for("four requests", || machine.requests() == 4);
    let busy: Vec<Fd> = machine
        .own
        .as_user(NOBODY, &[], || (0..60).map(|_| connect(&socket)).collect());
    let strangers: Vec<Fd> = machine.own.as_user(STRANGER, &[], || {
        (0..60).map(|_| connect(&socket)).collect()
    });
    machine.ask(OTHER, "e1").expect("another user is served");
    let answer = |fd: &Fd| {
        let answer = channel::receive(fd.as_fd(), RecvFlags::empty())
            .expect("an answer")
            .expect("an answer");
        String::from_utf8_lossy(&answer.bytes).into_owned()
    };
    // Of one user even so many refusals at a time are too many.
    for fd in &strangers {
        let why = answer(fd);
        let refused = ["is about user", "under way already"]
            .iter()
            .any(|says| why.contains(says));
        assert!(refused, "{why}");
    }
    let refused = busy
        .iter()
        .filter(|fd| answer(fd).contains("requests under way already"))
        .count();
    assert!(refused > 0, "{}", machine.log());
    for fd in &sleepers {
        assert!(answer(fd).contains("no question came"));
    }
    wait_for("no request under way", || machine.requests() == 0);
    // Answers that nobody reads, and callers that are gone before they are answered.
    machine.own.as_user(NOBODY, &[], || {
        let index = look_up(b"e1").expect("it is there").index;
        let question = Question {
            protocol: PROTOCOL,
            name: "e1".into(),
            index,
            rings: [1, 1],
            carrier: Carrier::Packet,
        };
        let own =
            rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None).expect("a socket");
        for _ in 0..20 {
            let connection = connect(&socket);
            let with = [own.as_fd()];
            let _ = channel::send(connection.as_fd(), &question, &with, SendFlags::empty());
        }
    });
    // Some of them may still wait to be accepted.
    wait_for("it goes on", || machine.ask(NOBODY, "e1").is_ok());
    machine.own.assert_clean();
}

#[test]
fn killed_it_leaves_nothing_and_what_it_gave_goes_on() {
    let mut machine = or_skip!(
        "kill -9",
        Machine::new(&format!("{NOBODY} e1\n{OTHER} *\n"))
    );
    let given = machine.ask(NOBODY, "e1").expect("it is allowed");
    let socket = machine.socket();
    for round in 0..kills(20) as u64 {
        // Somewhere in the middle of a request.
        let asked = std::thread::scope(|scope| {
            let helper = machine.helper.as_ref().expect("it runs");
            scope.spawn(move || {
                std::thread::sleep(Duration::from_micros(300 * (round % 20)));
                helper.signal(Signal::KILL);
            });
            machine.own.as_user(OTHER, &[], || ask(&socket, "e2"))
        });
        drop(asked);
        machine.helper = None;
        machine.start();
    }
    let links = machine.own.run("ip -o link");
    assert_eq!(links.matches("uvh").count(), 1, "{links}");
    assert_joined(given, open(&machine.elsewhere, "p1"));
    machine.own.assert_clean();
}
