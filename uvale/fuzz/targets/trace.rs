//! Whatever somebody writes into the memory of a trace: the reader ends, finds records or nothing, and goes on with
//! what is written properly.
#![no_main]

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use libfuzzer_sys::fuzz_target;
use uvale_engine::trace::Record;
use uvale_shared::shm::{Mapping, Memfd};
use uvale_shared::trace::{PATIENCE, Reader, Trace};

/// Cells of the memory.
const CELLS: usize = 16;

#[derive(arbitrary::Arbitrary, Debug)]
enum Step<'a> {
    Put(&'a [u8]),
    Word(u16, u64),
    Read(u8),
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let memfd = Memfd::create("fuzz-trace", Trace::bytes(CELLS)).unwrap();
    let (map, trace) = (Mapping::new(&memfd).unwrap(), Trace::open(&memfd).unwrap());
    let words: &[AtomicU64] = map.slice_at(0, map.len() / 8).unwrap();
    let (mut reader, mut record, mut now) = (Reader::default(), Vec::new(), 0);
    let mut read = |now| {
        let most = 2 * CELLS;
        for _ in 0..most {
            if !reader.take(&trace, now, &mut record) {
                break;
            }
            assert!(record.len() <= trace.most());
            if let Some(decoded) = Record::decode(&record) {
                let _ = decoded.encode();
            }
        }
        reader.missed();
    };
    for step in steps {
        match step {
            Step::Put(bytes) => {
                trace.put(bytes);
            }
            // The two counters, and the cells behind the first page.
            Step::Word(at @ 0..=1, word) => words[usize::from(at)].store(word, Relaxed),
            Step::Word(at, word) => {
                let cells = &words[512..];
                cells[usize::from(at) % cells.len()].store(word, Relaxed);
            }
            Step::Read(later) => {
                now += u64::from(later) * PATIENCE / 64;
                read(now);
            }
        }
    }
    for _ in 0..4 {
        now += PATIENCE;
        read(now);
    }
    let _ = reader.missed_in_the_end(&trace);
});
