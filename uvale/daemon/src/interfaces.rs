//! The interfaces of persistent ports: what a program sees of them, and can set.
//!
//! They are as netmap makes them: Ethernet, with a random address, down. Nothing is behind them: what the host sends
//! to such an interface is dropped by netmap too.

use std::collections::BTreeMap;

use rustix::io::Errno;

use super::Daemon;
use uvale_link::proto::{Change, PortInterface, Reply, encode};
use uvale_system::refusal::Refusal;

/// Numbers from here on are not the system's, which counts up from 1.
const FIRST_INDEX: u32 = 0x4000_0000;
/// Of an Ethernet interface without further limits.
const MTUS: core::ops::RangeInclusive<u32> = 68..=1500;

/// Flags of an interface.
mod iff {
    use libc::*;
    pub const UP: u32 = IFF_UP as u32;
    /// what is so in any case
    pub const BROADCAST: u32 = IFF_BROADCAST as u32;
    /// what is so at the beginning
    pub const MULTICAST: u32 = IFF_MULTICAST as u32;
    /// what comes with being up
    pub const WITH_UP: u32 = (IFF_RUNNING | 1 << 16) as u32;
    /// what a program can set
    pub const SETTABLE: u32 = UP
        | MULTICAST
        | (IFF_DEBUG | IFF_NOTRAILERS | IFF_NOARP | IFF_PROMISC | IFF_ALLMULTI) as u32
        | (IFF_PORTSEL | IFF_AUTOMEDIA | IFF_DYNAMIC) as u32;
}

/// What is known of them, by the port's number.
#[derive(Default)]
pub struct Interfaces(BTreeMap<u32, PortInterface>);

/// As an interface is made.
fn new(port: u32, name: &[u8]) -> PortInterface {
    let [mut first, second, third, fourth, fifth, sixth, ..] =
        uvale_system::sys::random().to_ne_bytes();
    // one station's, and given by no maker
    first = first & !1 | 2;
    PortInterface {
        name: name.to_vec(),
        index: FIRST_INDEX | port & (FIRST_INDEX - 1),
        address: [first, second, third, fourth, fifth, sixth],
        mtu: 1500,
        flags: iff::BROADCAST | iff::MULTICAST,
        inet: None,
    }
}

impl Interfaces {
    /// Brought in line with the ports there are.
    fn of<'a>(&mut self, ports: impl Iterator<Item = (u32, &'a [u8])>) -> &mut Self {
        let mut before = core::mem::take(&mut self.0);
        let of_port = |(port, name)| {
            let known = before.remove(&port);
            (port, known.unwrap_or_else(|| new(port, name)))
        };
        self.0 = ports.map(of_port).collect();
        self
    }

    fn change(&mut self, index: u32, change: Change) -> Result<(), Errno> {
        let mut all = self.0.values_mut();
        let interface = all.find(|i| i.index == index).ok_or(Errno::NODEV)?;
        match change {
            Change::Flags(flags) => {
                let flags = iff::BROADCAST | flags & iff::SETTABLE;
                let is_up = flags & iff::UP != 0;
                interface.flags = flags | if is_up { iff::WITH_UP } else { 0 };
            }
            Change::Mtu(mtu) if !MTUS.contains(&mtu) => return Err(Errno::INVAL),
            Change::Mtu(mtu) => interface.mtu = mtu,
            Change::Address(address) if address[0] & 1 != 0 || address == [0; 6] => {
                return Err(Errno::ADDRNOTAVAIL);
            }
            Change::Address(address) => interface.address = address,
            Change::Inet(inet) => interface.inet = inet,
        }
        Ok(())
    }
}

impl Daemon {
    /// All of them, encoded.
    pub(super) fn interfaces(&mut self, id: u64, protocol: u32) -> Result<Vec<u8>, Refusal> {
        self.admit(id, protocol)?;
        let all = self.interfaces.of(self.world.persistent_ports());
        Ok(encode(&all.0.values().collect::<Vec<_>>()))
    }

    pub(super) fn change_interface(
        &mut self,
        id: u64,
        protocol: u32,
        index: u32,
        change: Change,
    ) -> Result<Reply, Refusal> {
        self.admit(id, protocol)?;
        let all = self.interfaces.of(self.world.persistent_ports());
        all.change(index, change)?;
        Ok(Reply::Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(list: &'static [(u32, &str)]) -> impl Iterator<Item = (u32, &'static [u8])> {
        list.iter().map(|(port, name)| (*port, name.as_bytes()))
    }

    #[test]
    fn an_interface_is_the_same_as_long_as_its_port_lives() {
        let mut all = Interfaces::default();
        let two: &[_] = &[(7, "a"), (9, "b")];
        let first: Vec<_> = all.of(ports(two)).0.values().cloned().collect();
        assert_eq!(first[0].flags, 0x1002);
        assert_eq!(first[0].index, 0x4000_0007);
        assert_eq!(first[0].address[0] & 3, 2);
        assert_ne!(first[0].address, first[1].address);
        all.change(0x4000_0009, Change::Mtu(1400)).unwrap();
        let again: Vec<_> = all.of(ports(two)).0.values().cloned().collect();
        assert_eq!((&again[0], again[1].mtu), (&first[0], 1400));
        // The port was deleted, and one of its name made.
        let made: Vec<_> = all
            .of(ports(&[(7, "a"), (10, "b")]))
            .0
            .values()
            .cloned()
            .collect();
        assert_eq!((&made[0], made[1].mtu), (&first[0], 1500));
        assert_eq!(
            all.change(0x4000_0009, Change::Mtu(1400)),
            Err(Errno::NODEV)
        );
    }

    #[test]
    fn what_can_be_set() {
        let mut all = Interfaces::default();
        all.of(ports(&[(1, "a")]));
        let mut set = |change| {
            let done = all.change(0x4000_0001, change);
            done.map(|()| all.0[&1].clone())
        };
        let flags = |set: Result<PortInterface, Errno>| set.map(|i| i.flags);
        assert_eq!(flags(set(Change::Flags(0))), Ok(0x2));
        assert_eq!(flags(set(Change::Flags(0xffff_ffff))), Ok(0x1_f3e7));
        assert_eq!(flags(set(Change::Flags(0x1103))), Ok(0x1_1143));
        for mtu in [0, 67, 1501, u32::MAX] {
            assert_eq!(set(Change::Mtu(mtu)), Err(Errno::INVAL));
        }
        assert_eq!(set(Change::Mtu(68)).unwrap().mtu, 68);
        for address in [[0; 6], [0xff; 6], [1, 0, 0, 0, 0, 1]] {
            assert_eq!(set(Change::Address(address)), Err(Errno::ADDRNOTAVAIL));
        }
        let address = [2, 1, 2, 3, 4, 5];
        assert_eq!(set(Change::Address(address)).unwrap().address, address);
    }
}
