//! The state of the world, as plain copies for the daemon's reports.

use core::ops::Range;
use core::sync::atomic::Ordering::Relaxed;

use super::World;
use super::adapter::{AdapterId, Kind, Kring, Polling, Role};
use super::memory::Which;
use uvale_engine::{RX, TX};
use uvale_shared::ctl::SWITCH_PORTS;
use uvale_system::who::Holder;

/// What a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// VALE port that lives with its descriptors
    Vale,
    /// VALE port that was made with VALE_NEWIF
    Persistent,
    /// port that was made because somebody opened a pipe on its name
    PipeBase,
    /// `base{id`
    PipeMaster,
    /// `base}id`
    PipeSlave,
    /// rings that lead nowhere
    Null,
    /// sees what passes through the rings of another port
    Monitor,
    /// an interface of the system
    Nic,
}

/// What only a NIC port has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicDetails {
    /// cookie of its network namespace; 0: the kernel does not tell
    pub netns: u64,
    /// number of its interface in there
    pub index: u32,
    /// its interface does not exist there any more
    pub is_gone: bool,
    /// name of the port that it is joined with
    pub joined: Option<String>,
    /// host rings by direction
    pub host_rings: [u32; 2],
    /// kring records of those; empty while nobody has the port open
    pub host_krings: [Vec<u32>; 2],
    /// rings by direction of each of the port's holders
    pub opened: Vec<[Range<u32>; 2]>,
    /// it is on a switch: the name of the port there, and who polls
    pub attached: Option<(String, Option<Polling>)>,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInfo {
    /// name
    pub name: String,
    /// what it is
    pub kind: PortKind,
    /// index of its record in control memory
    pub port: u32,
    /// switch index and port number there
    pub switch: Option<(u32, u32)>,
    /// nr_mem_id
    pub mem_id: u16,
    /// number of its region, once it has one
    pub region: Option<u32>,
    /// rings by direction (0: rx, 1: tx), host rings not counted
    pub rings: [u32; 2],
    /// slots per ring by direction
    pub slots: [u32; 2],
    /// kring records by direction, host rings not counted; empty while nobody has the port open
    pub krings: [Vec<u32>; 2],
    /// descriptors bound to it
    pub users: u32,
    /// who opened them, as far as that is known
    pub holders: Vec<Holder>,
    /// bytes of virtio-net header
    pub virt_hdr_len: u32,
    /// largest frame to ports with another header length; 0 for what is no VALE port
    pub mfs: u32,
    /// what only a NIC port has
    pub nic: Option<NicDetails>,
}

/// A switch in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchInfo {
    /// its index (nr_bridge_idx)
    pub index: u32,
    /// name without the colon
    pub name: String,
    /// port numbers in the switch's order, with the ports' names
    pub ports: Vec<(u32, String)>,
}

/// An entry of a forwarding table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    /// address
    pub mac: [u8; 6],
    /// port number
    pub number: u32,
    /// the port that has that number now
    pub port: Option<String>,
}

/// An allocator: objects in use and in all, by pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryInfo {
    /// nr_mem_id
    pub mem_id: u16,
    /// not the global one
    pub private: bool,
    /// number of its region, once it has one
    pub region: Option<u32>,
    /// bytes of its region, made or not
    pub size: u64,
    /// users: descriptors, and rings in the graveyard
    pub users: u32,
    /// `netmap_if`s, rings, buffers: in use
    pub used: [u32; 3],
    /// `netmap_if`s, rings, buffers: in all
    pub total: [u32; 3],
}

