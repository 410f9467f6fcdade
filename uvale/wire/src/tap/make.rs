//! An interface made, and removed, by the command that has the rights for it.

use core::net::IpAddr;

use nm_abi::IFNAMSIZ;
use rustix::io::Errno;
use uvale_request::Interface;
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;

use super::device::{self, MOST_QUEUES, Trouble, set_carrier};
use crate::host::tap::{ADDRESS, IFALIAS, IFLA_MTU, RTM_NEWLINK, ifinfo};
use crate::interface::{Watch, look_up};
use crate::netlink::{CREATE, EXCL, Failure, Message, Socket, Subject};

/// `linux/rtnetlink.h`, `linux/if_addr.h`
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// The host may use an address at once: at the other end there is nobody to ask whether it is taken.
const IFA_F_NODAD: u8 = 2;
/// What netmap's names of ports go on with, or the kernel's own.
const SEPARATORS: &[u8] = b"-^*/@{}+,:%";

/// What an interface is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// its name
    pub name: &'a str,
    /// its MAC address; the kernel's choice if there is none
    pub address: Option<[u8; 6]>,
    /// its MTU in bytes
    pub mtu: Option<u32>,
    /// its queues, and the rings of a program that opens it
    pub queues: u16,
}

/// An interface that is up, in the network namespace of whoever has made it.
#[derive(Debug)]
pub struct Made {
    /// what it is
    pub interface: Interface,
    /// a descriptor for each queue: it goes with the last copies of them
    pub fds: Vec<Fd>,
    /// tells what becomes of it
    pub watch: Watch,
}

/// Makes an interface. Its host finds it without a cable ([`set_carrier`]).
pub fn make(asked: &Asked<'_>) -> Result<Made, Refusal> {
    let name = asked.name;
    check(asked).map_err(|why| Refusal::new(Errno::INVAL, why))?;
    if look_up(name.as_bytes()).is_some() {
        return Err(exists(name));
    }
    let several = if asked.queues > 1 { device::SEVERAL } else { 0 };
    let queue = |i: u16| {
        let new = if i == 0 { device::NEW } else { 0 };
        let opened = device::open(name, several | new);
        opened.map(|(fd, _)| fd).map_err(|trouble| match trouble {
            Trouble::NoDevice(refusal) => Refusal::new(refusal.errno, format!("{name}: {refusal}")),
            Trouble::Refused(Errno::BUSY | Errno::EXIST) => exists(name),
            Trouble::Refused(errno) => refused(name, "a TAP device", &errno.into()),
        })
    };
    let fds = (0..asked.queues)
        .map(queue)
        .collect::<Result<Vec<Fd>, _>>()?;
    let _ = fds.first().map(|fd| set_carrier(fd, false));
    let gone = || Refusal::new(Errno::NXIO, format!("{name}: the interface has gone"));
    let links = netlink()?;
    let index = look_up(name.as_bytes()).ok_or_else(gone)?.index;
    set_up(&links, index, asked)?;
    let interface = look_up(name.as_bytes()).ok_or_else(gone)?;
    let watch = Watch::open(&interface).ok_or_else(|| {
        let why =
            format!("{name}: this system does not say what becomes of an interface (netlink)");
        Refusal::new(Errno::OPNOTSUPP, why)
    })?;
    Ok(Made {
        interface,
        fds,
        watch,
    })
}

fn netlink() -> Result<Socket, Refusal> {
    Socket::open(Subject::Route).map_err(|e| Refusal::new(e, format!("netlink: {e}")))
}

/// Can an interface that programs open be called so? If not, a sentence.
pub fn check_name(name: &str) -> Result<(), String> {
    let bytes = name.as_bytes();
    let is_plain = |c: &u8| c.is_ascii_graphic() && !SEPARATORS.contains(c);
    if name.is_empty() || matches!(name, "." | "..") || !bytes.iter().all(is_plain) {
        let all = String::from_utf8_lossy(SEPARATORS);
        return Err(format!(
            "{name:?} is no name for an interface of netmap's: letters and digits are, {all} and blanks are not"
        ));
    }
    if name.len() >= IFNAMSIZ {
        return Err(format!(
            "{name:?} is too long: an interface's name has {} characters at most",
            IFNAMSIZ - 1
        ));
    }
    if name.starts_with("vale") {
        return Err(format!(
            "{name:?} would be taken for a port of a VALE switch: choose another name"
        ));
    }
    Ok(())
}

