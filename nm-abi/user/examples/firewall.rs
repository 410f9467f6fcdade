//! A stateful firewall between two ports:  firewall [--idle=SECONDS] INSIDE OUTSIDE RULE...
//!
//! uvale run -- firewall vale0:fw vale1:fw udp/53 tcp/443@192.0.2.0/24 icmp
//!
//! A rule is PROTOCOL[/PORT][@NETWORK]: what programs inside may open outside. Answers are let in as long as their
//! connection is in use, and in its VLAN, and so are ICMP errors about it; nothing else comes in: no SYN, and no
//! question of a ping. A RST ends a connection, whatever its sequence number. Addresses are found out freely (ARP;
//! neighbor solicitations and advertisements, with hop limit 255). Routes are not: router solicitations and
//! advertisements, and redirects, are refused. So are IP fragments: only the first has ports. Checksums are not read.

mod shared {
    pub mod between;
    pub mod ending;
    pub mod flow;
    pub mod table;
}

use std::error::Error;
use std::net::IpAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant};

use etherparse::{IpNumber, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use shared::between::{Function, Verdict};
use shared::flow::Flow;
use shared::table::Table;
use shared::{between, ending};

/// More connections than this are refused, so that nobody can fill our memory.
const MOST_CONNECTIONS: usize = 65_536;
/// How long a connection may be silent, unless said otherwise.
const IDLE: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    ending::run(
        "firewall [--idle=SECONDS] INSIDE OUTSIDE [PROTOCOL[/PORT][@NETWORK]]...",
        parse,
        |(mut firewall, inside, outside)| between::run(&mut firewall, &inside, &outside),
    )
}

fn parse(mut args: &[String]) -> Result<(Firewall, String, String), Box<dyn Error>> {
    let mut idle = IDLE;
    if let Some(seconds) = args.first().and_then(|arg| arg.strip_prefix("--idle=")) {
        idle = Duration::from_secs(ending::number(seconds)?);
        args = &args[1..];
    }
    let [inside, outside, rules @ ..] = args else {
        return Err(ending::WRONG.into());
    };
    let rules = rules
        .iter()
        .map(|rule| rule.parse())
        .collect::<Result<_, _>>()?;
    Ok((Firewall::new(rules, idle), inside.clone(), outside.clone()))
}

/// What programs inside may open.
struct Rule {
    protocol: IpNumber,
    port: Option<u16>,
    network: Option<(IpAddr, u8)>,
}

impl Rule {
    fn allows(&self, flow: &Flow) -> bool {
        let to = flow.destination;
        self.protocol == flow.protocol
            && self.port.is_none_or(|port| port == to.port())
            && self
                .network
                .is_none_or(|(network, bits)| is_in(to.ip(), network, bits))
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what| format!("{text}: {what}; a rule is tcp/443, udp/53@192.0.2.0/24, icmp");
        let (what, network) = split(text, '@');
        let (protocol, port) = split(what, '/');
        let protocol = match protocol {
            "tcp" => IpNumber::TCP,
            "udp" => IpNumber::UDP,
            "icmp" => IpNumber::ICMP,
            "icmpv6" => IpNumber::IPV6_ICMP,
            _ => return Err(wrong("the protocol is none of tcp, udp, icmp and icmpv6")),
        };
        let port = port.map(str::parse).transpose();
        let network = network.map(|text| network_of(text).ok_or(())).transpose();
        Ok(Self {
            protocol,
            port: port.map_err(|_| wrong("the port is no number up to 65535"))?,
            network: network.map_err(|()| wrong("the network is not ADDRESS/BITS"))?,
        })
    }
}

/// What is before the separator, and what is behind it, if it is there.
fn split(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator)
        .map_or((text, None), |(before, behind)| (before, Some(behind)))
}

fn network_of(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse().ok()?);
    let most = if address.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some((address, bits))
}

/// Do the two addresses agree in their first bits?
fn is_in(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits.into()
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (a.to_bits() ^ b.to_bits()).leading_zeros() >= bits.into()
        }
        _ => false,
    }
}

/// The rules, and the connections that were opened by them.
struct Firewall {
    rules: Vec<Rule>,
    /// as seen from inside
    connections: Table<Flow, ()>,
}

impl Firewall {
    fn new(rules: Vec<Rule>, idle: Duration) -> Self {
        Self {
            rules,
            connections: Table::new(idle, MOST_CONNECTIONS),
        }
    }

    fn is_open(&mut self, flow: &Flow, now: Instant) -> bool {
        self.connections.get(flow, now).is_some()
    }

