//! ptnet devices of a guest (`uvale nic add --ptnet`): a process with the rights drives one, and what programs need of
//! it is kept here, under a name that they open like an interface's. The kernel knows no interface of that name. It is
//! there until it is told to go, that process ends, or this one.

use std::collections::BTreeMap;

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::sockopt::socket_domain;
use uvale_link::proto::{Join, Reply};
use uvale_request::{Interface, interface_part, name_of};
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;
use uvale_wire::{Kind, Shape, ptnet, tap};

use super::super::log::{Level, log};
use super::super::{Daemon, descriptors};
use super::{Kept, Nic, PTNET_NEWS};

/// In place of a network namespace's cookie, which counts up from 1: that of devices which are in none.
const NOWHERE: u64 = u64::MAX;
/// Bytes of the packets that the host's port is good for without anybody having asked for more.
const MTU: u32 = 1500;

/// Devices that are kept at most: each has descriptors here for as long as whoever drives it wants.
const MOST: usize = 64;

struct Ptnet {
    name: String,
    shape: ptnet::Shape,
    fds: Vec<Fd>,
    /// hangs up when the process that drives the device ends, and tells that one when this is closed
    driver: Fd,
}

/// All of them, by a number that is not used again.
#[derive(Default)]
pub(super) struct Ptnets {
    all: BTreeMap<u32, Ptnet>,
    next: u32,
}

impl Ptnets {
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn check_room(&self) -> Result<(), Refusal> {
        if self.all.len() < MOST {
            return Ok(());
        }
        let why =
            format!("there are {MOST} ptnet devices in this world: `uvale nic del` removes one");
        Err(Refusal::new(Errno::NOSPC, why))
    }

    fn named(&self, name: &[u8]) -> Option<(u32, &Ptnet)> {
        let mut all = self.all.iter();
        let found = all.find(|(_, ptnet)| ptnet.name.as_bytes() == name)?;
        Some((*found.0, found.1))
    }

    /// The device that a request's name is about, as an interface.
    pub fn interface(&self, header: &nm_abi::nmreq_header) -> Option<Interface> {
        let name = name_of(&mut header.clone());
        let (id, ptnet) = self.named(interface_part(&name))?;
        let ptnet::Shape {
            mac, rings, slots, ..
        } = ptnet.shape;
        Some(Interface {
            netns: NOWHERE,
            index: id,
            mtu: MTU,
            tx_queues: rings[0],
            rx_queues: rings[1],
            tx_slots: slots[0],
            rx_slots: slots[1],
            address: mac,
            is_up: true,
            is_ethernet: true,
            ..Interface::default()
        })
    }
}

impl Daemon {
    /// Keeps a device, by descriptors that are believed in nothing.
    pub(in super::super) fn keep_ptnet(
        &mut self,
        name: String,
        shape: ptnet::Shape,
        mut fds: Vec<Fd>,
    ) -> Result<Reply, Refusal> {
        let wrong = || Refusal::new(Errno::PROTO, "the descriptors are not those of the device");
        tap::check_name(&name).map_err(|why| Refusal::new(Errno::INVAL, why))?;
        let driver = fds.pop().ok_or_else(wrong)?;
        let is_socket = socket_domain(&driver) == Ok(rustix::net::AddressFamily::UNIX);
        if !shape.is_plausible() || !shape.fits(&fds) || !is_socket {
            return Err(wrong());
        }
        self.nics.ptnets.check_room()?;
        let highest = fds.iter().chain([&driver]).max_by_key(|fd| fd.raw());
        if let Some(why) = highest.and_then(descriptors::lacking) {
            return Err(Refusal::new(Errno::MFILE, why));
        }
        if self.nics.ptnets.named(name.as_bytes()).is_some() {
            let why = format!("{name} is there already: `uvale nic del {name}` removes it");
            return Err(Refusal::new(Errno::EXIST, why));
        }
        let id = self.nics.ptnets.next;
        let event = PTNET_NEWS | u64::from(id);
        super::watch(&self.set, &driver, event, epoll::EventFlags::RDHUP)?;
        self.nics.ptnets.next = id.wrapping_add(1);
        log(
            Level::Info,
            &format!("{name}: a ptnet device of this guest, until it is deleted"),
        );
        let ptnet = Ptnet {
            name,
            shape,
            fds,
            driver,
        };
        self.nics.ptnets.all.insert(id, ptnet);
        self.nics.look_again();
        Ok(Reply::Ok)
    }

