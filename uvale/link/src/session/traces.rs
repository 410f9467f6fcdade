//! Traces: those that this process has begun, and those that it leaves records for.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use rustix::fd::AsFd;
use rustix::io::Errno;

use super::{Session, done};
use crate::channel::call;
use crate::proto::{Call, Reply, refused};
use uvale_engine::trace::Tracing;
use uvale_shared::shm::Memfd;
use uvale_shared::trace::Trace;
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;
use uvale_system::who::Who;

/// Traces that are kept in mind.
const MOST: usize = 4;

/// The traces that were asked for last, by number; `None`: it is over, or cannot be had.
#[derive(Default)]
pub(super) struct Traces(VecDeque<(u32, Option<Arc<Tracing>>)>);

impl Session {
    /// Has the packets of a port traced, or those of all ports of a switch, until the session ends.
    ///
    /// # Errors
    /// There is none of that name, or somebody traces it.
    pub fn begin_trace(&self, name: &str, snaplen: u32) -> Result<Arc<Tracing>, Refusal> {
        let name = name.to_owned();
        let begin = Call::BeginTrace { name, snaplen };
        let (reply, fds) = call(self.connection.as_fd(), &begin)?;
        tracing(reply, fds).map(Arc::new)
    }

    /// Ends what [`Session::begin_trace`] has begun.
    ///
    /// # Errors
    /// The daemon is gone.
    pub fn end_trace(&self) -> Result<(), Refusal> {
        done(call(self.connection.as_fd(), &Call::EndTrace)?.0)
    }

    /// Where the records of trace `number` go. The daemon is asked once.
    pub(super) fn known_trace(&self, number: u32) -> Option<Arc<Tracing>> {
        let known = |traces: &Traces| {
            let mut all = traces.0.iter();
            all.find(|(of, _)| *of == number).map(|(_, t)| t.clone())
        };
        let traces = self.traces.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known(&traces) {
            return known;
        }
        drop(traces);
        let mut traces = self.traces.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known(&traces) {
            return known;
        }
        let answer = call(self.connection.as_fd(), &Call::Trace(number));
        let found = answer
            .map_err(Refusal::from)
            .and_then(|(reply, fds)| tracing(reply, fds));
        let found = found.ok().map(Arc::new);
        // The numbers of traces count up: what is over is not asked for again.
        traces.0.truncate(MOST - 1);
        traces.0.push_front((number, found.clone()));
        found
    }
}

fn tracing(reply: Reply, fds: Vec<Fd>) -> Result<Tracing, Refusal> {
    let Reply::Trace { number, snaplen } = reply else {
        return Err(refused(reply));
    };
    let memory = Trace::open(&Memfd::parts_from_peer(fds)?).ok_or(Errno::NOMEM)?;
    Ok(Tracing {
        number,
        memory,
        snaplen,
        who: Who::own(),
    })
}
