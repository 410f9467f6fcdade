//! Krings and port records in control memory: who has which, and how they are put into
//! and taken out of service.
//!
//! | a kring is | mode | who may write its ring |
//! |---|---|---|
//! | free | RING_OFF | nobody |
//! | configured | RING_OFF | the daemon |
//! | in service | RING_ON | the holders of its locks |
//! | leaving | RING_OFF, a lock may still be held | that holder, until it releases the lock |
//!
//! A kring never goes from "leaving" to "free" or "configured" before the daemon has held both of
//! its locks once.

use core::sync::atomic::Ordering::{Relaxed, Release};
use std::collections::{BTreeMap, VecDeque};
use uvale_shared::atomics::AtomicU64;

use rustix::io::Errno;

use super::adapter::{AdapterId, DIRS, Kring, Krings, Offsets};
use super::{Refusal, Result, World};
use uvale_engine::{RX, TX};
use uvale_shared::ctl::{self, Ctl, MAX_KRINGS, MAX_PORTS, PORT_ON, RING_OFF, RING_ON};
use uvale_shared::lock::DAEMON_SESSION;
use uvale_shared::lock::LockWord;

/// How often a lock is tried before its kring goes to the graveyard.
const TRIES: u32 = 200;

/// Indices of port records, given out round robin so that a stale one is noticed.
#[derive(Debug, Default)]
pub(super) struct PortRecords {
    fresh: u32,
    freed: VecDeque<u32>,
}

/// Ranges of kring records.
#[derive(Debug)]
pub(super) struct KringRanges {
    /// free ranges: start, length
    free: BTreeMap<u32, u32>,
}

impl Default for KringRanges {
    fn default() -> Self {
        Self {
            free: BTreeMap::from([(0, MAX_KRINGS as u32)]),
        }
    }
}

impl KringRanges {
    fn take(&mut self, n: u32) -> Option<u32> {
        let (&start, &len) = self.free.iter().find(|(_, len)| **len >= n)?;
        self.free.remove(&start);
        if len > n {
            self.free.insert(start + n, len - n);
        }
        Some(start)
    }

    pub fn give_back(&mut self, (start, n): (u32, u32)) {
        let (mut start, mut n) = (start, n);
        if let Some((&before, &len)) = self.free.range(..start).next_back()
            && before + len == start
        {
            self.free.remove(&before);
            (start, n) = (before, n + len);
        }
        if let Some(len) = self.free.remove(&(start + n)) {
            n += len;
        }
        self.free.insert(start, n);
    }

    /// Kring records in use.
    pub fn used(&self) -> u32 {
        MAX_KRINGS as u32 - self.free.values().sum::<u32>()
    }
}

/// Acquires and releases one lock of a ring that is out of service. False if somebody keeps
/// holding it.
fn pass(lock: &LockWord) -> bool {
    for _ in 0..TRIES {
        if lock.try_lock(DAEMON_SESSION).is_some() {
            return true;
        }
        core::hint::spin_loop();
    }
    false
}

/// Is it certain that nobody writes ring `index` any more? It must be out of service already.
pub(super) fn is_quiet(ctl: &Ctl, index: u32) -> bool {
    // SYNC POINT: `pass` ends with the Release of `LockGuard::drop`, after the store of RING_OFF: whoever
    // takes the lock later (`LockWord::try_lock_as`, `LockWord::lock_within`) sees RING_OFF and leaves.
    ctl.kring(index)
        .is_none_or(|k| pass(&k.busy) && pass(&k.q_lock))
}

fn zero(counters: &[&AtomicU64]) {
    counters.iter().for_each(|c| c.store(0, Relaxed));
}

