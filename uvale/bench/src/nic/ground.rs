//! Two network namespaces with veth pairs between them, for as long as a process of ours holds them.
//!
//! That process makes them itself, if need be in a user namespace in which it is root. Workers enter them by its
//! descriptors.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStdin, Stdio};

use rustix::net::netdevice::name_to_index;
use rustix::process::{getgid, getuid};
use rustix::thread::UnshareFlags;
use uvale_wire::netlink::{CREATE, EXCL, Message, Socket, Subject};

use super::namespaces::Namespaces;
use crate::raw::unshare;
use crate::world::this_program;

/// Spec of the worker: this, the number of pairs, and which of them is never joined.
const WORKER: &str = "ground:";

/// The process that holds the namespaces. It leaves when its standard input ends.
pub struct Ground {
    holder: Child,
    input: Option<ChildStdin>,
    sides: [Namespaces; 2],
}

/// Name of both ends of a pair, each in its namespace.
pub fn interface(pair: usize) -> String {
    format!("bench{pair}")
}

impl Ground {
    /// Makes both namespaces, and `pairs` pairs that are up. Number `apart` has a queueing discipline, which joined
    /// ports would bypass.
    pub fn new(pairs: usize, apart: usize) -> Result<Self, String> {
        let mut command = this_program()?;
        command.args(["bench", "--worker", &format!("{WORKER}{pairs},{apart}")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().map_err(|e| e.to_string())?;
        let input = holder.stdin.take();
        let mut answer = String::new();
        if let Some(out) = holder.stdout.take() {
            let _ = BufReader::new(out).read_line(&mut answer);
        }
        let pid = holder.id();
        let words: Vec<_> = answer.split_whitespace().collect();
        let side = |fd: &str, whose: &str| Namespaces {
            user: (whose == "own").then(|| format!("/proc/{pid}/ns/user").into()),
            net: format!("/proc/{pid}/fd/{fd}").into(),
        };
        if let ["holds", whose, near, far] = words[..] {
            let sides = [side(near, whose), side(far, whose)];
            return Ok(Self {
                holder,
                input,
                sides,
            });
        }
        drop(input);
        let _ = holder.wait();
        Err(answer.trim().to_owned())
    }

    /// One of the two sides.
    pub fn side(&self, side: usize) -> &Namespaces {
        &self.sides[side]
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.holder.wait();
    }
}

/// The holder's process, if `spec` is one: says what it holds, or why it cannot.
pub fn worker(spec: &str) -> Option<Result<(), String>> {
    let (pairs, apart) = spec.strip_prefix(WORKER)?.split_once(',')?;
    Some(hold(pairs.parse().ok()?, apart.parse().ok()?))
}

fn hold(pairs: usize, apart: usize) -> Result<(), String> {
    match make(pairs, apart) {
        Ok((is_own, [near, far])) => {
            let whose = if is_own { "own" } else { "same" };
            println!("holds {whose} {} {}", near.as_raw_fd(), far.as_raw_fd());
            // Until the conductor goes, or wants it.
            let _ = std::io::stdin().read(&mut [0]);
        }
        Err(why) => println!("{why}"),
    }
    Ok(())
}

/// The namespaces' descriptors; are they in a user namespace of their own?
fn make(pairs: usize, apart: usize) -> Result<(bool, [File; 2]), String> {
    let is_own = match unshare(UnshareFlags::NEWNET) {
        Ok(()) => false,
        Err(first) => {
            become_root().map_err(|e| format!("no network namespaces for us: {first}; {e}"))?;
            true
        }
    };
    let near = side()?;
    unshare(UnshareFlags::NEWNET).map_err(|e| format!("unshare: {e}"))?;
    let far = side()?;
    for pair in 0..pairs {
        let name = interface(pair);
        let failed = |e| format!("veth pair {name}: {e}");
        far.route.ask(veth(&name, &near.file)).map_err(failed)?;
        for side in [&near, &far] {
            side.route.ask(up(&name)).map_err(failed)?;
        }
    }
    let name = interface(apart);
    let index = name_to_index(far.route.fd(), &name).map_err(|e| format!("{name}: {e}"))?;
    let queue = far.route.ask(fifo(index));
    queue.map_err(|e| format!("a queue for {name}: {e}"))?;
    Ok((is_own, [near.file, far.file]))
}

/// Root of a user namespace, and a network namespace that belongs to it.
fn become_root() -> Result<(), String> {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)
        .map_err(|e| format!("no user namespace: {e}"))?;
    let maps = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ];
    for (file, text) in maps {
        std::fs::write(format!("/proc/self/{file}"), text).map_err(|e| format!("{file}: {e}"))?;
    }
    Ok(())
}

/// The network namespace that this thread is in.
struct Side {
    file: File,
    route: Socket,
}

fn side() -> Result<Side, String> {
    // What the kernel itself would send on an interface that comes up is not ours to measure.
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    let file = File::open("/proc/thread-self/ns/net").map_err(|e| e.to_string())?;
    let route = Socket::open(Subject::Route).map_err(|e| format!("netlink: {e}"))?;
    Ok(Side { file, route })
}

/// Numbers of `linux/rtnetlink.h`, `linux/if_link.h` and `linux/veth.h`.
const RTM_NEWLINK: u16 = 16;
const RTM_NEWQDISC: u16 = 36;
const TCA_KIND: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;

/// `struct ifinfomsg`, with these flags to be set.
fn ifinfomsg(flags: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    for at in [8, 12] {
        bytes[at..at + 4].copy_from_slice(&flags.to_ne_bytes());
    }
    bytes
}

/// A pair of that name here and in `there`.
fn veth(name: &str, there: &File) -> Message {
    let attribute = |kind: u16, value: &[u8]| {
        let len = 4 + value.len() as u16;
        let mut bytes = [&len.to_ne_bytes(), &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let namespace = there.as_raw_fd() as u32;
    let peer = [
        ifinfomsg(0).to_vec(),
        attribute(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat()),
        attribute(IFLA_NET_NS_FD, &namespace.to_ne_bytes()),
    ]
    .concat();
    Message::new(RTM_NEWLINK, CREATE | EXCL, &ifinfomsg(0))
        .text(IFLA_IFNAME, name)
        .nest(IFLA_LINKINFO, |m| {
            m.text(IFLA_INFO_KIND, "veth")
                .nest(IFLA_INFO_DATA, |m| m.attribute(VETH_INFO_PEER, &peer))
        })
}

/// A plain queue for that interface.
fn fifo(index: u32) -> Message {
    // struct tcmsg: family, index, handle, parent (none: it is the root), info
    let words = [0, index, 0, u32::MAX, 0];
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
    Message::new(RTM_NEWQDISC, CREATE | EXCL, &bytes).text(TCA_KIND, "pfifo")
}

fn up(name: &str) -> Message {
    Message::new(RTM_NEWLINK, 0, &ifinfomsg(libc::IFF_UP as u32)).text(IFLA_IFNAME, name)
}
