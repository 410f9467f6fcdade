//! The forms that a trace is written in.

use std::collections::BTreeMap;

use super::super::capture::output::Output;
use super::super::capture::pcapng::PcapNg;
use super::super::capture::record::{Record as _, Seen};
use super::super::capture::text::time;
use super::super::table::printable;
use super::{Told, json, words};

/// A form.
pub enum Form {
    /// some lines a packet
    Text,
    /// a line a packet
    Json,
    /// a packet a packet
    PcapNg {
        /// writes it
        pcapng: Box<PcapNg>,
        /// its interfaces, by the names of ports
        interfaces: BTreeMap<String, u32>,
        /// nothing has been written
        is_new: bool,
    },
}

impl Form {
    /// For people.
    pub fn text() -> Self {
        Self::Text
    }

    /// For programs.
    pub fn json() -> Self {
        Self::Json
    }

    /// For Wireshark.
    pub fn pcapng(snaplen: u32) -> Self {
        Self::PcapNg {
            pcapng: Box::new(PcapNg::new(snaplen)),
            interfaces: BTreeMap::new(),
            is_new: true,
        }
    }

    /// The beginning, which is written even if nothing follows.
    pub fn begin(&mut self, output: &mut Output) {
        if let Self::PcapNg { pcapng, is_new, .. } = self
            && core::mem::take(is_new)
        {
            let mut bytes = Vec::new();
            pcapng.begin(&mut bytes);
            output.add(&mut bytes, false);
        }
    }

    /// Writes what has happened to a packet.
    pub fn write(&mut self, told: &Told<'_>, output: &mut Output) {
        self.begin(output);
        let mut bytes = Vec::new();
        match self {
            Self::Text => text(told, &mut bytes),
            Self::Json => {
                bytes = json::record(told).to_string().into_bytes();
                bytes.push(b'\n');
            }
            Self::PcapNg {
                pcapng, interfaces, ..
            } => {
                let name = printable(&told.record.ring.port);
                let number = interfaces.entry(name).or_insert_with_key(|name| {
                    let mut bytes = Vec::new();
                    let number = pcapng.interface(name, "traced", &mut bytes);
                    output.add(&mut bytes, false);
                    number
                });
                packet(told, pcapng, *number, &mut bytes);
            }
        }
        output.add(&mut bytes, true);
    }
}

fn text(told: &Told<'_>, to: &mut Vec<u8>) {
    let record = told.record;
    let mut lines = Vec::new();
    if told.missed > 0 {
        lines.push(missed(told.missed));
    }
    lines.push(format!("{} {}", time(record.time), words::head(record)));
    if record.slots > 0 {
        let summary = uvale_frame::summary(&record.data);
        lines.push(format!("    {}", printable(&summary)));
    }
    let sentences = words::sentences(told).into_iter();
    lines.extend(sentences.map(|sentence| format!("    {sentence}")));
    for line in lines {
        to.extend_from_slice(line.as_bytes());
        to.push(b'\n');
    }
}

fn missed(n: u64) -> String {
    match n {
        1 => "(1 packet before this one was missed: the trace was too slow)".to_owned(),
        n => format!("({n} packets before this one were missed: the trace was too slow)"),
    }
}

fn packet(told: &Told<'_>, pcapng: &mut PcapNg, interface: u32, to: &mut Vec<u8>) {
    let record = told.record;
    let mut notes = vec![words::head(record)];
    notes.extend(words::sentences(told));
    let seen = Seen {
        nanos: record.time,
        is_sent: record.is_tx,
        data: &record.data,
        len: (record.len as usize).max(record.data.len()),
        missed: told.missed,
        notes: &notes,
    };
    pcapng.packet(interface, &seen, to);
}

#[cfg(test)]
mod tests;
