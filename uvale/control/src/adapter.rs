//! Adapters: what netmap calls anything that can be bound to a descriptor, and their reference
//! counts.
//!
//! | kind | referred to by | gone when |
//! |---|---|---|
//! | VALE port, ephemeral | descriptors, pipes on it | nobody refers to it |
//! | VALE port, persistent | its interface, its switch, descriptors, pipes, its bwrap | VALE_DELIF |
//! | bwrap of a persistent port or a NIC (see `bwrap.rs`) | its switch, pipes; refers to that port | VALE_DETACH |
//! | a NIC's host rings on a switch | the NIC's bwrap | VALE_DETACH |
//! | VALE port made for a pipe | the pipe's two ends | the pipe is gone |
//! | pipe end | descriptors, pipes on it | nobody refers to either end |
//! | null port | its descriptor | closed |
//! | monitor | its descriptor; refers to the monitored port while that is open | closed |
//! | NIC port (see `nic.rs`) | descriptors, pipes on it, monitors of it, its bwrap | nobody refers to it |

use std::collections::BTreeMap;

use super::World;
use super::memory::MemId;
use uvale_engine::{RX, TX};
use uvale_request::Interface;

/// Names an adapter; never reused.
pub(super) type AdapterId = u32;
/// A port's or interface's name: bytes, no NUL.
pub(super) type Name = Vec<u8>;
/// Bytes of an adapter's name without the final NUL.
pub(super) const NAME_MAX: usize = nm_abi::NETMAP_REQ_IFNAMSIZ - 1;

/// Both directions, in netmap's order.
pub(super) const DIRS: [usize; 2] = [RX, TX];

/// The other direction.
pub(super) fn opposite(dir: usize) -> usize {
    if dir == RX { TX } else { RX }
}

/// Which end of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// `base{id`
    Master,
    /// `base}id`
    Slave,
}

/// Where a VALE port is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub switch: u32,
    pub number: u32,
}

/// A VALE port's part in a bwrap, which joins two switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// nothing
    No,
    /// a persistent port, with its bwrap on the second switch
    By(AdapterId),
    /// the bwrap of that persistent port, or NIC
    Of {
        port: AdapterId,
        /// the port on the switch that a NIC's host rings are
        host: Option<AdapterId>,
        /// object number of its `netmap_if`; `None`: it has been detached
        netmap_if: Option<u32>,
    },
    /// a NIC's host rings, on the switch of this bwrap
    HostOf(AdapterId),
}

/// What only a NIC port has.
#[derive(Debug)]
pub(super) struct Nic {
    /// as the last request, or the daemon, has seen it
    pub interface: Interface,
    /// it does not exist there any more
    pub is_gone: bool,
    /// the port of the other end, while they are joined
    pub joined: Option<AdapterId>,
    /// its bwrap, while it is on a switch
    pub attached: Option<AdapterId>,
    /// who polls it then
    pub polling: Option<Polling>,
}

/// Processors that look at rx rings all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polling {
    /// this one at all of them
    One(u32),
    /// each of so many, from `first` on, at the ring that has its number
    Each {
        /// first processor, and first ring
        first: u32,
        /// how many
        count: u32,
    },
}

/// The differences between adapters.
#[derive(Debug)]
pub(super) enum Kind {
    Vale {
        place: Option<Place>,
        /// name of the interface of a persistent port
        interface: Option<Name>,
        /// the interface goes with its last user
        autodelete: bool,
        /// was attached by VALE_ATTACH at least once
        attached_by_request: bool,
        /// source of frame size limits between ports with different headers
        mfs: u32,
        /// its part if it joins two switches
        join: Join,
    },
    Pipe {
        role: Role,
        id: Name,
        parent: AdapterId,
        peer: AdapterId,
    },
    Null,
    /// sees what passes through the rings of another port
    Monitor {
        /// the monitored port; `None` once that has left netmap mode
        port: Option<AdapterId>,
        /// NR_MONITOR_TX, NR_MONITOR_RX, NR_ZCOPY_MON
        flags: u64,
    },
    /// an interface of the system
    Nic(Box<Nic>),
}

