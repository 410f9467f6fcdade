//! Packets that begin inside their buffers: slot.ptr holds an offset, as agreed when the ring was
//! opened (NETMAP_REQ_OPT_OFFSETS).

use core::sync::atomic::Ordering::Relaxed;

use super::RegionMap;
use uvale_shared::ctl::Kring;

/// netmap copies whole lines, so what it copies keeps its place in the line.
const LINE: u64 = 64;

/// What has been agreed on a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    mask: u64,
    max: u32,
}

impl Offsets {
    /// Nothing.
    pub const NONE: Self = Self { mask: 0, max: 0 };

    /// As control memory says.
    #[inline(always)]
    pub fn of(kring: &Kring) -> Self {
        Self {
            mask: kring.offset_mask.load(Relaxed),
            max: kring.offset_max.load(Relaxed),
        }
    }

    /// Packets begin where their buffers do.
    #[inline(always)]
    pub fn is_none(self) -> bool {
        self.mask == 0
    }

    /// netmap's nm_get_offset: offset in bytes of a slot with that ptr.
    #[inline]
    pub fn get(self, ptr: u64) -> u32 {
        (ptr & self.mask).min(self.max.into()) as u32
    }

    /// netmap's nm_write_offset: ptr with another offset.
    #[inline]
    pub fn put(self, ptr: u64, offset: u32) -> u64 {
        ptr & !self.mask | u64::from(offset) & self.mask
    }

    /// netmap's choice of an offset in a receiver's buffer that begins at byte `buffer` of its
    /// region, has `size` bytes and a slot with offset `own`, for `len` bytes from byte `from` on of
    /// the sender's region. `None`: there is no room behind it.
    pub fn place(self, own: u32, buffer: u64, size: u32, from: u64, len: u32) -> Option<u32> {
        if self.is_none() {
            return (len <= size).then_some(0);
        }
        let begin = u64::from(own);
        let in_line = from % LINE;
        let mut offset = begin / LINE * LINE + in_line;
        if (buffer + begin) % LINE < in_line {
            offset += LINE;
        }
        (offset + u64::from(len) <= size.into()).then_some(offset as u32)
    }
}

/// Are packets of that ring whole lines from the beginning of their buffers, so that the short ways
/// of copying will do?
#[inline(always)]
pub fn is_plain(kring: &Kring, region: &RegionMap) -> bool {
    Offsets::of(kring).is_none() && region.pool.is_lined()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: Offsets = Offsets {
        mask: u64::MAX,
        max: 256,
    };

    #[test]
    fn slots_keep_the_bits_that_are_no_offset() {
        let low = Offsets {
            mask: 0xff,
            max: 100,
        };
        assert_eq!(low.get(0x1234), 0x34);
        assert_eq!(low.get(0x12ff), 100);
        assert_eq!(low.put(0x1234, 7), 0x1207);
        assert_eq!(low.put(0x1234, 0x107), 0x1207);
        let none = Offsets { mask: 0, max: 0 };
        assert_eq!((none.get(77), none.put(77, 5)), (0, 77));
    }

    /// own offset, where the packet comes from, its length -> where it goes
    #[test]
    fn a_packet_keeps_its_place_in_the_line() {
        for (own, from, len, want) in [
            (0, 0, 60, Some(0)),
            (64, 0, 60, Some(64)),
            // rounded down
            (100, 0, 60, Some(64)),
            // the sender's is further back in its line: the next line
            (64, 2, 60, Some(130)),
            (130, 2, 60, Some(130)),
            (150, 2, 60, Some(130)),
            (129, 2, 60, Some(194)),
            (64, 2048 + 64, 60, Some(64)),
            (64, 0, 1984, Some(64)),
            (64, 0, 1985, None),
            (64, 2, 1919, None),
        ] {
            assert_eq!(
                ALL.place(own, 4096, 2048, from, len),
                want,
                "{own} {from} {len}"
            );
        }
        let none = Offsets { mask: 0, max: 0 };
        assert_eq!(none.place(0, 4096, 2048, 66, 2048), Some(0));
        assert_eq!(none.place(0, 4096, 2048, 66, 2049), None);
    }

    proptest! {
        #[test]
        fn what_has_room_stays_inside(own in 0u32..3000, buffer: u32, size in 1u32..4096, from: u32, len: u16) {
            let at = ALL.place(own, buffer.into(), size, from.into(), len.into());
            if let Some(at) = at {
                prop_assert!(at + u32::from(len) <= size);
                prop_assert_eq!(at % 64, from % 64);
            }
        }
    }
}
