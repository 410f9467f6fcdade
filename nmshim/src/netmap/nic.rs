//! The wire of a NIC port, opened by this process or another one: `uvale_link::wire`, which speaks as the shim does.

use std::os::fd::RawFd;
use std::sync::Arc;

use uvale_link::proto::AttachedNic;
use uvale_link::session::Session;
use uvale_link::wire::Opener;
use uvale_shared::binding::Binding;
use uvale_system::refusal::Refusal;
use uvale_system::sys::borrow;
use uvale_wire::Wire;

use super::say::{Level, say};

fn show(lack: &str) {
    say(Level::Refusal, format_args!("{lack}"));
}

fn opener<'a>(fd: &'a RawFd, session: &'a Session) -> Opener<'a> {
    Opener {
        device: borrow(fd),
        session,
        say: &show,
    }
}

/// The wire of the port that `binding` is of, which descriptor `fd` has open.
pub fn wire_of(fd: RawFd, session: &Session, binding: &Binding) -> Result<Arc<Wire>, Refusal> {
    opener(&fd, session).wire_of(binding)
}

/// The same of a NIC that has been attached to a switch by `fd`.
pub fn attached(fd: RawFd, session: &Session, nic: &AttachedNic) -> Result<(), Refusal> {
    opener(&fd, session).attached(nic)
}
