//! Traces: their memory, and whose they are.

use std::slice;

use rustix::io::Errno;

use super::Daemon;
use super::connection::{Answer, Answered};
use super::log::{Level, log_of};
use uvale_link::proto::Reply;
use uvale_shared::shm::Memfd;
use uvale_shared::trace::{MOST, Trace};
use uvale_system::refusal::Refusal;

/// Cells of a trace's memory: 8 MiB, as far as they are used.
const CELLS: usize = 1 << 15;
/// Bytes of a packet that are recorded at most.
const SNAPLEN: u32 = 1 << 16;

/// A trace, until the session that has begun it ends.
struct Running {
    number: u32,
    /// the session that has begun it, and its connection
    session: u32,
    connection: u64,
    name: String,
    snaplen: u32,
    memfd: Memfd,
}

/// All of them.
#[derive(Default)]
pub(super) struct Traces {
    running: Vec<Running>,
    /// number of the last one
    last: u32,
}

impl Daemon {
    /// The process of `session` wants to see what happens to packets.
    pub(super) fn begin_trace(
        &mut self,
        id: u64,
        session: u32,
        name: String,
        snaplen: u32,
    ) -> Answered<'_> {
        if let Some(number) = self.world.traced(name.as_bytes()) {
            return Err(self.is_traced(&name, number));
        }
        if self.traces.running.len() >= MOST {
            let why = format!("{MOST} traces are on, which is all there can be: end one of them");
            return Err(Refusal::new(Errno::BUSY, why));
        }
        let memfd = Memfd::create("uvale-trace", Trace::bytes(CELLS))
            .map_err(|e| Refusal::new(e, "no memory for the trace"))?;
        // Never reused within the life of what has seen it.
        let number = self.traces.last.wrapping_add(1).max(1);
        self.traces.last = number;
        self.world.begin_trace(number, name.as_bytes())?;
        let who = self.connections.get(&id).and_then(|c| c.who.as_ref());
        log_of(Level::Notice, who, &format!("traces {name}"));
        self.traces.running.push(Running {
            number,
            session,
            connection: id,
            name,
            snaplen: snaplen.min(SNAPLEN),
            memfd,
        });
        self.trace(number)
    }

    fn is_traced(&self, name: &str, number: u32) -> Refusal {
        let running = self.traces.running.iter().find(|t| t.number == number);
        let connection = running.and_then(|t| self.connections.get(&t.connection));
        let who = match connection.and_then(|c| c.who.as_ref()) {
            Some(who) => who.to_string(),
            None => "somebody".to_owned(),
        };
        let what = running.map_or(name, |t| &t.name);
        let why = format!("{who} traces {what}: wait until that is over, or end it");
        Refusal::new(Errno::BUSY, why)
    }

    /// Where the records of a trace go.
    pub(super) fn trace(&mut self, number: u32) -> Answered<'_> {
        let running = self.traces.running.iter().find(|t| t.number == number);
        let running = running.ok_or_else(|| Refusal::new(Errno::NXIO, "that trace is over"))?;
        let reply = Reply::Trace {
            number,
            snaplen: running.snaplen,
        };
        Ok(Answer(
            reply,
            Some(slice::from_ref(&running.memfd.parts()[0])),
        ))
    }

    /// A session has ended what it has begun. It may still read what is there. Returns packets that have left no
    /// record.
    pub(super) fn end_traces(&mut self, session: u32) -> u64 {
        let of_it = self.traces.running.iter().filter(|t| t.session == session);
        of_it.map(|t| self.world.end_trace(t.number)).sum()
    }

    /// A session has ended, and nobody reads its traces any more.
    pub(super) fn drop_traces(&mut self, session: u32) {
        self.end_traces(session);
        let of_it = |t: &mut Running| t.session == session;
        for trace in self.traces.running.extract_if(.., of_it) {
            // Processes may have it mapped for a long time to come.
            let _ = trace.memfd.discard();
        }
    }
}
