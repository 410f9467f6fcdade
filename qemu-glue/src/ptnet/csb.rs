//! A CSB in a guest's RAM. Unlike the one of a program (`nmshim/src/netmap/csb.rs`) it is mapped here, so that an entry
//! is a few loads and stores.

use core::cell::Cell;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicU32, fence};
use std::time::{Duration, Instant};

pub use nm_abi::csb_words::ENTRY;
use nm_abi::csb_words::{APPL_NEED_KICK, CUR, HEAD, HWCUR, HWTAIL, KERN_NEED_KICK, SYNC_FLAGS};
use uvale_engine::csb::{Csb, Wanted};

pub use super::known::Entry;
use super::known::Known;
use crate::guest_memory::Words;

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
    /// `atok` and `ktoa` are the whole arrays; `entries` are those of the loop.
    pub fn new(atok: Words, ktoa: Words, entries: &[Entry]) -> Self {
        Self {
            atok,
            ktoa,
            known: entries.iter().map(Known::new).collect(),
            is_new_pass: Cell::new(false),
            has_moved: Cell::new(false),
        }
    }

    /// Before a pass over ring `i` at time `now`: the head that it reads first is the one it takes. It has failed until
    /// it shows something.
    pub fn begin_pass(&self, i: usize, now: Instant) {
        self.is_new_pass.set(true);
        if let Some(known) = self.known.get(i) {
            let head = self.load(known.entry.number, HEAD, Relaxed);
            let before = known.taken.replace(head);
            known.pace.moved(known.distance(before, head), now);
            known.has_failed.set(true);
        }
    }

    /// Has the last pass over ring `i` failed? It is tried again with the next one, and nothing waits for it before.
    pub fn has_failed(&self, i: usize) -> bool {
        self.known.get(i).is_some_and(|k| k.has_failed.get())
    }

    /// Has something been shown since the last call?
    pub fn has_moved(&self) -> bool {
        self.has_moved.take()
    }

    /// Before a sleep at time `now`: asks the guest to kick for the rings where it is its turn.
    /// [`GuestCsb::has_news`] after it cannot miss anything. A guest in the middle of a stream is not asked: then the
    /// sleep is to be as short as the answer says.
    pub fn ask_for_kicks(&self, now: Instant) -> Option<Duration> {
        let mut shortest: Option<Duration> = None;
        for (i, known) in self.known.iter().enumerate() {
            let is_its_turn = known.is_guest_s_turn();
            let is_expected = is_its_turn && !known.has_failed.get();
            let nap = is_expected.then(|| known.pace.nap(now)).flatten();
            self.want_kick(i, is_its_turn && nap.is_none());
            shortest = [shortest, nap].into_iter().flatten().min();
        }
        // The guest writes its head, then looks whether it is to kick: one of the two sees the other.
        fence(SeqCst);
        shortest
    }

    /// Is there something to look for now and then? What the guest gives back without a kick: who sends into a pipe
    /// may wait for it. And a ring whose last pass has failed.
    pub fn is_incomplete(&self) -> bool {
        let is_incomplete = |k: &Known| k.is_held() || k.has_failed.get();
        self.known.iter().any(is_incomplete)
    }

    /// Has the guest moved a head since the last pass over its ring?
    pub fn has_news(&self) -> bool {
        let is_news = |k: &Known| self.load(k.entry.number, HEAD, Relaxed) != k.taken.get();
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
        let head = self.load(known.entry.number, HEAD, Acquire);
        let cur = self.load(known.entry.number, CUR, Acquire);
        if self.is_new_pass.take() {
            known.taken.set(head);
        }
        Wanted {
            head,
            cur,
            need_kick: self.load(known.entry.number, APPL_NEED_KICK, Relaxed) != 0,
        }
    }

    fn show(&self, i: usize, hwcur: u32, hwtail: u32) {
        let Some(known) = self.known.get(i) else {
            return;
        };
        known.has_failed.set(false);
        if known.shown.replace(Some((hwcur, hwtail))) == Some((hwcur, hwtail)) {
            return;
        }
        // Slots first, then hwcur, then hwtail: the guest reads them in the other order.
        let [cur, tail] = [HWCUR, HWTAIL].map(|field| self.field(known.entry.number, field));
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
            && let Some(word) = self.field(known.entry.number, KERN_NEED_KICK)
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
            if let Some(word) = self.atok.get(known.entry.number * ENTRY + field) {
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

    fn tx(number: usize) -> Entry {
        let (slots, is_rx) = (8, false);
        Entry {
            number,
            slots,
            is_rx,
        }
    }

    fn rx(number: usize) -> Entry {
        let (slots, is_rx) = (8, true);
        Entry {
            number,
            slots,
            is_rx,
        }
    }

    fn csb(entries: &[Entry]) -> (GuestCsb, Words, Words) {
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
        let (csb, atok, ktoa) = csb(&[tx(1), rx(3)]);
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
        let (csb, atok, ktoa) = csb(&[tx(0), rx(1)]);
        set(&atok, 1, HEAD, 3);
        assert!(csb.has_news());
        csb.begin_pass(1, Instant::now());
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
        csb.begin_pass(1, Instant::now());
        csb.read(1);
        assert_eq!(csb.ask_for_kicks(Instant::now()), None);
        assert!(!csb.has_news());
        // The pass shows nothing: the guest is asked, and looked at now and then.
        assert!(csb.has_failed(1) && csb.is_incomplete() && !csb.has_failed(0));
        assert_eq!(get(&ktoa, 1, KERN_NEED_KICK), 1);
        csb.show(1, 4, 5);
        assert!(!csb.has_failed(1));
    }

    #[test]
    fn kicks_are_asked_for_where_it_is_the_guest_s_turn() {
        let (csb, atok, ktoa) = csb(&[tx(0), rx(1)]);
        // head of the tx ring, its hwtail; head of the rx ring of 8 slots, its hwtail; who is asked
        for (head, room, taken, arrived, asked) in [
            (0, 7, 0, 0, [1, 0]),
            (7, 7, 0, 3, [0, 0]),
            (7, 7, 0, 7, [0, 1]),
            (3, 2, 4, 3, [1, 1]),
            (u32::MAX, 2, u32::MAX, 3, [1, 0]),
        ] {
            for (i, head) in [head, taken].into_iter().enumerate() {
                set(&atok, i, HEAD, head);
                csb.begin_pass(i, Instant::now());
                csb.read(i);
            }
            csb.show(0, 0, room);
            csb.show(1, 0, arrived);
            assert_eq!(csb.ask_for_kicks(Instant::now()), None);
            assert_eq!([0, 1].map(|i| get(&ktoa, i, KERN_NEED_KICK)), asked);
            assert_eq!(csb.is_incomplete(), taken != arrived);
        }
    }

    #[test]
    fn a_guest_in_the_middle_of_a_stream_is_asked_when_that_is_over() {
        let slots = 64;
        let stream = |number, is_rx| Entry {
            number,
            slots,
            is_rx,
        };
        let (csb, atok, ktoa) = csb(&[stream(0, false), stream(1, true)]);
        let began = Instant::now();
        let passes = |heads: [u32; 2], now| {
            for (i, head) in heads.into_iter().enumerate() {
                set(&atok, i, HEAD, head);
                csb.begin_pass(i, now);
                csb.read(i);
            }
            csb.show(0, heads[0], (heads[0] + slots - 1) % slots);
            csb.show(1, heads[1], (heads[1] + slots - 1) % slots);
        };
        let asked = || [0, 1].map(|i| get(&ktoa, i, KERN_NEED_KICK));
        // Few slots of one ring and many of the other, beyond its end.
        passes([5, 33], began);
        passes([10, 2], began);
        assert!(csb.ask_for_kicks(began).is_some());
        assert_eq!(asked(), [1, 0]);
        passes([43, 2], began);
        assert!(csb.ask_for_kicks(began).is_some());
        assert_eq!(asked(), [0, 0]);
        // A head that cannot be is asked about at once.
        csb.begin_pass(1, began);
        assert!(csb.ask_for_kicks(began).is_some());
        assert_eq!(asked(), [0, 1]);
        let later = began + Duration::from_secs(1);
        assert_eq!(csb.ask_for_kicks(later), None);
        assert_eq!(asked(), [1, 1]);
    }

    #[test]
    fn only_changes_are_written() {
        let (csb, _atok, ktoa) = csb(&[tx(0)]);
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
