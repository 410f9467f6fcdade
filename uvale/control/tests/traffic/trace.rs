//! What a trace says of packets, and that it says what has happened.

use core::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use nm_abi::{NR_MONITOR_RX, NR_MONITOR_TX, NR_ZCOPY_MON, NS_INDIRECT, NS_MOREFRAG};

use super::{BROADCAST, bwrap, frame, port, put, take, world};
use uvale_control::local::{LocalPort, LocalWorld};
use uvale_engine::trace::{Event, Reason, Record, Ring, Tracing};
use uvale_engine::{Host, RX, TX};
use uvale_shared::trace::Reader;

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
const C: [u8; 6] = [2, 0, 0, 0, 0, 0xc];

/// A trace, and who reads it.
struct Traced {
    tracing: Arc<Tracing>,
    reader: Reader,
}

impl Traced {
    fn begin(w: &LocalWorld, name: &str) -> Self {
        Self {
            tracing: w.trace(name, 1024).unwrap(),
            reader: Reader::default(),
        }
    }

    fn records(&mut self) -> Vec<Record> {
        let (mut records, mut bytes) = (Vec::new(), Vec::new());
        while self.reader.take(&self.tracing.memory, 0, &mut bytes) {
            records.push(Record::decode(&bytes).expect("a record"));
        }
        assert_eq!(self.reader.missed(), 0);
        records
    }

    /// What has happened to the only packet.
    fn events(&mut self) -> Vec<Event> {
        let mut records = self.records();
        assert_eq!(records.len(), 1, "{records:?}");
        records.remove(0).events
    }
}

fn ring(port: &str) -> Ring {
    Ring {
        port: port.into(),
        ring: 0,
        is_host: false,
    }
}

fn copied(port: &str, slot: u32) -> Event {
    Event::Copied {
        to: ring(port),
        slot,
        slots: 1,
        empty: 0,
        converted: false,
    }
}

fn dropped(port: Option<&str>, why: Reason) -> Event {
    let at = port.map(ring);
    Event::Dropped {
        at,
        why,
        packets: 1,
    }
}

fn send(w: &LocalWorld, p: &LocalPort, packets: &[Vec<u8>]) {
    for packet in packets {
        assert!(put(w, p, packet, 0));
    }
    p.attachment.txsync(w);
}

#[test]
fn learnt_flooded_and_found() {
    let w = world();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|p| port(&w, &format!("vale0:{p}")));
    let mut t = Traced::begin(&w, "vale0");
    let first = frame(B, A, 1);
    send(&w, &a, std::slice::from_ref(&first));
    let mut records = t.records();
    let record = records.remove(0);
    assert!(records.is_empty());
    assert_eq!(record.ring, ring("vale0:a"));
    assert_eq!((record.is_tx, record.slot, record.slots), (true, 0, 1));
    assert_eq!((record.len, &record.data), (60, &first));
    assert_eq!((record.session, record.pid), (2, std::process::id() as i32));
    let number = |p: &LocalPort| {
        let record = w.ctl().port(p.attachment.binding().port).unwrap();
        record.bdg_port.load(Relaxed)
    };
    assert_eq!(
        record.events,
        [
            Event::Learnt(number(&a)),
            Event::Flooded { ports: 3 },
            copied("vale0:b", 0),
            copied("vale0:c", 0),
            copied("vale0:d", 0),
        ]
    );
    // It is what has happened.
    for p in [&b, &c, &d] {
        assert_eq!(take(&w, p), std::slice::from_ref(&first));
    }
    send(&w, &b, &[frame(A, B, 2)]);
    let expected = [
        Event::Learnt(number(&b)),
        Event::Found(number(&a)),
        copied("vale0:a", 0),
    ];
    assert_eq!(t.events(), expected);
    // Known by now; two in one sync are two records.
    send(&w, &a, &[frame(B, A, 3), frame(BROADCAST, A, 4)]);
    let records = t.records();
    assert_eq!(
        records[0].events,
        [Event::Found(number(&b)), copied("vale0:b", 1)]
    );
    assert_eq!(records[1].slot, 2);
    assert_eq!(records[1].events.len(), 4);
    assert_eq!(
        (take(&w, &b).len(), take(&w, &c).len(), take(&w, &d).len()),
        (2, 1, 1)
    );
}

