//! Two network namespaces, `here` with the interface that is opened and `there` with its peer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;

use super::classifiers::{classifiers, pass};
use rustix::fs::{Mode, OFlags, open};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use uvale_system::sys::Fd;
use uvale_wire::interface::look_up;
use uvale_wire::netlink::{CREATE, DUMP, EXCL, Message, Socket, Subject};
use uvale_wire::{Carrier, Opened, Wanted};

pub const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
pub const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
pub const HERE6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
pub const THERE6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
/// The interface here; the kernel names its peer.
pub const NAME: &str = "eth0";
const PEER: &str = "veth0";

pub struct Ground {
    here: Fd,
    there: Fd,
}

impl Ground {
    /// `None`, aloud, if there are no namespaces for us.
    pub fn new() -> Option<Self> {
        let (Some(here), Some(there)) = (namespace(), namespace()) else {
            skipped("this process may not have network namespaces of its own");
            return None;
        };
        let ground = Self { here, there };
        ground.here(|| {
            let links = Socket::open(Subject::Route).expect("netlink");
            let pair = Message::new(RTM_NEWLINK, CREATE | EXCL, &[0; 16])
                .text(IFNAME, NAME)
                .nest(LINKINFO, |m| m.text(1, "veth"));
            links.ask(pair).expect("a veth pair");
            let there = rustix::fd::AsRawFd::as_raw_fd(&ground.there) as u32;
            let away = Message::new(RTM_NEWLINK, 0, &[0; 16])
                .text(IFNAME, PEER)
                .number(NET_NS_FD, there);
            links.ask(away).expect("its other end moved");
            set_up(&links, NAME, [HERE, HERE6]);
        });
        ground.there(|| {
            set_up(
                &Socket::open(Subject::Route).expect("netlink"),
                PEER,
                [THERE, THERE6],
            )
        });
        Some(ground)
    }

    /// In a thread that stands here.
    pub fn here<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.here, work)
    }

    /// In a thread that stands there.
    pub fn there<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.there, work)
    }

    /// Opens the interface, with the rights of the thread that `limit` has had in its hands.
    pub fn open(&self, host: bool, steal: bool, limit: impl FnOnce() + Send) -> Opened {
        self.open_by(Carrier::Packet, host, steal, limit)
    }

    fn open_by(
        &self,
        carrier: Carrier,
        host: bool,
        steal: bool,
        limit: impl FnOnce() + Send,
    ) -> Opened {
        self.here(|| {
            let interface = look_up(NAME.as_bytes()).expect("the interface");
            limit();
            let wanted = Wanted {
                name: NAME,
                interface: &interface,
                rings: [1, 1],
                host,
                steal,
                programs: true,
                carrier,
            };
            uvale_wire::open(&wanted).expect("a wire")
        })
    }

    /// Everything with host rings, or `None`, aloud, where the kernel lacks something.
    pub fn open_all(&self, carrier: Carrier) -> Option<Opened> {
        let opened = self.open_by(carrier, true, true, || ());
        if opened.shape.lacks.is_empty() {
            return Some(opened);
        }
        let lacks = opened.shape.lacks.join("; ");
        let is_free = carrier == Carrier::Packet;
        assert!(!is_free || !lacks.contains("CAP_"), "rights: {lacks}");
        skipped(&lacks);
        None
    }

    /// The interface's address.
    pub fn address(&self) -> [u8; 6] {
        let links = self.here(|| Socket::open(Subject::Route).expect("netlink"));
        let link = links.ask(Message::new(RTM_GETLINK, 0, &[0; 16]).text(IFNAME, NAME));
        let link = link.expect("the interface");
        let address = link[0].attributes(16).find(1);
        address
            .and_then(|a| a.value.try_into().ok())
            .expect("an address")
    }

    /// Programs on tcx of the interface, behind packet sockets; `None` where this process may have none there.
    pub fn classifiers(&self) -> Option<u32> {
        self.here(|| classifiers(look_up(NAME.as_bytes()).map_or(0, |eth0| eth0.index)))
    }

    /// Binds a program there that lets everything pass, and nothing come to the next, until it is closed.
    pub fn let_all_pass(&self) -> Fd {
        self.here(|| pass(look_up(NAME.as_bytes()).expect("the interface").index))
    }

    /// Adds a qdisc that holds filters to the interface.
    pub fn add_filters(&self) {
        self.here(|| {
            let links = Socket::open(Subject::Route).expect("netlink");
            let index = look_up(NAME.as_bytes()).expect("the interface").index;
            // struct tcmsg: family, index, handle, parent (clsact), info
            let words = [0, index, 0xffff_0000, 0xffff_fff1, 0].map(u32::to_ne_bytes);
            let add = Message::new(RTM_NEWQDISC, CREATE | EXCL, words.as_flattened());
            links.ask(add.text(1, "clsact")).expect("clsact");
        });
    }

    /// Deletes the interface.
    pub fn remove(&self) {
        let links = self.here(|| Socket::open(Subject::Route).expect("netlink"));
        let delete = Message::new(RTM_DELLINK, 0, &[0; 16]).text(IFNAME, NAME);
        links.ask(delete).expect("it was there");
    }

    /// What a wire could leave behind here: TAPs, tables of nftables, queueing disciplines.
    pub fn left_behind(&self) -> [usize; 3] {
        self.here(|| {
            let links = Socket::open(Subject::Route).expect("netlink");
            let tables = Socket::open(Subject::Netfilter).expect("netlink");
            let count = |socket: &Socket, kind, family: &[u8]| {
                let all = socket
                    .ask(Message::new(kind, DUMP, family))
                    .expect("a list");
                all.len()
            };
            let disciplines = links
                .ask(Message::new(RTM_GETQDISC, DUMP, &[0; 20]))
                .expect("a list");
            let clsact = disciplines.iter().filter(|d| {
                d.attributes(20)
                    .find(1)
                    .is_some_and(|kind| kind.text() == b"clsact")
            });
            let interfaces = links
                .ask(Message::new(RTM_GETLINK, DUMP, &[0; 16]))
                .expect("a list");
            let taps = interfaces.iter().filter(|link| {
                let name = link.attributes(16).find(IFNAME);
                name.is_some_and(|name| name.text().starts_with(b"uv"))
            });
            [
                taps.count(),
                count(&tables, NFT_GETTABLE, &[5, 0, 0, 0]),
                clsact.count(),
            ]
        })
    }
}

