//! Random sequences of opens, closes, traffic and deaths; after each step the world must be
//! consistent, and after the last close empty.

use proptest::prelude::*;

use super::super::Finding;
use super::monitors::half_exchange;
use super::nic::joined::half_swap;
use super::*;
use crate::Interface;
use uvale_engine::{RX, TX};
use uvale_shared::ctl::{PORT_ON, RING_ON, SWITCH_PORTS};
use uvale_shared::lock::LockWord;

const NAMES: [&str; 22] = [
    "vale0:a",
    "vale0:b",
    "vale1:a",
    "p{1",
    "p}1",
    "p{2",
    "p}2",
    "vale0:a{1",
    "vale0:a}1",
    "z",
    "p{1{x",
    "p{1}x",
    "vale1:z",
    "vale1:z{1",
    "z}1",
    "vale1:b",
    "eth0",
    "eth1",
    "eth0",
    "eth1",
    "eth0{1",
    "eth0}1",
];

#[derive(Clone, Debug)]
enum Step {
    Open {
        name: usize,
        mode: u32,
        ring: u16,
        flags: u64,
        rings: u16,
        slots: u32,
        extra: u32,
        global: bool,
        facts: u8,
    },
    Close(usize),
    /// on a descriptor: fill, sync, look, release, sync
    Traffic {
        who: usize,
        n: u32,
        flags: u16,
    },
    /// exchange buffers between a received and a sent slot of two descriptors
    Swap(usize, usize),
    /// the process of a descriptor dies with some of its locks held
    Die {
        who: usize,
        locks: u8,
    },
    /// a lock of somebody's ring is taken by a process that is stopped
    Stop {
        who: usize,
        which: usize,
    },
    Resume,
    Info(usize),
    NewIf,
    DelIf,
    Attach,
    Detach,
    /// of the persistent port to a second switch
    Join {
        flags: u64,
    },
    Part,
    /// of two NIC ports
    JoinNics(usize, usize),
    PartNic(usize),
    NicChanges(usize, u8),
    NicGone(usize),
}

