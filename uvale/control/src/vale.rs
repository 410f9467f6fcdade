//! VALE ports, and the requests about those that are on a switch. What only persistent ports have
//! is in `persistent.rs`.

use core::sync::atomic::Ordering::Relaxed;

use nm_abi::{nmreq_port_hdr, nmreq_register};
use rustix::io::Errno;

use super::adapter::{Adapter, AdapterId, Join, Kind, NAME_MAX, Name};
use super::memory::MemId;
use super::nic::refuse_nic_on_switch;
use super::{Refusal, Result, World};
use uvale_engine::{RX, TX};
use uvale_request::has_prefix;
use uvale_shared::ctl::MAX_RINGS;

const DEFAULT_SLOTS: u32 = 1024;
const MAX_SLOTS: u32 = 4096;
const MAX_EXTRA: u32 = 128 * MAX_SLOTS;
/// Largest frame between ports with different headers, until a header length is set.
pub(super) const DEFAULT_MFS: u32 = 1514;
/// MTU of the interface of a persistent port.
const MTU: u32 = 1500;

/// netmap's nm_bound_var: below `lo` the default counts, above `hi` that.
pub(super) fn bound(value: u32, default: u32, lo: u32, hi: u32) -> u32 {
    if value < lo {
        default.clamp(lo, hi)
    } else {
        value.min(hi)
    }
}

/// The purpose of a look-up in the switches: it decides what may be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// REGISTER and requests that build on it
    Register,
    /// VALE_ATTACH, VALE_DETACH, polling: interfaces may be meant
    Command,
}

impl World {
    /// netmap_get_bdg_na: the port called `name`, with a reference; `None` if that is not the name
    /// of a port on a switch.
    pub(super) fn get_vale(
        &mut self,
        name: &[u8],
        reg: &mut nmreq_register,
        purpose: Purpose,
        mem: Option<MemId>,
        create: bool,
    ) -> Result<Option<AdapterId>> {
        if !has_prefix(name) {
            return Ok(None);
        }
        let missing = |what: &str| {
            let name = String::from_utf8_lossy(name);
            Refusal::new(Errno::NXIO, format!("{name}: no such {what}"))
        };
        let switch = if create {
            self.find_or_start_switch(name)?
        } else {
            self.find_switch(name, 4).ok_or_else(|| missing("switch"))?
        };
        if let Some(id) = self.port_on_switch(switch, name) {
            return Ok(Some(self.get_adapter(id)));
        }
        if !create {
            return Err(missing("port"));
        }
        self.room_on_switch(switch)?;
        let part = &name[self.bridges[switch as usize].name.len() + 1..];
        let id = match self.interfaces.get(part).copied() {
            None if self.is_outside(part) && purpose == Purpose::Register => {
                return Err(refuse_nic_on_switch(name, part));
            }
            None if self.is_outside(part) => self.attach_nic(name, reg, mem)?,
            None if purpose == Purpose::Register => self.new_vale(name, None, reg, mem)?,
            None => {
                let part = String::from_utf8_lossy(part);
                let why = format!(
                    "{part:?} is no interface: make it with VALE_NEWIF (vale-ctl -n) first"
                );
                return Err(Refusal::new(Errno::INVAL, why));
            }
            Some(_) if purpose == Purpose::Register => {
                let part = String::from_utf8_lossy(part);
                return Err(Refusal::new(
                    Errno::INVAL,
                    format!(
                        "{part} is a persistent port: attach it with VALE_ATTACH (vale-ctl -a), then open {part}"
                    ),
                ));
            }
            Some(id) if self.is_on_switch(id) => self.new_bwrap(id, name, reg, mem)?,
            Some(id) => self.claim_persistent(id, name, mem)?,
        };
        self.attach_port(id, switch);
        if let Some(host) = self.host_port(id) {
            self.attach_port(host, switch);
        }
        Ok(Some(self.get_adapter(id)))
    }

    /// Prepares a persistent port to be attached to a switch under `name`.
    fn claim_persistent(
        &mut self,
        id: AdapterId,
        name: &[u8],
        mem: Option<MemId>,
    ) -> Result<AdapterId> {
        self.refuse_open(id)?;
        self.override_memory(id, mem);
        let na = &mut self.adapters[id];
        na.name = name[..name.len().min(NAME_MAX)].to_vec();
        if let Kind::Vale {
            attached_by_request,
            ..
        } = &mut na.kind
        {
            *attached_by_request = true;
        }
        Ok(id)
    }

    /// A port that programs have open cannot be put on a switch.
    pub(super) fn refuse_open(&self, id: AdapterId) -> Result<()> {
        let na = &self.adapters[id];
        if na.active == 0 {
            return Ok(());
        }
        Err(Refusal::new(
            Errno::BUSY,
            format!(
                "{} is open in {} descriptor(s){}: close them first",
                na.label(),
                na.active,
                self.by_holders(id)
            ),
        ))
    }

    fn is_on_switch(&self, id: AdapterId) -> bool {
        matches!(self.adapters[id].kind, Kind::Vale { place: Some(_), .. })
    }