#[test]
fn whoever_slept_is_named() {
    let w = world();
    let [a, b, c] = ["a", "b", "c"].map(|p| port(&w, &format!("vale0:{p}")));
    let mut t = Traced::begin(&w, "vale0:a");
    assert!(b.attachment.announce(libc::POLLIN));
    send(&w, &a, &[frame(BROADCAST, A, 1), frame(BROADCAST, A, 2)]);
    let woke = Event::Woke {
        ring: ring("vale0:b"),
        client: b.client.0,
    };
    let records = t.records();
    assert_eq!(
        records[0].events[2..],
        [copied("vale0:b", 0), woke, copied("vale0:c", 0)]
    );
    assert_eq!(
        records[1].events[1..],
        [copied("vale0:b", 1), copied("vale0:c", 1)]
    );
    assert_eq!(w.take_woken(), [b.client.0], "and it was woken");
    // The others of the switch are not traced.
    send(&w, &c, &[frame(BROADCAST, C, 1)]);
    assert_eq!(t.records(), []);
}

#[test]
fn every_reason_of_a_switch() {
    let w = world();
    let [a, b] = ["a", "b"].map(|p| port(&w, &format!("vale0:{p}")));
    let mut t = Traced::begin(&w, "vale0:a");
    send(&w, &b, &[frame(BROADCAST, B, 0)]);
    take(&w, &a);
    let last = |t: &mut Traced| t.events().pop().unwrap();

    send(&w, &a, &[frame(B, A, 1)[..13].to_vec()]);
    assert_eq!(last(&mut t), dropped(None, Reason::Short));

    send(&w, &a, &[frame(A, A, 1)]);
    assert_eq!(last(&mut t), dropped(None, Reason::OwnPort));

    assert!(put(&w, &a, &vec![0; 3000][..2000], 0));
    let tx = w.ring(&a, TX, 0).unwrap();
    let at = tx.prev(tx.header().head.load(Relaxed)) as usize;
    let slot = tx.slots()[at].load();
    tx.slots()[at].store(uvale_shared::shm::Slot {
        len: 60_000,
        ..slot
    });
    a.attachment.txsync(&w);
    assert_eq!(
        t.events(),
        [Event::BadSlots(1), dropped(None, Reason::Short)]
    );

    // An address that cannot be read arrives as an empty packet, where the header can be.
    assert!(put(&w, &a, &frame(B, A, 1), NS_MOREFRAG));
    assert!(put(&w, &a, &[0; 40], NS_INDIRECT));
    let at = tx.prev(tx.header().head.load(Relaxed)) as usize;
    let slot = tx.slots()[at].load();
    tx.slots()[at].store_full(uvale_shared::shm::Slot { ptr: 8, ..slot });
    a.attachment.txsync(&w);
    let Event::Copied { slots, empty, .. } = last(&mut t) else {
        panic!("it is copied");
    };
    assert_eq!((slots, empty), (2, 1));
    take(&w, &b);

    // A chain without an end.
    assert!(put(&w, &a, &frame(B, A, 1), NS_MOREFRAG));
    a.attachment.txsync(&w);
    assert_eq!(t.events()[0], Event::Truncated);
    take(&w, &b);

    for round in 0..16 {
        send(&w, &a, &[frame(B, A, round)]);
    }
    assert_eq!(
        t.records()[15].events[1],
        dropped(Some("vale0:b"), Reason::Full)
    );
    take(&w, &b);

    // Its lock is held by somebody who is stopped.
    let record = w.ctl().port(b.attachment.binding().port).unwrap();
    let kring = w.ctl().kring(record.rx_kring.load(Relaxed)).unwrap();
    let stopped = kring.q_lock.try_lock(77).unwrap();
    send(&w, &a, &[frame(B, A, 1)]);
    drop(stopped);
    assert_eq!(last(&mut t), dropped(Some("vale0:b"), Reason::Stuck));

    // Its ring is not open for receiving.
    let mode = kring.mode.swap(uvale_shared::ctl::RING_OFF, Relaxed);
    send(&w, &a, &[frame(B, A, 1)]);
    kring.mode.store(mode, Relaxed);
    assert_eq!(last(&mut t), dropped(Some("vale0:b"), Reason::NoReceiver));

    w.close(b);
    send(&w, &a, &[frame(B, A, 1)]);
    assert_eq!(last(&mut t), dropped(None, Reason::PortGone));
    send(&w, &a, &[frame(BROADCAST, A, 1)]);
    assert_eq!(last(&mut t), dropped(None, Reason::Alone));

    w.ctl().tuning().unwrap().batch.store(0, Relaxed);
    send(&w, &a, &[frame(BROADCAST, A, 1)]);
    assert_eq!(last(&mut t), dropped(None, Reason::NoBatch));

    tx.header().head.store(1000, Relaxed);
    a.attachment.txsync(&w);
    assert_eq!(t.events(), [Event::Reinit]);

    // All of them are what the counters have counted.
    let record = w.ctl().port(a.attachment.binding().port).unwrap();
    let kring = w.ctl().kring(record.tx_kring.load(Relaxed)).unwrap();
    let c = &kring.sync;
    let counted = [
        &c.short,
        &c.bad_slot,
        &c.no_dest,
        &c.no_receiver,
        &c.truncated,
        &c.reinit,
    ];
    assert_eq!(counted.map(|c| c.load(Relaxed)), [2, 1, 2, 2, 1, 1]);
}

