//! Which rings are traced: their krings have the number of the trace.

use std::collections::BTreeMap;

use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

use rustix::io::Errno;

use super::adapter::{AdapterId, DIRS, Kind, Name};
use super::{Refusal, Result, World};
use uvale_engine::TX;
use uvale_shared::ctl::Kring;

/// A trace that is on.
#[derive(Debug)]
pub(super) struct Trace {
    number: u32,
    /// of a port, or a switch
    name: Name,
    /// packets that have left no record, on rings that are not of it any more
    untraced: u64,
}

impl World {
    /// The trace of something that is traced under `name` as well: its number.
    pub fn traced(&self, name: &[u8]) -> Option<u32> {
        let is_of = |id: &AdapterId| self.is_named(*id, name);
        let those = self.adapters.iter().map(|(id, _)| id).filter(is_of);
        let on = those.filter_map(|id| self.trace_of(id)).next();
        // A port of a trace may be closed, and come back.
        let is_same =
            |t: &&Trace| t.name == name || is_port_of(&t.name, name) || is_port_of(name, &t.name);
        on.or_else(|| Some(self.traces.iter().find(is_same)?.number))
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
        self.traces.push(Trace {
            number,
            name,
            untraced: 0,
        });
        self.retrace();
        Ok(())
    }

    /// That trace is over. Returns how many packets have left no record, because a process could not get it.
    pub fn end_trace(&mut self, number: u32) -> u64 {
        let Some(at) = self.traces.iter().position(|t| t.number == number) else {
            return 0;
        };
        let trace = self.traces.remove(at);
        trace.untraced + self.retrace().get(&number).copied().unwrap_or(0)
    }

    /// Ports may have come or gone: each ring gets the number that it is to have.
    /// Returns the packets without a record on rings that are not of their trace any more, by number of the trace.
    fn retrace(&mut self) -> BTreeMap<u32, u64> {
        let mut lost = BTreeMap::new();
        for (id, na) in self.adapters.iter() {
            let number = self.trace_of(id).unwrap_or(0);
            for dir in DIRS {
                // What arrives is traced where it comes from, and that is nowhere else but with a NIC.
                let number = match dir == TX || na.nic().is_some() {
                    true => number,
                    false => 0,
                };
                let krings = na.krings(dir).iter().map(|k| self.kring(k.index));
                for k in krings.filter(|k| k.trace.load(Relaxed) != number) {
                    let (before, untraced) = untraced(k);
                    *lost.entry(before).or_default() += untraced;
                    k.trace.store(number, Relaxed);
                    k.changed();
                }
            }
        }
        for trace in &mut self.traces {
            trace.untraced += lost.remove(&trace.number).unwrap_or(0);
        }
        lost
    }

    /// Ports may have come or gone.
    pub(super) fn rings_have_changed(&mut self) {
        if !self.traces.is_empty() {
            self.retrace();
        }
    }

    /// Rings go.
    pub(super) fn forget_traced(&mut self, krings: Range<u32>) {
        for index in krings {
            let (number, packets) = untraced(self.kring(index));
            if let Some(trace) = self.traces.iter_mut().find(|t| t.number == number) {
                trace.untraced += packets;
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

/// Is that the name of a port of that switch?
fn is_port_of(port: &[u8], switch: &[u8]) -> bool {
    port.strip_prefix(switch)
        .is_some_and(|rest| rest.starts_with(b":"))
}

/// The trace of a ring, and its packets that have left no record; those are not told again.
fn untraced(k: &Kring) -> (u32, u64) {
    let number = k.trace.swap(0, Relaxed);
    (number, k.untraced.swap(0, Relaxed))
}
