//! `uvale gen`, which knows nothing of uvale but the public netmap ABI, against itself over switches
//! and pipes. Streams to a switch are at most as long as a receive ring (1023 slots), so that nothing
//! is dropped however slow the receiver is.

mod files;
mod links;
mod status;

use compat_tests::capture::{self, CLIENT};
use compat_tests::world::{Program, World};
use rustix::process::Signal;

/// Starts a receiver (or answerer) and waits until its port is there.
fn ready(world: &World, args: &[&str]) -> Program {
    let program = world.generator(args);
    program.wait_text(": ready");
    program
}

/// The number that a summary in JSON gives for `key`.
fn number(json: &str, key: &str) -> f64 {
    let name = format!("\"{key}\":");
    let (_, rest) = json
        .split_once(&name)
        .unwrap_or_else(|| panic!("no {key} in {json}"));
    let end = rest.find([',', '}']).unwrap_or(rest.len());
    rest[..end]
        .parse()
        .unwrap_or_else(|_| panic!("{key} in {json}"))
}

/// Asserts what a summary says.
fn assert_numbers(json: &str, expected: &[(&str, f64)]) {
    for (key, value) in expected {
        assert_eq!(number(json, key), *value, "{key} in {json}");
    }
}

#[test]
fn a_pipe_carries_a_capture_byte_for_byte() {
    let world = World::new();
    let frames = capture::recorded();
    let input = compat_tests::target::data("http.pcap");
    let count = (2 * frames.len()).to_string();
    for (file, options) in [
        ("pipe.pcap", &["-b", "3"][..]),
        ("pipe.pcapng", &["-R", "1M"]),
        ("pipe-M.pcap", &["-M", "100"]),
    ] {
        let output = world.file(file);
        let output = output.to_string_lossy();
        let receiver = ready(
            &world,
            &[
                "-i",
                "netmap:x}1",
                "-f",
                "rx",
                "-n",
                &count,
                "--pcap",
                &output,
            ],
        );
        let input = input.to_string_lossy();
        let sender = [
            "-i",
            "netmap:x{1",
            "-f",
            "tx",
            "--pcap",
            &input,
            "--loop",
            "2",
            "--json",
        ];
        let sent = world.generator(&[&sender, options].concat()).wait_success();
        receiver.wait_success();
        assert_numbers(
            &sent,
            &[
                ("packets", 2.0 * frames.len() as f64),
                ("unsent", 0.0),
                ("skipped", 0.0),
            ],
        );
        let got = capture::read(output.as_ref().as_ref()).expect("the recording is readable");
        assert_eq!(got, [frames.clone(), frames.clone()].concat(), "{file}");
    }
}

#[test]
fn a_switch_carries_a_capture_byte_for_byte() {
    let world = World::new();
    let frames = capture::recorded_from(CLIENT);
    let output = world.file("vale.pcapng");
    let count = frames.len().to_string();
    let path = output.to_string_lossy();
    let receiver = ready(
        &world,
        &["-i", "vale0:b", "-f", "rx", "-n", &count, "--pcap", &path],
    );
    world.send("vale0:a", &frames);
    receiver.wait_success();
    assert_eq!(capture::read(&output), Ok(frames));
}

#[test]
fn packets_of_many_slots_and_indirect_ones_arrive_whole() {
    let world = World::new();
    for (options, len, slots) in [
        (&["-l", "9000", "-6"][..], 9000, 500.0),
        (&["-l", "600", "-F", "3"], 600, 300.0),
        (&["-l", "600", "-I"], 600, 100.0),
        (&["-l", "1514", "-s", "10.0.0.1:1-10.0.0.9:99"], 1514, 100.0),
    ] {
        let output = world.file("slots.pcap");
        let path = output.to_string_lossy();
        let receiver = ready(
            &world,
            &[
                "-i", "vale0:b", "-f", "rx", "-n", "100", "--pcap", &path, "--json",
            ],
        );
        let sender = ["-i", "vale0:a", "-f", "tx", "-n", "100", "--json"];
        let sent = world.generator(&[&sender, options].concat()).wait_success();
        let received = receiver.wait_success();
        for summary in [&sent, &received] {
            let bytes = 100.0 * f64::from(len);
            assert_numbers(
                summary,
                &[
                    ("packets", 100.0),
                    ("bytes", bytes),
                    ("slots", slots),
                    ("malformed", 0.0),
                ],
            );
        }
        let frames = capture::read(&output).expect("the recording is readable");
        assert!(
            frames
                .iter()
                .all(|f| f.bytes.len() == len as usize && f.is_group())
        );
        // the first packet, with right lengths and checksums, arrived like all others
        assert!(options.contains(&"-s") || frames.iter().all(|f| *f == frames[0]));
    }
}

