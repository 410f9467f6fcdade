//! NIC ports: the daemon keeps their wires, hears of their interfaces, and joins the two ends of a veth pair when
//! both are open. It looks up no name: the process that opens a port stands in its network namespace, and has
//! sent sockets of there.

use std::collections::{BTreeMap, BTreeSet};

use rustix::event::epoll;
use rustix::io::Errno;

use super::connection::{Answer, Answered};
use super::log::{Level, log};
use super::{Daemon, watch};
use uvale_control::NicInfo;
use uvale_link::proto::{Join, Reply};
use uvale_shared::ctl::SETTLING;
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;
use uvale_wire::Shape;
use uvale_wire::host::Control;
use uvale_wire::interface::{DOWN, Watch, are_peers};

/// An event's number: news of the port's interface. Connections count up from 0.
pub(super) const NEWS: u64 = 1 << 62;

/// A NIC port's wire, and how its interface is watched.
struct Nic {
    generation: u32,
    shape: Shape,
    /// what every process gets
    fds: Vec<Fd>,
    /// closed with the port: what it has set up on the system goes with these
    kept: Kept,
    watch: Option<Watch>,
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
    /// how many have each port open, by its generation
    openers: Vec<(u32, usize)>,
}

impl Nics {
    /// Why the port is not joined to its peer, which is open.
    pub fn apart(&self, port: u32) -> Option<&str> {
        self.by_port.get(&port)?.apart.as_deref()
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
    pub(super) fn wire(&self, port: u32) -> Answered<'_> {
        let missing = || Refusal::new(Errno::NODATA, "nobody has opened the port's wire yet");
        let nic = self.nics.by_port.get(&port).ok_or_else(missing)?;
        Ok(Answer(Reply::Wire(nic.shape.clone()), Some(&nic.fds)))
    }

