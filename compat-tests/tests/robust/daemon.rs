//! The daemon killed, stopped or told to leave under running programs, and programs stopped under the daemon:
//! errors and hang-ups, but nobody hangs and nobody crashes.

use std::path::Path;

use compat_tests::or_skip;
use compat_tests::place::Place;
use compat_tests::programs::{GONE, assert_goes_on, end, kill, moved, program, tail};
use compat_tests::world::Program;
use rustix::process::Signal;

/// Programs in every call in which the end of the daemon can meet them.
fn everybody(place: &Place, traffic: &Path) -> Vec<Program> {
    let mut all = Vec::new();
    for how in ["sync", "poll", "select", "epoll", "et"] {
        let how_arg = format!("how={how}");
        // with traffic
        let rx = format!("vale0:rx-{how}");
        all.push(place.spawn_ready(traffic, &["rx", &rx, &how_arg]));
        // asleep: nothing is ever sent on this switch
        let quiet = format!("vale1:rx-{how}");
        all.push(place.spawn_ready(traffic, &["rx", &quiet, &how_arg]));
        // a pipe whose sender sleeps because nobody takes anything
        let full = format!("full-{how}{{1");
        all.push(place.spawn_ready(traffic, &["tx", &full, &how_arg]));
        let moving = format!("moving-{how}");
        let (one, other) = (format!("{moving}{{1"), format!("{moving}}}1"));
        all.push(place.spawn_ready(traffic, &["tx", &one, &how_arg]));
        all.push(place.spawn_ready(traffic, &["rx", &other, "gapless=1", &how_arg]));
    }
    all.push(place.spawn_ready(traffic, &["tx", "vale0:tx-sync", "id=1"]));
    all.push(place.spawn_ready(traffic, &["tx", "vale0:tx-poll", "id=2", "how=poll"]));
    all
}

fn assert_all_hear(programs: Vec<Program>) {
    for mut program in programs {
        let status = program.wait();
        assert_eq!(
            status.code(),
            Some(GONE),
            "ended with {status:?}: {}",
            tail(&program)
        );
        let said = program.stdout();
        assert!(
            said.contains("revents=0x18") || said.contains("errno=6"),
            "expected POLLERR|POLLHUP or ENXIO: {}",
            tail(&program)
        );
    }
}

#[test]
fn killed_under_everybody() {
    let traffic = or_skip!("a killed daemon", program("traffic"));
    let mut place = Place::new();
    let mut programs = everybody(&place, &traffic);
    for program in programs.iter_mut().filter(|p| p.said().contains("moving")) {
        assert_goes_on(program, "before the daemon is killed");
    }
    place.signal_daemon(Signal::KILL);
    assert_all_hear(programs);
    // the next one finds a new daemon, which it starts itself
    let rx = place.spawn_ready(&traffic, &["rx", "vale0:b", "how=poll", "n=1000"]);
    let tx = place.spawn_ready(&traffic, &["tx", "vale0:a"]);
    rx.wait_success();
    end(tx);
}

#[test]
fn told_to_stop_under_everybody() {
    let traffic = or_skip!("a daemon told to stop", program("traffic"));
    let mut place = Place::new();
    let programs = everybody(&place, &traffic);
    place.signal_daemon(Signal::TERM);
    assert_all_hear(programs);
    let status = compat_tests::wait::until(compat_tests::wait::deadline(), || place.daemon_ended());
    assert!(status.is_some_and(|s| s.success()), "{status:?}");
    assert!(!place.socket().exists(), "the socket is left behind");
}

/// One process goes through the death of several daemons: each new open is in a new world.
#[test]
fn a_program_that_opens_again_finds_the_next_daemon() {
    let reopen = or_skip!("opening again", program("reopen"));
    let mut place = Place::new();
    let mut program = place.spawn_ready(&reopen, &["5"]);
    for round in 0..5 {
        program.wait_text(&format!("works {round}"));
        if round == 0 {
            place.signal_daemon(Signal::KILL);
        } else {
            let pid = place.pid_of_started_daemon().expect("a daemon was started");
            rustix::process::kill_process(pid, Signal::KILL).expect("it is ours");
        }
    }
    let status = program.wait();
    assert!(status.success(), "{}", program.said());
}

/// Programs opening, binding and closing at the very moment of the daemon's death get an errno, or the next
/// daemon, and never hang.
#[test]
fn killed_while_programs_register() {
    let reopen = or_skip!("registering programs", program("reopen"));
    let mut place = Place::new();
    let programs: Vec<_> = (0..4)
        .map(|i| place.spawn_ready(&reopen, &["forever", &format!("vale0:p{i}")]))
        .collect();
    place.signal_daemon(Signal::KILL);
    for round in 0..10 {
        compat_tests::wait::wait_for("a new daemon", || place.pid_of_started_daemon().is_some());
        let before: Vec<_> = programs.iter().map(moved).collect();
        compat_tests::wait::wait_for("all to open again", || {
            programs.iter().zip(&before).all(|(p, b)| moved(p) > *b)
                || programs.iter().any(|p| p.said().contains("FAILED"))
        });
        for program in &programs {
            assert!(!program.said().contains("FAILED"), "{}", tail(program));
        }
        if let Some(pid) = place.pid_of_started_daemon().filter(|_| round < 9) {
            rustix::process::kill_process(pid, Signal::KILL).expect("it is ours");
        }
    }
    programs.into_iter().for_each(|p| {
        end(p);
    });
}

