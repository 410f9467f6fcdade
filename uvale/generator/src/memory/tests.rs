//! Regions of nonsense.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use super::*;

const LEN: usize = 16 * 1024;
const RING: usize = 128;

/// A region of nonsense that is plausible here and there.
fn region(words: Vec<u64>) -> Arc<Region> {
    let mut words = words.into_boxed_slice();
    let (base, len) = (
        NonNull::new(words.as_mut_ptr().cast::<u8>()).unwrap(),
        size_of_val(&*words),
    );
    // SAFETY: the boxed words live until the owner is dropped, and nobody refers to them.
    Arc::new(unsafe { Region::new(base, len, Box::new(words)) })
}

/// `seed` decides which fields hold something plausible and which are random.
fn nonsense(seed: u64) -> Vec<u64> {
    let hash = RandomState::new();
    let random = |salt: usize| {
        let mut hasher = hash.build_hasher();
        hasher.write_u64(seed);
        hasher.write_usize(salt);
        hasher.finish()
    };
    let mut words: Vec<u64> = (0..LEN / 8).map(|i| random(i) % 40).collect();
    // netmap_if: one ring of each direction, no host rings
    words[2] = 0;
    words[3] = 1 | 1 << 32;
    words[4] = 0;
    words[5] = 0;
    words[7] = RING as u64;
    words[8] = (RING + 4096) as u64;
    for ring in [RING / 8, (RING + 4096) / 8] {
        words[ring] = 8192 - ring as u64 * 8;
        words[ring + 1] = 16 | 128 << 32;
        words[ring + 2] = (random(1) % 16) << 32;
        words[ring + 3] = (random(2) % 16) | (random(3) % 17) << 32;
    }
    // and some of it at random
    for salt in 0..(seed % 4) as usize {
        let at = [
            2,
            3,
            4,
            7,
            8,
            RING / 8,
            RING / 8 + 1,
            RING / 8 + 2,
            RING / 8 + 3,
        ][(random(100 + salt) % 9) as usize];
        words[at] = random(200 + salt) >> (random(300 + salt) % 64);
    }
    words
}

#[test]
fn nonsense_in_the_region_is_survived() {
    let mut usable = 0;
    for seed in 0..3000 {
        let Ok(mut rings) = region(nonsense(seed)).rings(0) else {
            continue;
        };
        usable += 1;
        for ring in rings.tx.iter_mut().chain(&mut rings.rx) {
            let Ok(space) = ring.space() else { continue };
            assert!(space < ring.num_slots());
            let (mut i, mut out) = (ring.head(), Vec::new());
            for _ in 0..space {
                let slot = ring.slot(i);
                let read = ring.read(i, slot, 0, usize::from(slot.len), &mut out);
                assert!(!read || ring.is_sound(slot) || slot.len == 0);
                let _ = ring.write(i, slot, &[0xaa; 100]);
                ring.set_slot(i, 100, 0);
                i = ring.next(i);
            }
            ring.publish(i, i);
        }
    }
    assert!(usable > 500, "{usable}");
}

#[test]
fn offsets_outside_the_region_are_refused() {
    let plausible = nonsense(0);
    assert!(region(plausible.clone()).rings(0).is_ok());
    for at in [LEN as u64, LEN as u64 - 8, u64::MAX, 1 << 63] {
        assert!(region(plausible.clone()).rings(at).is_err(), "{at}");
    }
    let ring = RING / 8;
    let cases: [(usize, u64); 9] = [
        // the ring: beyond the end, before the start, misaligned
        (7, LEN as u64),
        (7, -8i64 as u64),
        (7, RING as u64 + 4),
        // its buffers
        (ring, LEN as u64),
        (ring, i64::MIN as u64),
        // slots and buffer size
        (ring + 1, u64::from(u32::MAX) | 128 << 32),
        (ring + 1, 1 | 128 << 32),
        (ring + 1, 16),
        // head
        (ring + 2, 16 << 32),
    ];
    for (at, value) in cases {
        let mut words = plausible.clone();
        words[at] = value;
        assert!(region(words).rings(0).is_err(), "{at} {value:#x}");
    }
}

#[test]
fn offsets_in_slots_are_honoured_and_checked() {
    let mut words = nonsense(0);
    let ring = RING / 8;
    words[ring + 2] = 0;
    words[ring + 3] = 15 << 32;
    words[ring + 7] = 0xff;
    // slot 0: buffer 2, 10 bytes at offset 4; slot 1: at offset 120 of 128
    let slots = (RING + 256) / 8;
    (words[slots], words[slots + 1]) = (2 | 10 << 32, 0xff00 | 4);
    (words[slots + 2], words[slots + 3]) = (2 | 10 << 32, 120);
    words[(8192 + 256) / 8] = 0x1122_3344_5566_7788;
    let rings = region(words).rings(0).unwrap();
    let (ring, mut out) = (&rings.tx[0], Vec::new());
    assert!(ring.has_offsets());
    assert!(ring.read(0, ring.slot(0), 0, 4, &mut out));
    assert_eq!(out, 0x1122_3344u32.to_le_bytes());
    assert!(!ring.read(1, ring.slot(1), 0, 10, &mut out));
}
