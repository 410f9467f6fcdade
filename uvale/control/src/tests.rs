//! The control plane against what kernel netmap was seen to do.

mod bwrap;
mod errors;
mod extmem;
mod kloop;
mod monitors;
mod nic;
mod options;
mod persistent;
mod pipes;
mod random;
mod repair;
mod sharing;
mod vale;

use core::sync::atomic::Ordering::Relaxed;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use nm_abi::*;
use rustix::io::Errno;

use super::{Binding, Caller, ClientId, Config, World};
use uvale_engine::{Attachment, Host, RegionMap};
use uvale_request::{Request, set_name};
use uvale_shared::ctl::{CTL_LEN, Ctl};
use uvale_shared::shm::{Mapping, Memfd, RingView, Slot, copy_in};

pub(super) type Reg = core::result::Result<nmreq_register, Errno>;

pub(super) fn world() -> World {
    world_with(Config::default())
}

pub(super) fn world_with(config: Config) -> World {
    let memfd = Memfd::create("ctl", CTL_LEN).unwrap();
    let ctl = Ctl::format(&memfd).unwrap();
    World::new(Arc::new(ctl), config)
}

/// A request with a typed body.
pub(super) fn request<B: AbiBytes>(reqtype: u16, name: &str, body: &B) -> Request {
    let mut header = nmreq_header {
        nr_version: NETMAP_API,
        nr_reqtype: reqtype,
        ..nmreq_header::default()
    };
    set_name(&mut header, name.as_bytes());
    Request {
        header,
        body: body.as_bytes().to_vec(),
        options: Vec::new(),
    }
}

/// Serves a request; the body that a program would see.
pub(super) fn ask<B: AbiBytes>(
    w: &mut World,
    c: ClientId,
    reqtype: u16,
    name: &str,
    body: B,
) -> core::result::Result<B, Errno> {
    let mut r = request(reqtype, name, &body);
    match w.request(c, &mut r) {
        Ok(()) => Ok(B::from_bytes(&r.body).unwrap()),
        Err(refusal) => {
            assert!(refusal.why.len() > 8, "a sentence, not {:?}", refusal.why);
            Err(refusal.errno)
        }
    }
}

/// The body of a REGISTER of all rings.
pub(super) fn all() -> nmreq_register {
    nmreq_register {
        nr_mode: NR_REG_ALL_NIC,
        ..nmreq_register::default()
    }
}

/// The body of a REGISTER with so many tx and rx rings of so many slots.
pub(super) fn with(rings: [u16; 2], slots: [u32; 2]) -> nmreq_register {
    nmreq_register {
        nr_tx_rings: rings[0],
        nr_rx_rings: rings[1],
        nr_tx_slots: slots[0],
        nr_rx_slots: slots[1],
        ..all()
    }
}

pub(super) fn register(w: &mut World, c: ClientId, name: &str, reg: nmreq_register) -> Reg {
    ask(w, c, NETMAP_REQ_REGISTER, name, reg)
}

/// Opens a descriptor and binds it; panics if that is refused.
pub(super) fn open(w: &mut World, name: &str, reg: nmreq_register) -> (ClientId, nmreq_register) {
    let c = w.open();
    let reg = register(w, c, name, reg).unwrap_or_else(|e| panic!("{name}: {e}"));
    (c, reg)
}

/// Opens a descriptor, tries to bind it and closes it again.
pub(super) fn attempt(w: &mut World, name: &str, reg: nmreq_register) -> Reg {
    let c = w.open();
    let result = register(w, c, name, reg);
    w.close(c);
    result
}

/// What a program sees of its port through its mapping.
pub(super) struct View<'a> {
    pub w: &'a World,
    pub b: &'a Binding,
    /// of its `netmap_if`
    pub offset: u64,
}

impl<'a> View<'a> {
    pub fn of(w: &'a World, c: ClientId) -> Self {
        Self {
            w,
            b: w.binding(c).expect("bound"),
            offset: w.bound(c).expect("bound").offset,
        }
    }

    fn map(&self) -> &Mapping {
        self.w.region(self.b.region).unwrap().map()
    }

    pub fn word(&self, ofs: u64) -> u32 {
        use core::sync::atomic::AtomicU32;
        self.map()
            .at::<AtomicU32>(ofs as usize)
            .unwrap()
            .load(Relaxed)
    }

    pub fn set_word(&self, ofs: u64, value: u32) {
        use core::sync::atomic::AtomicU32;
        self.map()
            .at::<AtomicU32>(ofs as usize)
            .unwrap()
            .store(value, Relaxed);
    }

    fn wide(&self, ofs: u64) -> u64 {
        u64::from(self.word(ofs)) | u64::from(self.word(ofs + 4)) << 32
    }

