//! Ports of a netmap that is there: the kernel's, or uvale's under `uvale run`. Skipped without one.

use std::io::Write;
use std::time::Duration;

use nm_user::{Error, Interest, NotSent, Open, Port, Rx, wait};

/// Generous: nothing is decided by it.
const LONG: Option<Duration> = Some(Duration::from_secs(60));

/// Opens ports, or says that the test is skipped.
macro_rules! open {
    ($($port:expr),+) => {
        [$(match $port {
            Ok(port) => port,
            Err(Error::Device(why)) => {
                // Past the test runner's capture.
                let _ = writeln!(std::io::stderr().lock(), "skipped: no netmap here: {why}");
                return;
            }
            Err(why) => panic!("{why}"),
        }),+]
    };
}

/// Names of this process's own.
fn name(what: &str) -> String {
    format!("vale{}:{what}", std::process::id() % 10_000)
}

fn pipe(end: char, what: &str) -> String {
    format!("netmap:u{what}{}{end}1", std::process::id() % 10_000)
}

fn packet(number: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xff; 6];
    bytes.extend([2, 0, 0, 0, 0, 1, 0x08, 0x00]);
    bytes.extend(number.to_be_bytes());
    bytes.extend((18..len).map(|i| (i as u32).wrapping_mul(number + 7) as u8));
    bytes
}

/// Waits for packets, and gives the first ring.
fn arrived(port: &mut Port) -> Rx<'_> {
    let found = wait(&mut [port.watch(Interest::RX)], LONG).expect("it waits");
    assert_eq!(found, 1, "packets arrive");
    port.rx(0).expect("a ring")
}

fn whole(packet: &nm_user::Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.copy_to(&mut bytes);
    assert_eq!(bytes.len(), packet.len());
    bytes
}

#[test]
fn packets_arrive_as_they_were_sent() {
    let [mut a, mut b] = open!(Port::open(pipe('{', "a")), Port::open(pipe('}', "a")));
    assert!(a.shares_memory_with(&b));
    for round in 0..50u32 {
        let sent: Vec<_> = (0..40)
            .map(|i| packet(round * 40 + i, 60 + 100 * i as usize))
            .collect();
        let mut tx = a.tx(0).expect("a ring");
        sent.iter()
            .for_each(|packet| tx.send(packet).expect("there is room"));
        a.sync_tx().expect("sync");
        let mut got = Vec::new();
        while got.len() < sent.len() {
            got.extend(arrived(&mut b).packets().map(|p| whole(&p)));
        }
        assert!(got == sent, "round {round}");
    }
}

#[test]
fn a_ring_takes_what_fits_and_says_so() {
    let [mut a, mut b] = open!(Port::open(pipe('{', "b")), Port::open(pipe('}', "b")));
    let mut tx = a.tx(0).expect("a ring");
    let (room, size) = (tx.room(), tx.buffer_size());
    assert_eq!(
        tx.send(&packet(0, size * (room as usize + 1))),
        Err(NotSent::TooLong)
    );
    for i in 0..room {
        assert_eq!(tx.room(), room - i);
        let mut slot = tx.slot().expect("room");
        slot.buffer()[..60].copy_from_slice(&packet(i, 60));
        slot.send(60);
    }
    assert!(tx.slot().is_none());
    assert_eq!(tx.send(&packet(0, 60)), Err(NotSent::Full));
    a.sync_tx().expect("sync");
    // Of a slot that was not sent nothing is seen, and of a packet that was not taken all.
    let mut rx = arrived(&mut b);
    assert_eq!(rx.slots(), room);
    for _ in 0..2 {
        let first = rx.next_packet().expect("a packet");
        assert_eq!(first.bytes(), packet(0, 60));
    }
    rx.next_packet().expect("a packet").take();
    assert_eq!(rx.slots(), room - 1);
    drop(rx);
    b.sync_rx().expect("sync");
    let numbers = arrived(&mut b)
        .packets()
        .map(|p| p.bytes().to_vec())
        .collect::<Vec<_>>();
    let expected: Vec<_> = (1..room).map(|i| packet(i, 60)).collect();
    assert!(numbers == expected);
    b.sync_rx().expect("sync");
    wait(&mut [a.watch(Interest::TX)], LONG).expect("it waits");
    assert!(a.tx(0).expect("a ring").room() > 0);
}

#[test]
fn who_needs_more_slots_than_are_free_sleeps_until_there_are_more() {
    let [mut a, mut b] = open!(Port::open(pipe('{', "n")), Port::open(pipe('}', "n")));
    let (mut tx, one) = (a.tx(0).expect("a ring"), packet(0, 60));
    let long = packet(0, 3 * tx.buffer_size());
    while tx.room() > 2 {
        tx.send(&one).expect("room");
    }
    let short = Some(Duration::from_millis(1));
    let room = |a: &mut Port, time| wait(&mut [a.watch(Interest::TX)], time).expect("it waits");
    assert_eq!(room(&mut a, short), 1, "two slots are room");
    let mut tx = a.tx(0).expect("a ring");
    assert!(tx.has_room(2) && !tx.has_room(3));
    assert_eq!(room(&mut a, short), 0);
    assert_eq!(a.tx(0).expect("a ring").send(&long), Err(NotSent::Full));
    assert_eq!(room(&mut a, short), 0);
    arrived(&mut b).next_packet().expect("a packet").take();
    b.sync_rx().expect("sync");
    assert_eq!(room(&mut a, LONG), 1);
    let mut tx = a.tx(0).expect("a ring");
    assert!(tx.has_room(3));
    tx.send(&long).expect("room");
}

