//! Exit statuses: 0 all there, 1 an error, 2 usage, 3 short, lost or twice.

use std::path::Path;

use super::*;

/// Runs the generator to its end, and asserts its status and what it says.
fn ends(world: &World, args: &[&str], status: i32, says: &str) -> String {
    let mut program = world.generator(args);
    assert_eq!(program.wait().code(), Some(status), "{}", program.said());
    assert!(
        program.said().contains(says),
        "no {says:?}: {}",
        program.said()
    );
    program.stdout()
}

/// Waits for a program's end, and asserts its status and what it says.
fn ended(mut program: Program, status: i32, says: &str) {
    assert_eq!(program.wait().code(), Some(status), "{}", program.said());
    assert!(
        program.said().contains(says),
        "no {says:?}: {}",
        program.said()
    );
}

fn send(world: &World, count: &str) {
    world
        .generator(&["-i", "vale0:a", "-f", "tx", "-n", count])
        .wait_success();
}

#[test]
fn a_receiver_that_got_too_few_says_so() {
    let world = World::new();
    let receive = ["-i", "vale0:b", "-f", "rx", "-n", "5"];
    let receiver = ready(&world, &[&receive[..], &["--idle", "2"]].concat());
    send(&world, "3");
    ended(
        receiver,
        3,
        // (how many came in this time is for the machine to decide)
        "of 5 packets: nothing came for 2 s (--idle)",
    );

    let receiver = ready(&world, &[&receive[..], &["-W"]].concat());
    send(&world, "3");
    ended(
        receiver,
        3,
        "received 3 of 5 packets: nothing came for a second (-W)",
    );

    let receiver = ready(&world, &[&receive[..], &["-T", "10"]].concat());
    send(&world, "4");
    receiver.wait_text("4 packets in ");
    receiver.signal(Signal::INT);
    ended(receiver, 3, "received 4 of 5 packets: interrupted");

    let receiver = ready(&world, &receive);
    send(&world, "5");
    ended(receiver, 0, "Received 5 packets");

    // who asks for no number misses none
    let json = ["-i", "vale0:b", "-f", "rx", "--idle", "0.1", "--json"];
    let json = ends(&world, &json, 0, "");
    assert_numbers(&json, &[("status", 0.0), ("packets", 0.0)]);
}

#[test]
fn a_daemon_that_goes_ends_the_run_with_an_error() {
    let world = World::new();
    let receiver = ready(
        &world,
        &["-i", "vale0:b", "-f", "rx", "-n", "5", "-T", "10"],
    );
    send(&world, "3");
    receiver.wait_text("3 packets in ");
    let stopped = world.uvale(&["stop"]).status().expect("uvale starts");
    assert!(stopped.success());
    ended(receiver, 1, "; no uvale daemon answers in ");
}

#[test]
fn a_sender_whose_packets_nobody_takes_says_so() {
    let world = World::new();
    let _receiver = world.generator(&["-i", "netmap:x}1", "-f", "rx", "-w", "3600"]);
    _receiver.wait_text("waiting 3600 s");
    let send = ["-i", "netmap:x{1", "-f", "tx", "--linger", "0.2", "-n"];
    // more than the ring holds, and what it holds
    ends(
        &world,
        &[&send[..], &["3000"]].concat(),
        3,
        "of 3000 packets: nobody took packets for 0.2 s (--linger)",
    );
    ends(
        &world,
        &["-i", "netmap:y{1", "-f", "tx", "--linger", "0.2", "-n", "7"],
        3,
        "7 slots with packets were not taken",
    );
}

#[test]
fn lost_pings_and_missing_answers_are_said() {
    let world = World::new();
    let ping = ["-i", "vale0:a", "-f", "ping", "-n", "2", "--timeout"];
    ends(
        &world,
        &[&ping[..], &["0.1"]].concat(),
        3,
        "2 of 2 pings had no answer within 0.1 s",
    );
    let pong = ready(&world, &["-i", "vale0:b", "-f", "pong", "-n", "3"]);
    ends(
        &world,
        &[&ping[..], &["100"]].concat(),
        0,
        "2 answered, 0 lost",
    );
    pong.signal(Signal::INT);
    ended(pong, 3, "answered 2 of 3 packets: interrupted");
}

#[test]
fn gaps_and_duplicates_are_said() {
    let world = World::new();
    let all = world.file("numbered.pcap");
    let recorder = ready(
        &world,
        &["-i", "vale0:b", "-f", "rx", "-n", "9", "--pcap", path(&all)],
    );
    world
        .generator(&["-i", "vale0:a", "-f", "txseq", "-n", "9"])
        .wait_success();
    recorder.wait_success();
    let frames = capture::read(&all).expect("the recording is readable");

    let check = |frames: Vec<capture::Frame>, status, says: &str| {
        let count = frames.len().to_string();
        let checker = ready(&world, &["-i", "vale0:b", "-f", "rxseq", "-n", &count]);
        world.send("vale0:a", &frames);
        ended(checker, status, says);
    };
    check(frames.clone(), 0, "9 packets, 0 lost");
    let mut gap = frames.clone();
    gap.remove(4);
    check(gap, 3, "1 never came, 0 came twice, 0 came late");
    let mut twice = frames.clone();
    twice.insert(4, frames[2].clone());
    check(twice, 3, "0 never came, 1 came twice, 0 came late");
    let mut late = frames;
    late.swap(4, 5);
    check(late, 3, "0 never came, 0 came twice, 1 came late");
}

#[test]
fn a_burst_has_no_rate_and_a_run_has_one() {
    let world = World::new();
    let receiver = ready(
        &world,
        &["-i", "vale0:b", "-f", "rx", "-n", "500", "--json"],
    );
    send(&world, "500");
    let burst = receiver.wait_success();
    assert!(burst.contains("\"pps\":null,\"bps\":null"), "{burst}");

    let receiver = ready(
        &world,
        &["-i", "vale0:b", "-f", "rx", "-n", "500", "--json"],
    );
    world
        .generator(&["-i", "vale0:a", "-f", "tx", "-n", "500", "-R", "2000"])
        .wait_success();
    // sent in a quarter of a second at least, however the receiver was delayed it was not faster
    // than it could be woken
    assert!(number(&receiver.wait_success(), "pps") > 0.0);
}

fn path(path: &Path) -> &str {
    path.to_str()
        .expect("the temporary folder has a plain name")
}
