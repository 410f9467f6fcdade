//! NIC ports over veth pairs, and the same pairs used by AF_PACKET sockets alone.
//!
//! | file | what |
//! |---|---|
//! | `nic/ground.rs` | two network namespaces and the pairs between them |
//! | `nic/namespaces.rs` | what a worker enters |
//! | `nic/socket.rs` | a sender and a receiver by AF_PACKET alone, the *bare* pair |
//! | `nic/xdp.rs` | the same by AF_XDP |
//! | `nic/joining.rs` | how long it takes until two ports are joined |
//! | `nic/figures.rs` | rows, and what is wanted of them |
//!
//! Over the wire only one end is a netmap port, or a queueing discipline is in the way: the two would be joined. Each
//! group has a pair of its own.

mod figures;
pub mod ground;
pub mod joining;
pub mod namespaces;
#[allow(unsafe_code)]
pub mod socket;
#[allow(unsafe_code)]
pub mod xdp;

use super::cases::{Bench, RECEIVER};
use super::measure::{Outcome, measure, percentile};
use super::wake::Way;
use super::worker::{Role, Spec};
use super::world::Group;
pub use figures::{Figures, Joined, Joining, PingPong, Wire, XdpWire};
use ground::{Ground, interface};
use socket::Version;
use uvale_wire::Carrier;

/// Address of the sender.
const SENDER: u64 = 0x0200_0000_2002;
/// Places on the board for each group.
const GROUP_SIZE: usize = 4;
/// Pairs that one measurement uses at most, and one that is never joined.
const PAIRS: usize = 5;
const APART: usize = 4;

/// Namespaces and pairs, beside what every case needs.
pub struct Nic<'a> {
    bench: &'a Bench<'a>,
    ground: Ground,
}

impl<'a> Nic<'a> {
    /// Makes the namespaces, or says why not.
    pub fn new(bench: &'a Bench<'a>) -> Result<Self, String> {
        let ground = Ground::new(PAIRS, APART)?;
        Ok(Self { bench, ground })
    }

    /// The bare pair with either kind of frames, a netmap sender and a netmap receiver, in turns.
    pub fn wire(&self, batch: u32, len: u16) -> Result<Wire, String> {
        let bare_sender = |pair| Role::PacketSend {
            interface: interface(pair),
            batch,
            len,
            dmac: RECEIVER,
            smac: SENDER,
        };
        let bare_receiver = |pair, version| Role::PacketReceive {
            interface: interface(pair),
            version,
        };
        let outcomes = self.turns(
            Carrier::Packet,
            [
                [bare_receiver(0, Version::V3), bare_sender(0)],
                [bare_receiver(1, Version::V2), bare_sender(1)],
                [
                    bare_receiver(2, Version::V3),
                    touching(send(interface(2), batch, len)),
                ],
                [touching(receive(interface(3))), bare_sender(3)],
            ],
        )?;
        Ok(Wire::new(batch, len, &outcomes))
    }

    /// The same with AF_XDP: the bare pair, a netmap sender and a netmap receiver, in turns.
    pub fn xdp(&self, batch: u32, len: u16) -> Result<XdpWire, String> {
        let bare_sender = |pair| Role::XdpSend {
            interface: interface(pair),
            batch,
            len,
            dmac: RECEIVER,
            smac: SENDER,
        };
        let bare_receiver = |pair| Role::XdpReceive {
            interface: interface(pair),
        };
        let outcomes = self.turns(
            Carrier::Xdp,
            [
                [bare_receiver(0), bare_sender(0)],
                [bare_receiver(1), touching(send(interface(1), batch, len))],
                [touching(receive(interface(2))), bare_sender(2)],
            ],
        )?;
        Ok(XdpWire::new(batch, len, &outcomes))
    }

    /// Round trips between two bare sockets, and between two netmap ports over the wire, in turns.
    pub fn ping_pong(&self) -> Result<PingPong, String> {
        let bare = |pair| Way::Packet(interface(pair));
        let netmap = |mac, peer| Way::Netmap {
            port: interface(APART),
            mac,
            peer,
        };
        let outcomes = self.turns(
            Carrier::Packet,
            [
                [Role::Pong(bare(0)), Role::Ping(bare(0))],
                [
                    Role::Pong(netmap(RECEIVER, SENDER)),
                    Role::Ping(netmap(SENDER, RECEIVER)),
                ],
            ],
        )?;
        PingPong::new(&outcomes).ok_or_else(|| "nothing arrived".into())
    }

    /// A netmap pipe, and both ends of a pair as netmap ports, in turns.
    pub fn joined(&self, batch: u32, len: u16) -> Result<Joined, String> {
        let outcomes = self.turns(
            Carrier::Packet,
            [
                [
                    receive("benchnic}1".into()),
                    send("benchnic{1".into(), batch, len),
                ],
                [receive(interface(0)), send(interface(0), batch, len)],
            ],
        )?;
        Ok(Joined::new(batch, len, &outcomes))
    }

    /// From the beginning and from the end of a REGISTER until the port is joined with the other end: medians in
    /// milliseconds.
    pub fn joining(&self) -> Result<Joining, String> {
        let join = |pair, whole| {
            let port = interface(pair);
            [receive(port.clone()), Role::Join { port, whole }]
        };
        let median = |whole| {
            let [outcome] = self.turns(Carrier::Packet, [join(0, whole)])?;
            let median = percentile(&outcome.samples, 50).ok_or("they were never joined")?;
            Ok::<_, String>(f64::from(median) / 1e6)
        };
        Ok(Joining {
            from_begin: median(true)?,
            from_end: median(false)?,
        })
    }

    /// Measures groups of a receiver in one namespace and a sender in the other.
    fn turns<const N: usize>(
        &self,
        carrier: Carrier,
        groups: [[Role; 2]; N],
    ) -> Result<[Outcome; N], String> {
        let bench = self.bench;
        bench.board.reset();
        let start = |(number, roles): (usize, [Role; 2])| self.start(number, carrier, roles);
        let mut groups = groups
            .into_iter()
            .enumerate()
            .map(start)
            .collect::<Result<Vec<_>, _>>()?;
        let mut groups: Vec<_> = groups.iter_mut().collect();
        let outcomes = measure(bench.board, &mut groups, bench.windows)?;
        outcomes
            .try_into()
            .map_err(|_| "each group has an outcome".into())
    }

    fn start(
        &self,
        number: usize,
        carrier: Carrier,
        roles: [Role; 2],
    ) -> Result<Group<'a>, String> {
        let bench = self.bench;
        let spec = |(side, role)| Spec {
            index: number * GROUP_SIZE + side,
            group: number,
            cpu: bench.cpus[1 - side],
            real_time: bench.real_time,
            reach: None,
            namespaces: Some(self.ground.side(side).clone()),
            carrier,
            role,
        };
        let specs = roles.into_iter().enumerate().map(spec);
        let specs = specs.map(|spec| (spec, None)).collect();
        Group::start(bench.board, number, Some(bench.world), specs)
    }
}

fn send(port: String, batch: u32, len: u16) -> Role {
    Role::Send {
        port,
        batch,
        len,
        dmac: RECEIVER,
        smac: SENDER,
        touch: false,
    }
}

/// It writes the packets that it sends, and reads those that it receives.
fn touching(mut role: Role) -> Role {
    if let Role::Send { touch, .. } | Role::Receive { touch, .. } = &mut role {
        *touch = true;
    }
    role
}

fn receive(port: String) -> Role {
    Role::Receive {
        port,
        blocking: false,
        mac: RECEIVER,
        touch: false,
    }
}
