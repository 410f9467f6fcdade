//! The wire of a NIC port. The first process that opens the port opens it, because it stands in the interface's
//! network namespace and has whatever rights there are; everybody else gets it from the daemon.

use core::sync::atomic::Ordering::Relaxed;
use std::os::fd::RawFd;
use std::sync::Arc;

use rustix::io::Errno;
use uvale_engine::Host;
use uvale_link::nic_helper;
use uvale_link::proto::{AttachedNic, Join};
use uvale_link::session::Session;
use uvale_shared::binding::Binding;
use uvale_system::refusal::Refusal;
use uvale_system::sys::borrow;
use uvale_wire::interface::{DOWN, Watch, look_up};
use uvale_wire::{Carrier, Kind, Opened, Shape, Wanted, Wire};

use super::say::{Level, say};

/// The wire of the port that `binding` is of, which descriptor `fd` has open.
pub fn wire_of(fd: RawFd, session: &Session, binding: &Binding) -> Result<Arc<Wire>, Refusal> {
    let port = session.ctl().port(binding.port);
    let nic_rings = |dir: usize| {
        port.map_or(0, |port| {
            [&port.num_rx_rings, &port.num_tx_rings][dir].load(Relaxed)
        })
    };
    let steal = (0..2).any(|dir| binding.rings(dir).any(|ring| ring < nic_rings(dir)));
    fetch(fd, session, binding.port, &binding.name, steal)
}

/// The same of a NIC that has been attached to a switch by `fd`. The daemon keeps the wire.
pub fn attached(fd: RawFd, session: &Session, nic: &AttachedNic) -> Result<(), Refusal> {
    fetch(fd, session, nic.port, &nic.name, true).map(drop)
}

fn fetch(
    fd: RawFd,
    session: &Session,
    port: u32,
    name: &str,
    steal: bool,
) -> Result<Arc<Wire>, Refusal> {
    match session.fetch_wire(port) {
        Err(refusal) if refusal.errno == Errno::NODATA => open(fd, session, port, name, steal),
        // Whoever opened the port first had fewer rights, perhaps.
        Ok(wire) if wire.shape().kind == Kind::Nothing => {
            open(fd, session, port, name, steal).or(Ok(wire))
        }
        other => other,
    }
}

fn open(
    fd: RawFd,
    session: &Session,
    record: u32,
    name: &str,
    steal: bool,
) -> Result<Arc<Wire>, Refusal> {
    let gone = || Refusal::new(Errno::NXIO, format!("{name}: the interface has gone"));
    let interface = look_up(name.as_bytes()).ok_or_else(gone)?;
    let port = session.ctl().port(record).ok_or_else(gone)?;
    let rings = [&port.num_rx_rings, &port.num_tx_rings].map(|n| n.load(Relaxed));
    let wanted = Wanted {
        name,
        interface: &interface,
        rings,
        host: true,
        steal,
        carrier: carrier(),
    };
    let opened = with_help(uvale_wire::open(&wanted)?, &wanted);
    let lacks = &opened.shape.lacks;
    if opened.shape.kind == Kind::Nothing && interface.peer.is_none() {
        let why = lacks.join("; ");
        return Err(Refusal::new(Errno::PERM, format!("{name}: {why}")));
    }
    let down = (!interface.is_up).then_some(DOWN);
    for lack in lacks.iter().map(String::as_str).chain(down) {
        say(Level::Refusal, format_args!("{name}: {lack}"));
    }
    let watch = Watch::open(&interface);
    session.give_wire(borrow(&fd), record, opened, watch, join())
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
