//! bwrap: persistent ports that join two switches, and NICs on a switch.
//!
//! A persistent port that is on a switch can be attached to a second one. There it is represented by
//! a *bwrap*, as in netmap: an adapter without rings of its own. The tx rings of the bwrap are the rx
//! rings of the persistent port and vice versa, so that each sends what the other has received. The
//! sender does that when it delivers (`engine::bwrap`); neither port can be opened meanwhile.
//!
//! | request | on the bwrap's name | on the interface's name |
//! |---|---|---|
//! | REGISTER | `EBUSY` | `EBUSY` |
//! | VALE_DETACH | separates the two switches; the port stays on the first | `ENXIO` |
//! | VALE_ATTACH | `EBUSY` | `EBUSY`, on whatever switch |
//! | a pipe on it, also one made before | `EBUSY` | `EBUSY` |
//! | monitors, header lengths, information | as of any port | as of any port |
//!
//! A NIC is attached to a switch in the same way: what senders put into an rx ring of the bwrap is what the NIC's tx
//! ring transmits, and what arrives in the NIC's rx ring is sent from the tx ring of the bwrap. With NR_REG_NIC_SW
//! the host rings take part, too. They are a second port on the switch, whose name ends in `^`: its rings are the last
//! ones of the bwrap. That port can be listed and asked about, and nothing else; netmap crashes when one tries.
//!
//! Both ports count as being in use by one descriptor. The rings belong to the persistent port; the
//! bwrap's krings point to them, and its `netmap_if` is there because netmap has one.

use core::sync::atomic::Ordering::{Relaxed, Release};

use nm_abi::{NR_REG_ALL_NIC, NR_REG_NIC_SW, nmreq_register};
use rustix::io::Errno;

use super::adapter::{Adapter, AdapterId, DIRS, Join, Kind, NAME_MAX, opposite};
use super::memory::{MemId, Which};
use super::registration::Selection;
use super::vale::DEFAULT_MFS;
use super::{Refusal, Result, World};
use uvale_engine::{RX, TX};
use uvale_shared::extra::Extra;

impl World {
    /// netmap_bwrap_attach_common and netmap_bwrap_bdg_ctl: the bwrap of persistent port `port`,
    /// named as the port on the second switch. Nobody refers to it yet, and it is not on the
    /// switch yet.
    pub(super) fn new_bwrap(
        &mut self,
        port: AdapterId,
        name: &[u8],
        reg: &nmreq_register,
        mem: Option<MemId>,
    ) -> Result<AdapterId> {
        self.refuse_joined(port)?;
        self.refuse_open(port)?;
        if reg.nr_ringid != 0 || ![NR_REG_ALL_NIC, NR_REG_NIC_SW].contains(&reg.nr_mode) {
            let label = self.adapters[port].label();
            let why = match self.adapters[port].nic() {
                Some(_) => {
                    format!(
                        "{label}: a switch takes all its rings: attach with register mode 1 or 3"
                    )
                }
                None => {
                    "a second switch takes all rings of a port: attach with register mode 1".into()
                }
            };
            return Err(Refusal::new(Errno::INVAL, why));
        }
        self.override_memory(port, mem);
        let made = self.make_bwrap(port, name, reg);
        if made.is_err() {
            self.restore_memory(port);
        }
        made
    }

