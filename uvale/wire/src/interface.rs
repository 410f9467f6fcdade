//! What the system says about its network interfaces.
//!
//! | file | what |
//! |---|---|
//! | `interface/sys.rs` | the same from `/sys`, where a sandbox has no netlink |
//! | `interface/ethtool.rs` | queues and slots as its driver has them |
//! | `interface/route.rs` | which of them the default route leads through |
//! | `interface/watch.rs` | what becomes of it, for somebody who stands elsewhere |
//!
//! The network namespace that counts is the caller's, as for netmap: netlink answers for that one.

mod ethtool;
mod route;
mod sys;
mod watch;

use rustix::fd::AsFd;
use rustix::io::Errno;
use uvale_request::{Interface, Peer};
use uvale_system::sys::option;

use crate::netlink::{Answer, Attributes, DUMP, Message, Socket, Subject};

pub use route::carries_default_route;
pub use watch::{News, Watch, are_peers};

/// Numbers of `linux/rtnetlink.h`.
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWQDISC: u16 = 36;
const RTM_GETQDISC: u16 = 38;
/// Bytes of `struct ifinfomsg`, and where in it type, number and flags are.
const IFINFO: usize = 16;
const IFI_TYPE: usize = 2;
const IFI_INDEX: usize = 4;
const IFI_FLAGS: usize = 8;
/// Bytes of `struct tcmsg`, and where in it the interface's number is.
const TCMSG: usize = 20;
const TCM_INDEX: usize = 4;
const TCA_KIND: u16 = 1;

/// Attributes of an interface (`linux/if_link.h`).
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_QDISC: u16 = 6;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 8;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;

const IFF_UP: u32 = 1;
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;

/// `SO_NETNS_COOKIE` of `asm-generic/socket.h`.
const SO_NETNS_COOKIE: i32 = 71;

/// What a person is told of an interface that is down.
pub const DOWN: &str =
    "the interface is down: nothing arrives and what is sent is lost until it is up (ip link set)";

/// Looks an interface up; `None` if there is none of that name.
pub fn look_up(name: &[u8]) -> Option<Interface> {
    let plausible = !name.is_empty()
        && name.len() < nm_abi::IFNAMSIZ
        && name != b"."
        && name != b".."
        && !name.iter().any(|c| b"/:{}".contains(c));
    if !plausible {
        return None;
    }
    let by_name = |m: Message| m.attribute(IFLA_IFNAME, &[name, &[0]].concat());
    let netns = || sys::inode("/proc/thread-self/ns/net");
    let socket = Socket::open(Subject::Route);
    let asked = socket.and_then(|socket| ask(&socket, &[0; IFINFO], by_name, netns));
    match asked {
        Ok(interface) => interface,
        // A sandbox without netlink: what /sys shows is the best there is.
        Err(_) => sys::look_up(name, netns().unwrap_or(0)),
    }
}

/// Cookie of the network namespace that this thread stands in; 0: the kernel does not tell.
pub fn own_namespace() -> u64 {
    let socket = Socket::open(Subject::Route).ok();
    let cookie = socket.and_then(|socket| cookie(socket.fd()));
    cookie
        .or_else(|| sys::inode("/proc/thread-self/ns/net"))
        .unwrap_or(0)
}

/// Asks for one interface; `None` if it is not there.
fn ask(
    socket: &Socket,
    family: &[u8; IFINFO],
    which: impl FnOnce(Message) -> Message,
    netns: impl FnOnce() -> Option<u64>,
) -> Result<Option<Interface>, Errno> {
    let question = Message::new(RTM_GETLINK, 0, family);
    let question = which(question).number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    let answers = match socket.ask(question) {
        Ok(answers) => answers,
        Err(failure) if failure.errno == Errno::NODEV => return Ok(None),
        Err(failure) => return Err(failure.errno),
    };
    let link = answers.iter().find(|a| a.kind == RTM_NEWLINK);
    let mut interface = link.and_then(describe).ok_or(Errno::PROTO)?;
    interface.netns = cookie(socket.fd()).or_else(netns).unwrap_or(0);
    let name = link.and_then(|l| l.attributes(IFINFO).find(IFLA_IFNAME));
    if let Some(name) = name {
        ethtool::refine(socket.fd(), name.text(), &mut interface);
    }
    if interface.peer.is_some() {
        let filters = filters(socket, interface.index);
        interface.in_the_way.extend(filters);
    }
    Ok(Some(interface))
}

