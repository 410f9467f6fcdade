//! Flows that the table knows, whose packets take the short ways: each case ends what was known.

use core::sync::atomic::Ordering::Relaxed;

use super::flows::record;
use super::{frame, port, put, take_slots, world};
use uvale_control::local::{LocalPort, LocalWorld};
use uvale_engine::{Host, TX};
use uvale_shared::shm::Slot;

const B: u8 = 0xb;

fn mac(n: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, n]
}

fn number(n: u8) -> u64 {
    let mut bytes = [0; 8];
    bytes[..6].copy_from_slice(&mac(n));
    u64::from_le_bytes(bytes)
}

/// Three ports; `a` has sent packets from 1 and 2 to B, at `b`, several ways, and the last one was from 1.
struct Known {
    w: LocalWorld,
    ports: [LocalPort; 3],
}

impl Known {
    fn new() -> Self {
        let w = world();
        let ports = ["a", "b", "c"].map(|name| port(&w, &format!("vale0:{name}")));
        let known = Self { w, ports };
        let [a, b, _] = &known.ports;
        known.send(b, &[(1, B)]);
        for _ in 0..3 {
            known.send(a, &[(B, 1), (B, 2)]);
        }
        for source in [2, 1, 2, 1] {
            known.send(a, &[(B, source)]);
        }
        known.arrived();
        known
    }

    fn send(&self, from: &LocalPort, frames: &[(u8, u8)]) {
        for (to, source) in frames {
            let frame = frame(mac(*to), mac(*source), 1);
            assert!(put(&self.w, from, &frame, 0));
        }
        from.attachment.txsync(&self.w);
    }

    /// Packets that each port takes.
    fn arrived(&self) -> [usize; 3] {
        self.ports
            .each_ref()
            .map(|port| take_slots(&self.w, port).len())
    }

    /// The source that `a` was seen with last.
    fn last_source(&self) -> u64 {
        record(&self.w, &self.ports[0]).last_smac.load(Relaxed)
    }
}

/// Its packets go where they went, but it is learnt again after another one.
#[test]
fn the_source_has_moved() {
    for row in [1, 2] {
        let known = Known::new();
        let [a, b, c] = &known.ports;
        // Here it is still that of the last packet, and is not learnt.
        known.send(c, &[(B, 1)]);
        known.send(a, &vec![(B, 1); row]);
        known.send(b, &[(1, B)]);
        assert_eq!(known.arrived(), [0, 1 + row, 1]);
        // After another one it is.
        known.send(a, &vec![(B, 2); row]);
        known.send(a, &vec![(B, 1); row]);
        known.send(b, &[(1, B)]);
        assert_eq!(known.arrived(), [1, 2 * row, 0]);
    }
}

/// The entry says so, whoever has written it, and whatever became of him afterwards.
#[test]
fn the_destination_has_moved() {
    for row in [1, 2] {
        let known = Known::new();
        let [a, _, c] = &known.ports;
        let number_of_c = u64::from(record(&known.w, c).bdg_port.load(Relaxed));
        let switch = known.w.ctl().switch(0).unwrap();
        let entry = switch
            .fdb
            .iter()
            .find(|e| e.load(Relaxed) << 16 == number(B) << 16);
        entry.unwrap().store(number(B) | number_of_c << 48, Relaxed);
        for source in [1, 2] {
            known.send(a, &vec![(B, source); row]);
        }
        assert_eq!(known.arrived(), [0, 0, 2 * row]);
    }
}

/// A slot that is longer than its buffer is no packet, and nobody was seen in it.
#[test]
fn the_slot_is_bad() {
    for row in [1, 2] {
        let known = Known::new();
        let [a, ..] = &known.ports;
        let ring = known.w.ring(a, TX, 0).unwrap();
        for _ in 0..row {
            let at = ring.header().head.load(Relaxed) as usize;
            assert!(put(&known.w, a, &frame(mac(B), mac(2), 1), 0));
            let slot = ring.slots()[at].load();
            ring.slots()[at].store(Slot { len: 3000, ..slot });
        }
        a.attachment.txsync(&known.w);
        assert_eq!(known.last_source(), number(1));
        assert_eq!(known.arrived(), [0; 3]);
    }
}

/// With bridge_batch 0 nothing is sent, and nothing is learnt; with less than a row all of it is sent.
#[test]
fn the_batch_is_another_one() {
    for row in [1, 2, 5] {
        let known = Known::new();
        let [a, ..] = &known.ports;
        let set = |batch| {
            let mut world = known.w.world.lock().unwrap();
            world.set_parameter("bridge_batch", batch).unwrap();
        };
        set("0");
        known.send(a, &vec![(B, 2); row]);
        assert_eq!(known.last_source(), number(1));
        assert_eq!(known.arrived(), [0; 3]);
        set("2");
        known.send(a, &vec![(B, 2); row]);
        assert_eq!(known.last_source(), number(2));
        assert_eq!(known.arrived(), [0, row, 0]);
    }
}

/// What a receiver has no room for is lost, and its source was seen.
#[test]
fn the_receiver_is_full() {
    for row in [1, 4] {
        let known = Known::new();
        let [a, ..] = &known.ports;
        for _ in 0..20 {
            known.send(a, &vec![(B, 2); row]);
            known.send(a, &vec![(B, 1); row]);
        }
        assert_eq!(known.last_source(), number(1));
        assert_eq!(known.arrived(), [0, 15, 0]);
    }
}
