//! Packets that go from switch to switch.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::Arc;

use nm_abi::*;

use super::{BROADCAST, frame, put, take};
use uvale_control::Config;
use uvale_control::local::{LocalPort, LocalWorld};
use uvale_engine::{Host, RX, TX};
use uvale_request::{Request, set_name};
use uvale_shared::ctl::{Ctl, Kring};
use uvale_shared::shm::RegionMap;

/// So many times a packet is carried on at most.
const DEPTH: usize = 16;

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
const SLOTS: u32 = 16;

pub fn command<T: AbiBytes>(w: &LocalWorld, reqtype: u16, name: &str, body: &T) {
    let mut header = nmreq_header {
        nr_version: NETMAP_API,
        nr_reqtype: reqtype,
        ..nmreq_header::default()
    };
    set_name(&mut header, name.as_bytes());
    let mut request = Request {
        header,
        body: body.as_bytes().to_vec(),
        options: Vec::new(),
    };
    let mut world = w.world.lock().unwrap();
    let client = world.open();
    world.request(client, &mut request).unwrap();
    world.close(client);
}

fn attach(w: &LocalWorld, name: &str) {
    let mut body = nmreq_vale_attach::default();
    body.reg.nr_mode = NR_REG_ALL_NIC;
    command(w, NETMAP_REQ_VALE_ATTACH, name, &body);
}

fn part(w: &LocalWorld, name: &str) {
    command(
        w,
        NETMAP_REQ_VALE_DETACH,
        name,
        &nmreq_vale_detach::default(),
    );
}

/// A persistent port that joins two switches.
pub fn join(w: &LocalWorld, name: &str, first: &str, second: &str) {
    persistent(w, name, first);
    attach(w, &format!("{second}:{name}"));
}

/// A persistent port on a switch, which nobody has open.
pub fn persistent(w: &LocalWorld, name: &str, switch: &str) {
    let body = nmreq_vale_newif {
        nr_tx_slots: SLOTS,
        nr_rx_slots: SLOTS,
        ..nmreq_vale_newif::default()
    };
    command(w, NETMAP_REQ_VALE_NEWIF, name, &body);
    attach(w, &format!("{switch}:{name}"));
}

fn world() -> LocalWorld {
    LocalWorld::new(Config {
        max_switches: 32,
        ..Config::default()
    })
    .unwrap()
}

fn port(w: &LocalWorld, name: &str) -> LocalPort {
    let shape = |r: &mut nmreq_register| (r.nr_tx_slots, r.nr_rx_slots) = (SLOTS, SLOTS);
    w.open(name, shape).unwrap()
}

/// vale0 with a, vale1 with b, joined.
fn two() -> (LocalWorld, LocalPort, LocalPort) {
    let w = world();
    join(&w, "z", "vale0", "vale1");
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale1:b"));
    (w, a, b)
}

fn send(w: &LocalWorld, p: &LocalPort, packets: &[Vec<u8>]) {
    for packet in packets {
        assert!(put(w, p, packet, 0));
    }
    p.attachment.txsync(w);
}

/// The first ring of a port that is not open here.
fn kring<'a>(w: &'a LocalWorld, name: &str, dir: usize) -> &'a Kring {
    let world = w.world.lock().unwrap();
    let info = world.ports().find(|p| p.name == name).unwrap();
    w.ctl().kring(info.krings[dir][0]).unwrap()
}

fn tags(packets: &[Vec<u8>]) -> Vec<u8> {
    packets.iter().map(|p| p[p.len() - 1]).collect()
}

fn audit(w: &LocalWorld) {
    assert_eq!(w.world.lock().unwrap().audit(), []);
}

