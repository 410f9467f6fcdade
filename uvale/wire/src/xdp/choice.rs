//! Whether the packets of an interface are carried by AF_XDP or by packet sockets.

use rustix::io::Errno;

use crate::netlink::{Failure, Message, Socket, Subject};
use crate::{Carrier, Wanted};

/// What to try first. If it cannot be had, packet sockets are the next best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// packet sockets
    Packet,
    /// AF_XDP, generic XDP too if `generic`
    Xdp {
        /// the kernel's own program in front of the stack will do if the driver has none
        generic: bool,
    },
}

/// Chooses. What is asked for counts, else:
///
/// - AF_XDP for the driver of a device, in native mode: there it spares the kernel its packets and the host's stack,
///   and does not let the host see what is the port's;
/// - packet sockets for interfaces that exist in the kernel only (veth, TAP, macvlan, bridge, ...). AF_XDP is not
///   faster there, because the way through the interface is what costs; and what a program on this machine sends
///   over a veth has checksums that nobody has computed, of which AF_XDP says nothing and packet sockets do;
/// - packet sockets where only generic XDP is to be had, for the same two reasons.
pub(crate) fn choose(wanted: &Wanted<'_>) -> Choice {
    match wanted.carrier {
        Carrier::Packet => Choice::Packet,
        Carrier::Xdp => Choice::Xdp { generic: true },
        Carrier::Best if is_device(wanted) => Choice::Xdp { generic: false },
        Carrier::Best => Choice::Packet,
    }
}

/// Numbers of `linux/rtnetlink.h` and `linux/if_link.h`.
const RTM_GETLINK: u16 = 18;
const IFINFO: usize = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;

/// Is there a device behind the interface? One that netlink has no word for its kind of is none of the kernel's own.
fn is_device(wanted: &Wanted<'_>) -> bool {
    let interface = wanted.interface;
    interface.peer.is_none() && interface.is_ethernet && has_kind(interface.index) == Ok(false)
}

fn has_kind(index: u32) -> Result<bool, Failure> {
    // struct ifinfomsg: family, type, index, flags, mask
    let mut family = [0; IFINFO];
    family[4..8].copy_from_slice(&index.to_ne_bytes());
    let question = Message::new(RTM_GETLINK, 0, &family);
    let answers = Socket::open(Subject::Route)?.ask(question)?;
    let link = answers.first().ok_or(Errno::PROTO)?;
    let info = link.attributes(IFINFO).find(IFLA_LINKINFO);
    Ok(info.is_some_and(|info| info.nested().find(IFLA_INFO_KIND).is_some()))
}
