//! A ring: chains, kicks, interrupts, and all that a guest can do wrong.

use proptest::prelude::*;
use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::vhost::driver::Driver;
use crate::vhost::fixture::{Port, RAM, ram, shape};
use crate::vhost::receive::receive;
use crate::vhost::ring::{Addresses, Broken, Queue, Way};
use crate::vhost::transmit::{Tally, transmit};

fn queue(memory: &GuestMemoryMmap, driver: &Driver, size: u32, event_idx: bool) -> Queue {
    let [desc, avail, used] = driver.at.map(GuestAddress);
    Queue::new(memory, size, Addresses { desc, avail, used }, 0, event_idx).unwrap()
}

/// The chain that is next, as the device sees it.
fn next(queue: &mut Queue, memory: &GuestMemoryMmap) -> Result<Vec<usize>, Broken> {
    let mut parts = Vec::new();
    queue.open(memory)?.chain(0, Way::FromGuest, &mut parts)?;
    Ok(parts.iter().map(vm_memory::VolatileSlice::len).collect())
}

#[test]
fn a_ring_that_the_guest_has_broken_says_what_is_wrong() {
    let memory = ram();
    let wrong = |prepare: &dyn Fn(&mut Driver)| {
        let mut driver = Driver::new(&memory, 0x1000, 8, false);
        let mut queue = queue(&memory, &driver, 8, false);
        prepare(&mut driver);
        driver.publish();
        next(&mut queue, &memory)
    };
    let (next, indirect) = (VRING_DESC_F_NEXT, VRING_DESC_F_INDIRECT);
    assert_eq!(
        wrong(&|d| (0..9).for_each(|_| d.offer(0))),
        Err(Broken::Ahead(9))
    );
    assert_eq!(wrong(&|d| d.offer(8)), Err(Broken::Descriptor(8)));
    let circle = |d: &mut Driver| {
        d.describe(d.at[0], 0, 0x8000, 1, next, 1);
        d.describe(d.at[0], 1, 0x8000, 1, next, 0);
        d.offer(0);
    };
    assert_eq!(wrong(&circle), Err(Broken::Endless));
    let leaves = |d: &mut Driver| {
        d.describe(d.at[0], 0, 0x8000, 1, next, 99);
        d.offer(0);
    };
    assert_eq!(wrong(&leaves), Err(Broken::Descriptor(99)));
    let one = |addr: u64, len: u32, flags: u32| {
        move |d: &mut Driver| {
            d.describe(d.at[0], 0, addr, len, flags, 0);
            d.offer(0);
        }
    };
    assert_eq!(wrong(&one(RAM - 1, 2, 0)), Err(Broken::Buffer(RAM - 1, 2)));
    assert_eq!(
        wrong(&one(u64::MAX, 2, 0)),
        Err(Broken::Buffer(u64::MAX, 2))
    );
    assert_eq!(
        wrong(&one(0, u32::MAX, 0)),
        Err(Broken::Buffer(0, u32::MAX))
    );
    assert_eq!(wrong(&one(0x8000, 17, indirect)), Err(Broken::Indirect));
    assert_eq!(wrong(&one(0x8000, 0, indirect)), Err(Broken::Indirect));
    assert_eq!(
        wrong(&one(0x8000, 16 * 1025, indirect)),
        Err(Broken::Indirect)
    );
    assert_eq!(
        wrong(&one(0x8000, 16, indirect | next)),
        Err(Broken::Indirect)
    );
    assert_eq!(wrong(&one(RAM, 16, indirect)), Err(Broken::Buffer(RAM, 16)));
    let nested = |d: &mut Driver| {
        d.describe(0x8000, 0, 0x8000, 16, indirect, 0);
        d.describe(d.at[0], 0, 0x8000, 16, indirect, 0);
        d.offer(0);
    };
    assert_eq!(wrong(&nested), Err(Broken::Indirect));
    // A buffer may reach from one region into the next.
    assert_eq!(wrong(&one(RAM / 2 - 3, 10, 0)), Ok(vec![3, 7]));
}

