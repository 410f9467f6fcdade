//! NICs on a switch (`vale-ctl -a`, `-h`): traffic between the switch, the wire and the host, and what deaths leave.
//! Either side of the pair has a world of its own, so that the two ends are not joined.

use std::path::PathBuf;

use compat_tests::place::Place;
use compat_tests::programs::{assert_goes_on, end, kill, kills, moved, program, sleeps};
use compat_tests::wait::{deadline, until, wait_for};
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip, target};
use rustix::process::{Pid, Signal, kill_process};
use uvale_link::report::Polling;

use compat_tests::namespaces::{ADDRESSES, Ground, VETH};

const ROUNDS: usize = 6;

struct Stage {
    ground: Ground,
    /// of the namespace with the switch, and of the one behind the wire
    places: [Place; 2],
    traffic: PathBuf,
    ping: PathBuf,
}

impl Stage {
    fn new() -> Result<Stage, Skip> {
        Ok(Stage {
            traffic: program("traffic")?,
            ping: program("nic/ping")?,
            ground: Ground::new()?,
            places: [Place::new(), Place::new()],
        })
    }

    fn ctl(&self, args: &[&str]) -> String {
        let uvale = &target::binaries().uvale;
        let args = [&["ctl"], args].concat();
        let done = self.ground.spawn(0, &self.places[0], uvale, &[], &args);
        done.wait_success()
    }

    fn traffic(&self, side: usize, args: &[&str]) -> Program {
        let place = &self.places[side];
        self.ground
            .spawn_ready(side, place, &self.traffic, &[], args)
    }

    fn receive(&self, side: usize, port: &str) -> Program {
        self.traffic(side, &["rx", port, "loose=1", "how=poll"])
    }

    /// The process that brings in what arrives.
    fn runner(&self) -> Option<Pid> {
        let daemon = self.places[0].daemon_pid();
        std::fs::read_dir("/proc")
            .ok()?
            .flatten()
            .find_map(|entry| {
                let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
                let words: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
                let is_it = words[0] != "Z" && words[1].parse() == Ok(daemon);
                let pid = entry.file_name().to_str()?.parse().ok()?;
                is_it.then(|| Pid::from_raw(pid)).flatten()
            })
    }

    fn assert_pinged(&self, from: usize, address: &str) {
        let mut ping = self.ground.command(from);
        ping.arg(&self.ping).arg(address);
        Program::start("ping", ping).wait_success();
    }

    fn assert_over(&self) {
        for place in &self.places {
            place.assert_left_clean();
        }
        let gone = until(deadline(), || self.runner().is_none().then_some(()));
        assert!(gone.is_some(), "a runner is left");
        self.assert_pinged(0, ADDRESSES[1]);
    }
}

#[test]
fn packets_pass_both_ways() {
    let stage = or_skip!("a NIC on a switch", Stage::new());
    stage.ctl(&["-a", "vale0:veth0"]);
    assert_eq!(stage.ctl(&[]).lines().count(), 1);
    let (mut near, mut far) = (stage.receive(0, "vale0:r"), stage.receive(1, VETH));
    let out = stage.traffic(0, &["tx", "vale0:s"]);
    assert_goes_on(&mut far, "from the switch");
    end(out);
    let before = moved(&near);
    let out = stage.traffic(1, &["tx", VETH, "id=2"]);
    assert_goes_on(&mut near, &format!("from the wire, after {before}"));
    for program in [out, near, far] {
        end(program);
    }
    stage.ctl(&["-d", "vale0:veth0"]);
    stage.assert_over();
}

/// The hosts of both sides reach each other through the switch, and so does a program there.
#[test]
fn hosts_talk_through_the_switch() {
    let stage = or_skip!("a host on a switch", Stage::new());
    stage.ctl(&["-h", "vale0:veth0"]);
    assert_eq!(stage.ctl(&[]).lines().count(), 2);
    stage.assert_pinged(0, ADDRESSES[1]);
    stage.assert_pinged(1, ADDRESSES[0]);
    let mut near = stage.receive(0, "vale0:r");
    let out = stage.traffic(0, &["tx", "vale0:s"]);
    assert_goes_on(&mut near, "beside the host");
    end(out);
    end(near);
    stage.ctl(&["-d", "vale0:veth0"]);
    stage.assert_over();
}

