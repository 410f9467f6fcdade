//! How traces end, and that nothing but the trace does.

use compat_tests::place::Place;
use compat_tests::said::Said;
use compat_tests::target;
use compat_tests::wait::wait_for;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit};

use super::ground::*;
use super::{packet, trace};

/// More records than the memory of a trace holds.
const MANY: u32 = 60_000;

#[test]
fn a_second_one_is_told_who_traces() {
    let place = Place::new();
    let [_a, _b] = ["vale0:a", "vale1:b"].map(|name| End::open(&place, name));
    let mut first = trace(&place, &["vale0"]);
    let pid = first.pid().as_raw_nonzero();
    let why = format!("uvale (pid {pid}, uid ");
    for port in ["vale0", "vale0:a"] {
        let said = Said::of(&mut uvale(&place, &["trace", port]));
        said.assert_code(1)
            .assert_says(&why)
            .assert_says("traces vale0: wait until that is over");
    }
    // Others can be traced meanwhile.
    let mut other = trace(&place, &["vale1", "--seconds", "0"]);
    assert!(other.wait().success(), "{}", other.said());
    first.signal(Signal::INT);
    assert!(first.wait().success(), "{}", first.said());
    let said = first.said();
    assert!(
        said.contains("0 packets traced, 0 missed: interrupted"),
        "{said}"
    );
}

/// It says so, once each time, and goes on when the port is back.
#[test]
fn a_port_that_closes_is_waited_for() {
    let place = Place::new();
    let _b = End::open(&place, "vale0:b");
    let a = End::open(&place, "vale0:a");
    let trace = trace(&place, &["vale0:a", "--json", "-c", "1"]);
    drop(a);
    trace.wait_text("vale0:a is closed");
    let a = End::open(&place, "vale0:a");
    a.send(&numbers(1, 1));
    assert_eq!(super::records(trace, 0).len(), 1);
}

/// A trace that was killed is off: nothing is written any more, and another can begin.
#[test]
fn a_trace_that_is_killed_is_off() {
    let place = Place::new();
    let [a, b] = ["vale0:a", "vale0:b"].map(|name| End::open(&place, name));
    for round in 0..3 {
        let mut killed = trace(&place, &["vale0"]);
        a.send(&numbers(round, 1));
        killed.signal(Signal::KILL);
        killed.wait();
        a.send(&numbers(round, 1));
        let next = || {
            Said::of(&mut uvale(&place, &["trace", "vale0:a", "--seconds", "0"])).code == Some(0)
        };
        wait_for("the trace to be off", next);
        assert_eq!(b.receive().len(), 2);
    }
}

/// Senders are killed in the middle of what they do: the trace tells of the others.
#[test]
fn senders_that_are_killed_are_survived() {
    let place = Place::new();
    let a = End::open(&place, "vale0:a");
    let generator = &target::binaries().uvale;
    let mut trace = trace(&place, &["vale0", "--json", "eth.type == 0x88b5"]);
    for _ in 0..5 {
        let mut sender = place.spawn(generator, &["gen", "-i", "vale0:x", "-f", "tx"]);
        wait_for("the sender to send", || {
            place
                .port("vale0:x")
                .is_some_and(|p| p.tx.iter().any(|ring| ring.packets > 1000))
        });
        sender.signal(Signal::KILL);
        sender.wait();
    }
    // Those that were passed over take their time; what comes then is told.
    let sent = packet(0xff, 7);
    wait_for("the trace to go on", || {
        a.send(std::slice::from_ref(&sent));
        trace.stdout().contains("020000000007")
    });
    trace.signal(Signal::TERM);
    trace.wait();
}

/// A reader that is stopped does not slow anybody, and counts what it has missed.
#[test]
fn a_slow_reader_knows_what_it_missed() {
    let place = Place::new();
    let [a, b] = ["vale0:a", "vale0:b"].map(|name| End::open(&place, name));
    let file = place.file("slow.pcapng");
    let mut trace = trace(&place, &["vale0:a", "-w", text(&file)]);
    assert_eq!(a.send(&numbers(0, 10)), 10);
    b.receive();
    wait_for("the first ones to be written", || {
        std::fs::metadata(&file).is_ok_and(|m| m.len() > 2000)
    });
    trace.signal(Signal::STOP);
    let mut sent = 10;
    while sent < MANY {
        let packets = vec![packet(0xff, 0xa); 500];
        assert_eq!(a.send(&packets), 500, "it takes them all");
        assert_eq!(b.receive().len(), 500);
        sent += 500;
    }
    trace.signal(Signal::CONT);
    trace.signal(Signal::TERM);
    assert_eq!(trace.wait().code(), Some(3), "{}", trace.said());
    let captured = Captured::read(&file);
    let said = trace.said();
    let missed: u32 = captured.packets.iter().map(|p| p.missed as u32).sum();
    assert!(missed > 0, "{said}");
    assert_eq!(captured.packets.len() as u32 + missed, sent, "{said}");
    let end = format!("{} packets traced, {missed} missed", captured.packets.len());
    assert!(said.contains(&end), "{said}");
    let comments = captured.packets.iter().flat_map(|p| &p.comments);
    assert!(
        comments.into_iter().any(|c| c.contains("were missed")),
        "{said}"
    );
}

#[test]
fn disks_and_daemons_and_readers_end_it() {
    let mut place = Place::new();
    let a = End::open(&place, "vale0:a");
    let mut full = trace(&place, &["vale0", "-w", "/dev/full"]);
    assert_eq!(full.wait().code(), Some(1), "{}", full.said());
    assert!(full.said().contains("No space left"), "{}", full.said());
    let gone = trace(&place, &["vale0", "--json"]);
    a.send(&numbers(0, 1));
    place.signal_daemon(Signal::KILL);
    let records = {
        let mut gone = gone;
        assert_eq!(gone.wait().code(), Some(1), "{}", gone.said());
        assert!(
            gone.said().contains("is gone, and the ports with it"),
            "{}",
            gone.said()
        );
        gone.stdout().lines().filter(|l| l.starts_with('{')).count()
    };
    assert_eq!(records, 1);
}

/// A sender that has no descriptor left, not even for the trace, sends what is not in it: that is said. Once it has
/// some it is traced.
#[test]
fn senders_that_cannot_get_the_trace_are_counted() {
    let place = Place::new();
    let generator = &target::binaries().uvale;
    let mut sender = place.spawn(
        generator,
        &["gen", "-i", "vale0:x", "-f", "tx", "-R", "200"],
    );
    let sent = || {
        let port = place.port("vale0:x");
        port.map_or(0, |p| p.tx.iter().map(|ring| ring.packets).sum::<u64>())
    };
    wait_for("the sender to send", || sent() > 0);
    let few = Rlimit {
        current: Some(0),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    let before = prlimit(Some(sender.pid()), Resource::Nofile, few).expect("prlimit");
    let mut trace = trace(&place, &["vale0", "--json"]);
    let at = sent();
    wait_for("it to send more", || sent() > at + 10);
    assert!(!trace.stdout().contains("vale0:x"), "{}", trace.said());
    prlimit(Some(sender.pid()), Resource::Nofile, before).expect("prlimit");
    wait_for("it to be traced", || trace.stdout().contains("vale0:x"));
    trace.signal(Signal::INT);
    assert_eq!(trace.wait().code(), Some(3), "{}", trace.said());
    let said = trace.said();
    assert!(said.contains(" sent that are not in the trace"), "{said}");
    sender.signal(Signal::TERM);
    sender.wait();
}
