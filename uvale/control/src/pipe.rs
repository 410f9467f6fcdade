//! Pipes. Both ends are made together and share the memory of the port they are made on.
//!
//! | references to | the pipe | krings |
//! |---|---|---|
//! | one end, or both | lives, both ends of it | of both ends, while any descriptor is bound |
//! | none | goes, both ends of it | none |
//!
//! The rings of both ends exist as soon as one end has them in service. From then on no ring
//! owns its buffers: those move between the rings of a pair, and are freed with the pipe.

use core::sync::atomic::Ordering::Relaxed;

use nm_abi::{NR_REG_ALL_NIC, NR_REG_ONE_NIC, nmreq_register};
use rustix::io::Errno;

use super::adapter::{Adapter, AdapterId, DIRS, Kind, NAME_MAX, Name, Role, opposite};
use super::memory::MemId;
use super::rings::slots;
use super::vale::bound;
use super::{Refusal, Result, World};
use uvale_engine::{RX, TX};

const MAX_SLOTS: u32 = 4096;
const MAX_RINGS: u32 = 256;
const MAX_PIPES: usize = 64;

/// The name of a pipe's end, taken apart at its last brace.
struct PipeName<'a> {
    base: &'a [u8],
    id: &'a [u8],
    role: Role,
}

/// `None` if `name` has no brace. An opening brace takes precedence over a closing one.
fn split(name: &[u8]) -> Option<PipeName<'_>> {
    let find = |c: u8| name.iter().rposition(|b| *b == c);
    let (at, role) = match (find(b'{'), find(b'}')) {
        (Some(at), _) => (at, Role::Master),
        (None, Some(at)) => (at, Role::Slave),
        (None, None) => return None,
    };
    Some(PipeName {
        base: &name[..at],
        id: &name[at + 1..],
        role,
    })
}

fn end_name(parent: &[u8], role: Role, id: &[u8]) -> Name {
    let brace = if role == Role::Master { b'{' } else { b'}' };
    let mut name = parent.to_vec();
    name.push(brace);
    name.extend_from_slice(id);
    name.truncate(NAME_MAX);
    name
}

impl World {
    /// netmap_get_pipe_na: the end of a pipe called `name`, with a reference; `None` if that is not
    /// the name of a pipe.
    pub(super) fn get_pipe(
        &mut self,
        name: &[u8],
        reg: &mut nmreq_register,
        mem: Option<MemId>,
        create: bool,
    ) -> Result<Option<AdapterId>> {
        let Some(pipe) = split(name) else {
            return Ok(None);
        };
        let label = String::from_utf8_lossy(name).into_owned();
        if pipe.id.is_empty() || pipe.base.is_empty() {
            return Err(Refusal::new(
                Errno::INVAL,
                format!(
                    "{label:?}: a pipe takes a port's name before the brace and an id after it"
                ),
            ));
        }
        if reg.nr_mode != NR_REG_ALL_NIC && reg.nr_mode != NR_REG_ONE_NIC {
            return Err(Refusal::new(
                Errno::INVAL,
                format!(
                    "{label}: pipes have no host rings; register mode {} is not for them",
                    reg.nr_mode
                ),
            ));
        }
        let parent = self.get_pipe_parent(pipe.base, reg, mem, create)?;
        if let Err(refusal) = self.refuse_joined(parent) {
            self.put_adapter(parent);
            return Err(refusal);
        }
        let known = self.adapters[parent].pipes.iter().copied().find(
            |master| matches!(&self.adapters[*master].kind, Kind::Pipe { id, .. } if id == pipe.id),
        );
        if let Some(master) = known {
            self.put_adapter(parent);
            let end = match (pipe.role, self.adapters[master].peer()) {
                (Role::Slave, Some(slave)) => slave,
                _ => master,
            };
            return Ok(Some(self.get_adapter(end)));
        }
        if !create {
            self.put_adapter(parent);
            return Err(Refusal::new(Errno::NODEV, format!("{label}: no such pipe")));
        }
        match self.new_pipe(parent, &pipe, reg) {
            Ok(end) => Ok(Some(self.get_adapter(end))),
            Err(refusal) => {
                self.put_adapter(parent);
                Err(refusal)
            }
        }
    }

