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
