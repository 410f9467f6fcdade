//! NIC ports: the daemon keeps their wires, hears of their interfaces, and joins the two ends of a veth pair when
//! both are open. It looks up no name: the process that opens a port stands in its network namespace, and has
//! sent sockets of there. Pairs are in `nic/pairs.rs`.

use core::sync::atomic::Ordering::Release;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use nm_abi::{AbiBytes, NETMAP_API, NETMAP_REQ_VALE_DETACH, nmreq_header, nmreq_vale_detach};
use rustix::event::epoll;
use rustix::io::Errno;

use super::connection::{Answer, Answered};
use super::log::{Level, log};
use super::{Daemon, watch};
use uvale_control::{Caller, ClientId, NicInfo};
use uvale_link::proto::{Join, Reply};
use uvale_request::{Request, set_name};
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;
use uvale_wire::host::Control;
use uvale_wire::interface::{DOWN, News, Watch};
use uvale_wire::{Kind, Shape};

mod pairs;
mod ptnets;
mod taps;

/// An event's number: news of the port's interface. Connections count up from 0.
pub(super) const NEWS: u64 = 1 << 62;
/// The same of an interface that is kept here: its number among those.
pub(super) const TAP_NEWS: u64 = 1 << 61;
/// The same of a ptnet device that is kept here.
pub(super) const PTNET_NEWS: u64 = 1 << 60;
/// Descriptors that are kept with a wire at most, beside those that everybody gets.
const MOST_KEPT: usize = 8;

/// A NIC port's wire, and how its interface is watched. What is first is closed first.
struct Nic {
    generation: u32,
    shape: Shape,
    /// closed with the port: what it has set up on the system goes with these, and packets go to the host again
    kept: Kept,
    /// what every process gets
    fds: Vec<Fd>,
    watch: Option<Watch>,
    /// the interface is one that is kept here
    tap: Option<Rc<Watch>>,
    /// what its first opener wants
    join: Join,
    /// why it is not joined, though its peer is open, too
    apart: Option<String>,
    /// what the host sees cannot be changed
    control_failed: bool,
    /// the log says that it is down
    is_down: bool,
}

/// What is the daemon's alone of a wire.
enum Kept {
    /// it decides what the host sees
    Control(Control),
    /// nothing but descriptors
    Descriptors { _fds: Vec<Fd> },
}

/// All of them, by port record.
#[derive(Default)]
pub(super) struct Nics {
    by_port: BTreeMap<u32, Nic>,
    /// pairs, by port record and generation, that need not be looked at again before something changes
    known: BTreeSet<[(u32, u32); 2]>,
    /// descriptors that have put a NIC on a switch, and its port record and generation
    attachers: BTreeMap<u32, (u32, u32)>,
    /// interfaces that uvale has made
    taps: taps::Taps,
    /// ptnet devices of this guest
    ptnets: ptnets::Ptnets,
    /// how many have each port open, and whose peer it is, by its generation
    openers: Vec<(u32, usize, Option<u32>)>,
    /// counts what has changed here
    changes: u64,
    /// what [`Daemon::changes`] was when all was looked through
    tidied: Option<Changes>,
}

/// How often the ports of the world have changed, and their wires.
pub(super) type Changes = (u64, u64);

impl Nic {
    /// From what a process has sent, which is believed in nothing.
    fn new(
        generation: u32,
        shape: Shape,
        (watched, join): (bool, Join),
        mut fds: Vec<Fd>,
    ) -> Result<Self, Refusal> {
        let wrong = || Refusal::new(Errno::PROTO, "the wire's descriptors do not fit its shape");
        let of_shape = shape.descriptors();
        let of_watch = if watched { 3 } else { 0 };
        let whole = of_shape.saturating_add(of_watch);
        if !(whole..=whole.saturating_add(MOST_KEPT)).contains(&fds.len()) {
            return Err(wrong());
        }
        let mut watched = fds.split_off(of_shape);
        let kept = watched.split_off(of_watch);
        let watch = match <[Fd; 3]>::try_from(watched) {
            Ok(watched) => Some(Watch::from_fds(watched)?),
            Err(_) => None,
        };
        let kept = match shape.plan {
            Some(plan) => Kept::Control(Control::from_fds(plan, kept)?),
            None => Kept::Descriptors { _fds: kept },
        };
        Ok(Self {
            generation,
            fds,
            kept,
            watch,
            tap: None,
            join,
            apart: None,
            control_failed: false,
            is_down: false,
            shape,
        })
    }
}

impl Nic {
    /// How its interface is watched.
    fn watch(&self) -> Option<&Watch> {
        self.tap.as_deref().or(self.watch.as_ref())
    }
}

impl Nics {
    /// Closes a port's wire. Others may have duplicates of what is watched: the set does not forget it by itself.
    fn remove(&mut self, set: &Fd, port: u32) {
        let nic = self.by_port.remove(&port);
        if let Some(watch) = nic.and_then(|nic| nic.watch) {
            let _ = epoll::delete(set, watch.news.fd());
        }
    }

