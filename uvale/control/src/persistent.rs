//! Persistent VALE ports: made with VALE_NEWIF, attached to a switch and detached by request,
//! deleted with VALE_DELIF. What their interfaces look like is the daemon's to know.

use nm_abi::{IFNAMSIZ, nmreq_register, nmreq_vale_attach, nmreq_vale_detach, nmreq_vale_newif};
use rustix::io::Errno;

use super::adapter::{AdapterId, Join, Kind};
use super::memory::MemId;
use super::vale::{Purpose, not_vale};
use super::{Refusal, Result, World};
use uvale_engine::{RX, TX};

impl World {
    /// netmap_vi_create: a persistent port with an interface of that name. Without `autodelete`
    /// it lives until VALE_DELIF, with it as long as anybody refers to it.
    pub(super) fn new_persistent(
        &mut self,
        name: &[u8],
        reg: &mut nmreq_register,
        autodelete: bool,
    ) -> Result<()> {
        let label = String::from_utf8_lossy(name).into_owned();
        let bad = |errno, why: &str| Refusal::new(errno, format!("{label:?}: {why}"));
        if name.starts_with(nm_abi::NM_BDG_NAME.as_bytes()) {
            return Err(bad(
                Errno::INVAL,
                "the name of a persistent port must not start with vale",
            ));
        }
        if name.len() >= IFNAMSIZ {
            return Err(bad(
                Errno::INVAL,
                "an interface's name has at most 15 characters",
            ));
        }
        if let Some(&id) = self.interfaces.get(name) {
            self.show_config(id, reg)?;
            return Err(bad(Errno::EXIST, "there is an interface of that name"));
        }
        if self.is_outside(name) {
            return Err(bad(
                Errno::EXIST,
                "the system has an interface of that name",
            ));
        }
        if !is_interface_name(name) {
            return Err(bad(Errno::INVAL, "an interface cannot be called that"));
        }
        let mem = match reg.nr_mem_id {
            0 => None,
            id => Some(self.memories.find(id)?),
        };
        // A memory without a valid size would leave the port half made.
        let sized = mem.map_or(Ok(0), |mem| self.memories.at(mem).size());
        let made = sized.and_then(|_| self.new_vale(name, Some(name.to_vec()), reg, mem));
        if let Some(mem) = mem {
            self.memories.put(mem);
        }
        let id = made?;
        if let Kind::Vale {
            autodelete: flag, ..
        } = &mut self.adapters[id].kind
        {
            *flag = autodelete;
        }
        self.interfaces.insert(name.to_vec(), id);
        if !autodelete {
            self.get_adapter(id);
        }
        self.show_config(id, reg)
    }

    /// Persistent ports: a number that no other port ever has, and the name.
    pub fn persistent_ports(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.interfaces
            .iter()
            .map(|(name, &id)| (id, name.as_slice()))
    }

    /// nm_update_info: what a port has, into a request.
    fn show_config(&self, id: AdapterId, reg: &mut nmreq_register) -> Result<()> {
        let na = &self.adapters[id];
        reg.nr_rx_rings = na.rings[RX] as u16;
        reg.nr_tx_rings = na.rings[TX] as u16;
        reg.nr_rx_slots = na.slots[RX];
        reg.nr_tx_slots = na.slots[TX];
        reg.nr_memsize = self.memories.at(na.mem).size()?;
        reg.nr_mem_id = na.mem;
        Ok(())
    }

    /// VALE_NEWIF.
    pub(super) fn newif(&mut self, name: &[u8], body: &mut nmreq_vale_newif) -> Result<()> {
        let mut reg = nmreq_register {
            nr_tx_slots: body.nr_tx_slots,
            nr_rx_slots: body.nr_rx_slots,
            nr_tx_rings: body.nr_tx_rings,
            nr_rx_rings: body.nr_rx_rings,
            nr_mem_id: body.nr_mem_id,
            ..nmreq_register::default()
        };
        self.new_persistent(name, &mut reg, false)?;
        body.nr_tx_slots = reg.nr_tx_slots;
        body.nr_rx_slots = reg.nr_rx_slots;
        body.nr_tx_rings = reg.nr_tx_rings;
        body.nr_rx_rings = reg.nr_rx_rings;
        body.nr_mem_id = reg.nr_mem_id;
        Ok(())
    }

    /// VALE_DELIF.
    pub(super) fn delif(&mut self, name: &[u8]) -> Result<()> {
        let label = String::from_utf8_lossy(name).into_owned();
        let Some(&id) = self.interfaces.get(name) else {
            if self.is_outside(name) {
                return Err(Refusal::new(
                    Errno::INVAL,
                    format!("{label:?} is an interface of this system and no persistent port"),
                ));
            }
            return Err(Refusal::new(
                Errno::NXIO,
                format!("{label:?}: no such persistent port"),
            ));
        };
        let na = &self.adapters[id];
        if let Kind::Vale {
            autodelete: true, ..
        } = na.kind
        {
            return Err(Refusal::new(
                Errno::INVAL,
                format!("{label} was made for the pipes on it and goes with them"),
            ));
        }
        if na.active > 0 || na.refs > 1 {
            let attached = matches!(na.kind, Kind::Vale { place: Some(_), .. });
            let why = if attached {
                "is attached to a switch: detach it first".to_owned()
            } else {
                let by = self.by_holders(id);
                format!("is in use{by}: close what is open on it")
            };
            return Err(Refusal::new(Errno::BUSY, format!("{label} {why}")));
        }
        self.put_adapter(id);
        Ok(())
    }

