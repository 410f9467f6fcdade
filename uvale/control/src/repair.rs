//! After a client died: its locks are broken, half-done work on pipes is repaired, and the
//! buffers of shared regions are counted.
//!
//! What a dead process had not published has not happened. On a VALE port nothing needs repair:
//! slots beyond hwtail were never shown. On a pipe a slot belongs to the side that `pipe_tail`
//! says, and hwcur is brought back in line with it:
//!
//! | ring | hwcur becomes | so |
//! |---|---|---|
//! | tx | the peer's `pipe_tail` | what was copied but not shown is sent again |
//! | rx | the slot after the peer's `pipe_tail` | what was shown as returned is not returned twice |
//!
//! A zero-copy monitor takes its buffers from the monitored ring, one exchange after the other; a NIC port
//! exchanges the buffers of its tx ring with those of the rx ring that it is joined with, several at a time.
//! What is unfinished is undone before the locks that protect the slots are broken.
//!
//! | of a pair of slots, the exchange has | tx slot shows | rx slot shows | undone by |
//! |---|---|---|---|
//! | not begun | its own | its own | - |
//! | stored the rx slot | its own | the tx slot's | the rx slot's own, as written down |
//! | stored both | the rx slot's | the tx slot's | the tx slot gets what the rx slot shows, then the same |

use core::sync::atomic::Ordering::{Acquire, Relaxed};
use std::collections::HashSet;

use super::World;
use super::adapter::DIRS;
use super::krings::is_quiet;
use super::memory::{MemId, Which};
use uvale_engine::{RX, TX};
use uvale_shared::ctl::{Kring, SWAPS};
use uvale_shared::lock::DAEMON_SESSION;
use uvale_shared::lock::LockWord;
use uvale_shared::shm::{RingView, Slot, SlotView};

/// What a repair or an audit has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// the dead session held a lock of this ring
    LockBroken {
        /// name of the port
        port: String,
        /// ring number
        ring: u32,
        /// tx ring
        tx: bool,
    },
    /// the same buffer is in two slots that programs own
    Doubled {
        /// nr_mem_id
        mem_id: u16,
        /// index of the buffer
        buffer: u32,
    },
    /// buffers that are not free and in no slot or list; programs that asked for extra buffers
    /// may have them
    Missing {
        /// nr_mem_id
        mem_id: u16,
        /// how many
        count: u32,
    },
    /// buffers that are free and in a slot or list
    FreeInUse {
        /// nr_mem_id
        mem_id: u16,
        /// how many
        count: u32,
    },
}

impl core::fmt::Display for Finding {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::LockBroken { port, ring, tx } => {
                let dir = if *tx { "tx" } else { "rx" };
                write!(
                    f,
                    "{port}: {dir} ring {ring} was held by a process that has ended, and is free again"
                )
            }
            Self::Doubled { mem_id, buffer } => {
                write!(f, "memory {mem_id}: buffer {buffer} is in two slots")
            }
            Self::Missing { mem_id, count } => {
                write!(
                    f,
                    "memory {mem_id}: {count} buffers are in no slot and not free"
                )
            }
            Self::FreeInUse { mem_id, count } => {
                write!(
                    f,
                    "memory {mem_id}: {count} buffers are in a slot and free as well"
                )
            }
        }
    }
}

/// Is the lock held by one of the dead?
fn holds(dead: &HashSet<u32>, lock: &LockWord) -> bool {
    let owner = lock.owner();
    owner != 0 && dead.contains(&owner)
}

fn break_dead(dead: &HashSet<u32>, lock: &LockWord) -> bool {
    let owner = lock.owner();
    dead.contains(&owner) && lock.break_dead(owner)
}

fn set_buffer(slot: &SlotView, buf_idx: u32) {
    slot.store(Slot {
        buf_idx,
        ..slot.load()
    });
}

impl World {
    /// A session is gone: frees what it had locked. Returns what was found.
    pub fn session_died(&mut self, session: u32) -> Vec<Finding> {
        self.sessions_died(&[session])
    }

