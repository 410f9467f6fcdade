//! The wire of a NIC port. The first process that opens the port opens it, because it stands in the interface's
//! network namespace and has whatever rights there are; everybody else gets it from the daemon.

use core::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use uvale_engine::Host;
use uvale_shared::binding::Binding;
use uvale_system::refusal::Refusal;
use uvale_wire::interface::{DOWN, Watch, carries_default_route, look_up};
use uvale_wire::{Carrier, Kind, Opened, Shape, Wanted, Wire};

use crate::nic_helper;
use crate::proto::{AttachedNic, Join};
use crate::session::Session;

/// Who opens a wire.
pub struct Opener<'a> {
    /// the descriptor that has the port open, or has put it on a switch
    pub device: BorrowedFd<'a>,
    /// the process's session
    pub session: &'a Session,
    /// shows a person what the wire lacks, a sentence each
    pub say: &'a dyn Fn(&str),
}

impl Opener<'_> {
    /// The wire of the port that `binding` is of.
    pub fn wire_of(&self, binding: &Binding) -> Result<Arc<Wire>, Refusal> {
        let port = self.session.ctl().port(binding.port);
        let nic_rings = |dir: usize| {
            port.map_or(0, |port| {
                [&port.num_rx_rings, &port.num_tx_rings][dir].load(Relaxed)
            })
        };
        let steal = (0..2).any(|dir| binding.rings(dir).any(|ring| ring < nic_rings(dir)));
        self.fetch(binding.port, &binding.name, steal)
    }

    /// The same of a NIC that has been attached to a switch. The daemon keeps the wire.
    pub fn attached(&self, nic: &AttachedNic) -> Result<(), Refusal> {
        self.fetch(nic.port, &nic.name, true).map(drop)
    }

    fn fetch(&self, port: u32, name: &str, steal: bool) -> Result<Arc<Wire>, Refusal> {
        match self.session.fetch_wire(port) {
            Err(refusal) if refusal.errno == Errno::NODATA => self.open(port, name, steal),
            // Whoever opened the port first had fewer rights, perhaps.
            Ok(wire) if wire.shape().kind == Kind::Nothing => {
                self.open(port, name, steal).or(Ok(wire))
            }
            other => other,
        }
    }

    fn open(&self, record: u32, name: &str, steal: bool) -> Result<Arc<Wire>, Refusal> {
        let gone = || Refusal::new(Errno::NXIO, format!("{name}: the interface has gone"));
        let interface = look_up(name.as_bytes()).ok_or_else(gone)?;
        let port = self.session.ctl().port(record).ok_or_else(gone)?;
        let rings = [&port.num_rx_rings, &port.num_tx_rings].map(|n| n.load(Relaxed));
        let wanted = Wanted {
            name,
            interface: &interface,
            rings,
            host: true,
            steal,
            programs: true,
            carrier: carrier(),
        };
        let mut opened = with_help(uvale_wire::open(&wanted)?, &wanted);
        let may_steal = opened.shape.is_stolen || opened.shape.plan.is_some();
        if may_steal && carries_default_route(interface.index) {
            opened.shape.lacks.push(default_route(name));
        }
        let lacks = &opened.shape.lacks;
        // A veth's end can wait for the other one to be joined with.
        let may_wait = interface.peer.is_some() && join() != Join::Never;
        if opened.shape.kind == Kind::Nothing && !may_wait {
            let why = lacks.join("; ");
            return Err(Refusal::new(Errno::PERM, format!("{name}: {why}")));
        }
        let down = (!interface.is_up).then_some(DOWN);
        for lack in lacks.iter().map(String::as_str).chain(down) {
            (self.say)(&format!("{name}: {lack}"));
        }
        let watch = Watch::open(&interface);
        self.session
            .give_wire(self.device, record, opened, watch, join())
    }
}

/// What becomes of the machine whose default route leads through an interface that is stolen from it.
fn default_route(name: &str) -> String {
    format!(
        "the default route leads through it: while its rings are open, or it is on a switch, this machine has no \
         network but what is passed on to its host, and a login over {name} hangs. A program that forwards between \
         {name} and {name}^ passes it on, and so does vale-ctl -h; `uvale nic add` makes an interface for trying"
    )
}

/// What this process may not, a nic-helper may for it: the better of two wires.
fn with_help(mut own: Opened, wanted: &Wanted<'_>) -> Opened {
    let worth = |shape: &Shape| {
        (
            shape.kind != Kind::Nothing,
            shape.is_stolen,
            shape.host.is_some(),
        )
    };
    if worth(&own.shape) == (true, true, true) {
        return own;
    }
    let Some(place) = nic_helper::place() else {
        return own;
    };
    match nic_helper::ask(&place, wanted) {
        Ok(helped) if worth(&helped.shape) > worth(&own.shape) => return helped,
        Ok(_) => {}
        Err(refusal) => own.shape.lacks.push(refusal.why),
    }
    own
}

/// What the user wants to carry the packets: `NMSHIM_WIRE`.
fn carrier() -> Carrier {
    match std::env::var("NMSHIM_WIRE").as_deref() {
        Ok("packet") => Carrier::Packet,
        Ok("xdp") => Carrier::Xdp,
        _ => Carrier::Best,
    }
}

/// Whether the port is to be joined with its peer: `NMSHIM_JOIN`.
fn join() -> Join {
    match std::env::var("NMSHIM_JOIN").as_deref() {
        Ok("never") => Join::Never,
        Ok("always") => Join::Always,
        _ => Join::Auto,
    }
}
