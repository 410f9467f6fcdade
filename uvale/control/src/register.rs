//! REGISTER: from a name to an adapter, and from an adapter to a descriptor bound to its rings.

use core::sync::atomic::Ordering::{Relaxed, Release};

use nm_abi::*;
use rustix::io::Errno;

use super::adapter::{AdapterId, DIRS, Kind, Kring};
use super::caller::Caller;
use super::memory::Which;
use super::options::all_served;
use super::registration::{Bound, Kloop, Selection};
use super::{ClientId, Refusal, Result, World};
use uvale_engine::{RX, TX};
use uvale_request::OptionCopy;
use uvale_shared::binding::Binding;
use uvale_shared::ctl::PORT_SLEEPERS;
use uvale_shared::extra::Extra;

impl World {
    /// The body of REGISTER.
    pub(super) fn register(
        &mut self,
        client: ClientId,
        caller: &mut Caller,
        name: &[u8],
        reg: &mut nmreq_register,
        options: &mut [OptionCopy],
    ) -> Result<()> {
        if let Some(bound) = self.bound(client) {
            let label = bound.binding.name.clone();
            return Err(Refusal::new(
                Errno::BUSY,
                format!("this descriptor is bound to {label} already"),
            ));
        }
        let mem = match (self.extmem_option(caller, options)?, reg.nr_mem_id) {
            (None, 0) => None,
            (None, id) => Some(self.memories.find(id)?),
            (external, _) => external,
        };
        let found = self.get_na(name, reg, mem, true);
        if let Some(mem) = mem {
            self.memories.put(mem);
        }
        let id = found?;
        let done = self.register_adapter(client, caller, id, reg, options);
        if done.is_err() {
            self.put_adapter(id);
        }
        done
    }

    fn register_adapter(
        &mut self,
        client: ClientId,
        caller: &mut Caller,
        id: AdapterId,
        reg: &mut nmreq_register,
        options: &mut [OptionCopy],
    ) -> Result<()> {
        self.refuse_joined(id)?;
        let na = &self.adapters[id];
        if na.virt_hdr_len != 0 && reg.nr_flags & NR_ACCEPT_VNET_HDR == 0 {
            return Err(Refusal::new(
                Errno::IO,
                format!(
                    "{} has headers of {} bytes: open it with NR_ACCEPT_VNET_HDR",
                    na.label(),
                    na.virt_hdr_len
                ),
            ));
        }
        self.bind(client, id, reg, options)?;
        self.holds_since_now(client);
        let finished = self.finish_register(client, caller, reg, options);
        if finished.is_err() {
            self.unbind(client);
        }
        finished
    }

    /// Fills the answer of a REGISTER that succeeded, and allocates the extra buffers.
    fn finish_register(
        &mut self,
        client: ClientId,
        caller: &mut Caller,
        reg: &mut nmreq_register,
        options: &mut [OptionCopy],
    ) -> Result<()> {
        self.register_csb(client, caller, options)?;
        let Some(bound) = self.bound(client) else {
            return Ok(());
        };
        let (na, netmap_if) = (&self.adapters[bound.id], bound.netmap_if);
        reg.nr_rx_rings = na.rings[RX] as u16;
        reg.nr_tx_rings = na.rings[TX] as u16;
        reg.nr_rx_slots = na.slots[RX];
        reg.nr_tx_slots = na.slots[TX];
        reg.nr_host_tx_rings = na.host_rings[TX] as u16;
        reg.nr_host_rx_rings = na.host_rings[RX] as u16;
        reg.nr_memsize = bound.binding.mem_size;
        reg.nr_offset = bound.offset;
        reg.nr_mem_id = na.mem;
        let mem = na.mem;
        if reg.nr_extra_bufs > 0 {
            let extra = self.alloc_extra(mem, netmap_if, reg.nr_extra_bufs)?;
            reg.nr_extra_bufs = extra.len();
            caller.extra = extra.clone();
            if let Some(Some(bound)) = self.clients.get_mut(&client.0) {
                bound.extra = extra;
            }
        }
        all_served(options)
    }

