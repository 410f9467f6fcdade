//! Persistent ports as network interfaces: in the seam's words, and in the daemon's.

use uvale_link::interfaces;
use uvale_link::place::runtime_dir;
use uvale_link::proto::{Change, Inet, PortInterface};

use crate::device;

/// All of them. Without a daemon there are none.
pub fn list() -> Vec<device::Interface> {
    let list = interfaces::list(&runtime_dir()).unwrap_or_default();
    list.into_iter().map(interface).collect()
}

/// Changes the one with this number.
pub fn change(index: u32, change: device::InterfaceChange) -> device::Result<()> {
    let change = match change {
        device::InterfaceChange::Flags(flags) => Change::Flags(flags),
        device::InterfaceChange::Mtu(mtu) => Change::Mtu(mtu),
        device::InterfaceChange::Address(address) => Change::Address(address),
        device::InterfaceChange::Inet(inet) => Change::Inet(inet.map(|inet| Inet {
            address: inet.address,
            netmask: inet.netmask,
            broadcast: inet.broadcast,
        })),
    };
    Ok(interfaces::change(&runtime_dir(), index, change).map_err(|refusal| refusal.errno)?)
}

fn interface(from: PortInterface) -> device::Interface {
    device::Interface {
        name: from.name,
        index: from.index,
        address: from.address,
        mtu: from.mtu,
        flags: from.flags,
        inet: from.inet.map(|inet| device::Inet {
            address: inet.address,
            netmask: inet.netmask,
            broadcast: inet.broadcast,
        }),
    }
}
