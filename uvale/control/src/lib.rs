//! The control plane: what kernel netmap decides when a program opens, configures and closes
//! ports, without I/O. The daemon drives one [`World`] from one thread.
//!
//! | file | what |
//! |---|---|
//! | `lib.rs` | the world, its descriptors, how a request is served |
//! | `lookup.rs` | from a name to an adapter |
//! | `register.rs` | REGISTER and its undoing: ring selection, the [`Binding`] |
//! | `registration.rs` | what REGISTER leaves: the rings, the [`Binding`], the state of the sync loop |
//! | `adapter.rs` | adapters (anything that can be bound) and their reference counts |
//! | `vale.rs`, `persistent.rs`, `pipe.rs` | what is special about VALE ports and pipes |
//! | `bwrap.rs` | persistent ports that join two switches, NICs on a switch |
//! | `attach.rs` | attaching NICs, and polling them |
//! | `nic.rs` | NIC ports: interfaces of the system, and which of them are joined |
//! | `monitor.rs` | monitors: which rings feed which |
//! | `switch.rs` | switches and their port numbers |
//! | `krings.rs` | krings and port records in control memory |
//! | `rings.rs` | what lies in a region: rings, buffers, `netmap_if` |
//! | `memory.rs`, `pool.rs`, `sizing.rs` | allocators, their ids and regions; object pools; how big they are |
//! | `graveyard.rs` | rings in teardown whose locks somebody still holds |
//! | `repair.rs` | after a client died: locks broken, pipes repaired, buffers audited |
//! | `options.rs`, `extmem.rs`, `kloop.rs` | options of requests: offsets and CSB, a program's own memory, sync loops |
//! | `caller.rs` | what a request comes with besides its bytes |
//! | `info.rs` | requests that change nothing |
//! | `parameters.rs` | module parameters |
//! | `trace.rs` | which rings are traced |
//! | `held.rs` | who has a port open, for refusals |
//! | `inspect.rs` | what `uvale ports` and the like show |
//! | `local.rs`, `fuzzing.rs` | a world inside one process; requests made of any bytes |
//!
//! What a request does is a method of [`World`], called from `request_from` below:
//!
//! | request | method | in |
//! |---|---|---|
//! | REGISTER | `register` | `register.rs` |
//! | PORT_INFO_GET, POOLS_INFO_GET | `port_info`, `pools_info` | `info.rs` |
//! | VALE_LIST, PORT_HDR_GET | `list`, `header_len` | `info.rs` |
//! | PORT_HDR_SET | `set_header` | `vale.rs` |
//! | VALE_POLLING_ENABLE, VALE_POLLING_DISABLE | `polling` | `attach.rs` |
//! | VALE_NEWIF, VALE_DELIF | `newif`, `delif` | `persistent.rs` |
//! | VALE_ATTACH, VALE_DETACH | `attach`, `detach` | `persistent.rs` |
//! | CSB_ENABLE | `csb_enable` | `options.rs` |
//! | SYNC_KLOOP_START, SYNC_KLOOP_STOP | `kloop_start`, `kloop_stop` | `kloop.rs` |
//!
//! Trust: control memory is written by trusted clients, so what the world needs to stay consistent
//! is kept here as well and never read back from there. Regions are written by everybody, and
//! every index read from one is checked.
#![forbid(unsafe_code)]

mod adapter;
mod attach;
mod bwrap;
mod caller;
mod extmem;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod graveyard;
mod held;
mod info;
mod inspect;
mod kloop;
mod krings;
pub mod local;
mod lookup;
mod memory;
mod monitor;
mod nic;
mod options;
mod parameters;
mod persistent;
mod pipe;
mod pool;
mod register;
mod registration;
mod repair;
mod rings;
mod sizing;
mod switch;
mod trace;
mod vale;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use nm_abi::*;
use rustix::io::Errno;

use uvale_request::{Interface, Request, interface_part, name_of};
use uvale_shared::binding::Binding;
use uvale_shared::ctl::{Ctl, MAX_SWITCHES};
use uvale_shared::shm;
use uvale_system::refusal::Refusal;
use uvale_system::who::Holder;

use adapter::{AdapterId, Adapters, Name};
use krings::{KringRanges, PortRecords};
use memory::Memories;
use registration::Bound;
use switch::Bridge;

pub use adapter::Polling;
pub use caller::{Caller, Offer};
pub use inspect::{FdbEntry, MemoryInfo, NicDetails, PortInfo, PortKind, SwitchInfo};
pub use memory::Region;
pub use nic::{Attached, NicInfo};
pub use parameters::{Effect, Knobs, Parameter};
pub use repair::Finding;

/// A result of the control plane.
pub type Result<T> = core::result::Result<T, Refusal>;

/// Size in bytes and number of the objects of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolParams {
    /// bytes
    pub size: u32,
    /// objects
    pub num: u32,
}

