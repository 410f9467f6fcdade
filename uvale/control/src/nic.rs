//! NIC ports: interfaces of the system, as netmap's emulated adapter shows them. One ring for each
//! queue, host rings, the memory that all of them share.
//!
//! A port is found by its network namespace and the interface's number in there, which are facts that
//! each request brings along; what it is called is for people. It is made by the first request that
//! is about it, and goes when nobody refers to it any more.
//!
//! | | the data path sees |
//! |---|---|
//! | what its rings lead to | `Kring.wire` |
//! | both ends of a veth pair are open: joined | `Kring.joined` of both, crosswise; `joining` |
//! | its interface is gone, or down | `PORT_GONE`, `PORT_DOWN` |
//!
//! Joining and parting is the daemon's decision. A port is parted before its krings can be given to
//! another port; those of its former peer that may have them in hand still are waited for.

use core::sync::atomic::Ordering::{Relaxed, Release};

use nm_abi::nmreq_register;
use rustix::io::Errno;

use super::adapter::{Adapter, AdapterId, DIRS, Kind, NAME_MAX, Nic, Polling, opposite};
use super::krings::is_quiet;
use super::memory::GLOBAL;
use super::{ClientId, Refusal, Result, World};
use uvale_engine::{RX, TX};
use uvale_request::Interface;
use uvale_shared::ctl::{PORT_DOWN, PORT_GONE, WIRE_HOST};

/// Fewer slots than this are none that ethtool means.
const LEAST_SLOTS: u32 = 3;

/// What is an interface's alone: the cookie of its network namespace, its number in there.
pub(super) type Key = (u64, u32);

fn key(interface: &Interface) -> Key {
    (interface.netns, interface.index)
}

impl Nic {
    /// The checks of a first REGISTER that receives. (netmap's errno; its reason is in the kernel's log.)
    pub fn check_mtu(&self, label: &str, buf_size: u32) -> Result<()> {
        let mtu = self.interface.mtu;
        if mtu <= buf_size {
            return Ok(());
        }
        Err(Refusal::new(
            Errno::INVAL,
            format!(
                "{label}: buffers of {buf_size} bytes are smaller than its MTU of {mtu}: lower that, or raise \
                 buf_size"
            ),
        ))
    }
}

/// A NIC on a switch, for the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// the name of the port on the switch
    pub name: String,
    /// index of that port's record
    pub port: u32,
    /// who polls
    pub polling: Option<Polling>,
}

/// A NIC port, for the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicInfo {
    /// index of its record in control memory
    pub port: u32,
    /// its generation: another one with each first REGISTER
    pub generation: u32,
    /// its name
    pub name: String,
    /// the interface, as seen last
    pub interface: Interface,
    /// it does not exist there any more
    pub is_gone: bool,
    /// rings by direction (0: rx, 1: tx), host rings not counted
    pub rings: [u32; 2],
    /// somebody has one of its rings that is no host ring
    pub uses_nic: bool,
    /// somebody has one of its host rings
    pub uses_host: bool,
    /// the descriptors that have it open
    pub openers: Vec<ClientId>,
    /// port record of the port that it is joined with
    pub joined: Option<u32>,
    /// it is on a switch
    pub attached: Option<Attached>,
}

impl Adapter {
    /// What only a NIC port has.
    pub(super) fn nic(&self) -> Option<&Nic> {
        match &self.kind {
            Kind::Nic(nic) => Some(nic),
            _ => None,
        }
    }

    fn nic_mut(&mut self) -> Option<&mut Nic> {
        match &mut self.kind {
            Kind::Nic(nic) => Some(nic),
            _ => None,
        }
    }

    /// What the data path takes ring `i` for.
    pub(super) fn wire(&self, dir: usize, i: u32) -> u32 {
        match (self.nic(), i.checked_sub(self.rings[dir])) {
            (None, _) => 0,
            (Some(_), None) => i + 1,
            (Some(_), Some(host)) => WIRE_HOST | (host + 1),
        }
    }
}

