//! Monitors in motion, on a world in one process.

use core::sync::atomic::Ordering::Relaxed;

use super::{BROADCAST, frame, port, put, take, world};
use nm_abi::{NR_MONITOR_RX, NR_MONITOR_TX, NR_ZCOPY_MON, NS_BUF_CHANGED, NS_MOREFRAG, NS_TXMON};
use uvale_control::Finding;
use uvale_control::local::{LocalPort, LocalWorld};
use uvale_engine::{Host, RX, TX};
use uvale_shared::ctl::Kring;
use uvale_shared::shm::{Slot, copy_out};

mod conservation;
mod hostile;
mod odd;
mod threads;

/// Slots of each ring here; one of them always stays empty.
const SLOTS: u32 = 16;
const SOURCE: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn monitor(w: &LocalWorld, name: &str, flags: u64) -> LocalPort {
    w.open(name, |r| r.nr_flags = flags).unwrap()
}

fn packet(tag: u8) -> Vec<u8> {
    frame(BROADCAST, SOURCE, tag)
}

fn send(w: &LocalWorld, p: &LocalPort, tags: core::ops::Range<u8>) {
    for tag in tags {
        assert!(put(w, p, &packet(tag), 0), "no room for {tag}");
    }
    p.attachment.txsync(w);
}

/// A ring's kring.
fn kring<'a>(w: &'a LocalWorld, p: &LocalPort, dir: usize) -> &'a Kring {
    let record = w.ctl().port(p.attachment.binding().port).unwrap();
    let first = [&record.rx_kring, &record.tx_kring][dir];
    w.ctl().kring(first.load(Relaxed)).unwrap()
}

/// What a monitor has been shown: the tag of each packet, and whether it says NS_TXMON. Gives the
/// slots back with the next sync.
fn seen(w: &LocalWorld, m: &LocalPort) -> Vec<(u8, bool)> {
    m.attachment.rxsync(w);
    let ring = w.ring(m, RX, 0).unwrap();
    let h = ring.header();
    let (mut head, tail) = (h.head.load(Relaxed), h.tail.load(Relaxed));
    let mut got = Vec::new();
    while head != tail {
        let slot = ring.slots()[head as usize].load();
        let region = m.attachment.region();
        let at = region.pool.offset(slot.buf_idx);
        let bytes = copy_out(&region.map, at, slot.len.into()).unwrap();
        got.push((
            bytes.last().copied().unwrap_or(0),
            slot.flags & NS_TXMON != 0,
        ));
        head = (head + 1) % ring.num_slots();
    }
    h.head.store(head, Relaxed);
    h.cur.store(head, Relaxed);
    got
}

fn tx_tags(tags: impl IntoIterator<Item = u8>) -> Vec<(u8, bool)> {
    tags.into_iter().map(|t| (t, true)).collect()
}

fn rx_tags(tags: impl IntoIterator<Item = u8>) -> Vec<(u8, bool)> {
    tags.into_iter().map(|t| (t, false)).collect()
}

fn audit(w: &LocalWorld) -> Vec<Finding> {
    w.world.lock().unwrap().audit()
}

#[test]
fn copy_monitors_see_what_is_sent_and_what_arrives() {
    let w = world();
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    let a_tx = monitor(&w, "vale0:a", NR_MONITOR_TX);
    let a_rx = monitor(&w, "vale0:a", NR_MONITOR_RX);
    let b_both = monitor(&w, "vale0:b", NR_MONITOR_TX | NR_MONITOR_RX);
    send(&w, &a, 1..4);
    // Nobody has synced b: its monitor sees packets when they arrive.
    assert_eq!(seen(&w, &b_both), rx_tags(1..4));
    assert_eq!(seen(&w, &a_tx), tx_tags(1..4));
    send(&w, &b, 4..6);
    assert_eq!(seen(&w, &b_both), tx_tags(4..6));
    assert_eq!(seen(&w, &a_rx), rx_tags(4..6));
    assert_eq!(seen(&w, &a_tx), []);
    // The ports themselves notice nothing.
    assert_eq!(take(&w, &b), [1, 2, 3].map(packet));
    assert_eq!(take(&w, &a), [4, 5].map(packet));
    assert_eq!(seen(&w, &b_both), []);
    assert_eq!(audit(&w), []);
}

