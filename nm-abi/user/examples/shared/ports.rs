//! The ports of a NAT: whose they are, for how long, and which are free.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use etherparse::IpNumber;

/// The ports that are given, of each protocol: IANA's dynamic ones.
pub const PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;

/// How long a port may be silent, also after its TCP connection was closed; how many one host inside may have.
pub struct Limits {
    pub idle: Duration,
    pub closed: Duration,
    pub ports: usize,
}

/// Whose port it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    pub protocol: IpNumber,
    pub mac: [u8; 6],
    pub address: Ipv4Addr,
    pub port: u16,
}

/// A TCP segment: with whom outside, and its flags.
#[derive(Clone, Copy)]
pub struct Segment {
    pub peer: SocketAddrV4,
    pub flags: u8,
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

/// Which side of the NAT a segment comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Inside,
    Outside,
}

/// A port that is in use.
struct Mapping {
    owner: Owner,
    used: Instant,
    /// when to look whether it is still in use: the time of its entry in `Ports::looks`
    look: Instant,
    /// the only one it has a TCP connection with; `None` if there are several, which end when they are silent
    peer: Option<SocketAddrV4>,
    /// the sides that have closed that connection
    closed: [bool; 2],
}

impl Mapping {
    fn is_closed(&self) -> bool {
        self.peer.is_some() && self.closed == [true; 2]
    }

    fn end(&self, limits: &Limits) -> Instant {
        let lasts = if self.is_closed() {
            limits.closed
        } else {
            limits.idle
        };
        // A time that cannot be said is far away.
        self.used.checked_add(lasts).unwrap_or(self.used + FAR)
    }

    fn note(&mut self, Segment { peer, flags }: Segment, side: Side) {
        if side == Side::Inside && flags & SYN != 0 && (self.is_closed() || self.peer == Some(peer))
        {
            (self.peer, self.closed) = (Some(peer), [false; 2]);
        } else if side == Side::Inside && self.peer != Some(peer) {
            self.peer = None;
        }
        if self.peer == Some(peer) {
            self.closed[side as usize] |= flags & FIN != 0;
            if flags & RST != 0 {
                self.closed = [true; 2];
            }
        }
    }
}

const FAR: Duration = Duration::from_secs(1 << 30);

type Key = (IpNumber, u16);

pub struct Ports {
    limits: Limits,
    given: HashMap<Owner, u16>,
    mappings: HashMap<Key, Mapping>,
    /// of each protocol, those that have been free longest first
    free: HashMap<IpNumber, VecDeque<u16>>,
    /// how many each host inside has
    hosts: HashMap<Ipv4Addr, usize>,
    /// when to look at which port, the next first. Entries that are not the `look` of a mapping are void.
    looks: BinaryHeap<Reverse<(Instant, Key)>>,
}

impl Ports {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            given: HashMap::new(),
            mappings: HashMap::new(),
            free: HashMap::new(),
            hosts: HashMap::new(),
            looks: BinaryHeap::new(),
        }
    }

    /// The port of an owner who sends a packet: a new one, if it has none yet. `None` if there is none for it.
    pub fn port_of(&mut self, owner: Owner, segment: Option<Segment>, now: Instant) -> Option<u16> {
        self.free_silent(now);
        let port = match self.given.get(&owner) {
            Some(port) => *port,
            None => self.give(owner, segment, now)?,
        };
        self.used((owner.protocol, port), segment, Side::Inside, now)?;
        Some(port)
    }

    /// Who has the port that a packet has come for.
    pub fn owner_of(&mut self, key: Key, segment: Option<Segment>, now: Instant) -> Option<Owner> {
        self.free_silent(now);
        self.used(key, segment, Side::Outside, now)
    }

    fn give(&mut self, owner: Owner, segment: Option<Segment>, now: Instant) -> Option<u16> {
        if self
            .hosts
            .get(&owner.address)
            .is_some_and(|ports| *ports >= self.limits.ports)
        {
            return None;
        }
        let free = self.free.entry(owner.protocol);
        let port = free.or_insert_with(|| PORTS.collect()).pop_front()?;
        let mut mapping = Mapping {
            owner,
            used: now,
            look: now,
            peer: segment.map(|segment| segment.peer),
            closed: [false; 2],
        };
        mapping.look = mapping.end(&self.limits);
        let key = (owner.protocol, port);
        self.looks.push(Reverse((mapping.look, key)));
        self.mappings.insert(key, mapping);
        self.given.insert(owner, port);
        *self.hosts.entry(owner.address).or_default() += 1;
        Some(port)
    }

    fn used(
        &mut self,
        key: Key,
        segment: Option<Segment>,
        side: Side,
        now: Instant,
    ) -> Option<Owner> {
        let mapping = self.mappings.get_mut(&key)?;
        mapping.used = now;
        if let Some(segment) = segment {
            mapping.note(segment, side);
        }
        let end = mapping.end(&self.limits);
        // It ends later as a rule, which is soon enough to be seen when it is looked at.
        if end < mapping.look {
            mapping.look = end;
            self.looks.push(Reverse((end, key)));
        }
        Some(mapping.owner)
    }

    /// Frees the ports whose time is over.
    fn free_silent(&mut self, now: Instant) {
        while let Some(Reverse((look, key))) =
            self.looks.peek().copied().filter(|next| next.0.0 <= now)
        {
            self.looks.pop();
            let Some(mapping) = self
                .mappings
                .get_mut(&key)
                .filter(|mapping| mapping.look == look)
            else {
                continue;
            };
            let end = mapping.end(&self.limits);
            if end > now {
                mapping.look = end;
                self.looks.push(Reverse((end, key)));
                continue;
            }
            let owner = mapping.owner;
            self.mappings.remove(&key);
            self.given.remove(&owner);
            self.free.entry(key.0).or_default().push_back(key.1);
            if let Some(ports) = self.hosts.get_mut(&owner.address) {
                *ports -= 1;
                if *ports == 0 {
                    self.hosts.remove(&owner.address);
                }
            }
        }
    }
}