    /// The port that a pipe is on. If there is none of that name, a persistent port is created that
    /// lives as long as its pipes.
    fn get_pipe_parent(
        &mut self,
        base: &[u8],
        reg: &mut nmreq_register,
        mem: Option<MemId>,
        create: bool,
    ) -> Result<AdapterId> {
        match self.get_na(base, reg, mem, create) {
            Err(refusal) if refusal.errno == Errno::NXIO => {
                // netmap's errno, and the reason that netmap does not give
                let made = self.new_persistent(base, reg, true);
                let found = made
                    .map_err(|made| Refusal::new(refusal.errno, made.why))
                    .and_then(|()| self.get_na(base, reg, mem, create));
                // A base with a brace of its own is looked up as a pipe, and may be refused as one.
                if let (Err(_), Some(&unused)) = (&found, self.interfaces.get(base)) {
                    self.get_adapter(unused);
                    self.put_adapter(unused);
                }
                found
            }
            found => found,
        }
    }

    /// Makes both ends and returns the wanted one. The master takes over the caller's reference to
    /// the parent, the slave takes one of its own.
    fn new_pipe(
        &mut self,
        parent: AdapterId,
        pipe: &PipeName<'_>,
        reg: &nmreq_register,
    ) -> Result<AdapterId> {
        let pna = &self.adapters[parent];
        if pna.pipes.len() >= MAX_PIPES {
            return Err(Refusal::new(
                Errno::INVAL,
                format!(
                    "{} has {MAX_PIPES} pipes, which is all a port takes",
                    pna.label()
                ),
            ));
        }
        let (mut rings, mut slots) = ([0; 2], [0; 2]);
        rings[TX] = bound(reg.nr_tx_rings.into(), 1, 1, MAX_RINGS);
        rings[RX] = bound(reg.nr_rx_rings.into(), 1, 1, MAX_RINGS);
        slots[TX] = bound(reg.nr_tx_slots, pna.slots[TX], 1, MAX_SLOTS);
        slots[RX] = bound(reg.nr_rx_slots, pna.slots[RX], 1, MAX_SLOTS);
        let (parent_name, mem, buf_size) = (pna.name.clone(), pna.mem, pna.buf_size);
        let master_port = self.new_port_record()?;
        let slave_port = self
            .new_port_record()
            .inspect_err(|_| self.undo_port_record(master_port))?;
        let swap = |pair: [u32; 2]| DIRS.map(|dir| pair[opposite(dir)]);
        let end = |world: &mut Self, role, port, rings, slots| {
            let name = end_name(&parent_name, role, pipe.id);
            let kind = Kind::Pipe {
                role,
                id: pipe.id.to_vec(),
                parent,
                peer: 0,
            };
            Adapter {
                buf_size,
                ..Adapter::new(name, kind, rings, slots, world.memories.get(mem), port)
            }
        };
        let master = end(self, Role::Master, master_port, rings, slots);
        let slave = end(self, Role::Slave, slave_port, swap(rings), swap(slots));
        let (master, slave) = (self.adapters.add(master), self.adapters.add(slave));
        for (one, other) in [(master, slave), (slave, master)] {
            if let Kind::Pipe { peer, .. } = &mut self.adapters[one].kind {
                *peer = other;
            }
        }
        self.adapters[parent].pipes.push(master);
        self.get_adapter(parent);
        Ok(if pipe.role == Role::Master {
            master
        } else {
            slave
        })
    }

    fn undo_port_record(&mut self, port: u32) {
        self.free_port_record(port);
    }

