//! The monitors of a ring, as syncs read them while the daemon changes them.
//!
//! The copy monitors of a ring are a list through their krings, and the ring's `watch` says where it
//! begins. Each kring has two links, and a list goes through the first links or through the second
//! ones. The daemon writes a new list into the links that are not in use, then shows it with one
//! store to `watch`, which also counts the lists. A reader copies the list, then looks at `watch`
//! again: if it has not changed, the copy is the list that was in use at that moment, whole and
//! in order. Nobody waits, and a process that dies or is stopped in the middle leaves the list as it
//! was.
//!
//! ```text
//!   watch: | first zero-copy monitor + 1 | first copy monitor + 1 | lists so far; lowest bit: the links |
//!           63                         44 43                    24 23                                 0
//! ```

use crate::atomics::{AtomicU32, AtomicU64, Ordering};

/// Bits of the count.
const COUNT: u32 = 24;
/// Bits of a reference to a kring.
const REFERENCE: u32 = 20;
/// Krings that can be referred to.
pub const MOST: u32 = (1 << REFERENCE) - 1;
/// Looks at a list that changes all the time. Each change is a request to the daemon, so a second
/// one during a look is rare.
const LOOKS: u32 = 64;
/// Monitors of a ring that can be noted without allocating.
const FEW: usize = 16;

/// Is there a monitor?
#[inline(always)]
pub fn is_any(watch: u64) -> bool {
    watch >> COUNT != 0
}

/// Index of the first copy monitor's kring.
#[inline]
pub fn first_copy(watch: u64) -> Option<u32> {
    ((watch >> COUNT) as u32 & MOST).checked_sub(1)
}

/// Index of the first zero-copy monitor's kring.
#[inline]
pub fn first_in_chain(watch: u64) -> Option<u32> {
    ((watch >> (COUNT + REFERENCE)) as u32).checked_sub(1)
}

/// The copy monitors of a ring, copied.
#[derive(Debug, Default)]
pub struct List {
    few: [u32; FEW],
    len: usize,
    more: Vec<u32>,
}

impl List {
    fn push(&mut self, kring: u32) {
        match self.few.get_mut(self.len) {
            Some(place) => *place = kring,
            None => self.more.push(kring),
        }
        self.len += 1;
    }

    /// Indices of their krings.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let few = &self.few[..self.len.min(FEW)];
        few.iter().chain(&self.more).copied()
    }
}

/// The list of copy monitors that `watch` shows, at most `most` of them. `link` gives the two links of a
/// kring. `None` if the list is malformed, or changed as often as it was looked at.
#[inline]
pub fn copies<'a>(
    watch: &AtomicU64,
    most: u32,
    link: impl Fn(u32) -> Option<&'a [AtomicU32; 2]>,
) -> Option<List> {
    // SYNC POINT: Acquire pairs with the Release in `show`.
    let mut seen = watch.load(Ordering::Acquire);
    for _ in 0..LOOKS {
        let list = walk(seen, most, &link);
        let now = watch.load(Ordering::Acquire);
        if now == seen {
            return list;
        }
        seen = now;
    }
    None
}

fn walk<'a>(
    watch: u64,
    most: u32,
    link: &impl Fn(u32) -> Option<&'a [AtomicU32; 2]>,
) -> Option<List> {
    let (mut list, mut next) = (List::default(), first_copy(watch));
    while let Some(kring) = next {
        if list.len == most as usize {
            return None;
        }
        list.push(kring);
        // SYNC POINT: Acquire pairs with the Release in `show`: a reader that sees a link of a later
        // list finds `watch` changed.
        let link = link(kring)?[(watch & 1) as usize].load(Ordering::Acquire);
        next = link.checked_sub(1);
    }
    Some(list)
}

/// Shows a new list of copy monitors and a new first zero-copy monitor. For the daemon only.
pub fn show<'a>(
    watch: &AtomicU64,
    copies: &[u32],
    chain: Option<u32>,
    link: impl Fn(u32) -> &'a [AtomicU32; 2],
) {
    let count = (watch.load(Ordering::Relaxed) + 1) & ((1 << COUNT) - 1);
    let reference = |kring: Option<&u32>| kring.map_or(0, |i| u64::from((i + 1) & MOST));
    for (i, kring) in copies.iter().enumerate() {
        let next = reference(copies.get(i + 1)) as u32;
        link(*kring)[(count & 1) as usize].store(next, Ordering::Release);
    }
    let heads = reference(copies.first()) | reference(chain.as_ref()) << REFERENCE;
    // SYNC POINT: Release pairs with the Acquire in `copies`.
    watch.store(heads << COUNT | count, Ordering::Release);
}