/// Writes the initial state of a kring.
fn configure(
    k: &ctl::Kring,
    port: u32,
    generation: u32,
    region: u32,
    dir: usize,
    id: u32,
    slots: u32,
) {
    k.mode.store(RING_OFF, Relaxed);
    k.num_slots.store(slots, Relaxed);
    k.ring_ofs.store(0, Relaxed);
    k.port.store(port, Relaxed);
    k.pipe.store(0, Relaxed);
    k.ring_id.store(id, Relaxed);
    k.dir.store(u32::from(dir == TX), Relaxed);
    k.region.store(region, Relaxed);
    k.generation.store(generation, Relaxed);
    k.offset_mask.store(0, Relaxed);
    k.offset_max.store(0, Relaxed);
    k.kloop.store(0, Relaxed);
    k.watch.store(0, Relaxed);
    k.orphan.store(0, Relaxed);
    k.bwrap.store(0, Relaxed);
    k.wire.store(0, Relaxed);
    k.joined.store(0, Relaxed);
    k.joining.store(0, Relaxed);
    k.trace.store(0, Relaxed);
    k.untraced.store(0, Relaxed);
    k.frame.store(0, Relaxed);
    k.frame_user.store(0, Relaxed);
    k.swap.with.store(0, Relaxed);
    k.mon_parent
        .iter()
        .for_each(|parent| parent.store(0, Relaxed));
    // A reader that follows an old list to this kring finds that the list has changed.
    for link in k.mon_next.iter().flatten() {
        link.store(0, Release);
    }
    k.stuck_holder.store(0, Relaxed);
    k.stuck.store(0, Relaxed);
    k.exchange.with.store(0, Relaxed);
    // one slot of a tx ring stays with netmap
    let tail = if dir == TX {
        // (of null ports' rings without slots, as netmap computes it)
        slots.wrapping_sub(1)
    } else {
        0
    };
    for (field, value) in [
        (&k.rhead, 0),
        (&k.rcur, 0),
        (&k.hwcur, 0),
        (&k.hwcur_seen, 0),
        (&k.rtail, tail),
        (&k.hwtail, tail),
        (&k.filled, tail),
        (&k.pipe_tail, tail),
    ] {
        field.store(value, Relaxed);
    }
    k.sleepers.store(0, Relaxed);
    let (s, p) = (&k.sync, &k.produced);
    zero(&[
        &s.packets,
        &s.bytes,
        &s.bad_slot,
        &s.short,
        &s.no_dest,
        &s.no_receiver,
        &s.truncated,
        &s.reinit,
        &s.progress,
    ]);
    zero(&[
        &p.packets,
        &p.bytes,
        &p.full,
        &p.bad_copy,
        &p.unconvertible,
        &p.wakeups,
        &p.progress,
    ]);
    k.changed();
}

