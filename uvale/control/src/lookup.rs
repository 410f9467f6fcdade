//! From a name to an adapter, in the order in which netmap tries the kinds of ports.

use nm_abi::*;
use rustix::io::Errno;

use super::adapter::{Adapter, AdapterId, Kind, NAME_MAX};
use super::memory::MemId;
use super::vale::Purpose;
use super::{Refusal, Result, World};
use uvale_engine::{RX, TX};

impl World {
    /// netmap_get_na: the adapter called `name`, with a reference; created if necessary.
    pub(super) fn get_na(
        &mut self,
        name: &[u8],
        reg: &mut nmreq_register,
        mem: Option<MemId>,
        create: bool,
    ) -> Result<AdapterId> {
        if reg.nr_mode == NR_REG_PIPE_MASTER || reg.nr_mode == NR_REG_PIPE_SLAVE {
            return Err(Refusal::new(
                Errno::INVAL,
                "register modes 5 and 6 are deprecated: use the names base{id and base}id",
            ));
        }
        // A memory named in the request is held for as long as the look-up takes.
        let own = match (mem, reg.nr_mem_id) {
            (None, id) if id != 0 => Some(self.memories.find(id)?),
            _ => None,
        };
        let found = self.get_na_of_any_kind(name, reg, mem.or(own), create);
        if let Some(own) = own {
            self.memories.put(own);
        }
        found
    }

    fn get_na_of_any_kind(
        &mut self,
        name: &[u8],
        reg: &mut nmreq_register,
        mem: Option<MemId>,
        create: bool,
    ) -> Result<AdapterId> {
        if reg.nr_mode == NR_REG_NULL {
            return self.new_null(name, reg, mem, create);
        }
        if let Some(id) = self.get_monitor(name, reg, mem, create)? {
            return Ok(id);
        }
        if let Some(id) = self.get_pipe(name, reg, mem, create)? {
            return Ok(id);
        }
        if let Some(id) = self.get_vale(name, reg, Purpose::Register, mem, create)? {
            return Ok(id);
        }
        let id = match self.interfaces.get(name) {
            Some(&id) => id,
            None => self.get_nic(name)?,
        };
        self.override_memory(id, mem);
        self.get_adapter(id);
        self.set_host_rings(id, reg);
        Ok(id)
    }

    /// netmap_get_null_na: rings and memory with nothing behind them.
    fn new_null(
        &mut self,
        name: &[u8],
        reg: &nmreq_register,
        mem: Option<MemId>,
        create: bool,
    ) -> Result<AdapterId> {
        let bad = |why: &str| Refusal::new(Errno::INVAL, format!("null port: {why}"));
        if !create {
            return Err(bad("it cannot be looked up"));
        }
        let mem =
            mem.ok_or_else(|| bad("nr_mem_id must name the memory to use; 1 is the global one"))?;
        let (mut rings, mut slots) = ([0; 2], [0; 2]);
        (rings[TX], rings[RX]) = (reg.nr_tx_rings.into(), reg.nr_rx_rings.into());
        (slots[TX], slots[RX]) = (reg.nr_tx_slots, reg.nr_rx_slots);
        let port = self.new_port_record()?;
        let mut full = b"null:".to_vec();
        full.extend_from_slice(name);
        full.truncate(NAME_MAX);
        let mem = self.memories.get(mem);
        let null = Adapter::new(full, Kind::Null, rings, slots, mem, port);
        let id = self.adapters.add(null);
        Ok(self.get_adapter(id))
    }
}