/// Where a ring lies in its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RingAt {
    /// object number in the ring pool
    pub object: u32,
    /// byte offset in the region
    pub offset: u64,
    pub slots: u32,
}

/// The offsets of a ring; as in netmap, its first descriptor decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offsets {
    /// bits of slot.ptr that are an offset; 0: none
    pub mask: u64,
    /// largest offset
    pub max: u64,
}

/// Ring `ring` (rx) of a monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watcher {
    pub monitor: AdapterId,
    pub ring: u32,
}

/// The monitors of a ring.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    /// copy monitors, in netmap's order
    pub copies: Vec<Watcher>,
    /// zero-copy monitors, first the one that the ring feeds
    pub chain: Vec<Watcher>,
}

impl Watchers {
    pub fn is_empty(&self) -> bool {
        self.copies.is_empty() && self.chain.is_empty()
    }

    pub fn all(&self) -> impl Iterator<Item = &Watcher> {
        self.copies.iter().chain(&self.chain)
    }
}

/// The daemon's own record of a kring; what control memory says about it can be wrong.
#[derive(Debug)]
pub(super) struct Kring {
    /// index in control memory
    pub index: u32,
    pub slots: u32,
    /// descriptors that have selected it
    pub users: u32,
    /// one of them alone
    pub exclusive: bool,
    /// the ring has no buffers of its own
    pub fake: bool,
    /// the ring is kept though nobody has selected it
    pub needed: bool,
    /// in netmap mode, now and after the next commit
    pub on: bool,
    pub pending_on: bool,
    pub ring: Option<RingAt>,
    /// the offsets that the first descriptor asked for
    pub offsets: Offsets,
    /// who monitors it
    pub watchers: Watchers,
}

/// All krings of an adapter.
#[derive(Debug)]
pub(super) struct Krings {
    /// first index in control memory and how many
    pub range: (u32, u32),
    /// by direction
    pub by_dir: [Vec<Kring>; 2],
    /// krings of NIC ports that were joined with this one, in whose syncs these may be in use still
    pub in_hand: Vec<u32>,
}

/// An adapter.
#[derive(Debug)]
pub(super) struct Adapter {
    pub name: Name,
    pub kind: Kind,
    pub refs: u32,
    /// descriptors bound to it, and 1 while it joins two switches
    pub active: u32,
    /// rings and slots by direction
    pub rings: [u32; 2],
    pub slots: [u32; 2],
    /// host rings by direction; 0: it has none, and a fake one in their place
    pub host_rings: [u32; 2],
    pub mem: MemId,
    /// the allocator that a request has replaced for as long as descriptors are bound
    pub mem_before: Option<MemId>,
    /// bytes per buffer, as of the first descriptor; 0 before
    pub buf_size: u32,
    pub virt_hdr_len: u32,
    /// index of the record in control memory
    pub port: u32,
    pub krings: Option<Krings>,
    /// master ends of the pipes on it
    pub pipes: Vec<AdapterId>,
    /// monitors of it that were made (netmap's monitor_id)
    pub monitors_made: u64,
}

impl Adapter {
    /// An adapter that nobody refers to yet. Its reference to `mem` is the caller's.
    pub fn new(
        name: Name,
        kind: Kind,
        rings: [u32; 2],
        slots: [u32; 2],
        mem: MemId,
        port: u32,
    ) -> Self {
        Self {
            name,
            kind,
            refs: 0,
            active: 0,
            rings,
            slots,
            host_rings: [0; 2],
            mem,
            mem_before: None,
            buf_size: 0,
            virt_hdr_len: 0,
            port,
            krings: None,
            pipes: Vec::new(),
            monitors_made: 0,
        }
    }

    /// Rings of a direction with the host rings, or the fake one in their place.
    pub fn all_rings(&self, dir: usize) -> u32 {
        self.rings[dir] + self.host_rings[dir].max(1)
    }

    /// The same without those at the end.
    pub fn real(&self, dir: usize) -> usize {
        self.krings(dir).len().min(self.rings[dir] as usize)
    }