    /// Closes what is here of a device. Who has it open finds it gone.
    pub(in super::super) fn drop_ptnet(&mut self, name: &str) -> Result<Reply, Refusal> {
        let found = self.nics.ptnets.named(name.as_bytes()).map(|(id, _)| id);
        let id = found.ok_or_else(|| {
            let why =
                "there is no such interface here, and no ptnet device of that name in this world";
            Refusal::new(Errno::NXIO, why)
        })?;
        self.forget_ptnet(id, "deleted");
        Ok(Reply::Ok)
    }

    /// The process that drives the device has ended.
    pub(in super::super) fn hear_of_ptnet(&mut self, id: u32) {
        self.forget_ptnet(id, "the process that drove it has ended");
    }

    fn forget_ptnet(&mut self, id: u32, why: &str) {
        let Some(ptnet) = self.nics.ptnets.all.remove(&id) else {
            return;
        };
        let _ = epoll::delete(&self.set, &ptnet.driver);
        log(Level::Info, &format!("{}: {why}", ptnet.name));
        let of_it = |nic: &uvale_control::NicInfo| {
            (nic.interface.netns, nic.interface.index) == (NOWHERE, id) && !nic.is_gone
        };
        let info = self.world.nics().find(of_it);
        if let Some(info) = info {
            self.nics.remove(&self.set, info.port);
            self.world.nic_gone(info.port);
            self.wake_openers(&info);
        }
        self.nics.look_again();
    }

    /// If the port is that of a device kept here, this is its wire.
    pub(super) fn wire_by_ptnet(&mut self, port: u32) -> Result<(), Refusal> {
        if self.nics.ptnets.is_empty() || self.nics.by_port.contains_key(&port) {
            return Ok(());
        }
        self.tidy_nics();
        let Some(info) = self.world.nics().find(|nic| nic.port == port) else {
            return Ok(());
        };
        let is_device = info.interface.netns == NOWHERE;
        let found = self.nics.ptnets.all.get(&info.interface.index);
        let Some(ptnet) = found.filter(|_| is_device) else {
            return Ok(());
        };
        let copy = |fd| rustix::io::fcntl_dupfd_cloexec(fd, 0).map(Fd::from);
        let fds = ptnet.fds.iter().map(copy).collect::<Result<_, Errno>>()?;
        let nic = Nic {
            generation: info.generation,
            shape: Shape::of(Kind::Ptnet(ptnet.shape)),
            fds,
            kept: Kept::Descriptors { _fds: Vec::new() },
            watch: None,
            tap: None,
            join: Join::Auto,
            apart: None,
            control_failed: false,
            is_down: false,
        };
        self.nics.by_port.insert(port, nic);
        self.nics.look_again();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_most_of_devices() {
        let mut ptnets = Ptnets::default();
        let shape = ptnet::Shape {
            mac: [2; 6],
            rings: [1, 1],
            slots: [8; 2],
            memory: 1,
            bar: 4096,
            buffers: 0,
            buffer_size: 64,
            buffer_count: 8,
            nifp: 0,
        };
        for id in 0..MOST as u32 {
            assert!(ptnets.check_room().is_ok());
            let (driver, _) = uvale_link::channel::pair().expect("sockets");
            let ptnet = Ptnet {
                name: format!("ptnet{id}"),
                shape,
                fds: Vec::new(),
                driver,
            };
            ptnets.all.insert(id, ptnet);
        }
        let refusal = ptnets.check_room().expect_err("it is one too many");
        assert_eq!(refusal.errno, Errno::NOSPC);
        ptnets.all.remove(&3);
        assert!(ptnets.check_room().is_ok());
    }
}
