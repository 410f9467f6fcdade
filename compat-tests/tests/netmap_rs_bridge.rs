//! A capture forwarded by another unchanged program: the bridge of the crate netmap-rs, between two
//! switches and between pipes, received by tcpdump.

use compat_tests::apps::{self, App};
use compat_tests::capture::{self, CLIENT, Frame, SERVER};
use compat_tests::or_skip;
use compat_tests::wait::wait_for;
use compat_tests::world::{Program, World};
use rustix::process::Signal;

/// Starts the bridge between two ports, and waits until it has both.
fn bridge(world: &World, bridge: &App, one: &str, other: &str) -> Program {
    let program = world.spawn(bridge, &["-a", one, "-b", other]);
    program.wait_text("bridging");
    program
}

/// Starts tcpdump writing to `file`, and waits until it listens.
fn listen(world: &World, tcpdump: &App, port: &str, file: &str) -> Program {
    let path = world.file(file);
    let program = world.spawn(tcpdump, &["-i", port, "-U", "-w", &path.to_string_lossy()]);
    program.wait_text("listening on");
    program
}

/// Waits until `count` frames are in `file`, and then ends its writer as a person would.
fn receive(world: &World, mut listener: Program, file: &str, count: usize) -> Vec<Frame> {
    let path = world.file(file);
    wait_for("the frames in the file", || {
        capture::read(&path).is_ok_and(|frames| frames.len() >= count)
    });
    listener.signal(Signal::INT);
    let status = listener.wait();
    assert!(status.success(), "{}", listener.said());
    capture::read(&path).expect("a finished capture")
}

#[test]
fn a_bridge_between_two_switches_carries_each_hosts_frames() {
    let forwarder = or_skip!("netmap-rs bridge", apps::netmap_rs("bridge"));
    let tcpdump = or_skip!("tcpdump", apps::tcpdump());
    let world = World::new();
    // switches of their own for each host: nothing learned from the one is known to the other
    for (host, from, to) in [(CLIENT, "vale0", "vale1"), (SERVER, "vale2", "vale3")] {
        let sent = capture::recorded_from(host);
        let (one, other) = (format!("{from}:b"), format!("{to}:b"));
        let mut between = bridge(&world, &forwarder, &one, &other);
        let file = format!("{to}.pcap");
        let listener = listen(&world, &tcpdump, &format!("{to}:out"), &file);
        world.send(&format!("{from}:in"), &sent);
        let arrived = receive(&world, listener, &file, sent.len());
        capture::assert_same(to, &arrived, &sent);
        assert!(!between.has_ended(), "{}", between.said());
    }
}

#[test]
fn one_bridge_carries_both_directions_at_once() {
    let forwarder = or_skip!("netmap-rs bridge", apps::netmap_rs("bridge"));
    let tcpdump = or_skip!("tcpdump", apps::tcpdump());
    let world = World::new();
    let (client, server) = (
        capture::recorded_from(CLIENT),
        capture::recorded_from(SERVER),
    );
    let _between = bridge(&world, &forwarder, "vale0:b", "vale1:b");
    // A third port on each switch sees what is flooded there: everything until its destination is
    // known, and broadcasts.
    let at_server = listen(&world, &tcpdump, "vale1:server", "server.pcap");
    let at_client = listen(&world, &tcpdump, "vale0:client", "client.pcap");
    world.send("vale0:sender", &client);
    let at_server = receive(&world, at_server, "server.pcap", client.len());
    world.send("vale1:sender", &server);
    // the client's address was learned at a port that is gone by now
    let wanted: Vec<Frame> = server.iter().filter(|f| f.is_group()).cloned().collect();
    let at_client = receive(
        &world,
        at_client,
        "client.pcap",
        client.len() + wanted.len(),
    );
    capture::assert_same("at the server", &at_server, &client);
    capture::assert_same("at the client", &at_client, &[client, wanted].concat());
}

#[test]
fn a_bridge_between_pipes_carries_the_whole_capture_in_order() {
    let forwarder = or_skip!("netmap-rs bridge", apps::netmap_rs("bridge"));
    let tcpdump = or_skip!("tcpdump", apps::tcpdump());
    let world = World::new();
    let sent = capture::recorded();
    // the crate opens the slave side only of pipes on a base of this name
    let _between = bridge(&world, &forwarder, "netmap:pipe}1", "netmap:pipe{2");
    let listener = listen(&world, &tcpdump, "netmap:pipe}2", "pipe.pcap");
    world.send("netmap:pipe{1", &sent);
    let arrived = receive(&world, listener, "pipe.pcap", sent.len());
    capture::assert_same("pipes", &arrived, &sent);
}
