//! netmap's own tools, from the folder that `NETMAP_APPS` names: pkt-gen, bridge, lb, vale-ctl,
//! nmreplay.

use compat_tests::apps::{self, App};
use compat_tests::capture::{self, CLIENT, Frame};
use compat_tests::or_skip;
use compat_tests::wait::wait_for;
use compat_tests::world::{Program, World};
use rustix::process::Signal;

/// Packets that fit into one ring: a switch drops what a receiver has no room for.
const ONE_RING: u64 = 1000;

/// What pkt-gen says at the end: `Received 1000 packets 60000 bytes ...`.
fn total(said: &str, verb: &str) -> u64 {
    let line = said.lines().find(|l| l.starts_with(&format!("{verb} ")));
    let number = line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok());
    number.unwrap_or_else(|| panic!("no line `{verb} N packets`:\n{said}"))
}

fn pkt_gen(world: &World, app: &App, port: &str, function: &str, more: &[&str]) -> Program {
    world.spawn(
        app,
        &[&["-i", port, "-f", function, "-w", "1"][..], more].concat(),
    )
}

/// A receiver that is ready: it waits for its first packet.
fn receiver(world: &World, app: &App, port: &str, more: &[&str]) -> Program {
    let program = pkt_gen(world, app, port, "rx", more);
    program.wait_text("Ready...");
    program
}

#[test]
fn pkt_gen_counts_agree_on_a_switch() {
    let app = or_skip!("pkt-gen", apps::netmap_tool("pkt-gen"));
    let world = World::new();
    let count = ONE_RING.to_string();
    let first = receiver(&world, &app, "vale0:b", &["-n", &count]);
    let second = receiver(&world, &app, "vale0:c", &["-n", &count]);
    let sender = pkt_gen(&world, &app, "vale0:a", "tx", &["-n", &count]);
    // broadcasts: both hear all of them
    assert_eq!(total(&sender.wait_success(), "Sent"), ONE_RING);
    assert_eq!(total(&first.wait_success(), "Received"), ONE_RING);
    assert_eq!(total(&second.wait_success(), "Received"), ONE_RING);
}

#[test]
fn pkt_gen_finds_no_gap_on_a_pipe() {
    let app = or_skip!("pkt-gen", apps::netmap_tool("pkt-gen"));
    let world = World::new();
    // these two functions know no number of packets: both are interrupted
    let mut listener = pkt_gen(&world, &app, "netmap:p}1", "rxseq", &["-N"]);
    listener.wait_text("Ready...");
    let mut sender = pkt_gen(&world, &app, "netmap:p{1", "txseq", &["-N"]);
    // a few laps of the ring at least: six digits of packets in one second's line
    let laps = |line: &str| line.contains(" pkts ") && packets_in(line) >= 100_000;
    listener.wait_line("100000 packets in a second", laps);
    sender.signal(Signal::INT);
    assert!(sender.wait().success(), "{}", sender.said());
    // a second without a packet, after the last one was sent: nothing is on its way any more
    let seen = listener.lines();
    wait_for("the receiver to be idle", || {
        listener.said_since(seen).contains(" (0 pkts ")
    });
    listener.signal(Signal::INT);
    assert!(listener.wait().success(), "{}", listener.said());
    assert!(
        !listener.said_since(0).contains("Sequence"),
        "{}",
        listener.said()
    );
    let (sent, received) = (
        total(&sender.stdout(), "Sent"),
        total(&listener.stdout(), "Received"),
    );
    // what an interrupted sender could not put into the full ring stays in its own
    assert!(
        received <= sent && sent - received < 2048,
        "sent {sent}, received {received}"
    );
}

/// The number in `(123 pkts ` of a progress line.
fn packets_in(line: &str) -> u64 {
    let number = line
        .split('(')
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse().ok());
    number.unwrap_or(0)
}

