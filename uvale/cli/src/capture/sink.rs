//! A capture that is being written: its form, where it goes, and what it has come to.

use super::output::{Failed, Output};
use super::record::{Record, Seen};
use super::tap::Tap;

/// See above.
pub struct Sink {
    form: Box<dyn Record>,
    output: Output,
    record: Vec<u8>,
    captured: u64,
    /// of ports that are not captured any more
    missed: u64,
}

impl Sink {
    /// Begins it.
    pub fn new(mut form: Box<dyn Record>, mut output: Output) -> Self {
        let mut record = Vec::new();
        form.begin(&mut record);
        output.add(&mut record, false);
        Self {
            form,
            output,
            record,
            captured: 0,
            missed: 0,
        }
    }

    /// A port that is captured from now on; answers with its number.
    pub fn interface(&mut self, name: &str, description: &str) -> u32 {
        let number = self.form.interface(name, description, &mut self.record);
        self.output.add(&mut self.record, false);
        number
    }

    /// Adds a packet. False if there is no room for another one.
    pub fn packet(&mut self, at: u32, seen: &Seen<'_>) -> bool {
        self.form.packet(at, seen, &mut self.record);
        self.output.add(&mut self.record, true);
        self.captured += 1;
        self.has_room()
    }

    /// A port that is not captured any more.
    pub fn end(&mut self, tap: &Tap) {
        let totals = tap.totals();
        self.missed = self.missed.saturating_add(totals.missed);
        self.form.end(tap.interface(), &totals, &mut self.record);
        self.output.add(&mut self.record, false);
    }

    /// Is there room, or is the reader too slow?
    pub fn has_room(&self) -> bool {
        self.output.has_room()
    }

    /// Where it goes.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Writes what can be written without waiting; see [`Output::push`].
    pub fn push(&mut self) -> Result<bool, Failed> {
        self.output.push()
    }

    /// Packets captured.
    pub fn captured(&self) -> u64 {
        self.captured
    }

    /// Packets missed of those ports that have ended.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}