#[test]
fn packets_pass_both_ways_and_addresses_are_learned() {
    let (w, a, b) = two();
    let (c, d) = (port(&w, "vale0:c"), port(&w, "vale1:d"));
    let flood = frame(BROADCAST, A, 1);
    send(&w, &a, core::slice::from_ref(&flood));
    for other in [&b, &c, &d] {
        assert_eq!(take(&w, other), core::slice::from_ref(&flood));
    }
    assert!(take(&w, &a).is_empty());
    // b's switch has learned that A is behind the bwrap, and a's switch where B is.
    for round in 0..100 {
        let (to_a, to_b) = (frame(A, B, round), frame(B, A, round));
        let n = 1 + usize::from(round % 7);
        send(&w, &b, &vec![to_a.clone(); n]);
        assert_eq!(take(&w, &a), vec![to_a; n]);
        send(&w, &a, &vec![to_b.clone(); n]);
        assert_eq!(take(&w, &b), vec![to_b; n]);
        assert!(take(&w, &c).is_empty() && take(&w, &d).is_empty());
    }
    audit(&w);
}

#[test]
fn kinds_of_packets_keep_their_order() {
    let (w, a, b) = two();
    send(&w, &b, &[frame(BROADCAST, B, 0)]);
    assert_eq!(take(&w, &a).len(), 1);
    for tag in 1..200u8 {
        let to = if tag % 3 == 0 { BROADCAST } else { B };
        assert!(put(&w, &a, &frame(to, A, tag), 0));
        if tag % 5 == 0 {
            a.attachment.txsync(&w);
            assert_eq!(tags(&take(&w, &b)), Vec::from_iter(tag - 4..=tag));
        }
    }
}

#[test]
fn fragments_stay_together() {
    let (w, a, b) = two();
    assert!(put(&w, &a, &frame(BROADCAST, A, 1), NS_MOREFRAG));
    assert!(put(&w, &a, &[2; 40], NS_MOREFRAG));
    assert!(put(&w, &a, &[3; 40], 0));
    a.attachment.txsync(&w);
    b.attachment.rxsync(&w);
    let ring = w.ring(&b, RX, 0).unwrap();
    assert_eq!(ring.header().tail.load(Relaxed), 3);
    let slots: Vec<_> = ring.slots()[..3].iter().map(|s| s.load()).collect();
    assert_eq!([60, 40, 40], [slots[0].len, slots[1].len, slots[2].len]);
    let more = NS_MOREFRAG | 3 << 8;
    assert_eq!(
        [more, more, 3 << 8],
        [slots[0].flags, slots[1].flags, slots[2].flags]
    );
}

#[test]
fn a_full_receiver_behind_it_drops_and_the_ring_between_does_not_fill() {
    let (w, a, b) = two();
    for tag in 0..4 {
        send(&w, &a, &vec![frame(BROADCAST, A, tag); 10]);
    }
    assert_eq!(tags(&take(&w, &b)), [[0; 10].as_slice(), &[1; 5]].concat());
    assert_eq!(kring(&w, "z", RX).produced.full.load(Relaxed), 0);
    send(&w, &a, &[frame(BROADCAST, A, 9)]);
    assert_eq!(tags(&take(&w, &b)), [9]);
}

/// Nobody keeps the memory of ports that a parted switch had.
#[test]
fn memory_behind_a_parted_switch_is_let_go_of() {
    let (w, a, b) = two();
    send(&w, &a, &[frame(BROADCAST, A, 1)]);
    let there = Arc::downgrade(b.attachment.region());
    part(&w, "vale1:z");
    w.close(b);
    send(&w, &a, &[frame(BROADCAST, A, 2)]);
    assert!(there.upgrade().is_none());
}

/// Two ports join the same two switches. As in netmap each packet goes round once per port, comes
/// back to its sender, and then waits in the ring that it came through first.
#[test]
fn a_loop_ends() {
    let w = world();
    join(&w, "y", "vale0", "vale1");
    join(&w, "z", "vale0", "vale1");
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale1:b"));
    send(&w, &a, &[frame(BROADCAST, A, 1)]);
    assert_eq!(tags(&take(&w, &a)), [1, 1]);
    assert_eq!(tags(&take(&w, &b)), [1, 1]);
    // Each later packet takes those along that wait, and more and more of them come back.
    for tag in 2..100 {
        send(&w, &a, &[frame(BROADCAST, A, tag)]);
        send(&w, &b, &[frame(BROADCAST, B, tag)]);
        take(&w, &a);
        take(&w, &b);
    }
    part(&w, "vale1:y");
    send(&w, &a, &[frame(BROADCAST, A, 200)]);
    send(&w, &b, &[frame(BROADCAST, B, 200)]);
    // What waited has gone on, and is not followed by more.
    take(&w, &a);
    take(&w, &b);
    send(&w, &a, &[frame(BROADCAST, A, 201)]);
    send(&w, &b, &[frame(BROADCAST, B, 202)]);
    assert_eq!(
        (tags(&take(&w, &a)), tags(&take(&w, &b))),
        (vec![202], vec![201])
    );
    audit(&w);
}

