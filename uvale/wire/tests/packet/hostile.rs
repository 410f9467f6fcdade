//! Readers that died, and frames that others have written to.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use uvale_wire::{Frames, Wire};

use crate::ground::{apart, numbered, open, pair, readable, wire};
use crate::{arrived, bytes, ends, numbers, readable_now, send, take};

#[test]
fn who_takes_over_from_the_dead_finds_the_next_frame() {
    apart(
        "hostile::who_takes_over_from_the_dead_finds_the_next_frame",
        || {
            let other = pair("");
            let (a, b) = (wire("va"), other.run(|| wire("vb")));
            let (frames, sender) = (ends(&b).0, ends(&a).1);
            let mut at = 0;
            take(frames, &mut at, |_| {});
            assert_eq!(frames.find(at), at);
            assert_eq!(frames.find(frames.count()), 0);
            assert!(!frames.is_ready(frames.count()));

            // It dies between saying what is next and giving the frame back.
            let dies_after = |at: u32, packets: u32| {
                let kept = Cell::new(at);
                let left = Cell::new(packets);
                let died = catch_unwind(AssertUnwindSafe(|| {
                    let next = |next| {
                        kept.set(next);
                        left.set(left.get() - 1);
                        assert!(left.get() > 0, "dies");
                    };
                    frames.take_in(at, next, |_| true)
                }));
                assert!(died.is_err());
                kept.get()
            };
            send(sender, 0..10, |_| 60, || {});
            arrived(frames, at, 10);
            let kept = dies_after(at, 4);
            // The one that was not given back comes a second time.
            at = frames.find(kept);
            assert_eq!(numbers(frames, &mut at), (3..10).collect::<Vec<_>>());
            assert_eq!(frames.find(at), at);
            // It is in nobody's way: not in the next lap, nor when all frames are full.
            let lap = frames.count() + 100;
            let next = Cell::new(10);
            let mut take_all = || {
                for n in numbers(frames, &mut at) {
                    assert_eq!(n, next.get());
                    next.set(n + 1);
                }
            };
            send(sender, 10..lap, |_| 60, &mut take_all);
            while next.get() < lap && readable(frames.fd().expect("a socket")) {
                take_all();
            }
            assert_eq!(next.get(), lap);
            send(sender, 0..frames.count(), |_| 60, || {});
            arrived(frames, at, frames.count());
            assert_eq!(frames.find(at), at);
            assert!(numbers(frames, &mut at).into_iter().eq(0..frames.count()));

            // It was the last packet that is there.
            send(sender, 30..31, |_| 60, || {});
            arrived(frames, at, 1);
            at = dies_after(at, 1);
            assert!(readable_now(frames) && !frames.is_ready(at));
            let kept = at;
            at = frames.find(at);
            assert_eq!(numbers(frames, &mut at), [30]);
            assert!(at == kept && !readable_now(frames));

            // The position is anything.
            send(sender, 40..45, |_| 60, || {});
            arrived(frames, at, 5);
            at = frames.find((at + frames.count() / 2) % frames.count());
            assert_eq!(numbers(frames, &mut at), (40..45).collect::<Vec<_>>());
        },
    );
}

/// The frames once more, as another process of the user could map and write them.
struct Scribbler {
    base: *mut u8,
    len: usize,
}

impl Scribbler {
    fn new(frames: &Frames, size: usize) -> Self {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let len = size * frames.count() as usize;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping where nothing is.
        let base = unsafe {
            let nowhere = core::ptr::null_mut();
            mmap(
                nowhere,
                len,
                access,
                MapFlags::SHARED,
                frames.fd().expect("a socket"),
                0,
            )
        };
        let base = base.expect("it can be mapped more than once").cast();
        Self { base, len }
    }

