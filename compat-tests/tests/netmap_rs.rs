//! The crate netmap-rs, whose tests drive VALE ports with two rings, pipes and Tokio's epoll.

use compat_tests::apps;
use compat_tests::or_skip;
use compat_tests::world::World;

/// All that its integration test has, and all pass on real netmap.
const TESTS: usize = 12;

#[test]
fn integration_tests_pass() {
    let integration = or_skip!("netmap-rs", apps::netmap_rs("integration"));
    let world = World::new();
    // One at a time: its tests share the switch vale0 and flood frames, which arrive in whatever
    // test runs beside them and fails its comparison, on real netmap too.
    let said = world
        .spawn(&integration, &["--test-threads=1"])
        .wait_success();
    let passed = format!("test result: ok. {TESTS} passed; 0 failed");
    assert!(said.contains(&passed), "{said}");
}

#[test]
fn integration_tests_pass_again_in_the_same_world() {
    let integration = or_skip!("netmap-rs", apps::netmap_rs("integration"));
    let world = World::new();
    // every port and pipe of a run must be gone for the next
    for round in 0..5 {
        let said = world
            .spawn(&integration, &["--test-threads=1"])
            .wait_success();
        assert!(
            said.contains(&format!("{TESTS} passed; 0 failed")),
            "round {round}: {said}"
        );
    }
}

#[test]
fn its_pkt_gen_fills_a_switch() {
    let pkt_gen = or_skip!("netmap-rs", apps::netmap_rs("pkt-gen"));
    let world = World::new();
    // it puts `netmap:` before the name of a switch
    let receiver = world.spawn(&pkt_gen, &["-i", "vale0:dst", "-f", "rx"]);
    receiver.wait_text("draining port");
    // ten batches that fit into the receiver's ring
    let sender = world.spawn(
        &pkt_gen,
        &["-i", "vale0:src", "-f", "tx", "-n", "640", "-s", "60"],
    );
    assert!(sender.wait_success().contains("sent 640 frames"));
    // its numbers, in the first bytes of the destination address, make unicasts and multicasts in
    // turn; its own check of their order counts twice and always finds a gap
    receiver.wait_line("all frames", |line| line.starts_with("received 640 frames"));
}
