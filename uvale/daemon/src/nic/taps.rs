//! Interfaces that uvale has made (`uvale nic add`): TAP devices, whose descriptors are kept here and are the wire of
//! the port by which somebody opens one. An interface has a carrier as long as somebody has its port, so that the host
//! sends nothing that nobody takes. It goes when it is told to, or with this process.

use std::rc::Rc;

use rustix::io::Errno;
use uvale_control::NicInfo;
use uvale_link::proto::{Join, Reply};
use uvale_link::report;
use uvale_request::Interface;
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;
use uvale_wire::interface::Watch;
use uvale_wire::tap::{MOST_QUEUES, empty, is_device_of, set_carrier};
use uvale_wire::{Kind, Shape};

use super::super::Daemon;
use super::super::log::{Level, log};
use super::{Kept, Nic, TAP_NEWS};

/// Cookie of an interface's network namespace, its number in there.
type Key = (u64, u32);

struct Tap {
    name: String,
    key: Key,
    /// one for each queue
    fds: Vec<Fd>,
    watch: Rc<Watch>,
    has_carrier: bool,
}

/// All of them, by a number that is not used again.
#[derive(Default)]
pub(super) struct Taps {
    all: std::collections::BTreeMap<u32, Tap>,
    next: u32,
}

fn key(interface: &Interface) -> Key {
    (interface.netns, interface.index)
}

impl super::Nics {
    /// Is there an interface that goes with this process?
    pub fn has_made(&self) -> bool {
        !self.taps.all.is_empty() || !self.ptnets.is_empty()
    }

    /// The interface that a request is about: what its process has found out, or a device that is kept here.
    pub fn interface_of(
        &self,
        header: &nm_abi::nmreq_header,
        found: Option<Interface>,
    ) -> Option<Interface> {
        match found {
            Some(interface) => Some(self.as_made(interface)),
            None => self.ptnets.interface(header),
        }
    }

    /// The interfaces that uvale has made, as if nobody used them.
    pub fn made(&self) -> impl Iterator<Item = report::Interface> {
        self.taps.all.values().map(|tap| report::Interface {
            name: tap.name.clone(),
            netns: tap.key.0,
            index: tap.key.1,
            namespace: tap.watch.number(),
            made: true,
            queues: Some(tap.fds.len() as u16),
            attached: None,
            holders: Vec::new(),
            opened: Vec::new(),
        })
    }

    /// What a process has found out about an interface. Of those kept here, which may have several queues, the kernel
    /// tells how many there could be.
    pub fn as_made(&self, interface: Interface) -> Interface {
        match self.taps.of(key(&interface)) {
            None => interface,
            Some((_, tap)) => {
                let queues = tap.fds.len() as u16;
                Interface {
                    tx_queues: queues,
                    rx_queues: queues,
                    ..interface
                }
            }
        }
    }
}

impl Taps {
    fn of(&self, key: Key) -> Option<(u32, &Tap)> {
        let mut all = self.all.iter();
        all.find(|(_, tap)| tap.key == key)
            .map(|(id, tap)| (*id, tap))
    }
}

impl Daemon {
    /// Keeps an interface, by descriptors that are believed in nothing.
    pub(in super::super) fn keep_tap(
        &mut self,
        name: String,
        index: u32,
        queues: u16,
        mut fds: Vec<Fd>,
    ) -> Result<Reply, Refusal> {
        let wrong = || {
            let why = "the descriptors are not those of the interface";
            Refusal::new(Errno::PROTO, why)
        };
        if !(1..=MOST_QUEUES).contains(&queues) || fds.len() != usize::from(queues) + 3 {
            return Err(wrong());
        }
        let watch = fds.split_off(queues.into());
        let watch = <[Fd; 3]>::try_from(watch).map_err(|_| wrong())?;
        let watch = Watch::from_fds(watch)?;
        let interface = watch.refresh(index).ok_or_else(wrong)?;
        if !fds.iter().all(|fd| is_device_of(fd, &name))
            || self.nics.taps.of(key(&interface)).is_some()
        {
            return Err(wrong());
        }
        let id = self.nics.taps.next;
        super::watch(
            &self.set,
            watch.news.fd(),
            TAP_NEWS | u64::from(id),
            super::epoll::EventFlags::IN,
        )?;
        self.nics.taps.next = id.wrapping_add(1);
        log(
            Level::Info,
            &format!("{name}: an interface made by uvale, until it is deleted"),
        );
        let tap = Tap {
            name,
            key: key(&interface),
            fds,
            watch: Rc::new(watch),
            // Whatever the process has left behind.
            has_carrier: true,
        };
        self.nics.taps.all.insert(id, tap);
        self.tidy_taps();
        self.nics.look_again();
        Ok(Reply::Ok)
    }