#[test]
fn a_port_that_nobody_has_open_is_named() {
    let w = world();
    let a = port(&w, "vale0:a");
    bwrap::persistent(&w, "vi0", "vale0");
    let mut t = Traced::begin(&w, "vale0");
    send(&w, &a, &[frame(BROADCAST, A, 1)]);
    let events = t.events();
    let last = events.last().expect("it was dropped");
    let is_named = |port: &str| *last == dropped(Some(port), Reason::NoReceiver);
    assert!(is_named("vi0") || is_named("vale0:vi0"), "{last:?}");
}

#[test]
fn other_headers_are_converted_or_dropped() {
    let w = world();
    let [a, b] = ["a", "b"].map(|p| port(&w, &format!("vale0:{p}")));
    let record = w.ctl().port(b.attachment.binding().port).unwrap();
    record.virt_hdr_len.store(12, Relaxed);
    let mut t = Traced::begin(&w, "vale0");
    send(&w, &a, &[frame(BROADCAST, A, 1)]);
    let Some(Event::Copied { converted, .. }) = t.events().pop() else {
        panic!("it is copied");
    };
    assert!(converted);
    // What comes back has a header that makes no sense.
    let mut packet = vec![0xff; 12];
    packet.extend(frame(A, B, 1));
    send(&w, &b, &[packet]);
    let records = t.records();
    assert_eq!(records[0].data, frame(A, B, 1), "without the header");
    let last = records[0].events.last().unwrap();
    assert_eq!(*last, dropped(Some("vale0:a"), Reason::Unconvertible));
}

