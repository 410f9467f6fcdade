//! The device between a port and its host: a TAP that nobody reads. What is sent on it with the port's mark arrives at
//! the interface, by a rule of tc; all else is dropped behind the packet sockets that look at it. It dies with its
//! descriptor, and the rule with it.

use rustix::io::Errno;
use uvale_system::sys::{Fd, Instruction};

use super::{Link, Why, link};
use crate::netlink::{CREATE, EXCL, Message, Socket};
use crate::tap::device::{self, Trouble};

/// The kernel puts a number in.
const NAME: &str = "uv%d";

/// A TAP as it is made.
pub(super) struct Tap {
    pub fd: Fd,
    pub index: u32,
}

/// Makes the TAP of the interface `beside`, with its address. What arrives there by way of it carries `mark`.
pub(super) fn open(links: &Socket, beside: &Link, mark: u32) -> Result<Tap, Why> {
    let (fd, name) = make()?;
    device::drop_all(&fd).map_err(|e| Why::new(e, format!("a TAP device's filter: {e}")))?;
    let question = Message::new(RTM_GETLINK, 0, &ifinfo(0, 0, 0)).text(IFNAME, &name);
    let index = link(links, question)?.index;
    configure(links, index, beside)?;
    redirect(links, index, beside.index, mark)?;
    Ok(Tap { fd, index })
}

fn make() -> Result<(Fd, String), Why> {
    device::open(NAME, 0).map_err(|trouble| match trouble {
        Trouble::NoDevice(refusal) => Why::new(refusal.errno, refusal.why),
        Trouble::Refused(Errno::PERM) => Why::rights(),
        Trouble::Refused(other) => Why::new(other, format!("a TAP device: {other}")),
    })
}

/// `linux/rtnetlink.h` and `linux/if_link.h`
pub(super) const RTM_GETLINK: u16 = 18;
/// Bytes of `struct ifinfomsg`.
pub(super) const IFINFO: usize = 16;
pub(crate) const RTM_NEWLINK: u16 = 16;
const RTM_NEWQDISC: u16 = 36;
const RTM_NEWTFILTER: u16 = 44;
pub(crate) const ADDRESS: u16 = 1;
pub(crate) const IFNAME: u16 = 3;
pub(crate) const IFLA_MTU: u16 = 4;
pub(crate) const IFALIAS: u16 = 20;
const AF_SPEC: u16 = 26;
const INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;

/// `struct ifinfomsg`
pub(crate) fn ifinfo(index: u32, flags: u32, change: u32) -> Vec<u8> {
    [0, index, flags, change]
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect()
}

/// Up, without addresses of its own: the host is not to use it.
fn configure(links: &Socket, tap: u32, beside: &Link) -> Result<(), Why> {
    let none = Message::new(RTM_NEWLINK, 0, &ifinfo(tap, 0, 0)).nest(AF_SPEC, |m| {
        m.nest(libc::AF_INET6 as u16, |m| {
            m.attribute(INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE])
        })
    });
    // A kernel without IPv6 gives none anyway.
    let _ = links.ask(none);
    let (up, arp, groups) = (libc::IFF_UP, libc::IFF_NOARP, libc::IFF_MULTICAST);
    let head = ifinfo(tap, (up | arp) as u32, (up | arp | groups) as u32);
    let up = Message::new(RTM_NEWLINK, 0, &head)
        .attribute(ADDRESS, &beside.address)
        // What a port sends to its host may be longer than the interface's MTU.
        .number(IFLA_MTU, device::MTU)
        .text(
            IFALIAS,
            &format!("uvale: between {} and its host", beside.name),
        );
    match links.ask(up) {
        Ok(_) => Ok(()),
        Err(failure) => Err(Why::new(
            failure.errno,
            format!("setting up a TAP device: {failure}"),
        )),
    }
}

/// `linux/pkt_sched.h`, `linux/pkt_cls.h`, `linux/tc_act/tc_mirred.h`
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const CLSACT_EGRESS: u32 = 0xffff_fff3;
const TC_ACT_STOLEN: u32 = 4;
const INGRESS_REDIR: u32 = 3;
const KIND: u16 = 1;
const OPTIONS: u16 = 2;

/// `struct tcmsg`
fn tcmsg(device: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    let words = [0, device, handle, parent, info];
    words.into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// What is sent on the TAP with the mark arrives at interface `to`.
fn redirect(links: &Socket, tap: u32, to: u32, mark: u32) -> Result<(), Why> {
    let order = CREATE | EXCL;
    let head = tcmsg(tap, CLSACT_HANDLE, CLSACT, 0);
    let hooks = Message::new(RTM_NEWQDISC, order, &head).text(KIND, "clsact");
    links.ask(hooks).map_err(|failure| {
        Why::lacks(
            &failure,
            "tc's clsact (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_ACT; module sch_ingress)",
        )
    })?;
    // Priority 1, for every protocol.
    let info = 1 << 16 | u32::from((libc::ETH_P_ALL as u16).to_be());
    let head = tcmsg(tap, 0, CLSACT_EGRESS, info);
    let filter = Message::new(RTM_NEWTFILTER, order, &head)
        .text(KIND, "bpf")
        .nest(OPTIONS, |m| {
            matching(m.nest(1, |m| m.nest(1, |m| mirred(m, to))), mark)
        });
    links.ask(filter).map(drop).map_err(|failure| {
        let what = "tc's cls_bpf or act_mirred (CONFIG_NET_CLS_BPF, CONFIG_NET_ACT_MIRRED; modules of these names)";
        Why::lacks(&failure, what)
    })
}

/// Redirects to the ingress of `to`.
fn mirred(message: Message, to: u32) -> Message {
    // `struct tc_mirred`: index, capab, action, refcnt, bindcnt; eaction, ifindex.
    let parameters = [0, 0, TC_ACT_STOLEN, 0, 0, INGRESS_REDIR, to];
    let parameters: Vec<u8> = parameters.into_iter().flat_map(u32::to_ne_bytes).collect();
    message
        .text(KIND, "mirred")
        .nest(OPTIONS, |m| m.attribute(2, &parameters))
}

/// Matches packets with a mark: by a program in classic BPF, which needs no rights of its own.
fn matching(message: Message, mark: u32) -> Message {
    let program = has_mark(mark);
    let count = program.len() as u16;
    let bytes: Vec<u8> = program
        .into_iter()
        .flat_map(|(code, jt, jf, k)| {
            let [a, b] = code.to_ne_bytes();
            let [c, d, e, f] = k.to_ne_bytes();
            [a, b, jt, jf, c, d, e, f]
        })
        .collect();
    message
        .attribute(4, &count.to_ne_bytes())
        .attribute(5, &bytes)
}

/// All of a packet if it carries the mark, else nothing.
pub(super) fn has_mark(mark: u32) -> [Instruction; 4] {
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let at = (libc::SKF_AD_OFF + libc::SKF_AD_MARK) as u32;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let ret = libc::BPF_RET | libc::BPF_K;
    [
        (load as u16, 0, 0, at),
        (equal as u16, 0, 1, mark),
        (ret as u16, 0, 0, u32::MAX),
        (ret as u16, 0, 0, 0),
    ]
}
