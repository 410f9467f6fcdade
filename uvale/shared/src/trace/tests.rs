use super::*;
use proptest::prelude::*;

fn memory(cells: usize) -> Memfd {
    Memfd::create("test-trace", Trace::bytes(cells)).unwrap()
}

fn trace(cells: usize) -> Trace {
    Trace::open(&memory(cells)).unwrap()
}

fn all(reader: &mut Reader, trace: &Trace, now: u64) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let mut record = Vec::new();
    while reader.take(trace, now, &mut record) {
        records.push(record.clone());
    }
    records
}

#[test]
fn what_is_put_is_read_in_order() {
    let t = trace(64);
    let mut reader = Reader::default();
    let records = [
        vec![],
        vec![1],
        vec![2; DATA],
        vec![3; DATA + 1],
        vec![4; 3 * DATA],
    ];
    for round in 0..20 {
        records.iter().for_each(|r| assert!(t.put(r)));
        assert_eq!(all(&mut reader, &t, 0), records, "round {round}");
    }
    assert_eq!(reader.missed(), 0);
    assert_eq!(reader.missed_in_the_end(&t), 0);
    assert!(!t.put(&vec![0; t.most() + 1]));
}

#[test]
fn what_was_overwritten_is_counted() {
    let t = trace(64);
    let mut reader = Reader::default();
    t.put(&[0]);
    assert_eq!(all(&mut reader, &t, 0).len(), 1);
    for i in 1..=200u8 {
        t.put(&[i]);
    }
    let read = all(&mut reader, &t, 0);
    assert_eq!(read.last(), Some(&vec![200]));
    assert_eq!(reader.missed(), 200 - read.len() as u64);
    assert_eq!(reader.missed(), 0, "told once");
    for i in 0..100u8 {
        t.put(&[i]);
    }
    assert_eq!(reader.missed_in_the_end(&t), 100);
}

/// A writer that died has reserved cells, and published none or some of them.
#[test]
fn the_dead_spoil_their_own_record_alone() {
    for filled in 0..3 {
        let t = trace(64);
        let mut reader = Reader::default();
        t.put(b"before");
        let head = t.head().unwrap();
        let number = head.records.fetch_add(1, Ordering::Relaxed);
        let first = head.next.fetch_add(3, Ordering::Relaxed);
        for part in 0..filled {
            let at = first + part as u64;
            t.cell(at)
                .unwrap()
                .fill(at, shape(part, 3, DATA), number, &[7; DATA]);
        }
        t.put(b"after");
        assert_eq!(all(&mut reader, &t, 1), [b"before"]);
        assert_eq!(all(&mut reader, &t, PATIENCE), Vec::<Vec<u8>>::new());
        let late = all(&mut reader, &t, 1 + PATIENCE);
        let later = all(&mut reader, &t, 2 + 3 * PATIENCE);
        assert_eq!([late, later].concat(), [b"after"], "{filled} cells filled");
        assert_eq!(reader.missed(), 1);
    }
}

/// While others go on, nobody waits for a writer that died until those have come round.
#[test]
fn the_dead_cost_the_others_nothing_at_any_rate() {
    let t = trace(64);
    let mut reader = Reader::default();
    let head = t.head().unwrap();
    head.records.fetch_add(1, Ordering::Relaxed);
    head.next.fetch_add(3, Ordering::Relaxed);
    let mut read = 0;
    for i in 0..200u8 {
        t.put(&[i]);
        read += all(&mut reader, &t, 1).len();
    }
    assert_eq!((read, reader.missed()), (200, 1));
}

#[test]
fn a_record_is_what_one_writer_wrote() {
    let t = trace(64);
    let writers = 4;
    std::thread::scope(|s| {
        for w in 0..writers {
            let t = &t;
            s.spawn(move || (0..20_000u32).for_each(|i| assert!(t.put(&record(w, i)))));
        }
        let (mut reader, mut bytes) = (Reader::default(), Vec::new());
        let (mut seen, mut missed) = (0, 0);
        let mut last = vec![None; writers as usize];
        let mut now = 0;
        while seen + missed < u64::from(writers) * 20_000 {
            now += PATIENCE / 100_000;
            if !reader.take(&t, now, &mut bytes) {
                let is_over = t.head().unwrap().records.load(Ordering::Relaxed)
                    == u64::from(writers) * 20_000;
                if is_over && !reader.is_behind(&t) {
                    missed += reader.missed_in_the_end(&t);
                }
                continue;
            }
            let (w, i) = (
                bytes[0],
                u32::from_le_bytes(bytes[1..5].try_into().unwrap()),
            );
            assert_eq!(bytes, record(w, i));
            assert!(last[w as usize] < Some(i), "in order");
            last[w as usize] = Some(i);
            seen += 1;
        }
        assert_eq!(seen + missed, u64::from(writers) * 20_000);
    });
}

fn record(writer: u8, i: u32) -> Vec<u8> {
    let mut record = vec![writer];
    record.extend(i.to_le_bytes());
    record.extend(std::iter::repeat_n(i as u8, (i % 500) as usize));
    record
}

proptest! {
    /// Whatever is in the memory: the reader ends, and says nothing absurd.
    #[test]
    fn any_memory_is_survived(
        words: Vec<(usize, u64)>,
        next in prop_oneof![0..200u64, any::<u64>()],
        cells in proptest::collection::vec((0..64u64, 0..5u64, 0..5u64, 0..300u64, any::<u64>()), 0..80),
    ) {
        let t = trace(64);
        let head = t.head().unwrap();
        head.next.store(next, Ordering::Relaxed);
        for (at, part, parts, len, number) in cells {
            let at = next.wrapping_sub(at);
            t.cell(at).unwrap().fill(at, part | parts << 16 | len << 32, number, &[1; DATA]);
        }
        let all_words: &[AtomicU64] = t.map.slice_at(0, t.map.len() / 8).unwrap();
        for (at, word) in words {
            all_words[at % all_words.len()].store(word, Ordering::Relaxed);
        }
        let mut reader = Reader::default();
        for turn in 0..8 {
            for record in all(&mut reader, &t, turn * PATIENCE) {
                prop_assert!(record.len() <= t.most());
            }
            let missed = reader.missed();
            prop_assert!(missed <= reader.passed);
        }
    }
}
