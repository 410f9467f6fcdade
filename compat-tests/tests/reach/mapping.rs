//! A port that one thread maps while others use its descriptor.

use compat_tests::or_skip;
use compat_tests::world::World;

use super::{run, statically};

#[test]
fn a_descriptor_is_the_port_for_every_thread() {
    let swaps = or_skip!("static program", statically("reach/swaps"));
    for part in ["asleep", "at-once", "reused"] {
        let world = World::new();
        let said = run(&world, &["-v", "1"], &swaps, &[part]).wait_success();
        assert!(said.ends_with("done\n"), "{part}: {said}");
        assert!(!said.contains("pidfd_getfd"), "{part}: {said}");
    }
}
