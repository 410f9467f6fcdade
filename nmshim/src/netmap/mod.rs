//! The device behind the seam: `/dev/netmap`, served by the uvale library in this process and by
//! its daemon.
//!
//! | file | what |
//! |---|---|
//! | `world.rs` | the worlds it has met and its sessions with them, over forks and restarts |
//! | `file.rs` | an open file description: syncs, mmap, poll |
//! | `request.rs` | its requests |
//! | `extmem.rs`, `maps.rs` | the program's own memory as a region |
//! | `csb.rs`, `kloop.rs` | CSB mode, and the sync loop in the calling thread |
//! | `locked.rs` | mlockall without what is mapped here |
//! | `interface.rs` | the system's network interfaces |
//! | `parameter.rs` | a module parameter's file, open for writing |
//! | `say.rs` | lines for the person, by `NMSHIM_VERBOSE` |

mod csb;
mod extmem;
mod file;
mod interface;
mod kloop;
mod locked;
mod maps;
mod parameter;
mod request;
mod say;
mod world;

use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::{Arc, Weak};

use rustix::fd::AsFd;
use uvale_link::channel::{call, call_within};
use uvale_link::proto::{Call, PROTOCOL, Reply};
use uvale_link::session::{Failure, PATIENCE, Session, refused};
use uvale_system::sys::{Fd, borrow};
use uvale_system::who::Who;

use crate::device::{self, Driver, Errno, File};
use crate::ground::lock::Lock;
use file::NetmapFile;
use say::{Level, say};
use world::{World, Worlds};

/// Open descriptions by world and number.
type Files = Option<HashMap<(u64, u32), Weak<NetmapFile>>>;

/// The driver of `/dev/netmap`.
pub struct Netmap {
    /// worlds this process has met
    worlds: Lock<Worlds>,
    /// held by the one thread that looks for a daemon by its name, and starts one
    entering: Lock<()>,
    /// open descriptions by world and number, so that one that comes back is recognised
    files: Lock<Files>,
}

/// The one driver.
pub static NETMAP: Netmap = Netmap {
    worlds: Lock::new(Worlds::new()),
    entering: Lock::new(()),
    files: Lock::new(None),
};

/// Forks this process has made: a description open at a fork may be shared from then on.
static FORKS: AtomicU32 = AtomicU32::new(0);
fn errno(failure: &Failure) -> Errno {
    Errno(failure.errno.raw_os_error())
}

impl Netmap {
    /// The world at `dir`. If no daemon answers there one is started.
    fn enter(&self, dir: &Path) -> Result<(Arc<World>, &'static Session), Failure> {
        let _alone = self.entering.lock();
        if let Some(found) = self.worlds.lock().at(dir) {
            return Ok(found);
        }
        let session = uvale_link::start::attach(dir)?;
        let mut worlds = self.worlds.lock();
        let (world, session) = worlds.join(session);
        worlds.settle(dir, &world);
        Ok((world, session))
    }

    /// The world with this number, to which `fd` leads.
    fn follow(&self, number: u64, fd: RawFd) -> Result<Arc<World>, Failure> {
        let known = self.worlds.lock().with_number(number);
        if let Some(world) = known.filter(|world| world.current().is_some()) {
            return Ok(world);
        }
        let session = Session::attach_through(borrow(&fd), Some(PATIENCE))?;
        if session.world() != number {
            return Err(rustix::io::Errno::PROTO.into());
        }
        let (world, _) = self.worlds.lock().join(session);
        Ok(world)
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
        let dir = uvale_link::place::runtime_dir();
        match self.open_at(&dir, flags) {
            // The daemon we knew is just dying: with another one it works.
            Err(f) if matches!(f.errno, Errno::NXIO | Errno::CONNREFUSED | Errno::NOENT) => {
                self.worlds.lock().forget(&dir);
                self.open_at(&dir, flags)
            }
            other => other,
        }
    }