/// The interface under a name: mostly its own, now and then one that had or has another, of any size.
fn interface(name: &str, facts: u8) -> Option<Interface> {
    let bit = |n: u8| facts >> n & 1;
    let queues = u16::from(1 + (bit(2) & bit(3)));
    name.starts_with("eth").then(|| Interface {
        netns: 7 + u64::from(facts.is_multiple_of(8)),
        index: 2 + u32::from(name.starts_with("eth1") != (facts % 16 == 1)),
        mtu: if facts >> 3 & 7 == 7 { 4096 } else { 1500 },
        tx_queues: queues,
        rx_queues: queues,
        tx_slots: 8 << bit(6),
        rx_slots: 8 << bit(7),
        is_ethernet: true,
        is_up: true,
        has_master: facts >> 2 & 15 == 15,
        ..Interface::default()
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let flags = prop_oneof![
        6 => Just(0),
        1 => Just(NR_TX_RINGS_ONLY),
        1 => Just(NR_RX_RINGS_ONLY),
        1 => Just(NR_EXCLUSIVE),
        1 => Just(NR_MONITOR_RX),
        1 => Just(NR_MONITOR_TX | NR_MONITOR_RX),
        2 => Just(NR_ZCOPY_MON),
    ];
    let mode = prop_oneof![
        6 => Just(NR_REG_ALL_NIC),
        2 => Just(NR_REG_ONE_NIC),
        1 => Just(NR_REG_NULL),
        1 => Just(NR_REG_SW),
        2 => Just(NR_REG_NIC_SW),
        1 => Just(NR_REG_ONE_SW),
    ];
    let open = (
        0..NAMES.len(),
        mode,
        0u16..3,
        flags,
        0u16..4,
        0u32..40,
        prop_oneof![4 => Just(0u32), 1 => 1u32..20],
        (any::<bool>(), any::<u8>()),
    )
        .prop_map(
            |(name, mode, ring, flags, rings, slots, extra, (global, facts))| Step::Open {
                name,
                mode,
                ring,
                flags,
                rings,
                slots,
                extra,
                global: global || mode == NR_REG_NULL,
                facts,
            },
        );
    let traffic = (
        any::<usize>(),
        0u32..40,
        prop_oneof![3 => Just(0), 1 => Just(NS_MOREFRAG)],
    )
        .prop_map(|(who, n, flags)| Step::Traffic { who, n, flags });
    let step = prop_oneof![
        8 => open,
        4 => any::<usize>().prop_map(Step::Close),
        8 => traffic,
        2 => (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Step::Swap(a, b)),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(who, locks)| Step::Die { who, locks }),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(who, which)| Step::Stop { who, which }),
        1 => Just(Step::Resume),
        1 => (0..NAMES.len()).prop_map(Step::Info),
        1 => Just(Step::NewIf),
        1 => Just(Step::DelIf),
        1 => Just(Step::Attach),
        1 => Just(Step::Detach),
        2 => prop_oneof![3 => Just(0), 1 => Just(NR_TX_RINGS_ONLY)]
            .prop_map(|flags| Step::Join { flags }),
        1 => Just(Step::Part),
        8 => (any::<usize>(), any::<usize>()).prop_map(|(a, b)| Step::JoinNics(a, b)),
        1 => any::<usize>().prop_map(Step::PartNic),
        1 => (any::<usize>(), any::<u8>()).prop_map(|(who, facts)| Step::NicChanges(who, facts)),
        1 => any::<usize>().prop_map(Step::NicGone),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Takes a lock, if it is free, and does not give it back.
fn keep(lock: &LockWord, session: u32) {
    if let Some(guard) = lock.try_lock(session) {
        core::mem::forget(guard);
    }
}

/// Session of the stopped process; those of descriptors are 100 and up.
const STOPPED: u32 = 50;

/// Memories small enough to be counted after each step.
fn small_config() -> Config {
    let mut config = Config::default();
    config.global.buf.num = 4096;
    config.private.buf.num = 8;
    config
}

struct Run {
    w: World,
    clients: Vec<ClientId>,
    extra_given: bool,
}

impl Run {
    fn pick(&self, i: usize) -> Option<ClientId> {
        (!self.clients.is_empty()).then(|| self.clients[i % self.clients.len()])
    }

    fn host(&self, c: ClientId) -> Process {
        Process::new(&self.w, 100 + c.0)
    }

    /// Krings that the descriptor has selected.
    fn selected(&self, c: ClientId, dir: usize) -> Vec<u32> {
        let b = self.w.binding(c).unwrap();
        let port = self.w.ctl().port(b.port).unwrap();
        let first = if dir == TX {
            &port.tx_kring
        } else {
            &port.rx_kring
        };
        (b.first[dir]..b.last[dir])
            .map(|i| first.load(Relaxed) + i)
            .collect()
    }

    /// Does somebody stopped hold a lock that syncs would wait for?
    fn anybody_stopped(&self) -> bool {
        !self.w.is_quiet()
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Open {
                name,
                mode,
                ring,
                flags,
                rings,
                slots,
                extra,
                global,
                facts,
            } => {
                let reg = nmreq_register {
                    nr_mode: mode,
                    nr_ringid: ring,
                    nr_flags: flags,
                    nr_tx_rings: rings,
                    nr_rx_rings: rings / 2,
                    nr_tx_slots: slots,
                    nr_rx_slots: slots * 2,
                    nr_extra_bufs: extra,
                    nr_mem_id: u16::from(global),
                    nr_host_tx_rings: rings / 2,
                    nr_host_rx_rings: ring,
                    ..nmreq_register::default()
                };
                self.open(NAMES[name], facts, reg);
            }
            Step::Close(i) => {
                if let Some(c) = self.pick(i) {
                    self.close(c);
                }
            }
            Step::Traffic { who, n, flags } => self.traffic(who, n, flags),
            Step::Swap(a, b) => self.swap(a, b),
            Step::Die { who, locks } => self.die(who, locks),
            Step::Stop { who, which } => {
                if let Some(c) = self.pick(who) {
                    let rings = [RX, TX].map(|dir| self.selected(c, dir)).concat();
                    if !rings.is_empty() {
                        let k = self.w.ctl().kring(rings[which % rings.len()]).unwrap();
                        let lock = if which & 64 != 0 { &k.busy } else { &k.q_lock };
                        keep(lock, STOPPED);
                    }
                }
            }
            Step::Resume => {
                self.w.session_died(STOPPED);
            }
            Step::Info(name) => {
                let info = nmreq_port_info_get::default();
                self.command(NETMAP_REQ_PORT_INFO_GET, NAMES[name], &info);
                let pools = nmreq_pools_info::default();
                self.command(NETMAP_REQ_POOLS_INFO_GET, NAMES[name], &pools);
            }
            Step::NewIf => self.command(NETMAP_REQ_VALE_NEWIF, "z", &nmreq_vale_newif::default()),
            Step::DelIf => self.command(NETMAP_REQ_VALE_DELIF, "z", &nmreq_port_hdr::default()),
            Step::Attach => self.command(
                NETMAP_REQ_VALE_ATTACH,
                "vale0:z",
                &nmreq_vale_attach::default(),
            ),
            Step::Detach => self.command(
                NETMAP_REQ_VALE_DETACH,
                "vale0:z",
                &nmreq_vale_detach::default(),
            ),
            Step::Join { flags } => self.join(flags),
            Step::Part => self.command(
                NETMAP_REQ_VALE_DETACH,
                "vale1:z",
                &nmreq_vale_detach::default(),
            ),
            Step::JoinNics(a, b) => {
                if let (Some(a), Some(b)) = (self.nic(a), self.nic(b)) {
                    let _ = self.w.join(a, b, 1);
                }
            }
            Step::PartNic(who) => {
                if let Some(port) = self.nic(who) {
                    self.w.part(port);
                }
            }
            Step::NicChanges(who, facts) => {
                if let (Some(port), Some(to)) = (self.nic(who), interface("eth", facts)) {
                    self.w.nic_changed(port, to);
                }
            }
            Step::NicGone(who) => {
                if let Some(port) = self.nic(who) {
                    self.w.nic_gone(port);
                }
            }
        }
    }

    fn open(&mut self, name: &str, facts: u8, reg: nmreq_register) {
        let c = self.w.open();
        let mut caller = Caller {
            interface: interface(name, facts),
            ..Caller::default()
        };
        let mut r = request(NETMAP_REQ_REGISTER, name, &reg);
        if self.w.request_from(c, &mut caller, &mut r).is_err() {
            self.w.close(c);
            return;
        }
        if let Some(region) = self.w.region(self.w.binding(c).unwrap().region) {
            caller.extra.chain(&region.shared);
        }
        self.w.extra_chained(c);
        let reg = nmreq_register::from_bytes(&r.body).unwrap();
        self.extra_given |= reg.nr_extra_bufs > 0;
        self.clients.push(c);
    }

    /// The port record of a NIC port.
    fn nic(&self, i: usize) -> Option<u32> {
        let n = self.w.nics().count();
        self.w.nics().nth(i.checked_rem(n)?).map(|nic| nic.port)
    }

    fn join(&mut self, flags: u64) {
        for name in ["vale0:z", "vale1:z"] {
            let reg = nmreq_register {
                nr_flags: flags,
                ..all()
            };
            let body = nmreq_vale_attach {
                reg,
                ..nmreq_vale_attach::default()
            };
            self.command(NETMAP_REQ_VALE_ATTACH, name, &body);
        }
    }

    fn command<B: AbiBytes>(&mut self, reqtype: u16, name: &str, body: &B) {
        let c = self.w.open();
        let mut caller = Caller {
            interface: interface(name, name.len() as u8),
            ..Caller::default()
        };
        let mut request = request(reqtype, name, body);
        let _ = self.w.request_from(c, &mut caller, &mut request);
        self.w.close(c);
    }

    fn close(&mut self, c: ClientId) {
        self.clients.retain(|other| *other != c);
        self.w.close(c);
    }

    fn traffic(&mut self, who: usize, n: u32, flags: u16) {
        // A sync would wait for the stopped process.
        let Some(c) = self.pick(who).filter(|_| !self.anybody_stopped()) else {
            return;
        };
        let b = self.w.binding(c).unwrap();
        let is_gone = self.w.nics().any(|nic| nic.port == b.port && nic.is_gone);
        if b.is_null || is_gone {
            return;
        }
        let host = self.host(c);
        let attachment = host.attach(&self.w, c);
        let b = self.w.binding(c).unwrap().clone();
        for i in b.first[TX]..b.last[TX] {
            UserRing::of(&self.w, c, true, i).advance(n, flags);
        }
        attachment.txsync(&host);
        attachment.rxsync(&host);
        for i in b.first[RX]..b.last[RX] {
            UserRing::of(&self.w, c, false, i).advance(n / 2, 0);
        }
        attachment.rxsync(&host);
    }

    /// What a zero-copy forwarder does, within one memory.
    fn swap(&mut self, a: usize, b: usize) {
        let (Some(a), Some(b)) = (self.pick(a), self.pick(b)) else {
            return;
        };
        let (ba, bb) = (self.w.binding(a).unwrap(), self.w.binding(b).unwrap());
        if ba.region != bb.region || ba.last[RX] == 0 || bb.last[TX] == 0 {
            return;
        }
        let rx = UserRing::of(&self.w, a, false, ba.first[RX]);
        let tx = UserRing::of(&self.w, b, true, bb.first[TX]);
        if rx.owned() > 0 && tx.owned() > 0 {
            let received = rx.swap_first(0);
            let empty = tx.swap_first(received);
            rx.swap_first(empty);
        }
    }

    fn die(&mut self, who: usize, locks: u8) {
        let Some(c) = self.pick(who) else { return };
        let session = 100 + c.0;
        let held: Vec<u32> = [RX, TX].map(|dir| self.selected(c, dir)).concat();
        for (i, index) in held.iter().enumerate() {
            if locks >> (i % 8) & 1 != 0 {
                keep(&self.w.ctl().kring(*index).unwrap().busy, session);
                let began = half_exchange(&self.w, *index, session, locks / 16 % 3);
                if !began {
                    self.half_swap(*index, session, locks / 16);
                }
            }
        }
        // The hang-ups of descriptor and session come in either order.
        if locks & 128 != 0 {
            self.w.session_died(session);
            self.close(c);
        } else {
            self.close(c);
            self.w.session_died(session);
        }
        assert!(self.w.binding(c).is_none());
    }

    /// Session `session` stops in the middle of exchanging buffers with a ring that it is joined with.
    fn half_swap(&self, index: u32, session: u32, stage: u8) {
        let ctl = self.w.ctl();
        let k = ctl.kring(index).unwrap();
        let Some(other) = k.joined.load(Relaxed).checked_sub(1) else {
            return;
        };
        let peer = ctl.kring(other).unwrap();
        let free = peer.q_lock.owner() == 0 && peer.ring_ofs.load(Relaxed) != 0;
        if k.dir.load(Relaxed) == 0 || !free || k.busy.owner() != session {
            return;
        }
        keep(&peer.q_lock, session);
        let first = [k.hwcur.load(Relaxed), peer.hwtail.load(Relaxed)];
        let count = usize::from(1 + stage % 4);
        half_swap(
            &self.w,
            ((index, k), (other, peer)),
            first,
            count,
            stage.into(),
        );
    }

    fn check_joins(&self) {
        let port_of = |i: u32| self.w.ctl().kring(i).unwrap().port.load(Relaxed);
        for info in self.w.ports() {
            let port = info.port;
            let peer = self
                .w
                .nics()
                .find(|nic| nic.port == port)
                .and_then(|nic| nic.joined);
            let details = info.nic.as_ref().map(|nic| nic.host_krings.concat());
            for index in details.unwrap_or_default() {
                assert_eq!(self.w.ctl().kring(index).unwrap().joined.load(Relaxed), 0);
            }
            for dir in [RX, TX] {
                for (i, index) in info.krings[dir].iter().enumerate() {
                    let k = self.w.ctl().kring(*index).unwrap();
                    let other = k.joined.load(Relaxed).checked_sub(1);
                    assert_eq!(other.map(port_of), peer);
                    if let Some(other) = other.and_then(|other| self.w.ctl().kring(other)) {
                        assert_eq!(other.joined.load(Relaxed), index + 1);
                        let (one, two) = (k.dir.load(Relaxed), other.dir.load(Relaxed));
                        assert_eq!((one + two, other.ring_id.load(Relaxed)), (1, i as u32));
                        assert_eq!(k.region.load(Relaxed), other.region.load(Relaxed));
                    }
                }
            }
        }
    }

    fn check(&self) {
        let findings = self.w.audit();
        let lost = |f: &Finding| matches!(f, Finding::Missing { .. }) && self.extra_given;
        assert!(findings.iter().all(lost), "{findings:?}");
        self.check_switches();
        self.check_ports();
        self.check_joins();
    }

    fn check_switches(&self) {
        let listed: Vec<_> = self.w.switches().collect();
        for index in 0..8 {
            let s = self.w.ctl().switch(index).unwrap();
            let known = listed
                .iter()
                .find(|l| l.index == index)
                .map_or(0, |l| l.ports.len());
            let numbers: Vec<_> = s.numbers().collect();
            assert_eq!(numbers.len(), known);
            let used: Vec<_> = (0..SWITCH_PORTS as u32)
                .filter(|n| s.ports[*n as usize].load(Relaxed) != 0)
                .collect();
            assert_eq!(numbers, used);
        }
    }

    fn check_ports(&self) {
        let mut krings = 0;
        for info in self.w.ports() {
            let port = self.w.ctl().port(info.port).unwrap();
            assert_eq!(port.generation.load(Relaxed) % 2, 1);
            assert_eq!(
                port.flags.load(Relaxed) & PORT_ON != 0,
                info.users > 0,
                "{}",
                info.name
            );
            let place = info.switch.map_or(0, |(switch, _)| switch + 1);
            assert_eq!(port.switch.load(Relaxed), place);
            for index in info.krings.iter().flatten() {
                let k = self.w.ctl().kring(*index).unwrap();
                assert_eq!(k.port.load(Relaxed), info.port);
                assert_eq!(k.generation.load(Relaxed), port.generation.load(Relaxed));
                assert!(k.mode.load(Relaxed) != RING_ON || k.ring_ofs.load(Relaxed) != 0);
            }
            if !info.krings.concat().is_empty() {
                let hosts = info.nic.map_or([1; 2], |nic| nic.host_rings);
                krings += info.rings[RX] + info.rings[TX] + hosts[RX] + hosts[TX];
            }
        }
        assert!(self.w.krings_in_use() >= krings);
        for c in &self.clients {
            let b = self.w.binding(*c).unwrap();
            assert_eq!(
                self.w.ctl().port(b.port).unwrap().generation.load(Relaxed),
                b.generation
            );
            for dir in [RX, TX] {
                for index in self.selected(*c, dir) {
                    assert_eq!(
                        self.w.ctl().kring(index).unwrap().mode.load(Relaxed),
                        RING_ON
                    );
                }
            }
            assert!(self.w.region(b.region).is_some());
        }
    }

    fn finish(mut self) {
        for c in core::mem::take(&mut self.clients) {
            self.w.close(c);
        }
        self.w.session_died(STOPPED);
        for name in ["vale1:z", "vale0:z", "vale0:z", "vale1:z"] {
            self.command(NETMAP_REQ_VALE_DETACH, name, &nmreq_vale_detach::default());
        }
        assert!(!self.w.collect());
        self.command(NETMAP_REQ_VALE_DELIF, "z", &nmreq_port_hdr::default());
        assert_eq!(self.w.ports().count(), 0);
        assert_eq!(self.w.krings_in_use(), 0);
        assert_eq!(self.w.memories().count(), 1);
        for m in self.w.memories() {
            assert!(
                m.users == 0 && (m.region.is_none() || m.used == [0, 0, 2]),
                "{m:?}"
            );
        }
    }
}

proptest! {
    #[test]
    fn the_world_stays_consistent(steps in steps()) {
        let mut run = Run { w: world_with(small_config()), clients: Vec::new(), extra_given: false };
        for step in &steps {
            run.step(step);
            run.w.collect();
            run.check();
        }
        run.finish();
    }
}
