//! A CSB in a guest's RAM. Unlike the one of a program (`nmshim/src/netmap/csb.rs`) it is mapped here, so that an entry
//! is a few loads and stores.

use core::cell::Cell;
use core::mem::offset_of;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicU32, fence};

use nm_abi::{nm_csb_atok, nm_csb_ktoa};
use uvale_engine::csb::{Csb, Wanted};

use crate::guest_memory::Words;

/// Words of an entry, the same in both arrays.
pub const ENTRY: usize = size_of::<nm_csb_atok>() / 4;
const _: () = assert!(size_of::<nm_csb_atok>() == size_of::<nm_csb_ktoa>());

const HEAD: usize = offset_of!(nm_csb_atok, head) / 4;
const CUR: usize = offset_of!(nm_csb_atok, cur) / 4;
const APPL_NEED_KICK: usize = offset_of!(nm_csb_atok, appl_need_kick) / 4;
const SYNC_FLAGS: usize = offset_of!(nm_csb_atok, sync_flags) / 4;
const HWCUR: usize = offset_of!(nm_csb_ktoa, hwcur) / 4;
const HWTAIL: usize = offset_of!(nm_csb_ktoa, hwtail) / 4;
const KERN_NEED_KICK: usize = offset_of!(nm_csb_ktoa, kern_need_kick) / 4;

/// What a loop remembers of an entry. The guest cannot write it.
struct Known {
    /// the entry's number in the guest's arrays
    number: usize,
    /// the head that the last pass took
    taken: Cell<u32>,
    /// hwcur and hwtail as last written
    shown: Cell<Option<(u32, u32)>>,
    /// kern_need_kick as last written
    asks: Cell<Option<bool>>,
}

/// Both arrays, as one loop uses them.
pub struct GuestCsb {
    atok: Words,
    ktoa: Words,
    /// by the loop's own numbers
    known: Vec<Known>,
    /// the next read begins a pass
    is_new_pass: Cell<bool>,
    /// something was shown since the last look
    has_moved: Cell<bool>,
}

impl GuestCsb {
    /// `atok` and `ktoa` are the whole arrays; `entries` are those of the loop, by their numbers in them.
    pub fn new(atok: Words, ktoa: Words, entries: &[usize]) -> Self {
        let known = entries.iter().map(|&number| Known {
            number,
            taken: Cell::default(),
            shown: Cell::default(),
            asks: Cell::default(),
        });
        Self {
            atok,
            ktoa,
            known: known.collect(),
            is_new_pass: Cell::new(false),
            has_moved: Cell::new(false),
        }
    }

    /// Before a pass over a ring: the head that it reads first is the one it takes.
    pub fn begin_pass(&self) {
        self.is_new_pass.set(true);
    }

    /// Has something been shown since the last call?
    pub fn has_moved(&self) -> bool {
        self.has_moved.take()
    }

    /// Before a sleep: asks the guest to kick, for all entries. [`GuestCsb::has_news`] after it cannot miss anything.
    pub fn ask_for_kicks(&self) {
        (0..self.known.len()).for_each(|i| self.want_kick(i, true));
        // The guest writes its head, then looks whether it is to kick: one of the two sees the other.
        fence(SeqCst);
    }

    /// Has the guest moved a head since the last pass over its ring?
    pub fn has_news(&self) -> bool {
        let is_news = |k: &Known| self.load(k.number, HEAD, Relaxed) != k.taken.get();
        self.known.iter().any(is_news)
    }

    /// A field that the guest writes.
    fn load(&self, entry: usize, field: usize, order: core::sync::atomic::Ordering) -> u32 {
        let word = self.atok.get(entry * ENTRY + field);
        word.map_or(0, |word| word.load(order))
    }

    /// A field that the guest reads.
    fn field(&self, entry: usize, field: usize) -> Option<&AtomicU32> {
        self.ktoa.get(entry * ENTRY + field)
    }
}

impl Csb for GuestCsb {
    fn read(&self, i: usize) -> Wanted {
        let Some(known) = self.known.get(i) else {
            return Wanted::default();
        };
        // The guest writes cur before head, and its slots before both.
        let head = self.load(known.number, HEAD, Acquire);
        let cur = self.load(known.number, CUR, Acquire);
        if self.is_new_pass.take() {
            known.taken.set(head);
        }
        Wanted {
            head,
            cur,
            need_kick: self.load(known.number, APPL_NEED_KICK, Relaxed) != 0,
        }
    }

