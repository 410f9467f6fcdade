//! Monitors: ports whose rx rings see what passes through the rings of another port.
//!
//! Each is made by one REGISTER for one descriptor. It holds a reference to the port it monitors
//! until that port leaves netmap mode; from then on it is an orphan, whose syncs fail, and has to
//! be opened again.
//!
//! | what | copy | zero-copy |
//! |---|---|---|
//! | memory | its own | the monitored port's |
//! | several on a ring | all are fed by the ring | a chain: each is fed by the one before it |
//!
//! Which rings feed which is kept here and shown to the data path in the krings' `watch`,
//! `mon_next` and `mon_parent`.

use core::sync::atomic::Ordering::{Relaxed, Release};

use nm_abi::*;
use rustix::io::Errno;

use super::adapter::{Adapter, AdapterId, DIRS, Kind, NAME_MAX, Watcher};
use super::memory::MemId;
use super::vale::bound;
use super::{Refusal, Result, World};
use uvale_engine::{RX, TX};
use uvale_shared::watch;

const MAX_SLOTS: u32 = 4096;

const ANY: u64 = NR_MONITOR_TX | NR_MONITOR_RX | NR_ZCOPY_MON;

/// The flag that selects a direction.
const FLAG: [u64; 2] = [NR_MONITOR_RX, NR_MONITOR_TX];

impl World {
    /// netmap_get_monitor_na: a new monitor of the port called `name`, with a reference; `None` if
    /// the request does not ask for a monitor.
    pub(super) fn get_monitor(
        &mut self,
        name: &[u8],
        reg: &mut nmreq_register,
        mem: Option<MemId>,
        create: bool,
    ) -> Result<Option<AdapterId>> {
        let zero_copy = reg.nr_flags & NR_ZCOPY_MON != 0;
        if zero_copy {
            reg.nr_flags |= NR_MONITOR_TX | NR_MONITOR_RX;
        }
        if reg.nr_flags & (NR_MONITOR_TX | NR_MONITOR_RX) == 0 {
            return Ok(None);
        }
        let mut plain = *reg;
        plain.nr_flags &= !ANY;
        let port = self.get_na(name, &mut plain, mem, create)?;
        match self.new_monitor(port, reg) {
            Ok(monitor) => Ok(Some(self.get_adapter(monitor))),
            Err(refusal) => {
                self.put_adapter(port);
                Err(refusal)
            }
        }
    }

    /// The monitor takes over the caller's reference to `port`.
    fn new_monitor(&mut self, port: AdapterId, reg: &nmreq_register) -> Result<AdapterId> {
        let na = &self.adapters[port];
        if na.active == 0 {
            let why = format!(
                "{}: nobody has it open; open the port before its monitors",
                na.label()
            );
            return Err(Refusal::new(Errno::INVAL, why));
        }
        self.select(port, reg)?;
        let na = &mut self.adapters[port];
        let zero_copy = reg.nr_flags & NR_ZCOPY_MON != 0;
        let name = monitor_name(&na.name, reg.nr_flags, na.monitors_made);
        na.monitors_made += 1;
        let (mut rings, mut slots) = ([0; 2], [0; 2]);
        (rings[TX], rings[RX]) = (1, na.rings[RX].max(na.rings[TX]));
        slots[TX] = bound(reg.nr_tx_slots, na.slots[TX], 1, MAX_SLOTS);
        slots[RX] = bound(reg.nr_rx_slots, na.slots[RX], 1, MAX_SLOTS);
        let mem = if zero_copy {
            self.memories.get(na.mem)
        } else {
            self.memories.new_private_for(rings, slots, 0, 0)?
        };
        let record = self
            .new_port_record()
            .inspect_err(|_| self.memories.put(mem))?;
        let kind = Kind::Monitor {
            port: Some(port),
            flags: reg.nr_flags & ANY,
        };
        // netmap: "the monitor supports the host rings iff the parent does", one of each direction.
        let host_rings = [u32::from(self.adapters[port].has_host_rings()); 2];
        let monitor = Adapter {
            host_rings,
            ..Adapter::new(name, kind, rings, slots, mem, record)
        };
        Ok(self.adapters.add(monitor))
    }

    /// netmap_monitor_reg: puts the rings of monitor `id` into service and has them fed, or the
    /// reverse.
    pub(super) fn register_monitor(&mut self, id: AdapterId, on: bool) {
        if on {
            self.commit_modes(id, true);
            self.feed(id);
        } else {
            self.starve(id);
            self.commit_modes(id, false);
        }
    }

    /// The rings that feed the rx rings of monitor `id`: monitored direction, ring. A ring one
    /// beyond the last is the first host ring, as in netmap. If it is fake it feeds nothing, but the
    /// zero-copy monitors on it are a chain.
    fn feeders(&self, id: AdapterId) -> Option<(AdapterId, Vec<(usize, u32)>)> {
        let Kind::Monitor {
            port: Some(port),
            flags,
        } = self.adapters[id].kind
        else {
            return None;
        };
        let mut rings = Vec::new();
        for (i, k) in (0..).zip(self.adapters[id].krings(RX)) {
            for dir in DIRS.into_iter().filter(|dir| flags & FLAG[*dir] != 0) {
                if k.users > 0 || k.on {
                    rings.push((dir, i));
                }
            }
        }
        rings.retain(|(dir, i)| *i <= self.adapters[port].rings[*dir]);
        Some((port, rings))
    }

