//! Persistent ports as network interfaces: what a daemon keeps of them, and the calls that ask for it.
//!
//! A process need not have used the device to ask, and no daemon is started for this: each call has a connection of
//! its own to the one that is there, if there is one.

use std::path::Path;
use std::time::Duration;

use rustix::fd::AsFd;
use rustix::io::Errno;

use crate::channel::call_within;
use crate::place::connect;
use crate::proto::{Call, Change, PROTOCOL, PortInterface, Reply, decode, refused};
use crate::session::whole;
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;

/// How long a daemon may take to answer. Whoever asks may never have used the device.
const PATIENCE: Duration = Duration::from_secs(5);

fn ask(dir: &Path, what: &Call) -> Result<(Reply, Vec<Fd>), Refusal> {
    let connection = connect(dir)?;
    Ok(call_within(connection.as_fd(), what, None, PATIENCE)?)
}

/// All interfaces of the world at `dir`, by number.
pub fn list(dir: &Path) -> Result<Vec<PortInterface>, Refusal> {
    let protocol = PROTOCOL;
    let (reply, mut fds) = ask(dir, &Call::Interfaces { protocol })?;
    if reply != Reply::Report {
        return Err(refused(reply));
    }
    let list = whole(&fds.pop().ok_or(Errno::PROTO)?)?;
    Ok(decode(&list).ok_or(Errno::PROTO)?)
}

/// Changes the interface with this number.
pub fn change(dir: &Path, index: u32, change: Change) -> Result<(), Refusal> {
    let protocol = PROTOCOL;
    let call = Call::ChangeInterface {
        protocol,
        index,
        change,
    };
    match ask(dir, &call)? {
        (Reply::Ok, _) => Ok(()),
        (other, _) => Err(refused(other)),
    }
}
