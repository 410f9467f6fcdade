//! The device behind the seam: `/dev/netmap`, served by the uvale library in this process and by
//! its daemon.
//!
//! | file | what |
//! |---|---|
//! | `world.rs` | this process' session with a daemon, over forks and restarts |
//! | `file.rs` | an open description: syncs, mmap, poll |
//! | `request.rs` | its requests |
//! | `extmem.rs`, `maps.rs` | the program's own memory as a region |
//! | `csb.rs`, `kloop.rs` | CSB mode, and the sync loop in the calling thread |
//! | `interface.rs` | the system's network interfaces |
//! | `parameter.rs` | a module parameter's file, open for writing |
//! | `say.rs` | lines for the person, by `NMSHIM_VERBOSE` |

mod csb;
mod extmem;
mod file;
mod interface;
mod kloop;
mod maps;
mod parameter;
mod request;
mod say;
mod world;

use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::{Arc, Weak};

use rustix::fd::AsFd;
use uvale::channel::call;
use uvale::proto::{Call, PROTOCOL, Reply};
use uvale::session::{Failure, connect, refused};
use uvale::sys::{Fd, borrow};

use crate::device::{self, Driver, Errno, File};
use crate::interpose::Lock;
use file::NetmapFile;
use say::{Level, say};
use world::World;

/// Open descriptions by world and number.
type Files = Option<HashMap<(u64, u32), Weak<NetmapFile>>>;

/// The driver of `/dev/netmap`.
pub struct Netmap {
    /// worlds this process has met, by the path of their sockets
    worlds: Lock<Vec<Arc<World>>>,
    /// open descriptions by world and number, so that one that comes back is recognised
    files: Lock<Files>,
}

/// The one driver.
pub static NETMAP: Netmap = Netmap {
    worlds: Lock::new(Vec::new()),
    files: Lock::new(None),
};

/// Forks this process has made: a description open at a fork may be shared from then on.
static FORKS: AtomicU32 = AtomicU32::new(0);
fn errno(failure: &Failure) -> Errno {
    Errno(failure.errno.raw_os_error())
}

impl Netmap {
    /// The world at `socket`; a dead one is replaced.
    fn world(&self, socket: std::path::PathBuf) -> Arc<World> {
        let mut worlds = self.worlds.lock();
        worlds.retain(|w| w.socket() != socket || w.is_usable());
        if let Some(world) = worlds.iter().find(|w| w.socket() == socket) {
            return world.clone();
        }
        let world = Arc::new(World::new(socket));
        worlds.push(world.clone());
        world
    }

    /// The world that this process belongs to.
    fn own_world(&self) -> Result<Arc<World>, Failure> {
        let socket = uvale::place::socket(&uvale::place::runtime_dir())?;
        Ok(self.world(socket))
    }

    fn remember(&self, world: u64, file: &Arc<NetmapFile>) {
        let mut files = self.files.lock();
        let files = files.get_or_insert_default();
        files.retain(|_, f| f.strong_count() > 0);
        files.insert((world, file.client()), Arc::downgrade(file));
    }

    fn known(&self, world: u64, client: u32) -> Option<Arc<NetmapFile>> {
        let files = self.files.lock();
        files.as_ref()?.get(&(world, client))?.upgrade()
    }

    fn try_open(&self, flags: libc::c_int) -> Result<(RawFd, Arc<NetmapFile>), Failure> {
        use rustix::io::Errno;
        let socket = uvale::place::socket(&uvale::place::runtime_dir())?;
        let world = self.world(socket.clone());
        let knew = world.current().is_some();
        match self.open_in(world, flags) {
            // The daemon we knew is just dying: with another one it works.
            Err(f)
                if knew && matches!(f.errno, Errno::NXIO | Errno::CONNREFUSED | Errno::NOENT) =>
            {
                self.worlds.lock().retain(|w| w.socket() != socket);
                self.open_in(self.world(socket), flags)
            }
            other => other,
        }
    }