#[test]
fn pipes_pass_slots() {
    let w = world();
    let (a, b) = (port(&w, "p{1"), port(&w, "p}1"));
    let mut t = Traced::begin(&w, "p{1");
    assert!(b.attachment.announce(libc::POLLIN));
    send(&w, &a, &[frame(B, A, 1), frame(B, A, 2)]);
    let passed = |slot, slots| Event::Passed {
        to: ring("p}1"),
        slot,
        slots,
    };
    let woke = Event::Woke {
        ring: ring("p}1"),
        client: b.client.0,
    };
    let records = t.records();
    assert_eq!(records[0].events, [passed(0, 1), woke]);
    assert_eq!(
        (records[1].slot, &records[1].events),
        (1, &vec![passed(1, 1)])
    );
    assert!(put(&w, &a, &frame(B, A, 3), NS_MOREFRAG));
    a.attachment.txsync(&w);
    assert_eq!(t.events(), [Event::Kept(Reason::Incomplete)]);
    send(&w, &a, &[frame(B, A, 4)]);
    assert_eq!(t.events(), [passed(3, 1)]);
    assert_eq!(take(&w, &b).len(), 4);
}

#[test]
fn monitors_are_shown() {
    let w = world();
    let [a, b] = ["a", "b"].map(|p| port(&w, &format!("vale0:{p}")));
    let open = |name: &str, flags| w.open(name, |r| r.nr_flags = flags).unwrap();
    let _copy = open("vale0:a", NR_MONITOR_TX);
    let _arrived = open("vale0:b", NR_MONITOR_RX);
    let _swapped = open("vale0:a", NR_MONITOR_TX | NR_ZCOPY_MON);
    let mut t = Traced::begin(&w, "vale0:a");
    send(&w, &a, &[frame(BROADCAST, A, 1)]);
    let events = t.events();
    let shown: Vec<_> = events
        .iter()
        .enumerate()
        .filter_map(|(i, event)| match event {
            Event::Shown {
                to, slots, missed, ..
            } => Some((i, to.port.clone(), *slots, *missed)),
            _ => None,
        })
        .collect();
    let ports: Vec<&str> = shown.iter().map(|s| s.1.as_str()).collect();
    assert_eq!(ports.len(), 3, "{events:?}");
    assert!(ports[0].starts_with("vale0:a/") && ports[1].starts_with("vale0:b/"));
    assert!(shown.iter().all(|s| (s.2, s.3) == (1, 0)), "{shown:?}");
    assert!(events.contains(&copied("vale0:b", 0)));
    take(&w, &b);
}

#[test]
fn two_switches_are_two_records() {
    let w = world();
    let [a, b] = ["vale0:a", "vale1:b"].map(|p| port(&w, p));
    bwrap::join(&w, "vi0", "vale0", "vale1");
    let mut t = Traced::begin(&w, "vale0");
    send(&w, &a, &[frame(BROADCAST, A, 1)]);
    let to = |events: &[Event]| {
        let last = events.iter().rev().find_map(|event| match event {
            Event::Copied { to, .. } => Some(to.port.clone()),
            _ => None,
        });
        last.unwrap()
    };
    assert!(to(&t.events()).contains("vi0"));
    w.world.lock().unwrap().end_trace(1);
    let mut t = Traced::begin(&w, "vale1");
    send(&w, &a, &[frame(BROADCAST, A, 1)]);
    let records = t.records();
    assert_eq!(to(&records[0].events), "vale1:b");
    assert!(
        records[0].ring.port.contains("vi0"),
        "{:?}",
        records[0].ring
    );
    assert_eq!(take(&w, &b).len(), 2);
}

/// Ports that come later are traced from their first packet on; what has ended is not.
#[test]
fn ports_come_and_go() {
    let w = world();
    let a = port(&w, "vale0:a");
    let mut t = Traced::begin(&w, "vale0");
    let b = port(&w, "vale0:b");
    send(&w, &b, &[frame(BROADCAST, B, 1)]);
    assert_eq!(t.events().len(), 3);
    w.close(b);
    let b = port(&w, "vale0:b");
    send(&w, &b, &[frame(BROADCAST, B, 1)]);
    assert_eq!(t.events().len(), 3);
    assert_eq!(w.world.lock().unwrap().traced(b"vale0:b"), Some(1));
    assert_eq!(w.world.lock().unwrap().traced(b"vale1"), None);
    w.world.lock().unwrap().end_trace(1);
    send(&w, &b, &[frame(BROADCAST, B, 1)]);
    assert_eq!(t.records(), []);
    assert_eq!(take(&w, &a).len(), 3);
    assert!(w.trace("vale0:x", 64).is_err());
}