#[test]
fn a_ring_in_ram_that_is_not_shared_has_a_remedy() {
    use crate::guest_ram::GuestRam;
    use crate::vhost::vring::Vring;
    let mut ring = Vring::default();
    (ring.size, ring.at) = (8, Some([0x1000, 0x2000, 0x3000]));
    let why = ring.batch(&GuestRam::default(), false, |_| Ok(()));
    let why = why.unwrap_err().to_string();
    assert!(why.contains("memory-backend-memfd"), "{why}");
}

#[test]
fn a_ring_has_to_be_somewhere_and_to_have_a_size() {
    let memory = ram();
    let make = |size, desc, avail, used| {
        let at = [desc, avail, used].map(GuestAddress);
        let at = Addresses {
            desc: at[0],
            avail: at[1],
            used: at[2],
        };
        Queue::new(&memory, size, at, 0, true).map(drop)
    };
    assert_eq!(make(8, 0x1000, 0x2000, 0x3000), Ok(()));
    for size in [0, 7, 65536, u32::MAX] {
        assert_eq!(make(size, 0x1000, 0x2000, 0x3000), Err(Broken::Size(size)));
    }
    assert!(matches!(
        make(8, RAM - 8, 0x2000, 0x3000),
        Err(Broken::Place(_))
    ));
    assert!(matches!(
        make(8, 0x1000, RAM, 0x3000),
        Err(Broken::Place(_))
    ));
    assert!(matches!(
        make(8, 0x1000, 0x2000, u64::MAX),
        Err(Broken::Place(_))
    ));
    assert!(matches!(
        make(8, 0x1000, 0x2001, 0x3000),
        Err(Broken::Place(_))
    ));
    assert!(matches!(
        make(8, 0x1000, 0x2000, 0x3001),
        Err(Broken::Place(_))
    ));
}

/// Uses one chain and says whether the guest wants an interrupt.
fn use_one(queue: &mut Queue, memory: &GuestMemoryMmap) -> bool {
    let mut batch = queue.open(memory).unwrap();
    let head = batch
        .chain(0, Way::FromGuest, &mut Vec::new())
        .unwrap()
        .unwrap();
    batch.put(head, 0).unwrap();
    batch.publish().unwrap()
}

#[test]
fn interrupts_come_when_they_were_asked_for() {
    let memory = ram();
    for event_idx in [false, true] {
        let mut driver = Driver::new(&memory, 0x1000, 8, event_idx);
        let mut queue = queue(&memory, &driver, 8, event_idx);
        for _ in 0..5 {
            driver.add(&[(0x8000, 10, false)], None);
        }
        driver.publish();
        driver.ask_for_interrupt(None);
        assert!(!use_one(&mut queue, &memory));
        driver.used();
        driver.ask_for_interrupt(Some(1));
        assert!(use_one(&mut queue, &memory));
        assert!(
            !queue.open(&memory).unwrap().publish().unwrap(),
            "nothing is new"
        );
        driver.used();
        if event_idx {
            driver.ask_for_interrupt(Some(2));
            assert!(!use_one(&mut queue, &memory));
            assert!(use_one(&mut queue, &memory));
        }
    }
}

