//! Which rings are traced: their krings have the number of the trace.

use core::sync::atomic::Ordering::Relaxed;

use rustix::io::Errno;

use super::adapter::{AdapterId, DIRS, Kind, Name};
use super::{Refusal, Result, World};
use uvale_engine::TX;

/// A trace that is on.
#[derive(Debug)]
pub(super) struct Trace {
    number: u32,
    /// of a port, or a switch
    name: Name,
}

impl World {
    /// The trace of something that is traced under `name` as well: its number.
    pub fn traced(&self, name: &[u8]) -> Option<u32> {
        let is_of = |id: &AdapterId| self.is_named(*id, name);
        let those = self.adapters.iter().map(|(id, _)| id).filter(is_of);
        those.filter_map(|id| self.trace_of(id)).next()
    }

    /// From now on the packets of the port `name`, or of all ports of that switch, are traced as number `number`, those
    /// of ports that come later, too.
    pub fn begin_trace(&mut self, number: u32, name: &[u8]) -> Result<()> {
        if !self.adapters.iter().any(|(id, _)| self.is_named(id, name)) {
            let name = String::from_utf8_lossy(name);
            let why = format!("there is no port or switch {name}");
            return Err(Refusal::new(Errno::NOENT, why));
        }
        let name = name.to_vec();
        self.traces.push(Trace { number, name });
        self.retrace();
        Ok(())
    }

    /// That trace is over.
    pub fn end_trace(&mut self, number: u32) {
        self.traces.retain(|trace| trace.number != number);
        self.retrace();
    }

    /// Ports may have come or gone: each ring gets the number that it is to have.
    pub(super) fn retrace(&self) {
        for (id, na) in self.adapters.iter() {
            let number = self.trace_of(id).unwrap_or(0);
            for dir in DIRS {
                // What arrives is traced where it comes from, and that is nowhere else but with a NIC.
                let number = match dir == TX || na.nic().is_some() {
                    true => number,
                    false => 0,
                };
                let krings = na.krings(dir).iter().map(|k| self.kring(k.index));
                krings.for_each(|k| k.trace.store(number, Relaxed));
            }
        }
    }

    /// Of several the first counts.
    fn trace_of(&self, id: AdapterId) -> Option<u32> {
        let mut traces = self.traces.iter();
        let trace = traces.find(|trace| self.is_named(id, &trace.name))?;
        Some(trace.number)
    }

    /// Is it the port of that name, or on the switch of that name?
    fn is_named(&self, id: AdapterId, name: &[u8]) -> bool {
        let na = &self.adapters[id];
        match &na.kind {
            Kind::Monitor { .. } | Kind::Null => false,
            Kind::Vale {
                place: Some(place), ..
            } => na.name == name || self.bridges[place.switch as usize].name == name,
            _ => na.name == name,
        }
    }
}