    /// VALE_ATTACH.
    pub(super) fn attach(&mut self, name: &[u8], body: &mut nmreq_vale_attach) -> Result<()> {
        let mem = match body.reg.nr_mem_id {
            0 => None,
            id => Some(self.memories.find(id)?),
        };
        let done = self.attach_with(name, body, mem);
        if let Some(mem) = mem {
            self.memories.put(mem);
        }
        done
    }

    fn attach_with(
        &mut self,
        name: &[u8],
        body: &mut nmreq_vale_attach,
        mem: Option<MemId>,
    ) -> Result<()> {
        // Only whether it exists matters: if not, it is created next.
        if let Ok(Some(id)) = self.get_vale(name, &mut body.reg, Purpose::Command, mem, false) {
            let (label, by) = (self.adapters[id].label(), self.by_holders(id));
            self.put_adapter(id);
            let what = match by.as_str() {
                "" => format!("{label} is attached already"),
                by => format!("{label} is there already, open{by}"),
            };
            return Err(Refusal::new(Errno::BUSY, what));
        }
        let found = self.get_vale(name, &mut body.reg, Purpose::Command, mem, true)?;
        let id = found.ok_or_else(|| not_vale(name))?;
        // The reference stays: VALE_DETACH gives it back.
        if let Kind::Vale {
            place: Some(place), ..
        } = self.adapters[id].kind
        {
            body.port_index = place.number;
        }
        Ok(())
    }

    /// VALE_DETACH.
    pub(super) fn detach(&mut self, name: &[u8], body: &mut nmreq_vale_detach) -> Result<()> {
        let id = match self.get_vale(
            name,
            &mut nmreq_register::default(),
            Purpose::Command,
            None,
            false,
        ) {
            Ok(found) => found.ok_or_else(|| not_vale(name))?,
            Err(refusal) => self.get_attached(name).ok_or(refusal)?,
        };
        if let Err(refusal) = self.refuse_foreign(id) {
            self.put_adapter(id);
            return Err(refusal);
        }
        self.detach_found(id, name, body)
    }

    /// The same of a port of which the caller has a reference, which goes.
    pub(super) fn detach_found(
        &mut self,
        id: AdapterId,
        name: &[u8],
        body: &mut nmreq_vale_detach,
    ) -> Result<()> {
        let Kind::Vale {
            place,
            attached_by_request,
            join,
            ..
        } = self.adapters[id].kind
        else {
            self.put_adapter(id);
            return Err(not_vale(name));
        };
        if let Join::HostOf(bwrap) = join {
            let [label, bwrap] = [id, bwrap].map(|id| self.adapters[id].label());
            self.put_adapter(id);
            let why = format!("{label} comes and goes with {bwrap}: detach that");
            return Err(Refusal::new(Errno::BUSY, why));
        }
        if !attached_by_request {
            let (label, by) = (self.adapters[id].label(), self.by_holders(id));
            self.put_adapter(id);
            return Err(Refusal::new(
                Errno::BUSY,
                format!(
                    "{label} lives with the descriptors that have it open{by}: close them instead"
                ),
            ));
        }
        body.port_index = place.map_or(0, |p| p.number);
        if let Err(refusal) = self.part_switches(id) {
            self.put_adapter(id);
            return Err(refusal);
        }
        // the reference that attaching had taken, and ours
        self.put_adapter(id);
        self.put_adapter(id);
        Ok(())
    }

    /// The persistent port that is on the switch in `name` and whose interface is the port in
    /// `name`, with a reference. (It is not found by its name there once it has been opened, see
    /// [`World::update_config`]. In netmap it can then be neither detached nor deleted.) Not one that
    /// joins two switches: its bwrap has to be detached first.
    fn get_attached(&mut self, name: &[u8]) -> Option<AdapterId> {
        let switch = self.find_switch(name, 4)?;
        let interface = &name[self.bridges[switch as usize].name.len() + 1..];
        let id = *self.interfaces.get(interface)?;
        match self.adapters[id].kind {
            Kind::Vale {
                place: Some(place),
                join: Join::No,
                ..
            } if place.switch == switch => Some(self.get_adapter(id)),
            _ => None,
        }
    }
}

/// What Linux accepts as the name of a network device; a % would ask it to choose a number.
fn is_interface_name(name: &[u8]) -> bool {
    let bad =
        |c: &u8| *c == b'/' || *c == b':' || *c == b'%' || c.is_ascii_whitespace() || *c == 0x0b;
    !name.is_empty() && name != b"." && name != b".." && !name.iter().any(bad)
}
