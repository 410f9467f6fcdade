//! Pipes: slots and their buffers pass to the other end with one index, and come back with the other.

use super::*;

/// A pipe whose rings hold one packet.
pub fn pipe(slots: u32) -> (&'static LocalWorld, [&'static LocalPort; 2]) {
    let world = world();
    (world, ["p{1", "p}1"].map(|name| port(world, name, slots)))
}

/// More packets than the rings hold: each arrives whole, once, in order, and no slot is touched by both ends.
#[test]
fn a_pipe_loses_nothing() {
    let (world, ends) = pipe(2);
    check(move || {
        let (a, b) = (
            Process::new(world, 2, ends[0]),
            Process::new(world, 3, ends[1]),
        );
        let sender = thread::spawn(move || {
            let mut sent = 0;
            for _ in 0..3 {
                sent += u8::from(a.put(&frame(2, 1, sent)));
                a.txsync();
            }
            sent
        });
        let mut got = b.receive();
        got.extend(b.receive());
        b.rxsync();
        let sent = sender.join().unwrap();
        got.extend(b.receive());
        let all: Vec<_> = (0..sent).map(|tag| frame(2, 1, tag)).collect();
        assert_eq!(got, all);
    });
}

/// A full pipe: the sender goes on with what the receiver has given back, and not before.
#[test]
fn a_slot_comes_back_when_it_was_given_back() {
    let (world, ends) = pipe(3);
    let (a, b) = (
        Process::new(world, 2, ends[0]),
        Process::new(world, 3, ends[1]),
    );
    (1..=2).for_each(|tag| assert!(a.put(&frame(2, 1, tag))));
    a.txsync();
    b.rxsync();
    check(move || {
        let (a, b) = (
            Process::new(world, 2, ends[0]),
            Process::new(world, 3, ends[1]),
        );
        let sender = thread::spawn(move || {
            a.txsync();
            let sent = (3..=4).filter(|tag| a.put(&frame(2, 1, *tag))).count();
            a.txsync();
            sent
        });
        let mut got = b.take();
        b.rxsync();
        let sent = sender.join().unwrap();
        got.extend(b.receive());
        let all: Vec<_> = (1..).map(|tag| frame(2, 1, tag)).take(2 + sent).collect();
        assert_eq!(got, all);
    });
}
