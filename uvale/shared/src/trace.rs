//! A trace: records that processes leave for one reader, in a memfd of their own.
//!
//! The memory is a circle of cells. A writer reserves as many consecutive ones as its record needs, fills them, and
//! publishes each with one store of its tag, which is the cell's number in all plus one. Nobody waits: writers
//! overwrite what the reader has not read, and it notices, because the tag that it expects is not there, or what it has
//! copied does not have the sum that the cell says. A writer that dies in the middle has spoiled the cells that it had
//! reserved; the reader passes them over after [`PATIENCE`], or when others are far ahead.
//!
//! The reader copies a cell once and checks the copy. Whatever writers do, it finds records, or that some were
//! missed. What is in a record is for others to check.
//!
//! ```text
//!   | next cell | next record | ... | cell | cell | cell | ...        cell: | tag | shape | record | sum | data |
//! ```

use crate::atomics::{AtomicU64, Ordering};
use crate::shm::{Mapping, Memfd, Shared};

/// Words of data in a cell.
pub const WORDS: usize = if cfg!(loom) { 1 } else { 28 };
/// Bytes of those.
pub const DATA: usize = WORDS * 8;
/// Bytes before the first cell.
const HEAD: usize = 4096;
/// Traces of a world at a time.
pub const MOST: usize = 16;
/// How long the reader waits for a cell that is reserved, in nanoseconds.
pub const PATIENCE: u64 = 100_000_000;
/// Numbers of records may be that much out of order: so many writers reserve at a time.
const WRITERS: u64 = 4096;

/// The beginning of the memory.
#[repr(C)]
pub struct Head {
    /// cells reserved so far
    next: AtomicU64,
    /// records so far
    records: AtomicU64,
}

/// A cell.
#[repr(C)]
pub struct Cell {
    /// its number in all plus one, once it is filled
    tag: AtomicU64,
    /// which part of a record this is, of how many, and how many bytes of it are here: 16 bits each
    shape: AtomicU64,
    /// number of the record
    record: AtomicU64,
    /// over all the others
    sum: AtomicU64,
    data: [AtomicU64; WORDS],
}

// SAFETY: repr(C), integer atomics only.
#[allow(unsafe_code)]
unsafe impl Shared for Head {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Shared for Cell {}

/// A cell, copied and checked.
struct Copied {
    part: usize,
    parts: usize,
    len: usize,
    record: u64,
    data: [u64; WORDS],
}

fn shape(part: usize, parts: usize, len: usize) -> u64 {
    part as u64 | (parts as u64) << 16 | (len as u64) << 32
}

fn sum(tag: u64, shape: u64, record: u64, data: &[u64; WORDS]) -> u64 {
    let mix = |sum: u64, word: &u64| {
        (sum ^ word)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
    };
    let first = [tag, shape, record].iter().fold(0, mix);
    data.iter().fold(first, mix)
}

impl Cell {
    fn fill(&self, at: u64, shape: u64, record: u64, bytes: &[u8]) {
        let mut data = [0; WORDS];
        for (word, bytes) in data.iter_mut().zip(bytes.chunks(8)) {
            let mut eight = [0; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(eight);
        }
        let tag = at.wrapping_add(1);
        for (to, word) in self.data.iter().zip(&data) {
            to.store(*word, Ordering::Relaxed);
        }
        self.shape.store(shape, Ordering::Relaxed);
        self.record.store(record, Ordering::Relaxed);
        self.sum
            .store(sum(tag, shape, record, &data), Ordering::Relaxed);
        // SYNC POINT: Release pairs with the Acquire in `copy`.
        self.tag.store(tag, Ordering::Release);
    }

    /// Has cell number `at` been filled, and is it still that one?
    fn is(&self, at: u64) -> bool {
        self.tag.load(Ordering::Relaxed) == at.wrapping_add(1)
    }

    /// `Err`: it was being written.
    fn copy(&self, at: u64) -> Option<Result<Copied, Torn>> {
        let tag = at.wrapping_add(1);
        // SYNC POINT: Acquire pairs with the Release in `fill`.
        if self.tag.load(Ordering::Acquire) != tag {
            return None;
        }
        let mut data = [0; WORDS];
        for (to, word) in data.iter_mut().zip(&self.data) {
            *to = word.load(Ordering::Relaxed);
        }
        let (shape, record) = (
            self.shape.load(Ordering::Relaxed),
            self.record.load(Ordering::Relaxed),
        );
        // A writer that has come round meanwhile leaves a mixture.
        if self.sum.load(Ordering::Relaxed) != sum(tag, shape, record, &data) {
            return Some(Err(Torn));
        }
        let field = |shift: u32| (shape >> shift & 0xffff) as usize;
        Some(Ok(Copied {
            part: field(0),
            parts: field(16),
            len: field(32).min(DATA),
            record,
            data,
        }))
    }
}

/// A cell that was overwritten while it was copied.
struct Torn;

/// The memory of a trace, mapped.
#[derive(Debug)]
pub struct Trace {
    map: Mapping,
    /// a power of two
    cells: u64,
}

impl Trace {
    /// Bytes of a memory of so many cells, which have to be a power of two.
    pub const fn bytes(cells: usize) -> usize {
        HEAD + cells * size_of::<Cell>()
    }