impl World {
    /// netmap_get_hw_na: the port of the interface that the request being served means by `name`. Made if
    /// there is none; its first reference is the caller's to take.
    pub(super) fn get_nic(&mut self, name: &[u8]) -> Result<AdapterId> {
        let Some((_, interface)) = self.interface.as_ref().filter(|(known, _)| known == name)
        else {
            let name = String::from_utf8_lossy(name);
            return Err(Refusal::new(
                Errno::NXIO,
                format!(
                    "{name:?}: there is no such interface here, and names of ports are valeX:Y, base{{id, base}}id"
                ),
            ));
        };
        let interface = interface.clone();
        match self.nics.get(&key(&interface)).copied() {
            Some(id) => {
                self.show_interface(id, interface);
                Ok(id)
            }
            None => self.new_nic(name, interface),
        }
    }

    /// generic_netmap_attach.
    fn new_nic(&mut self, name: &[u8], interface: Interface) -> Result<AdapterId> {
        let slots = slots_of(&interface, [self.config.knobs.generic_ringsize as u32; 2]);
        if slots.contains(&0) {
            let why = format!(
                "{}: its rings would have no slots: set generic_ringsize to 1024",
                String::from_utf8_lossy(name)
            );
            return Err(Refusal::new(Errno::INVAL, why));
        }
        let (rings, key) = (rings_of(&interface), key(&interface));
        let record = self.new_port_record()?;
        let mem = self.memories.get(GLOBAL);
        let nic = Nic {
            interface: interface.clone(),
            is_gone: false,
            joined: None,
            attached: None,
            polling: None,
        };
        let name = name[..name.len().min(NAME_MAX)].to_vec();
        let kind = Kind::Nic(Box::new(nic));
        let id = self.adapters.add(Adapter {
            host_rings: [1; 2],
            ..Adapter::new(name, kind, rings, slots, mem, record)
        });
        self.nics.insert(key, id);
        self.show_interface(id, interface);
        Ok(id)
    }

    /// This is what the interface of NIC port `id` is by now.
    fn show_interface(&mut self, id: AdapterId, interface: Interface) {
        let na = &mut self.adapters[id];
        let (is_up, record) = (interface.is_up, na.port);
        if let Some(nic) = na.nic_mut() {
            nic.interface = interface;
        }
        let flags = &self.port(record).flags;
        let others = flags.load(Relaxed) & !PORT_DOWN;
        flags.store(others | if is_up { 0 } else { PORT_DOWN }, Relaxed);
    }

    /// The destructor's part for a NIC port.
    pub(super) fn forget_nic(&mut self, id: AdapterId) {
        self.nics.retain(|_, nic| *nic != id);
    }

    /// A request decides how many host rings a port has that nobody has open.
    pub(super) fn set_host_rings(&mut self, id: AdapterId, reg: &nmreq_register) {
        let na = &mut self.adapters[id];
        if na.active > 0 || !na.has_host_rings() {
            return;
        }
        let mut asked = [0; 2];
        (asked[TX], asked[RX]) = (reg.nr_host_tx_rings.into(), reg.nr_host_rx_rings.into());
        for dir in DIRS.into_iter().filter(|dir| asked[*dir] != 0) {
            na.host_rings[dir] = asked[dir];
        }
    }

    /// netmap_update_config: what the interface is called and has now. Rings in use stay as they are.
    pub(super) fn update_nic(&mut self, id: AdapterId) {
        let Some((name, interface)) = &self.interface else {
            return;
        };
        let na = &mut self.adapters[id];
        if na.nic().map(|nic| key(&nic.interface)) != Some(key(interface)) {
            return;
        }
        na.name = name[..name.len().min(NAME_MAX)].to_vec();
        if na.active == 0 {
            na.rings = rings_of(interface);
            na.slots = slots_of(interface, na.slots);
        }
    }

    /// generic_netmap_register: the first REGISTER takes what the interface receives, which somebody else
    /// may have done before.
    pub(super) fn register_nic(&mut self, id: AdapterId, on: bool) -> Result<()> {
        let na = &self.adapters[id];
        if on
            && na.active == 0
            && let Some(nic) = na.nic()
        {
            let label = na.label();
            if nic.interface.has_master {
                let why = format!(
                    "{label} is a port of a bridge, a bond or their like, which takes what it receives: open that, \
                     or take it out (ip link set {label} nomaster)"
                );
                return Err(Refusal::new(Errno::BUSY, why));
            }
            if !nic.interface.is_ethernet {
                let why = format!(
                    "{label}: its packets do not begin with an Ethernet header, as netmap's do"
                );
                return Err(Refusal::new(Errno::INVAL, why));
            }
        }
        self.commit_modes(id, on);
        Ok(())
    }

