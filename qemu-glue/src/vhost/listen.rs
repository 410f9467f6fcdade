//! Who connects to whom.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketType, recv};

use crate::socket_place::{SocketPlace, reach};

/// Connections that have said nothing, at most.
const MOST_STRANGERS: usize = 8;

/// Where front ends come from.
pub struct Listening {
    way: Way,
    /// what is wrong has been said
    said: bool,
}

enum Way {
    /// they connect to us
    Server {
        /// our socket
        listener: UnixListener,
        /// its name
        _place: SocketPlace,
    },
    /// we connect to them: their socket
    Client(PathBuf),
}

impl Listening {
    /// Makes a socket.
    pub fn server(path: &Path) -> Result<Self, String> {
        let bind = |path: &Path| {
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let (_place, listener) = SocketPlace::bind(path, bind)?;
        let way = Way::Server { listener, _place };
        Ok(Self { way, said: false })
    }

    /// Will connect to a socket.
    pub fn client(path: &Path) -> Self {
        let way = Way::Client(path.to_owned());
        Self { way, said: false }
    }

    /// What becomes readable when somebody connects.
    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        match &self.way {
            Way::Server { listener, .. } => Some(listener.as_fd()),
            Way::Client(_) => None,
        }
    }

    /// The next connection; `Ok(None)` if there is none. Never waits. `say` shows what is wrong, once.
    ///
    /// # Errors
    /// It is to be tried again later: nobody listens, or no descriptor is free.
    pub fn next(&mut self, say: &dyn Fn(&str)) -> Result<Option<OwnedFd>, Errno> {
        let next = match &self.way {
            Way::Server { listener, .. } => {
                match rustix::net::accept_with(listener, rustix::net::SocketFlags::CLOEXEC) {
                    // Whoever it was has gone.
                    Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return Ok(None),
                    next => next
                        .map_err(|e| (e, format!("cannot accept connections, trying again: {e}"))),
                }
            }
            Way::Client(path) => reach(path, SocketType::STREAM).map_err(|e| {
                let path = path.display();
                let what = format!("nobody listens at {path}, trying again: {e}");
                (e, what)
            }),
        };
        let was_said = std::mem::replace(&mut self.said, next.is_err());
        next.map(Some).map_err(|(e, what)| {
            if !was_said {
                say(&what);
            }
            e
        })
    }
}

/// Who has connected and said nothing yet: perhaps only to see whether somebody listens. The first to say something is
/// the front end.
#[derive(Default)]
pub struct Strangers(Vec<OwnedFd>);

impl Strangers {
    /// One more. When there are too many the one that has been silent for the longest goes.
    pub fn add(&mut self, socket: OwnedFd) {
        if self.0.len() >= MOST_STRANGERS {
            self.0.remove(0);
        }
        self.0.push(socket);
    }

    /// Takes one that says something out of them, and those that have hung up.
    pub fn speaking(&mut self) -> Option<OwnedFd> {
        let mut i = 0;
        while let Some(socket) = self.0.get(i) {
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            match recv(socket, &mut [0u8], flags) {
                Err(Errno::AGAIN | Errno::INTR) => i += 1,
                Ok((1.., _)) => return Some(self.0.remove(i)),
                _ => drop(self.0.remove(i)),
            }
        }
        None
    }
}
