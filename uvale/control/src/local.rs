//! A world inside one process: control plane and data path without a daemon, for tests, fuzzing
//! and benchmarks of the engine alone.
//!
//! ```
//! use std::sync::atomic::Ordering::Relaxed;
//! use uvale_control::{Config, local::LocalWorld};
//! use uvale_engine::{RX, TX};
//! use uvale_shared::shm::{Slot, copy_in, copy_out};
//!
//! let world = LocalWorld::new(Config::default()).unwrap();
//! let a = world.open("vale0:a", |_| {}).unwrap();
//! let b = world.open("vale0:b", |_| {}).unwrap();
//!
//! // A program puts a packet into a buffer, says so in the slot, and moves head.
//! let mut packet = [0; 60];
//! packet[..6].fill(0xff);
//! let (ring, region) = (world.ring(&a, TX, 0).unwrap(), a.attachment.region());
//! let head = ring.header().head.load(Relaxed);
//! let view = &ring.slots()[head as usize];
//! let slot = Slot { len: 60, ..view.load() };
//! assert!(copy_in(&packet, &region.map, region.pool.offset(slot.buf_idx)));
//! view.store(slot);
//! ring.header().head.store(ring.next(head), Relaxed);
//! ring.header().cur.store(ring.next(head), Relaxed);
//! a.attachment.txsync(&world);
//!
//! // The other one receives what lies before tail.
//! b.attachment.rxsync(&world);
//! let (ring, region) = (world.ring(&b, RX, 0).unwrap(), b.attachment.region());
//! assert_eq!(ring.header().tail.load(Relaxed), 1);
//! let slot = ring.slots()[0].load();
//! let at = region.pool.offset(slot.buf_idx);
//! assert_eq!(copy_out(&region.map, at, slot.len.into()).unwrap(), packet);
//! ```

use std::sync::{Arc, Mutex, PoisonError};

use nm_abi::{
    AbiBytes, NETMAP_API, NETMAP_REQ_REGISTER, NR_REG_ALL_NIC, nmreq_header, nmreq_register,
};
use rustix::io::Errno;

use crate::{ClientId, Config, Refusal, World};
use uvale_engine::trace::Tracing;
use uvale_engine::{Attachment, Host, RegionMap};
use uvale_request::{OptionCopy, Request};
use uvale_shared::ctl::{CTL_LEN, Ctl};
use uvale_shared::shm::{Memfd, RingView};
use uvale_shared::trace::Trace;
use uvale_system::who::Who;

/// The session that a local world's threads take locks for.
const SESSION: u32 = 2;

/// A world and the host that its attachments run on.
pub struct LocalWorld {
    ctl: Arc<Ctl>,
    /// control plane
    pub world: Mutex<World>,
    woken: Mutex<Vec<u32>>,
    /// those that are on
    traces: Mutex<Vec<Arc<Tracing>>>,
}

/// An open, registered port.
pub struct LocalPort {
    /// its descriptor
    pub client: ClientId,
    /// its rings
    pub attachment: Attachment,
}

impl LocalWorld {
    /// An empty world.
    pub fn new(config: Config) -> Result<Self, Errno> {
        let memfd = Memfd::in_parts("uvale-local", CTL_LEN)?;
        let ctl = Arc::new(Ctl::format(&memfd).ok_or(Errno::NOMEM)?);
        let world = Mutex::new(World::new(ctl.clone(), config));
        Ok(Self {
            ctl,
            world,
            woken: Mutex::default(),
            traces: Mutex::default(),
        })
    }

    /// Opens and registers a port with all its rings; `shape` may change the request.
    pub fn open(
        &self,
        name: &str,
        shape: impl FnOnce(&mut nmreq_register),
    ) -> Result<LocalPort, Refusal> {
        self.open_with(name, Vec::new(), shape)
    }

    /// The same with options.
    pub fn open_with(
        &self,
        name: &str,
        options: Vec<OptionCopy>,
        shape: impl FnOnce(&mut nmreq_register),
    ) -> Result<LocalPort, Refusal> {
        let mut register = nmreq_register::zeroed();
        register.nr_mode = NR_REG_ALL_NIC;
        shape(&mut register);
        let mut header = nmreq_header::zeroed();
        header.nr_version = NETMAP_API;
        header.nr_reqtype = NETMAP_REQ_REGISTER;
        uvale_request::set_name(&mut header, name.as_bytes());
        let body = register.as_bytes().to_vec();
        let mut request = Request {
            header,
            body,
            options,
        };

        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let client = world.open();
        if let Err(refusal) = world.request(client, &mut request) {
            world.close(client);
            return Err(refusal);
        }
        let gone = || Refusal::new(Errno::NXIO, "the port is gone");
        let binding = world.binding(client).ok_or_else(gone)?.clone();
        let region = world
            .region(binding.region)
            .ok_or_else(gone)?
            .shared
            .clone();
        drop(world);
        let attachment = Attachment::new(self, binding, region)
            .map_err(|errno| Refusal::new(errno, "the port cannot be used"))?;
        Ok(LocalPort { client, attachment })
    }

    /// Closes a port.
    pub fn close(&self, port: LocalPort) {
        self.world
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .close(port.client);
    }

    /// Descriptors woken since the last call.
    pub fn take_woken(&self) -> Vec<u32> {
        std::mem::take(&mut self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins a trace of a port or a switch, with a memory of `cells` cells, a power of two.
    pub fn trace(&self, name: &str, cells: usize) -> Result<Arc<Tracing>, Refusal> {
        let memfd = Memfd::create("uvale-trace", Trace::bytes(cells))?;
        let mut traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        let number = traces.iter().map(|t| t.number).max().unwrap_or(0) + 1;
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.begin_trace(number, name.as_bytes())?;
        let tracing = Arc::new(Tracing {
            number,
            memory: Trace::open(&memfd).ok_or(Errno::NOMEM)?,
            snaplen: u16::MAX.into(),
            who: Who::own(),
        });
        traces.push(tracing.clone());
        Ok(tracing)
    }

    /// Ring `ring` of direction `dir` (`engine::RX`, `engine::TX`) of a port, as the program has
    /// it in its memory.
    pub fn ring<'a>(&self, port: &'a LocalPort, dir: usize, ring: u32) -> Option<RingView<'a>> {
        use core::sync::atomic::Ordering::Relaxed;
        let record = self.ctl.port(port.attachment.binding().port)?;
        let first = if dir == uvale_engine::RX {
            &record.rx_kring
        } else {
            &record.tx_kring
        };
        let kring = self.ctl.kring(first.load(Relaxed) + ring)?;
        let map = &port.attachment.region().map;
        RingView::new(
            map,
            kring.ring_ofs.load(Relaxed),
            kring.num_slots.load(Relaxed),
        )
    }
}

impl Host for LocalWorld {
    fn ctl(&self) -> &Arc<Ctl> {
        &self.ctl
    }

    fn session(&self) -> u32 {
        SESSION
    }

    fn region(&self, number: u32) -> Option<Arc<RegionMap>> {
        let world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        Some(world.region(number)?.shared.clone())
    }

    fn trace(&self, number: u32) -> Option<Arc<Tracing>> {
        let traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        traces.iter().find(|t| t.number == number).cloned()
    }

    fn wake(&self, client: u32) {
        self.woken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(client);
    }
}
