//! Reports: the world and its counters as JSON.

use core::sync::atomic::Ordering::Relaxed;

use rustix::fs::MemfdFlags;
use rustix::io::Errno;

use super::Daemon;
use super::connection::{Connection, Role};
use uvale_control::{ClientId, PortInfo, PortKind, World};
use uvale_engine::{RX, TX};
use uvale_link::proto::Report;
use uvale_link::report as shape;
use uvale_shared::ctl::{Ctl, Kring};
use uvale_shared::shm::distance;
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;
use uvale_system::who::Holder;

mod nics;

/// Sockets of a guest that are shown, and characters of each.
const MOST_SOCKETS: usize = 4;
const LONGEST_PATH: usize = 256;

/// A memfd that holds `text`.
pub fn as_memfd(text: &[u8]) -> Result<Fd, Errno> {
    let fd = Fd::from(rustix::fs::memfd_create(
        "uvale-report",
        MemfdFlags::CLOEXEC,
    )?);
    let mut rest = text;
    while !rest.is_empty() {
        let n = rustix::io::write(&fd, rest)?;
        rest = &rest[n..];
    }
    Ok(fd)
}

impl Daemon {
    /// The report asked for, or why there is none.
    pub(super) fn report(&self, id: u64, what: &Report) -> Result<Vec<u8>, Refusal> {
        let text = match what {
            Report::Ports => serde_json::to_vec(&self.ports()),
            Report::Switches => serde_json::to_vec(&self.switches()),
            Report::Fdb(name) => serde_json::to_vec(&self.fdb(name)?),
            Report::Daemon => serde_json::to_vec(&self.itself(id)),
            Report::Parameters => serde_json::to_vec(&self.parameters()),
            Report::Interfaces => serde_json::to_vec(&self.listed_interfaces()),
            Report::Descriptions => serde_json::to_vec(&self.descriptions()),
        };
        text.map_err(|e| Refusal::new(Errno::IO, e.to_string()))
    }

    fn ports(&self) -> Vec<shape::Port> {
        self.world
            .ports()
            .map(|info| shape::Port {
                nic: self.nic(&info),
                holders: info.holders.iter().map(|who| self.holder(who)).collect(),
                ..port(&self.world, &self.ctl, &info)
            })
            .collect()
    }

    fn descriptions(&self) -> Vec<shape::Description> {
        let clients = self.devices.keys().map(|client| ClientId(*client));
        clients
            .map(|client| shape::Description {
                client: client.0,
                who: self.world.holder(client).map(|who| self.holder(who)),
                port: self.world.binding(client).map(|b| b.name.clone()),
            })
            .collect()
    }

    fn switches(&self) -> Vec<shape::Switch> {
        self.world
            .switches()
            .map(|s| shape::Switch {
                learned: self.world.fdb(s.index).len() as u32,
                name: s.name,
                index: s.index,
                ports: s.ports,
            })
            .collect()
    }

    fn fdb(&self, name: &str) -> Result<Vec<shape::FdbEntry>, Refusal> {
        let name = name.strip_suffix(':').unwrap_or(name);
        let found = self.world.switches().find(|s| s.name == name);
        let Some(switch) = found else {
            let known: Vec<_> = self.world.switches().map(|s| s.name).collect();
            let why = match known.as_slice() {
                [] => format!("there is no switch {name}; no switch exists"),
                known => format!("there is no switch {name}; there are: {}", known.join(", ")),
            };
            return Err(Refusal::new(Errno::NOENT, why));
        };
        let entries = self.world.fdb(switch.index).into_iter();
        Ok(entries
            .map(|e| shape::FdbEntry {
                mac: e.mac.map(|b| format!("{b:02x}")).join(":"),
                number: e.number,
                port: e.port,
            })
            .collect())
    }

