//! The rows of the table.

use super::{Field, PROTOS, Place, Proto, Record};
use crate::kind::Kind;

impl Field {
    const fn hidden(mut self) -> Self {
        self.is_shown = false;
        self
    }

    /// Only headers that are so have it.
    const fn when(mut self, is_so: fn(&[u8]) -> bool) -> Self {
        self.when = Some(is_so);
        self
    }
}

const fn bits(at: usize, len: usize) -> Place {
    Place::Bits { at, len }
}

/// Is it a length that stands where Ethernet has its type?
fn is_length(eth: &[u8]) -> bool {
    matches!(eth.get(12..14), Some(bytes) if bytes <= &[0x05, 0xdc])
}

/// Is it a message of ICMP of one of these types?
fn kind_is(message: &[u8], of: &[u8]) -> bool {
    message.first().is_some_and(|kind| of.contains(kind))
}

/// Echo, timestamps, and what there once was.
fn has_ident(icmp: &[u8]) -> bool {
    kind_is(icmp, &[0, 8, 13, 14, 15, 16, 17, 18])
}

fn is_echo6(icmp: &[u8]) -> bool {
    kind_is(icmp, &[128, 129])
}

fn is_solicitation(icmp: &[u8]) -> bool {
    kind_is(icmp, &[135])
}

fn is_advertisement(icmp: &[u8]) -> bool {
    kind_is(icmp, &[136])
}

