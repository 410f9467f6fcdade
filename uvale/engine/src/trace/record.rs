//! The records of a trace.

use serde::{Deserialize, Serialize};

/// A packet, and what has happened to it; or something that has happened to a ring (`slots` is 0 then).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// when, in nanoseconds since 1970: it was over then
    pub time: u64,
    /// session of the process whose sync it was
    pub session: u32,
    /// that process, as it says: its number in its own PID namespace
    pub pid: i32,
    /// name of its program
    pub program: String,
    /// the ring
    pub ring: Ring,
    /// it was sent; otherwise it has arrived
    pub is_tx: bool,
    /// its first slot
    pub slot: u32,
    /// how many slots it has
    pub slots: u32,
    /// bytes that those say it has, without a virtio-net header
    pub len: u32,
    /// the first of its bytes, from the destination address on
    pub data: Vec<u8>,
    /// in the order in which it happened
    pub events: Vec<Event>,
}

/// A ring of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ring {
    /// name of the port
    pub port: String,
    /// number of the ring
    pub ring: u32,
    /// of the host rings
    pub is_host: bool,
}

/// What is behind the rings of a NIC port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// the wire
    Wire,
    /// the host's network stack
    Host,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// the switch has learnt that its source address is behind this port, which has that number there
    Learnt(u32),
    /// its destination is behind the port with this number
    Found(u32),
    /// it goes to every port but its own: the destination is a group, or not known
    Flooded {
        /// ports
        ports: u32,
    },
    /// it was copied
    Copied {
        /// into this ring
        to: Ring,
        /// the first slot
        slot: u32,
        /// how many
        slots: u32,
        /// slots of those that arrive empty: their bytes could not be copied
        empty: u64,
        /// with another virtio-net header
        converted: bool,
    },
    /// its slots have exchanged buffers with those of a ring at the other end
    Passed {
        /// that ring
        to: Ring,
        /// the first slot there
        slot: u32,
        /// how many
        slots: u32,
    },
    /// it left the port
    Sent(Way),
    /// it came to the port
    Arrived(Way),
    /// a monitor was shown some slots
    Shown {
        /// its ring
        to: Ring,
        /// the first slot there
        slot: u32,
        /// how many
        slots: u32,
        /// packets that it missed
        missed: u64,
    },
    /// packets were dropped
    Dropped {
        /// at this ring; none: by the sender
        at: Option<Ring>,
        /// why
        why: Reason,
        /// how many
        packets: u64,
    },
    /// slots had a length beyond their buffer or a null NS_INDIRECT pointer, and counted as empty
    BadSlots(u64),
    /// the chain had no end, and was sent as it was
    Truncated,
    /// it is not sent yet, and stays where it is
    Kept(Reason),
    /// a sleeper was woken
    Woke {
        /// of this ring
        ring: Ring,
        /// its description
        client: u32,
    },
    /// head or cur was out of range: the ring was reinitialised
    Reinit,
    /// more has happened than a record can hold
    TooMuch,
}

/// Why a packet goes no further.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// shorter than an Ethernet header
    Short,
    /// its destination is behind the port that has sent it
    OwnPort,
    /// its destination is behind a port that is gone
    PortGone,
    /// nobody has the ring open for receiving, or nobody takes what is sent there
    NoReceiver,
    /// the lock of the receiving ring is not released
    Stuck,
    /// the ring is full
    Full,
    /// its virtio-net header cannot be turned into what the receiver expects
    Unconvertible,
    /// the port is on no switch
    NoSwitch,
    /// the switches forward nothing: bridge_batch is 0
    NoBatch,
    /// there is no other port on the switch
    Alone,
    /// the kernel refuses it, or a slot names no buffer
    Refused,
    /// the interface is down, or has no carrier
    LinkDown,
    /// the wire has no room, or there is none yet
    WireFull,
    /// that ring has no room, or does not take packets yet
    FullAt(Ring),
    /// its last slot has not come yet
    Incomplete,
}

impl Event {
    /// The rings that it names.
    fn rings(&self) -> impl Iterator<Item = &Ring> {
        let (to, why) = match self {
            Self::Copied { to, .. } | Self::Passed { to, .. } | Self::Shown { to, .. } => {
                (Some(to), None)
            }
            Self::Dropped { at, why, .. } => (at.as_ref(), Some(why)),
            Self::Kept(why) => (None, Some(why)),
            Self::Woke { ring, .. } => (Some(ring), None),
            _ => (None, None),
        };
        let full = why.and_then(|why| match why {
            Reason::FullAt(ring) => Some(ring),
            _ => None,
        });
        to.into_iter().chain(full)
    }
}

impl Record {
    /// Most events of a packet: a copy for each port of a switch, sleepers, and monitors.
    pub const EVENTS: usize = 4096;
    /// Most bytes of a packet.
    pub const DATA: usize = 1 << 16;
    /// Longest name of a port or a program, in bytes.
    pub const NAME: usize = 255;

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        // Writing into a Vec does not fail.
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// Can so much happen to a packet?
    pub(super) fn is_possible(&self) -> bool {
        let of_events = self.events.iter().flat_map(Event::rings);
        let mut rings = [&self.ring].into_iter().chain(of_events);
        self.events.len() <= Self::EVENTS
            && self.data.len() <= Self::DATA
            && self.program.len() <= Self::NAME
            && rings.all(|ring| ring.port.len() <= Self::NAME)
    }

    /// What the bytes say; `None` if they are not exactly one record, or more than can happen to a packet.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match postcard::take_from_bytes::<Self>(bytes) {
            Ok((record, [])) => Some(record).filter(Self::is_possible),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_record_has_more_than_can_happen() {
        let mut record = Record {
            data: vec![7; Record::DATA],
            events: vec![Event::Truncated; Record::EVENTS],
            ..Record::default()
        };
        assert_eq!(Record::decode(&record.encode()), Some(record.clone()));
        record.events.push(Event::Truncated);
        assert_eq!(Record::decode(&record.encode()), None);
        record.events.pop();
        record.data.push(7);
        assert_eq!(Record::decode(&record.encode()), None);
        let ring = Ring {
            port: "a".repeat(Record::NAME + 1),
            ..Ring::default()
        };
        for event in [
            Event::Woke {
                ring: ring.clone(),
                client: 1,
            },
            Event::Kept(Reason::FullAt(ring)),
        ] {
            let events = vec![event];
            let record = Record {
                events,
                ..Record::default()
            };
            assert_eq!(Record::decode(&record.encode()), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = Record::decode(&bytes);
        }

        /// A record with some bytes changed is another record, or none.
        #[test]
        fn records_that_somebody_has_changed(changes: Vec<(usize, u8)>) {
            let ring = Ring { port: "vale0:a".into(), ring: 1, is_host: false };
            let record = Record {
                data: vec![7; 60],
                events: vec![
                    Event::Learnt(3),
                    Event::Copied { to: ring.clone(), slot: 5, slots: 1, empty: 0, converted: false },
                    Event::Woke { ring, client: 9 },
                ],
                ..Record::default()
            };
            let mut bytes = record.encode();
            prop_assert_eq!(Record::decode(&bytes), Some(record));
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let _ = Record::decode(&bytes);
        }
    }
}