    fn make_bwrap(
        &mut self,
        port: AdapterId,
        name: &[u8],
        reg: &nmreq_register,
    ) -> Result<AdapterId> {
        let record = self.new_port_record()?;
        let host = match self.new_host_port(port, name, reg) {
            Ok(host) => host,
            Err(refusal) => {
                self.free_port_record(record);
                return Err(refusal);
            }
        };
        let na = &self.adapters[port];
        let (virt_hdr_len, mem) = (na.virt_hdr_len, na.mem);
        let (rings, slots) = (crosswise(na.rings), crosswise(na.slots));
        let host_rings = crosswise(na.host_rings);
        let shared = self.port(record);
        shared.mfs.store(DEFAULT_MFS, Relaxed);
        shared.virt_hdr_len.store(virt_hdr_len, Relaxed);
        let mem = self.memories.get(mem);
        let kind = Kind::Vale {
            place: None,
            interface: None,
            autodelete: false,
            attached_by_request: true,
            mfs: DEFAULT_MFS,
            join: Join::Of {
                port,
                host,
                netmap_if: None,
            },
        };
        let name = name[..name.len().min(NAME_MAX)].to_vec();
        let bwrap = self.adapters.add(Adapter {
            virt_hdr_len,
            host_rings,
            ..Adapter::new(name, kind, rings, slots, mem, record)
        });
        self.get_adapter(port);
        self.set_join(port, Join::By(bwrap));
        if let Some(host) = host {
            self.set_join(host, Join::HostOf(bwrap));
        }
        if let Err(refusal) = self.join_switches(port, bwrap, reg) {
            self.get_adapter(bwrap);
            self.put_adapter(bwrap);
            return Err(refusal);
        }
        Ok(bwrap)
    }

    /// The port on the switch that the host rings of NIC `port` are, for a bwrap called `name`, if the request
    /// asks for it.
    fn new_host_port(
        &mut self,
        port: AdapterId,
        name: &[u8],
        reg: &nmreq_register,
    ) -> Result<Option<AdapterId>> {
        let na = &self.adapters[port];
        if na.nic().is_none() || reg.nr_mode != NR_REG_NIC_SW {
            return Ok(None);
        }
        let (rings, slots, mem) = (crosswise(na.host_rings), crosswise(na.slots), na.mem);
        let record = self.new_port_record()?;
        self.port(record).mfs.store(DEFAULT_MFS, Relaxed);
        let mut name = name[..name.len().min(NAME_MAX - 1)].to_vec();
        name.push(b'^');
        let kind = Kind::Vale {
            place: None,
            interface: None,
            autodelete: false,
            attached_by_request: false,
            mfs: DEFAULT_MFS,
            join: Join::No,
        };
        let mem = self.memories.get(mem);
        let host = Adapter::new(name, kind, rings, slots, mem, record);
        let host = self.adapters.add(host);
        Ok(Some(self.get_adapter(host)))
    }

    /// The port on the switch that the host rings behind bwrap `id` are.
    pub(super) fn host_port(&self, id: AdapterId) -> Option<AdapterId> {
        match self.adapters[id].kind {
            Kind::Vale {
                join: Join::Of { host, .. },
                ..
            } => host,
            _ => None,
        }
    }

    /// netmap_do_regif for a bwrap: puts both ports in netmap mode, on the same rings.
    fn join_switches(
        &mut self,
        port: AdapterId,
        bwrap: AdapterId,
        reg: &nmreq_register,
    ) -> Result<()> {
        let mem = self.adapters[port].mem;
        self.memories.finalize(mem)?;
        let joined = self.join_rings(port, bwrap, reg);
        if joined.is_err() {
            self.leave_rings(port, bwrap);
            self.memories.deref(mem);
        }
        joined
    }

