//! A frame from fields.

use crate::draft::{Draft, write};
use crate::fields::{self, Given};
use crate::kind::{self, Value};
use crate::place::MOST;
use crate::shape::{DNS_PORT, Part, Shape, icmpv6_len};
use crate::sums;
use crate::table::{Proto, find};
use crate::{Fields, Wrong};

/// Makes a frame of the fields. Its layers are those whose fields are named, and those below which they need;
/// lengths, checksums and the types of what follows are computed unless they are given.
pub fn build(fields: &Fields) -> Result<Vec<u8>, Wrong> {
    let given = fields::read(fields)?;
    if let Some(any) = given.iter().find(|given| given.values.is_none()) {
        let why = "takes a value; * is for frames that are compared";
        return Err(Wrong::new(any.field.name, why));
    }
    let stack = stack(&given)?;
    let mut draft = Draft {
        frame: Vec::new(),
        shape: Shape::default(),
    };
    for proto in &stack {
        let header = template(*proto, &given);
        draft.shape.push(*proto, header.len());
        draft.frame.extend_from_slice(&header);
    }
    if stack.contains(&Proto::Dns) {
        // it is what UDP carries, whole
        if let Some(Part { at, .. }) = draft.shape.parts.last() {
            draft.shape.payload = at.clone();
        }
    }
    defaults(&mut draft, &stack, &given)?;
    fields::set(&mut draft, &given)?;
    let named = |name: &str| given.iter().any(|given| given.field.name == name);
    sums::lengths(&mut draft, &named);
    sums::fill_in(&mut draft, &sums::SUMS.map(|(proto, _)| proto), &named);
    Ok(draft.frame)
}

/// Bytes in hex, with blanks, colons or lines between them or not.
pub fn from_hex(text: &str) -> Result<Vec<u8>, Wrong> {
    let bytes = kind::hex(text).ok_or_else(|| {
        let bad = text
            .chars()
            .find(|c| !c.is_ascii_hexdigit() && !c.is_whitespace() && !":-.".contains(*c));
        Wrong::new(
            "hex",
            match bad {
                Some(c) => format!(
                    "{c:?} is no hexadecimal digit; bytes are written like 02 00 5e or 02005e"
                ),
                None => "a byte has two digits, and one has not".to_owned(),
            },
        )
    })?;
    match bytes.len() {
        0 => Err(Wrong::new("hex", "has no bytes")),
        len if len > MOST => Err(Wrong::new(
            "hex",
            format!("has {len} bytes, and a frame {MOST} at most"),
        )),
        _ => Ok(bytes),
    }
}

/// Layers of which a frame has one at most.
const NETS: [Proto; 3] = [Proto::Arp, Proto::Ip, Proto::Ipv6];
const TRANSPORTS: [Proto; 4] = [Proto::Icmp, Proto::Icmpv6, Proto::Udp, Proto::Tcp];

/// The layers of the frame, from the outside in.
fn stack(given: &[Given]) -> Result<Vec<Proto>, Wrong> {
    let of = |proto: Proto| given.iter().find(|given| given.field.proto == proto);
    let one_of = |all: &[Proto]| {
        let mut named = all.iter().filter_map(|proto| of(*proto));
        match (named.next(), named.next()) {
            (Some(one), Some(two)) => {
                let why = format!("does not go together with {}", one.field.name);
                Err(Wrong::new(two.field.name, why))
            }
            (one, _) => Ok(one.map(|given| given.field.proto)),
        }
    };
    let has_dns = of(Proto::Dns);
    let transport = one_of(&TRANSPORTS)?;
    if let (Some(dns), Some(other)) = (has_dns, transport.filter(|proto| *proto != Proto::Udp)) {
        let why = format!(
            "does not go together with {}: it is made over UDP",
            other.name()
        );
        return Err(Wrong::new(dns.field.name, why));
    }
    let is_data = |given: &&Given| given.field.proto == Proto::Data;
    if let (Some(_), Some(data)) = (has_dns, given.iter().find(is_data)) {
        return Err(Wrong::new(
            data.field.name,
            "does not go together with fields of dns",
        ));
    }
    let transport = transport.or(has_dns.map(|_| Proto::Udp));
    let net = match (one_of(&NETS)?, transport) {
        (None, Some(Proto::Icmpv6)) => Some(Proto::Ipv6),
        (None, Some(_)) => Some(Proto::Ip),
        (net, _) => net,
    };
    let fault = match (net, transport) {
        (Some(Proto::Arp), Some(_)) => Some("arp"),
        (Some(Proto::Ip), Some(Proto::Icmpv6)) => Some("ip"),
        (Some(Proto::Ipv6), Some(Proto::Icmp)) => Some("ipv6"),
        _ => None,
    };
    if let (Some(net), Some(given)) = (fault, transport.and_then(of).or(has_dns)) {
        let why = format!("does not go together with fields of {net}");
        return Err(Wrong::new(given.field.name, why));
    }
    let tags = given
        .iter()
        .filter(|given| given.field.proto == Proto::Vlan);
    let tags = tags
        .filter_map(|given| given.values.as_ref())
        .map(Vec::len)
        .max()
        .unwrap_or(0);
    if tags > MOST_TAGS {
        return Err(Wrong::new(
            "vlan.id",
            format!("a frame takes {MOST_TAGS} tags at most"),
        ));
    }
    let tags = std::iter::repeat_n(Proto::Vlan, tags);
    let above = [net, transport, has_dns.map(|_| Proto::Dns)];
    Ok([Proto::Eth]
        .into_iter()
        .chain(tags)
        .chain(above.into_iter().flatten())
        .collect())
}

