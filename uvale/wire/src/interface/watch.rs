//! What becomes of an interface, for somebody who stands in another network namespace: the daemon gets the
//! descriptors of a [`Watch`] from whoever opened the port.
//!
//! They were another process' and are still shared with it: nothing here waits for them, and an answer counts only
//! from a netlink socket, where nobody but the kernel gives it.

use rustix::fd::AsRawFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use uvale_request::Interface;
use uvale_system::sys::Fd;

use super::{IFI_INDEX, IFINFO, RTM_NEWLINK, TCM_INDEX, TCMSG, ask, cookie, word};
use crate::netlink::{Answer, Message, Socket, Subject};

/// Numbers of `linux/rtnetlink.h`, `linux/net_namespace.h`.
const RTM_DELLINK: u16 = 17;
/// `RTM_NEWQDISC` to `RTM_DELTFILTER`
const TRAFFIC_CONTROL: core::ops::RangeInclusive<u16> = 36..=45;
const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
/// Bytes of `struct rtgenmsg`.
const RTGEN: usize = 1;
/// `RTNLGRP_LINK` and `RTNLGRP_TC`.
const GROUPS: u32 = 1 << 0 | 1 << 3;
/// Datagrams that are read at once.
const MOST: usize = 256;

/// How somebody who stands elsewhere learns what becomes of an interface.
#[derive(Debug)]
pub struct Watch {
    /// hears when a link changes
    pub news: Socket,
    /// answers questions about the interfaces of the namespace
    pub ask: Socket,
    /// the namespace
    pub namespace: Fd,
}

/// What a [`Watch`] has heard of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// it was deleted, or moved to another namespace
    pub gone: bool,
    /// something about it may have changed
    pub changed: bool,
}

impl Watch {
    /// Of `interface`, in the namespace of this thread. What changed before, since `interface` was looked up, is not
    /// heard of: [`Self::refresh`] tells. `None` if the system does not allow it.
    pub fn open(interface: &Interface) -> Option<Self> {
        let news = Socket::open(Subject::Route).ok()?;
        rustix::net::bind(&news, &SocketAddrNetlink::new(0, GROUPS)).ok()?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let namespace = rustix::fs::open("/proc/thread-self/ns/net", flags, Mode::empty()).ok()?;
        let watch = Self {
            news,
            ask: Socket::open(Subject::Route).ok()?,
            namespace: Fd::from(namespace),
        };
        (watch.netns()? == interface.netns).then_some(watch)
    }

    /// As descriptors, to be sent.
    pub fn into_fds(self) -> [Fd; 3] {
        [self.news.into_fd(), self.ask.into_fd(), self.namespace]
    }

    /// From what was sent; `EPROTO` if it is something else.
    pub fn from_fds([news, ask, namespace]: [Fd; 3]) -> Result<Self, Errno> {
        let watch = Self {
            news: Socket::from_peer(news, Subject::Route)?,
            ask: Socket::from_peer(ask, Subject::Route)?,
            namespace,
        };
        let is_namespace = is_network(&watch.namespace);
        is_namespace.then_some(watch).ok_or(Errno::PROTO)
    }

    /// What has come about interface `index` since the last time.
    pub fn hear(&self, index: u32) -> News {
        let mut news = News::default();
        for _ in 0..MOST {
            match self.news.hear() {
                Ok(messages) => messages.iter().for_each(|m| news.add(m, index)),
                Err(Errno::AGAIN) => return news,
                // Some of it was lost (ENOBUFS).
                Err(_) => news.changed = true,
            }
        }
        news.changed = true;
        news
    }

    /// The interface as it is now; `None` if it is not there.
    pub fn refresh(&self, index: u32) -> Option<Interface> {
        let mut family = [0; IFINFO];
        family[IFI_INDEX..IFI_INDEX + 4].copy_from_slice(&index.to_ne_bytes());
        ask(&self.ask, &family, |m| m, || self.netns()).ok()?
    }

    /// Number of the namespace, as `lsns` shows it.
    pub fn number(&self) -> Option<u64> {
        Some(rustix::fs::fstat(&self.namespace).ok()?.st_ino)
    }

    /// Cookie of the namespace, or what stands for it.
    fn netns(&self) -> Option<u64> {
        cookie(&self.ask).or_else(|| self.number())
    }

    /// The number that namespace `other` has in this one.
    fn number_of(&self, other: &Fd) -> Option<i32> {
        let question = Message::new(RTM_GETNSID, 0, &[0; RTGEN]);
        let question = question.number(NETNSA_FD, other.as_raw_fd() as u32);
        let answers = self.ask.ask(question).ok()?;
        let answer = answers.iter().find(|a| a.kind == RTM_NEWNSID)?;
        let number = answer.attributes(RTGEN).find(NETNSA_NSID)?.number()?;
        Some(number as i32).filter(|n| *n >= 0)
    }
}

/// Is that a network namespace? To look at the file itself would wait for a file system that somebody else serves;
/// its name does not, and that of a file of any file system begins with a `/`.
fn is_network(fd: &Fd) -> bool {
    let name = rustix::fs::readlink(format!("/proc/self/fd/{}", fd.raw()), Vec::new());
    name.is_ok_and(|name| name.to_bytes().starts_with(b"net:["))
}

impl News {
    fn add(&mut self, message: &Answer, index: u32) {
        let of = |len, at| message.family(len).and_then(|family| word(family, at)) == Some(index);
        match message.kind {
            // That it is a bridge's port no longer is told as a deletion, too, of another family.
            RTM_DELLINK if of(IFINFO, IFI_INDEX) => {
                let is_deleted = message.family(1) == Some(&[0]);
                self.gone |= is_deleted;
                self.changed = true;
            }
            RTM_NEWLINK => self.changed |= of(IFINFO, IFI_INDEX),
            kind if TRAFFIC_CONTROL.contains(&kind) => self.changed |= of(TCMSG, TCM_INDEX),
            _ => {}
        }
    }
}

/// Are these the two ends of one veth pair? Numbers of interfaces are equal in many namespaces, so each has to be
/// the other's peer in a namespace that each knows the other's by.
pub fn are_peers(a: &Interface, a_watch: &Watch, b: &Interface, b_watch: &Watch) -> bool {
    let (Some(of_a), Some(of_b)) = (&a.peer, &b.peer) else {
        return false;
    };
    if of_a.index != b.index || of_b.index != a.index {
        return false;
    }
    match (of_a.nsid, of_b.nsid) {
        (None, None) => a.netns == b.netns && a.netns != 0,
        (Some(of_a), Some(of_b)) => {
            a_watch.number_of(&b_watch.namespace) == Some(of_a)
                && b_watch.number_of(&a_watch.namespace) == Some(of_b)
        }
        _ => false,
    }
}
