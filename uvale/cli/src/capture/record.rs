//! What is recorded, and the two forms of it.

use std::time::{SystemTime, UNIX_EPOCH};

/// A packet as a monitor has seen it.
pub struct Seen<'a> {
    /// when it was taken from the monitor's ring, in nanoseconds since 1970
    pub nanos: u64,
    /// the port's program has sent it; otherwise it has arrived for it
    pub is_sent: bool,
    /// its bytes, from the destination address on, as far as they are known
    pub data: &'a [u8],
    /// how many it has
    pub len: usize,
    /// packets of this port that the capture missed before it
    pub missed: u64,
    /// what else is known about it, or has happened before it: a line each
    pub notes: &'a [String],
}

/// What there is to say of a port in the end.
pub struct Totals {
    /// packets captured
    pub captured: u64,
    /// packets that found no room in the monitor's ring
    pub missed: u64,
    /// what the port has dropped meanwhile, in words
    pub dropped: Option<String>,
}

/// A form of captures. Each call appends one record to `to`.
pub trait Record {
    /// The beginning.
    fn begin(&mut self, to: &mut Vec<u8>);

    /// A port that is captured from now on; answers with its number.
    fn interface(&mut self, name: &str, description: &str, to: &mut Vec<u8>) -> u32;

    /// A packet at interface number `at`.
    fn packet(&mut self, at: u32, seen: &Seen<'_>, to: &mut Vec<u8>);

    /// A port that is not captured any more.
    fn end(&mut self, at: u32, totals: &Totals, to: &mut Vec<u8>);
}

/// Now, in nanoseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

/// A packet's comment on what was missed.
pub fn missed(n: u64) -> String {
    match n {
        1 => "1 packet before this one was missed: the capture was too slow".to_owned(),
        n => format!("{n} packets before this one were missed: the capture was too slow"),
    }
}