#[test]
fn a_pipe_loses_and_reorders_nothing() {
    let world = World::new();
    for busy in [&[][..], &["--busy"]] {
        let receiver = ["-i", "netmap:x}1", "-f", "rxseq", "-n", "30000", "--json"];
        let receiver = ready(&world, &[&receiver, busy].concat());
        let sender = [
            "-i",
            "netmap:x{1",
            "-f",
            "txseq",
            "-n",
            "30000",
            "-s",
            "10.0.0.1:1-5",
            "-l",
            "60",
        ];
        world.generator(&[&sender, busy].concat()).wait_success();
        let received = receiver.wait_success();
        let none =
            ["lost", "reordered", "duplicate", "restarts", "unnumbered"].map(|key| (key, 0.0));
        assert_numbers(&received, &none);
        assert_numbers(&received, &[("packets", 30000.0), ("flows", 5.0)]);
    }
}

#[test]
fn pings_are_answered() {
    let world = World::new();
    for (ping, pong) in [("vale0:a", "vale0:b"), ("netmap:x{1", "netmap:x}1")] {
        let ponger = ready(&world, &["-i", pong, "-f", "pong", "-n", "300"]);
        let args = [
            "-i",
            ping,
            "-f",
            "ping",
            "-n",
            "300",
            "--timeout",
            "100",
            "--json",
        ];
        let pinged = world.generator(&args).wait_success();
        ponger.wait_success();
        assert_numbers(
            &pinged,
            &[("sent", 300.0), ("answered", 300.0), ("lost", 0.0)],
        );
        assert!(number(&pinged, "min_ns") > 0.0);
    }
}

#[test]
fn threads_share_rings_and_count() {
    let world = World::new();
    let rings = ["-C", "1024,1024,2", "-p", "2"];
    let receiver = ["-i", "vale0:b", "-f", "rx", "-n", "900", "--json"];
    let receiver = ready(&world, &[&receiver[..], &rings].concat());
    // broadcasts go to ring 0: one thread receives everything
    let sender = ["-i", "vale0:a", "-f", "tx", "-n", "900", "--json"];
    let sent = world
        .generator(&[&sender[..], &rings].concat())
        .wait_success();
    assert_numbers(&sent, &[("packets", 900.0), ("threads", 2.0)]);
    assert_numbers(
        &receiver.wait_success(),
        &[("packets", 900.0), ("threads", 2.0)],
    );
}

#[test]
fn an_interrupt_ends_with_the_summary() {
    let world = World::new();
    let mut receiver = ready(&world, &["-i", "vale0:b", "-f", "rx", "-T", "10"]);
    world
        .generator(&["-i", "vale0:a", "-f", "tx", "-n", "500"])
        .wait_success();
    receiver.wait_text("500 packets in ");
    receiver.signal(Signal::INT);
    assert!(receiver.wait().success(), "{}", receiver.said());
    receiver.wait_text("Received 500 packets, 30000 bytes");
}

#[test]
fn what_cannot_work_is_said() {
    let world = World::new();
    for (args, status, text) in [
        (&["-i", "nosuchif0", "-f", "rx"][..], 1, "No such device"),
        (&["-i", "vale0:a-3", "-f", "rx"], 1, "Invalid argument"),
        (&["-i", "vale0:a/q", "-f", "rx"], 1, "there is no flag 'q'"),
        (&["-i", "vale0:a", "-f", "rx", "-p", "3"], 1, "rings"),
        (
            &["-i", "vale0:a", "-f", "tx", "--pcap", "/dev/nosuch.pcap"],
            1,
            "No such file",
        ),
        (
            &["-i", "vale0:a", "-f", "up"],
            2,
            "[possible values: tx, rx, ping, pong, txseq, rxseq]",
        ),
        (
            &["-i", "vale0:a", "-f", "tx", "-l", "3"],
            2,
            "packets have 16",
        ),
        (&["-i", "vale0:a", "--nonsense"], 2, "--nonsense"),
    ] {
        let mut program = world.generator(args);
        assert_eq!(program.wait().code(), Some(status), "{}", program.said());
        assert!(program.said().contains(text), "{text}: {}", program.said());
    }
}
