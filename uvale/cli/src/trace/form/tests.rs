//! Whatever a record says: all forms end, and are not much longer than it.

use proptest::prelude::*;
use uvale_engine::trace::{Event, Record, Ring};

use super::super::names::Names;
use super::*;

/// Lengths of what is written of a record, form by form.
fn lengths(record: &Record) -> [usize; 3] {
    let names = Names::none();
    let told = Told {
        record,
        names: &names,
        missed: 0,
    };
    let (mut lines, mut packets) = (Vec::new(), Vec::new());
    text(&told, &mut lines);
    packet(&told, &mut PcapNg::new(64), 0, &mut packets);
    [
        lines.len(),
        json::record(&told).to_string().len(),
        packets.len(),
    ]
}

fn woke(client: u32) -> Event {
    let ring = Ring::default();
    Event::Woke { ring, client }
}

fn copied(slot: u32) -> Event {
    Event::Copied {
        to: Ring::default(),
        slot,
        slots: 1,
        empty: 0,
        converted: false,
    }
}

/// As many copies to one ring, and as many sleepers, as a record can have.
#[test]
fn many_copies_and_many_sleepers() {
    let most = Record::EVENTS as u32 / 2;
    let events = (0..most).map(copied).chain((0..most).map(woke)).collect();
    let record = Record {
        slots: 1,
        events,
        ..Record::default()
    };
    let lengths = lengths(&record);
    assert!(lengths.iter().all(|len| *len < 1 << 20), "{lengths:?}");
}

#[test]
fn eight_sleepers_have_names() {
    let names = Names::none();
    let said = |events: Vec<Event>| {
        let record = Record {
            events,
            ..Record::default()
        };
        let told = Told {
            record: &record,
            names: &names,
            missed: 0,
        };
        words::sentences(&told)
    };
    let of = |n: u32| [copied(0)].into_iter().chain((1..=n).map(woke)).collect();
    let eight = "; woke description 1, description 2, description 3, description 4, description 5, description 6, \
                 description 7, description 8";
    let all = said(of(8));
    assert!(all.len() == 1 && all[0].ends_with(eight), "{all:?}");
    let all = said(of(11));
    let more = format!("{eight} and 3 more");
    assert!(all.len() == 1 && all[0].ends_with(&more), "{all:?}");
    let mut twice: Vec<Event> = of(3);
    twice.insert(1, copied(1));
    let all = said(twice);
    assert!(
        all.len() == 2 && !all[1].contains(';'),
        "told once: {all:?}"
    );
    assert!(said(of(0))[0].ends_with("; nobody slept there"));
    assert_eq!(said(vec![woke(3)]), ["woke description 3 on "]);
}

proptest! {
    /// A record of any bytes that is one.
    #[test]
    fn any_record_is_written(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        kinds in proptest::collection::vec((0u8..17, any::<[u8; 6]>()), 0..300),
    ) {
        let record = Record { slots: 1, data: bytes, ..Record::default() };
        let mut encoded = record.encode();
        // No events are one byte: others take its place.
        encoded.pop();
        encoded.extend([kinds.len() as u8 & 0x7f]);
        encoded.extend(kinds.iter().take(kinds.len() & 0x7f).flat_map(|(kind, rest)| {
            let mut event = vec![*kind];
            event.extend(rest.map(|b| b & 0x1f));
            event
        }));
        let longest = 4096 + 256 * encoded.len();
        for record in [Some(record), Record::decode(&encoded)].into_iter().flatten() {
            let lengths = lengths(&record);
            prop_assert!(lengths.iter().all(|len| *len < longest), "{lengths:?}");
        }
    }
}