    fn join_rings(
        &mut self,
        port: AdapterId,
        bwrap: AdapterId,
        reg: &nmreq_register,
    ) -> Result<()> {
        let mem = self.adapters[port].mem;
        let buf_size = self.memories.at(mem).pool(Which::Buf)?.size();
        for id in [port, bwrap] {
            self.adapters[id].buf_size = buf_size;
        }
        self.update_config(port);
        let selection = self.select(bwrap, reg)?;
        if !selection.range(RX).is_empty() {
            self.check_mtu(port)?;
        }
        for id in [port, bwrap] {
            self.create_krings(id)?;
        }
        let is_nic = self.adapters[port].nic().is_some();
        for dir in DIRS {
            // Host rings that no switch takes stay the host's.
            let taken = |i| !is_nic || selection.range(opposite(dir)).contains(&i);
            let krings = self.adapters[port].krings_mut(dir).iter_mut();
            let taken = krings.zip(0..).filter(|(_, i)| taken(*i));
            taken.for_each(|(k, _)| k.users += 1);
        }
        self.create_rings(port)?;
        self.cross_link(port, bwrap, &selection);
        self.show_host_port(bwrap);
        if is_nic {
            self.register_nic(port, true)?;
        }
        let rings = self.adapters[bwrap].rings;
        let netmap_if = self.new_netmap_if(bwrap, [0; 2], rings)?;
        self.set_netmap_if(bwrap, Some(netmap_if));
        for id in [port, bwrap] {
            self.commit_modes(id, true);
            self.show_port_on(id, true);
            self.adapters[id].active += 1;
        }
        Ok(())
    }

    /// Gives the bwrap's krings the rings of the port, tx for rx, and tells each rx kring which
    /// tx kring sends what it receives.
    fn cross_link(&mut self, port: AdapterId, bwrap: AdapterId, selection: &Selection) {
        for dir in DIRS {
            let real = self.adapters[bwrap].rings[dir];
            for i in 0..self.adapters[bwrap].krings(dir).len() {
                let on = selection.range(dir).contains(&(i as u32));
                let theirs = &mut self.adapters[port].krings_mut(opposite(dir))[i];
                theirs.pending_on = on;
                let (their_index, ring) = (theirs.index, theirs.ring);
                let ours = &mut self.adapters[bwrap].krings_mut(dir)[i];
                // The ring and its buffers come and go with the port's kring.
                (ours.fake, ours.needed) = (true, true);
                (ours.ring, ours.pending_on) = (ring, on);
                let index = ours.index;
                let offset = ring.map_or(0, |r| r.offset);
                self.kring(index).ring_ofs.store(offset, Relaxed);
                self.kring(index).changed();
                if on || (i as u32) < real {
                    let (from, to) = if dir == RX {
                        (index, their_index)
                    } else {
                        (their_index, index)
                    };
                    self.kring(from).bwrap.store(to + 1, Relaxed);
                    self.kring(from).changed();
                }
            }
        }
    }

    /// The host's port on the switch has no krings of its own: its record points to the last ones of the bwrap, which
    /// belong to that record.
    fn show_host_port(&self, bwrap: AdapterId) {
        let Some(host) = self.host_port(bwrap) else {
            return;
        };
        let (na, record) = (&self.adapters[bwrap], self.adapters[host].port);
        let port = self.port(record);
        let firsts = DIRS.map(|dir| {
            let krings = &na.krings(dir)[na.real(dir)..];
            for k in krings {
                self.kring(k.index).port.store(record, Relaxed);
                self.kring(k.index).changed();
            }
            krings.first().map_or(0, |k| k.index)
        });
        let region = self.port(na.port).region.load(Relaxed);
        port.region.store(region, Relaxed);
        port.num_tx_rings.store(na.host_rings[TX], Relaxed);
        port.num_rx_rings.store(na.host_rings[RX], Relaxed);
        port.tx_kring.store(firsts[TX], Relaxed);
        port.rx_kring.store(firsts[RX], Relaxed);
        self.show_port_on(host, true);
    }

    /// Takes a port, or a bwrap with its port, out of traffic, for VALE_DETACH.
    pub(super) fn part_switches(&mut self, id: AdapterId) -> Result<()> {
        let Kind::Vale {
            join:
                Join::Of {
                    port,
                    netmap_if,
                    host,
                },
            ..
        } = self.adapters[id].kind
        else {
            self.detach_port(id);
            return Ok(());
        };
        let Some(netmap_if) = netmap_if else {
            let why = format!("{} is detached already", self.adapters[id].label());
            return Err(Refusal::new(Errno::INVAL, why));
        };
        for id in [id, port] {
            self.adapters[id].active -= 1;
            self.stop_monitors(id);
        }
        if let Some(host) = host {
            self.detach_port(host);
        }
        self.part_nic(port);
        self.leave_rings(port, id);
        self.tell_senders(port);
        // Cannot fail: it was made with the bwrap.
        let mem = self.adapters[id].mem;
        let _ = self.delete_netmap_if(mem, netmap_if, &Extra::default());
        self.drop_memory(port);
        self.set_netmap_if(id, None);
        Ok(())
    }