impl World {
    /// All ports in the order they were made.
    pub fn ports(&self) -> impl Iterator<Item = PortInfo> + '_ {
        self.adapters.iter().map(|(id, _)| self.port_report(id))
    }

    fn port_report(&self, id: AdapterId) -> PortInfo {
        let na = &self.adapters[id];
        let (kind, switch, mfs) = match &na.kind {
            Kind::Vale {
                place,
                interface,
                autodelete,
                mfs,
                ..
            } => {
                let kind = match (interface, autodelete) {
                    (None, _) => PortKind::Vale,
                    (Some(_), false) => PortKind::Persistent,
                    (Some(_), true) => PortKind::PipeBase,
                };
                (kind, place.map(|p| (p.switch, p.number)), *mfs)
            }
            Kind::Pipe {
                role: Role::Master, ..
            } => (PortKind::PipeMaster, None, 0),
            Kind::Pipe {
                role: Role::Slave, ..
            } => (PortKind::PipeSlave, None, 0),
            Kind::Null => (PortKind::Null, None, 0),
            Kind::Monitor { .. } => (PortKind::Monitor, None, 0),
            Kind::Nic(_) => (PortKind::Nic, None, 0),
        };
        let index_of = |krings: &[Kring]| krings.iter().map(|k| k.index).collect();
        let krings = [RX, TX].map(|dir| index_of(&na.krings(dir)[..na.real(dir)]));
        let nic = na.nic().map(|nic| NicDetails {
            netns: nic.interface.netns,
            index: nic.interface.index,
            is_gone: nic.is_gone,
            joined: nic.joined.map(|peer| self.adapters[peer].label()),
            host_rings: na.host_rings,
            host_krings: [RX, TX].map(|dir| index_of(&na.krings(dir)[na.real(dir)..])),
            opened: self.opened(id).collect(),
            attached: nic
                .attached
                .map(|port| (self.adapters[port].label(), nic.polling)),
        });
        PortInfo {
            name: na.label(),
            kind,
            port: na.port,
            switch,
            mem_id: na.mem,
            region: self.memories.at(na.mem).region,
            rings: na.rings,
            slots: na.slots,
            krings,
            users: na.active,
            holders: self.holders_of(id).cloned().collect(),
            virt_hdr_len: na.virt_hdr_len,
            mfs,
            nic,
        }
    }

    /// The switches in use.
    pub fn switches(&self) -> impl Iterator<Item = SwitchInfo> + '_ {
        let used = self
            .bridges
            .iter()
            .enumerate()
            .filter(|(_, b)| b.active > 0);
        used.map(|(index, b)| SwitchInfo {
            index: index as u32,
            name: String::from_utf8_lossy(&b.name).into_owned(),
            ports: b.order[..b.active as usize]
                .iter()
                .filter_map(|n| Some((*n, self.adapters[b.ports[*n as usize]?].label())))
                .collect(),
        })
    }

    /// What the switch has learned. An address of zeroes behind port 0 is an empty entry.
    pub fn fdb(&self, switch: u32) -> Vec<FdbEntry> {
        let (Some(shared), Some(b)) = (self.ctl.switch(switch), self.bridges.get(switch as usize))
        else {
            return Vec::new();
        };
        let entries = shared
            .fdb
            .iter()
            .map(|e| e.load(Relaxed))
            .filter(|e| *e != 0);
        entries
            .map(|entry| {
                let [a, c, d, e, f, g, ..] = entry.to_le_bytes();
                let number = (entry >> 48) as u32;
                let id = if (number as usize) < SWITCH_PORTS {
                    b.ports[number as usize]
                } else {
                    None
                };
                FdbEntry {
                    mac: [a, c, d, e, f, g],
                    number,
                    port: id.map(|id| self.adapters[id].label()),
                }
            })
            .collect()
    }

    /// All allocators by id.
    pub fn memories(&self) -> impl Iterator<Item = MemoryInfo> + '_ {
        self.memories.iter().map(|m| {
            let pools = [Which::If, Which::Ring, Which::Buf].map(|which| m.pool(which).ok());
            let total = pools.map(|p| p.map_or(0, |p| p.total()));
            let used = pools.map(|p| match p {
                Some(p) if m.region.is_some() => p.total() - p.free_count(),
                _ => 0,
            });
            MemoryInfo {
                mem_id: m.id,
                private: m.private,
                region: m.region,
                size: m.size().unwrap_or(0),
                users: m.active,
                used,
                total,
            }
        })
    }

    /// Descriptors of the device that are open, and how many of them are bound.
    pub fn descriptors(&self) -> (usize, usize) {
        (self.clients.len(), self.clients.values().flatten().count())
    }

    /// Kring records in use.
    pub fn krings_in_use(&self) -> u32 {
        self.kring_ranges.used()
    }
}
