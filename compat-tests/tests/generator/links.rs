//! `uvale link`: a good wire loses nothing, and a bad one does what its seed says.

use std::time::{Duration, Instant};

use compat_tests::apps::App;
use compat_tests::capture;
use compat_tests::target;
use compat_tests::world::{Program, World};
use rustix::process::Signal;
use uvale_impair::{Impairment, Outcome, Way};

use super::{assert_numbers, ready};

/// Starts a link, and waits until its ports are there.
fn link(world: &World, args: &[&str]) -> Program {
    let app = App {
        path: target::binaries().uvale.clone(),
        libraries: None,
    };
    let program = world.spawn(&app, &[&["link"], args].concat());
    program.wait_text("are joined");
    program
}

/// Ends it; gives the summary.
fn ended(mut link: Program) -> String {
    link.signal(Signal::TERM);
    assert!(link.wait().success(), "{}", link.said());
    link.stdout()
}

/// The frames of `sent` that leave a way in one direction, as the crate says without any port.
fn leaving(impairment: Impairment, seed: u64, sent: &[capture::Frame]) -> Vec<Vec<u8>> {
    let mut way = Way::new(impairment, seed, 0);
    let now = Instant::now();
    let mut left = Vec::new();
    for frame in sent {
        way.accept(now, std::iter::once(&frame.bytes[..]));
    }
    way.release(now + Duration::from_secs(60), |bytes| {
        left.push(bytes.to_vec());
        Outcome::Sent
    });
    left
}

#[test]
fn a_seed_decides_what_becomes_of_each_packet() {
    let sent = capture::recorded();
    let impairment = Impairment {
        loss: 0.1,
        duplicate: 0.1,
        corrupt: 0.1,
        reorder: 0.2,
        limit: 10_000,
        ..Impairment::default()
    };
    let options = "--loss 10% --duplicate 10% --corrupt 10% --reorder 20% --json --seed";
    for (round, seed) in ["7", "7", "8"].into_iter().enumerate() {
        let expected = leaving(impairment, seed.parse().unwrap(), &sent);
        let world = World::new();
        let mut args = vec!["netmap:p{1", "netmap:q{1"];
        args.extend(options.split(' ').chain([seed]));
        let link = link(&world, &args);
        let (file, count) = (world.file("got.pcap"), expected.len().to_string());
        let got = file.to_string_lossy();
        let receiver = ready(
            &world,
            &["-i", "netmap:q}1", "-f", "rx", "-n", &count, "--pcap", &got],
        );
        world.send("netmap:p}1", &sent);
        receiver.wait_success();
        let arrived = capture::read(&file).expect("a capture");
        let arrived: Vec<_> = arrived.into_iter().map(|frame| frame.bytes).collect();
        assert!(arrived == expected, "round {round}");
        let said = ended(link);
        let numbers = [
            ("received", sent.len() as f64),
            ("sent", expected.len() as f64),
            ("waiting", 0.0),
        ];
        assert_numbers(&said, &numbers);
    }
}

#[test]
fn a_slow_wire_loses_nothing() {
    let world = World::new();
    let options = "--delay 30ms,1ms --jitter 10ms --rate 20M,0 --limit 100000";
    let link = link(
        &world,
        &[
            &["vale0:x", "vale1:y"],
            &options.split(' ').collect::<Vec<_>>()[..],
        ]
        .concat(),
    );
    for (from, to) in [("vale0:a", "vale1:b"), ("vale1:a", "vale0:b")] {
        let receiver = ready(&world, &["-i", to, "-f", "rxseq", "-n", "1000"]);
        world
            .generator(&["-i", from, "-f", "txseq", "-n", "1000"])
            .wait_success();
        receiver.wait_success();
    }
    let answering = ready(&world, &["-i", "vale1:b", "-f", "pong"]);
    let mac = "02:00:00:00:00:01";
    let ping = "-i vale0:a -f ping -n 20 --timeout 60 -S";
    let ping: Vec<_> = ping.split(' ').chain([mac]).collect();
    world.generator(&ping).wait_success();
    drop(answering);
    let said = ended(link);
    assert!(said.contains("vale0:x to vale1:y: "), "{said}");
    assert!(!said.contains("lost") && !said.contains("limit"), "{said}");
}

#[test]
fn it_ends_after_as_many_packets_as_it_is_told() {
    let world = World::new();
    let link = link(&world, &["netmap:p{1", "netmap:q{1", "-n", "10", "--json"]);
    let receiver = ready(&world, &["-i", "netmap:q}1", "-f", "rx", "-n", "10"]);
    world
        .generator(&["-i", "netmap:p}1", "-f", "tx", "-n", "500", "--linger", "1"])
        .wait();
    receiver.wait_success();
    assert_numbers(&link.wait_success(), &[("sent", 10.0)]);
}

#[test]
fn mistakes_are_said() {
    let world = World::new();
    for (args, status, said) in [
        (&["vale0:x"][..], 2, "<B>"),
        (&["vale0:x", "vale1:y", "--loss", "200"], 2, "percentage"),
        (&["vale0:x", "vale1:y", "--delay", "20"], 2, "with a unit"),
        (&["vale0:x", "vale1:y/R"], 1, "rings of both directions"),
        (&["vale0:x", "vale0:x"], 1, "has it already"),
        (&["vale0:x", "nothing"], 1, "must start with"),
        (&["vale0:x", "netmap:nosuchif"], 1, "no such interface"),
    ] {
        let output = world.uvale(&[&["link"], args].concat()).output();
        let output = output.expect("uvale starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {text}");
        assert!(text.contains(said), "{args:?}: {text}");
    }
}
