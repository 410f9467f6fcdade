//! Monitors that write anything anywhere in the memory they have.

use proptest::prelude::*;

use super::*;
use uvale_shared::shm::copy_in;

/// Writes into the monitor's memory and into the headers and slots of its rings, and syncs.
fn scribble(w: &LocalWorld, m: &LocalPort, writes: &[(u64, u64)], near: &[(u64, usize, u64)]) {
    let map = &m.attachment.region().map;
    for (at, value) in writes {
        let ofs = (*at as usize % (map.len() / 8)) * 8;
        assert!(copy_in(&value.to_le_bytes(), map, ofs));
    }
    for (slot, field, value) in near {
        for dir in [RX, TX] {
            let ring = w.ring(m, dir, 0).unwrap();
            ring.slots()[*slot as usize % SLOTS as usize].store_full(Slot {
                buf_idx: *value as u32,
                len: (value >> 32) as u16,
                flags: (value >> 48) as u16,
                ptr: *value,
            });
            match field % 4 {
                0 => ring.header().head.store(*value as u32 % 20, Relaxed),
                1 => ring.header().cur.store(*value as u32 % 20, Relaxed),
                2 => ring.header().tail.store(*value as u32, Relaxed),
                _ => {}
            }
        }
        m.attachment.txsync(w);
        m.attachment.rxsync(w);
        let _ = m.attachment.poll(w, libc::POLLIN | libc::POLLOUT);
    }
}

fn writes() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((any::<u64>(), any::<u64>()), 1..40)
}

fn near() -> impl Strategy<Value = Vec<(u64, usize, u64)>> {
    prop::collection::vec((0u64..64, 0usize..64, any::<u64>()), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A copy monitor has memory of its own: nobody else notices.
    #[test]
    fn a_copy_monitor_hurts_itself_alone(writes in writes(), near in near(), pipe: bool) {
        let names = if pipe { ["p{1", "p}1"] } else { ["vale0:a", "vale0:b"] };
        let w = world();
        let (a, b) = (port(&w, names[0]), port(&w, names[1]));
        let both = NR_MONITOR_TX | NR_MONITOR_RX;
        let bad = [monitor(&w, names[0], both), monitor(&w, names[1], both)];
        for tag in 0..3 {
            bad.iter().for_each(|m| scribble(&w, m, &writes, &near));
            send(&w, &a, tag..tag + 1);
            prop_assert_eq!(take(&w, &b), vec![packet(tag)]);
            a.attachment.txsync(&w);
        }
    }

    /// A zero-copy monitor has the port's memory: both may come to harm, others may not.
    #[test]
    fn a_zero_copy_monitor_hurts_its_memory_alone(writes in writes(), near in near()) {
        let w = world();
        let (a, b) = (port(&w, "vale0:a"), port(&w, "vale0:b"));
        let bad = [monitor(&w, "vale0:a", NR_ZCOPY_MON), monitor(&w, "vale0:a", NR_ZCOPY_MON)];
        let good = monitor(&w, "vale0:b", NR_ZCOPY_MON);
        for _ in 0..3 {
            for m in &bad {
                scribble(&w, m, &writes, &near);
                a.attachment.txsync(&w);
                a.attachment.rxsync(&w);
            }
            take(&w, &b);
            seen(&w, &good);
        }
        let c = port(&w, "vale0:c");
        send(&w, &c, 9..10);
        prop_assert_eq!(take(&w, &b), vec![packet(9)]);
        good.attachment.rxsync(&w);
        prop_assert_eq!(seen(&w, &good), rx_tags([9]));
        for p in bad.into_iter().chain([a, b, c, good]) {
            w.close(p);
        }
        let world = w.world.lock().unwrap();
        prop_assert_eq!((world.ports().count(), world.memories().count()), (0, 1));
    }
}
