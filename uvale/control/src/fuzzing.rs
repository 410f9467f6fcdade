//! Requests and options with structure, from any bytes: what the fuzzer and a property test run.
//!
//! Bytes become steps on one world: descriptors come and go, processes die, and requests are made, most of
//! them nearly right. Each request lies in a program's memory, with pointers of its own, and goes the whole
//! way: copied in, encoded and decoded as between processes, served, copied out. Checked are: nothing panics,
//! every errno is one that netmap can give, no buffer is lost or doubled, and nothing stays.

use std::cell::RefCell;

use nm_abi::*;
use rustix::io::Errno;

use crate::local::LocalWorld;
use crate::{Caller, ClientId, Config, Offer, PoolParams, Pools, PortKind, World};
use uvale_request::legacy;
use uvale_request::{FileRange, Interface, Request, UserMemory, body_size, set_name};
use uvale_shared::shm::Memfd;

/// What netmap answers with; ENODEV is for pipes that are not there.
const ERRNOS: [Errno; 12] = [
    Errno::INVAL,
    Errno::BUSY,
    Errno::NOMEM,
    Errno::NXIO,
    Errno::FAULT,
    Errno::MSGSIZE,
    Errno::OPNOTSUPP,
    Errno::IO,
    Errno::NODEV,
    Errno::EXIST,
    Errno::NOENT,
    Errno::NOBUFS,
];

const NAMES: [&str; 20] = [
    "vale0:a",
    "vale0:b",
    "vale1:a",
    "p{1",
    "p}1",
    "p{2",
    "vale0:a{1",
    "vale0:a}x",
    "z",
    "y",
    "vale0:z",
    "lo",
    "eth0",
    "eth1",
    "eth0{1",
    "eth0}x",
    "",
    "vale0",
    "{",
    "nope",
];

mod options;

/// Where the program's memory begins, and how much of it there is.
const BASE: u64 = 0x10000;
const BYTES: usize = 8192;
const HEADER: u64 = BASE;
const BODY: u64 = BASE + 256;
const OPTIONS: u64 = BASE + 512;

/// A program's memory.
struct Arena(RefCell<Vec<u8>>);

impl Arena {
    fn range(&self, addr: u64, len: usize) -> Option<core::ops::Range<usize>> {
        let start = usize::try_from(addr.checked_sub(BASE)?).ok()?;
        let end = start.checked_add(len)?;
        (end <= BYTES).then_some(start..end)
    }

    fn put(&self, addr: u64, bytes: &[u8]) {
        let _ = self.write(addr, bytes);
    }
}

impl UserMemory for Arena {
    fn read(&self, addr: u64, to: &mut [u8]) -> bool {
        let Some(range) = self.range(addr, to.len()) else {
            return false;
        };
        to.copy_from_slice(&self.0.borrow()[range]);
        true
    }

    fn write(&self, addr: u64, from: &[u8]) -> bool {
        let Some(range) = self.range(addr, from.len()) else {
            return false;
        };
        self.0.borrow_mut()[range].copy_from_slice(from);
        true
    }
}

/// Bytes, taken one after the other; zeroes after the last.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A number below `n`.
    fn below(&mut self, n: u32) -> u32 {
        let wide = u32::from(self.byte());
        let wide = if n > 256 {
            wide << 8 | u32::from(self.byte())
        } else {
            wide
        };
        wide % n.max(1)
    }

    /// True once in `n` times.
    fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == n - 1
    }

    fn word(&mut self) -> u64 {
        let bytes = [(); 8].map(|()| self.byte());
        u64::from_le_bytes(bytes)
    }

    /// Mostly a number below `n`, now and then any.
    fn about(&mut self, n: u32) -> u64 {
        if self.one_in(16) {
            self.word()
        } else {
            self.below(n).into()
        }
    }
}

/// The world, and the program in it.
struct Run<'a> {
    source: Source<'a>,
    local: LocalWorld,
    clients: Vec<ClientId>,
}

/// Memories small enough to be counted after each step.
fn small() -> Config {
    let params = |size, num| PoolParams { size, num };
    let pools = |ifs, rings, buffers| Pools {
        netif: params(1024, ifs),
        ring: params(9 * 4096, rings),
        buf: params(2048, buffers),
    };
    Config {
        global: pools(20, 40, 512),
        private: pools(2, 4, 8),
        ..Config::default()
    }
}

