//! The device behind the seam: `/dev/netmap`, served by the uvale library in this process and by
//! its daemon.
//!
//! | file | what |
//! |---|---|
//! | `world.rs` | this process' session with a daemon, over forks and restarts |
//! | `file.rs` | an open description: ioctls, mmap, poll |
//! | `say.rs` | lines for the person, by `NMSHIM_VERBOSE` |

mod file;
mod say;
mod world;

use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fd::AsFd;
use uvale::channel::call;
use uvale::proto::{Call, PROTOCOL, Reply};
use uvale::session::{Failure, connect, refused};
use uvale::sys::{Fd, borrow};

use crate::device::{self, Driver, Errno, File};
use file::NetmapFile;
use say::{Level, say};
use world::World;

/// The driver of `/dev/netmap`.
pub struct Netmap {
    /// worlds this process has met, by the path of their sockets
    worlds: Mutex<Vec<Arc<World>>>,
    /// open descriptions by world and number, so that one that comes back is recognised
    files: Mutex<Option<HashMap<(u64, u32), Weak<NetmapFile>>>>,
}

/// The one driver.
pub static NETMAP: Netmap = Netmap { worlds: Mutex::new(Vec::new()), files: Mutex::new(None) };

/// Forks this process has made: a description open at a fork may be shared from then on.
static FORKS: AtomicU32 = AtomicU32::new(0);
extern "C" fn before_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

fn watch_forks() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler lives as long as the process and only touches an atomic.
        unsafe { libc::pthread_atfork(Some(before_fork), None, None) };
    });
}

fn errno(failure: &Failure) -> Errno {
    Errno(failure.errno.raw_os_error())
}

impl Netmap {
    /// The world at `socket`; a dead one is replaced.
    fn world(&self, socket: std::path::PathBuf) -> Arc<World> {
        let mut worlds = self.worlds.lock().unwrap_or_else(PoisonError::into_inner);
        worlds.retain(|w| w.socket() != socket || w.is_usable());
        if let Some(world) = worlds.iter().find(|w| w.socket() == socket) {
            return world.clone();
        }
        let world = Arc::new(World::new(socket));
        worlds.push(world.clone());
        world
    }

    fn remember(&self, world: u64, file: &Arc<NetmapFile>) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let files = files.get_or_insert_default();
        files.retain(|_, f| f.strong_count() > 0);
        files.insert((world, file.client()), Arc::downgrade(file));
    }

    fn known(&self, world: u64, client: u32) -> Option<Arc<NetmapFile>> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.as_ref()?.get(&(world, client))?.upgrade()
    }

    fn try_open(&self, flags: libc::c_int) -> Result<(RawFd, Arc<NetmapFile>), Failure> {
        watch_forks();
        let socket = uvale::place::socket(&uvale::place::runtime_dir())?;
        let world = self.world(socket);
        let session = world.session_or_start()?;
        let fd = connect(world.socket())?;
        let (reply, _) = call(fd.as_fd(), &Call::Open { protocol: PROTOCOL, flags })?;
        let Reply::Opened { client, flags: _, bound } = reply else { return Err(refused(reply)) };
        set_flags(&fd, flags)?;
        let file = Arc::new(NetmapFile::new(world, client, flags, bound));
        self.remember(session.world(), &file);
        Ok((fd.into_raw(), file))
    }

    fn try_adopt(&self, fd: RawFd) -> Option<Arc<NetmapFile>> {
        watch_forks();
        let socket = peer_path(fd)?;
        let (reply, _) = call(borrow(&fd), &Call::Whois).ok()?;
        let Reply::Opened { client, flags, bound } = reply else { return None };
        let world = self.world(socket);
        let session = world.session().ok()?;
        if let Some(file) = self.known(session.world(), client) {
            return Some(file);
        }
        let number = session.world();
        let file = Arc::new(NetmapFile::adopted(world, client, flags, bound));
        self.remember(number, &file);
        Some(file)
    }
}

/// Path of the socket that `fd` is connected to.
fn peer_path(fd: RawFd) -> Option<std::path::PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let peer = rustix::net::getpeername(borrow(&fd)).ok()??;
    let peer = rustix::net::SocketAddrUnix::try_from(peer).ok()?;
    let path = peer.path_bytes()?;
    Some(std::ffi::OsStr::from_bytes(path).into())
}

/// open(2) flags that live on the descriptor and on the description.
fn set_flags(fd: &Fd, flags: libc::c_int) -> Result<(), rustix::io::Errno> {
    if flags & libc::O_CLOEXEC == 0 {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
    }
    if flags & libc::O_NONBLOCK != 0 {
        rustix::io::ioctl_fionbio(fd, true)?;
    }
    Ok(())
}

impl Driver for Netmap {
    fn open(&self, flags: libc::c_int) -> device::Result<(RawFd, Arc<dyn File>)> {
        match self.try_open(flags) {
            Ok((fd, file)) => Ok((fd, file)),
            Err(failure) => {
                say(Level::Trouble, format_args!("cannot open /dev/netmap: {failure}"));
                Err(errno(&failure))
            }
        }
    }

    fn adopt(&self, fd: RawFd) -> Option<Arc<dyn File>> {
        self.try_adopt(fd).map(|file| file as Arc<dyn File>)
    }

    fn after_fork_in_child(&self) {
        world::forked();
    }

    fn is_private(&self, fd: RawFd) -> bool {
        uvale::sys::is_own(fd)
    }

    fn private_range(&self) -> Range<RawFd> {
        uvale::sys::own_range()
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let socket = uvale::place::socket(&uvale::place::runtime_dir()).ok()?;
        self.world(socket).session_or_start().ok()?.parameter(name)
    }
}
