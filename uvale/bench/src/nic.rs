//! NIC ports over veth pairs, and the same pairs used by AF_PACKET sockets alone.
//!
//! | file | what |
//! |---|---|
//! | `nic/ground.rs` | two network namespaces and the pairs between them |
//! | `nic/namespaces.rs` | what a worker enters |
//! | `nic/socket.rs` | a sender and a receiver by AF_PACKET alone, the *bare* pair |
//! | `nic/xdp.rs` | the same by AF_XDP |
//! | `nic/joining.rs` | how long it takes until two ports are joined |
//!
//! Over the wire only one end is a netmap port, or a queueing discipline is in the way: the two would be joined. Each
//! group has a pair of its own.

pub mod ground;
pub mod joining;
pub mod namespaces;
#[allow(unsafe_code)]
pub mod socket;
#[allow(unsafe_code)]
pub mod xdp;

use super::addresses::{RECEIVER, SENDER};
use super::contest::{Bench, Column, Contest, Kind, Part};
use super::figure::Case;
use super::port::Opening;
use super::shapes::{receiving, sending};
use super::wake::Way;
use super::worker::Role;
use ground::{Ground, interface};
use socket::Version;
use uvale_wire::Carrier;

/// Pairs that one measurement uses at most, and one that is never joined.
const PAIRS: usize = 5;
const APART: usize = 4;

/// Namespaces and pairs.
pub struct Nic<'a> {
    bench: &'a Bench,
    ground: Ground,
}

impl<'a> Nic<'a> {
    /// Makes the namespaces, or says why not.
    pub fn new(bench: &'a Bench) -> Result<Self, String> {
        let ground = Ground::new(PAIRS, APART)?;
        Ok(Self { bench, ground })
    }

    /// The bare pair with either kind of frames, a netmap sender and a netmap receiver.
    pub fn wire(&self, len: u16, batch: u32) -> Contest {
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
        let column = |name, roles, of| self.column(name, Carrier::Packet, roles, of);
        let columns = vec![
            column(
                "bare V3",
                [bare_receiver(0, Version::V3), bare_sender(0)],
                &[],
            ),
            column(
                "bare V2",
                [bare_receiver(1, Version::V2), bare_sender(1)],
                &[],
            ),
            column(
                "port tx",
                [
                    bare_receiver(2, Version::V3),
                    touching(send(interface(2), batch, len)),
                ],
                &[0],
            ),
            column(
                "port rx",
                [touching(receive(interface(3))), bare_sender(3)],
                &[0],
            ),
        ];
        self.rates(Case::named("AF_PACKET").and(len.into(), batch), columns)
    }

    /// The same with AF_XDP: the bare pair, a netmap sender and a netmap receiver.
    pub fn xdp(&self, len: u16, batch: u32) -> Contest {
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
        let column = |name, roles, of| self.column(name, Carrier::Xdp, roles, of);
        let columns = vec![
            column("bare XDP", [bare_receiver(0), bare_sender(0)], &[]),
            column(
                "port tx",
                [bare_receiver(1), touching(send(interface(1), batch, len))],
                &[0],
            ),
            column(
                "port rx",
                [touching(receive(interface(2))), bare_sender(2)],
                &[0],
            ),
        ];
        self.rates(Case::named("AF_XDP").and(len.into(), batch), columns)
    }

    /// Round trips between two bare sockets, and between two netmap ports over the wire.
    pub fn ping_pong(&self) -> Contest {
        let bare = |pair| Way::Packet(interface(pair));
        let netmap = |mac, peer| Way::Netmap {
            port: interface(APART),
            mac,
            peer,
            spins: false,
        };
        let ports = [
            Role::Pong(netmap(RECEIVER, SENDER)),
            Role::Ping(netmap(SENDER, RECEIVER)),
        ];
        let column = |name, roles, of| self.column(name, Carrier::Packet, roles, of);
        self.contest(
            Case::named("ping-pong"),
            Kind::Latency,
            vec![
                column("AF_PACKET", [Role::Pong(bare(0)), Role::Ping(bare(0))], &[]),
                column("port", ports, &[0]),
            ],
        )
    }

    /// A netmap pipe, and both ends of a pair as netmap ports.
    pub fn joined(&self, len: u16, batch: u32) -> Contest {
        let pipe = [
            receive("benchnic}1".into()),
            send("benchnic{1".into(), batch, len),
        ];
        let joined = [receive(interface(0)), send(interface(0), batch, len)];
        let column = |name, roles, of| self.column(name, Carrier::Packet, roles, of);
        let columns = vec![column("pipe", pipe, &[]), column("joined", joined, &[0])];
        self.rates(Case::named("joined").and(len.into(), batch), columns)
    }

    /// From the beginning (`whole`) or from the end of a REGISTER until the port is joined with the other end.
    pub fn joining(&self, whole: bool) -> Contest {
        let port = interface(0);
        let roles = [receive(port.clone()), Role::Join { port, whole }];
        let name = if whole {
            "with REGISTER"
        } else {
            "after REGISTER"
        };
        let column = self.column(name, Carrier::Packet, roles, &[]);
        self.contest(Case::named("until joined"), Kind::Latency, vec![column])
    }

    fn rates(&self, case: Case, columns: Vec<Column>) -> Contest {
        self.contest(case, Kind::Rate, columns)
    }

    fn contest(&self, case: Case, kind: Kind, columns: Vec<Column>) -> Contest {
        Contest {
            suite: "nic",
            case,
            kind,
            columns,
        }
    }

    /// A receiver in one namespace, and a sender in the other one.
    fn column(&self, name: &str, carrier: Carrier, roles: [Role; 2], of: &[usize]) -> Column {
        let part = |(side, role): (usize, Role)| Part {
            namespaces: Some(self.ground.side(side).clone()),
            carrier,
            ..Part::new(self.bench.cpus[1 - side], role)
        };
        Column::new(name, roles.into_iter().enumerate().map(part).collect(), of)
    }
}

fn send(port: String, batch: u32, len: u16) -> Role {
    Role::Send(sending(Opening::of(port), batch, len))
}

fn receive(port: String) -> Role {
    Role::Receive(receiving(Opening::of(port), false))
}

/// It writes the packets that it sends, and reads those that it receives.
fn touching(mut role: Role) -> Role {
    match &mut role {
        Role::Send(what) => what.touch = true,
        Role::Receive(what) => what.touch = true,
        _ => {}
    }
    role
}