#[test]
fn pkt_gen_modes_work() {
    let app = or_skip!("pkt-gen", apps::netmap_tool("pkt-gen"));
    let world = World::new();
    // sizes, bursts, indirect buffers, fragments, copies, a pace
    let modes: [&[&str]; 6] = [
        &["-l", "1500"],
        &["-b", "1"],
        &["-I"],
        &["-F", "3", "-l", "600"],
        &["-o", "4"],
        &["-R", "5000"],
    ];
    for mode in modes {
        let count = "250";
        let listener = receiver(&world, &app, "vale0:b", &["-n", count]);
        let sender = pkt_gen(
            &world,
            &app,
            "vale0:a",
            "tx",
            &[&["-n", count], mode].concat(),
        );
        assert_eq!(total(&sender.wait_success(), "Sent"), 250, "{mode:?}");
        assert_eq!(total(&listener.wait_success(), "Received"), 250, "{mode:?}");
    }
}

#[test]
fn pkt_gen_ping_pong() {
    let app = or_skip!("pkt-gen", apps::netmap_tool("pkt-gen"));
    let world = World::new();
    for (here, there) in [("vale0:a", "vale0:b"), ("netmap:q{1", "netmap:q}1")] {
        let pong = pkt_gen(&world, &app, there, "pong", &[]);
        pong.wait_text("Ready...");
        let ping = pkt_gen(&world, &app, here, "ping", &["-n", "2000"]);
        ping.wait_text("RTT over 2000 packets");
        ping.wait_success();
        pong.signal(Signal::INT);
        let mut pong = pong;
        assert!(pong.wait().success(), "{}", pong.said());
    }
}

/// What `uvale gen -f rx` records on a port.
fn record(world: &World, port: &str, file: &str, count: usize) -> Program {
    let path = world.file(file);
    let program = world.generator(&[
        "-i",
        port,
        "-f",
        "rx",
        "-n",
        &count.to_string(),
        "--pcap",
        &path.to_string_lossy(),
    ]);
    wait_for(&format!("{port} to be there"), || port_exists(world, port));
    program
}

/// The names of ports are in their listing; a pipe's end is listed by its name without the prefix.
fn port_exists(world: &World, port: &str) -> bool {
    let name = port.strip_prefix("netmap:").unwrap_or(port);
    let output = world
        .uvale(&["ports", "--json"])
        .output()
        .expect("uvale starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.contains(&format!("\"{name}\""))
}

#[test]
fn bridge_joins_two_switches() {
    let app = or_skip!("bridge", apps::netmap_tool("bridge"));
    let world = World::new();
    let sent = capture::recorded_from(CLIENT);
    for copy in [&["-w", "0"][..], &["-w", "0", "-c"]] {
        let bridge = world.spawn(
            &app,
            &[&["-i", "vale0:x", "-i", "vale1:y"][..], copy].concat(),
        );
        bridge.wait_text("Ready to go");
        let listener = record(&world, "vale1:z", "bridged.pcap", sent.len());
        world.send("vale0:a", &sent);
        listener.wait_success();
        let arrived = capture::read(&world.file("bridged.pcap")).expect("a finished capture");
        capture::assert_same("bridged", &arrived, &sent);
        bridge.signal(Signal::INT);
        let mut bridge = bridge;
        assert!(bridge.wait().success(), "{}", bridge.said());
    }
}

#[test]
fn bridge_swaps_buffers_between_pipes() {
    let app = or_skip!("bridge", apps::netmap_tool("bridge"));
    let world = World::new();
    let sent = capture::recorded();
    // two pipes of one parent share memory: the bridge moves buffers instead of copying
    let bridge = world.spawn(&app, &["-w", "0", "-i", "netmap:m}1", "-i", "netmap:m{2"]);
    bridge.wait_text("zerocopy supported");
    bridge.wait_text("Ready to go");
    let listener = record(&world, "netmap:m}2", "swapped.pcap", sent.len());
    world.send("netmap:m{1", &sent);
    listener.wait_success();
    let arrived = capture::read(&world.file("swapped.pcap")).expect("a finished capture");
    capture::assert_same("swapped", &arrived, &sent);
}