    /// Takes an interface off its switch, and closes what is here of it. Who has it open finds it gone.
    pub(in super::super) fn drop_tap(&mut self, key: Key) -> Result<Reply, Refusal> {
        let found = self.nics.taps.of(key).map(|(id, _)| id);
        let id = found.ok_or_else(|| {
            let why = "that interface was not made by uvale, or not in this world: remove it with `ip link del`";
            Refusal::new(Errno::NXIO, why)
        })?;
        if let Some(info) = self.port_of(key) {
            self.world.detach_nic(info.port)?;
        }
        self.forget_tap(id);
        Ok(Reply::Ok)
    }

    fn forget_tap(&mut self, id: u32) {
        let Some(tap) = self.nics.taps.all.remove(&id) else {
            return;
        };
        // Others may have duplicates: the set does not forget it by itself.
        let _ = super::epoll::delete(&self.set, tap.watch.news.fd());
        log(Level::Info, &format!("{}: deleted", tap.name));
        if let Some(info) = self.port_of(tap.key) {
            self.nics.remove(&self.set, info.port);
            self.world.nic_gone(info.port);
            self.wake_openers(&info);
        }
        self.nics.look_again();
    }

    fn port_of(&self, of: Key) -> Option<NicInfo> {
        self.world
            .nics()
            .find(|nic| key(&nic.interface) == of && !nic.is_gone)
    }

    /// Something has happened to an interface that is kept here.
    pub(in super::super) fn hear_of_tap(&mut self, id: u32) {
        let Some(tap) = self.nics.taps.all.get(&id) else {
            return;
        };
        let (index, of) = (tap.key.1, tap.key);
        let news = tap.watch.hear(index);
        if let Some(info) = self.port_of(of) {
            self.take_news(&info, news);
        }
        if news.gone {
            self.forget_tap(id);
        }
    }

    /// If the port is that of an interface kept here, this is its wire.
    pub(super) fn wire_by_tap(&mut self, port: u32) -> Result<(), Refusal> {
        if self.nics.taps.all.is_empty() || self.nics.by_port.contains_key(&port) {
            return Ok(());
        }
        self.tidy_nics();
        let Some(info) = self.world.nics().find(|nic| nic.port == port) else {
            return Ok(());
        };
        let Some((_, tap)) = self.nics.taps.of(key(&info.interface)) else {
            return Ok(());
        };
        let copy = |fd| rustix::io::fcntl_dupfd_cloexec(fd, 0).map(Fd::from);
        let fds: Result<Vec<Fd>, Errno> = tap.fds.iter().map(copy).collect();
        let nic = Nic {
            generation: info.generation,
            shape: Shape::of(Kind::Tap(tap.fds.len() as u16)),
            fds: fds?,
            kept: Kept::Descriptors { _fds: Vec::new() },
            watch: None,
            tap: Some(tap.watch.clone()),
            join: Join::Auto,
            apart: None,
            control_failed: false,
            is_down: false,
        };
        self.nics.by_port.insert(port, nic);
        self.nics.look_again();
        self.tell_state(&info);
        Ok(())
    }

    /// Connects the interfaces whose ports somebody has, and takes the carrier from the others.
    pub(super) fn tidy_taps(&mut self) {
        if self.nics.taps.all.is_empty() {
            return;
        }
        let used: Vec<Key> = self
            .world
            .nics()
            .filter(|nic| nic.uses_nic || nic.attached.is_some())
            .map(|nic| key(&nic.interface))
            .collect();
        for tap in self.nics.taps.all.values_mut() {
            let is_used = used.contains(&tap.key);
            if tap.has_carrier == is_used {
                continue;
            }
            tap.has_carrier = is_used;
            if is_used {
                // From before somebody had it.
                tap.fds.iter().for_each(empty);
            }
            // All queues have one.
            let _ = tap.fds.first().map(|fd| set_carrier(fd, is_used));
        }
    }
}
