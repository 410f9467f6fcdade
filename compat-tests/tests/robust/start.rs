//! Daemons that programs start by themselves: one, however many want it at the same moment, which leaves when
//! nobody needs it any more. And what long-running programs keep of those that come and go.

use std::path::Path;

use compat_tests::or_skip;
use compat_tests::place::Place;
use compat_tests::programs::{end, kill, program, value};
use compat_tests::wait::{deadline, until, wait_for};
use rustix::process::Signal;

/// Processes whose command line is that of a daemon for `dir`.
fn daemons_of(dir: &Path) -> Vec<i32> {
    let dir = dir.to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc").expect("/proc can be read");
    let numbers = processes
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    numbers
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = line
                .split(|b| *b == 0)
                .map(String::from_utf8_lossy)
                .collect();
            words.iter().any(|w| w == "daemon") && words.iter().any(|w| *w == dir)
        })
        .collect()
}

#[test]
fn twenty_programs_at_once_get_one_daemon() {
    let traffic = or_skip!("twenty at once", program("traffic"));
    for round in 0..3 {
        let place = Place::empty();
        let programs: Vec<_> = (0..20)
            .map(|i| place.spawn(&traffic, &["rx", &format!("vale0:p{i}"), "how=poll"]))
            .collect();
        for program in &programs {
            program.wait_line("ready", |l| l.starts_with("ready"));
        }
        let status = place.status();
        assert_eq!(
            (status.descriptors, place.ports().len()),
            (20, 20),
            "round {round}"
        );
        let alone = || daemons_of(place.dir()) == [status.pid];
        wait_for("the losers to leave", alone);
        let log = std::fs::read_to_string(place.file("uvale.log")).unwrap_or_default();
        let listening = log.lines().filter(|l| l.contains("listening at")).count();
        assert_eq!(listening, 1, "{log}");
        for program in programs {
            end(program);
        }
        place.assert_left_clean();
    }
}

/// A daemon that was started by a program is not that program's child, and does not keep its descriptors.
#[test]
fn a_started_daemon_stands_on_its_own() {
    let traffic = or_skip!("a started daemon", program("traffic"));
    let place = Place::empty();
    let first = place.spawn_ready(&traffic, &["rx", "vale0:first", "how=poll"]);
    let pid = place.status().pid;
    kill(first);
    let second = place.spawn_ready(&traffic, &["rx", "vale0:second", "how=poll"]);
    assert_eq!(place.status().pid, pid);
    // `Program` reads its output to the end: it ends only if nobody else holds it
    end(second);
    place.assert_left_clean();
}

#[test]
fn an_idle_daemon_leaves() {
    let traffic = or_skip!("an idle daemon", program("traffic"));
    let mut place = Place::with(&["--idle", "1"]);
    let user = place.spawn_ready(&traffic, &["rx", "vale0:p", "how=poll"]);
    // much longer than the second: it stays as long as somebody is there
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(place.daemon_ended().is_none(), "it left its user");
    end(user);
    let status = until(deadline(), || place.daemon_ended());
    assert!(status.is_some_and(|s| s.success()), "{status:?}");
    assert!(!place.socket().exists(), "the socket is left behind");
    // and the next program starts the next one
    let rx = place.spawn_ready(&traffic, &["rx", "vale0:b", "how=poll", "n=10"]);
    end(place.spawn_ready(&traffic, &["tx", "vale0:a", "n=10", "then=hold"]));
    rx.wait_success();
}

/// Whoever connects and says nothing is no user.
#[test]
fn silent_connections_do_not_keep_the_daemon() {
    let mut place = Place::with(&["--idle", "1"]);
    let silent: Vec<_> = (0..200)
        .map(|_| {
            use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
            use rustix::net::{connect, socket_with};
            let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
            let fd = socket_with(AddressFamily::UNIX, kind, flags, None).expect("a socket");
            let to = SocketAddrUnix::new(place.socket()).expect("a short path");
            connect(&fd, &to).expect("the daemon listens");
            fd
        })
        .collect();
    let traffic = or_skip!("silent connections", program("traffic"));
    end(place.spawn_ready(&traffic, &["rx", "vale0:p", "how=poll"]));
    let status = until(deadline(), || place.daemon_ended());
    assert!(status.is_some_and(|s| s.success()), "{status:?}");
    drop(silent);
}

#[test]
fn a_persistent_port_keeps_the_daemon() {
    let traffic = or_skip!("a persistent port", program("traffic"));
    let mut place = Place::with(&["--idle", "1"]);
    place.run(&traffic, &["newif", "stays"]);
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(place.daemon_ended().is_none(), "it left with a port in it");
    place.run(&traffic, &["delif", "stays"]);
    let status = until(deadline(), || place.daemon_ended());
    assert!(status.is_some_and(|s| s.success()), "{status:?}");
}