    /// netmap_do_regif: binds the descriptor to rings of `id`.
    fn bind(
        &mut self,
        client: ClientId,
        id: AdapterId,
        reg: &nmreq_register,
        options: &mut [OptionCopy],
    ) -> Result<()> {
        let mem = self.adapters[id].mem;
        self.memories.finalize(mem)?;
        if self.adapters[id].active == 0 {
            self.adapters[id].buf_size = self.memories.at(mem).pool(Which::Buf)?.size();
            self.update_config(id);
        }
        let bound = self.bind_rings(client, id, reg, options);
        match bound {
            Ok(bound) => {
                self.adapters[id].active += 1;
                self.ctl.count_arrival();
                if let Some(c) = self.clients.get_mut(&client.0) {
                    *c = Some(bound);
                }
                Ok(())
            }
            Err(refusal) => {
                self.drop_memory(id);
                Err(refusal)
            }
        }
    }

    fn bind_rings(
        &mut self,
        client: ClientId,
        id: AdapterId,
        reg: &nmreq_register,
        options: &mut [OptionCopy],
    ) -> Result<Bound> {
        let selection = self.select(id, reg)?;
        let first_user = self.adapters[id].active == 0;
        if first_user {
            if selection.first[RX] != selection.last[RX] {
                self.check_mtu(id)?;
            }
            match self.adapters[id].kind {
                Kind::Pipe { .. } => self.create_pipe_krings(id)?,
                _ => self.create_krings(id)?,
            }
        }
        let bound = self.take_rings(id, &selection).and_then(|()| {
            let made = self.bring_up(id, &selection, options);
            made.inspect_err(|_| {
                self.release_rings(id, &selection);
                self.delete_rings(id);
            })
        });
        let netmap_if = bound.inspect_err(|_| {
            if first_user {
                self.drop_krings(id);
            }
        })?;
        self.describe(client, id, netmap_if, &selection, reg)
    }

    /// Rings, `netmap_if`, service. Returns the number of the `netmap_if`.
    fn bring_up(
        &mut self,
        id: AdapterId,
        selection: &Selection,
        options: &mut [OptionCopy],
    ) -> Result<u32> {
        self.create_rings(id)?;
        self.offsets_option(id, selection, options)?;
        let netmap_if = self.new_netmap_if(id, selection.first, selection.last)?;
        if self.adapters[id].active == 0 || self.modes_pending(id, selection.first, selection.last)
        {
            let mem = self.adapters[id].mem;
            self.set_mode(id, true).inspect_err(|_| {
                // Cannot fail: it was made above.
                let _ = self.delete_netmap_if(mem, netmap_if, &Extra::default());
            })?;
        }
        Ok(netmap_if)
    }

    /// nm_register of each kind.
    fn set_mode(&mut self, id: AdapterId, on: bool) -> Result<()> {
        match self.adapters[id].kind {
            Kind::Pipe { peer, .. } => self.register_pipe(id, peer, on)?,
            Kind::Monitor { .. } => self.register_monitor(id, on),
            Kind::Nic(_) => self.register_nic(id, on)?,
            _ => self.commit_modes(id, on),
        }
        if self.adapters[id].active == 0 {
            self.show_port_on(id, on);
        }
        Ok(())
    }

    /// nm_krings_delete of each kind, when no descriptor is bound to `id` any more. Those of a
    /// pipe stay as long as the other end is open.
    fn drop_krings(&mut self, id: AdapterId) {
        match self.adapters[id].peer() {
            None => self.delete_krings(id),
            Some(peer) if self.adapters[peer].active == 0 => self.delete_pipe_krings(id, peer),
            Some(_) => {}
        }
    }

    /// One user of the adapter's memory less; the last descriptor restores the memory that the
    /// adapter had before a request replaced it.
    pub(super) fn drop_memory(&mut self, id: AdapterId) {
        let mem = self.adapters[id].mem;
        self.memories.deref(mem);
        if self.adapters[id].active == 0 {
            self.restore_memory(id);
        }
    }