/// A daemon that is stopped holds up nobody who only moves packets.
#[test]
fn a_stopped_daemon_does_not_stop_traffic() {
    let traffic = or_skip!("a stopped daemon", program("traffic"));
    let mut place = Place::new();
    let mut rx = place.spawn_ready(&traffic, &["rx", "vale0:b", "how=poll"]);
    let mut tx = place.spawn_ready(&traffic, &["tx", "vale0:a", "how=poll"]);
    assert_goes_on(&mut rx, "before the daemon is stopped");
    place.signal_daemon(Signal::STOP);
    assert_goes_on(&mut rx, "while the daemon is stopped");
    assert_goes_on(&mut tx, "while the daemon is stopped");
    place.signal_daemon(Signal::CONT);
    end(tx);
    end(rx);
    place.assert_left_clean();
}

/// A program stopped in the middle of a sync may hold the lock of a ring. The daemon and all other rings go on;
/// so do other senders to that ring, who can't wait for ever. Killed, it leaves nothing.
#[test]
fn stopped_senders() {
    let traffic = or_skip!("stopped senders", program("traffic"));
    let place = Place::new();
    let mut sink = place.spawn_ready(
        &traffic,
        &["rx", "vale0:sink", "id=9", "hello=1", "how=poll"],
    );
    let mut other = place.spawn_ready(&traffic, &["tx", "vale0:other", "id=2", "to=9"]);
    let mut far_rx = place.spawn_ready(&traffic, &["rx", "vale1:b", "how=poll"]);
    let mut far_tx = place.spawn_ready(&traffic, &["tx", "vale1:a"]);
    for round in 0..20 {
        let id = format!("id={}", 10 + round);
        let args = ["tx", "vale0:victim", &id, "to=9", "excl=1", "batch=512"];
        let mut victim = place.spawn_ready(&traffic, &args);
        assert_goes_on(&mut victim, "before it is stopped");
        victim.signal(Signal::STOP);
        assert!(place.port("vale0:victim").is_some());
        assert_goes_on(&mut far_tx, "while another program is stopped");
        assert_goes_on(&mut far_rx, "while another program is stopped");
        assert_goes_on(&mut other, "while another sender is stopped");
        if round % 2 == 0 {
            victim.signal(Signal::CONT);
            assert_goes_on(&mut victim, "after it was stopped");
        }
        kill(victim);
        assert!(place.port("vale0:victim").is_none(), "the name is not free");
        assert_goes_on(&mut sink, "after a stopped sender was killed");
        assert_goes_on(&mut other, "after a stopped sender was killed");
    }
    for program in [other, sink, far_tx, far_rx] {
        end(program);
    }
    place.assert_left_clean();
}

#[test]
fn stopped_receivers() {
    let traffic = or_skip!("stopped receivers", program("traffic"));
    let place = Place::new();
    let mut source = place.spawn_ready(&traffic, &["tx", "vale0:source", "id=1"]);
    let mut other = place.spawn_ready(&traffic, &["rx", "vale0:other", "how=poll"]);
    for round in 0..20 {
        let how = if round % 2 == 0 {
            "how=sync"
        } else {
            "how=poll"
        };
        let mut victim = place.spawn_ready(&traffic, &["rx", "vale0:victim", "excl=1", how]);
        assert_goes_on(&mut victim, "before it is stopped");
        victim.signal(Signal::STOP);
        assert_goes_on(&mut source, "while a receiver is stopped");
        assert_goes_on(&mut other, "while another receiver is stopped");
        kill(victim);
        assert!(place.port("vale0:victim").is_none(), "the name is not free");
        assert_goes_on(&mut source, "after a stopped receiver was killed");
    }
    end(source);
    end(other);
    place.assert_left_clean();
}

/// A sender dies with a lock held and there is no daemon left to break it: the others must hear that the daemon
/// is gone, not wait for the lock.
#[test]
fn killed_together_with_a_sender() {
    let traffic = or_skip!("a daemon killed with a sender", program("traffic"));
    for round in 0..8 {
        let mut place = Place::new();
        let sink = place.spawn_ready(&traffic, &["rx", "vale0:sink", "id=9", "hello=1"]);
        let args = ["tx", "vale0:victim", "id=10", "to=9", "batch=512"];
        let mut victim = place.spawn_ready(&traffic, &args);
        let mut others: Vec<_> = ["how=sync", "how=poll"]
            .iter()
            .zip([("vale0:other0", "id=2"), ("vale0:other1", "id=3")])
            .map(|(how, (name, id))| place.spawn_ready(&traffic, &["tx", name, id, "to=255", how]))
            .collect();
        assert_goes_on(&mut victim, "before it is killed");
        // the daemon sees nothing of the sender's death any more
        place.signal_daemon(Signal::STOP);
        kill(victim);
        place.signal_daemon(Signal::KILL);
        others.push(sink);
        for mut other in others {
            let status = other.wait();
            assert_eq!(
                status.code(),
                Some(GONE),
                "round {round}: ended with {status:?}: {}",
                tail(&other)
            );
        }
    }
}
