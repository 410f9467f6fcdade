//! The listening socket: made in the runtime directory, or handed over by systemd.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags};

use super::descriptors;
use uvale_link::name::is_abstract;
use uvale_link::place;
use uvale_link::proto::Reply;
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;

/// Connections that may wait to be accepted.
pub const BACKLOG: i32 = 1024;
/// How the refusal of a second daemon in a directory begins.
pub const ALREADY_SERVED: &str = "another uvale daemon already serves";

/// A listening socket, with the lock that makes its daemon the only one of the directory.
pub struct Listener {
    socket: Fd,
    path: PathBuf,
    /// held for the daemon's life
    _lock: Option<Fd>,
    /// the name under which we have bound it, which we remove
    name: Option<Name>,
}

impl Listener {
    /// Listens in `dir`, which is created with mode 0700 (0750 with a group) if necessary.
    pub fn new(dir: &Path, group: Option<u32>) -> Result<Self, String> {
        let path = dir.join(place::SOCKET);
        if let Some(socket) = place::activated() {
            return Ok(Self {
                socket,
                path,
                // So that nobody serves the same directory from a socket of its own.
                _lock: only_one(dir).ok(),
                name: None,
            });
        }
        if is_abstract(dir) {
            // The kernel allows one socket of a name.
            let socket = place::listen(dir, BACKLOG).map_err(|failure| match failure.errno {
                Errno::ADDRINUSE => format!("{ALREADY_SERVED} {}", dir.display()),
                _ => failure.why,
            })?;
            return Ok(Self {
                socket,
                path,
                _lock: None,
                name: None,
            });
        }
        prepare(dir, group)?;
        let lock = only_one(dir)?;
        // Whoever holds the lock may remove what a killed daemon left.
        let _ = rustix::fs::unlink(&path);
        let socket = place::listen(dir, BACKLOG).map_err(|failure| failure.why)?;
        let mode = if group.is_some() {
            Mode::from(0o660)
        } else {
            Mode::from(0o600)
        };
        let _ = rustix::fs::chmod(&path, mode);
        if let Some(group) = group {
            chown_group(&path, group)?;
        }
        let name = Name::new(dir).map_err(|e| format!("cannot look at {}: {e}", path.display()))?;
        Ok(Self {
            socket,
            path,
            _lock: Some(lock),
            name: Some(name),
        })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Can clients still find it? The directory may have been removed.
    pub fn is_reachable(&self) -> bool {
        self.name.as_ref().is_none_or(Name::is_there)
    }

    /// A descriptor that is readable when something was removed from the directory.
    pub fn removals(&self) -> Option<Fd> {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        self.name.as_ref()?;
        let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        let events = WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::DELETE_SELF;
        add_watch(&watch, self.path.parent()?, events).ok()?;
        Some(watch.into())
    }

    /// Did somebody else make the socket, and hand it over?
    pub fn is_passed(&self) -> bool {
        self.name.is_none()
    }

    /// The next waiting connection.
    pub fn accept(&self) -> Accepted {
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(&self.socket, flags).map(Fd::from) {
                Ok(fd) => match descriptors::lacking(&fd) {
                    None => return Accepted::Connection(fd),
                    Some(why) => {
                        turn_away(&fd, &why);
                        return Accepted::TurnedAway(why);
                    }
                },
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return Accepted::Nothing,
                Err(_) => return Accepted::NotNow,
            }
        }
    }
}

/// What came of an accept.
pub enum Accepted {
    Connection(Fd),
    /// A connection that was told why it cannot be served.
    TurnedAway(String),
    Nothing,
    /// No connection can be accepted for a while.
    NotNow,
}

/// Tells a process why it is not served. Its request is not read: it finds this when we have hung up.
fn turn_away(fd: &Fd, why: &str) {
    let refused = Reply::Refused(Refusal::new(Errno::NFILE, why));
    let _ = uvale_link::channel::send(fd.as_fd(), &refused, &[], SendFlags::DONTWAIT);
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A socket's name in its directory. The directory, and what lies in it under that name, may be
/// removed and made again by others at any time.
struct Name {
    dir: Fd,
    inode: (u64, u64),
}

impl Name {
    fn new(dir: &Path) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = Fd::from(rustix::fs::open(dir, flags, Mode::empty())?);
        let inode = inode(&dir)?;
        Ok(Self { dir, inode })
    }

    fn is_there(&self) -> bool {
        inode(&self.dir) == Ok(self.inode)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if self.is_there() {
            let _ = rustix::fs::unlinkat(&self.dir, place::SOCKET, AtFlags::empty());
        }
    }
}

/// Device and number of the socket's inode in `dir`.
fn inode(dir: &Fd) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::statat(dir, place::SOCKET, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((stat.st_dev, stat.st_ino))
}

fn prepare(dir: &Path, group: Option<u32>) -> Result<(), String> {
    let mode = if group.is_some() { 0o750 } else { 0o700 };
    match rustix::fs::mkdir(dir, Mode::from(mode)) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            place::is_safe(dir)?;
        }
        Err(Errno::NOENT) => {
            std::fs::create_dir_all(dir).map_err(|e| place::cannot_make(dir, &e))?;
        }
        Err(e) => return Err(place::cannot_make(dir, &e.into())),
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

/// One daemon per directory: the lock is free again as soon as its holder is dead.
fn only_one(dir: &Path) -> Result<Fd, String> {
    let path = dir.join("uvale.lock");
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let lock = rustix::fs::open(&path, flags, Mode::from(0o600))
        .map_err(|e| place::cannot_make(&path, &e.into()))?;
    let lock = Fd::from(lock);
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(_) => Err(format!("{ALREADY_SERVED} {}", dir.display())),
    }
}