    fn write(&self, at: usize, value: u32, bytes: usize) {
        assert!(at + bytes <= self.len);
        let value = value.to_ne_bytes();
        // SAFETY: inside the mapping, which is there until the process ends.
        unsafe { core::ptr::copy_nonoverlapping(value.as_ptr(), self.base.add(at), bytes) };
    }
}

#[test]
fn frames_that_others_have_scribbled_on_are_survived() {
    apart(
        "hostile::frames_that_others_have_scribbled_on_are_survived",
        || {
            let other = pair("");
            let (a, b) = (wire("va"), other.run(|| wire("vb")));
            let (frames, sender) = (ends(&b).0, ends(&a).1);
            let size = b.shape().frames[0].size as usize;
            let scribbler = Scribbler::new(frames, size);
            let mut at = 0;
            take(frames, &mut at, |_| {});
            // tp_len, tp_snaplen, tp_mac, what they are, and may the packet be taken.
            let end = size as u32;
            let cases = [
                (u32::MAX, u32::MAX, 76, false),
                (end - 48, end - 48, 76, false),
                (60, 60, 9, false),
                (60, 60, 0xffff, false),
                (60, 60, end, false),
                (60, 60, end - 8, false),
                (60, u32::MAX, end - 8, false),
                (3000, end - 48, 76, false),
                (u32::MAX, end - 148, 76, false),
                (end, end, 10, false),
                (0, 0, end, true),
                (end - 10, end - 10, 10, true),
                (3, 3, 76, true),
            ];
            // TP_STATUS_USER alone, with COPY, with a VLAN tag.
            for (status, case) in [1, 3, 0x11, 0x51, 2, u32::MAX]
                .into_iter()
                .flat_map(|s| cases.map(|c| (s, c)))
            {
                let (len, snaplen, mac, may) = case;
                send(sender, 1..3, |_| 60, || {});
                arrived(frames, at, 2);
                let frame = at as usize * size;
                scribbler.write(frame + 4, len, 4);
                scribbler.write(frame + 8, snaplen, 4);
                scribbler.write(frame + 12, mac, 2);
                scribbler.write(frame, status, 4);
                let (mut taken, mut second) = (0, false);
                take(frames, &mut at, |packet| {
                    let packet = bytes(&packet);
                    assert!(packet.len() <= size);
                    second |= packet == numbered(2, 60);
                    taken += 1;
                });
                assert_eq!(
                    (taken, second),
                    (1 + u32::from(may), true),
                    "{status:#x} {case:?}"
                );
            }
        },
    );
}

#[test]
fn a_position_and_a_shape_that_are_none_are_refused() {
    apart(
        "hostile::a_position_and_a_shape_that_are_none_are_refused",
        || {
            let _other = pair("");
            let a = wire("va");
            let frames = ends(&a).0;
            let took = frames.take_in(u32::MAX, |_| panic!(), |_| panic!());
            assert_eq!(took, u32::MAX);
            for change in [(0, 1), (1, 0), (1, 2), (2, 1), (u32::MAX, u32::MAX), (7, 1)] {
                let mut opened = open("va", [1, 1]);
                let shape = &mut opened.shape.frames[0];
                shape.size = shape.size.wrapping_mul(change.0);
                shape.count = shape.count.wrapping_mul(change.1);
                assert!(Wire::new(opened.shape, opened.fds).is_err(), "{change:?}");
            }
            let mut opened = open("va", [1, 1]);
            opened.fds.swap(0, 1);
            assert!(
                Wire::new(opened.shape, opened.fds).is_err(),
                "a sending socket"
            );
            let mut opened = open("va", [1, 1]);
            opened.fds.pop();
            assert!(Wire::new(opened.shape, opened.fds).is_err(), "one too few");
            let shape = open("va", [1, 0]).shape;
            let file = std::fs::File::open("/dev/zero").expect("it is there");
            let file = std::os::fd::OwnedFd::from(file).into();
            assert!(Wire::new(shape, vec![file]).is_err(), "no socket");
        },
    );
}