    pub fn name(&self) -> String {
        let bytes: Vec<u8> = (0..4)
            .flat_map(|i| self.word(self.offset + 4 * i).to_le_bytes())
            .collect();
        String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap()).into_owned()
    }

    /// ni_flags, tx, rx, bufs_head, host tx, host rx
    pub fn netmap_if(&self) -> [u32; 6] {
        [20, 24, 28, 32, 36, 40].map(|o| self.word(self.offset + o))
    }

    /// Distances of the rings from the `netmap_if`, in its order: tx, host tx, rx, host rx.
    pub fn ring_ofs(&self) -> Vec<u64> {
        let [_, tx, rx, _, htx, hrx] = self.netmap_if();
        (0..u64::from(tx + rx + htx + hrx))
            .map(|i| self.wide(self.offset + 56 + 8 * i))
            .collect()
    }

    /// Byte offset of a ring in the region.
    pub fn ring(&self, tx: bool, i: u32) -> u64 {
        let [_, n_tx, _, _, htx, _] = self.netmap_if();
        let at = if tx { i } else { n_tx + htx + i };
        self.offset + self.ring_ofs()[at as usize]
    }

    /// num_slots, buf_size, ringid, dir, head, cur, tail
    pub fn ring_header(&self, tx: bool, i: u32) -> [u32; 7] {
        let at = self.ring(tx, i);
        let w = |o| self.word(at + o);
        [
            w(8),
            w(12),
            w(16) & 0xffff,
            w(16) >> 16,
            w(20),
            w(24),
            w(28),
        ]
    }

    /// buf_idx of all slots.
    pub fn buffers(&self, tx: bool, i: u32) -> Vec<u32> {
        let at = self.ring(tx, i);
        (0..u64::from(self.word(at + 8)))
            .map(|s| self.word(at + 256 + 16 * s))
            .collect()
    }

    /// The list of extra buffers.
    pub fn extra(&self) -> Vec<u32> {
        let pool = self.w.region(self.b.region).unwrap().pool();
        let mut list = Vec::new();
        let mut next = self.netmap_if()[3];
        while next != 0 {
            list.push(next);
            next = self.word(pool.offset(next) as u64);
        }
        list
    }
}

/// A process that syncs: a session with the regions it has mapped.
pub(super) struct Process {
    ctl: Arc<Ctl>,
    session: u32,
    regions: Mutex<BTreeMap<u32, Arc<RegionMap>>>,
}

impl Process {
    pub fn new(w: &World, session: u32) -> Self {
        Self {
            ctl: w.ctl.clone(),
            session,
            regions: Mutex::default(),
        }
    }

    /// Maps all regions there are, as a trusted process may.
    pub fn map_all(&self, w: &World) {
        let numbers = w.memories().filter_map(|m| m.region);
        let all = numbers.map(|n| (n, w.region(n).unwrap().shared.clone()));
        *self.regions.lock().unwrap() = all.collect();
    }

    /// What the process needs to sync a bound descriptor.
    pub fn attach(&self, w: &World, c: ClientId) -> Attachment {
        self.map_all(w);
        let b = w.binding(c).unwrap();
        let region = w.region(b.region).unwrap().shared.clone();
        Attachment::new(self, b.clone(), region).expect("a live port")
    }
}

impl Host for Process {
    fn ctl(&self) -> &Arc<Ctl> {
        &self.ctl
    }
    fn session(&self) -> u32 {
        self.session
    }
    fn region(&self, number: u32) -> Option<Arc<RegionMap>> {
        self.regions.lock().unwrap().get(&number).cloned()
    }
    fn wake(&self, _client: u32) {}
}

/// A program's own view of one of its rings.
pub(super) struct UserRing {
    region: Arc<RegionMap>,
    offset: u64,
    slots: u32,
}

impl UserRing {
    pub fn of(w: &World, c: ClientId, tx: bool, i: u32) -> Self {
        let v = View::of(w, c);
        let offset = v.ring(tx, i);
        let region = w.region(v.b.region).unwrap().shared.clone();
        Self {
            region,
            offset,
            slots: v.word(offset + 8),
        }
    }

    fn view(&self) -> RingView<'_> {
        RingView::new(&self.region.map, self.offset, self.slots).unwrap()
    }

    fn indices(&self) -> (u32, u32) {
        let v = self.view();
        (v.header().head.load(Relaxed), v.header().tail.load(Relaxed))
    }

    /// Slots the program owns.
    pub fn owned(&self) -> u32 {
        // a null port may have rings without slots
        if self.slots == 0 {
            return 0;
        }
        let (head, tail) = self.indices();
        ring_space(head, tail, self.slots)
    }

    /// Moves head on by up to `n` owned slots, each of them 60 bytes and with `flags`. Returns how
    /// many.
    pub fn advance(&self, n: u32, flags: u16) -> u32 {
        let n = n.min(self.owned());
        if self.slots == 0 {
            return n;
        }
        let (mut head, _) = self.indices();
        for _ in 0..n {
            let slot = &self.view().slots()[head as usize];
            slot.store(Slot {
                len: 60,
                flags,
                ..slot.load()
            });
            head = ring_next(head, self.slots);
        }
        self.view().header().cur.store(head, Relaxed);
        self.view().header().head.store(head, Relaxed);
        n
    }

    /// Says that the program has come to slot `head`, whether there is one or not.
    pub fn set_head(&self, head: u32) {
        self.view().header().cur.store(head, Relaxed);
        self.view().header().head.store(head, Relaxed);
    }

    /// Writes `bytes` into the buffers of all owned slots.
    pub fn fill(&self, bytes: &[u8]) {
        let (mut at, tail) = self.indices();
        while at != tail {
            let buffer = self.view().slots()[at as usize].load().buf_idx;
            let pool = &self.region.pool;
            assert!(copy_in(bytes, &self.region.map, pool.offset(buffer)));
            at = ring_next(at, self.slots);
        }
    }

    /// The buffer in the first owned slot, exchanged for `other`.
    pub fn swap_first(&self, other: u32) -> u32 {
        let (head, _) = self.indices();
        let slot = &self.view().slots()[head as usize];
        let old = slot.load();
        slot.store(Slot {
            buf_idx: other,
            flags: NS_BUF_CHANGED,
            ..old
        });
        old.buf_idx
    }
}