    /// Is `name` an interface of the system?
    pub(super) fn is_outside(&self, name: &[u8]) -> bool {
        let interface = self.interface.as_ref();
        interface.is_some_and(|(known, _)| known == name)
    }
}

/// An interface of the system has the name that a port would have on its switch. netmap attaches NICs under
/// such names, and creates no port of that name.
pub(super) fn refuse_nic_on_switch(name: &[u8], part: &[u8]) -> Refusal {
    let [name, label] = [name, part].map(|name| String::from_utf8_lossy(name).into_owned());
    let why = format!(
        "{name}: {label} is an interface of this system, and netmap keeps such names for attaching it: attach it \
         (vale-ctl -a), or call the port something else"
    );
    Refusal::new(Errno::INVAL, why)
}

/// nm_os_generic_find_num_queues.
fn rings_of(interface: &Interface) -> [u32; 2] {
    [interface.rx_queues, interface.tx_queues].map(|n| n.max(1).into())
}

/// nm_os_generic_find_num_desc.
fn slots_of(interface: &Interface, default: [u32; 2]) -> [u32; 2] {
    let said = [interface.rx_slots, interface.tx_slots];
    DIRS.map(|dir| {
        if said[dir] >= LEAST_SLOTS {
            said[dir]
        } else {
            default[dir]
        }
    })
}

// What the daemon tells.
impl World {
    /// The NIC port with that record.
    fn nic_at(&self, port: u32) -> Option<AdapterId> {
        let mut all = self.adapters.iter();
        all.find_map(|(id, na)| (na.port == port && na.nic().is_some()).then_some(id))
    }

