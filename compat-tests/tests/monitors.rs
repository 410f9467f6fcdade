//! Monitors of ports that other processes use: everything is seen, nobody is held up, and no buffer is lost
//! whoever is killed.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use compat_tests::place::Place;
use compat_tests::programs::{assert_goes_on, end, kill, moved, program, tail, value};
use compat_tests::wait::{deadline, until, wait_for};
use compat_tests::world::{Program, World};
use compat_tests::{Skip, apps, capture, or_skip};
use rustix::process::Signal;

/// `programs/monitors/watch.c`, compiled once.
fn watch() -> Result<PathBuf, Skip> {
    static DONE: OnceLock<Result<PathBuf, Skip>> = OnceLock::new();
    let compile = || {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/monitors/watch.c");
        let flags = ["-O1", "-g", "-Wall", "-Wextra", "-Werror"];
        Ok(apps::compile_c(&source, "monitors-watch", &flags)?.path)
    };
    DONE.get_or_init(compile).clone()
}

/// More packets than fit into no ring, so that nobody has to keep up.
const FITS: u64 = 1000;

/// A sender and a receiver that begin when told to, and stop after [`FITS`] packets.
struct Flow<'a> {
    place: &'a Place,
    go: PathBuf,
    rx: Program,
    tx: Program,
}

impl<'a> Flow<'a> {
    fn new(place: &'a Place, traffic: &Path, from: &str, to: &str) -> Self {
        let go = place.file("go");
        let (n, wait) = (format!("n={FITS}"), format!("go={}", go.display()));
        let rx = ["rx", to, &n, "how=poll", "gapless=1", "then=hold"];
        let rx = place.spawn_ready(traffic, &rx);
        let tx = place.spawn_ready(traffic, &["tx", from, &n, &wait, "batch=70", "then=hold"]);
        Self { place, go, rx, tx }
    }

    /// Lets the packets go and waits until the receiver has them.
    fn run(&self) {
        std::fs::write(&self.go, "").expect("the file can be written");
        wait_for("all packets to arrive", || moved(&self.rx) == FITS);
    }

    fn end(self) {
        std::fs::remove_file(&self.go).expect("the file is there");
        end(self.tx);
        end(self.rx);
        self.place.assert_left_clean();
    }
}

/// Names of a VALE flow's and a pipe's two ends.
const FLOWS: [(&str, &str); 3] = [
    ("vale0:a", "vale0:b"),
    ("mon{1", "mon}1"),
    ("vale1:base}x", "vale1:base{x"),
];

#[test]
fn everything_is_seen_where_it_is_sent_and_where_it_arrives() {
    let traffic = or_skip!("monitored traffic", program("traffic"));
    let watch = or_skip!("monitored traffic", watch());
    let place = Place::new();
    for (from, to) in FLOWS {
        let flow = Flow::new(&place, &traffic, from, to);
        let n = format!("n={FITS}");
        let see = |port: &str, flags: &str, how: &str| {
            let args = [port, flags, &n, how, "gapless=1"];
            place.spawn_ready(&watch, &args)
        };
        let sent = [see(from, "t", "how=poll"), see(from, "rt", "how=epoll")];
        let arrived = [see(to, "r", "how=sync"), see(to, "rt", "how=epoll")];
        flow.run();
        for (monitors, direction) in [(sent, "tx"), (arrived, "rx")] {
            for monitor in monitors {
                let said = monitor.wait_success();
                assert_eq!(value(&said, direction), Some(FITS), "{from}: {said}");
            }
        }
        flow.end();
    }
}

#[test]
fn zero_copy_monitors_see_everything_too() {
    let traffic = or_skip!("zero-copy monitors", program("traffic"));
    let watch = or_skip!("zero-copy monitors", watch());
    let place = Place::new();
    for (from, to) in FLOWS {
        let flow = Flow::new(&place, &traffic, from, to);
        let n = format!("n={FITS}");
        // A receiver that ends by a count has not given the last slots back: on a switch, too, the
        // receiving side is looked at without a count.
        let args = [to, "z", "gapless=1", "write=1"];
        let arrived = place.spawn_ready(&watch, &args);
        let sent = (!from.contains(['{', '}'])).then(|| {
            let args = [from, "z", &n, "how=epoll", "gapless=1", "write=1"];
            place.spawn_ready(&watch, &args)
        });
        flow.run();
        if let Some(sent) = sent {
            let said = sent.wait_success();
            assert_eq!(value(&said, "tx"), Some(FITS), "{from}: {said}");
        }
        wait_for("what was released", || moved(&arrived) > 0);
        flow.end();
        assert!(arrived.wait_success().contains("orphan"));
    }
}

