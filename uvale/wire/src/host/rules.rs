//! nftables: what a port keeps from the host's stack, and what it takes from it.
//!
//! All rules of a port are one table, which the kernel removes when its netlink socket is closed. Of nftables' chains
//! its are the first that sees what arrives at the interface, behind packet sockets, tcx and a qdisc's filters, and the
//! last that sees what leaves by it, before tcx and a qdisc, what packet sockets send too. Two marks tell packets
//! apart: the port's own are those that it sends, to the host or by the interface; the host's are those that the host
//! sends.

use crate::netlink::Message;

/// A request, and what a kernel that refuses it lacks.
pub(super) type Step = (Message, &'static str);

/// What is wanted of the rules.
pub(super) struct Rules<'a> {
    /// number of the interface, for the table's name
    pub index: u32,
    /// its name
    pub device: &'a str,
    /// its address
    pub address: [u8; 6],
    /// the port's own mark
    pub mark: u32,
    /// the port may send to the host
    pub host: bool,
    /// the host does not see what arrives
    pub steal: bool,
    /// what the host sends goes to this device
    pub divert: Option<u32>,
}

/// The mark of what the host sends.
pub(super) fn of_the_host(mark: u32) -> u32 {
    mark ^ 1
}

/// Message types of `linux/netfilter/nf_tables.h`, in their subsystem, and `struct nfgenmsg`.
const NEWTABLE: u16 = 10 << 8;
const DELTABLE: u16 = NEWTABLE | 2;
const NEWCHAIN: u16 = NEWTABLE | 3;
const NEWRULE: u16 = NEWTABLE | 6;
const NFPROTO_NETDEV: u8 = 5;
const FAMILY: [u8; 4] = [NFPROTO_NETDEV, 0, 0, 0];
const OWNER: u32 = 2;

pub(super) const NO_TABLES: &str = "tables of devices that die with their owner (Linux 5.12, CONFIG_NF_TABLES, \
                         CONFIG_NF_TABLES_NETDEV; module nf_tables)";
const NO_INGRESS: &str =
    "nftables' ingress hook of devices (CONFIG_NETFILTER_INGRESS, CONFIG_NF_TABLES_NETDEV)";
const NO_EGRESS: &str = "nftables' egress hook of devices (Linux 5.16, CONFIG_NETFILTER_EGRESS)";
const NO_RULE: &str = "nftables' rules on marks and kinds of packets";
const NO_FORWARD: &str = "nftables' fwd (CONFIG_NFT_FWD_NETDEV; module nft_fwd_netdev)";

/// Hooks of a device.
#[derive(Clone, Copy)]
enum Hook {
    Ingress,
    Egress,
}

impl Hook {
    fn chain(self) -> &'static str {
        match self {
            Hook::Ingress => "arrives",
            Hook::Egress => "leaves",
        }
    }
}

impl Rules<'_> {
    /// Replaces the table by one with these rules.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = vec![
            self.table(NEWTABLE),
            self.table(DELTABLE),
            self.table(NEWTABLE),
        ];
        if self.steal || self.host {
            steps.push(self.chain(Hook::Ingress, i32::MIN, NO_INGRESS));
            for arriving in self.arriving() {
                steps.push(self.rule(Hook::Ingress, arriving, NO_RULE));
            }
        }
        if let Some(tap) = self.divert {
            steps.push(self.chain(Hook::Egress, i32::MAX, NO_EGRESS));
            let own = [
                marked(self.mark).to_vec(),
                set_mark(0),
                vec![verdict(ACCEPT)],
            ]
            .concat();
            steps.push(self.rule(Hook::Egress, own, NO_RULE));
            let hosts = [set_mark(of_the_host(self.mark)), forward(tap)].concat();
            steps.push(self.rule(Hook::Egress, hosts, NO_FORWARD));
        }
        steps
    }

    /// What the port sends to the host goes up without its mark, and as what it would be had it arrived here: a
    /// packet socket says of all that it sends that it is for this host. All else, which is most, is dropped by the
    /// first rule.
    fn arriving(&self) -> Vec<Vec<Expression>> {
        let kind = |which: Vec<Expression>, kind| {
            [marked(self.mark).to_vec(), which, set_kind(kind)].concat()
        };
        let other = [is_group(false), destination(NEQ, self.address)].concat();
        let up = [
            marked(self.mark).to_vec(),
            set_mark(0),
            vec![verdict(ACCEPT)],
        ]
        .concat();
        let rules = [
            kind(other, PACKET_OTHERHOST),
            kind(is_group(true), PACKET_MULTICAST),
            kind(destination(EQ, [0xff; 6]), PACKET_BROADCAST),
            up,
        ];
        let [load, _] = marked(self.mark);
        let is_not_own = compare(NEQ, &self.mark.to_ne_bytes());
        let dropped = self.steal.then(|| vec![load, is_not_own, verdict(DROP)]);
        dropped.into_iter().chain(rules).collect()
    }

    fn name(&self) -> String {
        format!("uvale-{}-{:x}", self.index, self.mark)
    }

    fn table(&self, kind: u16) -> Step {
        let message = Message::new(kind, 0, &FAMILY)
            .text(1, &self.name())
            .be32(2, OWNER);
        (message, NO_TABLES)
    }

    fn chain(&self, hook: Hook, priority: i32, lacks: &'static str) -> Step {
        let message = Message::new(NEWCHAIN, crate::netlink::CREATE, &FAMILY)
            .text(1, &self.name())
            .text(3, hook.chain())
            .nest(4, |m| {
                m.be32(1, hook as u32)
                    .be32(2, priority as u32)
                    .text(3, self.device)
            })
            .be32(5, ACCEPT)
            .text(7, "filter");
        (message, lacks)
    }

    fn rule(&self, hook: Hook, expressions: Vec<Expression>, lacks: &'static str) -> Step {
        let flags = crate::netlink::CREATE | crate::netlink::APPEND;
        let message = Message::new(NEWRULE, flags, &FAMILY)
            .text(1, &self.name())
            .text(2, hook.chain())
            .nest(4, |m| expressions.into_iter().fold(m, |m, e| e.append(m)));
        (message, lacks)
    }
}

