//! Interfaces of the system. They cannot be opened, but netmap answers questions about them, as its
//! emulated adapter would: one ring for each queue, host rings, the global memory.

use nm_abi::*;
use rustix::io::Errno;

use super::memory::{GLOBAL, MemId, Which};
use super::{Refusal, Result, World};
use uvale_engine::RX;
use uvale_request::Interface;

/// Slots of the rings of netmap's emulated adapter.
const SLOTS: u32 = 1024;

impl World {
    /// The system's interface that the request being served means by `name`, after a look-up found
    /// no port with `refusal`.
    fn outside(&self, name: &[u8], refusal: &Refusal) -> Option<Interface> {
        let (known, interface) = self.interface.as_ref()?;
        (known == name && refusal.errno == Errno::NXIO).then(|| interface.clone())
    }

    /// Is there such an interface, and no port of ours?
    pub(super) fn is_outside(&self, name: &[u8]) -> bool {
        self.interface
            .as_ref()
            .is_some_and(|(known, _)| known == name)
    }

    /// REGISTER. Like netmap, refuses buffers that are smaller than the MTU.
    pub(super) fn refuse_outside(
        &self,
        name: &[u8],
        reg: &nmreq_register,
        mem: Option<MemId>,
        refusal: Refusal,
    ) -> Refusal {
        let Some(interface) = self.outside(name, &refusal) else {
            return refusal;
        };
        let label = String::from_utf8_lossy(name);
        let excluded = [NR_TX_RINGS_ONLY, NR_RX_RINGS_ONLY];
        let receives = reg.nr_flags & excluded[RX] == 0;
        let buffers = self.memories.at(mem.unwrap_or(GLOBAL)).pool(Which::Buf);
        let size = buffers.map_or(0, |pool| pool.size());
        if receives && interface.mtu > size {
            let why = format!(
                "{label}: buffers of {size} bytes are smaller than its MTU of {}",
                interface.mtu
            );
            return Refusal::new(Errno::INVAL, why);
        }
        let why = format!(
            "{label} is an interface of this system, and NICs are not supported yet: names are valeX:Y, \
             base{{id, base}}id"
        );
        Refusal::new(Errno::NXIO, why)
    }

    /// PORT_INFO_GET.
    pub(super) fn outside_info(
        &self,
        name: &[u8],
        body: &mut nmreq_port_info_get,
        refusal: Refusal,
    ) -> Result<()> {
        let interface = self.outside(name, &refusal).ok_or(refusal)?;
        let mem = match body.nr_mem_id {
            0 => GLOBAL,
            id => id,
        };
        (body.nr_memsize, body.nr_mem_id) = (self.memories.at(mem).size()?, mem);
        let or_one = |n: u16| if n == 0 { 1 } else { n };
        body.nr_tx_rings = interface.tx_queues;
        body.nr_rx_rings = interface.rx_queues;
        (body.nr_tx_slots, body.nr_rx_slots) = (SLOTS, SLOTS);
        body.nr_host_tx_rings = or_one(body.nr_host_tx_rings);
        body.nr_host_rx_rings = or_one(body.nr_host_rx_rings);
        Ok(())
    }

    /// POOLS_INFO_GET: the memory that it would use.
    pub(super) fn outside_memory(
        &self,
        name: &[u8],
        mem_id: MemId,
        refusal: Refusal,
    ) -> Result<MemId> {
        self.outside(name, &refusal).ok_or(refusal)?;
        Ok(if mem_id == 0 { GLOBAL } else { mem_id })
    }

    /// PORT_HDR_GET.
    pub(super) fn outside_header(&self, name: &[u8], refusal: Refusal) -> Result<u32> {
        self.outside(name, &refusal).map(|_| 0).ok_or(refusal)
    }
}