    /// Maps the memory; `None` if it has not room for as many cells as any power of two, or cannot be mapped.
    pub fn open(memfd: &Memfd) -> Option<Self> {
        let cells = memfd.len().checked_sub(HEAD)? / size_of::<Cell>();
        if cells == 0 {
            return None;
        }
        let map = Mapping::new(memfd).ok()?;
        Some(Self {
            map,
            cells: 1 << cells.ilog2(),
        })
    }

    /// Most bytes of a record: an eighth of the memory.
    pub fn most(&self) -> usize {
        (self.cells as usize / 8).clamp(1, 4096) * DATA
    }

    /// A cell that is not filled while so many behind it are reserved is not waited for: they would be overwritten.
    fn far(&self) -> u64 {
        (self.cells / 4).max(1)
    }

    fn head(&self) -> Option<&Head> {
        self.map.at(0)
    }

    fn cell(&self, at: u64) -> Option<&Cell> {
        let i = (at & (self.cells - 1)) as usize;
        self.map.at(HEAD + i * size_of::<Cell>())
    }

    /// Adds a record. False if it is too long.
    pub fn put(&self, record: &[u8]) -> bool {
        let parts = record.len().div_ceil(DATA).max(1);
        let Some(head) = self.head().filter(|_| record.len() <= self.most()) else {
            return false;
        };
        let number = head.records.fetch_add(1, Ordering::Relaxed);
        let first = head.next.fetch_add(parts as u64, Ordering::Relaxed);
        for part in 0..parts {
            let bytes = &record[part * DATA..record.len().min((part + 1) * DATA)];
            let at = first.wrapping_add(part as u64);
            if let Some(cell) = self.cell(at) {
                cell.fill(at, shape(part, parts, bytes.len()), number, bytes);
            }
        }
        true
    }
}

/// Reads a trace from its beginning.
#[derive(Debug, Default)]
pub struct Reader {
    /// the cell that comes next
    at: u64,
    /// records read
    seen: u64,
    /// the highest number of a record so far, plus one
    top: u64,
    /// cells that were passed over
    passed: u64,
    /// records known to have been missed, and those of which the caller knows
    missed: u64,
    told: u64,
    /// when this cell was found reserved and not filled
    waiting: Option<(u64, u64)>,
}

impl Reader {
    /// Puts the next record into `record`. False if there is none yet. `now`: monotonic, in nanoseconds.
    pub fn take(&mut self, trace: &Trace, now: u64, record: &mut Vec<u8>) -> bool {
        // Enough for all there is; a memory that changes all the time comes again.
        for _ in 0..=trace.cells {
            let Some(ahead) = self.ahead(trace).filter(|n| *n > 0) else {
                return false;
            };
            match self.copy(trace, record) {
                Some(Ok((cells, number))) if cells <= ahead => {
                    self.count(number);
                    self.at = self.at.wrapping_add(cells);
                    return true;
                }
                Some(_) => self.pass(1),
                None if ahead > trace.far() || self.is_late(now) => {
                    let end = self.at.wrapping_add(ahead);
                    self.pass(1);
                    while self.at != end && !trace.cell(self.at).is_some_and(|c| c.is(self.at)) {
                        self.pass(1);
                    }
                }
                None => return false,
            }
        }
        false
    }