/// An expression: its name and its numbers, by attribute.
#[derive(Clone)]
struct Expression {
    name: &'static str,
    values: Vec<(u16, Value)>,
}

#[derive(Clone)]
enum Value {
    Number(u32),
    Bytes(Vec<u8>),
    Verdict(u32),
}

impl Expression {
    fn append(self, message: Message) -> Message {
        message.nest(1, |m| {
            m.text(1, self.name).nest(2, |m| {
                self.values.into_iter().fold(m, |m, (kind, v)| match v {
                    Value::Number(n) => m.be32(kind, n),
                    Value::Bytes(bytes) => m.nest(kind, |m| m.attribute(1, &bytes)),
                    Value::Verdict(code) => m.nest(kind, |m| m.nest(2, |m| m.be32(1, code))),
                })
            })
        })
    }
}

fn expression(name: &'static str, values: impl Into<Vec<(u16, Value)>>) -> Expression {
    let values = values.into();
    Expression { name, values }
}

/// The register that all expressions use, and that of verdicts.
const REGISTER: Value = Value::Number(1);
const VERDICT: Value = Value::Number(0);
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
const EQ: u32 = 0;
const NEQ: u32 = 1;
const META_MARK: u32 = 3;
const META_PKTTYPE: u32 = 19;
/// `linux/if_packet.h`
const PACKET_BROADCAST: u8 = 1;
const PACKET_MULTICAST: u8 = 2;
const PACKET_OTHERHOST: u8 = 3;

fn marked(mark: u32) -> [Expression; 2] {
    let load = expression("meta", [(1, REGISTER), (2, Value::Number(META_MARK))]);
    [load, compare(EQ, &mark.to_ne_bytes())]
}

fn set_mark(mark: u32) -> Vec<Expression> {
    set_meta(META_MARK, &mark.to_ne_bytes())
}

fn set_kind(kind: u8) -> Vec<Expression> {
    set_meta(META_PKTTYPE, &[kind])
}

fn set_meta(key: u32, value: &[u8]) -> Vec<Expression> {
    let set = expression("meta", [(3, REGISTER), (2, Value::Number(key))]);
    vec![immediate(value), set]
}

/// The destination address, compared.
fn destination(how: u32, address: [u8; 6]) -> Vec<Expression> {
    vec![load(6), compare(how, &address)]
}

/// Is the destination a group's?
fn is_group(yes: bool) -> Vec<Expression> {
    let (bit, none) = (Value::Bytes(vec![1]), Value::Bytes(vec![0]));
    let mask = [
        (1, REGISTER),
        (2, REGISTER),
        (3, Value::Number(1)),
        (4, bit),
        (5, none),
    ];
    vec![
        load(1),
        expression("bitwise", mask),
        compare(EQ, &[yes.into()]),
    ]
}

/// The first bytes of the link layer's header.
fn load(len: u32) -> Expression {
    let (base, offset) = (Value::Number(0), Value::Number(0));
    let values = [
        (1, REGISTER),
        (2, base),
        (3, offset),
        (4, Value::Number(len)),
    ];
    expression("payload", values)
}

fn compare(how: u32, value: &[u8]) -> Expression {
    let value = Value::Bytes(value.to_vec());
    expression("cmp", [(1, REGISTER), (2, Value::Number(how)), (3, value)])
}

fn immediate(value: &[u8]) -> Expression {
    let value = Value::Bytes(value.to_vec());
    expression("immediate", [(1, REGISTER), (2, value)])
}

fn verdict(code: u32) -> Expression {
    expression("immediate", [(1, VERDICT), (2, Value::Verdict(code))])
}

fn forward(device: u32) -> Vec<Expression> {
    let fwd = expression("fwd", [(1, REGISTER)]);
    vec![immediate(&device.to_ne_bytes()), fwd]
}
