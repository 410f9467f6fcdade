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
    check(None, move || {
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