/// A switch that is joined with itself, and a knot of five bwraps.
#[test]
fn worse_loops_end() {
    let w = world();
    join(&w, "s", "vale0", "vale1");
    part(&w, "vale1:s");
    attach(&w, "vale0:s");
    for i in 0..5 {
        join(&w, &format!("k{i}"), "vale0", "vale1");
    }
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale1:b"));
    for tag in 0..5 {
        send(&w, &a, &[frame(BROADCAST, A, tag)]);
        assert!(!take(&w, &b).is_empty());
        take(&w, &a);
    }
    for i in 0..5 {
        part(&w, &format!("vale1:k{i}"));
    }
    part(&w, "vale0:s");
    send(&w, &b, &[frame(BROADCAST, B, 9)]);
    assert!(take(&w, &a).is_empty());
    audit(&w);
}

#[test]
fn a_long_line_of_switches_is_passed_to_a_bound() {
    let w = world();
    let ports: Vec<_> = (0..20).map(|i| port(&w, &format!("vale{i}:p"))).collect();
    for i in 0..19 {
        join(
            &w,
            &format!("z{i}"),
            &format!("vale{i}"),
            &format!("vale{}", i + 1),
        );
    }
    send(&w, &ports[0], &[frame(BROADCAST, A, 1)]);
    for (i, p) in ports.iter().enumerate() {
        let expected = usize::from(i > 0 && i <= DEPTH);
        assert_eq!(take(&w, p).len(), expected, "switch {i}");
    }
    // What stayed behind goes on with the next packet there.
    send(&w, &ports[10], &[frame(BROADCAST, B, 2)]);
    assert_eq!(tags(&take(&w, &ports[19])), [1, 2]);
}

#[test]
fn monitors_see_what_passes() {
    let (w, a, b) = two();
    let monitor = |name: &str, flags| w.open(name, |r| r.nr_flags = flags).unwrap();
    let both = NR_MONITOR_TX | NR_MONITOR_RX;
    let copies = [monitor("z", both), monitor("vale1:z", both)];
    let exchanged = [monitor("z", NR_ZCOPY_MON), monitor("vale1:z", NR_ZCOPY_MON)];
    for tag in 0..10 {
        send(
            &w,
            &a,
            &[frame(BROADCAST, A, tag), frame(BROADCAST, A, tag)],
        );
        assert_eq!(tags(&take(&w, &b)), [tag; 2]);
        for m in &copies {
            assert_eq!(tags(&take(&w, m)), [tag; 2]);
        }
        for m in &exchanged {
            assert_eq!(take(&w, m).len(), 2);
        }
        send(&w, &b, &[frame(BROADCAST, B, tag)]);
        assert_eq!(tags(&take(&w, &a)), [tag]);
        for m in &copies {
            assert_eq!(tags(&take(&w, m)), [tag]);
        }
        for m in &exchanged {
            assert_eq!(take(&w, m).len(), 1);
        }
        audit(&w);
    }
}

/// A process dies while it carries packets on: what it had not released is sent by the next.
#[test]
fn what_a_dead_sender_leaves_is_sent() {
    const DEAD: u32 = 9;
    let (w, a, b) = two();
    let guard = kring(&w, "z", RX).busy.try_lock(DEAD);
    core::mem::forget(guard);
    send(&w, &a, &[frame(BROADCAST, A, 1)]);
    assert!(take(&w, &b).is_empty());
    // It had taken note of having sent, and not told anybody.
    kring(&w, "vale1:z", TX).hwcur.store(1, Relaxed);
    w.world.lock().unwrap().session_died(DEAD);
    send(&w, &a, &[frame(BROADCAST, A, 2)]);
    assert_eq!(tags(&take(&w, &b)), [1, 2]);
    audit(&w);
}