    /// A process has opened the wire of a port. If another one was faster, that one's stays.
    pub(super) fn give_wire(
        &mut self,
        port: u32,
        shape: Shape,
        (watched, join): (bool, Join),
        mut fds: Vec<Fd>,
    ) -> Answered<'_> {
        self.tidy_nics();
        if self.nics.by_port.contains_key(&port) {
            return self.wire(port);
        }
        let info = self.world.nics().find(|nic| nic.port == port);
        let gone = || Refusal::new(Errno::NXIO, "there is no such NIC port any more");
        let info = info.ok_or_else(gone)?;
        let cut = || Refusal::new(Errno::PROTO, "the wire's descriptors have not all come");
        let of_shape = shape.descriptors();
        if fds.len() < of_shape + if watched { 3 } else { 0 } {
            return Err(cut());
        }
        let mut rest = fds.split_off(of_shape);
        let watch = if watched {
            let kept = rest.split_off(3);
            let watch = <[Fd; 3]>::try_from(rest).map_err(|_| cut())?;
            rest = kept;
            Some(Watch::from_fds(watch)?)
        } else {
            None
        };
        if let Some(news) = &watch {
            let id = NEWS | u64::from(port);
            let _ = self::watch(&self.set, news.news.fd(), id, epoll::EventFlags::IN);
        }
        let nic = Nic {
            generation: info.generation,
            fds,
            kept: match shape.plan {
                Some(plan) => Kept::Control(Control::from_fds(plan, rest)?),
                None => Kept::Descriptors { _fds: rest },
            },
            watch,
            join,
            apart: None,
            control_failed: false,
            is_down: false,
            shape,
        };
        for lack in &nic.shape.lacks {
            log(Level::Warning, &format!("{}: {lack}", info.name));
        }
        self.nics.by_port.insert(port, nic);
        self.nics.known.clear();
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
        let info = self.world.nics().find(|nic| nic.port == port);
        let nic = self.nics.by_port.get(&port);
        let (Some(info), Some(watch)) = (info, nic.and_then(|nic| nic.watch.as_ref())) else {
            return;
        };
        let index = info.interface.index;
        let news = watch.hear(index);
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
        self.nics.known.clear();
        let info = self.world.nics().find(|nic| nic.port == port);
        if let Some(info) = info {
            self.tell_state(&info);
            self.wake_openers(&info);
        }
    }

    /// Looks at the interface of a port once more.
    fn refresh_nic(&mut self, port: u32) {
        let info = self.world.nics().find(|nic| nic.port == port);
        let watch = self
            .nics
            .by_port
            .get(&port)
            .and_then(|nic| nic.watch.as_ref());
        if let (Some(info), Some(watch)) = (info, watch)
            && let Some(interface) = watch.refresh(info.interface.index)
        {
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

    /// Closes the wires of ports that are closed, and joins or parts those that are open.
    pub(super) fn tidy_nics(&mut self) {
        if self.nics.by_port.is_empty() {
            return;
        }
        let all: Vec<NicInfo> = self.world.nics().collect();
        let is_live = |port: &u32, nic: &mut Nic| {
            let of_it = |info: &NicInfo| info.port == *port && info.generation == nic.generation;
            all.iter().any(of_it)
        };
        self.nics.by_port.retain(is_live);
        let openers: Vec<(u32, usize)> = all
            .iter()
            .map(|nic| (nic.generation, nic.openers.len()))
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
    }

    /// As in netmap the host sees what arrives, and sends, only as long as nobody has the port's own rings.
    fn show_host(&mut self, info: &NicInfo) {
        let Some(nic) = self.nics.by_port.get_mut(&info.port) else {
            return;
        };
        let Kept::Control(control) = &nic.kept else {
            return;
        };
        let steals = info.uses_nic;
        if nic.shape.is_stolen == steals || info.is_gone || nic.control_failed {
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

    fn join_or_part(&mut self, a: &NicInfo, b: &NicInfo) {
        let is_joined = a.joined == Some(b.port);
        let pair = [a, b].map(|nic| (nic.port, nic.generation));
        if self.nics.known.contains(&pair) {
            return;
        }
        self.nics.known.insert(pair);
        let Some(may) = self.may_join(a, b) else {
            return;
        };
        let outcome = match (may, is_joined) {
            (Ok(()), true) => return,
            (Ok(()), false) => self.world.join(a.port, b.port, now() + SETTLING),
            (Err(why), true) => {
                self.world.part(a.port);
                Err(why)
            }
            (Err(why), false) => Err(why),
        };
        let apart = match outcome {
            Ok(()) => {
                log(
                    Level::Info,
                    &format!("{} and {} are joined", a.name, b.name),
                );
                None
            }
            Err(why) => {
                log(
                    Level::Info,
                    &format!("{} and {} are not joined: {why}", a.name, b.name),
                );
                Some(why)
            }
        };
        for nic in [a, b] {
            if let Some(known) = self.nics.by_port.get_mut(&nic.port) {
                known.apart.clone_from(&apart);
            }
            self.wake_openers(nic);
        }
    }

    /// Are these the two ends of a veth pair, and may packets bypass the kernel? `None`: they are not.
    fn may_join(&self, a: &NicInfo, b: &NicInfo) -> Option<Result<(), String>> {
        let watch_of = |nic: &NicInfo| self.nics.by_port.get(&nic.port)?.watch.as_ref();
        let (wa, wb) = (watch_of(a)?, watch_of(b)?);
        let is_pair = are_peers(&a.interface, wa, &b.interface, wb);
        if a.is_gone || b.is_gone || !is_pair {
            return None;
        }
        let wants = [a, b].map(|nic| self.nics.by_port.get(&nic.port).map(|nic| nic.join));
        if wants.contains(&Some(Join::Never)) {
            return Some(Err("NMSHIM_JOIN=never".into()));
        }
        let is_forced = wants.contains(&Some(Join::Always));
        for nic in [a, b] {
            if !nic.interface.is_up {
                return Some(Err(format!("{} is down", nic.name)));
            }
            if is_forced {
                continue;
            }
            if let [first, ..] = &nic.interface.in_the_way[..] {
                return Some(Err(format!("{first} on {} would be bypassed", nic.name)));
            }
        }
        Some(Ok(()))
    }
}

/// Monotonic time in nanoseconds.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
