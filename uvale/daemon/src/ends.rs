//! Cleaning up after connections that have ended.
//!
//! Many may end at one moment. Each turn of the daemon's loop does a bounded part of the clean-up, and
//! serves others in between. Callers cannot tell: what was closed before a request was sent is gone
//! when the request is served, as a close in the kernel is done when it returns.
//!
//! | call | is served after |
//! |---|---|
//! | a request that names a port | the ends of descriptors of that port, and of ports related by name |
//! | the same, refused | all ends: it is tried again |
//! | other requests that depend on what exists, and reports | all ends |
//! | [`Call::Settle`] | the end of the descriptor it names |
//! | others | - |
//!
//! [`Call::Settle`]: uvale_link::proto::Call::Settle

use std::collections::{HashSet, VecDeque};

use nm_abi::{
    AbiBytes, NETMAP_REQ_POOLS_INFO_GET, NETMAP_REQ_PORT_INFO_GET, NETMAP_REQ_REGISTER,
    NETMAP_REQ_VALE_ATTACH, NETMAP_REQ_VALE_LIST, NETMAP_REQ_VALE_NEWIF, nmreq_pools_info,
    nmreq_port_info_get, nmreq_register, nmreq_vale_attach, nmreq_vale_newif,
};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use super::connection::Role;
use super::log::{Level, log_of};
use super::{Daemon, NOW};
use uvale_control::ClientId;
use uvale_request::{Request, name_of};
use uvale_system::who::Holder;

/// What one turn does at most: packets of connections that have ended, and ends.
const WORK: u32 = 128;
/// An end that closes a port counts as so many.
const PORT: u32 = 4;
/// Descriptions that are woken in one turn, in case a session died that was about to wake them.
const TOKENS: usize = 64;
/// Findings about the dead that are logged at a time.
const FINDINGS: usize = 3;

/// What is left to be done.
#[derive(Default)]
pub(super) struct Ends {
    /// connections that have ended, in the order in which that was heard
    queue: VecDeque<u64>,
    /// one of them is being served
    serving: bool,
    /// descriptors that are to be woken, from `next` on in a circle
    to_wake: usize,
    next: u32,
    /// sessions that have died, and the processes they belonged to
    dead: Vec<(u32, Option<Holder>)>,
}

impl Daemon {
    /// Does a part of what is left. True if there is more.
    pub(super) fn turn(&mut self) -> bool {
        self.gather();
        let mut work = WORK;
        while work > 0
            && let Some(id) = self.ends.queue.pop_front()
        {
            if !self.finish(id, &mut work) {
                self.ends.queue.push_front(id);
            }
        }
        self.bury_dead();
        self.wake_some();
        !self.ends.queue.is_empty() || self.ends.to_wake > 0
    }

    /// Finds out which connections have ended. They give no events from then on.
    fn gather(&mut self) {
        let mut events = Vec::with_capacity(256);
        loop {
            events.clear();
            let found = epoll::wait(&self.end_set, spare_capacity(&mut events), Some(&NOW));
            let known = self.ends.queue.len();
            events.iter().for_each(|e| self.has_ended(e.data.u64()));
            if found.is_err() || self.ends.queue.len() == known {
                return;
            }
        }
    }

    /// A connection has ended: it is cleaned up in its turn.
    pub(super) fn has_ended(&mut self, id: u64) {
        if let Some(connection) = self.connections.get(&id) {
            // Other processes may have duplicates to wake it with: the sets do not forget it by itself.
            for set in [&self.set, &self.end_set] {
                let _ = epoll::delete(set, &connection.fd);
            }
            self.ends.queue.push_back(id);
        }
    }

    /// Cleans up after a connection that has ended. False if `work` was not enough.
    fn finish(&mut self, id: u64, work: &mut u32) -> bool {
        self.ends.serving = true;
        while *work > 0
            && let Some(connection) = self.connections.get(&id)
        {
            *work -= 1;
            match connection.receive() {
                Ok(Some(packet)) => self.handle(id, packet),
                Ok(None) | Err(_) => self.hang_up(id, work),
            }
        }
        self.ends.serving = false;
        !self.connections.contains_key(&id)
    }