    /// A request's allocator replaces the port's own for as long as it is in use.
    pub(super) fn override_memory(&mut self, id: AdapterId, mem: Option<MemId>) {
        let na = &self.adapters[id];
        if let Some(mem) = mem
            && na.active == 0
            && na.mem != mem
        {
            let mem = self.memories.get(mem);
            let na = &mut self.adapters[id];
            let before = core::mem::replace(&mut na.mem, mem);
            if let Some(older) = na.mem_before.replace(before) {
                self.memories.put(older);
            }
        }
    }

    /// netmap_vale_vp_create: a port that nobody refers to yet. What `reg` asks for is clamped, and
    /// the result written back.
    pub(super) fn new_vale(
        &mut self,
        name: &[u8],
        interface: Option<Name>,
        reg: &mut nmreq_register,
        mem: Option<MemId>,
    ) -> Result<AdapterId> {
        reg.nr_tx_rings = bound(reg.nr_tx_rings.into(), 1, 1, MAX_RINGS as u32) as u16;
        reg.nr_rx_rings = bound(reg.nr_rx_rings.into(), 1, 1, MAX_RINGS as u32) as u16;
        reg.nr_tx_slots = bound(reg.nr_tx_slots, DEFAULT_SLOTS, 1, MAX_SLOTS);
        reg.nr_rx_slots = bound(reg.nr_rx_slots, DEFAULT_SLOTS, 1, MAX_SLOTS);
        reg.nr_extra_bufs = bound(reg.nr_extra_bufs, 0, 0, MAX_EXTRA);
        let mut rings = [0; 2];
        let mut slots = [0; 2];
        (rings[TX], rings[RX]) = (reg.nr_tx_rings.into(), reg.nr_rx_rings.into());
        (slots[TX], slots[RX]) = (reg.nr_tx_slots, reg.nr_rx_slots);
        let port = self.new_port_record()?;
        let mem = match mem {
            Some(mem) => self.memories.get(mem),
            None => match self.memories.new_private(rings, slots, reg.nr_extra_bufs) {
                Ok(mem) => mem,
                Err(refusal) => {
                    self.free_port_record(port);
                    return Err(refusal);
                }
            },
        };
        let kind = Kind::Vale {
            place: None,
            interface,
            autodelete: false,
            attached_by_request: false,
            mfs: DEFAULT_MFS,
            join: Join::No,
        };
        self.port(port).mfs.store(DEFAULT_MFS, Relaxed);
        let vale = Adapter::new(name.to_vec(), kind, rings, slots, mem, port);
        Ok(self.adapters.add(vale))
    }

    /// netmap_update_config: a persistent port goes back to the name of its interface, a NIC port
    /// to what its interface is called. (netmap does so whenever it is opened or asked about, and
    /// from then on a persistent port is not found under its name on the switch.)
    pub(super) fn update_config(&mut self, id: AdapterId) {
        let na = &mut self.adapters[id];
        match &na.kind {
            Kind::Vale {
                interface: Some(name),
                ..
            } => na.name = name.clone(),
            Kind::Nic(_) => self.update_nic(id),
            _ => {}
        }
    }

    /// A port with an interface needs buffers as large as its MTU.
    pub(super) fn check_mtu(&self, id: AdapterId) -> Result<()> {
        let na = &self.adapters[id];
        match &na.kind {
            Kind::Nic(nic) => nic.check_mtu(&na.label(), na.buf_size),
            Kind::Vale {
                interface: Some(_), ..
            } if na.buf_size < MTU => Err(Refusal::new(
                Errno::INVAL,
                format!(
                    "{}: buffers of {} bytes do not take the MTU of {MTU}: raise priv_buf_size",
                    na.label(),
                    na.buf_size
                ),
            )),
            _ => Ok(()),
        }
    }

    /// PORT_HDR_SET.
    pub(super) fn set_header(&mut self, name: &[u8], body: &nmreq_port_hdr) -> Result<()> {
        let len = body.nr_hdr_len;
        if ![0, 10, 12].contains(&len) {
            return Err(Refusal::new(
                Errno::INVAL,
                format!("header length {len}: it can be 0, 10 or 12"),
            ));
        }
        let mut reg = nmreq_register {
            nr_mode: nm_abi::NR_REG_ALL_NIC,
            ..nmreq_register::default()
        };
        let found = self.get_vale(name, &mut reg, Purpose::Register, None, false)?;
        let id = found.ok_or_else(|| Refusal::new(Errno::NXIO, not_vale(name).why))?;
        let na = &mut self.adapters[id];
        na.virt_hdr_len = len;
        let (record, buf_size) = (na.port, na.buf_size);
        if len != 0
            && let Kind::Vale { mfs, .. } = &mut na.kind
        {
            *mfs = buf_size;
            self.port(record).mfs.store(buf_size, Relaxed);
        }
        self.port(record).virt_hdr_len.store(len, Relaxed);
        self.switch_has_changed(id);
        self.put_adapter(id);
        Ok(())
    }
}

/// The name does not have the form of a port on a switch.
pub(super) fn not_vale(name: &[u8]) -> Refusal {
    let name = String::from_utf8_lossy(name);
    Refusal::new(
        Errno::INVAL,
        format!("{name:?} is no port of a VALE switch: it takes valeNAME:PORT"),
    )
}
