//! A wire that leads to one interface and to no other.
//!
//! Whoever holds a packet socket may send by every interface of its network namespace, and bind it to every one, with
//! no rights at all. So the sockets of such a wire are in a namespace made for them, in which there is nothing but the
//! end of a veth pair. nftables forwards between its other end and the interface, before the host's stack and all
//! that it has bound:
//!
//! ```text
//!   new namespace            |  the interface's namespace
//!   sockets - eth1 ==== veth ==== uvhN - ingress: fwd -> eth1 -> what it is connected to
//!                            |    uvhN <- ingress: fwd - eth1 <-
//! ```
//!
//! The table belongs to a netlink socket that goes to the caller with the rest; the pair is removed with the namespace,
//! which lives as long as a socket in it. An interface that is enslaved to a bridge or has rules of tc's at ingress
//! gets its packets after those.

use rustix::fd::AsFd;
use rustix::io::Errno;
use uvale_system::refusal::Refusal;
use uvale_system::sys::{Fd, leave_network, network_of};
use uvale_wire::interface::look_up;
use uvale_wire::netlink::{self, APPEND, Answer, CREATE, EXCL, Message, Socket, Subject};
use uvale_wire::{Carrier, Opened, Wanted};

/// `linux/rtnetlink.h`, `linux/if_link.h`, `linux/veth.h`
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const IFINFO: usize = 16;
const ADDRESS: u16 = 1;
const IFNAME: u16 = 3;
const MTU: u16 = 4;
const LINK: u16 = 5;
const LINKINFO: u16 = 18;
const IFALIAS: u16 = 20;
const AF_SPEC: u16 = 26;
const NET_NS_FD: u16 = 28;
const NUM_TX_QUEUES: u16 = 31;
const NUM_RX_QUEUES: u16 = 32;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;
const INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;

/// The far end's name: the kernel puts a number in.
const FAR: &str = "uvh%d";

/// Opens a wire that leads to the interface of `wanted`. The caller of this stands in a new namespace afterwards.
pub(crate) fn open(wanted: &Wanted<'_>) -> Result<Opened, Refusal> {
    let name = wanted.name;
    let fail = |what: &str, errno, why: String| {
        let why = format!(
            "{name}: its user may not use all interfaces of that namespace, and a wire that leads to this one alone \
             cannot be made: {what}: {why}"
        );
        Refusal::new(errno, why)
    };
    let plain = |what: &'static str| move |e: Errno| fail(what, e, e.to_string());
    let told = |what: &'static str| move |e: netlink::Failure| fail(what, e.errno, e.to_string());

    let links = Socket::open(Subject::Route).map_err(plain("netlink"))?;
    let table = Socket::open(Subject::Netfilter).map_err(plain("netlink"))?;
    let here = network_of(links.fd()).map_err(plain("its namespace"))?;
    leave_network().map_err(plain("a namespace"))?;
    let inside = Socket::open(Subject::Route).map_err(plain("netlink"))?;
    inside
        .ask(pair(wanted, &here))
        .map_err(told("a veth pair"))?;
    let own = find(&inside, 0, name).map_err(told("a veth pair"))?;
    let far = find(&links, own.other, "").map_err(told("a veth pair"))?;
    for (socket, end) in [(&inside, own.index), (&links, far.index)] {
        // A kernel without IPv6 gives no addresses anyway.
        let _ = socket.ask(no_addresses(end));
        socket.ask(up(end)).map_err(told("a veth pair"))?;
    }
    let rules = rules(wanted, &far);
    table.ask_together(netlink::batch(rules)).map_err(told(
        "nftables' netdev tables with an owner, and fwd (module nft_fwd_netdev)",
    ))?;

    let interface = look_up(name.as_bytes()).ok_or(Errno::NXIO);
    let interface = interface.map_err(plain("a veth pair"))?;
    let mut opened = uvale_wire::open(&Wanted {
        interface: &interface,
        host: false,
        steal: false,
        carrier: Carrier::Packet,
        ..wanted.clone()
    })?;
    opened.shape.is_stolen = true;
    let why = "host rings carry nothing: this wire leads to one interface alone, because its user may not use all \
               interfaces of the namespace";
    opened.shape.lacks.push(why.into());
    opened.kept.push(table.into_fd());
    Ok(opened)
}