    /// The destructor's part for an end of a pipe.
    pub(super) fn leave_parent(&mut self, id: AdapterId) {
        let Kind::Pipe { role, parent, .. } = self.adapters[id].kind else {
            return;
        };
        if role == Role::Master {
            let pipes = &mut self.adapters[parent].pipes;
            if let Some(at) = pipes.iter().position(|p| *p == id) {
                pipes.swap_remove(at);
            }
        }
        self.put_adapter(parent);
    }

    /// netmap_pipe_krings_create: the krings of both ends, linked crosswise, if this is the first
    /// end to be opened. Those of the other end have no buffers of their own.
    pub(super) fn create_pipe_krings(&mut self, id: AdapterId) -> Result<()> {
        let Some(peer) = self.adapters[id].peer() else {
            return Ok(());
        };
        if self.adapters[id].krings.is_some() {
            return Ok(());
        }
        self.create_krings(id)?;
        if let Err(refusal) = self.create_krings(peer) {
            self.delete_krings(id);
            return Err(refusal);
        }
        for dir in DIRS {
            for i in 0..self.adapters[id].rings[dir] as usize {
                let theirs = &mut self.adapters[peer].krings_mut(opposite(dir))[i];
                theirs.fake = true;
                let (a, b) = (
                    self.adapters[id].krings(dir)[i].index,
                    self.adapters[peer].krings(opposite(dir))[i].index,
                );
                for (end, other) in [(a, b), (b, a)] {
                    self.kring(end).pipe.store(other + 1, Relaxed);
                    self.kring(end).changed();
                }
            }
        }
        Ok(())
    }

    /// netmap_pipe_reg, with `on`: puts the wanted rings of this end into service and makes the
    /// rings of the other end that they need. Without: takes rings out of service.
    pub(super) fn register_pipe(&mut self, id: AdapterId, peer: AdapterId, on: bool) -> Result<()> {
        if on {
            self.share_rings(id, peer)?;
        }
        self.commit_modes(id, on);
        Ok(())
    }

    fn share_rings(&mut self, id: AdapterId, peer: AdapterId) -> Result<()> {
        for dir in DIRS {
            for i in 0..self.adapters[id].rings[dir] as usize {
                if self.comes_on(id, dir, i) {
                    self.adapters[peer].krings_mut(opposite(dir))[i].needed = true;
                }
            }
        }
        self.create_rings(peer)?;
        for dir in DIRS {
            for i in 0..self.adapters[id].rings[dir] as usize {
                if self.comes_on(id, dir, i) {
                    self.share_buffers(id, peer, dir, i)?;
                }
            }
        }
        Ok(())
    }

    fn comes_on(&self, id: AdapterId, dir: usize, i: usize) -> bool {
        let k = &self.adapters[id].krings(dir)[i];
        k.pending_on && !k.on
    }

    /// From now on both rings of a pair show the same buffers and neither owns them. A pair that
    /// was shared before stays as it is: its state outlives an end that was closed.
    fn share_buffers(
        &mut self,
        id: AdapterId,
        peer: AdapterId,
        dir: usize,
        i: usize,
    ) -> Result<()> {
        let (ours, theirs) = (
            &self.adapters[id].krings(dir)[i],
            &self.adapters[peer].krings(opposite(dir))[i],
        );
        let (Some(our_ring), Some(their_ring)) = (ours.ring, theirs.ring) else {
            return Ok(());
        };
        let (from, to) = match (ours.fake, theirs.fake) {
            (true, true) => return Ok(()),
            // The end opened second brings rings that the first one had left out.
            (true, false) => (their_ring, our_ring),
            (false, _) => (our_ring, their_ring),
        };
        let region = self.memories.active_region(self.adapters[id].mem)?;
        for (a, b) in slots(region, from)?.iter().zip(slots(region, to)?) {
            b.store_full(a.load_full());
        }
        self.copy_offset_mask(self.adapters[id].mem, our_ring, their_ring)?;
        for (end, dir) in [(id, dir), (peer, opposite(dir))] {
            let k = &mut self.adapters[end].krings_mut(dir)[i];
            k.fake = true;
            k.needed = true;
        }
        Ok(())
    }
}