    fn may_open(&self, flow: &Flow, packet: &LaxSlicedPacket<'_>) -> bool {
        (is_question(packet) || matches!(packet.transport, Some(TransportSlice::Udp(_))))
            && self.rules.iter().any(|rule| rule.allows(flow))
    }

    fn forget_if_reset(&mut self, flow: &Flow, packet: &LaxSlicedPacket<'_>) {
        if matches!(&packet.transport, Some(TransportSlice::Tcp(tcp)) if tcp.rst()) {
            self.connections.remove(flow);
        }
    }
}

impl Function for Firewall {
    /// From inside: what belongs to a connection, and what may open one.
    fn forth(&mut self, head: &mut [u8], now: Instant) -> Verdict {
        let Ok(packet) = LaxSlicedPacket::from_ethernet(head) else {
            return Verdict::Drop;
        };
        if is_neighbor_discovery(&packet) {
            return Verdict::Pass;
        }
        let Some(flow) = flow_of(&packet) else {
            return Verdict::pass_if(
                quoted(&packet).is_some_and(|flow| self.is_open(&reversed(flow), now)),
            );
        };
        let may_pass = self.is_open(&flow, now) && !is_pong(&packet)
            || self.may_open(&flow, &packet) && self.connections.insert(flow, (), now).is_some();
        self.forget_if_reset(&flow, &packet);
        Verdict::pass_if(may_pass)
    }

    /// From outside: answers.
    fn back(&mut self, head: &mut [u8], now: Instant) -> Verdict {
        let Ok(packet) = LaxSlicedPacket::from_ethernet(head) else {
            return Verdict::Drop;
        };
        if is_neighbor_discovery(&packet) {
            return Verdict::Pass;
        }
        let Some(flow) = flow_of(&packet).map(reversed).or_else(|| quoted(&packet)) else {
            return Verdict::Drop;
        };
        let may_pass = !is_question(&packet) && self.is_open(&flow, now);
        self.forget_if_reset(&flow, &packet);
        Verdict::pass_if(may_pass)
    }
}

fn reversed(mut flow: Flow) -> Flow {
    std::mem::swap(&mut flow.source, &mut flow.destination);
    flow
}

/// The flow of a packet whose transport header is whole, so that its flags are known.
fn flow_of(packet: &LaxSlicedPacket<'_>) -> Option<Flow> {
    packet.transport.as_ref()?;
    Flow::of(packet)
}

/// Does it ask for a connection? It is TCP's SYN, or the question of a ping.
fn is_question(packet: &LaxSlicedPacket<'_>) -> bool {
    match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => tcp.syn() && !tcp.ack() && !tcp.rst(),
        Some(TransportSlice::Icmpv4(icmp)) => icmp.type_u8() == 8,
        Some(TransportSlice::Icmpv6(icmp)) => icmp.type_u8() == 128,
        _ => false,
    }
}

/// Is it the answer to a ping?
fn is_pong(packet: &LaxSlicedPacket<'_>) -> bool {
    match &packet.transport {
        Some(TransportSlice::Icmpv4(icmp)) => icmp.type_u8() == 0,
        Some(TransportSlice::Icmpv6(icmp)) => icmp.type_u8() == 129,
        _ => false,
    }
}

/// The flow of the packet that an ICMP error is about: it quotes the begin of that packet.
fn quoted(packet: &LaxSlicedPacket<'_>) -> Option<Flow> {
    let quote = match packet.transport.as_ref()? {
        TransportSlice::Icmpv4(icmp) if matches!(icmp.type_u8(), 3 | 11 | 12) => icmp.payload(),
        TransportSlice::Icmpv6(icmp) if matches!(icmp.type_u8(), 1..=4) => icmp.payload(),
        _ => return None,
    };
    let vlans = Flow::vlans(packet)?;
    let flow = Flow::of(&LaxSlicedPacket::from_ip(quote).ok()?)?;
    Some(Flow { vlans, ..flow })
}

/// ARP, and its successor in IPv6. A hop limit of 255 says that no router has passed it on.
fn is_neighbor_discovery(packet: &LaxSlicedPacket<'_>) -> bool {
    match (&packet.net, &packet.transport) {
        (Some(LaxNetSlice::Arp(_)), _) => true,
        (Some(LaxNetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(icmp))) => {
            matches!(icmp.type_u8(), 135 | 136) && ip.header().hop_limit() == 255
        }
        _ => false,
    }
}

#[cfg(test)]
#[path = "tests/firewall.rs"]
mod tests;