    /// All NIC ports, in the order they were made.
    pub fn nics(&self) -> impl Iterator<Item = NicInfo> + '_ {
        self.adapters.iter().filter_map(|(id, na)| {
            let nic = na.nic()?;
            let bound = self.clients.iter();
            let openers = bound.filter(|(_, b)| b.as_ref().is_some_and(|b| b.id == id));
            let in_use = |range: fn(&Adapter, usize) -> core::ops::Range<usize>| {
                let krings = |dir| na.krings(dir).get(range(na, dir)).unwrap_or_default();
                DIRS.iter()
                    .flat_map(|&dir| krings(dir))
                    .any(|k| k.users > 0)
            };
            Some(NicInfo {
                port: na.port,
                generation: self.port(na.port).generation.load(Relaxed),
                name: na.label(),
                interface: nic.interface.clone(),
                is_gone: nic.is_gone,
                rings: na.rings,
                uses_nic: in_use(|na, dir| 0..na.rings[dir] as usize),
                uses_host: in_use(|na, dir| na.rings[dir] as usize..na.krings(dir).len()),
                openers: openers.map(|(client, _)| ClientId(*client)).collect(),
                joined: nic.joined.map(|peer| self.adapters[peer].port),
                attached: nic.attached.map(|bwrap| Attached {
                    name: self.adapters[bwrap].label(),
                    port: self.adapters[bwrap].port,
                    polling: nic.polling,
                }),
            })
        })
    }

    /// The interface of that port is another one in what is given, and has the same number in the same
    /// namespace.
    pub fn nic_changed(&mut self, port: u32, interface: Interface) {
        if let Some(id) = self.nic_at(port)
            && let Some(nic) = self.adapters[id].nic()
            && key(&nic.interface) == key(&interface)
        {
            self.changes += 1;
            self.show_interface(id, interface);
        }
    }

    /// The interface of that port has been deleted, or has moved to another namespace: requests do not
    /// find the port any more, and syncs fail.
    pub fn nic_gone(&mut self, port: u32) {
        let Some(id) = self.nic_at(port) else { return };
        self.changes += 1;
        self.forget_nic(id);
        self.part_nic(id);
        if let Some(nic) = self.adapters[id].nic_mut() {
            nic.is_gone = true;
        }
        self.port(port).flags.fetch_or(PORT_GONE, Release);
    }

    /// Joins the NIC ports with these records: from now on each tx ring of one fills the rx ring of the
    /// other with the same number. The receiver may begin at `deadline` (monotonic, nanoseconds) at the latest.
    /// Nothing to do if they are joined; else the error is a sentence that says why they cannot be.
    pub fn join(&mut self, a: u32, b: u32, deadline: u64) -> core::result::Result<(), String> {
        let found = |port| {
            let id = self.nic_at(port);
            id.ok_or_else(|| format!("port {port} is no NIC port"))
        };
        let ends = [found(a)?, found(b)?];
        if self.may_join(ends)? {
            self.show_joined(ends, deadline);
        }
        Ok(())
    }

    /// Can the two be joined? False if they are.
    fn may_join(&self, [a, b]: [AdapterId; 2]) -> core::result::Result<bool, String> {
        let [na, nb] = [a, b].map(|id| &self.adapters[id]);
        if a == b {
            return Err(format!("{} cannot be joined with itself", na.label()));
        }
        if na.nic().and_then(|nic| nic.joined) == Some(b) {
            return Ok(false);
        }
        for na in [na, nb] {
            self.may_be_joined(na)?;
        }
        let [one, other] = [na.label(), nb.label()];
        if na.mem != nb.mem {
            return Err(format!(
                "{one} is in memory {}, {other} in memory {}",
                na.mem, nb.mem
            ));
        }
        if na.rings[TX] != nb.rings[RX] || na.rings[RX] != nb.rings[TX] {
            return Err(format!(
                "{one} has {} tx and {} rx rings, {other} {} rx and {} tx",
                na.rings[TX], na.rings[RX], nb.rings[RX], nb.rings[TX]
            ));
        }
        Ok(true)
    }

    fn may_be_joined(&self, na: &Adapter) -> core::result::Result<(), String> {
        let label = na.label();
        let nic = na.nic().ok_or_else(|| format!("{label} is no NIC port"))?;
        if nic.is_gone {
            return Err(format!("{label} is gone"));
        }
        if let Some(other) = nic.joined {
            return Err(format!(
                "{label} is joined with {}",
                self.adapters[other].label()
            ));
        }
        if na.active == 0 {
            return Err(format!("nobody has {label} open"));
        }
        let mut krings = DIRS.iter().flat_map(|dir| na.krings(*dir));
        if krings.any(|k| k.offsets.mask != 0) {
            return Err(format!("{label} is open with offsets"));
        }
        if na.virt_hdr_len != 0 {
            return Err(format!("{label} has virtio-net headers"));
        }
        Ok(())
    }

    fn show_joined(&mut self, ends: [AdapterId; 2], deadline: u64) {
        let [a, b] = ends;
        self.changes += 1;
        for (one, other) in [(a, b), (b, a)] {
            if let Some(nic) = self.adapters[one].nic_mut() {
                nic.joined = Some(other);
            }
        }
        // SYNC POINT: Release pairs with the Acquire of the data path's look at `joined`: whoever sees the
        // peer sees until when the wire comes first. Receivers know it before there is something to receive.
        for dir in [RX, TX] {
            for (one, other) in [(a, b), (b, a)] {
                let theirs = self.adapters[other].krings(opposite(dir));
                let na = &self.adapters[one];
                for (k, their) in na.krings(dir)[..na.real(dir)].iter().zip(theirs) {
                    let shared = self.kring(k.index);
                    if dir == RX {
                        shared.joining.store(deadline, Relaxed);
                    }
                    shared.joined.store(their.index + 1, Release);
                    shared.changed();
                }
            }
        }
    }

    /// Parts the NIC port with this record from its peer: packets go over the wire again. Nothing to do if
    /// they are not joined.
    pub fn part(&mut self, port: u32) {
        if let Some(id) = self.nic_at(port) {
            self.part_nic(id);
        }
    }

    pub(super) fn part_nic(&mut self, id: AdapterId) {
        let Some(peer) = self.adapters[id]
            .nic_mut()
            .and_then(|nic| nic.joined.take())
        else {
            return;
        };
        self.changes += 1;
        if let Some(nic) = self.adapters[peer].nic_mut() {
            nic.joined = None;
        }
        for dir in [TX, RX] {
            for end in [id, peer] {
                for k in self.adapters[end].krings(dir) {
                    let shared = self.kring(k.index);
                    shared.joined.store(0, Release);
                    shared.joining.store(0, Relaxed);
                    shared.changed();
                }
            }
        }
        for (end, other) in [(id, peer), (peer, id)] {
            let krings = DIRS
                .iter()
                .flat_map(|dir| self.adapters[other].krings(*dir));
            let in_hand: Vec<u32> = krings
                .map(|k| k.index)
                .filter(|index| !is_quiet(&self.ctl, *index))
                .collect();
            if let Some(krings) = &mut self.adapters[end].krings {
                krings.in_hand.extend(in_hand);
            }
        }
    }
}
