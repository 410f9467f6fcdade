//! Who connects to whom.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use crate::socket_place::SocketPlace;

/// Where front-ends come from.
pub enum Listening {
    /// they connect to us
    Server {
        /// our socket
        listener: UnixListener,
        /// its name
        _place: SocketPlace,
    },
    /// we connect to them
    Client {
        /// their socket
        path: PathBuf,
        /// that nobody is there has been said
        said: bool,
    },
}

impl Listening {
    /// Makes a socket.
    pub fn server(path: &Path) -> Result<Self, String> {
        let bind = |path: &Path| {
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let (place, listener) = SocketPlace::bind(path, bind)?;
        Ok(Self::Server {
            listener,
            _place: place,
        })
    }

    /// Will connect to a socket.
    pub fn client(path: &Path) -> Self {
        let path = path.to_owned();
        Self::Client { path, said: false }
    }

    /// What becomes readable when somebody connects.
    pub fn listener(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Server { listener, .. } => Some(listener.as_fd()),
            Self::Client { .. } => None,
        }
    }

    /// The next front-end, if there is one. `say` shows why not, once.
    pub fn next(&mut self, say: &dyn Fn(&str)) -> Option<OwnedFd> {
        match self {
            Self::Server { listener, .. } => {
                listener.accept().ok().map(|(stream, _)| stream.into())
            }
            Self::Client { path, said } => match UnixStream::connect(&path) {
                Ok(stream) => {
                    *said = false;
                    Some(stream.into())
                }
                Err(e) => {
                    if !*said {
                        let why = Errno::from_io_error(&e).map_or(e.to_string(), |e| e.to_string());
                        say(&format!(
                            "nobody listens at {}, which is tried again: {why}",
                            path.display()
                        ));
                        *said = true;
                    }
                    None
                }
            },
        }
    }
}