    fn open_in(
        &self,
        world: Arc<World>,
        flags: libc::c_int,
    ) -> Result<(RawFd, Arc<NetmapFile>), Failure> {
        let session = world.session_or_start()?;
        let fd = connect(world.socket())?;
        let (reply, _) = call(
            fd.as_fd(),
            &Call::Open {
                protocol: PROTOCOL,
                flags,
            },
        )?;
        let Reply::Opened {
            client,
            flags: _,
            bound,
        } = reply
        else {
            return Err(refused(reply));
        };
        set_flags(&fd, flags)?;
        let file = Arc::new(NetmapFile::new(world, client, flags, bound));
        self.remember(session.world(), &file);
        Ok((fd.into_raw(), file))
    }

    fn try_adopt(&self, fd: RawFd) -> Option<Arc<NetmapFile>> {
        let socket = peer_path(fd)?;
        // Whoever listens there is asked, and trusted with our memory, only if it is our own user.
        if !uvale::peer::is_own_user(borrow(&fd)).ok()? {
            return None;
        }
        let (reply, _) = call(borrow(&fd), &Call::Whois).ok()?;
        let Reply::Opened {
            client,
            flags,
            bound,
        } = reply
        else {
            return None;
        };
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

impl Netmap {
    /// Lets go of what `before_fork` took, in the thread that took it or in its copy.
    fn release(&self) {
        // SAFETY: this thread, or the one it is the copy of, holds `worlds` since `before_fork`.
        let held = unsafe { (*HELD.0.get()).take() };
        if let Some((worlds, files)) = held {
            drop(files);
            // While nobody can add a world whose lock is not ours.
            worlds.iter().for_each(|w| w.release());
        }
    }
}

/// What is held over a fork.
struct Held(core::cell::UnsafeCell<Option<(Worlds, OpenFiles)>>);
type Worlds = crate::interpose::Locked<'static, Vec<Arc<World>>>;
type OpenFiles = crate::interpose::Locked<'static, Files>;

// SAFETY: touched only by the holder of `Netmap::worlds`.
unsafe impl Sync for Held {}
static HELD: Held = Held(core::cell::UnsafeCell::new(None));

impl Driver for Netmap {
    fn open(&self, flags: libc::c_int) -> device::Result<(RawFd, Arc<dyn File>)> {
        match self.try_open(flags) {
            Ok((fd, file)) => Ok((fd, file)),
            Err(failure) => {
                say(
                    Level::Trouble,
                    format_args!("cannot open /dev/netmap: {failure}"),
                );
                Err(errno(&failure))
            }
        }
    }

    fn adopt(&self, fd: RawFd) -> Option<Arc<dyn File>> {
        self.try_adopt(fd).map(|file| file as Arc<dyn File>)
    }

    fn before_fork(&self) {
        FORKS.fetch_add(1, Ordering::Relaxed);
        // In the order in which they are taken elsewhere.
        let worlds = NETMAP.worlds.lock();
        worlds.iter().for_each(|w| w.hold());
        let files = NETMAP.files.lock();
        // SAFETY: only the thread that holds `worlds`, which is this one, touches the cell.
        unsafe { *HELD.0.get() = Some((worlds, files)) };
    }

    fn after_fork_in_parent(&self) {
        self.release();
    }

    fn after_fork_in_child(&self) {
        self.release();
        extmem::forked();
        world::forked();
    }

    fn is_private(&self, fd: RawFd) -> bool {
        uvale::sys::is_own(fd)
    }

    fn private_range(&self) -> Range<RawFd> {
        uvale::sys::own_range()
    }

    fn parameter(&self, name: &str) -> Option<device::Parameter> {
        let world = self.own_world().ok()?;
        let found = world.session_or_start().ok()?.parameter(name)?;
        Some(device::Parameter {
            text: found.value,
            writable: found.writable,
        })
    }

    fn parameters(&self) -> Vec<String> {
        let session = self.own_world().and_then(|w| w.session_or_start());
        session.map_or_else(|_| Vec::new(), |s| s.parameter_names())
    }

    fn open_parameter(
        &self,
        name: &str,
        flags: libc::c_int,
    ) -> device::Result<(RawFd, Arc<dyn File>)> {
        let opened = self
            .own_world()
            .and_then(|world| parameter::open(world, name, flags));
        opened
            .map(|(fd, file)| (fd, file as Arc<dyn File>))
            .map_err(|failure| errno(&failure))
    }

    fn write_parameter(&self, name: &str, bytes: &[u8]) -> device::Result<()> {
        let world = self.own_world().map_err(|failure| errno(&failure))?;
        parameter::write(&world, name, bytes)
    }
}