    /// Attached processes; the one that asks is at the other end of `asking`.
    fn attached(&self, asking: u64) -> Vec<shape::Process> {
        let mut sessions: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, c)| matches!(c.role, Role::Session(_)))
            .filter_map(|(id, c)| Some((*id, c.who.as_ref()?)))
            .collect();
        sessions.sort_by_key(|(id, _)| *id);
        let ports: Vec<PortInfo> = self.world.ports().collect();
        let opened_by = |who: &Holder| {
            let of_it = ports
                .iter()
                .filter(|p| p.holders.iter().any(|h| is_same_process(h, who)));
            of_it.map(|p| p.name.clone()).collect()
        };
        sessions
            .into_iter()
            .map(|(id, who)| shape::Process {
                who: self.holder(who),
                ports: opened_by(who),
                asks: id == asking,
            })
            .collect()
    }

    /// A process, with the guest that it serves.
    fn holder(&self, who: &Holder) -> shape::Holder {
        let is_its = |c: &&Connection| c.who.as_ref().is_some_and(|h| is_same_process(h, who));
        let mut guests = self.connections.values().filter(|c| c.guest.is_some());
        shape::Holder {
            guest: guests.find(is_its).and_then(|c| c.guest.clone()),
            ..holder(who)
        }
    }

    /// What a process says of the guest that it serves: believed as far as it is short and can be printed.
    pub(super) fn show_guest(&mut self, id: u64, guest: shape::Guest) {
        let sockets = guest.sockets.into_iter().take(MOST_SOCKETS);
        let short = |socket: String| socket.chars().take(LONGEST_PATH).collect();
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.guest = Some(shape::Guest {
                sockets: sockets.map(short).collect(),
                pid: guest.pid.filter(|pid| *pid > 0),
            });
        }
    }

    fn itself(&self, asking: u64) -> shape::Daemon {
        let processes = self
            .connections
            .values()
            .filter(|c| matches!(c.role, Role::Session(_)))
            .count();
        shape::Daemon {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            uptime: self.started.elapsed().as_secs(),
            processes,
            attached: self.attached(asking),
            descriptors: self.devices.len(),
            max_switches: self.world.config().max_switches,
            memories: self
                .world
                .memories()
                .map(|m| shape::Memory {
                    mem_id: m.mem_id,
                    size: m.size,
                    users: m.users,
                    used: m.used,
                    total: m.total,
                })
                .collect(),
        }
    }
}

/// Are these of the same process?
fn is_same_process(one: &Holder, other: &Holder) -> bool {
    (one.pid, one.claimed, one.uid) == (other.pid, other.claimed, other.uid)
}

fn holder(who: &Holder) -> shape::Holder {
    shape::Holder {
        program: who.program.clone(),
        pid: who.pid,
        other_pid_namespace: who.claimed,
        ended: who.has_ended(),
        uid: who.uid,
        since: uvale_system::clock::rfc3339(who.since),
        guest: None,
    }
}

fn port(world: &World, ctl: &Ctl, info: &PortInfo) -> shape::Port {
    let kind = match info.kind {
        PortKind::Vale => "vale",
        PortKind::Persistent => "persistent",
        PortKind::PipeBase => "pipe-base",
        PortKind::PipeMaster => "pipe-master",
        PortKind::PipeSlave => "pipe-slave",
        PortKind::Null => "null",
        PortKind::Monitor => "monitor",
        PortKind::Nic => "nic",
    };
    let krings = |dir: usize| info.krings[dir].iter().filter_map(|i| ctl.kring(*i));
    shape::Port {
        name: info.name.clone(),
        kind: kind.to_owned(),
        switch: info
            .switch
            .and_then(|(index, _)| world.switches().find(|s| s.index == index))
            .map(|s| s.name),
        number: info.switch.map(|(_, number)| number),
        mem_id: info.mem_id,
        users: info.users,
        holders: Vec::new(),
        virt_hdr_len: info.virt_hdr_len,
        tx_slots: info.slots[TX],
        rx_slots: info.slots[RX],
        tx: krings(TX).map(tx_ring).collect(),
        rx: krings(RX).map(rx_ring).collect(),
        nic: None,
    }
}

fn tx_ring(kring: &Kring) -> shape::TxRing {
    let c = &kring.sync;
    shape::TxRing {
        packets: c.packets.load(Relaxed),
        bytes: c.bytes.load(Relaxed),
        drops: shape::TxDrops {
            bad_slot: c.bad_slot.load(Relaxed),
            short: c.short.load(Relaxed),
            no_destination: c.no_dest.load(Relaxed),
            no_receiver: c.no_receiver.load(Relaxed),
        },
        reinit: c.reinit.load(Relaxed),
        truncated: c.truncated.load(Relaxed),
    }
}

fn rx_ring(kring: &Kring) -> shape::RxRing {
    let c = &kring.produced;
    let n = kring.num_slots.load(Relaxed).max(1);
    let (hwcur, tail) = (&kring.hwcur, kring.published());
    let (hwcur, tail) = (hwcur.load(Relaxed) % n, tail.load(Relaxed) % n);
    shape::RxRing {
        packets: c.packets.load(Relaxed),
        bytes: c.bytes.load(Relaxed),
        drops: shape::RxDrops {
            full: c.full.load(Relaxed),
            bad_copy: c.bad_copy.load(Relaxed),
            unconvertible: c.unconvertible.load(Relaxed),
            stuck: kring.stuck.load(Relaxed),
        },
        wakeups: c.wakeups.load(Relaxed),
        pending: distance(hwcur, tail, n),
    }
}