    /// netmap_monitor_add, for all rings of monitor `id`.
    fn feed(&mut self, id: AdapterId) {
        let Some((port, rings)) = self.feeders(id) else {
            return;
        };
        let Kind::Monitor { flags, .. } = self.adapters[id].kind else {
            return;
        };
        for (dir, ring) in rings {
            let Some(k) = self.adapters[port].krings_mut(dir).get_mut(ring as usize) else {
                continue;
            };
            let first = k.watchers.is_empty();
            let list = match flags & NR_ZCOPY_MON {
                0 => &mut k.watchers.copies,
                _ => &mut k.watchers.chain,
            };
            list.push(Watcher { monitor: id, ring });
            let shared = self.kring(self.adapters[port].krings(dir)[ring as usize].index);
            if first {
                shared.mon_tail.store(shared.hwtail.load(Relaxed), Relaxed);
            }
            self.show_watchers(port, dir, ring);
        }
    }

    /// netmap_monitor_del, for all rings of monitor `id`.
    fn starve(&mut self, id: AdapterId) {
        let Some((port, rings)) = self.feeders(id) else {
            return;
        };
        for (dir, ring) in rings {
            let Some(k) = self.adapters[port].krings_mut(dir).get_mut(ring as usize) else {
                continue;
            };
            let others = |w: &Watcher| w.monitor != id;
            if let Some(at) = k.watchers.copies.iter().position(|w| !others(w)) {
                k.watchers.copies.swap_remove(at);
            }
            k.watchers.chain.retain(others);
            self.show_watchers(port, dir, ring);
        }
        for k in self.adapters[id].krings(RX) {
            self.show_nobody(k.index);
        }
    }

    /// Shows the data path who monitors a ring of `port`.
    fn show_watchers(&self, port: AdapterId, dir: usize, ring: u32) {
        let k = &self.adapters[port].krings(dir)[ring as usize];
        let index_of = |w: &Watcher| {
            let krings = self.adapters[w.monitor].krings(RX);
            krings.get(w.ring as usize).map(|k| k.index)
        };
        let copies: Vec<u32> = k.watchers.copies.iter().filter_map(index_of).collect();
        let chain: Vec<u32> = k.watchers.chain.iter().filter_map(index_of).collect();
        for index in &copies {
            self.kring(*index).mon_parent[dir].store(k.index + 1, Release);
        }
        let mut feeder = k.index;
        for (i, &index) in chain.iter().enumerate() {
            let monitor = self.kring(index);
            monitor.mon_parent[dir].store(feeder + 1, Release);
            // What a monitor releases is what an rx ring releases.
            if dir == RX {
                self.show_list(index, dir, &[], chain.get(i + 1).copied());
            }
            feeder = index;
        }
        self.show_list(k.index, dir, &copies, chain.first().copied());
    }

    fn show_list(&self, index: u32, dir: usize, copies: &[u32], chain: Option<u32>) {
        let link = |i: u32| &self.kring(i).mon_next[dir];
        watch::show(&self.kring(index).watch, copies, chain, link);
        self.kring(index).changed();
    }

    fn show_nobody(&self, index: u32) {
        self.show_list(index, RX, &[], None);
    }

    /// netmap_monitor_stop: port `id` leaves netmap mode, its monitors are orphans from now on.
    pub(super) fn stop_monitors(&mut self, id: AdapterId) {
        let mut orphans: Vec<AdapterId> = Vec::new();
        for dir in DIRS {
            for i in 0..self.adapters[id].krings(dir).len() {
                let k = &mut self.adapters[id].krings_mut(dir)[i];
                let watchers = core::mem::take(&mut k.watchers);
                if watchers.is_empty() {
                    continue;
                }
                orphans.extend(watchers.all().map(|w| w.monitor));
                let index = k.index;
                self.show_nobody(index);
            }
        }
        orphans.sort_unstable();
        orphans.dedup();
        for orphan in orphans {
            if let Kind::Monitor { port, .. } = &mut self.adapters[orphan].kind {
                *port = None;
                self.put_adapter(id);
            }
            for dir in DIRS {
                for k in self.adapters[orphan].krings(dir) {
                    self.show_nobody(k.index);
                    let k = self.kring(k.index);
                    k.mon_parent.iter().for_each(|p| p.store(0, Relaxed));
                    k.orphan.store(1, Release);
                    k.changed();
                }
            }
        }
    }

    /// The destructor's part for a monitor.
    pub(super) fn leave_monitored(&mut self, id: AdapterId) {
        if let Kind::Monitor {
            port: Some(port), ..
        } = self.adapters[id].kind
        {
            self.put_adapter(port);
        }
    }
}

fn monitor_name(port: &[u8], flags: u64, number: u64) -> Vec<u8> {
    let letter = |flag: u64, letter: &'static str| match flags & flag {
        0 => "",
        _ => letter,
    };
    let suffix = format!(
        "/{}{}{}#{number}",
        letter(NR_ZCOPY_MON, "z"),
        letter(NR_MONITOR_RX, "r"),
        letter(NR_MONITOR_TX, "t")
    );
    let mut name = [port, suffix.as_bytes()].concat();
    name.truncate(NAME_MAX);
    name
}