/// Runs what `bytes` say.
///
/// # Panics
/// If something is wrong.
pub fn run(bytes: &[u8]) {
    let Ok(local) = LocalWorld::new(small()) else {
        return;
    };
    let mut run = Run {
        source: Source(bytes),
        local,
        clients: Vec::new(),
    };
    for _ in 0..3 {
        let client = run.with(|w| w.open());
        run.clients.push(client);
    }
    let mut steps = 0;
    while !run.source.0.is_empty() && steps < 60 {
        run.step();
        let found = run.with(|w| w.audit());
        assert!(found.is_empty(), "{found:?}");
        steps += 1;
    }
    run.end();
}

impl Run<'_> {
    fn with<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        f(&mut self.local.world.lock().expect("no step has panicked"))
    }

    fn client(&mut self) -> ClientId {
        let i = self.source.below(self.clients.len() as u32);
        self.clients[i as usize]
    }

    fn step(&mut self) {
        let client = self.client();
        match self.source.below(16) {
            0 => {
                self.with(|w| w.close(client));
                let fresh = self.with(|w| w.open());
                for c in &mut self.clients {
                    if *c == client {
                        *c = fresh;
                    }
                }
            }
            1 => {
                let session = 2 + self.source.below(3);
                self.with(|w| drop(w.session_died(session)));
            }
            2 => {
                let (atok, ktoa) = (self.source.word(), self.source.word());
                self.with(|w| w.set_csb(client, atok, ktoa));
            }
            3 => self.with(|w| w.kloop_end(client)),
            4 => self.with(|w| w.undo_register(client)),
            5 => self.legacy(client),
            6 => self.nics(),
            _ => self.request(client),
        }
    }

    /// What the daemon hears about interfaces.
    fn nics(&mut self) {
        let ports: Vec<u32> = self.with(|w| w.nics().map(|nic| nic.port).collect());
        let mut any = || {
            let i = self.source.below(ports.len() as u32);
            ports.get(i as usize).copied().unwrap_or(i)
        };
        let (a, b) = (any(), any());
        match self.source.below(6) {
            0 => self.with(|w| w.part(a)),
            1 => self.with(|w| w.nic_gone(a)),
            _ => self.with(|w| drop(w.join(a, b, 0))),
        }
    }

    /// Serves a request as the daemon does: from its bytes.
    fn serve(&mut self, client: ClientId, request: &mut Request) -> Result<(), Errno> {
        let encoded = request.encode();
        let mut copy = Request::decode(&encoded).expect("what was encoded can be decoded");
        assert_eq!(copy, *request);
        let mut caller = self.caller();
        let served = self.with(|w| w.request_from(client, &mut caller, &mut copy));
        *request = copy;
        if caller.csb_entries > 0 && served.is_ok() {
            self.with(|w| w.set_csb(client, 64, 128));
        }
        served.map_err(|refusal| {
            assert!(refusal.why.len() > 8, "a sentence, not {:?}", refusal.why);
            refusal.errno
        })
    }

    fn caller(&mut self) -> Caller {
        let interface = (!self.source.one_in(4)).then(|| Interface {
            netns: self.source.below(2).into(),
            index: self.source.below(2),
            mtu: self.source.about(2100) as u32,
            tx_queues: self.source.below(4) as u16,
            rx_queues: self.source.below(4) as u16,
            tx_slots: self.source.about(64) as u32,
            rx_slots: self.source.about(64) as u32,
            is_ethernet: !self.source.one_in(16),
            has_master: self.source.one_in(16),
            ..Interface::default()
        });
        let extmem = match self.source.below(8) {
            0 => None,
            1 => Some(Offer::Refused(Errno::FAULT)),
            2 => Some(Offer::Region(self.source.below(6))),
            _ => {
                let pages = u64::from(1 + self.source.below(300));
                let ino = self.source.below(3).into();
                let range = FileRange {
                    dev: 1,
                    ino,
                    offset: 0,
                    pages,
                };
                match self.with(|w| w.find_extmem(&range)) {
                    Some(region) => Some(Offer::Region(region)),
                    None => Memfd::create("fuzz", pages as usize * 4096)
                        .ok()
                        .map(|memfd| Offer::Memory {
                            memfd,
                            pages,
                            known_as: vec![range],
                        }),
                }
            }
        };
        Caller {
            session: 2 + self.source.below(3),
            extmem,
            interface,
            ..Caller::default()
        }
    }

    fn name(&mut self) -> Vec<u8> {
        if self.source.one_in(12) {
            let len = self.source.below(70);
            return (0..len).map(|_| b' ' + self.source.byte() % 95).collect();
        }
        NAMES[self.source.below(NAMES.len() as u32) as usize].into()
    }

    fn request(&mut self, client: ClientId) {
        let arena = Arena(RefCell::new(vec![0; BYTES]));
        let reqtype = match self.source.below(4) {
            0 => self.source.below(18) as u16,
            _ => NETMAP_REQ_REGISTER,
        };
        let mut header = nmreq_header {
            nr_version: if self.source.one_in(32) {
                self.source.word() as u16
            } else {
                NETMAP_API
            },
            nr_reqtype: reqtype,
            nr_reserved: u32::from(self.source.one_in(32)),
            ..nmreq_header::default()
        };
        let name = self.name();
        set_name(&mut header, &name);
        let body = self.body(reqtype);
        if !body.is_empty() || self.source.one_in(32) {
            header.nr_body = if self.source.one_in(32) {
                self.source.word()
            } else {
                BODY
            };
        }
        header.nr_options = self.options(&arena);
        arena.put(BODY, &body);
        arena.put(HEADER, header.as_bytes());
        let at = if self.source.one_in(64) {
            self.source.word()
        } else {
            HEADER
        };
        if let Err(errno) = self.whole_way(client, &arena, at) {
            assert!(ERRNOS.contains(&errno), "{errno}");
        }
    }

    /// NIOCCTRL, from the program's memory and back.
    fn whole_way(&mut self, client: ClientId, arena: &Arena, at: u64) -> Result<(), Errno> {
        let mut request = Request::copy_in(arena, at)?;
        let result = self.serve(client, &mut request);
        request.copy_out(arena, at, result)
    }

    fn legacy(&mut self, client: ClientId) {
        let arena = Arena(RefCell::new(vec![0; BYTES]));
        let mut nmr = nmreq::zeroed();
        let name = self.name();
        let len = name.len().min(nmr.nr_name.len());
        nmr.nr_name[..len].copy_from_slice(&name[..len]);
        nmr.nr_version = 14 - u32::from(self.source.one_in(16));
        nmr.nr_flags = self.source.about(16) as u32;
        nmr.nr_ringid = (self.source.about(8) << 12) as u16 | self.source.below(4) as u16;
        nmr.nr_cmd = self.source.about(16) as u16;
        nmr.nr_arg1 = self.source.about(16) as u16;
        nmr.nr_arg2 = self.source.about(4) as u16;
        nmr.nr_arg3 = self.source.about(64) as u32;
        nmr.nr_tx_slots = self.source.about(64) as u32;
        nmr.nr_rx_slots = self.source.about(64) as u32;
        nmr.nr_tx_rings = self.source.about(4) as u16;
        nmr.nr_rx_rings = self.source.about(4) as u16;
        arena.put(HEADER, nmr.as_bytes());
        let command = match self.source.below(8) {
            0 => NIOCCONFIG,
            1 => self.source.word() as u32,
            2 | 3 => NIOCGINFO,
            _ => NIOCREGIF,
        };
        let done = legacy::ioctl(command, &arena, HEADER, &mut |r| self.serve(client, r));
        if let Err(errno) = done {
            assert!(ERRNOS.contains(&errno), "{errno}");
        }
    }

    fn body(&mut self, reqtype: u16) -> Vec<u8> {
        let size = body_size(reqtype);
        if self.source.one_in(16) {
            return (0..size).map(|_| self.source.byte()).collect();
        }
        let mut body = match reqtype {
            NETMAP_REQ_REGISTER | NETMAP_REQ_VALE_ATTACH => self.register().as_bytes().to_vec(),
            NETMAP_REQ_PORT_HDR_SET => vec![[0, 10, 12, 7][self.source.below(4) as usize], 0, 0, 0],
            NETMAP_REQ_SYNC_KLOOP_START => (self.source.about(2) as u32).to_le_bytes().to_vec(),
            _ => (0..size / 2).map(|_| self.source.below(3) as u8).collect(),
        };
        body.resize(size, 0);
        body
    }

    fn register(&mut self) -> nmreq_register {
        const FLAGS: [u64; 8] = [
            NR_EXCLUSIVE,
            NR_RX_RINGS_ONLY,
            NR_TX_RINGS_ONLY,
            NR_ACCEPT_VNET_HDR,
            NR_MONITOR_TX,
            NR_MONITOR_RX,
            NR_ZCOPY_MON,
            NR_NO_TX_POLL,
        ];
        let chosen = self.source.byte() & self.source.byte();
        let flags = FLAGS.iter().enumerate();
        let flags = flags.filter(|(i, _)| chosen & 1 << i != 0).map(|(_, f)| f);
        nmreq_register {
            nr_flags: flags.sum(),
            nr_mode: match self.source.below(4) {
                0 => self.source.below(10),
                _ => NR_REG_ALL_NIC,
            },
            nr_mem_id: match self.source.below(4) {
                0 => self.source.about(5) as u16,
                _ => 0,
            },
            nr_ringid: self.source.below(4) as u16,
            nr_tx_rings: self.source.below(4) as u16,
            nr_rx_rings: self.source.below(4) as u16,
            nr_host_tx_rings: self.source.below(3) as u16,
            nr_host_rx_rings: self.source.below(3) as u16,
            nr_tx_slots: self.source.about(64) as u32,
            nr_rx_slots: self.source.about(64) as u32,
            nr_extra_bufs: self.source.about(32) as u32 & 0xffff,
            ..nmreq_register::default()
        }
    }

    /// Everybody leaves, NICs come off the switches, persistent ports are deleted: nothing may stay.
    fn end(mut self) {
        for client in std::mem::take(&mut self.clients) {
            self.with(|w| w.close(client));
        }
        let client = self.with(|w| w.open());
        let left: Vec<_> = self.with(|w| w.ports().collect());
        for port in left {
            let interface = port.name.rsplit(':').next().unwrap_or(&port.name);
            self.detach(client, interface);
            if port.kind == PortKind::Persistent {
                let deleted = self.ask(client, NETMAP_REQ_VALE_DELIF, interface);
                assert_eq!(deleted, Ok(()), "{port:?}");
            }
        }
        self.with(|w| {
            w.close(client);
            assert!(!w.collect(), "nobody holds a lock");
            let ports: Vec<_> = w.ports().collect();
            assert!(ports.is_empty(), "{ports:?}");
            assert_eq!((w.krings_in_use(), w.memories().count()), (0, 1));
            assert_eq!(w.memories().map(|m| m.users).sum::<u32>(), 0);
        });
    }

    /// Takes that interface off the switches.
    fn detach(&mut self, client: ClientId, interface: &str) {
        for switch in self.with(|w| w.switches().map(|s| s.name).collect::<Vec<_>>()) {
            let on = format!("{switch}:{interface}");
            let _ = self.ask(client, NETMAP_REQ_VALE_DETACH, &on);
        }
    }

    fn ask(&mut self, client: ClientId, reqtype: u16, name: &str) -> Result<(), Errno> {
        let mut header = nmreq_header {
            nr_version: NETMAP_API,
            nr_reqtype: reqtype,
            ..nmreq_header::default()
        };
        set_name(&mut header, name.as_bytes());
        let mut request = Request {
            header,
            body: vec![0; body_size(reqtype)],
            options: Vec::new(),
        };
        self.with(|w| w.request(client, &mut request))
            .map_err(|r| r.errno)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn requests_of_any_kind_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
            super::run(&bytes);
        }
    }

    #[test]
    fn an_attached_nic_stays_until_it_is_detached() {
        super::run(&[
            0x35, 0xff, 0x60, 0xff, 0x9d, 0xef, 0x40, 0x0a, 0x9d, 0xef, 0x16, 0xab,
        ]);
    }
}