/// More are not read either.
const MOST_TAGS: usize = 3;

/// A header with what it has unless something else is given.
fn template(proto: Proto, given: &[Given]) -> Vec<u8> {
    let number = |name: &str| match values(given, name) {
        [Value::Bits(n), ..] => Some(*n),
        _ => None,
    };
    match proto {
        Proto::Frame | Proto::Data => Vec::new(),
        Proto::Eth => [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1][..], &LOCAL_TYPE].concat(),
        Proto::Vlan => [&[0, 1][..], &LOCAL_TYPE].concat(),
        Proto::Arp => {
            let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
            arp.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
            arp.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
            arp
        }
        Proto::Ip => vec![
            0x45, 0, 0, 0, 0, 0, 0, 0, 64, NONE, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ],
        Proto::Ipv6 => {
            let address = |last: u8| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
            [
                &[0x60, 0, 0, 0, 0, 0, NONE6, 64][..],
                &address(1),
                &address(2),
            ]
            .concat()
        }
        Proto::Icmp => vec![8, 0, 0, 0, 0, 0, 0, 0],
        Proto::Icmpv6 => {
            let kind = number("icmpv6.type").unwrap_or(128) as u8;
            let mut icmp = vec![0; icmpv6_len(kind)];
            icmp[0] = kind;
            icmp
        }
        Proto::Udp => vec![4, 0, 4, 0, 0, 0, 0, 0],
        Proto::Tcp => {
            let flags = if !values(given, "tcp.ack").is_empty() || has_data(given) {
                0x10
            } else {
                0x02
            };
            vec![
                4, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0,
            ]
        }
        Proto::Dns => vec![0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    }
}

/// The type of what is for experiments, and the numbers of "nothing follows" or the like.
const LOCAL_TYPE: [u8; 2] = [0x88, 0xb5];
const NONE: u8 = 253;
const NONE6: u8 = 59;

/// What was given for a field.
fn values<'a>(given: &'a [Given], name: &str) -> &'a [Value] {
    let named = given.iter().find(|given| given.field.name == name);
    named
        .and_then(|given| given.values.as_deref())
        .unwrap_or_default()
}

fn has_data(given: &[Given]) -> bool {
    given.iter().any(|given| given.field.proto == Proto::Data)
}

/// Values that depend on the layers, and on each other.
fn defaults(draft: &mut Draft, stack: &[Proto], given: &[Given]) -> Result<(), Wrong> {
    let parts = draft.shape.parts.clone();
    for (index, part) in parts.iter().enumerate() {
        let next = stack.get(index + 1);
        let (at, len, value) = match (part.proto, next) {
            (Proto::Eth, Some(next)) => (96, 16, ether_type(*next)),
            (Proto::Vlan, Some(next)) => (16, 16, ether_type(*next)),
            (Proto::Ip, Some(next)) => (72, 8, ip_number(*next)),
            (Proto::Ipv6, Some(next)) => (48, 8, ip_number(*next)),
            _ => continue,
        };
        write(draft.header(&part.at), at, len, value);
    }
    let mut set = |name: &str, value: Value| match find(name) {
        Some(field) if values(given, name).is_empty() => draft.set(field, &[value]),
        _ => Ok(()),
    };
    if stack.contains(&Proto::Arp) {
        let is_request = !matches!(values(given, "arp.opcode"), [Value::Bits(n)] if *n != 1);
        if is_request {
            set("eth.dst", Value::Bits(0xffff_ffff_ffff))?;
        }
        if let [source] = values(given, "eth.src") {
            set("arp.src.hw_mac", source.clone())?;
        }
        if let ([target], false) = (values(given, "eth.dst"), is_request) {
            set("arp.dst.hw_mac", target.clone())?;
        }
    }
    if stack.contains(&Proto::Dns) {
        let is_response = match values(given, "dns.flags.response") {
            [Value::Bits(n)] => *n == 1,
            _ => ANSWERS.iter().any(|name| !values(given, name).is_empty()),
        };
        if is_response {
            set("udp.srcport", Value::Bits(DNS_PORT.into()))?;
            set("dns.flags", Value::Bits(0x8180))?;
        } else {
            set("udp.dstport", Value::Bits(DNS_PORT.into()))?;
        }
        if values(given, "dns.a").is_empty() && !values(given, "dns.aaaa").is_empty() {
            set("dns.qry.type", Value::Bits(28))?;
        }
    }
    // neighbours are asked from nearby only
    let is_neighbour = matches!(values(given, "icmpv6.type"), [Value::Bits(133..=137)]);
    if is_neighbour {
        set("ipv6.hlim", Value::Bits(255))?;
    }
    Ok(())
}

/// Fields that only an answer of DNS has.
const ANSWERS: [&str; 6] = [
    "dns.a",
    "dns.aaaa",
    "dns.resp.ttl",
    "dns.flags.authoritative",
    "dns.flags.recavail",
    "dns.flags.rcode",
];

fn ether_type(next: Proto) -> u128 {
    match next {
        Proto::Vlan => 0x8100,
        Proto::Arp => 0x806,
        Proto::Ip => 0x800,
        _ => 0x86dd,
    }
}

fn ip_number(next: Proto) -> u128 {
    match next {
        Proto::Icmp => 1,
        Proto::Tcp => 6,
        Proto::Udp => 17,
        _ => 58,
    }
}