#[test]
fn a_pipe_loses_nothing_to_its_monitors() {
    let traffic = or_skip!("a monitored pipe", program("traffic"));
    let watch = or_skip!("a monitored pipe", watch());
    let place = Place::new();
    for zero_copy_at in ["p{1", "p}1"] {
        let rx = ["rx", "p}1", "gapless=1", "how=poll"];
        let mut rx = place.spawn_ready(&traffic, &rx);
        let tx = place.spawn_ready(&traffic, &["tx", "p{1", "how=poll", "len=300", "frags=3"]);
        let see = |args: &[&str]| place.spawn_ready(&watch, args);
        let loose = ["loose=1", "how=sync"];
        let mut monitors = vec![
            see(&[zero_copy_at, "z", "loose=1", "write=1"]),
            see(&[zero_copy_at, "z", "loose=1", "slots=7"]),
            see(&[&["p{1", "t"], &loose[..]].concat()),
            see(&[&["p}1", "rt"], &loose[..]].concat()),
        ];
        let deaf = see(&["p}1", "r", "deaf=1"]);
        for _ in 0..5 {
            monitors
                .iter_mut()
                .for_each(|m| assert_goes_on(m, "in a pipe"));
            assert_goes_on(&mut rx, "with its monitors");
        }
        let full = place.port("p}1/r#1").or_else(|| place.port("p}1/r#3"));
        let full = full.unwrap_or_else(|| panic!("{:?}", place.ports()));
        assert_eq!(full.kind, "monitor");
        wait_for("drops to be counted", || {
            let port = place.port(&full.name).expect("the monitor is there");
            port.rx[0].drops.full > 0
        });
        end(deaf);
        monitors.into_iter().for_each(|m| drop(end(m)));
        end(tx);
        end(rx);
        place.assert_left_clean();
    }
}

#[test]
fn a_stopped_monitor_holds_nobody_up() {
    let traffic = or_skip!("stopped monitors", program("traffic"));
    let watch = or_skip!("stopped monitors", watch());
    let place = Place::new();
    let mut rx = place.spawn_ready(&traffic, &["rx", "vale0:b", "how=poll"]);
    let mut tx = place.spawn_ready(&traffic, &["tx", "vale0:a"]);
    for flags in ["rt", "z"] {
        for port in ["vale0:a", "vale0:b"] {
            let mut monitor = place.spawn_ready(&watch, &[port, flags, "loose=1"]);
            assert_goes_on(&mut monitor, "at first");
            monitor.signal(Signal::STOP);
            assert_goes_on(&mut tx, "with a stopped monitor");
            assert_goes_on(&mut rx, "with a stopped monitor");
            monitor.signal(Signal::CONT);
            assert_goes_on(&mut monitor, "after it was stopped");
            end(monitor);
        }
    }
    end(tx);
    end(rx);
    place.assert_left_clean();
}

#[test]
fn forty_killed_monitors() {
    let traffic = or_skip!("killed monitors", program("traffic"));
    let watch = or_skip!("killed monitors", watch());
    let place = Place::new();
    let mut rx = place.spawn_ready(&traffic, &["rx", "vale0:base}1", "gapless=1", "how=poll"]);
    let mut tx = place.spawn_ready(&traffic, &["tx", "vale0:base{1", "batch=500"]);
    let base = place.spawn_ready(&traffic, &["rx", "vale0:base", "how=poll"]);
    let before = place.buffers_in_use("vale0:base");
    let mut last: Option<Program> = None;
    for round in 0..40 {
        let port = ["vale0:base{1", "vale0:base}1"][round % 2];
        let flags = ["z", "rt", "z"][round % 3];
        let mut victim = place.spawn_ready(&watch, &[port, flags, "loose=1", "how=sync"]);
        assert_goes_on(&mut victim, "before it is killed");
        // Mostly two at a time, so that chains lose their first and their last link.
        if let Some(last) = last.replace(victim) {
            kill(last);
        }
        assert_goes_on(&mut tx, "after its monitor was killed");
        assert_goes_on(&mut rx, "after its monitor was killed");
    }
    if let Some(last) = last {
        kill(last);
    }
    assert_eq!(place.buffers_in_use("vale0:base"), before);
    end(tx);
    end(rx);
    end(base);
    place.assert_left_clean();
}

