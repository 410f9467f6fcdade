//! The listening socket: made in the runtime directory, or handed over by systemd.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::place;
use crate::sys::Fd;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// How the refusal of a second daemon in a directory begins.
pub const ALREADY_SERVED: &str = "another uvale daemon already serves";
/// First descriptor that systemd passes.
const LISTEN_FDS_START: i32 = 3;

/// A listening socket. The lock that makes its daemon the only one of the directory lives as long.
pub struct Listener {
    socket: Fd,
    path: PathBuf,
    /// held for the daemon's life
    _lock: Option<Fd>,
    /// made by us, and so removed by us
    own_path: bool,
    /// kept for the moment when there is no other descriptor
    spare: Cell<Option<Fd>>,
}

impl Listener {
    /// Listens in `dir`, which is made with mode 0700 (0750 with a group) if need be.
    pub fn new(dir: &Path, group: Option<u32>) -> Result<Self, String> {
        if let Some(socket) = activated() {
            let path = place::socket(dir).unwrap_or_default();
            // So that nobody serves the same directory from a socket of its own.
            let lock = only_one(dir).ok();
            let spare = Cell::new(spare_descriptor());
            return Ok(Self {
                socket,
                path,
                _lock: lock,
                own_path: false,
                spare,
            });
        }
        prepare(dir, group)?;
        let path = place::socket(dir).map_err(|_| {
            format!(
                "{} is too long a name for a socket; choose a shorter directory",
                dir.display()
            )
        })?;
        let lock = only_one(dir)?;
        // Whoever holds the lock may remove what a killed daemon left.
        let _ = rustix::fs::unlink(&path);
        let socket =
            bind(&path).map_err(|e| format!("cannot listen at {}: {e}", path.display()))?;
        let mode = if group.is_some() {
            Mode::from(0o660)
        } else {
            Mode::from(0o600)
        };
        let _ = rustix::fs::chmod(&path, mode);
        if let Some(group) = group {
            chown_group(&path, group)?;
        }
        let spare = Cell::new(spare_descriptor());
        Ok(Self {
            socket,
            path,
            _lock: Some(lock),
            own_path: true,
            spare,
        })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// With no descriptor left, takes a connection with the one kept for this and hangs up on it:
    /// its program gets an error instead of waiting, and we do not spin.
    fn turn_away(&self) -> Option<()> {
        let mut spare = self.spare.take();
        drop(spare.take());
        let turned = rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC).map(Fd::from);
        drop(turned.ok()?);
        self.spare.set(spare_descriptor());
        Some(())
    }

    /// The next waiting connection, if any.
    pub fn accept(&self) -> Option<Fd> {
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(&self.socket, flags) {
                Ok(fd) => return Some(fd.into()),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::MFILE | Errno::NFILE) => self.turn_away()?,
                Err(_) => return None,
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.own_path {
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

fn spare_descriptor() -> Option<Fd> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    rustix::fs::memfd_create("uvale-spare", flags)
        .ok()
        .map(Fd::from)
}

/// The socket systemd passed to this process, if it did.
fn activated() -> Option<Fd> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<i32>().ok();
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    if number("LISTEN_PID")? != pid || number("LISTEN_FDS")? < 1 {
        return None;
    }
    let socket = Fd::from_raw(LISTEN_FDS_START);
    rustix::io::ioctl_fionbio(&socket, true).ok()?;
    Some(socket)
}

fn prepare(dir: &Path, group: Option<u32>) -> Result<(), String> {
    let mode = if group.is_some() { 0o750 } else { 0o700 };
    match rustix::fs::mkdir(dir, Mode::from(mode)) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            place::is_safe(dir)?;
        }
        Err(Errno::NOENT) => {
            std::fs::create_dir_all(dir)
                .map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
        }
        Err(e) => return Err(format!("cannot make {}: {e}", dir.display())),
    }
    rustix::fs::chmod(dir, Mode::from(mode))
        .map_err(|e| format!("cannot set the mode of {}: {e}", dir.display()))?;
    match group {
        Some(group) => chown_group(dir, group),
        None => Ok(()),
    }
}

fn chown_group(path: &Path, group: u32) -> Result<(), String> {
    rustix::fs::chown(path, None, Some(rustix::fs::Gid::from_raw(group)))
        .map_err(|e| format!("cannot give {} to group {group}: {e}", path.display()))
}

/// One daemon a directory: the lock is free again as soon as its holder is dead.
fn only_one(dir: &Path) -> Result<Fd, String> {
    let path = dir.join("uvale.lock");
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let lock = rustix::fs::open(&path, flags, Mode::from(0o600))
        .map_err(|e| format!("cannot open {}: {e}", path.display()))?;
    let lock = Fd::from(lock);
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(_) => Err(format!("{ALREADY_SERVED} {}", dir.display())),
    }
}

fn bind(path: &Path) -> Result<Fd, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}