#[test]
fn a_second_daemon_is_refused_and_harms_nobody() {
    let traffic = or_skip!("a second daemon", program("traffic"));
    let place = Place::new();
    let mut rx = place.spawn_ready(&traffic, &["rx", "vale0:b", "how=poll"]);
    let tx = place.spawn_ready(&traffic, &["tx", "vale0:a"]);
    let uvale = &compat_tests::target::binaries().uvale;
    let dir = place.dir().to_string_lossy().into_owned();
    for _ in 0..5 {
        let mut second = place.spawn(uvale, &["daemon", "--dir", &dir]);
        assert!(!second.wait().success(), "{}", second.said());
        assert!(
            second.said().contains("another uvale daemon"),
            "{}",
            second.said()
        );
    }
    compat_tests::programs::assert_goes_on(&mut rx, "after other daemons were refused");
    end(tx);
    end(rx);
    place.assert_left_clean();
}

fn descriptors(pid: u64) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// A sender that runs for long meets many receivers: of those that are gone it keeps nothing.
#[test]
fn a_sender_keeps_no_descriptors_of_receivers_that_are_gone() {
    let traffic = or_skip!("receivers that come and go", program("traffic"));
    let place = Place::new();
    let tx = place.spawn_ready(&traffic, &["tx", "vale0:tx", "batch=1", "len=64"]);
    let pid = value(&tx.stdout(), "pid").expect("it says its pid");
    let daemon = u64::try_from(place.status().pid).expect("a pid");
    let mut counts = Vec::new();
    let before = descriptors(daemon);
    for round in 0..100 {
        let rx = place.spawn_ready(&traffic, &["rx", "vale0:rx", "how=poll", "batch=1"]);
        // asleep more than once, so that the sender had to wake it
        let woken = || place.port("vale0:rx").is_some_and(|p| p.rx[0].wakeups > 3);
        wait_for("the receiver to be woken", woken);
        end(rx);
        if round % 10 == 9 {
            counts.push(descriptors(pid));
        }
    }
    let (first, last) = (counts[0], counts[counts.len() - 1]);
    assert!(
        last <= first + 10,
        "descriptors of the sender after every 10 receivers: {counts:?}"
    );
    wait_for("the daemon to keep nothing", || {
        descriptors(daemon) <= before
    });
    end(tx);
    place.assert_left_clean();
}

/// Many short-lived processes: the daemon's memory and descriptors do not grow with them.
#[test]
fn processes_that_come_and_go() {
    let traffic = or_skip!("processes that come and go", program("traffic"));
    let place = Place::new();
    let daemon = u64::try_from(place.status().pid).expect("a pid");
    let keep = place.spawn_ready(&traffic, &["rx", "vale9:keep", "how=poll"]);
    let before = descriptors(daemon);
    for round in 0..100 {
        let port = format!("vale0:p{round}");
        place.run(&traffic, &["tx", &port, "n=100", "rings=2"]);
    }
    // the daemon hears of the end of the last one, and of our own question, in its own time
    wait_for("the daemon to keep nothing", || {
        descriptors(daemon) <= before
    });
    let status = place.status();
    assert_eq!(status.memories.len(), 2, "{status:?}");
    end(keep);
    place.assert_left_clean();
}

/// `uvale run --private` is gone with its program, also when it is killed.
#[test]
fn a_private_world_goes_with_its_program() {
    let traffic = or_skip!("private worlds", program("traffic"));
    let uvale = &compat_tests::target::binaries().uvale;
    let place = Place::empty();
    for signal in [None, Some(Signal::TERM), Some(Signal::KILL)] {
        let script = format!(
            "echo dir=$UVALE_DIR; exec {} rx vale0:x how=poll",
            traffic.display()
        );
        let mut command = std::process::Command::new(uvale);
        command
            .args(["run", "--private", "--", "sh", "-c", &script])
            .env_remove("UVALE_DIR")
            .env("XDG_RUNTIME_DIR", place.dir());
        let mut run = compat_tests::world::Program::start("uvale run --private", command);
        let line = run.wait_line("the directory", |l| l.starts_with("dir="));
        let dir = Path::new(line.trim_start_matches("dir=")).to_owned();
        let ready = run.wait_line("ready", |l| l.starts_with("ready"));
        let [daemon] = daemons_of(&dir)[..] else {
            panic!("not one daemon in {}", dir.display())
        };
        match signal {
            None => {
                let pid = value(&ready, "pid").and_then(|n| i32::try_from(n).ok());
                let pid = pid.and_then(rustix::process::Pid::from_raw);
                rustix::process::kill_process(pid.expect("a pid"), Signal::TERM).expect("it runs");
            }
            Some(signal) => run.signal(signal),
        }
        if signal == Some(Signal::KILL) {
            // the program may live on, but without a device; then it ends by itself
            wait_for("the daemon to leave", || daemons_of(&dir) != [daemon]);
        } else {
            let status = run.wait();
            assert!(status.success(), "{status:?} {}", run.said());
            assert!(!dir.exists(), "{} is left behind", dir.display());
            assert!(daemons_of(&dir).is_empty());
        }
    }
}