/// `struct ifinfomsg`
fn ifinfo(index: u32, flags: u32) -> Vec<u8> {
    let words = [0, index, flags, flags];
    words.into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// Makes the pair: here an end that is called as the interface and has its address, and the other one in `there`.
fn pair(wanted: &Wanted<'_>, there: &Fd) -> Message {
    use rustix::fd::AsRawFd;
    let there = there.as_fd().as_raw_fd() as u32;
    let [rx, tx] = wanted.rings;
    let sized = |m: Message, rx, tx| {
        m.number(MTU, wanted.interface.mtu)
            .number(NUM_RX_QUEUES, rx)
            .number(NUM_TX_QUEUES, tx)
    };
    let near = Message::new(RTM_NEWLINK, CREATE | EXCL, &ifinfo(0, 0)).text(IFNAME, wanted.name);
    let near = match wanted.interface.address {
        [0, 0, 0, 0, 0, 0] => near,
        address => near.attribute(ADDRESS, &address),
    };
    sized(near, rx, tx).nest(LINKINFO, |m| {
        m.text(INFO_KIND, "veth").nest(INFO_DATA, |m| {
            m.nest(VETH_PEER, |m| {
                let far = m
                    .bytes(&ifinfo(0, 0))
                    .text(IFNAME, FAR)
                    .number(NET_NS_FD, there);
                sized(far, tx, rx)
            })
        })
    })
}

/// An end of the pair.
struct End {
    index: u32,
    name: String,
    other: u32,
}

/// The interface of that number, or of that name.
fn find(socket: &Socket, index: u32, name: &str) -> Result<End, netlink::Failure> {
    let question = Message::new(RTM_GETLINK, 0, &ifinfo(index, 0));
    let question = match name {
        "" => question,
        name => question.text(IFNAME, name),
    };
    let read = |answer: &Answer| {
        let index = answer.family(IFINFO)?.get(4..8)?;
        let attributes = answer.attributes(IFINFO);
        Some(End {
            index: u32::from_ne_bytes(index.try_into().ok()?),
            name: String::from_utf8(attributes.find(IFNAME)?.text().to_vec()).ok()?,
            other: attributes.find(LINK).and_then(|a| a.number()).unwrap_or(0),
        })
    };
    let answers = socket.ask(question)?;
    let found = answers.first().and_then(read);
    found.ok_or_else(|| Errno::PROTO.into())
}

/// Nobody is to use an end as if it were an interface.
fn no_addresses(index: u32) -> Message {
    let modes = |m: Message| m.attribute(INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE]);
    let families = |m: Message| m.nest(libc::AF_INET6 as u16, modes);
    Message::new(RTM_NEWLINK, 0, &ifinfo(index, 0)).nest(AF_SPEC, families)
}

fn up(index: u32) -> Message {
    let up = ifinfo(index, (libc::IFF_UP | libc::IFF_NOARP) as u32);
    Message::new(RTM_NEWLINK, 0, &up).text(IFALIAS, "uvale: a wire of the nic-helper")
}

/// `linux/netfilter/nf_tables.h`: messages in their subsystem, `struct nfgenmsg`, flags and attributes.
const NEWTABLE: u16 = 10 << 8;
const NEWCHAIN: u16 = NEWTABLE | 3;
const NEWRULE: u16 = NEWTABLE | 6;
const NETDEV: [u8; 4] = [5, 0, 0, 0];
const OWNER: u32 = 2;
const INGRESS: u32 = 0;
const ACCEPT: u32 = 1;
const REGISTER: u32 = 1;

/// What arrives at the interface goes to the far end of the pair, and the other way.
fn rules(wanted: &Wanted<'_>, far: &End) -> Vec<Message> {
    let table = format!("uvale-{}", far.name);
    let new = Message::new(NEWTABLE, CREATE | EXCL, &NETDEV)
        .text(1, &table)
        .be32(2, OWNER);
    let ways = [
        ("arrives", wanted.name, far.index),
        ("leaves", far.name.as_str(), wanted.interface.index),
    ];
    let ways = ways.into_iter().flat_map(|(chain, from, to)| {
        let hook = |m: Message| m.be32(1, INGRESS).be32(2, i32::MIN as u32).text(3, from);
        let chained = Message::new(NEWCHAIN, CREATE, &NETDEV)
            .text(1, &table)
            .text(3, chain)
            .nest(4, hook)
            .be32(5, ACCEPT)
            .text(7, "filter");
        let rule = Message::new(NEWRULE, CREATE | APPEND, &NETDEV)
            .text(1, &table)
            .text(2, chain)
            .nest(4, |m| forward(m, to));
        [chained, rule]
    });
    [new].into_iter().chain(ways).collect()
}

/// The two expressions that send a packet out by interface `to`.
fn forward(message: Message, to: u32) -> Message {
    let value = |m: Message| m.attribute(1, &to.to_ne_bytes());
    let load = |m: Message| m.be32(1, REGISTER).nest(2, value);
    message
        .nest(1, |m| m.text(1, "immediate").nest(2, load))
        .nest(1, |m| m.text(1, "fwd").nest(2, |m| m.be32(1, REGISTER)))
}