    fn show(&self, i: usize, hwcur: u32, hwtail: u32) {
        let Some(known) = self.known.get(i) else {
            return;
        };
        if known.shown.replace(Some((hwcur, hwtail))) == Some((hwcur, hwtail)) {
            return;
        }
        // Slots first, then hwcur, then hwtail: the guest reads them in the other order.
        let [cur, tail] = [HWCUR, HWTAIL].map(|field| self.field(known.number, field));
        if let (Some(cur), Some(tail)) = (cur, tail) {
            cur.store(hwcur, Release);
            tail.store(hwtail, Release);
        }
        self.has_moved.set(true);
        // The guest asks for an interrupt, then looks once more: what is read of it next comes after these stores.
        fence(SeqCst);
    }

    fn want_kick(&self, i: usize, on: bool) {
        let Some(known) = self.known.get(i) else {
            return;
        };
        if known.asks.replace(Some(on)) != Some(on)
            && let Some(word) = self.field(known.number, KERN_NEED_KICK)
        {
            word.store(on.into(), Relaxed);
        }
    }

    fn init(&self, i: usize, wanted: Wanted, hwcur: u32, hwtail: u32) {
        let Some(known) = self.known.get(i) else {
            return;
        };
        let fields = [
            (CUR, wanted.cur),
            (HEAD, wanted.head),
            (APPL_NEED_KICK, wanted.need_kick.into()),
            (SYNC_FLAGS, 1),
        ];
        for (field, value) in fields {
            if let Some(word) = self.atok.get(known.number * ENTRY + field) {
                word.store(value, Release);
            }
        }
        known.taken.set(wanted.head);
        self.show(i, hwcur, hwtail);
        self.want_kick(i, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest_memory::GuestMemory;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    const PAGE: u64 = 4096;

    fn csb(entries: &[usize]) -> (GuestCsb, Words, Words) {
        let ram = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&ram, 2 * PAGE).unwrap();
        let mut memory = GuestMemory::default();
        memory.map(0, 2 * PAGE, Some(ram.into()), 0).unwrap();
        let array = |page: u64| memory.words(page * PAGE, 4 * ENTRY).unwrap();
        (
            GuestCsb::new(array(0), array(1), entries),
            array(0),
            array(1),
        )
    }

    fn set(words: &Words, entry: usize, field: usize, value: u32) {
        words
            .get(entry * ENTRY + field)
            .unwrap()
            .store(value, Relaxed);
    }

    fn get(words: &Words, entry: usize, field: usize) -> u32 {
        words.get(entry * ENTRY + field).unwrap().load(Relaxed)
    }

    #[test]
    fn a_loop_sees_its_own_entries() {
        let (csb, atok, ktoa) = csb(&[1, 3]);
        csb.init(
            1,
            Wanted {
                head: 5,
                cur: 6,
                need_kick: true,
            },
            5,
            9,
        );
        assert_eq!([0, 1, 2, 3].map(|i| get(&atok, 3, i)), [5, 6, 1, 1]);
        assert_eq!([0, 1, 2].map(|i| get(&ktoa, 3, i)), [5, 9, 1]);
        csb.show(0, 7, 8);
        assert_eq!([0, 1].map(|i| get(&ktoa, 1, i)), [7, 8]);
        assert_eq!([0, 2].map(|i| get(&ktoa, i, HWTAIL)), [0, 0]);
        csb.show(2, 1, 1);
        csb.want_kick(2, true);
        assert_eq!(csb.read(2), Wanted::default());
    }

    #[test]
    fn news_is_what_no_pass_has_taken() {
        let (csb, atok, ktoa) = csb(&[0, 1]);
        set(&atok, 1, HEAD, 3);
        assert!(csb.has_news());
        csb.begin_pass();
        assert_eq!(csb.read(1).head, 3);
        assert!(!csb.has_news());
        // What is read later in the same pass has not been taken.
        set(&atok, 1, HEAD, 4);
        set(&atok, 1, APPL_NEED_KICK, 7);
        assert_eq!(
            csb.read(1),
            Wanted {
                head: 4,
                cur: 0,
                need_kick: true
            }
        );
        assert!(csb.has_news());
        // A head that is none is no news for ever.
        set(&atok, 1, HEAD, u32::MAX);
        csb.begin_pass();
        csb.read(1);
        csb.ask_for_kicks();
        assert!(!csb.has_news());
        assert_eq!([0, 1].map(|i| get(&ktoa, i, KERN_NEED_KICK)), [1, 1]);
    }

    #[test]
    fn only_changes_are_written() {
        let (csb, _atok, ktoa) = csb(&[0]);
        csb.show(0, 1, 2);
        assert!(csb.has_moved() && !csb.has_moved());
        set(&ktoa, 0, HWTAIL, 99);
        csb.show(0, 1, 2);
        assert!(!csb.has_moved());
        assert_eq!(get(&ktoa, 0, HWTAIL), 99);
        csb.show(0, 1, 3);
        assert_eq!(get(&ktoa, 0, HWTAIL), 3);
    }
}