/// The three pools of an allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pools {
    /// `netmap_if`s: if_size, if_num
    pub netif: PoolParams,
    /// rings: ring_size, ring_num
    pub ring: PoolParams,
    /// buffers: buf_size, buf_num
    pub buf: PoolParams,
}

/// What netmap has as module parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// switches, up to [`MAX_SWITCHES`]
    pub max_switches: u32,
    /// pools of the global allocator
    pub global: Pools,
    /// what private allocators have at least (priv_if_size and so on)
    pub private: Pools,
    /// the rest
    pub knobs: Knobs,
    /// pages that memory is made of
    pub pages: shm::Wanted,
}

impl Default for Config {
    fn default() -> Self {
        let params = |size, num| PoolParams { size, num };
        Self {
            max_switches: 8,
            global: Pools {
                netif: params(1024, 100),
                ring: params(9 * 4096, 200),
                buf: params(2048, 163_840),
            },
            private: Pools {
                netif: params(1024, 2),
                ring: params(5 * 4096, 4),
                buf: params(2048, 4098),
            },
            knobs: Knobs::default(),
            pages: shm::Wanted::default(),
        }
    }
}

impl Config {
    /// Checks the sizes; netmap itself finds out only when the first port is opened. The refusal
    /// names the parameter and its range.
    pub fn check(&self) -> Result<()> {
        if !(1..=MAX_SWITCHES as u32).contains(&self.max_switches) {
            return Err(Refusal::new(
                Errno::INVAL,
                format!(
                    "max_switches={} (max_bridges) is out of range: set it to 1 to {MAX_SWITCHES}",
                    self.max_switches
                ),
            ));
        }
        memory::check(self)
    }
}

/// One open of `/dev/netmap`; counts up from 1 and is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

/// Everything that exists: ports, switches, memories, descriptors.
#[derive(Debug)]
pub struct World {
    ctl: Arc<Ctl>,
    config: Config,
    /// as it was when the world began
    initial: Config,
    adapters: Adapters,
    /// persistent ports by the name of their interface
    interfaces: BTreeMap<Name, AdapterId>,
    /// NIC ports by what is theirs alone
    nics: BTreeMap<nic::Key, AdapterId>,
    bridges: Vec<Bridge>,
    memories: Memories,
    clients: BTreeMap<u32, Option<Bound>>,
    /// who opened them, as far as that is known
    holders: BTreeMap<u32, Holder>,
    /// the processes of sessions, as far as they are known
    processes: BTreeMap<u32, Holder>,
    next_client: u32,
    generation: u32,
    port_records: PortRecords,
    kring_ranges: KringRanges,
    graves: Vec<graveyard::Grave>,
    /// the system's interface that the request being served names
    interface: Option<(Name, Interface)>,
    /// cookie of the network namespace of who makes it; 0: not known
    netns: u64,
    /// processors that may poll
    processors: Vec<u32>,
    /// counts what may have changed a port
    changes: u64,
    /// what is traced
    traces: Vec<trace::Trace>,
}

impl World {
    /// An empty world over fresh control memory.
    pub fn new(ctl: Arc<Ctl>, config: Config) -> Self {
        let switches = (config.max_switches as usize).clamp(1, MAX_SWITCHES);
        let mut world = Self {
            ctl,
            config,
            initial: config,
            adapters: Adapters::default(),
            interfaces: BTreeMap::new(),
            nics: BTreeMap::new(),
            bridges: (0..switches).map(|_| Bridge::default()).collect(),
            memories: Memories::new(&config),
            clients: BTreeMap::new(),
            holders: BTreeMap::new(),
            processes: BTreeMap::new(),
            next_client: 1,
            generation: 0,
            port_records: PortRecords::default(),
            kring_ranges: KringRanges::default(),
            graves: Vec::new(),
            interface: None,
            netns: 0,
            processors: Vec::new(),
            changes: 0,
            traces: Vec::new(),
        };
        world.apply_parameters();
        world
    }

    /// What regions have less than the configuration wants, since this was asked last: a sentence for each.
    pub fn take_less(&mut self) -> Vec<String> {
        self.memories.take_less()
    }

    /// Control memory.
    pub fn ctl(&self) -> &Arc<Ctl> {
        &self.ctl
    }

    /// Another number whenever a port may have changed: what was found out about ports before holds no longer.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// A program opened the device.
    pub fn open(&mut self) -> ClientId {
        let id = self.next_client;
        self.next_client += 1;
        self.clients.insert(id, None);
        ClientId(id)
    }

    /// The process `holder` opened the device.
    pub fn open_by(&mut self, holder: Holder) -> ClientId {
        let client = self.open();
        self.holders.insert(client.0, holder);
        client
    }

    /// The last copy of the descriptor was closed.
    pub fn close(&mut self, client: ClientId) {
        self.undo_register(client);
        self.clients.remove(&client.0);
        self.holders.remove(&client.0);
    }

