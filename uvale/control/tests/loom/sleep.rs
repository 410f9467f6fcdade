//! Sleeping on a ring: whoever has said that it sleeps, and then sees nothing, is woken.

use super::*;

/// `sleeper` is about to wait for `events` while `other` brings them about.
fn is_woken_or_sees(
    world: &'static LocalWorld,
    [sleeper, other]: [&'static LocalPort; 2],
    events: i16,
    act: fn(&Process),
) {
    check(move || {
        let (waiting, acting) = (
            Process::new(world, 2, sleeper),
            Process::new(world, 3, other),
        );
        let worker = thread::spawn({
            let acting = acting.clone();
            move || act(&acting)
        });
        assert!(waiting.attachment().announce(events));
        let seen = waiting.attachment().poll(&*waiting, events) & events;
        worker.join().unwrap();
        let woken = acting.woken.lock().unwrap().contains(&sleeper.client.0);
        assert!(seen != 0 || woken);
    });
}

#[test]
fn a_receiver_on_a_switch() {
    let (world, ports) = vale::switch(&["vale0:a", "vale0:b"], 3);
    is_woken_or_sees(world, [ports[1], ports[0]], libc::POLLIN, |sender| {
        assert!(sender.put(&frame(2, 1, 1)));
        sender.txsync();
    });
}

#[test]
fn a_receiver_on_a_switch_that_gets_what_all_get() {
    let (world, ports) = vale::switch(&["vale0:a", "vale0:b"], 3);
    is_woken_or_sees(world, [ports[1], ports[0]], libc::POLLIN, |sender| {
        assert!(sender.put(&frame(9, 1, 1)));
        sender.txsync();
    });
}

#[test]
fn a_receiver_on_a_pipe() {
    let (world, [a, b]) = pipe::pipe(2);
    is_woken_or_sees(world, [b, a], libc::POLLIN, |sender| {
        assert!(sender.put(&frame(2, 1, 1)));
        sender.txsync();
    });
}

/// One that waits for room in a pipe.
#[test]
fn a_sender_on_a_pipe() {
    let (world, [a, b]) = pipe::pipe(2);
    let (sender, receiver) = (Process::new(world, 2, a), Process::new(world, 3, b));
    assert!(sender.put(&frame(2, 1, 1)));
    sender.txsync();
    assert!(!sender.put(&frame(2, 1, 2)));
    assert_eq!(receiver.receive().len(), 1);
    is_woken_or_sees(world, [a, b], libc::POLLOUT, Process::rxsync);
}