/// Without `-h` nobody takes what the host sends: the runner sleeps all the same.
#[test]
fn what_the_host_sends_keeps_no_runner_awake() {
    let stage = or_skip!("a runner that sleeps", Stage::new());
    stage.ctl(&["-a", "vale0:veth0"]);
    let runner = until(deadline(), || stage.runner()).expect("a runner");
    let runner = runner.as_raw_nonzero();
    let mut ask = stage.ground.command(0);
    ask.arg(&stage.ping).args([ADDRESSES[1], "3", "send"]);
    Program::start("ask", ask).wait_success();
    for _ in 0..3 {
        let before = sleeps(runner);
        wait_for("the runner to sleep", || sleeps(runner) >= before + 5);
    }
    stage.ctl(&["-d", "vale0:veth0"]);
    stage.assert_over();
}

#[test]
fn polling() {
    let stage = or_skip!("polling", Stage::new());
    stage.ctl(&["-a", "vale0:veth0"]);
    stage.ctl(&["-p", "vale0:veth0", "-C", "0,0,1"]);
    let mut near = stage.receive(0, "vale0:r");
    let out = stage.traffic(1, &["tx", VETH]);
    assert_goes_on(&mut near, "while it is polled");
    let shown = || {
        stage.places[0]
            .port(VETH)
            .expect("it is open")
            .nic
            .expect("a NIC")
    };
    assert_eq!(shown().attached.as_deref(), Some("vale0:veth0"));
    assert_eq!(shown().polling, Some(Polling::One(0)));
    stage.ctl(&["-P", "vale0:veth0"]);
    assert_eq!(shown().polling, None);
    assert_goes_on(&mut near, "while it is not");
    end(out);
    end(near);
    stage.ctl(&["-d", "vale0:veth0"]);
    stage.assert_over();
}

/// Two NICs on one switch: what arrives at one leaves by the other.
#[test]
fn two_nics_forward() {
    let stage = or_skip!("two NICs on a switch", Stage::new());
    let second = stage.ground.shell(
        0,
        "ip link add in0 type veth peer name in1 && ip link set in0 up && ip link set in1 up \
         && echo 1 > /proc/sys/net/ipv6/conf/in1/disable_ipv6",
    );
    second.assert_code(0);
    stage.ctl(&["-a", "vale0:veth0"]);
    stage.ctl(&["-a", "vale0:in0"]);
    let mut far = stage.receive(1, VETH);
    // In a third world, so that it is not joined with the port that it sends to.
    let third = Place::new();
    let out = stage
        .ground
        .spawn_ready(0, &third, &stage.traffic, &[], &["tx", "in1"]);
    assert_goes_on(&mut far, "through both");
    end(out);
    end(far);
    for name in ["vale0:veth0", "vale0:in0"] {
        stage.ctl(&["-d", name]);
    }
    third.assert_left_clean();
    stage.assert_over();
}

/// Attached, and the other end open in the same world: joined.
#[test]
fn joined() {
    let stage = or_skip!("a joined NIC on a switch", Stage::new());
    stage.ctl(&["-a", "vale0:veth0"]);
    let place = &stage.places[0];
    let args = ["rx", VETH, "loose=1"];
    let mut far = stage
        .ground
        .spawn_ready(1, place, &stage.traffic, &[], &args);
    let out = stage.traffic(0, &["tx", "vale0:s"]);
    assert_goes_on(&mut far, "from the switch");
    end(out);
    end(far);
    let mut near = stage.receive(0, "vale0:r");
    let args = ["tx", VETH, "id=2"];
    let out = stage
        .ground
        .spawn_ready(1, place, &stage.traffic, &[], &args);
    assert_goes_on(&mut near, "from the other end");
    end(out);
    end(near);
    stage.ctl(&["-d", "vale0:veth0"]);
    stage.assert_over();
}