impl World {
    /// A generation that no port record has or had; odd, as those of records in use are.
    fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(2) | 1;
        self.generation
    }

    /// Takes a port record for a new adapter. `ENOMEM` when control memory is full.
    pub(super) fn new_port_record(&mut self) -> Result<u32> {
        let records = &mut self.port_records;
        let index = if (records.fresh as usize) < MAX_PORTS {
            records.fresh += 1;
            records.fresh - 1
        } else {
            records.freed.pop_front().ok_or_else(|| {
                Refusal::new(
                    Errno::NOMEM,
                    format!(
                        "all {MAX_PORTS} ports of this world are in use, which is fixed: close some, or use a \
                         second world (UVALE_DIR)"
                    ),
                )
            })?
        };
        let generation = self.next_generation();
        let port = self.port(index);
        port.generation.store(generation, Relaxed);
        for field in [
            &port.flags,
            &port.switch,
            &port.bdg_port,
            &port.region,
            &port.virt_hdr_len,
        ] {
            field.store(0, Relaxed);
        }
        port.last_smac.store(u64::MAX, Relaxed);
        port.sleepers.iter().for_each(|s| s.store(0, Relaxed));
        Ok(index)
    }

    /// Gives a port record back.
    pub(super) fn free_port_record(&mut self, index: u32) {
        let port = self.port(index);
        port.flags.store(0, Relaxed);
        port.switch.store(0, Relaxed);
        port.generation
            .store(port.generation.load(Relaxed).wrapping_add(1) & !1, Release);
        self.port_records.freed.push_back(index);
    }

    /// Port record of an adapter; always in range.
    pub(super) fn port(&self, index: u32) -> &ctl::Port {
        self.ctl
            .port(index)
            .expect("port records are given out within range")
    }

    /// Kring record of an adapter; always in range.
    pub(super) fn kring(&self, index: u32) -> &ctl::Kring {
        self.ctl
            .kring(index)
            .expect("kring records are given out within range")
    }

    /// netmap_krings_create: the krings of all rings of `id`, the fake host rings included.
    /// Nothing to do if they exist. The adapter's allocator must have a region.
    pub(super) fn create_krings(&mut self, id: AdapterId) -> Result<()> {
        if self.adapters[id].krings.is_some() {
            return Ok(());
        }
        let region = self.memories.active_region(self.adapters[id].mem)?.number;
        let generation = self.next_generation();
        let na = &self.adapters[id];
        let n = DIRS.map(|dir| na.all_rings(dir));
        let total = n[RX] + n[TX];
        let start = self.kring_ranges.take(total).ok_or_else(|| {
            Refusal::new(
                Errno::NOMEM,
                format!(
                    "{}: {total} rings are more than are left of the {MAX_KRINGS} of this world, which is fixed: close \
                     some ports, or use a second world (UVALE_DIR)",
                    na.label()
                ),
            )
        })?;
        // tx krings first; indexed by direction, so rx comes first here
        let first = [start + n[TX], start];
        let make = |dir: usize| {
            let krings = (0..n[dir]).map(|i| {
                let (index, slots) = (first[dir] + i, na.slots[dir]);
                configure(
                    self.kring(index),
                    na.port,
                    generation,
                    region,
                    dir,
                    i,
                    slots,
                );
                self.kring(index).wire.store(na.wire(dir, i), Relaxed);
                self.kring(index).changed();
                Kring {
                    index,
                    slots,
                    users: 0,
                    exclusive: false,
                    fake: i >= na.rings[dir] && !na.has_host_rings(),
                    needed: false,
                    on: false,
                    pending_on: false,
                    ring: None,
                    offsets: Offsets::default(),
                    watchers: Default::default(),
                }
            });
            krings.collect::<Vec<_>>()
        };
        let by_dir = DIRS.map(make);
        let port = self.port(na.port);
        port.set_name(&na.name);
        port.region.store(region, Relaxed);
        port.num_tx_rings.store(na.rings[TX], Relaxed);
        port.num_rx_rings.store(na.rings[RX], Relaxed);
        port.tx_kring.store(first[TX], Relaxed);
        port.rx_kring.store(first[RX], Relaxed);
        port.generation.store(generation, Release);
        self.adapters[id].krings = Some(Krings {
            range: (start, total),
            by_dir,
            in_hand: Vec::new(),
        });
        Ok(())
    }

    /// Puts the wanted rings into service (`on`), or takes out those that nobody wants any more.
    /// Whoever sees a ring in service sees everything that was written before.
    pub(super) fn commit_modes(&mut self, id: AdapterId, on: bool) {
        for dir in DIRS {
            for i in 0..self.adapters[id].krings(dir).len() {
                let k = &mut self.adapters[id].krings_mut(dir)[i];
                if k.ring.is_some() && k.pending_on != k.on && k.pending_on == on {
                    k.on = on;
                    let index = k.index;
                    self.kring(index)
                        .set_mode(if on { RING_ON } else { RING_OFF });
                }
            }
        }
    }

    /// Shows whether any descriptor is bound to the adapter.
    pub(super) fn show_port_on(&self, id: AdapterId, on: bool) {
        let port = self.port(self.adapters[id].port);
        let flags = port.flags.load(Relaxed);
        let flags = if on {
            flags | PORT_ON
        } else {
            flags & !PORT_ON
        };
        port.flags.store(flags, Release);
    }

    /// Does a commit have something to do for the rings of `first..last`?
    pub(super) fn modes_pending(&self, id: AdapterId, first: [u32; 2], last: [u32; 2]) -> bool {
        DIRS.iter().any(|&dir| {
            let krings = self.adapters[id].krings(dir);
            (first[dir]..last[dir])
                .filter_map(|i| krings.get(i as usize))
                .any(|k| k.on != k.pending_on)
        })
    }
}
