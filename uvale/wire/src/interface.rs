//! What the system says about its network interfaces.
//!
//! The network namespace that counts is the caller's, as for netmap. Netlink answers for that one; `/sys` shows
//! the one that it was mounted in, so it is asked only for what an interface of the same number has there.

use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use uvale_request::Interface;
use uvale_system::sys::Fd;

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
    let dir = open(rustix::fs::CWD, &sys_path(name), OFlags::DIRECTORY).map(Fd::from);
    let link = match ask_netlink(name) {
        Ok(link) => link?,
        // A sandbox without netlink: what /sys shows is the best there is.
        Err(_) => Link {
            index: read_number(dir.as_ref()?, b"ifindex")?,
            mtu: read_number(dir.as_ref()?, b"mtu")?,
        },
    };
    let same = |dir: &Fd| read_number(dir, b"ifindex") == Some(link.index);
    let (tx_queues, rx_queues) = dir.filter(same).and_then(|d| queues(&d)).unwrap_or((1, 1));
    Some(Interface {
        index: link.index,
        mtu: link.mtu,
        tx_queues,
        rx_queues,
        is_up: true,
        is_ethernet: true,
        ..Interface::default()
    })
}

/// What netlink tells of an interface.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    index: u32,
    mtu: u32,
}

/// Sizes and numbers of `linux/netlink.h` and `linux/rtnetlink.h`.
const HEADER: usize = 16;
const IFINFO: usize = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWLINK: u16 = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;

/// Asks the kernel for the interface of that name in the network namespace of this thread.
fn ask_netlink(name: &[u8]) -> Result<Option<Link>, Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let socket = Fd::from(socket);
    rustix::net::send(&socket, &question(name), SendFlags::empty())?;
    let mut answer = [0u8; 8192];
    loop {
        match rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty()) {
            Ok((n, _)) => return parse(&answer[..n]),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// RTM_GETLINK with the name as its one attribute.
fn question(name: &[u8]) -> Vec<u8> {
    let attribute = 4 + name.len() + 1;
    let len = HEADER + IFINFO + attribute.next_multiple_of(4);
    let mut message = Vec::with_capacity(len);
    message.extend_from_slice(&(len as u32).to_ne_bytes());
    message.extend_from_slice(&RTM_GETLINK.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message.resize(HEADER + IFINFO, 0);
    message.extend_from_slice(&(attribute as u16).to_ne_bytes());
    message.extend_from_slice(&IFLA_IFNAME.to_ne_bytes());
    message.extend_from_slice(name);
    message.resize(len, 0);
    message
}

fn parse(answer: &[u8]) -> Result<Option<Link>, Errno> {
    let u16_at = |i: usize| Some(u16::from_ne_bytes(answer.get(i..i + 2)?.try_into().ok()?));
    let u32_at = |i: usize| Some(u32::from_ne_bytes(answer.get(i..i + 4)?.try_into().ok()?));
    match u16_at(4) {
        Some(RTM_NEWLINK) => {}
        Some(NLMSG_ERROR) if u32_at(HEADER) == Some(-libc::ENODEV as u32) => return Ok(None),
        _ => return Err(Errno::PROTO),
    }
    let mut at = HEADER + IFINFO;
    while let (Some(len), Some(kind)) = (u16_at(at), u16_at(at + 2)) {
        if kind == IFLA_MTU {
            let link = (u32_at(HEADER + 4), u32_at(at + 4));
            let (Some(index), Some(mtu)) = link else {
                break;
            };
            return Ok(Some(Link { index, mtu }));
        }
        // A length of 0 would loop forever.
        at += usize::from(len).max(4).next_multiple_of(4);
    }
    Err(Errno::PROTO)
}

fn sys_path(name: &[u8]) -> Vec<u8> {
    [b"/sys/class/net/", name].concat()
}

fn open(at: impl rustix::fd::AsFd, path: &[u8], flags: OFlags) -> Option<rustix::fd::OwnedFd> {
    openat(
        at,
        path,
        flags | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()
}

fn read_number(dir: &Fd, file: &[u8]) -> Option<u32> {
    let fd = Fd::from(open(dir, file, OFlags::empty())?);
    let mut text = [0u8; 16];
    let n = rustix::io::read(&fd, &mut text[..]).ok()?;
    core::str::from_utf8(&text[..n]).ok()?.trim().parse().ok()
}

/// Numbers of tx and rx queues.
fn queues(dir: &Fd) -> Option<(u16, u16)> {
    let fd = Fd::from(open(dir, b"queues", OFlags::DIRECTORY)?);
    let (mut tx, mut rx) = (0, 0);
    for entry in Dir::read_from(&fd).ok()? {
        let entry = entry.ok()?;
        let name = entry.file_name().to_bytes();
        tx += u16::from(name.starts_with(b"tx-"));
        rx += u16::from(name.starts_with(b"rx-"));
    }
    Some((tx.max(1), rx.max(1)))
}

/// How somebody who stands elsewhere learns what becomes of an interface.
#[derive(Debug)]
pub struct Watch {
    /// hears when a link changes
    pub news: Fd,
    /// answers questions about the interfaces of the namespace
    pub ask: Fd,
    /// the namespace
    pub namespace: Fd,
}

impl Watch {
    /// Of `interface`, in the namespace of this thread.
    pub fn open(_interface: &Interface) -> Option<Self> {
        None
    }

    /// As descriptors, to be sent.
    pub fn into_fds(self) -> [Fd; 3] {
        [self.news, self.ask, self.namespace]
    }

    /// From what was sent.
    pub fn from_fds([news, ask, namespace]: [Fd; 3]) -> Self {
        Self {
            news,
            ask,
            namespace,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_there_and_nonsense_is_not() {
        let lo = look_up(b"lo").expect("every namespace has one");
        assert!(lo.mtu > 0 && lo.tx_queues > 0 && lo.rx_queues > 0);
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
    }

    #[test]
    fn answers_that_are_cut_or_wrong_say_nothing() {
        let mut answer = vec![0u8; HEADER + IFINFO + 8];
        answer[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
        answer[HEADER + 4] = 7;
        let at = HEADER + IFINFO;
        answer[at..at + 2].copy_from_slice(&8u16.to_ne_bytes());
        answer[at + 2..at + 4].copy_from_slice(&IFLA_MTU.to_ne_bytes());
        answer[at + 4..].copy_from_slice(&1500u32.to_ne_bytes());
        assert_eq!(
            parse(&answer),
            Ok(Some(Link {
                index: 7,
                mtu: 1500
            }))
        );
        for len in 0..answer.len() {
            assert_eq!(parse(&answer[..len]), Err(Errno::PROTO), "{len} bytes");
        }
        answer[at..at + 4].fill(0);
        assert_eq!(parse(&answer), Err(Errno::PROTO));
    }
}