#[test]
fn kicks_are_asked_for_before_a_sleep_and_not_while_it_runs() {
    let memory = ram();
    for event_idx in [false, true] {
        let mut driver = Driver::new(&memory, 0x1000, 8, event_idx);
        let mut queue = queue(&memory, &driver, 8, event_idx);
        driver.add(&[(0x8000, 10, false)], None);
        assert!(driver.publish(), "a ring begins with kicks");
        queue.open(&memory).unwrap().refuse_kicks().unwrap();
        use_one(&mut queue, &memory);
        driver.add(&[(0x8000, 10, false)], None);
        assert!(!driver.publish());
        let mut batch = queue.open(&memory).unwrap();
        batch.refuse_kicks().unwrap();
        assert_eq!(batch.available(), 1);
        assert!(
            !batch.ask_for_kicks().unwrap(),
            "this batch has seen all of it"
        );
        driver.add(&[(0x8000, 10, false)], None);
        assert!(driver.publish());
        assert!(batch.ask_for_kicks().unwrap(), "there is more");
        // Between the batch that moves packets and the one that asks before a sleep.
        queue.open(&memory).unwrap().refuse_kicks().unwrap();
        driver.add(&[(0x8000, 10, false)], None);
        driver.publish();
        let mut batch = queue.open(&memory).unwrap();
        assert!(
            batch.ask_for_kicks().unwrap(),
            "nobody has looked at what this batch found"
        );
    }
}

#[test]
fn what_was_used_is_seen_when_it_is_published() {
    let memory = ram();
    let mut driver = Driver::new(&memory, 0x1000, 4, true);
    let mut device = queue(&memory, &driver, 4, true);
    for round in 0..100_000u32 {
        let heads = [0, 1].map(|_| driver.add(&[(0x8000, 10, true)], None));
        driver.publish();
        let mut batch = device.open(&memory).unwrap();
        for (i, expected) in heads.into_iter().enumerate() {
            assert_eq!(
                batch.chain(0, Way::ToGuest, &mut Vec::new()),
                Ok(Some(expected))
            );
            batch.put(expected, round + i as u32).unwrap();
        }
        assert_eq!(driver.unseen(), 0);
        batch.publish().unwrap();
        assert_eq!(
            [driver.used(), driver.used(), driver.used()],
            [Some((heads[0], round)), Some((heads[1], round + 1)), None]
        );
    }
    // Another process goes on where this one was.
    let [desc, avail, used] = driver.at.map(GuestAddress);
    let used_idx = 200_000u32 as u16;
    let at = Addresses { desc, avail, used };
    let mut again = Queue::new(&memory, 4, at, used_idx, true).unwrap();
    assert_eq!(again.open(&memory).unwrap().available(), 0);
    driver.add(&[(0x8000, 10, true)], None);
    driver.publish();
    let mut batch = again.open(&memory).unwrap();
    let head = batch
        .chain(0, Way::ToGuest, &mut Vec::new())
        .unwrap()
        .unwrap();
    batch.put(head, 7).unwrap();
    batch.publish().unwrap();
    assert_eq!(driver.used(), Some((head, 7)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the guest has written: an answer or an error, nothing outside of the ring's entries, and an end.
    #[test]
    fn any_ring_is_answered(
        words in prop::collection::vec((0u64..0x120, prop_oneof![any::<u16>(), 0u16..10]), 0..60),
        idx in 0u16..10,
        mergeable: bool,
    ) {
        let memory = ram();
        let driver = Driver::new(&memory, 0x1000, 8, true);
        let mut device = queue(&memory, &driver, 8, true);
        for (at, word) in words {
            memory.write_obj(word, GuestAddress(0x1000 + 2 * (at / 2))).unwrap();
        }
        memory.write_obj(idx, GuestAddress(driver.at[1] + 2)).unwrap();
        let port = Port::new(64);
        port.set(0, 63);
        let shape = shape(&[if mergeable { 15 } else { 40 }], 12);
        let mut tally = Tally::default();
        if let Ok(mut batch) = device.open(&memory) {
            let mut slots = port.ring();
            let _ = transmit(&mut batch, &mut slots, &shape, &mut tally);
            slots.finish();
            let _ = batch.publish();
            port.packets(0, port.head());
        }
        let at = port.arrive(0, &[7; 3000], 1000);
        port.set(0, at);
        if let Ok(mut batch) = device.open(&memory) {
            let _ = receive(&mut port.ring(), &mut Default::default(), &mut batch, &shape, &mut tally);
            let _ = batch.publish();
            let _ = batch.ask_for_kicks();
        }
        prop_assert!(tally.packets + tally.lost <= 10);
    }
}