/// A world in which something happens in another thread whenever somebody is woken, for as long as
/// there is something left to happen.
struct Meanwhile<'a, F: Fn() + Sync> {
    w: &'a LocalWorld,
    left: AtomicU32,
    happens: F,
}

impl<F: Fn() + Sync + Send> Host for Meanwhile<'_, F> {
    fn ctl(&self) -> &Arc<Ctl> {
        self.w.ctl()
    }

    fn session(&self) -> u32 {
        self.w.session()
    }

    fn region(&self, number: u32) -> Option<Arc<RegionMap>> {
        self.w.region(number)
    }

    fn wake(&self, _client: u32) {
        let left = self.left.load(Relaxed);
        if left > 0 {
            self.left.store(left - 1, Relaxed);
            std::thread::scope(|s| drop(s.spawn(|| (self.happens)())));
        }
    }
}

/// What is left to a sender that is just carrying on is neither forgotten nor kept from monitors.
#[test]
fn a_sender_takes_along_what_others_leave() {
    let (w, a, b) = two();
    let other = port(&w, "vale0:other");
    let monitor = w.open("z", |r| r.nr_flags = NR_MONITOR_RX).unwrap();
    assert!(b.attachment.announce(libc::POLLIN));
    let host = Meanwhile {
        w: &w,
        left: AtomicU32::new(1),
        happens: || {
            send(&w, &other, &[frame(BROADCAST, A, 2)]);
            let z = kring(&w, "z", RX);
            assert_ne!(z.hwcur.load(Relaxed), z.hwtail.load(Relaxed), "left to us");
        },
    };
    assert!(put(&w, &a, &frame(BROADCAST, A, 1), 0));
    a.attachment.txsync(&host);
    assert_eq!(host.left.load(Relaxed), 0);
    assert_eq!(tags(&take(&w, &b)), [1, 2]);
    assert_eq!(tags(&take(&w, &monitor)), [1, 2]);
}

/// Senders on both switches at once. Whoever finds the ring held leaves its packets to the holder, who
/// must not overlook them.
#[test]
fn nothing_stays_between_the_switches() {
    const SENDERS: u8 = 3;
    const PACKETS: u32 = 20_000;
    let (w, a, b) = two();
    let senders: Vec<_> = (0..SENDERS)
        .map(|i| port(&w, &format!("vale{}:s{i}", i % 2)))
        .collect();
    send(&w, &a, &[frame(BROADCAST, A, 0)]);
    send(&w, &b, &[frame(BROADCAST, B, 0)]);
    let (done, received) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|s| {
        let receivers = [&a, &b].map(|p| {
            let (w, done, received) = (&w, &done, &received);
            s.spawn(move || {
                loop {
                    let last = done.load(Relaxed);
                    let n = take(w, p).len() as u32;
                    received.fetch_add(n, Relaxed);
                    if last && n == 0 {
                        return;
                    }
                }
            })
        });
        let threads: Vec<_> = (0u8..)
            .zip(&senders)
            .map(|(i, p)| {
                let w = &w;
                s.spawn(move || {
                    let to = if i % 2 == 0 { B } else { A };
                    for n in 0..PACKETS {
                        send(w, p, &[frame(to, [2, 0, 0, 0, 1, i], n as u8)]);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        done.store(true, Relaxed);
        receivers.into_iter().for_each(|r| r.join().unwrap());
    });
    let full: u64 = [
        kring(&w, "z", RX),
        kring(&w, "vale1:z", RX),
        kring(&w, "vale0:a", RX),
        kring(&w, "vale1:b", RX),
    ]
    .iter()
    .map(|k| k.produced.full.load(Relaxed))
    .sum();
    let all = u64::from(SENDERS) * u64::from(PACKETS) + 2;
    assert_eq!(u64::from(received.load(Relaxed)) + full, all);
    for name in ["z", "vale1:z"] {
        let k = kring(&w, name, RX);
        assert_eq!(k.hwcur.load(Relaxed), k.hwtail.load(Relaxed));
    }
    assert!(kring(&w, "z", TX).sync.packets.load(Relaxed) > 0);
    audit(&w);
}
