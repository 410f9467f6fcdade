//! Rings and slots as a hostile program writes them, synced in every way, beside an honest pair
//! that must not notice.
#![no_main]

use core::sync::atomic::Ordering::Relaxed;

use libfuzzer_sys::fuzz_target;
use uvale_engine::{RX, TX};
use uvale_control::local::{LocalPort, LocalWorld};
use uvale_control::Config;
use uvale_shared::shm::{Slot, copy_in, copy_out};

#[derive(arbitrary::Arbitrary, Debug)]
enum Step {
    Slot { end: u8, rx: bool, slot: u8, idx: u32, len: u16, flags: u16, ptr: u8 },
    Head { end: u8, rx: bool, head: u16, cur: u16 },
    Tail { end: u8, rx: bool, tail: u32 },
    Anywhere { end: u8, ofs: u32, value: u64 },
    Tx(u8),
    Rx(u8),
    Poll(u8, u16),
}

fuzz_target!(|steps: Vec<Step>| {
    let Ok(world) = LocalWorld::new(Config::default()) else { return };
    let open = |name: &str| {
        world.open(name, |r| (r.nr_tx_slots, r.nr_rx_slots) = (16, 16)).expect("a free name")
    };
    let hostile = [open("vale0:x"), open("vale0:y"), open("p{1"), open("p}1")];
    let (from, to) = (open("vale0:from"), open("vale0:to"));
    for step in steps.into_iter().take(200) {
        apply(&world, &hostile, step);
    }
    drain(&world, &to);
    assert!(send(&world, &from));
    let got = drain(&world, &to);
    assert_eq!(got, 1, "the honest pair must not notice");
});

fn apply(w: &LocalWorld, ports: &[LocalPort], step: Step) {
    let pick = |end: u8| &ports[usize::from(end) % ports.len()];
    let dir = |rx: bool| if rx { RX } else { TX };
    match step {
        Step::Slot { end, rx, slot, idx, len, flags, ptr } => {
            let Some(ring) = w.ring(pick(end), dir(rx), 0) else { return };
            let i = usize::from(slot) % ring.slots().len();
            // Small indices and lengths are the interesting ones; ptr stays in the null page.
            let idx = if idx % 3 == 0 { idx % 128 } else { idx };
            ring.slots()[i].store_full(Slot { buf_idx: idx, len, flags, ptr: ptr.into() });
        }
        Step::Head { end, rx, head, cur } => {
            let Some(ring) = w.ring(pick(end), dir(rx), 0) else { return };
            ring.header().head.store(u32::from(head) % 18, Relaxed);
            ring.header().cur.store(u32::from(cur) % 18, Relaxed);
        }
        Step::Tail { end, rx, tail } => {
            let Some(ring) = w.ring(pick(end), dir(rx), 0) else { return };
            ring.header().tail.store(tail, Relaxed);
        }
        Step::Anywhere { end, ofs, value } => {
            let map = &pick(end).attachment.region().map;
            let _ = copy_in(&value.to_le_bytes(), map, ofs as usize % map.len());
        }
        Step::Tx(end) => pick(end).attachment.txsync(w),
        Step::Rx(end) => pick(end).attachment.rxsync(w),
        Step::Poll(end, events) => {
            let _ = pick(end).attachment.poll(w, events as i16);
        }
    }
}

fn send(w: &LocalWorld, p: &LocalPort) -> bool {
    let Some(ring) = w.ring(p, TX, 0) else { return false };
    let head = ring.header().head.load(Relaxed);
    let view = &ring.slots()[head as usize];
    let region = p.attachment.region();
    let mut frame = [0xffu8; 60];
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    let slot = Slot { len: 60, flags: 0, ..view.load() };
    view.store(slot);
    let done = copy_in(&frame, &region.map, region.pool.offset(slot.buf_idx));
    let next = (head + 1) % ring.num_slots();
    ring.header().head.store(next, Relaxed);
    ring.header().cur.store(next, Relaxed);
    p.attachment.txsync(w);
    done
}

fn drain(w: &LocalWorld, p: &LocalPort) -> u32 {
    p.attachment.rxsync(w);
    let Some(ring) = w.ring(p, RX, 0) else { return 0 };
    let (mut head, tail) = (ring.header().head.load(Relaxed), ring.header().tail.load(Relaxed));
    let mut n = 0;
    while head != tail {
        let slot = ring.slots()[head as usize].load();
        let region = p.attachment.region();
        assert!(copy_out(&region.map, region.pool.offset(slot.buf_idx), slot.len.into()).is_some());
        head = (head + 1) % ring.num_slots();
        n += 1;
    }
    ring.header().head.store(head, Relaxed);
    ring.header().cur.store(head, Relaxed);
    p.attachment.rxsync(w);
    n
}