    /// netmap_mem_restore.
    pub(super) fn restore_memory(&mut self, id: AdapterId) {
        let na = &mut self.adapters[id];
        if let Some(before) = na.mem_before.take() {
            let mem = core::mem::replace(&mut na.mem, before);
            self.memories.put(mem);
        }
    }

    /// netmap_interp_ringid: the rings that mode, ring number and flags select.
    pub(super) fn select(&self, id: AdapterId, reg: &nmreq_register) -> Result<Selection> {
        let na = &self.adapters[id];
        let bad = |why: String| Refusal::new(Errno::INVAL, format!("{}: {why}", na.label()));
        let excluded = [NR_TX_RINGS_ONLY, NR_RX_RINGS_ONLY];
        let (mut first, mut last) = ([0; 2], [0; 2]);
        let one = |of: [u32; 2], dir: usize, what: &str| {
            let ring = u32::from(reg.nr_ringid);
            if ring >= of[TX] && ring >= of[RX] {
                let why = format!(
                    "no {what}ring {ring}: it has {} tx and {} rx",
                    of[TX], of[RX]
                );
                return Err(bad(why));
            }
            Ok(if ring < of[dir] { ring } else { 0 })
        };
        for dir in DIRS {
            if reg.nr_flags & excluded[dir] != 0 {
                continue;
            }
            let nic = na.rings[dir];
            let range = match reg.nr_mode {
                NR_REG_ALL_NIC | NR_REG_NULL => 0..nic,
                NR_REG_ONE_NIC => {
                    let ring = one(na.rings, dir, "")?;
                    ring..ring + 1
                }
                NR_REG_SW | NR_REG_NIC_SW | NR_REG_ONE_SW if !na.has_host_rings() => {
                    return Err(bad("it has no host rings".into()));
                }
                NR_REG_SW => nic..na.all_rings(dir),
                NR_REG_NIC_SW => 0..na.all_rings(dir),
                NR_REG_ONE_SW => {
                    let ring = nic + one(na.host_rings, dir, "host ")?;
                    ring..ring + 1
                }
                mode => return Err(bad(format!("register mode {mode} does not exist"))),
            };
            (first[dir], last[dir]) = (range.start, range.end);
        }
        Ok(Selection {
            first,
            last,
            exclusive: reg.nr_flags & NR_EXCLUSIVE != 0,
        })
    }

    /// netmap_krings_get: counts one user more on each selected ring, if exclusive use allows.
    fn take_rings(&mut self, id: AdapterId, s: &Selection) -> Result<()> {
        for dir in DIRS {
            for i in s.first[dir]..s.last[dir] {
                let na = &self.adapters[id];
                let k = &na.krings(dir)[i as usize];
                if k.exclusive || k.users > 0 && s.exclusive {
                    let what = match na.rings[dir] {
                        0 | 1 if i < na.rings[dir].max(1) => na.label(),
                        _ => na.ring_label(dir, i),
                    };
                    let (how, so) = if k.exclusive {
                        ("held exclusively", "")
                    } else {
                        ("open already", ", so it cannot be opened exclusively")
                    };
                    let by = self.by_holders_of_ring(id, dir, i);
                    return Err(Refusal::new(
                        Errno::BUSY,
                        format!("{what} is {how}{by}{so}"),
                    ));
                }
            }
        }
        self.for_selected(id, s, |k| {
            k.users += 1;
            k.exclusive |= s.exclusive;
            k.pending_on = true;
        });
        Ok(())
    }

    /// netmap_krings_put.
    fn release_rings(&mut self, id: AdapterId, s: &Selection) {
        self.for_selected(id, s, |k| {
            if s.exclusive {
                k.exclusive = false;
            }
            k.users = k.users.saturating_sub(1);
            if k.users == 0 {
                k.pending_on = false;
            }
        });
    }