    /// Are there host rings? (A port has them in both directions or in none.)
    pub fn has_host_rings(&self) -> bool {
        self.host_rings != [0; 2]
    }

    /// Ring `i` of a direction, for people.
    pub fn ring_label(&self, dir: usize, i: u32) -> String {
        let side = if dir == TX { "tx" } else { "rx" };
        match i.checked_sub(self.rings[dir]) {
            Some(i) => format!("host {side} ring {i} of {}", self.label()),
            None => format!("{side} ring {i} of {}", self.label()),
        }
    }

    /// The krings of a direction; empty if there are none.
    pub fn krings(&self, dir: usize) -> &[Kring] {
        self.krings.as_ref().map_or(&[], |k| &k.by_dir[dir])
    }

    /// The krings of a direction, to change.
    pub fn krings_mut(&mut self, dir: usize) -> &mut [Kring] {
        self.krings.as_mut().map_or(&mut [], |k| &mut k.by_dir[dir])
    }

    /// The name for people.
    pub fn label(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    /// The other end, for pipes.
    pub fn peer(&self) -> Option<AdapterId> {
        match self.kind {
            Kind::Pipe { peer, .. } => Some(peer),
            _ => None,
        }
    }
}

/// All adapters.
#[derive(Debug, Default)]
pub(super) struct Adapters {
    by_id: BTreeMap<AdapterId, Adapter>,
    next: AdapterId,
}

impl Adapters {
    /// Keeps `adapter` under a new id.
    pub fn add(&mut self, adapter: Adapter) -> AdapterId {
        let id = self.next;
        self.next += 1;
        self.by_id.insert(id, adapter);
        id
    }

    pub fn remove(&mut self, id: AdapterId) -> Option<Adapter> {
        self.by_id.remove(&id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (AdapterId, &Adapter)> {
        self.by_id.iter().map(|(id, na)| (*id, na))
    }
}

impl core::ops::Index<AdapterId> for Adapters {
    type Output = Adapter;
    fn index(&self, id: AdapterId) -> &Adapter {
        &self.by_id[&id]
    }
}

impl core::ops::IndexMut<AdapterId> for Adapters {
    fn index_mut(&mut self, id: AdapterId) -> &mut Adapter {
        self.by_id
            .get_mut(&id)
            .expect("a referenced adapter exists")
    }
}

impl World {
    /// One reference more.
    pub(super) fn get_adapter(&mut self, id: AdapterId) -> AdapterId {
        self.adapters[id].refs += 1;
        id
    }

    /// One reference less; the last one destroys the adapter, and whatever only it referred to.
    /// The two ends of a pipe are destroyed together.
    pub(super) fn put_adapter(&mut self, id: AdapterId) {
        let na = &mut self.adapters[id];
        na.refs = na.refs.saturating_sub(1);
        if na.refs > 0 {
            return;
        }
        match self.adapters[id].peer() {
            None => self.destroy_adapter(id),
            Some(peer) if self.adapters[peer].refs == 0 => {
                self.destroy_adapter(id);
                self.destroy_adapter(peer);
            }
            Some(_) => {}
        }
    }

    fn destroy_adapter(&mut self, id: AdapterId) {
        match &self.adapters[id].kind {
            Kind::Vale {
                interface, join, ..
            } => {
                let (interface, join) = (interface.clone(), *join);
                self.detach_port(id);
                if let Join::Of { port, host, .. } = join {
                    self.release_joined(port, host);
                }
                if let Some(interface) = interface {
                    self.interfaces.remove(&interface);
                }
            }
            Kind::Pipe { .. } => self.leave_parent(id),
            Kind::Monitor { .. } => self.leave_monitored(id),
            Kind::Nic(_) => self.forget_nic(id),
            Kind::Null => {}
        }
        let Some(na) = self.adapters.remove(id) else {
            return;
        };
        self.free_port_record(na.port);
        if let Some(before) = na.mem_before {
            self.memories.put(before);
        }
        self.memories.put(na.mem);
    }
}