/// Traced or not, the same packets arrive in the same order.
#[test]
fn a_trace_changes_nothing() {
    let packets: Vec<Vec<u8>> = (0..15u8)
        .map(|i| match i % 4 {
            0 => frame(BROADCAST, A, i),
            1 => frame(A, A, i),
            2 => frame(B, [2, 0, 0, 0, i, 1], i),
            _ => frame(C, A, i)[..usize::from(i)].to_vec(),
        })
        .collect();
    let arrived = |is_traced: bool| {
        let w = world();
        let [a, b, c] = ["a", "b", "c"].map(|p| port(&w, &format!("vale0:{p}")));
        let traced = is_traced.then(|| Traced::begin(&w, "vale0"));
        send(&w, &b, &[frame(BROADCAST, B, 0)]);
        send(&w, &a, &packets);
        assert_eq!(
            traced.map(|mut t| t.records().len()),
            is_traced.then_some(16)
        );
        [&a, &b, &c].map(|p| take(&w, p))
    };
    assert_eq!(arrived(true), arrived(false));
}

/// Somebody scribbles over the memory of the trace all the time: the traffic goes on, and what is read is a record,
/// or nothing.
#[test]
fn scribblers_hurt_the_trace_alone() {
    let w = world();
    let [a, b] = ["a", "b"].map(|p| port(&w, &format!("vale0:{p}")));
    let tracing = w.trace("vale0", 64).unwrap();
    let mut reader = Reader::default();
    let mut bytes = Vec::new();
    let mut random = 1u64;
    for round in 0..2000u64 {
        send(&w, &a, &[frame(BROADCAST, A, round as u8)]);
        assert_eq!(take(&w, &b), [frame(BROADCAST, A, round as u8)]);
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let forged = random.to_le_bytes().repeat((random >> 58) as usize);
        tracing.memory.put(&forged);
        while reader.take(&tracing.memory, round * 1_000_000, &mut bytes) {
            let _ = Record::decode(&bytes);
        }
    }
    let _ = (RX, reader.missed_in_the_end(&tracing.memory));
}

/// A process that cannot get the trace sends all the same, and that is counted, also of ports that are gone.
#[test]
fn what_leaves_no_record_is_counted() {
    let w = world();
    let [a, b, c] = ["a", "b", "c"].map(|p| port(&w, &format!("vale0:{p}")));
    let world = || w.world.lock().unwrap();
    // Nobody here has a trace of this number.
    world().begin_trace(9, b"vale0").unwrap();
    send(&w, &a, &[frame(BROADCAST, A, 1), frame(BROADCAST, A, 2)]);
    assert!(put(&w, &b, &frame(BROADCAST, B, 3), NS_MOREFRAG));
    send(&w, &b, &[vec![0; 40]]);
    assert_eq!(take(&w, &c).len(), 4, "two, and one of two slots");
    w.close(b);
    assert_eq!(world().end_trace(9), 3);
    assert_eq!(world().end_trace(9), 0);
    let mut t = Traced::begin(&w, "vale0");
    send(&w, &a, &[frame(BROADCAST, A, 1)]);
    assert_eq!(t.records().len(), 1);
    assert_eq!(world().end_trace(1), 0);
}

/// A port that is closed belongs to its trace still: it may come back.
#[test]
fn closed_ports_are_traced_still() {
    let w = world();
    let [a, _b] = ["a", "b"].map(|p| port(&w, &format!("vale0:{p}")));
    let _t = Traced::begin(&w, "vale0:a");
    w.close(a);
    let traced = |name: &str| w.world.lock().unwrap().traced(name.as_bytes());
    assert_eq!(["vale0", "vale0:a"].map(traced), [Some(1); 2]);
    assert_eq!(
        ["vale0:b", "vale", "vale0:", "vale1"].map(traced),
        [None; 4]
    );
}
