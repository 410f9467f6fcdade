//! All fields: their names, kinds, and where they lie.

use crate::kind::Kind;

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

impl Field {
    const fn hidden(mut self) -> Self {
        self.is_shown = false;
        self
    }

    const fn when(mut self, when: fn(&[u8]) -> bool) -> Self {
        self.when = Some(when);
        self
    }
}

const fn field(name: &'static str, kind: Kind, place: Place, what: &'static str) -> Field {
    Field {
        name,
        proto: Proto::Frame,
        kind,
        place,
        is_shown: true,
        when: None,
        what,
    }
}

const fn bits(name: &'static str, kind: Kind, at: usize, len: usize, what: &'static str) -> Field {
    field(name, kind, Place::Bits { at, len }, what)
}

const fn either(
    name: &'static str,
    kind: Kind,
    of: [&'static str; 2],
    what: &'static str,
) -> Field {
    field(name, kind, Place::Either(of), what).hidden()
}

/// Gives the fields of a protocol its name.
const fn all<const N: usize>(proto: Proto, mut fields: [Field; N]) -> [Field; N] {
    let mut i = 0;
    while i < N {
        fields[i].proto = proto;
        i += 1;
    }
    fields
}

fn number_at(header: &[u8], at: usize) -> u16 {
    let bytes = header.get(at..at + 2).and_then(|b| b.try_into().ok());
    bytes.map_or(0, u16::from_be_bytes)
}

fn is_type(header: &[u8]) -> bool {
    number_at(header, 12) > 1500
}

fn is_length(header: &[u8]) -> bool {
    !is_type(header)
}

fn kind_is(header: &[u8], of: &[u8]) -> bool {
    header.first().is_some_and(|kind| of.contains(kind))
}

fn has_ident(header: &[u8]) -> bool {
    kind_is(header, &[0, 8, 13, 14, 15, 16, 17, 18])
}

fn is_unreachable(header: &[u8]) -> bool {
    header.starts_with(&[3, 4])
}

fn is_redirect(header: &[u8]) -> bool {
    kind_is(header, &[5])
}

fn is_echo6(header: &[u8]) -> bool {
    kind_is(header, &[128, 129])
}

fn is_too_big(header: &[u8]) -> bool {
    kind_is(header, &[2])
}

fn is_solicitation(header: &[u8]) -> bool {
    kind_is(header, &[135])
}

fn is_advertisement(header: &[u8]) -> bool {
    kind_is(header, &[136])
}

const NUMBER: Kind = Kind::Number;
const HEX2: Kind = Kind::Hex(2);
const HEX4: Kind = Kind::Hex(4);
const WORDS: Kind = Kind::Units(4);
const ETHER: Kind = Kind::Named(
    4,
    &[
        ("ip", 0x800),
        ("arp", 0x806),
        ("vlan", 0x8100),
        ("ipv6", 0x86dd),
    ],
);
const IP_PROTO: Kind = Kind::Named(0, &[("icmp", 1), ("tcp", 6), ("udp", 17), ("icmpv6", 58)]);

static FRAME: [Field; 1] = all(
    Proto::Frame,
    [field(
        "frame.len",
        NUMBER,
        Place::FrameLen,
        "length without checksum; pads with zeroes",
    )],
);

static ETH: [Field; 5] = all(
    Proto::Eth,
    [
        bits("eth.dst", Kind::Mac, 0, 48, "destination"),
        bits("eth.src", Kind::Mac, 48, 48, "source"),
        bits("eth.type", ETHER, 96, 16, "type").when(is_type),
        bits("eth.len", NUMBER, 96, 16, "length, where there is no type").when(is_length),
        either(
            "eth.addr",
            Kind::Mac,
            ["eth.dst", "eth.src"],
            "either address",
        ),
    ],
);

static VLAN: [Field; 4] = all(
    Proto::Vlan,
    [
        bits("vlan.priority", NUMBER, 0, 3, "priority"),
        bits("vlan.dei", Kind::Bool, 3, 1, "may be dropped"),
        bits("vlan.id", NUMBER, 4, 12, "VLAN"),
        bits("vlan.etype", ETHER, 16, 16, "type of what follows"),
    ],
);

const OPCODE: Kind = Kind::Named(0, &[("request", 1), ("reply", 2)]);

static ARP: [Field; 9] = all(
    Proto::Arp,
    [
        bits("arp.hw.type", NUMBER, 0, 16, "type of hardware, 1"),
        bits("arp.proto.type", ETHER, 16, 16, "type of protocol, 0x0800"),
        bits("arp.hw.size", NUMBER, 32, 8, "length of MAC addresses, 6"),
        bits("arp.proto.size", NUMBER, 40, 8, "length of IP addresses, 4"),
        bits("arp.opcode", OPCODE, 48, 16, "what is asked or answered"),
        bits("arp.src.hw_mac", Kind::Mac, 64, 48, "sender"),
        bits("arp.src.proto_ipv4", Kind::Ipv4, 112, 32, "sender"),
        bits("arp.dst.hw_mac", Kind::Mac, 144, 48, "target"),
        bits("arp.dst.proto_ipv4", Kind::Ipv4, 192, 32, "target"),
    ],
);

static IP: [Field; 17] = all(
    Proto::Ip,
    [
        bits("ip.version", NUMBER, 0, 4, "4"),
        bits("ip.hdr_len", WORDS, 4, 4, "length of the header, in bytes"),
        bits("ip.dsfield", HEX2, 8, 8, "differentiated services"),
        bits("ip.dsfield.dscp", NUMBER, 8, 6, "code point").hidden(),
        bits("ip.dsfield.ecn", NUMBER, 14, 2, "congestion").hidden(),
        bits("ip.len", NUMBER, 16, 16, "length from the header on"),
        bits("ip.id", HEX4, 32, 16, "identification"),
        bits("ip.flags.df", Kind::Bool, 49, 1, "don't fragment"),
        bits("ip.flags.mf", Kind::Bool, 50, 1, "more fragments follow"),
        bits(
            "ip.frag_offset",
            Kind::Number,
            51,
            13,
            "where the fragment belongs, in units of 8 bytes",
        ),
        bits("ip.ttl", NUMBER, 64, 8, "time to live"),
        bits("ip.proto", IP_PROTO, 72, 8, "protocol"),
        bits("ip.checksum", HEX4, 80, 16, "of the header"),
        bits("ip.src", Kind::Ipv4, 96, 32, "source"),
        bits("ip.dst", Kind::Ipv4, 128, 32, "destination"),
        field(
            "ip.options",
            Kind::Bytes,
            Place::HeaderFrom(20),
            "options, as they are",
        ),
        either(
            "ip.addr",
            Kind::Ipv4,
            ["ip.src", "ip.dst"],
            "either address",
        ),
    ],
);

static IPV6: [Field; 9] = all(
    Proto::Ipv6,
    [
        bits("ipv6.version", NUMBER, 0, 4, "6"),
        bits("ipv6.tclass", HEX2, 4, 8, "traffic class"),
        bits("ipv6.flow", Kind::Hex(5), 12, 20, "flow label"),
        bits(
            "ipv6.plen",
            NUMBER,
            32,
            16,
            "length of what follows the header",
        ),
        bits("ipv6.nxt", IP_PROTO, 48, 8, "what follows"),
        bits("ipv6.hlim", NUMBER, 56, 8, "hop limit"),
        bits("ipv6.src", Kind::Ipv6, 64, 128, "source"),
        bits("ipv6.dst", Kind::Ipv6, 192, 128, "destination"),
        either(
            "ipv6.addr",
            Kind::Ipv6,
            ["ipv6.src", "ipv6.dst"],
            "either address",
        ),
    ],
);

static ICMP: [Field; 7] = all(
    Proto::Icmp,
    [
        bits("icmp.type", NUMBER, 0, 8, "type"),
        bits("icmp.code", NUMBER, 8, 8, "code"),
        bits("icmp.checksum", HEX4, 16, 16, "of the message"),
        bits("icmp.ident", NUMBER, 32, 16, "whose, in echo messages").when(has_ident),
        bits("icmp.seq", NUMBER, 48, 16, "which, in echo messages").when(has_ident),
        bits("icmp.mtu", NUMBER, 48, 16, "in \"fragmentation needed\"").when(is_unreachable),
        bits("icmp.redir_gw", Kind::Ipv4, 32, 32, "in redirects").when(is_redirect),
    ],
);

static ICMPV6: [Field; 8] = all(
    Proto::Icmpv6,
    [
        bits("icmpv6.type", NUMBER, 0, 8, "type"),
        bits("icmpv6.code", NUMBER, 8, 8, "code"),
        bits("icmpv6.checksum", HEX4, 16, 16, "of the message"),
        bits(
            "icmpv6.echo.identifier",
            HEX4,
            32,
            16,
            "whose, in echo messages",
        )
        .when(is_echo6),
        bits(
            "icmpv6.echo.sequence_number",
            NUMBER,
            48,
            16,
            "which, in echo messages",
        )
        .when(is_echo6),
        bits("icmpv6.mtu", NUMBER, 32, 32, "in \"packet too big\"").when(is_too_big),
        bits(
            "icmpv6.nd.ns.target_address",
            Kind::Ipv6,
            64,
            128,
            "in solicitations",
        )
        .when(is_solicitation),
        bits(
            "icmpv6.nd.na.target_address",
            Kind::Ipv6,
            64,
            128,
            "in advertisements",
        )
        .when(is_advertisement),
    ],
);

static UDP: [Field; 5] = all(
    Proto::Udp,
    [
        bits("udp.srcport", NUMBER, 0, 16, "source"),
        bits("udp.dstport", NUMBER, 16, 16, "destination"),
        bits("udp.length", NUMBER, 32, 16, "length from the header on"),
        bits("udp.checksum", HEX4, 48, 16, "0 if there is none"),
        either(
            "udp.port",
            NUMBER,
            ["udp.srcport", "udp.dstport"],
            "either port",
        ),
    ],
);

static TCP: [Field; 21] = all(
    Proto::Tcp,
    [
        bits("tcp.srcport", NUMBER, 0, 16, "source"),
        bits("tcp.dstport", NUMBER, 16, 16, "destination"),
        bits(
            "tcp.seq",
            NUMBER,
            32,
            32,
            "sequence number as it is sent (Wireshark counts from the first it saw)",
        ),
        bits(
            "tcp.ack",
            NUMBER,
            64,
            32,
            "acknowledgment number as it is sent",
        ),
        bits("tcp.seq_raw", NUMBER, 32, 32, "the same as tcp.seq").hidden(),
        bits("tcp.ack_raw", NUMBER, 64, 32, "the same as tcp.ack").hidden(),
        bits(
            "tcp.hdr_len",
            WORDS,
            96,
            4,
            "length of the header, in bytes",
        ),
        bits(
            "tcp.flags",
            Kind::Flags,
            100,
            12,
            "flags: SYN,ACK or SA or a number",
        ),
        bits(
            "tcp.flags.cwr",
            Kind::Bool,
            104,
            1,
            "congestion window reduced",
        )
        .hidden(),
        bits("tcp.flags.ece", Kind::Bool, 105, 1, "ECN echo").hidden(),
        bits("tcp.flags.urg", Kind::Bool, 106, 1, "urgent").hidden(),
        bits("tcp.flags.ack", Kind::Bool, 107, 1, "acknowledgment").hidden(),
        bits("tcp.flags.push", Kind::Bool, 108, 1, "push").hidden(),
        bits("tcp.flags.reset", Kind::Bool, 109, 1, "reset").hidden(),
        bits("tcp.flags.syn", Kind::Bool, 110, 1, "begin").hidden(),
        bits("tcp.flags.fin", Kind::Bool, 111, 1, "end").hidden(),
        bits(
            "tcp.window_size",
            NUMBER,
            112,
            16,
            "window as it is sent, not scaled",
        ),
        bits(
            "tcp.window_size_value",
            NUMBER,
            112,
            16,
            "the same as tcp.window_size",
        )
        .hidden(),
        bits("tcp.checksum", HEX4, 128, 16, "of the segment"),
        field(
            "tcp.options",
            Kind::Bytes,
            Place::HeaderFrom(20),
            "options, as they are",
        ),
        either(
            "tcp.port",
            NUMBER,
            ["tcp.srcport", "tcp.dstport"],
            "either port",
        ),
    ],
);

const RECORDS: Kind = Kind::Named(
    0,
    &[
        ("A", 1),
        ("NS", 2),
        ("CNAME", 5),
        ("PTR", 12),
        ("MX", 15),
        ("TXT", 16),
        ("AAAA", 28),
    ],
);

static DNS: [Field; 18] = all(
    Proto::Dns,
    [
        bits("dns.id", HEX4, 0, 16, "which question"),
        bits("dns.flags", HEX4, 16, 16, "flags").hidden(),
        bits("dns.flags.response", Kind::Bool, 16, 1, "is it an answer"),
        bits("dns.flags.opcode", NUMBER, 17, 4, "what is asked for"),
        bits(
            "dns.flags.authoritative",
            Kind::Bool,
            21,
            1,
            "authoritative",
        ),
        bits("dns.flags.truncated", Kind::Bool, 22, 1, "truncated"),
        bits(
            "dns.flags.recdesired",
            Kind::Bool,
            23,
            1,
            "recursion desired",
        ),
        bits(
            "dns.flags.recavail",
            Kind::Bool,
            24,
            1,
            "recursion available",
        ),
        bits("dns.flags.rcode", NUMBER, 28, 4, "0 or an error"),
        bits("dns.count.queries", NUMBER, 32, 16, "questions"),
        bits("dns.count.answers", NUMBER, 48, 16, "answers"),
        bits("dns.count.auth_rr", NUMBER, 64, 16, "name servers").hidden(),
        bits("dns.count.add_rr", NUMBER, 80, 16, "further records").hidden(),
        field(
            "dns.qry.name",
            Kind::Name,
            Place::Dns(Record::QueryName),
            "the name that is asked for",
        ),
        field(
            "dns.qry.type",
            RECORDS,
            Place::Dns(Record::QueryType),
            "the type that is asked for",
        ),
        field(
            "dns.a",
            Kind::Ipv4,
            Place::Dns(Record::A),
            "addresses that are answered; a list makes several",
        ),
        field(
            "dns.aaaa",
            Kind::Ipv6,
            Place::Dns(Record::Aaaa),
            "IPv6 addresses that are answered",
        ),
        field(
            "dns.resp.ttl",
            NUMBER,
            Place::Dns(Record::Ttl),
            "for how many seconds answers hold",
        ),
    ],
);

static DATA: [Field; 4] = all(
    Proto::Data,
    [
        field(
            "data",
            Kind::Text,
            Place::Payload,
            "what follows the last header, as text",
        ),
        field("data.hex", Kind::Bytes, Place::Payload, "the same in hex").hidden(),
        field(
            "data.data",
            Kind::Bytes,
            Place::Payload,
            "the same, by Wireshark's name",
        )
        .hidden(),
        field(
            "data.len",
            NUMBER,
            Place::PayloadLen,
            "its length; when a frame is made, zeroes fill it up",
        ),
    ],
);

static ALL: [&[Field]; 12] = [
    &FRAME, &ETH, &VLAN, &ARP, &IP, &IPV6, &ICMP, &ICMPV6, &UDP, &TCP, &DNS, &DATA,
];

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
