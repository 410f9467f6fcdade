//! All fields: their names, kinds, and where they lie; `table/rows.rs` has them, a line each.

mod rows;

use crate::kind::Kind;
use rows::ALL;

/// A protocol that frames are read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proto {
    /// the frame as a whole
    Frame,
    /// Ethernet
    Eth,
    /// a VLAN tag
    Vlan,
    /// ARP for IPv4 over Ethernet
    Arp,
    /// IPv4
    Ip,
    /// IPv6
    Ipv6,
    /// ICMP
    Icmp,
    /// ICMPv6
    Icmpv6,
    /// UDP
    Udp,
    /// TCP
    Tcp,
    /// DNS over UDP
    Dns,
    /// what follows the headers
    Data,
}

/// All protocols, from the outside in, with Wireshark's names.
pub const PROTOS: [(Proto, &str); 12] = [
    (Proto::Frame, "frame"),
    (Proto::Eth, "eth"),
    (Proto::Vlan, "vlan"),
    (Proto::Arp, "arp"),
    (Proto::Ip, "ip"),
    (Proto::Ipv6, "ipv6"),
    (Proto::Icmp, "icmp"),
    (Proto::Icmpv6, "icmpv6"),
    (Proto::Udp, "udp"),
    (Proto::Tcp, "tcp"),
    (Proto::Dns, "dns"),
    (Proto::Data, "data"),
];

impl Proto {
    /// Wireshark's name.
    pub fn name(self) -> &'static str {
        PROTOS[self as usize].1
    }

    /// The protocol of this name.
    pub fn find(name: &str) -> Option<Proto> {
        PROTOS
            .iter()
            .find(|(_, n)| *n == name)
            .map(|(proto, _)| *proto)
    }
}

/// Where a field lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// bits of the header
    Bits {
        /// the first one, from the header's start
        at: usize,
        /// how many, 128 at most
        len: usize,
    },
    /// the header from this byte on
    HeaderFrom(usize),
    /// what follows the last header
    Payload,
    /// the length of that, in bytes
    PayloadLen,
    /// the length of the frame, in bytes
    FrameLen,
    /// a question or answer of DNS
    Dns(Record),
    /// what is known of the header's checksum; it is computed, and no frame is made of it
    Sum,
    /// two fields, either of which may be meant; in filters only
    Either([&'static str; 2]),
}

/// What of DNS's questions and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// the name that is asked for
    QueryName,
    /// the type that is asked for
    QueryType,
    /// addresses that are answered
    A,
    /// IPv6 addresses that are answered
    Aaaa,
    /// for how many seconds they hold
    Ttl,
}

/// A field.
#[derive(Debug)]
pub struct Field {
    /// Wireshark's name
    pub name: &'static str,
    /// whose
    pub proto: Proto,
    /// what values it takes
    pub kind: Kind,
    /// where it lies
    pub place: Place,
    /// Is it listed and compared by itself? Parts of other fields and second names are not.
    pub is_shown: bool,
    /// whether a header has it
    pub when: Option<fn(&[u8]) -> bool>,
    /// for people
    pub what: &'static str,
}

/// The fields of a protocol, in the order of its header.
pub fn fields_of(proto: Proto) -> impl Iterator<Item = &'static Field> {
    ALL[proto as usize].iter()
}

/// All fields.
pub fn fields() -> impl Iterator<Item = &'static Field> {
    ALL.iter().flat_map(|fields| fields.iter())
}

/// The field of this name.
pub fn find(name: &str) -> Option<&'static Field> {
    fields().find(|field| field.name == name)
}

impl Field {
    /// The largest number that the field has room for, in the unit of its values; `None` if it takes no number.
    pub fn most(&self) -> Option<u128> {
        let bits = match (self.kind, self.place) {
            (Kind::Name | Kind::Text | Kind::Bytes, _) => return None,
            (_, Place::Bits { len, .. }) => len,
            (_, Place::Either([one, _])) => return find(one)?.most(),
            (_, Place::Sum) => 8,
            (_, Place::Dns(Record::QueryType) | Place::FrameLen | Place::PayloadLen) => 16,
            (Kind::Ipv6, _) => 128,
            _ => 32,
        };
        let unit = match self.kind {
            Kind::Units(unit) => unit,
            _ => 1,
        };
        Some((u128::MAX >> (128 - bits)) * unit)
    }
}
