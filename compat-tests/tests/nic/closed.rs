//! Who has closed a NIC port has none of its sockets any more, nor has the other end, and both live on.

use compat_tests::place::Place;
use compat_tests::programs::{assert_goes_on, end, program};
use compat_tests::{Skip, or_skip};

use compat_tests::namespaces::{Ground, VETH};

fn leaves_nothing(more: &[&str]) -> Result<(), Skip> {
    let (closed, ground, place) = (program("nic/closed")?, Ground::new()?, Place::new());
    for wire in ["NMSHIM_WIRE=packet", "NMSHIM_WIRE=best"] {
        let args = [&[VETH], more].concat();
        let lives = ground.spawn_ready(0, &place, &closed, &[wire], &args);
        ground.assert_clean(0);
        end(lives);
    }
    place.assert_left_clean();
    Ok(())
}

#[test]
fn a_process_that_lives_on_keeps_no_sockets() {
    or_skip!("closed", leaves_nothing(&[]));
}

#[test]
fn nor_does_one_that_closes_in_another_way() {
    for how in ["dup2", "close_range", "closefrom"] {
        or_skip!(how, leaves_nothing(&[how]));
    }
}

#[test]
fn a_close_in_a_handler_keeps_them_until_the_next_open() {
    or_skip!("closed in a handler", leaves_nothing(&["handler"]));
}

#[test]
fn a_sender_keeps_no_sockets_of_the_other_end() {
    let traffic = or_skip!("sender", program("traffic"));
    let ground = or_skip!("sender", Ground::new());
    let place = Place::new();
    let start = |side, part| ground.spawn_ready(side, &place, &traffic, &[], &[part, VETH]);
    let mut sender = start(0, "tx");
    for _ in 0..3 {
        let mut receiver = start(1, "rx");
        assert_goes_on(&mut receiver, "behind its sender");
        end(receiver);
        assert_goes_on(&mut sender, "after its receiver has ended");
        ground.assert_clean(1);
    }
    end(sender);
    place.assert_left_clean();
}