    /// Cells that are reserved from here on. What was overwritten already is passed over, with as much again so that it
    /// is not overwritten in the next moment.
    fn ahead(&mut self, trace: &Trace) -> Option<u64> {
        let next = trace.head()?.next.load(Ordering::Acquire);
        let ahead = next.wrapping_sub(self.at);
        if ahead <= trace.cells {
            return Some(ahead);
        }
        let kept = (trace.cells / 2).max(1);
        self.pass(ahead - kept);
        Some(kept)
    }

    fn pass(&mut self, cells: u64) {
        self.at = self.at.wrapping_add(cells);
        self.passed = self.passed.saturating_add(cells);
    }

    /// Copies the record that begins here, and says how many cells it has, and its number. `Some(Err)`: there is
    /// none that could be read; `None`: it is not there yet.
    fn copy(&self, trace: &Trace, record: &mut Vec<u8>) -> Option<Result<(u64, u64), Torn>> {
        record.clear();
        let mut of = None;
        let mut part = 0;
        loop {
            let at = self.at.wrapping_add(part as u64);
            let Ok(copied) = trace.cell(at)?.copy(at)? else {
                return Some(Err(Torn));
            };
            let of = *of.get_or_insert((copied.parts, copied.record));
            let is_next = copied.part == part && (copied.parts, copied.record) == of;
            if !is_next || record.len() + copied.len > trace.most() {
                return Some(Err(Torn));
            }
            let bytes = copied.data.iter().flat_map(|word| word.to_le_bytes());
            record.extend(bytes.take(copied.len));
            part += 1;
            if part >= of.0 {
                return Some(Ok((part as u64, of.1)));
            }
        }
    }

    /// A record was read.
    fn count(&mut self, number: u64) {
        self.seen += 1;
        // Each record that was missed had a cell at least. Another number is nonsense.
        let most = self.seen.saturating_add(self.passed);
        if number < most.saturating_add(WRITERS) {
            self.top = self.top.max(number.saturating_add(1));
        }
        let missed = self.top.saturating_sub(self.seen).min(self.passed);
        self.missed = self.missed.max(missed);
    }

    fn is_late(&mut self, now: u64) -> bool {
        match self.waiting {
            Some((at, since)) if at == self.at => now.saturating_sub(since) >= PATIENCE,
            _ => {
                self.waiting = Some((self.at, now));
                false
            }
        }
    }

    /// Records that were missed since this was asked last, as far as that is known by now.
    pub fn missed(&mut self) -> u64 {
        let news = self.missed.saturating_sub(self.told);
        self.told = self.told.max(self.missed);
        news
    }

    /// Nothing more is going to be read: what else was missed.
    pub fn missed_in_the_end(&mut self, trace: &Trace) -> u64 {
        let records = trace
            .head()
            .map_or(0, |h| h.records.load(Ordering::Acquire));
        let left = self.ahead(trace).unwrap_or(0);
        let most = self.passed.saturating_add(left);
        let missed = records.saturating_sub(self.seen).min(most);
        self.missed = self.missed.max(missed);
        self.missed()
    }

    /// Is there something that has not been read, however much of it?
    pub fn is_behind(&self, trace: &Trace) -> bool {
        let next = trace.head().map(|h| h.next.load(Ordering::Relaxed));
        next.is_some_and(|next| next != self.at)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
