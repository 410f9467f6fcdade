//! What `uvale ports` shows of a guest: by which sockets it gets its port, and who is at their other end.

use std::path::Path;

use rustix::fd::AsFd;
use uvale_link::report::Guest;
use uvale_port::Port;

use crate::guest_port::absolute;

/// What the daemon has been told.
pub struct GuestShown {
    guest: Guest,
    is_told: bool,
}

impl GuestShown {
    /// A guest that gets its port by `sockets`.
    pub fn new(sockets: &[&Path]) -> Self {
        let shown = |path: &&Path| absolute(path).display().to_string();
        Self {
            guest: Guest {
                sockets: sockets.iter().map(shown).collect(),
                pid: None,
            },
            is_told: false,
        }
    }

    /// Tells the daemon of `port` who is there now, if it does not know. If it cannot be told now, the next call does.
    pub fn tell(&mut self, port: &Port, pid: Option<i32>) {
        if self.is_told && self.guest.pid == pid {
            return;
        }
        self.guest.pid = pid;
        self.is_told = port.session().show_guest(self.guest.clone());
    }

    /// Does the daemon know?
    pub fn is_told(&self) -> bool {
        self.is_told
    }

    /// Another daemon knows nothing.
    pub fn forget(&mut self) {
        self.is_told = false;
    }
}

/// The process at the other end of a connection, if it has a number here.
pub fn peer(socket: impl AsFd) -> Option<i32> {
    let peer = uvale_system::peer::credentials(socket).ok()?;
    Some(peer.pid).filter(|pid| *pid > 0)
}