#[test]
fn killed_runners_and_senders() {
    let stage = or_skip!("killed runners", Stage::new());
    stage.ctl(&["-a", "vale0:veth0"]);
    let (mut near, mut far) = (stage.receive(0, "vale0:r"), stage.receive(1, VETH));
    let out = stage.traffic(1, &["tx", VETH, "id=2"]);
    let before = stage.places[0].buffers_in_use(VETH);
    for round in 0..kills(ROUNDS) {
        assert_goes_on(&mut near, "before the runner is killed");
        let runner = until(deadline(), || stage.runner()).expect("a runner");
        kill_process(runner, Signal::KILL).expect("it is ours");
        assert_goes_on(&mut near, "after the runner was killed");
        let victim = stage.traffic(0, &["tx", "vale0:s"]);
        assert_goes_on(&mut far, "from the switch");
        kill(victim);
        let after = stage.places[0].buffers_in_use(VETH);
        assert_eq!(after, before, "buffers lost in round {round}");
    }
    for program in [out, near, far] {
        end(program);
    }
    let log = stage.places[0].log();
    assert!(log.contains("vale0:veth0: its runner (pid "), "{log}");
    assert!(!log.contains(" { "), "words of the program's own:\n{log}");
    stage.ctl(&["-d", "vale0:veth0"]);
    stage.assert_over();
}

/// The daemon is killed: its runner ends, and the interface is the host's again.
#[test]
fn a_killed_daemon() {
    let mut stage = or_skip!("a killed daemon", Stage::new());
    stage.ctl(&["-h", "vale0:veth0"]);
    until(deadline(), || stage.runner()).expect("a runner");
    let runner = stage.runner().expect("it is there");
    stage.places[0].signal_daemon(Signal::KILL);
    let gone = until(deadline(), || {
        rustix::process::test_kill_process(runner)
            .is_err()
            .then_some(())
    });
    assert!(gone.is_some(), "the runner outlives the daemon");
    stage.assert_pinged(0, ADDRESSES[1]);
    stage.places[0].start_daemon(&[]);
    stage.assert_over();
}

/// The interface is moved to a third namespace while it is on the switch: the host there has all of it, although the
/// port is there until it is detached.
#[test]
fn a_moved_interface() {
    let stage = or_skip!("a moved interface", Stage::new());
    stage.ctl(&["-a", "vale0:veth0"]);
    let shown = || stage.places[0].port(VETH).expect("it is there").nic;
    wait_for("its wire", || {
        shown().is_some_and(|nic| nic.stolen || !nic.why.is_empty())
    });
    let mut third = stage.ground.command(0);
    third.args([
        "unshare",
        "--net",
        "sh",
        "-c",
        "echo ready; exec sleep infinity",
    ]);
    let third = Program::start("third", third);
    third.wait_line("ready", |l| l == "ready");
    let (pid, address) = (third.pid().as_raw_nonzero(), ADDRESSES[0]);
    let move_it = format!(
        "ip link set {VETH} netns {pid} && nsenter --target {pid} --net sh -c \
         'ip address add {address}/30 dev {VETH} && ip link set {VETH} up'"
    );
    stage.ground.shell(0, &move_it).assert_code(0);
    stage.assert_pinged(1, address);
    assert!(shown().is_some_and(|nic| nic.gone && !nic.stolen));
    assert_eq!(stage.ctl(&[]).lines().count(), 1, "it is on the switch");
    stage.ctl(&["-d", "vale0:veth0"]);
    stage.places[0].assert_left_clean();
    kill(third);
}

/// The interface is deleted while it is on the switch: it stays listed, and can be detached.
#[test]
fn a_deleted_interface() {
    let stage = or_skip!("a deleted interface", Stage::new());
    stage.ctl(&["-h", "vale0:veth0"]);
    stage
        .ground
        .shell(0, &format!("ip link delete {VETH}"))
        .assert_code(0);
    assert_eq!(stage.ctl(&[]).lines().count(), 2);
    end(stage.traffic(0, &["tx", "vale0:s", "n=5000", "then=hold"]));
    stage.ctl(&["-d", "vale0:veth0"]);
    stage.places[0].assert_left_clean();
}