    /// What the descriptor is bound to.
    pub fn binding(&self, client: ClientId) -> Option<&Binding> {
        self.bound(client).map(|b| &b.binding)
    }

    /// A region by its number.
    pub fn region(&self, number: u32) -> Option<&Region> {
        self.memories.region(number)
    }

    fn bound(&self, client: ClientId) -> Option<&Bound> {
        self.clients.get(&client.0)?.as_ref()
    }

    /// All descriptors bound to ports that use memory `mem`.
    fn users_of(&self, mem: memory::MemId) -> impl Iterator<Item = &Bound> {
        let bound = self.clients.values().flatten();
        bound.filter(move |b| b.mem_id == mem)
    }

    /// NIOCCTRL: serves one request of an unknown process, and does that process's part as well.
    pub fn request(&mut self, client: ClientId, request: &mut Request) -> Result<()> {
        let mut caller = Caller::default();
        self.request_from(client, &mut caller, request)?;
        let region = self.bound(client).map(|b| b.binding.region);
        if let Some(region) = region.and_then(|number| self.region(number))
            && !caller.extra.is_empty()
        {
            caller.extra.chain(&region.shared);
            self.extra_chained(client);
        }
        Ok(())
    }

    /// NIOCCTRL: serves one request. The results are written into it; on a refusal the program
    /// gets the errno and the status of each option, and no body.
    ///
    /// The API version was checked, and each option was given the status of one that nobody serves, when
    /// the request was copied in: nothing but the program's own answer depends on them.
    pub fn request_from(
        &mut self,
        client: ClientId,
        caller: &mut Caller,
        request: &mut Request,
    ) -> Result<()> {
        if !self.clients.contains_key(&client.0) {
            return Err(Refusal::new(Errno::BADF, "no such descriptor"));
        }
        self.changes += 1;
        let served = self.serve(client, caller, request);
        self.rings_have_changed();
        served
    }

    fn serve(
        &mut self,
        client: ClientId,
        caller: &mut Caller,
        request: &mut Request,
    ) -> Result<()> {
        let name = name_of(&mut request.header);
        let interface = caller.interface.take();
        self.netns = interface.as_ref().map_or(caller.netns, |i| i.netns);
        self.interface = interface.map(|i| (interface_part(&name).to_vec(), i));
        let options = &mut request.options;
        match request.header.nr_reqtype {
            NETMAP_REQ_REGISTER => with_body(&mut request.body, |reg| {
                self.register(client, caller, &name, reg, options)
            }),
            NETMAP_REQ_PORT_INFO_GET => {
                with_body(&mut request.body, |body| self.port_info(&name, body))
            }
            NETMAP_REQ_VALE_ATTACH => with_body(&mut request.body, |body| self.attach(&name, body)),
            NETMAP_REQ_VALE_DETACH => with_body(&mut request.body, |body| self.detach(&name, body)),
            NETMAP_REQ_VALE_LIST => self.list(&name, request),
            NETMAP_REQ_PORT_HDR_SET => {
                with_body(&mut request.body, |body| self.set_header(&name, body))
            }
            NETMAP_REQ_PORT_HDR_GET => with_body(&mut request.body, |body: &mut nmreq_port_hdr| {
                body.nr_hdr_len = self.header_len(&name)?;
                Ok(())
            }),
            NETMAP_REQ_VALE_NEWIF => with_body(&mut request.body, |body| self.newif(&name, body)),
            NETMAP_REQ_VALE_DELIF => self.delif(&name),
            NETMAP_REQ_VALE_POLLING_ENABLE => {
                with_body(&mut request.body, |body| self.polling(&name, Some(body)))
            }
            NETMAP_REQ_VALE_POLLING_DISABLE => self.polling(&name, None),
            NETMAP_REQ_POOLS_INFO_GET => {
                with_body(&mut request.body, |body| self.pools_info(&name, body))
            }
            NETMAP_REQ_CSB_ENABLE => self.csb_enable(client, caller, options),
            NETMAP_REQ_SYNC_KLOOP_START => with_body(&mut request.body, |body| {
                self.kloop_start(client, caller.session, body, options)
            }),
            NETMAP_REQ_SYNC_KLOOP_STOP => self.kloop_stop(client),
            other => Err(Refusal::new(
                Errno::INVAL,
                format!("request type {other} does not exist"),
            )),
        }
    }
}

/// Serves a request through its typed body, and writes the body back.
fn with_body<B: AbiBytes>(
    bytes: &mut Vec<u8>,
    serve: impl FnOnce(&mut B) -> Result<()>,
) -> Result<()> {
    let mut body = B::from_bytes(bytes)
        .ok_or_else(|| Refusal::new(Errno::INVAL, "the request's body is too short"))?;
    serve(&mut body)?;
    *bytes = body.as_bytes().to_vec();
    Ok(())
}