/// What a message says of an interface.
fn describe(link: &Answer) -> Option<Interface> {
    let family = link.family(IFINFO)?;
    let attributes = link.attributes(IFINFO);
    let number = |kind| attributes.find(kind).and_then(|a| a.number());
    let queues = |kind| number(kind).map_or(1, |n| u16::try_from(n).unwrap_or(u16::MAX).max(1));
    let hardware = u16::from_ne_bytes(*family[IFI_TYPE..].first_chunk()?);
    let address = attributes.find(IFLA_ADDRESS);
    Some(Interface {
        netns: 0,
        index: word(family, IFI_INDEX)?,
        mtu: number(IFLA_MTU)?,
        tx_queues: queues(IFLA_NUM_TX_QUEUES),
        rx_queues: queues(IFLA_NUM_RX_QUEUES),
        tx_slots: 0,
        rx_slots: 0,
        address: address
            .and_then(|a| a.value.try_into().ok())
            .unwrap_or_default(),
        is_up: word(family, IFI_FLAGS)? & IFF_UP != 0,
        is_ethernet: [ARPHRD_ETHER, ARPHRD_LOOPBACK].contains(&hardware),
        has_master: number(IFLA_MASTER).is_some(),
        peer: peer(attributes),
        in_the_way: in_the_way(attributes),
    })
}

/// The word at `at` of a structure.
fn word(family: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*family.get(at..)?.first_chunk()?))
}

/// The other end, if it is a veth.
fn peer(attributes: Attributes<'_>) -> Option<Peer> {
    let info = attributes.find(IFLA_LINKINFO)?.nested();
    if info.find(IFLA_INFO_KIND)?.text() != b"veth" {
        return None;
    }
    let nsid = attributes.find(IFLA_LINK_NETNSID);
    Some(Peer {
        index: attributes.find(IFLA_LINK)?.number()?,
        nsid: nsid.and_then(|id| id.number()).map(|id| id as i32),
    })
}

/// What of an interface packets would bypass, as far as the interface itself says.
fn in_the_way(attributes: Attributes<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let qdisc = attributes.find(IFLA_QDISC).map_or(&b""[..], |a| a.text());
    if !matches!(qdisc, b"" | b"noqueue" | b"noop") {
        found.push(format!("qdisc {}", String::from_utf8_lossy(qdisc)));
    }
    let xdp = attributes.find(IFLA_XDP);
    let attached = xdp.and_then(|x| x.nested().find(IFLA_XDP_ATTACHED));
    if attached.is_some_and(|a| a.value.iter().any(|mode| *mode != 0)) {
        found.push("an XDP program".to_owned());
    }
    if attributes.find(IFLA_MASTER).is_some() {
        found.push("a bridge, bond or the like that it is a port of".to_owned());
    }
    found
}

/// What carries filters on interface `index`.
pub(crate) fn filters(socket: &Socket, index: u32) -> Vec<String> {
    let question = Message::new(RTM_GETQDISC, DUMP, &[0; TCMSG]);
    let of_it = |a: &Answer| {
        let family = a.family(TCMSG)?;
        let kind = a.attributes(TCMSG).find(TCA_KIND)?.text();
        let is_of_it = a.kind == RTM_NEWQDISC && word(family, TCM_INDEX)? == index;
        let holds_filters = matches!(kind, b"clsact" | b"ingress");
        let kind = String::from_utf8_lossy(kind);
        (is_of_it && holds_filters).then(|| format!("filters (qdisc {kind})"))
    };
    match socket.ask(question) {
        Ok(all) => all.iter().filter_map(of_it).collect(),
        Err(failure) => vec![format!("filters that cannot be asked for: {failure}")],
    }
}

/// Cookie of the network namespace of a socket (Linux 5.14).
fn cookie(socket: impl AsFd) -> Option<u64> {
    let mut bytes = [0; 8];
    let len = option(socket, libc::SOL_SOCKET, SO_NETNS_COOKIE, &mut bytes).ok()?;
    (len == bytes.len()).then(|| u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_there_and_nonsense_is_not() {
        let lo = look_up(b"lo").expect("every namespace has one");
        assert!(lo.mtu > 0 && lo.tx_queues > 0 && lo.rx_queues > 0);
        assert!(lo.index > 0 && lo.netns > 0 && lo.is_ethernet && lo.peer.is_none());
        let shown = sys::look_up(b"lo", lo.netns).expect("/sys has it, too");
        assert_eq!((shown.mtu, shown.is_up), (lo.mtu, lo.is_up));
        assert!(shown.is_ethernet && shown.tx_queues > 0);
        for name in [
            &b"nosuchif"[..],
            b"",
            b"..",
            b"a/b",
            b"lo:1",
            b"sixteencharacter",
        ] {
            assert_eq!(look_up(name), None, "{}", String::from_utf8_lossy(name));
        }
        assert_eq!(sys::look_up(b"nosuchif", 1), None);
    }
}