    /// Takes the rings of both out of service and deletes them.
    fn leave_rings(&mut self, port: AdapterId, bwrap: AdapterId) {
        for id in [port, bwrap] {
            for dir in DIRS {
                for k in self.adapters[id].krings_mut(dir) {
                    (k.users, k.pending_on) = (0, false);
                }
            }
            self.commit_modes(id, false);
            self.show_port_on(id, false);
        }
        self.delete_joined_krings(port, bwrap);
    }

    /// Tells senders on the switch of `port` to drop what they have mapped of the other switch.
    fn tell_senders(&self, port: AdapterId) {
        if let Kind::Vale {
            place: Some(place), ..
        } = self.adapters[port].kind
            && let Some(switch) = self.ctl.switch(place.switch)
        {
            switch.generation.fetch_add(1, Release);
        }
    }

    /// The bwrap of `port` is gone.
    pub(super) fn release_joined(&mut self, port: AdapterId, host: Option<AdapterId>) {
        if let Some(host) = host {
            self.put_adapter(host);
        }
        self.set_join(port, Join::No);
        self.put_adapter(port);
    }

    /// Neither a port that joins two switches, or a NIC on a switch, nor its bwrap can be opened or joined once more,
    /// or has pipes that can be opened.
    pub(super) fn refuse_joined(&self, id: AdapterId) -> Result<()> {
        let na = &self.adapters[id];
        let bwrap = match na.kind {
            Kind::Vale {
                join: Join::By(bwrap),
                ..
            } => bwrap,
            Kind::Vale {
                join: Join::HostOf(bwrap),
                ..
            } => bwrap,
            Kind::Vale {
                join: Join::Of { .. },
                ..
            } => id,
            Kind::Nic(ref nic) => match nic.attached {
                Some(bwrap) => bwrap,
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        let is_nic = self.attached_nic_of(bwrap).is_some();
        let (label, bwrap) = (na.label(), self.adapters[bwrap].label());
        let why = match is_nic {
            true => format!("{label} is the switch's: detach {bwrap} first"),
            false => format!("{label} joins two switches: detach {bwrap} first"),
        };
        Err(Refusal::new(Errno::BUSY, why))
    }

    /// The NIC whose bwrap `id` is.
    pub(super) fn attached_nic_of(&self, id: AdapterId) -> Option<AdapterId> {
        match self.adapters[id].kind {
            Kind::Vale {
                join: Join::Of { port, .. },
                ..
            } => self.adapters[port].nic().map(|_| port),
            _ => None,
        }
    }

    fn set_join(&mut self, id: AdapterId, to: Join) {
        match &mut self.adapters[id].kind {
            Kind::Vale { join, .. } => *join = to,
            Kind::Nic(nic) => {
                nic.attached = match to {
                    Join::By(bwrap) => Some(bwrap),
                    _ => None,
                };
                nic.polling = None;
            }
            _ => {}
        }
    }

    fn set_netmap_if(&mut self, id: AdapterId, to: Option<u32>) {
        if let Kind::Vale {
            join: Join::Of { netmap_if, .. },
            ..
        } = &mut self.adapters[id].kind
        {
            *netmap_if = to;
        }
    }
}

/// What rings of both directions have in common with those they are linked to.
fn crosswise(of: [u32; 2]) -> [u32; 2] {
    DIRS.map(|dir| of[opposite(dir)])
}