#[test]
fn lb_spreads_flows_over_pipes() {
    let app = or_skip!("lb", apps::netmap_tool("lb"));
    let world = World::new();
    let sent = capture::recorded_from(CLIENT);
    let balancer = world.spawn(&app, &["-i", "vale0:in", "-p", "out:2", "-w", "1"]);
    balancer.wait_text("successfully opened pipe #2");
    let files = [world.file("lb0.pcap"), world.file("lb1.pcap")];
    let listeners: Vec<Program> = (0..2)
        .map(|i| {
            let port = format!("netmap:out}}{i}");
            let listener = world.generator(&[
                "-i",
                &port,
                "-f",
                "rx",
                "--pcap",
                &files[i].to_string_lossy(),
            ]);
            wait_for(&format!("{port} to be there"), || {
                port_exists(&world, &port)
            });
            listener
        })
        .collect();
    world.send("vale0:a", &sent);
    let read = || {
        files
            .iter()
            .map(|f| capture::read(f).unwrap_or_default())
            .collect::<Vec<_>>()
    };
    wait_for("all frames behind the balancer", || {
        read().iter().map(Vec::len).sum::<usize>() == sent.len()
    });
    for listener in listeners {
        listener.signal(Signal::INT);
        listener.wait_success();
    }
    let [first, second] = read().try_into().expect("two files");
    assert!(
        !first.is_empty() && !second.is_empty(),
        "both pipes got flows: {} and {}",
        first.len(),
        second.len()
    );
    assert_order_kept(&first, &sent);
    assert_order_kept(&second, &sent);
    let sorted = |frames: &[Frame]| {
        let mut bytes: Vec<Vec<u8>> = frames.iter().map(|f| f.bytes.clone()).collect();
        bytes.sort();
        bytes
    };
    assert_eq!(sorted(&[first, second].concat()), sorted(&sent));
}

/// `part` is `whole` with some frames left out.
fn assert_order_kept(part: &[Frame], whole: &[Frame]) {
    let mut rest = whole.iter();
    for (number, frame) in part.iter().enumerate() {
        assert!(
            rest.any(|f| f == frame),
            "frame {number} is out of order: {frame:?}"
        );
    }
}

#[test]
fn vale_ctl_lists_makes_and_removes() {
    let app = or_skip!("vale-ctl", apps::netmap_tool("vale-ctl"));
    let world = World::new();
    let run = |arguments: &[&str]| {
        let mut program = world.spawn(&app, arguments);
        let code = program.wait().code();
        (code, program.said())
    };
    let listed = || run(&[]).1;
    assert!(!listed().contains("bridge_idx"), "nothing yet");

    let (code, said) = run(&["-n", "v0"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&["-a", "vale3:v0"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        listed().contains("vale3:v0 bridge_idx 0 port_idx 0"),
        "{}",
        listed()
    );
    let (code, said) = run(&["-g", "vale3:v0"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&["-r", "v0"]);
    assert_ne!(
        code,
        Some(0),
        "an attached interface can't be removed: {said}"
    );
    let (code, said) = run(&["-d", "vale3:v0"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&["-r", "v0"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!listed().contains("vale3"), "{}", listed());
}

#[test]
fn nmreplay_sends_a_capture() {
    let app = or_skip!("nmreplay", apps::netmap_tool("nmreplay"));
    let world = World::new();
    let sent = capture::recorded_from(CLIENT);
    let path = world.file("replay.pcap");
    capture::write(&path, &sent);
    let listener = record(&world, "vale0:b", "replayed.pcap", sent.len());
    let replay = world.spawn(
        &app,
        &["-f", &path.to_string_lossy(), "-i", "vale0:a", "-w", "1"],
    );
    listener.wait_success();
    drop(replay);
    let arrived = capture::read(&world.file("replayed.pcap")).expect("a finished capture");
    capture::assert_same("replayed", &arrived[..sent.len()], &sent);
}