#[test]
fn all_copy_monitors_of_a_ring_see_all() {
    let w = world();
    let (a, _b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    let mut monitors: Vec<LocalPort> = (0..9)
        .map(|_| monitor(&w, "vale0:a", NR_MONITOR_TX))
        .collect();
    send(&w, &a, 0..2);
    for gone in [4, 0, 6, 0] {
        w.close(monitors.remove(gone));
        send(&w, &a, 2..3);
    }
    for m in &monitors {
        assert_eq!(seen(&w, m), tx_tags([0, 1, 2, 2, 2, 2]));
    }
}

#[test]
fn a_full_monitor_misses_the_oldest_and_holds_nobody_up() {
    let w = world();
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    let m = w
        .open("vale0:a", |r| {
            r.nr_flags = NR_MONITOR_TX;
            r.nr_rx_slots = 8;
        })
        .unwrap();
    send(&w, &a, 0..4);
    send(&w, &a, 10..18);
    // Seven slots: four of the first sync, the last three of the second.
    assert_eq!(seen(&w, &m), tx_tags([0, 1, 2, 3, 15, 16, 17]));
    let full = kring(&w, &m, RX).produced.full.load(Relaxed);
    assert_eq!(full, 5);
    assert_eq!(take(&w, &b).len(), 12);
    // What was not given back yet is not written over.
    m.attachment.rxsync(&w);
    send(&w, &a, 20..21);
    assert_eq!(seen(&w, &m), tx_tags([20]));
}

#[test]
fn a_receiver_that_stopped_reading_fills_up_with_its_monitor() {
    let w = world();
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    let m = monitor(&w, "vale0:b", NR_MONITOR_RX);
    send(&w, &a, 0..10);
    assert_eq!(seen(&w, &m).len(), 10);
    send(&w, &a, 10..20);
    // The port took five more and dropped the rest, and so did its monitor.
    assert_eq!(seen(&w, &m), rx_tags(10..15));
    assert_eq!(take(&w, &b).len(), 15);
}

#[test]
fn monitors_of_both_directions_of_both_ends_of_a_pipe() {
    let w = world();
    let (a, b) = (port(&w, "p{1"), port(&w, "p}1"));
    let ma = monitor(&w, "p{1", NR_MONITOR_TX | NR_MONITOR_RX);
    let mb = monitor(&w, "p}1", NR_MONITOR_TX | NR_MONITOR_RX);
    send(&w, &a, 1..4);
    assert_eq!(seen(&w, &ma), tx_tags(1..4));
    assert_eq!(seen(&w, &mb), rx_tags(1..4));
    assert_eq!(take(&w, &b).len(), 3);
    assert_eq!(seen(&w, &mb), []);
    send(&w, &b, 4..6);
    assert_eq!(seen(&w, &mb), tx_tags(4..6));
    assert_eq!(seen(&w, &ma), rx_tags(4..6));
    // An incomplete packet is seen where it is sent, and not yet where it would arrive.
    assert!(put(&w, &a, &packet(7), NS_MOREFRAG));
    a.attachment.txsync(&w);
    assert_eq!(seen(&w, &ma), tx_tags([7]));
    assert_eq!(seen(&w, &mb), []);
    send(&w, &a, 8..9);
    assert_eq!(seen(&w, &mb), rx_tags(7..9));
    assert_eq!(audit(&w), []);
}

#[test]
fn a_monitor_begins_with_what_comes_after_it() {
    let w = world();
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    send(&w, &a, 0..3);
    let m = monitor(&w, "vale0:b", NR_MONITOR_RX);
    send(&w, &a, 3..5);
    assert_eq!(seen(&w, &m), rx_tags(3..5));
    w.close(m);
    send(&w, &a, 5..7);
    let again = monitor(&w, "vale0:b", NR_MONITOR_RX);
    send(&w, &a, 7..8);
    assert_eq!(seen(&w, &again), rx_tags([7]));
    assert_eq!(take(&w, &b).len(), 8);
}

#[test]
fn a_zero_copy_monitor_gets_the_buffers_that_were_sent() {
    let w = world();
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    let m = monitor(&w, "vale0:a", NR_ZCOPY_MON);
    let idx = |p: &LocalPort, dir, i: usize| w.ring(p, dir, 0).unwrap().slots()[i].load();
    let (sent, free) = (
        [0, 1].map(|i| idx(&a, TX, i).buf_idx),
        [0, 1].map(|i| idx(&m, RX, i)),
    );
    send(&w, &a, 5..7);
    assert_eq!([0, 1].map(|i| idx(&m, RX, i).buf_idx), sent);
    for (i, free) in free.iter().enumerate() {
        let now = idx(&a, TX, i);
        assert_eq!((now.buf_idx, now.len), (free.buf_idx, free.len));
        assert_eq!(now.flags & NS_BUF_CHANGED, NS_BUF_CHANGED);
    }
    assert_eq!(seen(&w, &m), tx_tags(5..7));
    assert_eq!(take(&w, &b), [5, 6].map(packet));
    assert_eq!(audit(&w), []);
}

#[test]
fn a_zero_copy_monitor_sees_what_was_received_once_it_is_released() {
    let w = world();
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    let m = monitor(&w, "vale0:b", NR_ZCOPY_MON);
    send(&w, &a, 1..4);
    assert_eq!(seen(&w, &m), []);
    b.attachment.rxsync(&w);
    assert_eq!(seen(&w, &m), []);
    assert_eq!(take(&w, &b).len(), 3);
    assert_eq!(seen(&w, &m), rx_tags(1..4));
    assert_eq!(audit(&w), []);
}

#[test]
fn a_zero_copy_monitor_of_a_pipe_sees_slots_when_they_come_back() {
    let w = world();
    let (a, b) = (port(&w, "p{1"), port(&w, "p}1"));
    let m = monitor(&w, "p{1", NR_ZCOPY_MON);
    let received = monitor(&w, "p}1", NR_ZCOPY_MON);
    send(&w, &a, 1..4);
    assert_eq!(seen(&w, &m), []);
    assert_eq!(take(&w, &b).len(), 3);
    // The receiver's monitor has kept the buffers; others come back in their place.
    assert_eq!(seen(&w, &received), rx_tags(1..4));
    a.attachment.txsync(&w);
    assert_eq!(seen(&w, &m).len(), 3);
    assert_eq!(audit(&w), []);
    send(&w, &a, 4..9);
    assert_eq!(take(&w, &b), [4, 5, 6, 7, 8].map(packet));
    assert_eq!(audit(&w), []);
}

#[test]
fn zero_copy_monitors_are_a_chain() {
    let w = world();
    let (a, _b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    let open = || monitor(&w, "vale0:a", NR_ZCOPY_MON);
    let (first, second, third) = (open(), open(), open());
    send(&w, &a, 1..4);
    assert_eq!(seen(&w, &second), []);
    assert_eq!(seen(&w, &first), tx_tags(1..4));
    assert_eq!(seen(&w, &second), []);
    first.attachment.rxsync(&w);
    // As in netmap the direction is known to the first of the chain alone.
    assert_eq!(seen(&w, &second), rx_tags(1..4));
    second.attachment.rxsync(&w);
    assert_eq!(seen(&w, &third), rx_tags(1..4));
    assert_eq!(audit(&w), []);
    // Without the middle the chain closes.
    w.close(second);
    send(&w, &a, 4..6);
    assert_eq!(seen(&w, &first).len(), 2);
    first.attachment.rxsync(&w);
    assert_eq!(seen(&w, &third), rx_tags(4..6));
    w.close(first);
    third.attachment.rxsync(&w);
    send(&w, &a, 6..7);
    assert_eq!(seen(&w, &third), tx_tags([6]));
    assert_eq!(audit(&w), []);
}

#[test]
fn copy_and_zero_copy_monitors_of_one_ring() {
    let w = world();
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    let copy = monitor(&w, "vale0:a", NR_MONITOR_TX);
    let zero = monitor(&w, "vale0:a", NR_ZCOPY_MON);
    send(&w, &a, 1..4);
    assert_eq!(seen(&w, &copy), tx_tags(1..4));
    assert_eq!(seen(&w, &zero), tx_tags(1..4));
    assert_eq!(take(&w, &b), [1, 2, 3].map(packet));
}

#[test]
fn an_index_that_is_no_buffer_stays_where_it_is() {
    let w = world();
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    let m = monitor(&w, "vale0:a", NR_ZCOPY_MON);
    for (p, dir, at) in [(&m, RX, 0), (&a, TX, 1)] {
        let view = &w.ring(p, dir, 0).unwrap().slots()[at];
        view.store(Slot {
            buf_idx: u32::MAX,
            len: 60,
            ..view.load()
        });
    }
    put(&w, &a, &packet(1), 0);
    for _ in 0..2 {
        let h = w.ring(&a, TX, 0).unwrap();
        let head = (h.header().head.load(Relaxed) + 1) % SLOTS;
        h.header().head.store(head, Relaxed);
        h.header().cur.store(head, Relaxed);
    }
    a.attachment.txsync(&w);
    let slot = |p: &LocalPort, dir, at: usize| w.ring(p, dir, 0).unwrap().slots()[at].load();
    let valid = |s: Slot| a.attachment.region().pool.is_valid(s.buf_idx);
    assert!(valid(slot(&a, TX, 0)) && valid(slot(&a, TX, 2)));
    assert!(!valid(slot(&m, RX, 0)) && !valid(slot(&a, TX, 1)));
    assert_eq!((slot(&m, RX, 0).len, slot(&m, RX, 1).len), (0, 0));
    assert_eq!(kring(&w, &m, RX).produced.bad_copy.load(Relaxed), 2);
    drop(b);
}

#[test]
fn the_port_leaves_and_its_monitors_are_orphans() {
    let w = world();
    let (a, _b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    let copy = monitor(&w, "vale0:a", NR_MONITOR_TX);
    let zero = monitor(&w, "vale0:a", NR_ZCOPY_MON);
    send(&w, &a, 1..3);
    copy.attachment.rxsync(&w);
    send(&w, &a, 3..4);
    w.close(a);
    let again = port(&w, "vale0:a");
    send(&w, &again, 9..10);
    for m in [&copy, &zero] {
        let revents = m.attachment.poll(&w, libc::POLLIN);
        assert_eq!(revents & libc::POLLERR, libc::POLLERR);
    }
    // What was shown before can still be read, what came later is lost.
    assert_eq!(seen(&w, &copy), tx_tags(1..3));
    assert_eq!(seen(&w, &zero), []);
    assert_eq!(audit(&w), []);
    w.close(zero);
    w.close(copy);
    assert_eq!(audit(&w), []);
}

#[test]
fn a_monitor_cannot_send() {
    let w = world();
    let a = port(&w, "vale0:a");
    let m = monitor(&w, "vale0:a", NR_MONITOR_TX);
    assert_eq!(m.attachment.poll(&w, libc::POLLIN), 0);
    let both = m.attachment.poll(&w, libc::POLLOUT);
    assert_eq!(both, libc::POLLOUT | libc::POLLERR);
    assert!(put(&w, &m, &packet(1), 0));
    m.attachment.txsync(&w);
    let ring = w.ring(&m, TX, 0).unwrap();
    assert_eq!(ring.header().tail.load(Relaxed), SLOTS - 1);
    // What cannot be sent is tried again by each poll.
    assert_eq!(m.attachment.poll(&w, libc::POLLIN), libc::POLLERR);
    assert_eq!(take(&w, &a).len(), 0);
}

#[test]
fn a_sleeping_monitor_is_woken() {
    let w = world();
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    let m = monitor(&w, "vale0:b", NR_MONITOR_RX);
    let z = monitor(&w, "vale0:b", NR_ZCOPY_MON);
    assert!(m.attachment.announce(libc::POLLIN));
    assert!(z.attachment.announce(libc::POLLIN));
    let before = m.attachment.edges();
    send(&w, &a, 0..2);
    assert_eq!(w.take_woken(), [m.client.0]);
    assert_ne!(m.attachment.edges(), before);
    assert!(m.attachment.glance(&w, libc::POLLIN));
    take(&w, &b);
    assert_eq!(w.take_woken(), [z.client.0]);
}

#[test]
fn a_receiver_that_is_syncing_shows_its_packets_itself() {
    const OTHER: u32 = 9;
    let w = world();
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    let m = monitor(&w, "vale0:b", NR_MONITOR_RX);
    core::mem::forget(kring(&w, &b, RX).busy.try_lock(OTHER).unwrap());
    send(&w, &a, 1..4);
    assert_eq!(seen(&w, &m), []);
    assert!(kring(&w, &b, RX).busy.break_dead(OTHER));
    b.attachment.rxsync(&w);
    assert_eq!(seen(&w, &m), rx_tags(1..4));
}

#[test]
fn a_monitor_that_is_stopped_in_the_middle_is_passed_over() {
    const OTHER: u32 = 9;
    let w = world();
    let (a, b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    let m = monitor(&w, "vale0:a", NR_MONITOR_TX);
    let k = kring(&w, &m, RX);
    core::mem::forget(k.q_lock.try_lock(OTHER).unwrap());
    for tag in 0..3 {
        send(&w, &a, tag..tag + 1);
    }
    assert_eq!(k.stuck.load(Relaxed), 3);
    assert_ne!(k.stuck_holder.load(Relaxed), 0);
    assert_eq!(take(&w, &b).len(), 3);
    assert!(k.q_lock.break_dead(OTHER));
    send(&w, &a, 7..8);
    assert_eq!(seen(&w, &m), tx_tags([7]));
    assert_eq!(k.stuck_holder.load(Relaxed), 0);
}

#[test]
fn lengths_are_cut_to_the_buffers() {
    let w = world();
    let (a, _b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    let m = monitor(&w, "vale0:a", NR_MONITOR_TX);
    put(&w, &a, &packet(1), 0);
    let view = &w.ring(&a, TX, 0).unwrap().slots()[0];
    view.store(Slot {
        len: u16::MAX,
        ..view.load()
    });
    a.attachment.txsync(&w);
    m.attachment.rxsync(&w);
    let got = w.ring(&m, RX, 0).unwrap().slots()[0].load();
    assert_eq!(u32::from(got.len), m.attachment.region().pool.size());
}

#[test]
fn counters_of_a_monitor() {
    let w = world();
    let (a, _b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
    let m = monitor(&w, "vale0:a", NR_MONITOR_TX);
    put(&w, &a, &packet(0), NS_MOREFRAG);
    send(&w, &a, 1..3);
    let c = &kring(&w, &m, RX).produced;
    let counted = [&c.packets, &c.bytes, &c.full].map(|c| c.load(Relaxed));
    assert_eq!(counted, [2, 180, 0]);
}