    /// Sessions are gone: frees what they had locked, in one pass over all rings. Returns what was
    /// found.
    pub fn sessions_died(&mut self, sessions: &[u32]) -> Vec<Finding> {
        let clients = |session: &u32| *session > DAEMON_SESSION;
        let dead: HashSet<u32> = sessions.iter().copied().filter(clients).collect();
        if dead.is_empty() {
            return Vec::new();
        }
        for session in &dead {
            self.processes.remove(session);
        }
        self.end_kloops_of(&dead);
        self.undo_exchanges(&dead);
        self.undo_swaps(&dead);
        let mut findings = Vec::new();
        let mut touched: Vec<MemId> = Vec::new();
        for (_, na) in self.adapters.iter() {
            for dir in DIRS {
                for (i, k) in na.krings(dir).iter().enumerate() {
                    let shared = self.kring(k.index);
                    if self.repair(shared, k.slots, &dead) {
                        findings.push(Finding::LockBroken {
                            port: na.label(),
                            ring: i as u32,
                            tx: dir == TX,
                        });
                        if !touched.contains(&na.mem) {
                            touched.push(na.mem);
                        }
                    }
                }
            }
        }
        for index in self.buried_krings() {
            let shared = self.kring(index);
            self.repair(shared, shared.num_slots.load(Relaxed), &dead);
        }
        self.collect();
        for mem in touched {
            findings.extend(self.audit_at_rest(mem));
        }
        findings
    }

    /// Undoes exchanges of buffers that the dead had begun between two rings.
    fn undo_exchanges(&self, dead: &HashSet<u32>) {
        let live = self
            .adapters
            .iter()
            .flat_map(|(_, na)| na.krings(RX).iter().map(|k| k.index));
        for index in live.chain(self.buried_krings()) {
            let monitor = self.kring(index);
            if !holds(dead, &monitor.q_lock) {
                continue;
            }
            if let Some((with, [theirs, own])) = monitor.exchange.under_way() {
                let region = |i: u32| Some(self.ctl.kring(i)?.region.load(Relaxed));
                if region(with) == region(index) {
                    self.put_buffer(with, theirs);
                    self.put_buffer(index, own);
                }
                monitor.exchange.settle();
            }
        }
    }

    /// Undoes exchanges of buffers that the dead had begun between the rings of joined NIC ports.
    fn undo_swaps(&self, dead: &HashSet<u32>) {
        let live = self
            .adapters
            .iter()
            .flat_map(|(_, na)| na.krings(TX).iter().map(|k| k.index));
        for index in live.chain(self.buried_krings()) {
            let sender = self.kring(index);
            if !holds(dead, &sender.busy) {
                continue;
            }
            let with = sender.swap.with.load(Acquire);
            let receiver = with.checked_sub(1).and_then(|i| u32::try_from(i).ok());
            if let Some(receiver) = receiver {
                self.undo_swap(dead, index, receiver);
            }
            sender.swap.with.store(0, Relaxed);
        }
    }

    /// Nothing is stored unless all that is written down can be true.
    fn undo_swap(&self, dead: &HashSet<u32>, sender: u32, receiver: u32) {
        let (tx, Some(rx)) = (self.kring(sender), self.ctl.kring(receiver)) else {
            return;
        };
        let (slots, count) = (tx.swap.slots.load(Relaxed), tx.swap.count.load(Relaxed));
        let same_region = tx.region.load(Relaxed) == rx.region.load(Relaxed);
        if !holds(dead, &rx.q_lock) || !same_region || count > SWAPS as u64 {
            return;
        }
        let (Some(from), Some(to)) = (self.slots_of(sender), self.slots_of(receiver)) else {
            return;
        };
        let first = [slots as u32 as usize, (slots >> 32) as usize];
        if first[0] >= from.len() || first[1] >= to.len() {
            return;
        }
        let region = self.memories.region(tx.region.load(Relaxed));
        let is_buffer = |b| region.is_some_and(|region| region.pool().is_valid(b));
        for (i, own) in tx.swapped.iter().take(count as usize).enumerate() {
            let own = own.load(Relaxed);
            let sent = &from[(first[0] + i) % from.len()];
            let filled = &to[(first[1] + i) % to.len()];
            let exchanged = filled.load().buf_idx;
            if sent.load().buf_idx == own {
                // What the receiving program has written there is no buffer: there is nothing to take back.
                if !is_buffer(exchanged) {
                    continue;
                }
                set_buffer(sent, exchanged);
            }
            set_buffer(filled, own);
        }
        // They are sent next; those before them, exchanged and perhaps not shown, are not sent again.
        tx.hwcur.store(first[0] as u32, Relaxed);
    }

    /// The slots of kring `index`, if it has a ring.
    fn slots_of(&self, index: u32) -> Option<&[SlotView]> {
        let k = self.ctl.kring(index)?;
        let region = self.memories.region(k.region.load(Relaxed))?;
        let n = k.num_slots.load(Relaxed);
        let ring = RingView::new(region.map(), k.ring_ofs.load(Relaxed), n)?;
        Some(ring.slots())
    }