    /// Pairs have to be looked at again.
    fn look_again(&mut self) {
        self.known.clear();
        self.changes += 1;
    }

    /// Why the port is not joined to its peer, which is open.
    pub fn apart(&self, port: u32) -> Option<&str> {
        self.by_port.get(&port)?.apart.as_deref()
    }

    /// Number of the network namespace of the port's interface.
    pub fn namespace(&self, port: u32) -> Option<u64> {
        self.by_port.get(&port)?.watch()?.number()
    }

    /// Is there any?
    pub fn any(&self) -> bool {
        !self.by_port.is_empty()
    }

    /// The port's wire.
    pub fn shape(&self, port: u32) -> Option<&Shape> {
        Some(&self.by_port.get(&port)?.shape)
    }
}

impl Daemon {
    /// The wire of a port.
    pub(super) fn wire(&mut self, port: u32) -> Answered<'_> {
        self.wire_by_tap(port)?;
        self.wire_by_ptnet(port)?;
        let missing = || Refusal::new(Errno::NODATA, "nobody has opened the port's wire yet");
        let nic = self.nics.by_port.get(&port).ok_or_else(missing)?;
        Ok(Answer(Reply::Wire(nic.shape.clone()), Some(&nic.fds)))
    }

    /// A NIC has been put on a switch by a request of `client`, who opens its wire next.
    pub(super) fn expect_wire(&mut self, client: ClientId, port: u32) {
        let of_it = |nic: &NicInfo| nic.port == port;
        if let Some(info) = self.world.nics().find(of_it) {
            let of_port = (port, info.generation);
            self.nics.attachers.insert(client.0, of_port);
        }
    }

    /// The descriptor `client` is closed. A NIC that it has put on a switch is taken off if its wire has not come.
    pub(super) fn forget_attacher(&mut self, client: ClientId) {
        let Some(of_port) = self.nics.attachers.remove(&client.0) else {
            return;
        };
        self.tidy_nics();
        let of_it = |nic: &NicInfo| (nic.port, nic.generation) == of_port;
        let attached = self.world.nics().find(of_it).and_then(|nic| nic.attached);
        let Some(attached) = attached.filter(|_| !self.nics.by_port.contains_key(&of_port.0))
        else {
            return;
        };
        let mut header = nmreq_header::zeroed();
        (header.nr_version, header.nr_reqtype) = (NETMAP_API, NETMAP_REQ_VALE_DETACH);
        set_name(&mut header, attached.name.as_bytes());
        let mut request = Request {
            header,
            body: nmreq_vale_detach::default().as_bytes().to_vec(),
            options: Vec::new(),
        };
        let taken_off = self
            .world
            .request_from(client, &mut Caller::default(), &mut request);
        let outcome = match taken_off {
            Ok(()) => "its wire has not come: taken off the switch".to_owned(),
            Err(refusal) => format!("its wire has not come: {refusal}"),
        };
        log(Level::Warning, &format!("{}: {outcome}", attached.name));
    }

    /// Who has a port open, or has put it on a switch, has opened its wire. If another one was faster, that one's
    /// stays, unless it carries nothing and this one does.
    pub(super) fn give_wire(
        &mut self,
        client: ClientId,
        port: u32,
        shape: Shape,
        (watched, join): (bool, Join),
        fds: Vec<Fd>,
    ) -> Answered<'_> {
        self.tidy_nics();
        let info = self.world.nics().find(|nic| nic.port == port);
        let gone = || Refusal::new(Errno::NXIO, "there is no such NIC port any more");
        let info = info.ok_or_else(gone)?;
        let of_port = (port, info.generation);
        let has_attached = self.nics.attachers.get(&client.0) == Some(&of_port);
        if !has_attached && !info.openers.contains(&client) {
            let why = "the descriptor does not have that port open";
            return Err(Refusal::new(Errno::PERM, why));
        }
        let old = self.nics.by_port.get(&port);
        if old.is_some_and(|old| old.shape.kind != Kind::Nothing || shape.kind == Kind::Nothing) {
            return self.wire(port);
        }
        let nic = Nic::new(info.generation, shape, (watched, join), fds)?;
        for lack in &nic.shape.lacks {
            log(Level::Warning, &format!("{}: {lack}", info.name));
        }
        self.nics.remove(&self.set, port);
        if let Some(watch) = &nic.watch {
            let id = NEWS | u64::from(port);
            self::watch(&self.set, watch.news.fd(), id, epoll::EventFlags::IN)?;
        }
        self.nics.by_port.insert(port, nic);
        self.nics.look_again();
        if let Some(record) = self.ctl.port(port) {
            // SYNC POINT: Release pairs with the Acquire in `wires::wire_key`: who sees another number gets another
            // wire.
            record.wires.fetch_add(1, Release);
        }
        // What happened before it was watched, nobody has told.
        self.refresh_nic(port);
        let info = self.world.nics().find(|nic| nic.port == port);
        if let Some(info) = info {
            self.tell_state(&info);
        }
        self.tidy_nics();
        self.wire(port)
    }

    /// Something has happened to the interface of a port.
    pub(super) fn hear_of_nic(&mut self, port: u32) {
        self.tidy_nics();
        let info = self.world.nics().find(|nic| nic.port == port);
        let nic = self.nics.by_port.get(&port);
        let (Some(info), Some(watch)) = (info, nic.and_then(|nic| nic.watch.as_ref())) else {
            return;
        };
        let news = watch.hear(info.interface.index);
        self.take_news(&info, news);
    }

    /// That has happened to the interface of a port.
    fn take_news(&mut self, info: &NicInfo, news: News) {
        let port = info.port;
        if news.gone {
            self.world.nic_gone(port);
            log(
                Level::Warning,
                &format!("{}: the interface is gone", info.name),
            );
        } else if news.changed {
            self.refresh_nic(port);
        } else {
            return;
        }
        self.nics.look_again();
        let info = self.world.nics().find(|nic| nic.port == port);
        if let Some(info) = info {
            self.tell_state(&info);
            self.wake_openers(&info);
        }
    }

    /// Looks at the interface of a port once more.
    fn refresh_nic(&mut self, port: u32) {
        let info = self.world.nics().find(|nic| nic.port == port);
        let watch = self.nics.by_port.get(&port).and_then(Nic::watch);
        if let (Some(info), Some(watch)) = (info, watch)
            && let Some(interface) = watch.refresh(info.interface.index)
        {
            let interface = self.nics.as_made(interface);
            self.world.nic_changed(port, interface);
        }
    }

    /// Says that the interface of a port is down, or up again.
    fn tell_state(&mut self, info: &NicInfo) {
        let is_down = !info.interface.is_up;
        let nic = self.nics.by_port.get_mut(&info.port);
        if let Some(nic) = nic.filter(|nic| nic.is_down != is_down) {
            nic.is_down = is_down;
            let (level, what) = match is_down {
                true => (Level::Warning, DOWN),
                false => (Level::Notice, "the interface is up again"),
            };
            log(level, &format!("{}: {what}", info.name));
        }
    }

    fn wake_openers(&self, info: &NicInfo) {
        info.openers.iter().for_each(|c| self.send_token(c.0));
    }

    /// Another value whenever a port or a wire may have changed.
    pub(super) fn changes(&self) -> Changes {
        (self.world.changes(), self.nics.changes)
    }

    /// Closes the wires of ports that are closed, and joins or parts those that are open. Looks at nothing if nothing
    /// has changed: false.
    pub(super) fn tidy_nics(&mut self) -> bool {
        let changes = self.changes();
        let is_any = self.nics.any() || self.nics.has_made();
        if !is_any || self.nics.tidied.replace(changes) == Some(changes) {
            return false;
        }
        self.tidy_taps();
        let all: Vec<NicInfo> = self.world.nics().collect();
        let is_closed = |(port, nic): (&u32, &Nic)| {
            let of_it = |info: &NicInfo| info.port == *port && info.generation == nic.generation;
            (!all.iter().any(of_it)).then_some(*port)
        };
        let closed: Vec<u32> = self.nics.by_port.iter().filter_map(is_closed).collect();
        for port in closed {
            self.nics.remove(&self.set, port);
            self.nics.changes += 1;
        }
        let openers: Vec<_> = all
            .iter()
            .map(|nic| (nic.generation, nic.openers.len(), nic.joined))
            .collect();
        if openers != self.nics.openers {
            self.nics.openers = openers;
            self.nics.known.clear();
        }
        for info in &all {
            self.show_host(info);
        }
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                self.join_or_part(a, b);
            }
        }
        true
    }

    /// As in netmap the host sees what arrives, and sends, only as long as nobody has the port's own rings.
    fn show_host(&mut self, info: &NicInfo) {
        let Some(nic) = self.nics.by_port.get_mut(&info.port) else {
            return;
        };
        let Kept::Control(control) = &nic.kept else {
            return;
        };
        if info.is_gone {
            // Another namespace may have it now, whose host knows nothing of this port.
            if core::mem::take(&mut nic.shape.is_stolen) {
                control.release();
            }
            return;
        }
        let steals = info.uses_nic;
        if nic.shape.is_stolen == steals || nic.control_failed {
            return;
        }
        match control.set(steals, steals) {
            Ok(()) => nic.shape.is_stolen = steals,
            Err(refusal) => {
                nic.control_failed = true;
                let why = format!("what its host sees cannot be changed: {refusal}");
                log(Level::Warning, &format!("{}: {why}", info.name));
                nic.shape.lacks.push(why);
            }
        }
    }
}

#[cfg(test)]
mod tests;