    fn hang_up(&mut self, id: u64, work: &mut u32) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        match connection.role {
            Role::New => drop(self.newcomers.remove(&id)),
            Role::Parameter(_) => self.writers.retain(|writer| *writer != id),
            Role::Device { client, .. } => {
                self.devices.remove(&client.0);
                if self.world.binding(client).is_some() {
                    *work = work.saturating_sub(PORT);
                }
                self.forget_attacher(client);
                self.world.close(client);
            }
            Role::Session(session) => {
                self.sessions.remove(&session);
                self.drop_traces(session);
                self.ends.dead.push((session, connection.who));
            }
        }
    }

    /// Frees the locks of sessions that have died, of all at once, because it takes a pass over all
    /// rings.
    fn bury_dead(&mut self) {
        let dead = core::mem::take(&mut self.ends.dead);
        if dead.is_empty() {
            return;
        }
        let sessions: Vec<u32> = dead.iter().map(|(session, _)| *session).collect();
        let findings = self.world.sessions_died(&sessions);
        // A process that died between taking a sleeper's announcement and sending the token has left
        // the sleeper asleep.
        self.ends.to_wake = self.devices.len();
        let (who, died) = match dead.as_slice() {
            [(session, who)] => (who.as_ref(), format!("has died (session {session})")),
            many => (None, format!("{} processes have died", many.len())),
        };
        for finding in findings.iter().take(FINDINGS) {
            log_of(Level::Warning, who, &format!("{died}: {finding}"));
        }
        if findings.len() > FINDINGS {
            let more = format!("and {} more of the kind", findings.len() - FINDINGS);
            log_of(Level::Warning, who, &more);
        }
    }

    /// Makes some descriptors look at their rings again.
    fn wake_some(&mut self) {
        for _ in 0..TOKENS.min(self.ends.to_wake) {
            self.ends.to_wake -= 1;
            let mut circle = self.devices.range(self.ends.next..).chain(&self.devices);
            let Some(client) = circle.next().map(|(client, _)| *client) else {
                return;
            };
            self.ends.next = client.wrapping_add(1);
            if self.world.binding(ClientId(client)).is_some() {
                self.send_token(client);
            }
        }
    }

    /// Cleans up after all connections that have ended.
    pub(super) fn finish_all(&mut self) {
        if self.ends.serving {
            return;
        }
        self.gather();
        let mut work = u32::MAX;
        while let Some(id) = self.ends.queue.pop_front() {
            self.finish(id, &mut work);
        }
        self.bury_dead();
    }

    /// Cleans up after the descriptor of `client`, if it has been closed. What it alone had of an interface is the
    /// host's again.
    pub(super) fn settle(&mut self, client: u32) {
        let device = self.devices.get(&client).copied();
        self.finish_those(|_, id| Some(id) == device);
        self.tidy_nics();
    }

    /// Cleans up what must be gone when `request` is served. True if the request is to be tried again
    /// after [`Daemon::finish_all`] in case it is refused.
    pub(super) fn finish_before(&mut self, request: &mut Request) -> bool {
        if self.ends.serving {
            return false;
        }
        let Some(meant) = port_of(request) else {
            self.finish_all();
            return false;
        };
        self.finish_those(|daemon, id| {
            let role = daemon.connections.get(&id).map(|c| c.role);
            let Some(Role::Device { client, .. }) = role else {
                return false;
            };
            let binding = daemon.world.binding(client);
            binding.is_some_and(|b| stem(b.name.as_bytes()) == meant)
        });
        !self.ends.queue.is_empty()
    }

    fn finish_those(&mut self, which: impl Fn(&Self, u64) -> bool) {
        if self.ends.serving {
            return;
        }
        self.gather();
        let those = |id: &&u64| which(self, **id);
        let those: HashSet<u64> = self.ends.queue.iter().filter(those).copied().collect();
        if those.is_empty() {
            return;
        }
        let queue = core::mem::take(&mut self.ends.queue);
        let (now, later) = queue
            .into_iter()
            .partition::<VecDeque<_>, _>(|id| those.contains(id));
        self.ends.queue = later;
        let mut work = u32::MAX;
        for id in now {
            self.finish(id, &mut work);
        }
        self.bury_dead();
    }
}

/// The port that a request is about; `None` if it sees others too.
fn port_of(request: &mut Request) -> Option<Vec<u8>> {
    let name = name_of(&mut request.header);
    let sees_others = match request.header.nr_reqtype {
        NETMAP_REQ_VALE_LIST => true,
        NETMAP_REQ_REGISTER if !request.options.is_empty() => true,
        _ => name.is_empty() || names_memory(request),
    };
    (!sees_others).then(|| stem(&name).to_vec())
}

/// Does it name a memory? Whether that exists, and what is in it, depends on all its users.
fn names_memory(request: &Request) -> bool {
    let body = &request.body;
    let id = match request.header.nr_reqtype {
        NETMAP_REQ_REGISTER => nmreq_register::from_bytes(body).map(|reg| reg.nr_mem_id),
        NETMAP_REQ_VALE_ATTACH => nmreq_vale_attach::from_bytes(body).map(|a| a.reg.nr_mem_id),
        NETMAP_REQ_VALE_NEWIF => nmreq_vale_newif::from_bytes(body).map(|new| new.nr_mem_id),
        NETMAP_REQ_PORT_INFO_GET => nmreq_port_info_get::from_bytes(body).map(|i| i.nr_mem_id),
        NETMAP_REQ_POOLS_INFO_GET => nmreq_pools_info::from_bytes(body).map(|i| i.nr_mem_id),
        _ => None,
    };
    id.is_some_and(|id| id != 0)
}

/// What names of one port, of its pipes and monitors, on a switch or not, have in common.
fn stem(name: &[u8]) -> &[u8] {
    let own = name.rsplit(|c| *c == b':').next().unwrap_or(name);
    let end = own.iter().position(|c| b"{}/@#-*^".contains(c));
    &own[..end.unwrap_or(own.len())]
}

#[cfg(test)]
pub(crate) mod tests;