pub fn skipped(why: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWQDISC: u16 = 36;
const RTM_GETQDISC: u16 = 38;
const NFT_GETTABLE: u16 = 10 << 8 | 1;
const IFNAME: u16 = 3;
const LINKINFO: u16 = 18;
const NET_NS_FD: u16 = 28;
const IFA_FLAGS: u16 = 8;
const NODAD: u32 = 2;

fn set_up(links: &Socket, name: &str, addresses: [IpAddr; 2]) {
    let index = look_up(name.as_bytes()).expect("it is there").index;
    let words = [0, index, 1, 1].map(u32::to_ne_bytes);
    links
        .ask(Message::new(RTM_NEWLINK, 0, words.as_flattened()))
        .expect("up");
    for address in addresses {
        let (family, prefix, bytes) = match address {
            IpAddr::V4(a) => (libc::AF_INET, 24, a.octets().to_vec()),
            IpAddr::V6(a) => (libc::AF_INET6, 64, a.octets().to_vec()),
        };
        let mut head = vec![family as u8, prefix, 0, 0];
        head.extend_from_slice(&index.to_ne_bytes());
        let add = Message::new(RTM_NEWADDR, CREATE | EXCL, &head)
            .attribute(2, &bytes)
            .attribute(1, &bytes)
            .number(IFA_FLAGS, NODAD);
        links.ask(add).expect("an address");
    }
}

/// A new network namespace.
fn namespace() -> Option<Fd> {
    let made = thread::spawn(|| {
        // SAFETY: only the thread's network namespace changes, which no other code relies on; descriptors and memory
        // stay shared.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.ok()?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        open("/proc/thread-self/ns/net", flags, Mode::empty())
            .ok()
            .map(Fd::from)
    });
    made.join().expect("no panic")
}

fn inside<T: Send>(namespace: &Fd, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(rustix::fd::AsFd::as_fd(namespace), kind).expect("ours");
            work()
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