fn is_response(dns: &[u8]) -> bool {
    matches!(dns.get(2), Some(flags) if flags & 0x80 != 0)
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

/// Wireshark's numbers and names for what is known of a checksum.
const STATUS: Kind = Kind::Named(
    0,
    &[
        ("Bad", 0),
        ("Good", 1),
        ("Unverified", 2),
        ("Not present", 3),
        ("Illegal", 4),
    ],
);

const OPCODE: Kind = Kind::Named(0, &[("request", 1), ("reply", 2)]);

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

/// Rows of the table: name, kind, place, further properties, words.
macro_rules! table {
    ($($proto:ident {
        $($name:literal $kind:expr, $place:expr $(, $more:ident $(($arg:expr))?)* => $what:literal;)*
    })*) => {
        pub static ALL: [&[Field]; PROTOS.len()] = [$(&[$(
            Field {
                name: $name,
                proto: Proto::$proto,
                kind: $kind,
                place: $place,
                is_shown: true,
                when: None,
                what: $what,
            }$(.$more($($arg)?))*
        ),*]),*];
    };
}

table! {
    Frame {
        "frame.len" NUMBER, Place::FrameLen => "length without checksum; pads with zeroes";
    }
    Eth {
        "eth.dst" Kind::Mac, bits(0, 48) => "destination";
        "eth.src" Kind::Mac, bits(48, 48) => "source";
        "eth.type" ETHER, bits(96, 16), when(|eth| !is_length(eth)) => "type";
        "eth.len" NUMBER, bits(96, 16), when(is_length) => "length, where there is no type";
        "eth.addr" Kind::Mac, Place::Either(["eth.dst", "eth.src"]), hidden => "either address";
    }
    Vlan {
        "vlan.priority" NUMBER, bits(0, 3) => "priority";
        "vlan.dei" Kind::Bool, bits(3, 1) => "may be dropped";
        "vlan.id" NUMBER, bits(4, 12) => "VLAN";
        "vlan.etype" ETHER, bits(16, 16) => "type of what follows";
    }
    Arp {
        "arp.hw.type" NUMBER, bits(0, 16) => "type of hardware, 1";
        "arp.proto.type" ETHER, bits(16, 16) => "type of protocol, 0x0800";
        "arp.hw.size" NUMBER, bits(32, 8) => "length of MAC addresses, 6";
        "arp.proto.size" NUMBER, bits(40, 8) => "length of IP addresses, 4";
        "arp.opcode" OPCODE, bits(48, 16) => "what is asked or answered";
        "arp.src.hw_mac" Kind::Mac, bits(64, 48) => "sender";
        "arp.src.proto_ipv4" Kind::Ipv4, bits(112, 32) => "sender";
        "arp.dst.hw_mac" Kind::Mac, bits(144, 48) => "target";
        "arp.dst.proto_ipv4" Kind::Ipv4, bits(192, 32) => "target";
    }
    Ip {
        "ip.version" NUMBER, bits(0, 4) => "4";
        "ip.hdr_len" WORDS, bits(4, 4) => "length of the header, in bytes";
        "ip.dsfield" HEX2, bits(8, 8) => "differentiated services";
        "ip.dsfield.dscp" NUMBER, bits(8, 6), hidden => "code point";
        "ip.dsfield.ecn" NUMBER, bits(14, 2), hidden => "congestion";
        "ip.len" NUMBER, bits(16, 16) => "length from the header on";
        "ip.id" HEX4, bits(32, 16) => "identification";
        "ip.flags.df" Kind::Bool, bits(49, 1) => "don't fragment";
        "ip.flags.mf" Kind::Bool, bits(50, 1) => "more fragments follow";
        "ip.frag_offset" Kind::Number, bits(51, 13) => "where the fragment belongs, in units of 8 bytes";
        "ip.ttl" NUMBER, bits(64, 8) => "time to live";
        "ip.proto" IP_PROTO, bits(72, 8) => "protocol";
        "ip.checksum" HEX4, bits(80, 16) => "of the header";
        "ip.checksum.status" STATUS, Place::Sum, hidden => "is it right";
        "ip.src" Kind::Ipv4, bits(96, 32) => "source";
        "ip.dst" Kind::Ipv4, bits(128, 32) => "destination";
        "ip.options" Kind::Bytes, Place::HeaderFrom(20) => "options (a name of ours)";
        "ip.addr" Kind::Ipv4, Place::Either(["ip.src", "ip.dst"]), hidden => "either address";
    }
    Ipv6 {
        "ipv6.version" NUMBER, bits(0, 4) => "6";
        "ipv6.tclass" HEX2, bits(4, 8) => "traffic class";
        "ipv6.flow" Kind::Hex(5), bits(12, 20) => "flow label";
        "ipv6.plen" NUMBER, bits(32, 16) => "length of what follows the header";
        "ipv6.nxt" IP_PROTO, bits(48, 8) => "what follows";
        "ipv6.hlim" NUMBER, bits(56, 8) => "hop limit";
        "ipv6.src" Kind::Ipv6, bits(64, 128) => "source";
        "ipv6.dst" Kind::Ipv6, bits(192, 128) => "destination";
        "ipv6.addr" Kind::Ipv6, Place::Either(["ipv6.src", "ipv6.dst"]), hidden => "either address";
    }
    Icmp {
        "icmp.type" NUMBER, bits(0, 8) => "type";
        "icmp.code" NUMBER, bits(8, 8) => "code";
        "icmp.checksum" HEX4, bits(16, 16) => "of the message";
        "icmp.checksum.status" STATUS, Place::Sum, hidden => "is it right";
        "icmp.ident" NUMBER, bits(32, 16), when(has_ident) => "whose, in echo messages";
        "icmp.seq" NUMBER, bits(48, 16), when(has_ident) => "which, in echo messages";
        "icmp.mtu" NUMBER, bits(48, 16), when(|icmp| icmp.starts_with(&[3, 4])) => "in \"fragmentation needed\"";
        "icmp.redir_gw" Kind::Ipv4, bits(32, 32), when(|icmp| kind_is(icmp, &[5])) => "in redirects";
    }
    Icmpv6 {
        "icmpv6.type" NUMBER, bits(0, 8) => "type";
        "icmpv6.code" NUMBER, bits(8, 8) => "code";
        "icmpv6.checksum" HEX4, bits(16, 16) => "of the message";
        "icmpv6.checksum.status" STATUS, Place::Sum, hidden => "is it right";
        "icmpv6.echo.identifier" HEX4, bits(32, 16), when(is_echo6) => "whose, in echo messages";
        "icmpv6.echo.sequence_number" NUMBER, bits(48, 16), when(is_echo6) => "which, in echo messages";
        "icmpv6.mtu" NUMBER, bits(32, 32), when(|icmp| kind_is(icmp, &[2])) => "in \"packet too big\"";
        "icmpv6.nd.ns.target_address" Kind::Ipv6, bits(64, 128), when(is_solicitation) => "in solicitations";
        "icmpv6.nd.na.target_address" Kind::Ipv6, bits(64, 128), when(is_advertisement) => "in advertisements";
    }
    Udp {
        "udp.srcport" NUMBER, bits(0, 16) => "source";
        "udp.dstport" NUMBER, bits(16, 16) => "destination";
        "udp.length" NUMBER, bits(32, 16) => "length from the header on";
        "udp.checksum" HEX4, bits(48, 16) => "0 if there is none";
        "udp.checksum.status" STATUS, Place::Sum, hidden => "is it right";
        "udp.port" NUMBER, Place::Either(["udp.srcport", "udp.dstport"]), hidden => "either port";
    }
    Tcp {
        "tcp.srcport" NUMBER, bits(0, 16) => "source";
        "tcp.dstport" NUMBER, bits(16, 16) => "destination";
        "tcp.seq" NUMBER, bits(32, 32) => "sequence number, as it is sent";
        "tcp.ack" NUMBER, bits(64, 32) => "acknowledgment number, as it is sent";
        "tcp.seq_raw" NUMBER, bits(32, 32), hidden => "the same as tcp.seq";
        "tcp.ack_raw" NUMBER, bits(64, 32), hidden => "the same as tcp.ack";
        "tcp.hdr_len" WORDS, bits(96, 4) => "length of the header, in bytes";
        "tcp.flags" Kind::Flags, bits(100, 12) => "flags";
        "tcp.flags.cwr" Kind::Bool, bits(104, 1), hidden => "congestion window reduced";
        "tcp.flags.ece" Kind::Bool, bits(105, 1), hidden => "ECN echo";
        "tcp.flags.urg" Kind::Bool, bits(106, 1), hidden => "urgent";
        "tcp.flags.ack" Kind::Bool, bits(107, 1), hidden => "acknowledgment";
        "tcp.flags.push" Kind::Bool, bits(108, 1), hidden => "push";
        "tcp.flags.reset" Kind::Bool, bits(109, 1), hidden => "reset";
        "tcp.flags.syn" Kind::Bool, bits(110, 1), hidden => "begin";
        "tcp.flags.fin" Kind::Bool, bits(111, 1), hidden => "end";
        "tcp.window_size" NUMBER, bits(112, 16) => "window, as it is sent";
        "tcp.window_size_value" NUMBER, bits(112, 16), hidden => "the same as tcp.window_size";
        "tcp.checksum" HEX4, bits(128, 16) => "of the segment";
        "tcp.checksum.status" STATUS, Place::Sum, hidden => "is it right";
        "tcp.options" Kind::Bytes, Place::HeaderFrom(20) => "options";
        "tcp.port" NUMBER, Place::Either(["tcp.srcport", "tcp.dstport"]), hidden => "either port";
    }
    Dns {
        "dns.id" HEX4, bits(0, 16) => "which question";
        "dns.flags" HEX4, bits(16, 16), hidden => "flags";
        "dns.flags.response" Kind::Bool, bits(16, 1) => "is it an answer";
        "dns.flags.opcode" NUMBER, bits(17, 4) => "what is asked for";
        "dns.flags.authoritative" Kind::Bool, bits(21, 1), when(is_response) => "authoritative";
        "dns.flags.truncated" Kind::Bool, bits(22, 1) => "truncated";
        "dns.flags.recdesired" Kind::Bool, bits(23, 1) => "recursion desired";
        "dns.flags.recavail" Kind::Bool, bits(24, 1), when(is_response) => "recursion available";
        "dns.flags.rcode" NUMBER, bits(28, 4), when(is_response) => "0 or an error";
        "dns.count.queries" NUMBER, bits(32, 16) => "questions";
        "dns.count.answers" NUMBER, bits(48, 16) => "answers";
        "dns.count.auth_rr" NUMBER, bits(64, 16), hidden => "name servers";
        "dns.count.add_rr" NUMBER, bits(80, 16), hidden => "further records";
        "dns.qry.name" Kind::Name, Place::Dns(Record::QueryName) => "the name that is asked for";
        "dns.qry.type" RECORDS, Place::Dns(Record::QueryType) => "the type that is asked for";
        "dns.a" Kind::Ipv4, Place::Dns(Record::A) => "addresses that are answered; a list makes several";
        "dns.aaaa" Kind::Ipv6, Place::Dns(Record::Aaaa) => "IPv6 addresses that are answered";
        "dns.resp.ttl" NUMBER, Place::Dns(Record::Ttl) => "for how many seconds answers hold";
    }
    Data {
        "data" Kind::Text, Place::Payload => "what follows the last header, as text; in filters: its bytes";
        "data.hex" Kind::Bytes, Place::Payload, hidden => "the same in hex (a name of ours)";
        "data.data" Kind::Bytes, Place::Payload, hidden => "the same, by Wireshark's name";
        "data.len" NUMBER, Place::PayloadLen => "its length; when a frame is made, zeroes fill it up";
    }
}
