//! Traces: those that this process has begun, and those that it leaves records for.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rustix::fd::AsFd;
use rustix::io::Errno;

use super::Session;
use crate::channel::call;
use crate::proto::{Call, Reply, refused};
use uvale_engine::trace::Tracing;
use uvale_shared::shm::Memfd;
use uvale_shared::trace::{MOST, Trace};
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;
use uvale_system::who::Who;

/// How long a trace that cannot be had is not asked for again.
const PAUSE: Duration = Duration::from_millis(100);

/// The traces that were asked for last, by number. There may be as many as the world has.
#[derive(Default)]
pub(super) struct Traces(VecDeque<(u32, Known)>);

#[derive(Clone)]
enum Known {
    Has(Arc<Tracing>),
    /// numbers of traces count up: it is not asked for again
    Over,
    /// for want of memory or descriptors, say: it is asked for again from then on
    NotBefore(Instant),
}

impl Known {
    fn of(found: Result<Tracing, Refusal>) -> Self {
        match found {
            Ok(tracing) => Self::Has(Arc::new(tracing)),
            Err(refusal) if refusal.errno == Errno::NXIO => Self::Over,
            Err(_) => Self::NotBefore(Instant::now() + PAUSE),
        }
    }

    fn tracing(&self) -> Option<Arc<Tracing>> {
        match self {
            Self::Has(tracing) => Some(tracing.clone()),
            Self::Over | Self::NotBefore(_) => None,
        }
    }
}

impl Traces {
    /// `None`: it is to be asked for.
    fn get(&self, number: u32) -> Option<&Known> {
        let known = &self.0.iter().find(|(of, _)| *of == number)?.1;
        match known {
            Known::NotBefore(then) if Instant::now() >= *then => None,
            known => Some(known),
        }
    }

    fn put(&mut self, number: u32, known: Known) {
        self.0.retain(|(of, _)| *of != number);
        self.0.truncate(MOST - 1);
        self.0.push_front((number, known));
    }
}

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

    /// Ends what [`Session::begin_trace`] has begun. Returns how many packets have left no record, because a process
    /// could not get the memory for it.
    ///
    /// # Errors
    /// The daemon is gone.
    pub fn end_trace(&self) -> Result<u64, Refusal> {
        match call(self.connection.as_fd(), &Call::EndTrace)?.0 {
            Reply::Untraced(packets) => Ok(packets),
            other => Err(refused(other)),
        }
    }

    /// Where the records of trace `number` go. The daemon is asked once, unless it is the system that is short of
    /// something.
    pub(super) fn known_trace(&self, number: u32) -> Option<Arc<Tracing>> {
        let traces = self.traces.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = traces.get(number) {
            return known.tracing();
        }
        drop(traces);
        let mut traces = self.traces.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = traces.get(number) {
            return known.tracing();
        }
        let found = match self.ask_for_trace(number) {
            Err(refusal) if refusal.errno == Errno::MFILE => {
                self.with_spares(|| self.ask_for_trace(number))
            }
            found => found,
        };
        let known = Known::of(found);
        traces.put(number, known.clone());
        known.tracing()
    }

    fn ask_for_trace(&self, number: u32) -> Result<Tracing, Refusal> {
        let (reply, fds) = call(self.connection.as_fd(), &Call::Trace(number))?;
        tracing(reply, fds)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(errno: Errno) -> Known {
        Known::of(Err(Refusal::new(errno, "test")))
    }

    #[test]
    fn what_is_over_is_not_asked_for_again_and_others_are() {
        let mut traces = Traces::default();
        traces.put(1, refused(Errno::NXIO));
        traces.put(2, refused(Errno::MFILE));
        assert!(matches!(traces.get(1), Some(Known::Over)));
        let Some(Known::NotBefore(then)) = traces.get(2).cloned() else {
            // this machine has been away for that long
            return;
        };
        traces.put(2, Known::NotBefore(then - 2 * PAUSE));
        assert!(traces.get(2).is_none());
    }

    #[test]
    fn all_traces_of_a_world_are_kept_in_mind() {
        let mut traces = Traces::default();
        let all = 1..=MOST as u32;
        all.clone().for_each(|n| traces.put(n, Known::Over));
        assert!(all.clone().all(|n| traces.get(n).is_some()));
        traces.put(MOST as u32 + 1, Known::Over);
        assert_eq!(traces.0.len(), MOST);
    }
}
