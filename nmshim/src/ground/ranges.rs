//! Stretches of addresses and what they stand for, in memory of its own: who unmaps may be the program's malloc,
//! so malloc is not called here.

use super::raw;
use core::ops::Range;
use core::ptr::null_mut;

struct Entry<T> {
    at: Range<usize>,
    value: T,
}

/// Stretches that do not overlap, in no order.
pub struct Ranges<T> {
    entries: *mut Entry<T>,
    len: usize,
    room: usize,
}

// SAFETY: owns its entries, as a Vec does.
unsafe impl<T: Send> Send for Ranges<T> {}

impl<T: Clone> Ranges<T> {
    pub const fn new() -> Self {
        Self {
            entries: null_mut(),
            len: 0,
            room: 0,
        }
    }

    fn entries(&mut self) -> &mut [Entry<T>] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: `entries` points to `room` places of which the first `len` are initialised, and the borrow is
        // exclusive.
        unsafe { core::slice::from_raw_parts_mut(self.entries, self.len) }
    }

    /// The values of all stretches.
    pub fn for_each(&mut self, mut f: impl FnMut(&T)) {
        self.entries().iter().for_each(|e| f(&e.value));
    }

    /// Where the first of them begins and the last one ends: `(usize::MAX, 0)` if there are none.
    pub fn hull(&mut self) -> (usize, usize) {
        let around =
            |(low, high): (usize, usize), e: &Entry<T>| (low.min(e.at.start), high.max(e.at.end));
        self.entries().iter().fold((usize::MAX, 0), around)
    }

    /// Adds a stretch where nothing is. The value comes back if there is no memory for it.
    pub fn insert(&mut self, at: Range<usize>, value: T) -> Result<(), T> {
        if self.len == self.room && !self.grow() {
            return Err(value);
        }
        // SAFETY: there is room for one more, and what lies there is not initialised.
        unsafe { self.entries.add(self.len).write(Entry { at, value }) };
        self.len += 1;
        Ok(())
    }

    fn take(&mut self, i: usize) -> T {
        let last = self.len - 1;
        self.entries().swap(i, last);
        self.len = last;
        // SAFETY: it was initialised and is not among the first `len` any more, so it is moved out once.
        unsafe { self.entries.add(last).read() }.value
    }

    /// Cuts entry `i` down to what of it lies in `within`, which it overlaps. What lies outside stays under its
    /// old addresses; without memory for that the entry stays as it is and the answer is false.
    fn confine(&mut self, i: usize, within: &Range<usize>) -> bool {
        let at = self.entries()[i].at.clone();
        while self.room - self.len < 2 {
            if !self.grow() {
                return false;
            }
        }
        self.entries()[i].at = at.start.max(within.start)..at.end.min(within.end);
        for outside in [at.start..within.start, within.end..at.end] {
            // A value is cloned only for a stretch that there is: the clones are counted.
            if !outside.is_empty() {
                let value = self.entries()[i].value.clone();
                let inserted = self.insert(outside, value);
                debug_assert!(inserted.is_ok(), "there is room for both");
            }
        }
        true
    }

    /// Nothing stands in `range` any more; what is gone goes to `gone`.
    pub fn remove(&mut self, range: &Range<usize>, mut gone: impl FnMut(T)) {
        // From the end: what is put at the end by the way has been looked at, or lies outside.
        for i in (0..self.len).rev() {
            if overlap(&self.entries()[i].at, range) && self.confine(i, range) {
                gone(self.take(i));
            }
        }
    }

    /// What stands in `from` stands in `to` now, which holds nothing else: as mremap moves, cuts and lengthens.
    pub fn relocate(&mut self, from: &Range<usize>, to: &Range<usize>, mut gone: impl FnMut(T)) {
        for i in (0..self.len).rev() {
            if !overlap(&self.entries()[i].at, from) || !self.confine(i, from) {
                continue;
            }
            let at = &mut self.entries()[i].at;
            let end = match at.end == from.end {
                true => to.end,
                false => to.end.min(at.end - from.start + to.start),
            };
            *at = at.start - from.start + to.start..end;
            if at.start >= at.end {
                gone(self.take(i));
            }
        }
    }

    /// What stands at `address`.
    pub fn find(&mut self, address: usize) -> Option<&T> {
        let found = self.entries().iter().find(|e| e.at.contains(&address));
        found.map(|e| &e.value)
    }

    /// Room for as many again. False: there is no memory.
    fn grow(&mut self) -> bool {
        let room = (2 * self.room).max(4096 / size_of::<Entry<T>>());
        let (old, new) = (
            self.room * size_of::<Entry<T>>(),
            room * size_of::<Entry<T>>(),
        );
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
        let access = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        // SAFETY: a fresh mapping, or our own one made larger; whoever has a pointer into that is past it, as this
        // is called with an exclusive borrow.
        let at = unsafe {
            if self.room == 0 {
                raw::call(libc::SYS_mmap, [0, new, access, flags, usize::MAX, 0])
            } else {
                let may_move = libc::MREMAP_MAYMOVE as usize;
                raw::call(
                    libc::SYS_mremap,
                    [self.entries as usize, old, new, may_move, 0, 0],
                )
            }
        };
        let Ok(at) = raw::check(at) else { return false };
        (self.entries, self.room) = (at as *mut Entry<T>, room);
        true
    }
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start.max(b.start) < a.end.min(b.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(list: &[(Range<usize>, char)]) -> Ranges<char> {
        let mut r = Ranges::new();
        for (at, value) in list {
            r.insert(at.clone(), *value).unwrap();
        }
        r
    }

    fn shown(r: &mut Ranges<char>) -> Vec<(Range<usize>, char)> {
        let mut list: Vec<_> = r
            .entries()
            .iter()
            .map(|e| (e.at.clone(), e.value))
            .collect();
        list.sort_by_key(|(at, _)| at.start);
        list
    }

    #[test]
    fn what_is_unmapped_goes_and_the_rest_stays() {
        let both = [(10..20, 'a'), (20..40, 'b')];
        for (cut, left, gone) in [
            (0..10, vec![(10..20, 'a'), (20..40, 'b')], ""),
            (40..50, vec![(10..20, 'a'), (20..40, 'b')], ""),
            (0..50, vec![], "ab"),
            (10..20, vec![(20..40, 'b')], "a"),
            (10..15, vec![(15..20, 'a'), (20..40, 'b')], "a"),
            (
                25..30,
                vec![(10..20, 'a'), (20..25, 'b'), (30..40, 'b')],
                "b",
            ),
            (15..25, vec![(10..15, 'a'), (25..40, 'b')], "ab"),
            (15..15, vec![(10..20, 'a'), (20..40, 'b')], ""),
        ] {
            let mut r = ranges(&both);
            let mut went = Vec::new();
            r.remove(&cut, |v| went.push(v));
            went.sort_unstable();
            assert_eq!(shown(&mut r), left, "{cut:?}");
            assert_eq!(went.iter().collect::<String>(), gone, "{cut:?}");
        }
    }

    #[test]
    fn what_moves_keeps_its_place_in_the_whole() {
        let both = [(10..20, 'a'), (20..40, 'b')];
        for (from, to, left, gone) in [
            (10..20, 110..120, vec![(20..40, 'b'), (110..120, 'a')], ""),
            (10..40, 110..140, vec![(110..120, 'a'), (120..140, 'b')], ""),
            (10..40, 10..15, vec![(10..15, 'a')], "b"),
            (10..40, 110..125, vec![(110..120, 'a'), (120..125, 'b')], ""),
            (10..40, 10..60, vec![(10..20, 'a'), (20..60, 'b')], ""),
            (
                25..30,
                125..130,
                vec![(10..20, 'a'), (20..25, 'b'), (30..40, 'b'), (125..130, 'b')],
                "",
            ),
            (50..60, 70..80, vec![(10..20, 'a'), (20..40, 'b')], ""),
        ] {
            let mut r = ranges(&both);
            let mut went = String::new();
            r.relocate(&from, &to, |v| went.push(v));
            assert_eq!(shown(&mut r), left, "{from:?} {to:?}");
            assert_eq!(went, gone, "{from:?} {to:?}");
        }
    }

    /// Whoever counts values finds as many as there are stretches.
    #[test]
    fn a_clone_for_each_stretch_and_no_other() {
        let witness = std::rc::Rc::new(());
        let mut r = Ranges::new();
        r.insert(10..40, witness.clone()).unwrap();
        r.remove(&(20..30), drop);
        assert_eq!(std::rc::Rc::strong_count(&witness), 3);
        r.relocate(&(10..20), &(110..120), drop);
        r.relocate(&(35..40), &(35..60), drop);
        assert_eq!(std::rc::Rc::strong_count(&witness), 4);
        r.remove(&(0..200), drop);
        assert_eq!(std::rc::Rc::strong_count(&witness), 1);
    }

    #[test]
    fn every_second_of_many() {
        let mut r: Ranges<usize> = Ranges::new();
        assert_eq!(r.hull(), (usize::MAX, 0));
        r.insert(0..10_000, 7).unwrap();
        let mut gone = 0;
        for i in (1..10_000).step_by(2) {
            r.remove(&(i..i + 1), |_| gone += 1);
        }
        assert_eq!((gone, r.entries().len()), (5000, 5000));
        assert_eq!(r.hull(), (0, 9999));
        assert_eq!(r.find(4), Some(&7));
        assert_eq!(r.find(5), None);
        r.remove(&(0..10_000), |_| gone += 1);
        assert_eq!((gone, r.hull()), (10_000, (usize::MAX, 0)));
    }
}
