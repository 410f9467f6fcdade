//! Which interface the default route leads through.

use super::word;
use crate::netlink::{Answer, Message, Socket, Subject};

/// `linux/rtnetlink.h`
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
/// Bytes of `struct rtmsg`, and where in it the length of the destination and the flags are.
const RTMSG: usize = 12;
const DST_LEN: usize = 1;
const FLAGS: usize = 8;
/// Answer with the route itself.
const RTM_F_FIB_MATCH: u32 = 0x2000;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_MULTIPATH: u16 = 9;
/// Bytes of `struct rtnexthop`, and where in it the interface's number is.
const NEXT_HOP: usize = 8;
const HOP_INDEX: usize = 4;

/// Addresses for documents: nothing but a default route leads there, except in somebody's example.
const NOWHERE: [&[u8]; 4] = [
    &[192, 0, 2, 1],
    &[198, 51, 100, 1],
    &[203, 0, 113, 1],
    &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
];
/// Bits of the longest destination that counts as everything: two halves do, too.
const HALF: u8 = 1;

/// Does the default route of this thread's network namespace lead through interface `index`? False if it is not known.
pub fn carries_default_route(index: u32) -> bool {
    let Ok(socket) = Socket::open(Subject::Route) else {
        return false;
    };
    NOWHERE.iter().any(|address| {
        let answers = socket.ask(question(address)).unwrap_or_default();
        let route = answers.iter().find(|answer| answer.kind == RTM_NEWROUTE);
        route.is_some_and(|route| is_default(route) && leads_through(route, index))
    })
}

fn question(address: &[u8]) -> Message {
    let is_old = address.len() == 4;
    let family = if is_old {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let mut head = [0; RTMSG];
    head[0] = family as u8;
    head[DST_LEN] = address.len() as u8 * 8;
    head[FLAGS..].copy_from_slice(&RTM_F_FIB_MATCH.to_ne_bytes());
    Message::new(RTM_GETROUTE, 0, &head).attribute(RTA_DST, address)
}

fn is_default(route: &Answer) -> bool {
    route
        .family(RTMSG)
        .is_some_and(|head| head[DST_LEN] <= HALF)
}

fn leads_through(route: &Answer, index: u32) -> bool {
    let attributes = route.attributes(RTMSG);
    if attributes.find(RTA_OIF).and_then(|a| a.number()) == Some(index) {
        return true;
    }
    let mut hops = attributes.find(RTA_MULTIPATH).map_or(&b""[..], |a| a.value);
    while hops.len() >= NEXT_HOP {
        if word(hops, HOP_INDEX) == Some(index) {
            return true;
        }
        let len = usize::from(u16::from_ne_bytes([hops[0], hops[1]]));
        hops = hops
            .get(len.next_multiple_of(4).max(NEXT_HOP)..)
            .unwrap_or_default();
    }
    false
}