    fn for_selected(&mut self, id: AdapterId, s: &Selection, mut f: impl FnMut(&mut Kring)) {
        for dir in DIRS {
            let krings = self.adapters[id].krings_mut(dir);
            krings[s.first[dir] as usize..s.last[dir] as usize]
                .iter_mut()
                .for_each(&mut f);
        }
    }

    fn describe(
        &mut self,
        client: ClientId,
        id: AdapterId,
        netmap_if: u32,
        s: &Selection,
        reg: &nmreq_register,
    ) -> Result<Bound> {
        let na = &self.adapters[id];
        let memory = self.memories.at(na.mem);
        let region = self.memories.active_region(na.mem)?;
        let port = self.port(na.port);
        let offset = memory.object_offset(Which::If, netmap_if)?;
        let binding = Binding {
            name: na.label(),
            port: na.port,
            generation: port.generation.load(Relaxed),
            region: region.number,
            mem_size: region.size,
            first: s.first,
            last: s.last,
            tx_poll: reg.nr_flags & NR_NO_TX_POLL == 0,
            sleeper: self.take_sleeper(client, na.port),
            is_null: matches!(na.kind, Kind::Null),
            is_monitor: matches!(na.kind, Kind::Monitor { .. }),
            is_nic: matches!(na.kind, Kind::Nic(_)),
            csb: None,
        };
        Ok(Bound {
            id,
            binding,
            mem_id: na.mem,
            netmap_if,
            offset,
            exclusive: s.exclusive,
            kloop: Kloop::default(),
            extra: Extra::default(),
        })
    }

    /// Gives the descriptor a bit by which it can be woken.
    fn take_sleeper(&self, client: ClientId, port: u32) -> Option<u8> {
        let sleepers = &self.port(port).sleepers;
        let bit = (0..PORT_SLEEPERS).find(|bit| sleepers[*bit].load(Relaxed) == 0)?;
        sleepers[bit].store(client.0 + 1, Release);
        Some(bit as u8)
    }

    fn free_sleeper(&self, id: AdapterId, binding: &Binding) {
        let Some(bit) = binding.sleeper else { return };
        self.port(binding.port).sleepers[usize::from(bit)].store(0, Release);
        for dir in DIRS {
            for k in self.adapters[id].krings(dir) {
                self.kring(k.index).sleepers.fetch_and(!(1 << bit), Relaxed);
            }
        }
    }

    /// The process that has the descriptor has chained its extra buffers.
    pub fn extra_chained(&mut self, client: ClientId) {
        if let Some(Some(bound)) = self.clients.get_mut(&client.0) {
            bound.extra = Extra::default();
        }
    }

    /// Undoes a REGISTER whose part in the program's memory failed.
    pub fn undo_register(&mut self, client: ClientId) {
        if let Some(id) = self.unbind(client) {
            self.changes += 1;
            self.put_adapter(id);
        }
    }

    /// netmap_do_unregif: undoes [`World::bind`]; the reference to the adapter stays with the
    /// caller. Returns the adapter.
    pub(super) fn unbind(&mut self, client: ClientId) -> Option<AdapterId> {
        let Bound {
            id,
            binding,
            netmap_if,
            exclusive,
            extra,
            ..
        } = self.clients.get_mut(&client.0)?.take()?;
        let s = Selection {
            first: binding.first,
            last: binding.last,
            exclusive,
        };
        self.adapters[id].active -= 1;
        self.release_rings(id, &s);
        self.free_sleeper(id, &binding);
        let last = self.adapters[id].active == 0;
        if last {
            self.stop_monitors(id);
            self.part_nic(id);
        }
        if last || self.modes_pending(id, s.first, s.last) {
            // Cannot fail: only putting rings into service can.
            let _ = self.set_mode(id, false);
        }
        self.delete_rings(id);
        if last {
            self.drop_krings(id);
        }
        // Cannot fail: it was made when the descriptor was bound.
        let _ = self.delete_netmap_if(self.adapters[id].mem, netmap_if, &extra);
        self.drop_memory(id);
        Some(id)
    }
}
