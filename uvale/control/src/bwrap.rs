//! bwrap: persistent ports that join two switches.
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
            let why = "a second switch takes all rings of a port: attach with register mode 1";
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
        let na = &self.adapters[port];
        let (virt_hdr_len, mem) = (na.virt_hdr_len, na.mem);
        let (rings, slots) = ([na.rings[TX], na.rings[RX]], [na.slots[TX], na.slots[RX]]);
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
                netmap_if: None,
            },
        };
        let name = name[..name.len().min(NAME_MAX)].to_vec();
        let bwrap = self.adapters.add(Adapter {
            virt_hdr_len,
            ..Adapter::new(name, kind, rings, slots, mem, record)
        });
        self.get_adapter(port);
        self.set_join(port, Join::By(bwrap));
        if let Err(refusal) = self.join_switches(port, bwrap, reg) {
            self.get_adapter(bwrap);
            self.put_adapter(bwrap);
            return Err(refusal);
        }
        Ok(bwrap)
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
        for dir in DIRS {
            let krings = self.adapters[port].krings_mut(dir);
            krings.iter_mut().for_each(|k| k.users += 1);
        }
        self.create_rings(port)?;
        self.cross_link(port, bwrap, &selection);
        let rings = self.adapters[bwrap].rings;
        let netmap_if = self.new_netmap_if(bwrap, [0; 2], rings)?;
        self.set_join(
            bwrap,
            Join::Of {
                port,
                netmap_if: Some(netmap_if),
            },
        );
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
                if (i as u32) < real {
                    let (from, to) = if dir == RX {
                        (index, their_index)
                    } else {
                        (their_index, index)
                    };
                    self.kring(from).bwrap.store(to + 1, Relaxed);
                }
            }
        }
    }

    /// Takes a port, or a bwrap with its port, out of traffic, for VALE_DETACH.
    pub(super) fn part_switches(&mut self, id: AdapterId) -> Result<()> {
        let Kind::Vale {
            join: Join::Of { port, netmap_if },
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
        self.leave_rings(port, id);
        self.tell_senders(port);
        // Cannot fail: it was made with the bwrap.
        let mem = self.adapters[id].mem;
        let _ = self.delete_netmap_if(mem, netmap_if, &Extra::default());
        self.drop_memory(port);
        self.set_join(
            id,
            Join::Of {
                port,
                netmap_if: None,
            },
        );
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
    pub(super) fn release_joined(&mut self, port: AdapterId) {
        self.set_join(port, Join::No);
        self.put_adapter(port);
    }

    /// Neither a port that joins two switches nor its bwrap can be opened or joined once more, or has
    /// pipes that can be opened.
    pub(super) fn refuse_joined(&self, id: AdapterId) -> Result<()> {
        let na = &self.adapters[id];
        let bwrap = match na.kind {
            Kind::Vale {
                join: Join::By(bwrap),
                ..
            } => bwrap,
            Kind::Vale {
                join: Join::Of { .. },
                ..
            } => id,
            _ => return Ok(()),
        };
        let (label, bwrap) = (na.label(), self.adapters[bwrap].label());
        let why = format!("{label} joins two switches: detach {bwrap} first");
        Err(Refusal::new(Errno::BUSY, why))
    }

    fn set_join(&mut self, id: AdapterId, to: Join) {
        if let Kind::Vale { join, .. } = &mut self.adapters[id].kind {
            *join = to;
        }
    }
}
