//! SYNC_KLOOP_START and SYNC_KLOOP_STOP. The loop itself runs in the thread that starts it. Here is
//! decided whether it may run; the kring's `kloop` word tells it.
//!
//! | state | START | STOP |
//! |---|---|---|
//! | idle | running | stopping |
//! | stopping, nothing runs | running and over at once, then idle | stopping |
//! | running | `EBUSY` | running and stopping |
//! | running and stopping | `EBUSY` | the same |
//!
//! When a loop ends, in whatever way, the state becomes idle.

use core::sync::atomic::Ordering::Relaxed;
use std::collections::HashSet;
use uvale_shared::atomics::AtomicU32;

use nm_abi::*;
use rustix::io::Errno;

use super::adapter::{DIRS, Kring};
use super::options::{conclude, find, typed};
use super::registration::{Bound, Kloop};
use super::{ClientId, Refusal, Result, World};
use uvale_request::OptionCopy;
use uvale_shared::ctl::{KLOOP_RUNNING, KLOOP_STOPPING};

/// Longest sleep of a loop, in microseconds.
const MAX_SLEEP: u32 = 1_000_000;

fn unbound() -> Refusal {
    Refusal::new(Errno::NXIO, "the descriptor is not bound to a port")
}

impl World {
    /// SYNC_KLOOP_START, up to where the loop begins.
    pub(super) fn kloop_start(
        &mut self,
        client: ClientId,
        session: u32,
        body: &nmreq_sync_kloop_start,
        options: &mut [OptionCopy],
    ) -> Result<()> {
        let bad = |why: String| Refusal::new(Errno::INVAL, why);
        if body.sleep_us > MAX_SLEEP {
            return Err(bad(format!(
                "sleep_us={}: at most {MAX_SLEEP}",
                body.sleep_us
            )));
        }
        let bound = self.bound(client).ok_or_else(unbound)?;
        let name = &bound.binding.name;
        if bound.binding.csb.is_none() {
            return Err(bad(format!(
                "{name}: the sync loop needs CSB mode; see NETMAP_REQ_OPT_CSB"
            )));
        }
        if let Some(session) = bound.kloop.running {
            let by = self.process(session);
            return Err(Refusal::new(
                Errno::BUSY,
                format!("{name}: a sync loop is running already, in {by}"),
            ));
        }
        let rings: u32 = DIRS
            .iter()
            .map(|&dir| bound.binding.rings(dir).len() as u32)
            .sum();
        self.set_kloop(client, |kloop| kloop.running = Some(session));
        let accepted = accept(options, rings);
        if accepted.is_err() {
            self.kloop_end(client);
        }
        accepted
    }

    /// SYNC_KLOOP_STOP, except the wait for the loop to end.
    pub(super) fn kloop_stop(&mut self, client: ClientId) -> Result<()> {
        self.bound(client).ok_or_else(unbound)?;
        self.set_kloop(client, |kloop| kloop.stopping = true);
        Ok(())
    }

    /// The loop of a descriptor is over.
    pub fn kloop_end(&mut self, client: ClientId) {
        self.set_kloop(client, |kloop| *kloop = Kloop::default());
    }

    /// The loops of a session that is gone are over.
    pub(super) fn end_kloops_of(&mut self, sessions: &HashSet<u32>) {
        let running: Vec<ClientId> = self
            .clients
            .iter()
            .filter(|(_, b)| {
                let running = b.as_ref().and_then(|b| b.kloop.running);
                running.is_some_and(|session| sessions.contains(&session))
            })
            .map(|(id, _)| ClientId(*id))
            .collect();
        running.into_iter().for_each(|id| self.kloop_end(id));
    }

    /// Does a sync loop run on the descriptor?
    pub fn kloop_runs(&self, client: ClientId) -> bool {
        self.bound(client)
            .is_some_and(|b| b.kloop.running.is_some())
    }

    /// Changes the state, and shows it to the loop. Only a descriptor in CSB mode has rings of its
    /// own to show it on.
    fn set_kloop(&mut self, client: ClientId, change: impl FnOnce(&mut Kloop)) {
        let Some(Some(bound)) = self.clients.get_mut(&client.0) else {
            return;
        };
        change(&mut bound.kloop);
        let Kloop { running, stopping } = bound.kloop;
        let csb = bound.binding.csb.is_some();
        if let Some(word) = self.kloop_word(client).filter(|_| csb) {
            let set = |on: bool, bit: u32| {
                if on {
                    word.fetch_or(bit, Relaxed);
                } else {
                    word.fetch_and(!bit, Relaxed);
                }
            };
            set(stopping, KLOOP_STOPPING);
            set(running.is_some(), KLOOP_RUNNING);
        }
    }

    /// The word that descriptor and loop share: that of the first ring it has selected, tx before
    /// rx.
    pub(super) fn kloop_word(&self, client: ClientId) -> Option<&AtomicU32> {
        let bound = self.bound(client)?;
        let index = bound.first_kring(|dir| self.adapters[bound.id].krings(dir))?;
        Some(&self.kring(index).kloop)
    }
}

impl Bound {
    /// Index of the first selected kring, tx before rx.
    fn first_kring<'a>(&self, krings: impl Fn(usize) -> &'a [Kring]) -> Option<u32> {
        let dir = DIRS
            .into_iter()
            .rev()
            .find(|&dir| !self.binding.rings(dir).is_empty())?;
        Some(krings(dir).get(self.binding.first[dir] as usize)?.index)
    }
}

/// The options of START, as far as they can be judged without the program's descriptors.
fn accept(options: &mut [OptionCopy], rings: u32) -> Result<()> {
    let bad = |why: String| Err(Refusal::new(Errno::INVAL, why));
    let mut direct = 0;
    if let Some(option) = find(options, NETMAP_REQ_OPT_SYNC_KLOOP_MODE) {
        direct = typed::<nmreq_opt_sync_kloop_mode>(option).map_or(0, |o| o.mode);
        let known = NM_OPT_SYNC_KLOOP_DIRECT_TX | NM_OPT_SYNC_KLOOP_DIRECT_RX;
        let result = match direct & !known {
            0 => Ok(()),
            _ => bad(format!("sync loop mode {direct:#x} does not exist")),
        };
        conclude(option, result)?;
    }
    if let Some(option) = find(options, NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS) {
        let result = check_eventfds(option, rings, direct != 0);
        conclude(option, result)?;
    }
    Ok(())
}

fn check_eventfds(option: &OptionCopy, rings: u32, direct: bool) -> Result<()> {
    let entry = size_of::<nm_kloop_eventfds>() as u64;
    let wanted = size_of::<nmreq_opt_sync_kloop_eventfds>() as u64 + entry * u64::from(rings);
    if option.header.nro_size != wanted {
        return Err(Refusal::new(
            Errno::INVAL,
            format!(
                "SYNC_KLOOP_EVENTFDS: nro_size={} should be {wanted} for {rings} rings",
                option.header.nro_size
            ),
        ));
    }
    let silent = option
        .body
        .chunks_exact(entry as usize)
        .filter_map(nm_kloop_eventfds::from_bytes)
        .any(|e| e.ioeventfd < 0);
    if silent && direct {
        return Err(Refusal::new(
            Errno::INVAL,
            "SYNC_KLOOP_EVENTFDS: direct modes need an ioeventfd for each ring",
        ));
    }
    Ok(())
}
