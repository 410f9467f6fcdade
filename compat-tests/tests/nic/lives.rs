//! kill -9 of whoever uses a NIC port, and of the daemon, under traffic: the other end goes on, the interface is the
//! host's again, and of what was set up for the port nothing is left.

use std::path::PathBuf;

use compat_tests::place::Place;
use compat_tests::programs::{GONE, assert_goes_on, end, kill, kills, program, tail};
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip};
use rustix::process::Signal;

use compat_tests::namespaces::{ADDRESSES, Ground, VETH};

/// How often each is killed.
const KILLS: usize = 12;

const HOW: [&str; 4] = ["sync", "poll", "epoll", "select"];

struct Lives {
    ground: Ground,
    place: Place,
    traffic: PathBuf,
    ping: PathBuf,
}

impl Lives {
    fn new() -> Result<Lives, Skip> {
        let lives = Lives {
            traffic: program("traffic")?,
            ping: program("nic/ping")?,
            ground: Ground::new()?,
            place: Place::new(),
        };
        lives.assert_untouched();
        Ok(lives)
    }

    /// An end of the pair. It counts packets, and does not mind what the host says in between.
    fn start(&self, side: usize, part: &str, round: usize) -> Program {
        let how = format!("how={}", HOW[round % HOW.len()]);
        let id = format!("id={}", round % 256);
        let loose: &[&str] = if part == "rx" { &["loose=1"] } else { &[] };
        let args = [&[part, VETH, &how, &id], loose].concat();
        self.ground
            .spawn_ready(side, &self.place, &self.traffic, &[], &args)
    }

    /// Both namespaces are as they were when they were made, and the hosts reach each other.
    fn assert_untouched(&self) {
        for side in 0..2 {
            self.ground.assert_clean(side);
            let mut ping = self.ground.command(side);
            ping.arg(&self.ping).arg(ADDRESSES[1 - side]);
            Program::start("ping", ping).wait_success();
        }
    }
}

#[test]
fn killed_receivers() {
    let lives = or_skip!("killed receivers", Lives::new());
    let mut sender = lives.start(0, "tx", 0);
    assert_goes_on(&mut sender, "onto a wire");
    let before = lives.place.buffers_in_use(VETH);
    for round in 0..kills(KILLS) {
        let mut victim = lives.start(1, "rx", round);
        assert_goes_on(&mut victim, "before it is killed");
        kill(victim);
        assert_goes_on(&mut sender, "after its receiver was killed");
        let after = lives.place.buffers_in_use(VETH);
        assert_eq!(after, before, "buffers lost in round {round}");
    }
    end(sender);
    lives.place.assert_left_clean();
    lives.assert_untouched();
}

#[test]
fn killed_senders() {
    let lives = or_skip!("killed senders", Lives::new());
    let mut receiver = lives.start(1, "rx", 1);
    let before = lives.place.buffers_in_use(VETH);
    for round in 0..kills(KILLS) {
        let mut victim = lives.start(0, "tx", round);
        assert_goes_on(&mut victim, "before it is killed");
        assert_goes_on(&mut receiver, "before its sender is killed");
        kill(victim);
        let after = lives.place.buffers_in_use(VETH);
        assert_eq!(after, before, "buffers lost in round {round}");
    }
    let mut last = lives.start(0, "tx", 0);
    assert_goes_on(&mut last, "after others were killed");
    assert_goes_on(&mut receiver, "after its senders were killed");
    end(last);
    end(receiver);
    lives.place.assert_left_clean();
    lives.assert_untouched();
}

/// Each time nobody is left who has the port open.
#[test]
fn killed_openers() {
    let lives = or_skip!("killed openers", Lives::new());
    for round in 0..kills(KILLS) {
        let mut victim = lives.start(0, "tx", round);
        assert_goes_on(&mut victim, "before it is killed");
        kill(victim);
        lives.place.assert_left_clean();
        lives.assert_untouched();
    }
}

#[test]
fn killed_daemons() {
    let mut lives = or_skip!("killed daemons", Lives::new());
    for round in 0..kills(KILLS) {
        let receiver = lives.start(1, "rx", round);
        let mut sender = lives.start(0, "tx", round + 1);
        assert_goes_on(&mut sender, "before the daemon is killed");
        lives.place.signal_daemon(Signal::KILL);
        for mut program in [sender, receiver] {
            let status = program.wait();
            let code = status.code();
            assert_eq!(code, Some(GONE), "{status:?}: {}", tail(&program));
        }
        lives.assert_untouched();
        lives.place.start_daemon(&[]);
    }
}

/// Processes that are killed at any moment while they open the port.
#[test]
fn killed_while_they_open() {
    let lives = or_skip!("killed while they open", Lives::new());
    let mut sender = lives.start(0, "tx", 0);
    for round in 0..kills(KILLS) {
        let args = ["rx", VETH, "loose=1"];
        let victim = lives
            .ground
            .spawn(1, &lives.place, &lives.traffic, &[], &args);
        std::thread::sleep(std::time::Duration::from_millis(round as u64 % 40));
        kill(victim);
        assert_goes_on(
            &mut sender,
            "after somebody was killed who opened the other end",
        );
    }
    let mut last = lives.start(1, "rx", 0);
    assert_goes_on(&mut last, "after others were killed while they opened");
    end(last);
    end(sender);
    lives.place.assert_left_clean();
    lives.assert_untouched();
}