/// Whoever syncs a monitored ring is killed, with some luck while it exchanges buffers.
fn monitored_programs(port: &'static str, other: &'static str, victim_sends: bool) {
    let traffic = or_skip!("killed monitored ports", program("traffic"));
    let watch = or_skip!("killed monitored ports", watch());
    let place = Place::new();
    let (victims, others) = if victim_sends {
        (["tx", port, "batch=1000"], ["rx", other, "how=poll"])
    } else {
        (["rx", port, "batch=1000"], ["tx", other, "how=poll"])
    };
    for round in 0..25 {
        let partner = place.spawn_ready(&traffic, &others);
        let mut victim = place.spawn_ready(&traffic, &victims);
        let monitor = |flags: &str, more: &str| {
            let args = [port, flags, "loose=1", "how=epoll", "slots=300", more];
            place.spawn_ready(&watch, &args)
        };
        let monitors = [
            monitor("z", "n=0"),
            monitor("z", "n=0"),
            monitor("rt", "n=0"),
        ];
        // Keeps the memory, so that a lost buffer stays visible.
        let keeper = monitor("z", "deaf=1");
        let keeper_port = format!("{port}/zrt#3");
        assert_goes_on(&mut victim, "before it is killed");
        let seen = until(deadline(), || (moved(&monitors[0]) > 0).then_some(()));
        assert!(seen.is_some(), "round {round}: {}", tail(&monitors[0]));
        kill(victim);
        for monitor in monitors {
            let said = monitor.wait_success();
            assert!(said.contains("orphan"), "round {round}: {said}");
        }
        end(partner);
        let (left, own) = (place.buffers_in_use(&keeper_port), 2 + 1024 + 300);
        assert_eq!(left, own, "buffers in use after round {round}");
        end(keeper);
    }
    place.assert_left_clean();
}

#[test]
fn killed_senders_with_monitors() {
    monitored_programs("vale0:victim", "vale0:rx", true);
}

#[test]
fn killed_receivers_with_monitors() {
    monitored_programs("vale0:victim", "vale0:tx", false);
}

#[test]
fn killed_sending_ends_with_monitors() {
    monitored_programs("victim{1", "victim}1", true);
}

#[test]
fn killed_receiving_ends_with_monitors() {
    monitored_programs("victim{1", "victim}1", false);
}

/// Monitors of a receiver come and go while packets flow; each that is there sees a packet once, and after
/// those that came before it.
#[test]
fn monitors_that_come_and_go_see_each_packet_once() {
    let traffic = or_skip!("monitors that come and go", program("traffic"));
    let watch = or_skip!("monitors that come and go", watch());
    let place = Place::new();
    let rx = place.spawn_ready(&traffic, &["rx", "vale0:rx", "how=poll"]);
    let mut tx = place.spawn_ready(&traffic, &["tx", "vale0:tx", "batch=64"]);
    let mut monitors = Vec::new();
    for round in 0..60 {
        if monitors.len() == 6 {
            end(monitors.remove(round * 7 % 6));
        }
        let flags = ["r", "rt"][round % 2];
        let how = ["how=poll", "how=epoll", "how=sync"][round % 3];
        monitors.push(place.spawn_ready(&watch, &["vale0:rx", flags, how]));
    }
    assert_goes_on(&mut tx, "with monitors that come and go");
    monitors.into_iter().for_each(|m| drop(end(m)));
    end(tx);
    end(rx);
    place.assert_left_clean();
}

#[test]
fn tcpdump_watches_a_port_that_another_program_reads() {
    let tcpdump = or_skip!("tcpdump as monitor", apps::tcpdump());
    let world = World::new();
    let sent = capture::recorded_from(capture::CLIENT);
    let count = sent.len().to_string();
    let listen = |port: &str, file: &str, until: &[&str]| {
        let path = world.file(file);
        let path = path.to_string_lossy();
        let args = [&["-i", port, "-U", "-w", &path], until].concat();
        let program = world.spawn(&tcpdump, &args);
        program.wait_text("listening on");
        program
    };
    // The reader stays: what a monitor has not read when the monitored port is closed is lost.
    let reader = listen("vale0:b", "b.pcap", &[]);
    let monitors = [
        listen("vale0:b/r", "r.pcap", &["-c", &count]),
        listen("netmap:vale0:b/rt", "rt.pcap", &["-c", &count]),
    ];
    world.send("vale0:a", &sent);
    for (monitor, file) in monitors.into_iter().zip(["r.pcap", "rt.pcap"]) {
        monitor.wait_success();
        let seen = capture::read(&world.file(file)).expect("a finished capture");
        capture::assert_same(file, &seen, &sent);
    }
    drop(reader);
}
