//! Somebody writes nonsense into the memory of a trace.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;
use std::os::fd::AsFd;

use compat_tests::place::Place;
use compat_tests::wait::wait_for;
use rustix::process::Signal;
use uvale_link::channel::call;
use uvale_link::proto::{Call, Reply};
use uvale_shared::shm::{Mapping, Memfd};

use super::ground::*;
use super::trace;

/// The trace says nothing, or nonsense, and the packets arrive.
#[test]
fn scribblers_hurt_the_trace_alone() {
    let place = Place::new();
    let [a, b] = ["vale0:a", "vale0:b"].map(|name| End::open(&place, name));
    let mut trace = trace(&place, &["vale0", "--json"]);
    let session = place.attach().expect("a session");
    let (reply, fds) = call(session.connection().as_fd(), &Call::Trace(1)).expect("an answer");
    assert!(matches!(reply, Reply::Trace { number: 1, .. }), "{reply:?}");
    let memory = Memfd::parts_from_peer(fds).expect("the memory");
    let map = Mapping::new(&memory).expect("a mapping");
    let words: &[AtomicU64] = map.slice_at(0, map.len() / 8).expect("its words");
    let mut random = 7u64;
    for round in 0..300u32 {
        let packets = numbers(round, 3);
        assert_eq!(a.send(&packets), 3);
        assert_eq!(b.receive(), packets);
        for _ in 0..200 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // The beginnings, where something is, more often than the rest.
            let at = (random >> 33) as usize % if random & 3 == 0 { words.len() } else { 4096 };
            let word = if random & 4 == 0 {
                random
            } else {
                random >> 56
            };
            words[at].store(word, Relaxed);
        }
    }
    assert!(!trace.has_ended(), "{}", trace.said());
    trace.signal(Signal::TERM);
    let code = trace.wait().code();
    assert!(
        [Some(0), Some(3)].contains(&code),
        "{code:?}: {}",
        trace.said()
    );
    // The next one has a memory of its own.
    let mut next = super::trace(&place, &["vale0", "-c", "1"]);
    wait_for("a packet to be told", || {
        a.send(&numbers(0, 1));
        b.receive();
        next.has_ended()
    });
    assert!(next.wait().success(), "{}", next.said());
}