/// What is wrong with it, as a sentence.
fn check(asked: &Asked<'_>) -> Result<(), String> {
    let name = asked.name;
    check_name(name)?;
    if !(1..=MOST_QUEUES).contains(&asked.queues) {
        return Err(format!(
            "{name} cannot have {} queues: 1 to {MOST_QUEUES}",
            asked.queues
        ));
    }
    match asked.mtu {
        Some(mtu) if !(68..=device::MTU).contains(&mtu) => Err(format!(
            "{name} cannot have an MTU of {mtu}: 68 to {}",
            device::MTU
        )),
        _ => Ok(()),
    }
}

fn exists(name: &str) -> Refusal {
    let why = format!(
        "{name}: there is an interface of that name already: open netmap:{name}, or choose another name; \
         `uvale nic del {name}` removes one that uvale has made"
    );
    Refusal::new(Errno::EXIST, why)
}

/// Why the kernel did not do it.
fn refused(name: &str, what: &str, failure: &Failure) -> Refusal {
    let why = match failure.errno {
        Errno::PERM | Errno::ACCESS => format!(
            "{name}: making and removing interfaces takes CAP_NET_ADMIN in the network namespace: docker and podman \
             give it with --cap-add NET_ADMIN --device /dev/net/tun; `unshare -Urn` makes a namespace in which \
             nobody needs more; elsewhere `sudo setpriv --reuid USER --regid GROUP --clear-groups \
             --inh-caps +net_admin --ambient-caps +net_admin uvale nic ...`, once, for a world of USER's"
        ),
        _ => format!("{name}: {what}: {failure}"),
    };
    Refusal::new(failure.errno, why)
}

/// Up, with what was asked for.
fn set_up(links: &Socket, index: u32, asked: &Asked<'_>) -> Result<(), Refusal> {
    let up = libc::IFF_UP as u32;
    let mut order = Message::new(RTM_NEWLINK, 0, &ifinfo(index, up, up))
        .text(IFALIAS, "uvale: made by uvale nic add");
    if let Some(address) = &asked.address {
        order = order.attribute(ADDRESS, address);
    }
    if let Some(mtu) = asked.mtu {
        order = order.number(IFLA_MTU, mtu);
    }
    let done = links.ask(order).map(drop);
    done.map_err(|failure| refused(asked.name, "it cannot be set up so", &failure))
}

/// Gives interface `index`, which people call `name`, an address of the host with the length of its network.
pub fn add_address(name: &str, index: u32, (address, prefix): (IpAddr, u8)) -> Result<(), Refusal> {
    let (family, bytes, flags) = match address {
        IpAddr::V4(v4) => (libc::AF_INET, v4.octets().to_vec(), 0),
        IpAddr::V6(v6) => (libc::AF_INET6, v6.octets().to_vec(), IFA_F_NODAD),
    };
    // struct ifaddrmsg: family, length of the prefix, flags, scope; index
    let [a, b, c, d] = index.to_ne_bytes();
    let head = [family as u8, prefix, flags, 0, a, b, c, d];
    let order = Message::new(RTM_NEWADDR, CREATE | EXCL, &head)
        .attribute(IFA_LOCAL, &bytes)
        .attribute(IFA_ADDRESS, &bytes);
    let done = netlink()?.ask(order).map(drop);
    done.map_err(|failure| refused(name, &format!("address {address}/{prefix}"), &failure))
}

/// Removes interface `index`, which people call `name`, whoever has it open.
pub fn remove(name: &str, index: u32) -> Result<(), Refusal> {
    let order = Message::new(RTM_DELLINK, 0, &ifinfo(index, 0, 0));
    match netlink()?.ask(order) {
        Err(failure) if failure.errno != Errno::NODEV => {
            Err(refused(name, "it cannot be removed", &failure))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_something_else_are_refused() {
        let asked = |name| Asked {
            name,
            address: None,
            mtu: None,
            queues: 1,
        };
        for good in ["tap0", "a", "fifteencharacte"] {
            assert_eq!(check(&asked(good)), Ok(()), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a b",
            "tap-1",
            "tap0^",
            "p{1",
            "v0:1",
            "t%d",
            "sixteencharacter",
            "vale0",
            "ä",
        ] {
            assert!(check(&asked(bad)).is_err(), "{bad}");
        }
        for (mtu, queues) in [(67, 1), (65522, 1), (1500, 0), (1500, 65)] {
            let asked = Asked {
                mtu: Some(mtu),
                queues,
                ..asked("tap0")
            };
            assert!(check(&asked).is_err(), "{mtu}, {queues}");
        }
    }
}
