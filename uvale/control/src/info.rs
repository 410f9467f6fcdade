//! Requests that change nothing: PORT_INFO_GET, POOLS_INFO_GET, PORT_HDR_GET, VALE_LIST.

use nm_abi::*;
use rustix::io::Errno;

use super::adapter::AdapterId;
use super::memory::{GLOBAL, MemId, Which};
use super::{Refusal, Result, World, with_body};
use uvale_engine::{RX, TX};
use uvale_request::{Request, set_name};
use uvale_shared::ctl::{NO_PORT, SWITCH_PORTS};

impl World {
    /// PORT_INFO_GET. A port that does not exist is created, described and dropped.
    pub(super) fn port_info(&mut self, name: &[u8], body: &mut nmreq_port_info_get) -> Result<()> {
        if name.is_empty() {
            let mem = self.memories.find(if body.nr_mem_id == 0 {
                GLOBAL
            } else {
                body.nr_mem_id
            })?;
            let size = self.memories.at(mem).size();
            self.memories.put(mem);
            (body.nr_memsize, body.nr_mem_id) = (size?, mem);
            return Ok(());
        }
        let mut reg = nmreq_register {
            nr_mode: NR_REG_ALL_NIC,
            nr_tx_slots: body.nr_tx_slots,
            nr_rx_slots: body.nr_rx_slots,
            nr_tx_rings: body.nr_tx_rings,
            nr_rx_rings: body.nr_rx_rings,
            nr_host_tx_rings: body.nr_host_tx_rings,
            nr_host_rx_rings: body.nr_host_rx_rings,
            nr_mem_id: body.nr_mem_id,
            ..nmreq_register::default()
        };
        let id = self.get_na(name, &mut reg, None, true)?;
        let shown = self.show_port(id, body);
        self.put_adapter(id);
        shown
    }

    fn show_port(&mut self, id: AdapterId, body: &mut nmreq_port_info_get) -> Result<()> {
        let mem = self.adapters[id].mem;
        (body.nr_memsize, body.nr_mem_id) = (self.memories.at(mem).size()?, mem);
        self.update_config(id);
        let na = &self.adapters[id];
        body.nr_rx_rings = na.rings[RX] as u16;
        body.nr_tx_rings = na.rings[TX] as u16;
        body.nr_rx_slots = na.slots[RX];
        body.nr_tx_slots = na.slots[TX];
        body.nr_host_tx_rings = na.host_rings[TX] as u16;
        body.nr_host_rx_rings = na.host_rings[RX] as u16;
        Ok(())
    }

    /// POOLS_INFO_GET: the pools of the memory that the port `name` uses.
    pub(super) fn pools_info(&mut self, name: &[u8], body: &mut nmreq_pools_info) -> Result<()> {
        let mut reg = nmreq_register {
            nr_mode: NR_REG_ALL_NIC,
            nr_mem_id: body.nr_mem_id,
            ..nmreq_register::default()
        };
        let id = self.get_na(name, &mut reg, None, true)?;
        let mem = self.adapters[id].mem;
        let shown = self.memories.finalize(mem).and_then(|()| {
            let shown = self.show_pools(mem, body);
            self.drop_memory(id);
            shown
        });
        self.put_adapter(id);
        shown
    }

    fn show_pools(&self, mem: MemId, body: &mut nmreq_pools_info) -> Result<()> {
        let memory = self.memories.at(mem);
        (body.nr_memsize, body.nr_mem_id) = (memory.size()?, mem);
        let pool = |which| -> Result<(u64, u32, u32)> {
            let p = memory.pool(which)?;
            Ok((memory.offset(which)?, p.total(), p.size()))
        };
        (
            body.nr_if_pool_offset,
            body.nr_if_pool_objtotal,
            body.nr_if_pool_objsize,
        ) = pool(Which::If)?;
        (
            body.nr_ring_pool_offset,
            body.nr_ring_pool_objtotal,
            body.nr_ring_pool_objsize,
        ) = pool(Which::Ring)?;
        (
            body.nr_buf_pool_offset,
            body.nr_buf_pool_objtotal,
            body.nr_buf_pool_objsize,
        ) = pool(Which::Buf)?;
        Ok(())
    }

    /// PORT_HDR_GET, of any port there is.
    pub(super) fn header_len(&mut self, name: &[u8]) -> Result<u32> {
        let mut reg = nmreq_register {
            nr_mode: NR_REG_ALL_NIC,
            ..nmreq_register::default()
        };
        let id = self.get_na(name, &mut reg, None, false)?;
        let len = self.adapters[id].virt_hdr_len;
        self.put_adapter(id);
        Ok(len)
    }

    /// VALE_LIST.
    pub(super) fn list(&mut self, name: &[u8], request: &mut Request) -> Result<()> {
        let mut found = None;
        with_body(&mut request.body, |body| {
            if !name.is_empty() {
                return self.list_by_name(name, body);
            }
            found = Some(self.list_from(body)?);
            Ok(())
        })?;
        if let Some(name) = found {
            set_name(&mut request.header, &name);
        }
        Ok(())
    }

    /// VALE_LIST by name: where that switch, and that port on it, is.
    fn list_by_name(&self, name: &[u8], body: &mut nmreq_vale_list) -> Result<()> {
        let label = String::from_utf8_lossy(name);
        if !name.starts_with(NM_BDG_NAME.as_bytes()) {
            return Err(Refusal::new(
                Errno::INVAL,
                format!("{label:?} does not start with vale"),
            ));
        }
        let switch = self
            .find_switch(name, 0)
            .ok_or_else(|| Refusal::new(Errno::NOENT, format!("{label:?}: no such switch")))?;
        let b = &self.bridges[switch as usize];
        let number = b.order[..b.active as usize].iter().copied().find(|number| {
            b.ports[*number as usize].is_some_and(|id| self.adapters[id].name == name)
        });
        body.nr_bridge_idx = switch as u16;
        body.nr_port_idx = number.unwrap_or(NO_PORT);
        Ok(())
    }

    /// VALE_LIST without a name: the first port from the given switch and port number on, and
    /// its name.
    fn list_from(&self, body: &mut nmreq_vale_list) -> Result<Vec<u8>> {
        let mut from = (body.nr_port_idx as usize).min(SWITCH_PORTS);
        for (i, b) in self
            .bridges
            .iter()
            .enumerate()
            .skip(body.nr_bridge_idx.into())
        {
            let found = (from..SWITCH_PORTS).find_map(|number| Some((number, b.ports[number]?)));
            if let Some((number, id)) = found {
                (body.nr_bridge_idx, body.nr_port_idx) = (i as u16, number as u32);
                return Ok(self.adapters[id].name.clone());
            }
            from = 0;
        }
        Err(Refusal::new(Errno::NOENT, "no more ports"))
    }
}