    fn open_at(&self, dir: &Path, flags: libc::c_int) -> Result<(RawFd, Arc<NetmapFile>), Failure> {
        let (known, _) = self.enter(dir)?;
        let fd = uvale_link::place::connect(dir)?;
        let opening = Call::Open {
            protocol: PROTOCOL,
            flags,
            who: Who::own(),
        };
        let (reply, _) = call(fd.as_fd(), &opening)?;
        let Reply::Opened {
            world,
            client,
            bound,
            ..
        } = reply
        else {
            return Err(refused(reply));
        };
        // Another daemon may have come in between.
        if known.number() != world {
            return Err(rustix::io::Errno::NXIO.into());
        }
        set_flags(&fd, flags)?;
        let file = NetmapFile::new(known, fd.raw(), client, flags, bound);
        let file = Arc::new(file);
        self.remember(world, &file);
        Ok((fd.into_raw(), file))
    }

    fn try_adopt(&self, fd: RawFd) -> Option<Arc<NetmapFile>> {
        // Whoever is at the other end is asked, and trusted with our memory, only if it is our own
        // user; a name that ends as ours is no more than a hint, so it is not waited for long.
        if !uvale_system::peer::is_own_user(borrow(&fd)).ok()? {
            return None;
        }
        let answer = call_within(borrow(&fd), &Call::Whois, None, PATIENCE);
        if answer.as_ref().err() == Some(&rustix::io::Errno::TIMEDOUT) {
            say(
                Level::Trouble,
                format_args!(
                    "descriptor {fd} may be a netmap port, but no daemon answers behind it"
                ),
            );
        }
        let (
            Reply::Opened {
                world: number,
                client,
                flags,
                bound,
            },
            _,
        ) = answer.ok()?
        else {
            return None;
        };
        if let Some(file) = self.known(number, client) {
            return Some(file);
        }
        let world = match self.follow(number, fd) {
            Ok(world) => world,
            Err(failure) => {
                say(
                    Level::Trouble,
                    format_args!("descriptor {fd} is a netmap port that cannot be used: {failure}"),
                );
                return None;
            }
        };
        let file = Arc::new(NetmapFile::adopted(world, fd, client, flags, bound));
        self.remember(number, &file);
        Some(file)
    }
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
struct Held(core::cell::UnsafeCell<Option<(HeldWorlds, OpenFiles)>>);
type HeldWorlds = crate::ground::lock::Locked<'static, Worlds>;
type OpenFiles = crate::ground::lock::Locked<'static, Files>;

// SAFETY: touched only by the holder of `Netmap::worlds`.
unsafe impl Sync for Held {}
static HELD: Held = Held(core::cell::UnsafeCell::new(None));

impl Driver for Netmap {
    fn loaded(&self) {
        say::loaded();
        uvale_link::environment::remember();
    }

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
        // SAFETY: this is the only thread. Who enters, if somebody did, is not in this process.
        unsafe { self.entering.reset() };
        extmem::forked();
        world::forked();
    }

    fn is_private(&self, fd: RawFd) -> bool {
        uvale_system::sys::is_own(fd)
    }

    fn private_range(&self) -> Range<RawFd> {
        uvale_system::sys::own_range()
    }

    fn lock_all(
        &self,
        flags: libc::c_int,
        lock: &dyn Fn(libc::c_int) -> device::Result<()>,
    ) -> device::Result<()> {
        locked::lock_all(flags, lock)
    }

    fn keep(&self, fd: RawFd) -> Option<RawFd> {
        uvale_system::sys::keep(fd)
    }

    fn let_go(&self, keeper: RawFd) {
        uvale_system::sys::let_go(keeper);
    }

    fn parameter(&self, name: &str) -> Option<device::Parameter> {
        let (_, session) = self.enter(&uvale_link::place::runtime_dir()).ok()?;
        let found = session.parameter(name)?;
        Some(device::Parameter {
            text: found.value,
            writable: found.writable,
        })
    }

    fn parameters(&self) -> Vec<String> {
        let entered = self.enter(&uvale_link::place::runtime_dir());
        entered.map_or_else(|_| Vec::new(), |(_, session)| session.parameter_names())
    }

    fn open_parameter(
        &self,
        name: &str,
        flags: libc::c_int,
    ) -> device::Result<(RawFd, Arc<dyn File>)> {
        parameter::open(uvale_link::place::runtime_dir(), name, flags)
            .map(|(fd, file)| (fd, file as Arc<dyn File>))
            .map_err(|failure| {
                say(Level::Refusal, format_args!("parameter {name}: {failure}"));
                errno(&failure)
            })
    }

    fn write_parameter(&self, name: &str, bytes: &[u8]) -> device::Result<()> {
        parameter::write(&uvale_link::place::runtime_dir(), name, bytes)
    }
}