    /// Stores the buffer's index in a slot of kring `index`; nothing if there is no such slot.
    fn put_buffer(&self, index: u32, (slot, buf_idx): (u32, u32)) {
        let slots = self.slots_of(index);
        if let Some(view) = slots.and_then(|slots| slots.get(slot as usize)) {
            set_buffer(view, buf_idx);
        }
    }

    /// Repairs one ring and breaks its locks. True if one of the dead held any.
    fn repair(&self, k: &Kring, slots: u32, dead: &HashSet<u32>) -> bool {
        let synced = holds(dead, &k.busy);
        if synced
            && let Some(peer) = k
                .pipe
                .load(Relaxed)
                .checked_sub(1)
                .and_then(|i| self.ctl.kring(i))
        {
            let published = peer.pipe_tail.load(Acquire);
            let hwcur = if k.dir.load(Relaxed) != 0 {
                published
            } else {
                published.wrapping_add(1) % slots.max(1)
            };
            if published < slots {
                k.hwcur.store(hwcur, Relaxed);
            }
        }
        let busy = synced && break_dead(dead, &k.busy);
        let filling = holds(dead, &k.q_lock);
        if filling {
            // What was filled and not shown has not happened.
            k.filled.store(k.hwtail.load(Acquire), Relaxed);
        }
        let filling = filling && break_dead(dead, &k.q_lock);
        busy || filling
    }

    /// Counts the buffers of a memory while none of its rings is in a sync. If one is, nothing is
    /// found: the daemon waits for nobody.
    fn audit_at_rest(&self, mem: MemId) -> Vec<Finding> {
        let ctl = self.ctl.clone();
        let users = self.adapters.iter().filter(|(_, na)| na.mem == mem);
        let krings = users.flat_map(|(_, na)| DIRS.iter().flat_map(|dir| na.krings(*dir)));
        let mut guards = Vec::new();
        for k in krings.filter_map(|k| ctl.kring(k.index)) {
            let locked = [&k.busy, &k.q_lock].map(|lock| lock.try_lock(DAEMON_SESSION));
            let [Some(busy), Some(q_lock)] = locked else {
                return Vec::new();
            };
            guards.extend([busy, q_lock]);
        }
        let mut found = self.audit_memory(mem);
        if !found.is_empty() {
            // A program that exchanges two buffers right now shows one of them twice.
            let again = self.audit_memory(mem);
            found.retain(|f| again.contains(f));
        }
        found
    }

    /// Counts the buffers of all memories in use. While rings are in syncs a buffer can seem to be
    /// missing or in two places; otherwise the result is exact.
    pub fn audit(&self) -> Vec<Finding> {
        let used = self
            .memories
            .iter()
            .filter(|m| m.active > 0 && m.region.is_some());
        used.flat_map(|m| self.audit_memory(m.id)).collect()
    }

    fn audit_memory(&self, mem: MemId) -> Vec<Finding> {
        let memory = self.memories.at(mem);
        let (Ok(pool), Ok(owned)) = (memory.pool(Which::Buf), self.owned_buffers(mem)) else {
            return Vec::new();
        };
        if memory.active == 0 {
            return Vec::new();
        }
        let mut times = vec![0u8; pool.total() as usize];
        for buffer in owned {
            times[buffer as usize] = times[buffer as usize].saturating_add(1);
        }
        let mut findings: Vec<Finding> = (2..pool.total())
            .filter(|b| times[*b as usize] > 1)
            .map(|buffer| Finding::Doubled {
                mem_id: mem,
                buffer,
            })
            .collect();
        let count = |f: &dyn Fn(u32) -> bool| {
            let usable = (2..pool.total()).filter(|b| pool.is_usable(*b));
            usable.filter(|b| f(*b)).count() as u32
        };
        let missing = count(&|b| !pool.is_free(b) && times[b as usize] == 0);
        let free_in_use = count(&|b| pool.is_free(b) && times[b as usize] > 0);
        if missing > 0 {
            findings.push(Finding::Missing {
                mem_id: mem,
                count: missing,
            });
        }
        if free_in_use > 0 {
            findings.push(Finding::FreeInUse {
                mem_id: mem,
                count: free_in_use,
            });
        }
        findings
    }

    /// Are all rings of all ports free of locks? For tests and reports.
    pub fn is_quiet(&self) -> bool {
        self.adapters.iter().all(|(_, na)| {
            DIRS.iter().flat_map(|dir| na.krings(*dir)).all(|k| {
                let k = self.kring(k.index);
                k.busy.owner() == 0 && k.q_lock.owner() == 0
            })
        }) && self.buried_krings().all(|i| is_quiet(&self.ctl, i))
    }
}
