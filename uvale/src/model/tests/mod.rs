//! The control plane against what kernel netmap was seen to do.

mod errors;
mod persistent;
mod pipes;
mod random;
mod repair;
mod vale;

use std::sync::Arc;

use nm_abi::*;
use rustix::io::Errno;

use super::{Binding, ClientId, Config, World};
use crate::ctl::{CTL_LEN, Ctl};
use crate::request::{Request, set_name};
use crate::shm::{Mapping, Memfd};

pub(super) type Reg = core::result::Result<nmreq_register, Errno>;

pub(super) fn world() -> World {
    world_with(Config::default())
}

pub(super) fn world_with(config: Config) -> World {
    let memfd = Memfd::create("ctl", CTL_LEN).unwrap();
    let ctl = Ctl::format(Mapping::new(&memfd).unwrap()).unwrap();
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
}

impl<'a> View<'a> {
    pub fn of(w: &'a World, c: ClientId) -> Self {
        Self {
            w,
            b: w.binding(c).expect("bound"),
        }
    }

    fn map(&self) -> &Mapping {
        self.w.region(self.b.region).unwrap().map()
    }

    pub fn word(&self, ofs: u64) -> u32 {
        use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
        self.map()
            .at::<AtomicU32>(ofs as usize)
            .unwrap()
            .load(Relaxed)
    }

    pub fn set_word(&self, ofs: u64, value: u32) {
        use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
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
            .flat_map(|i| self.word(self.b.offset + 4 * i).to_le_bytes())
            .collect();
        String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap()).into_owned()
    }

    /// ni_flags, tx, rx, bufs_head, host tx, host rx
    pub fn netmap_if(&self) -> [u32; 6] {
        [20, 24, 28, 32, 36, 40].map(|o| self.word(self.b.offset + o))
    }

    /// Distances of the rings from the `netmap_if`, in its order: tx, host tx, rx, host rx.
    pub fn ring_ofs(&self) -> Vec<u64> {
        let [_, tx, rx, _, htx, hrx] = self.netmap_if();
        (0..u64::from(tx + rx + htx + hrx))
            .map(|i| self.wide(self.b.offset + 56 + 8 * i))
            .collect()
    }

    /// Byte offset of a ring in the region.
    pub fn ring(&self, tx: bool, i: u32) -> u64 {
        let [_, n_tx, _, _, htx, _] = self.netmap_if();
        let at = if tx { i } else { n_tx + htx + i };
        self.b.offset + self.ring_ofs()[at as usize]
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
