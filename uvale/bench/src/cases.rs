//! What is measured: cases, and the groups of workers that carry them out.

use std::os::fd::OwnedFd;

use super::board::Board;
use super::cpus;
use super::limit;
use super::measure::{Outcome, Windows, measure};
use super::wake::Way;
use super::worker::{Role, Spec};
use uvale_wire::Carrier;

use super::world::{Group, World};

/// Address of the (first) receiver.
pub const RECEIVER: u64 = 0x0200_0000_1002;
/// Everybody.
const ALL: u64 = 0xffff_ffff_ffff;

/// Places on the board for each group.
const GROUP_SIZE: usize = 10;

/// Through what the packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    Vale,
    Pipe,
}

/// One combination.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub path: Path,
    pub senders: usize,
    pub receivers: usize,
    pub len: u16,
    pub batch: u32,
}

/// What came of it.
#[derive(Debug)]
pub struct Figures {
    pub limit: Outcome,
    pub spinning: Outcome,
    pub blocking: Outcome,
}

/// Where and with what everything runs.
pub struct Bench<'a> {
    pub board: &'a Board,
    pub world: &'a World,
    pub cpus: Vec<usize>,
    pub windows: Windows,
    pub real_time: bool,
}

impl Bench<'_> {
    /// Limit, spinning receivers and blocking receivers, in turns.
    pub fn run(&self, case: Case) -> Result<Figures, String> {
        self.board.reset();
        limit::prepare(self.board, RECEIVER);
        let mut limit = self.start(0, self.limit_roles(case))?;
        let mut spinning = self.start(1, self.netmap_roles(case, 1, false))?;
        let mut blocking = self.start(2, self.netmap_roles(case, 2, true))?;
        let mut groups = [&mut limit, &mut spinning, &mut blocking];
        let outcomes = measure(self.board, &mut groups, self.windows)?;
        let Ok([limit, spinning, blocking]) = <[Outcome; 3]>::try_from(outcomes) else {
            return Err("three groups have three outcomes".into());
        };
        Ok(Figures {
            limit,
            spinning,
            blocking,
        })
    }

    /// Round trips (or, `asleep`, one way to a sleeper) over VALE and over a socketpair, in turns.
    pub fn wake_up(&self, asleep: bool) -> Result<[Outcome; 2], String> {
        self.board.reset();
        let netmap = |port: &str, mac, peer| Way::Netmap {
            port: port.into(),
            mac,
            peer,
        };
        let (here, there) = (0x0200_0000_1001, RECEIVER);
        let ports = [
            netmap("vale0:wake1", here, there),
            netmap("vale0:wake2", there, here),
        ];
        let sockets = socketpair()?;
        let roles = |[first, second]: [Way; 2]| match asleep {
            true => [Role::Pace(first), Role::Wake(second)],
            false => [Role::Ping(first), Role::Pong(second)],
        };
        let specs = |group, ways| {
            let [first, second] = roles(ways);
            // The receiver first, so that it is known when the first packet goes.
            [
                self.spec(group, 0, self.cpus[1], second),
                self.spec(group, 1, self.cpus[0], first),
            ]
        };
        let [b, a] = specs(0, ports);
        let plain = vec![(b, None), (a, None)];
        let mut vale = Group::start(self.board, 0, Some(self.world), plain)?;
        let [b, a] = specs(1, [Way::Socket, Way::Socket]);
        let with_sockets = vec![(b, Some(sockets.0)), (a, Some(sockets.1))];
        let mut bare = Group::start(self.board, 1, None, with_sockets)?;
        let outcomes = measure(self.board, &mut [&mut vale, &mut bare], self.windows)?;
        outcomes
            .try_into()
            .map_err(|_| "two groups have two outcomes".into())
    }

    /// A worker at that place of a group.
    pub fn spec(&self, group: usize, place: usize, cpu: usize, role: Role) -> Spec {
        let index = group * GROUP_SIZE + place;
        Spec {
            index,
            group,
            cpu,
            real_time: self.real_time,
            namespaces: None,
            reach: None,
            carrier: Carrier::Best,
            role,
        }
    }

    fn start(&self, number: usize, roles: Vec<(usize, Role)>) -> Result<Group<'_>, String> {
        // Real-time processes that share a processor take turns far longer than a window.
        let real_time = self.real_time && roles.len() <= self.cpus.len();
        let specs = roles
            .into_iter()
            .enumerate()
            .map(|(place, (cpu, role))| self.spec(number, place, cpu, role))
            .map(|spec| (Spec { real_time, ..spec }, None))
            .collect();
        Group::start(self.board, number, Some(self.world), specs)
    }

    /// Lanes are pairs of one sender and one receiver.
    fn limit_roles(&self, case: Case) -> Vec<(usize, Role)> {
        let (tx, rx) = cpus::place(&self.cpus, case.senders, case.receivers);
        let Case { batch, len, .. } = case;
        let lanes_to = |r: usize| (0..case.senders).map(|s| s * case.receivers + r).collect();
        let lanes_of = |s: usize| {
            (0..case.receivers)
                .map(|r| s * case.receivers + r)
                .collect()
        };
        let receivers = rx.iter().enumerate();
        let receivers = receivers.map(|(r, cpu)| (*cpu, Role::LimitReceive { lanes: lanes_to(r) }));
        let senders = tx.iter().enumerate().map(|(s, cpu)| match case.path {
            Path::Pipe => (*cpu, Role::LimitPipe { batch, len }),
            Path::Vale => (
                *cpu,
                Role::LimitVale {
                    lanes: lanes_of(s),
                    batch,
                    len,
                },
            ),
        });
        receivers.chain(senders).collect()
    }

    /// Senders and receivers with ports, and their processors.
    pub fn netmap_roles(&self, case: Case, group: usize, blocking: bool) -> Vec<(usize, Role)> {
        let (tx, rx) = cpus::place(&self.cpus, case.senders, case.receivers);
        let name = |side: &str, i: usize| match (case.path, side) {
            (Path::Vale, side) => format!("vale{group}:{side}{i}"),
            (Path::Pipe, "rx") => format!("bench{group}}}1"),
            (Path::Pipe, _) => format!("bench{group}{{1"),
        };
        let dmac = if case.receivers > 1 { ALL } else { RECEIVER };
        let receivers = rx.iter().enumerate().map(|(i, cpu)| {
            let mac = RECEIVER + ((i as u64) << 40);
            (
                *cpu,
                Role::Receive {
                    port: name("rx", i),
                    blocking,
                    mac,
                    touch: false,
                },
            )
        });
        let senders = tx.iter().enumerate().map(|(i, cpu)| {
            let smac = 0x0200_0000_2002 + ((i as u64) << 40);
            let port = name("tx", i);
            (
                *cpu,
                Role::Send {
                    port,
                    batch: case.batch,
                    len: case.len,
                    dmac,
                    smac,
                    touch: false,
                },
            )
        });
        receivers.chain(senders).collect()
    }
}

/// Two ends for messages.
pub fn socketpair() -> Result<(OwnedFd, OwnedFd), String> {
    rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|e| format!("socketpair: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a table where collisions overwrite, addresses that collide would turn into floods.
    #[test]
    fn addresses_do_not_collide() {
        let receivers = (0..8u64).map(|i| RECEIVER + (i << 40));
        let senders = (0..2u64).map(|i| 0x0200_0000_2002 + (i << 40));
        let others = [0x0200_0000_1001, super::super::NOBODY];
        let mut places: Vec<usize> = receivers
            .chain(senders)
            .chain(others)
            .map(limit::hash)
            .collect();
        places.sort_unstable();
        let n = places.len();
        places.dedup();
        assert_eq!(places.len(), n);
    }
}