/// `far` sends to `near`, which forwards to `out`, which `end` receives.
fn forwards([far, near, out, end]: [&mut Port; 4], by_hand: bool) {
    let sent: Vec<_> = (0..30).map(|i| packet(i, 60 + 300 * i as usize)).collect();
    let mut tx = far.tx(0).expect("a ring");
    sent.iter()
        .for_each(|packet| tx.send(packet).expect("room"));
    far.sync_tx().expect("sync");
    let mut moved = 0;
    while moved < sent.len() {
        let mut rx = arrived(near);
        let mut tx = out.tx(0).expect("a ring");
        if by_hand {
            while let Some(mut packet) = rx.next_packet() {
                packet.bytes_mut()[5] = 0xfe;
                packet.forward_to(&mut tx).expect("room");
                moved += 1;
            }
        } else {
            moved += rx.forward_to(&mut tx);
        }
        out.sync_tx().expect("sync");
    }
    let mut got = Vec::new();
    while got.len() < sent.len() {
        got.extend(arrived(end).packets().map(|p| whole(&p)));
    }
    for (sent, got) in sent.iter().zip(&got) {
        let mut sent = sent.clone();
        if by_hand {
            sent[5] = 0xfe;
        }
        assert!(sent == *got);
    }
}

#[test]
fn packets_are_forwarded_without_a_copy_and_with_one() {
    let [mut far, mut near] = open!(Port::open(name("far")), Port::open(name("near")));
    let switch = format!("{}x", name("").trim_end_matches(':'));
    let shared = Open::new()
        .memory_of(&near)
        .open(format!("{switch}:shared"));
    let own = Port::open(format!("{switch}:own"));
    let end = Port::open(format!("{switch}:end"));
    let [mut shared, mut own, mut end] = open!(shared, own, end);
    assert!(near.shares_memory_with(&shared) && !near.shares_memory_with(&own));
    for by_hand in [false, true] {
        forwards([&mut far, &mut near, &mut shared, &mut end], by_hand);
        own.sync_rx().expect("sync");
        own.rx_rings().for_each(|mut rx| {
            rx.packets().for_each(drop);
        });
        own.sync_rx().expect("sync");
        forwards([&mut far, &mut near, &mut own, &mut end], by_hand);
    }
}

#[test]
fn rings_and_slots_are_as_asked_for() {
    let asked = Open::new().rings(2).slots(128).open(name("many"));
    let [mut port, mut first] = open!(asked, Port::open(format!("{}-0@conf:rings=3", name("one"))));
    let (tx, rx) = port.rings();
    assert_eq!([tx.len(), rx.len()], [2, 2]);
    drop((tx, rx));
    assert_eq!(port.tx(1).expect("a ring").room(), 127);
    assert!(port.tx(2).is_none());
    assert_eq!(first.tx_rings().len(), 1);
    let [mut second] = open!(Port::open(format!("{}-1", name("one"))));
    assert_eq!(second.tx_rings().len(), 1);
    assert!(matches!(
        Open::new().exclusive().open(name("one")),
        Err(Error::Refused { .. })
    ));
}

#[test]
fn a_process_has_a_ring_once() {
    let [port] = open!(Port::open(name("once")));
    assert!(matches!(
        Port::open(name("once")),
        Err(Error::Layout { .. })
    ));
    drop(port);
    let [_port] = open!(Port::open(name("once")));
}

#[test]
fn what_is_wrong_is_said() {
    let [_port] = open!(Port::open(name("a")));
    for (name, why) in [
        ("eth0", "must start with"),
        ("netmap:", "empty"),
        ("vale0:a@offset=8", "switched off"),
        ("vale0:a@extmem=/x", "not supported"),
        ("netmap:nosuchif", "no such interface"),
    ] {
        let said = Port::open(name).map(drop).unwrap_err().to_string();
        assert!(said.contains(name) && said.contains(why), "{said}");
    }
}

#[test]
fn nothing_arrives_and_the_time_is_over() {
    let [mut a, mut b] = open!(Port::open(name("t")), Port::open(name("u")));
    let mut both = [a.watch(Interest::RX), b.watch(Interest::RX | Interest::TX)];
    assert_eq!(
        wait(&mut both[..1], Some(Duration::from_millis(1))).unwrap(),
        0
    );
    assert_eq!(wait(&mut both, LONG).unwrap(), 1);
    assert!(!both[0].has_packets() && !both[1].has_packets() && both[1].has_room());
}

#[cfg(feature = "tokio")]
#[tokio::test(flavor = "current_thread")]
async fn tokio_waits_for_packets_and_room() {
    use nm_user::AsyncPort;
    const ALL: u32 = 20_000;
    let [a, b] = open!(Port::open(pipe('{', "t")), Port::open(pipe('}', "t")));
    let (mut a, mut b) = (AsyncPort::new(a).unwrap(), AsyncPort::new(b).unwrap());
    let sender = async {
        let mut next = 0;
        while next < ALL {
            let mut tx = a.room(1).await.expect("room").tx(0).expect("a ring");
            while next < ALL && tx.send(&packet(next, 60)).is_ok() {
                next += 1;
            }
            tokio::task::yield_now().await;
        }
        a.port().sync_tx().expect("sync");
    };
    let receiver = async {
        let mut next = 0;
        while next < ALL {
            let port = b.received().await.expect("packets");
            for got in port.rx(0).expect("a ring").packets() {
                assert_eq!(got.bytes(), packet(next, 60));
                next += 1;
            }
        }
        b.port().sync_rx().expect("sync");
    };
    let both = async { tokio::join!(sender, receiver) };
    tokio::time::timeout(LONG.unwrap(), both)
        .await
        .expect("all packets arrive");
}
