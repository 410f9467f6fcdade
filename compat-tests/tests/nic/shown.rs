//! What commands show of interfaces: which of two that are called alike, and who has which rings.

use compat_tests::place::Place;
use compat_tests::programs::{end, program};
use compat_tests::said::Said;
use compat_tests::world::Program;
use compat_tests::{or_skip, target};

use super::rights::NO_RIGHT;
use compat_tests::namespaces::{Ground, VETH};

fn uvale(ground: &Ground, place: &Place, args: &[&str]) -> Said {
    let uvale = &target::binaries().uvale;
    Said::of(&mut ground.inside(0, place, [&[], &[]], uvale, args)).assert_code(0)
}

#[test]
fn equal_names_and_rings() {
    let (forward, ground) = (program("nic/forward"), Ground::new());
    let (forward, ground) = (or_skip!("forward", forward), or_skip!("two hosts", ground));
    let place = Place::new();
    let hold = |side: usize, name: &str| {
        ground.spawn_ready(
            side,
            &place,
            &forward,
            &["NMSHIM_WIRE=packet"],
            &["hold", name],
        )
    };
    let host = format!("{VETH}^");
    let near = [hold(0, VETH), hold(0, &host)];
    let alone = uvale(&ground, &place, &["ports"]).out;
    for (opened, program) in [VETH, &host].iter().zip(&near) {
        let line = format!("  {opened} is open by {}", "");
        let pid = format!("(pid {})", program.pid().as_raw_nonzero());
        let is_it = |l: &str| l.starts_with(&line) && l.ends_with(&pid);
        assert!(alone.lines().any(is_it), "{line}, {pid}: {alone}");
    }
    assert!(!alone.contains("net:["), "{alone}");
    assert_eq!(uvale(&ground, &place, &["wait", VETH]).err, "");

    let far = hold(1, VETH);
    let both = uvale(&ground, &place, &["ports"]).out;
    let waited = uvale(&ground, &place, &["wait", VETH]).err;
    assert!(waited.contains("several network namespaces"), "{waited}");
    for side in 0..2 {
        let namespace = ground
            .shell(side, "readlink /proc/self/ns/net")
            .assert_code(0)
            .out;
        let name = format!("{VETH} in {}", namespace.trim());
        assert_eq!(both.matches(&name).count(), 2, "{name}: {both}");
        assert!(waited.contains(namespace.trim()), "{waited}");
    }
    near.into_iter().for_each(|program| drop(end(program)));
    end(far);
    place.assert_left_clean();
}

/// An end that may not be joined waits for nothing.
#[test]
fn an_end_without_rights_that_is_not_to_be_joined() {
    let (forward, ground) = (program("nic/forward"), Ground::new());
    let (forward, ground) = (or_skip!("forward", forward), or_skip!("no rights", ground));
    let place = Place::new();
    let words: [&[&str]; 2] = [NO_RIGHT, &["NMSHIM_JOIN=never", "NMSHIM_VERBOSE=1"]];
    let mut refused = Program::start(
        "hold",
        ground.inside(0, &place, words, &forward, &["hold", VETH]),
    );
    assert_eq!(refused.wait().code(), Some(1));
    let said = refused.said();
    assert!(
        said.contains("errno 1:") && said.contains("CAP_NET_RAW"),
        "{said}"
    );
    place.assert_left_clean();
}
