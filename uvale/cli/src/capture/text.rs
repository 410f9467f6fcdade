//! Captures as text: a line a packet.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use super::super::table::printable;
use super::record::{self, Record, Seen, Totals};

/// Lines for people.
#[derive(Default)]
pub struct Text {
    names: Vec<String>,
}

impl Record for Text {
    fn begin(&mut self, _to: &mut Vec<u8>) {}

    fn interface(&mut self, name: &str, _description: &str, _to: &mut Vec<u8>) -> u32 {
        self.names.push(printable(name));
        self.names.len() as u32 - 1
    }

    fn packet(&mut self, at: u32, seen: &Seen<'_>, to: &mut Vec<u8>) {
        if seen.missed > 0 {
            to.extend_from_slice(format!("  {}\n", record::missed(seen.missed)).as_bytes());
        }
        let name = self.names.get(at as usize).map_or("?", String::as_str);
        let direction = if seen.is_sent { "tx" } else { "rx" };
        let (time, what) = (time(seen.nanos), uvale_frame::summary(seen.data));
        let mut line = format!(
            "{time} {name} {direction} {what}, {} bytes",
            seen.data.len()
        );
        for note in seen.notes {
            let _ = write!(line, " ({note})");
        }
        line.push('\n');
        to.extend_from_slice(line.as_bytes());
    }

    fn end(&mut self, _at: u32, _totals: &Totals, _to: &mut Vec<u8>) {}
}

/// The time of day, to the nanosecond.
pub fn time(nanos: u64) -> String {
    let local = uvale_system::clock::rfc3339(UNIX_EPOCH + Duration::from_nanos(nanos));
    let seconds = local.get(11..19).unwrap_or("?");
    format!("{seconds}.{:09}", nanos % 1_000_000_000)
}
