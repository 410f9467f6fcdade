//! The device behind the seam: `/dev/netmap`, served over `uvale-engine` in this process, and
//! over `uvale-link` by the daemon.
//!
//! | file | what |
//! |---|---|
//! | `worlds.rs`, `world.rs` | the worlds it has met and its sessions with them, over forks and restarts |
//! | `description.rs` | an open file description: its session, and what it is bound to |
//! | `file.rs`, `spin.rs` | its file operations: syncs, mmap, poll; looking before sleeping |
//! | `request.rs`, `result.rs` | its requests; how they fail |
//! | `extmem.rs`, `maps.rs` | the program's own memory as a region |
//! | `nic.rs` | the wire of a NIC port: the first to open the port opens it |
//! | `csb.rs`, `kloop.rs` | CSB mode, and the sync loop in the calling thread |
//! | `locked.rs` | mlockall without what is mapped here |
//! | `interfaces.rs` | persistent ports as network interfaces |
//! | `parameter.rs` | a module parameter's file, open for writing |
//! | `say.rs` | lines for the person, by `NMSHIM_VERBOSE` |

mod csb;
mod description;
mod extmem;
mod file;
mod interfaces;
mod kloop;
mod locked;
mod maps;
mod nic;
mod parameter;
mod request;
mod result;
mod say;
mod spin;
mod world;
mod worlds;

use core::ops::Range;
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::{Arc, Weak};

use rustix::fd::AsFd;
use uvale_link::channel::{call, call_within};
use uvale_link::proto::{Call, PROTOCOL, Reply, refused};
use uvale_link::session::PATIENCE;
use uvale_system::refusal::Refusal;
use uvale_system::sys::{Fd, borrow};
use uvale_system::who::Who;

use crate::device::{self, Driver, File};
use crate::ground::lock::Lock;
use description::Description;
use file::NetmapFile;
use say::{Level, say};
use worlds::{WORLDS, Worlds};

/// Open descriptions by world and number.
type Files = Option<HashMap<(u64, u32), Weak<NetmapFile>>>;

/// The driver of `/dev/netmap`.
pub struct Netmap {
    /// open descriptions by world and number, so that one that comes back is recognised
    files: Lock<Files>,
}

/// The one driver.
pub static NETMAP: Netmap = Netmap {
    files: Lock::new(None),
};

impl Netmap {
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

    fn try_open(&self, flags: libc::c_int) -> Result<(RawFd, Arc<NetmapFile>), Refusal> {
        use rustix::io::Errno;
        let dir = uvale_link::place::runtime_dir();
        match self.open_at(&dir, flags) {
            // The daemon we knew is just dying: with another one it works.
            Err(f) if matches!(f.errno, Errno::NXIO | Errno::CONNREFUSED | Errno::NOENT) => {
                WORLDS.lock().forget(&dir);
                self.open_at(&dir, flags)
            }
            other => other,
        }
    }

    fn open_at(&self, dir: &Path, flags: libc::c_int) -> Result<(RawFd, Arc<NetmapFile>), Refusal> {
        let (known, _) = worlds::enter(dir)?;
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
        let file = Description::new(known, fd.raw(), client, flags, bound);
        let file = Arc::new(NetmapFile::new(file));
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
        let world = match worlds::follow(number, fd) {
            Ok(world) => world,
            Err(refusal) => {
                say(
                    Level::Trouble,
                    format_args!("descriptor {fd} is a netmap port that cannot be used: {refusal}"),
                );
                return None;
            }
        };
        let file = Description::adopted(world, fd, client, flags, bound);
        let file = Arc::new(NetmapFile::new(file));
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
        // SAFETY: this thread, or the one it is the copy of, holds `WORLDS` since `before_fork`.
        let held = unsafe { (*HELD.0.get()).take() };
        if let Some((worlds, files)) = held {
            drop(files);
            // SAFETY: as above, each of them: nobody has added a world meanwhile.
            worlds.iter().for_each(|w| unsafe { w.release() });
        }
    }
}

/// What is held over a fork.
struct Held(core::cell::UnsafeCell<Option<(HeldWorlds, OpenFiles)>>);
type HeldWorlds = crate::ground::lock::Locked<'static, Worlds>;
type OpenFiles = crate::ground::lock::Locked<'static, Files>;

// SAFETY: touched only by the holder of `WORLDS`.
unsafe impl Sync for Held {}
static HELD: Held = Held(core::cell::UnsafeCell::new(None));

impl Driver for Netmap {
    fn loaded(&self) {
        say::loaded();
        uvale_link::environment::remember();
    }

    fn remark(&self, line: core::fmt::Arguments<'_>) {
        say(Level::Refusal, line);
    }

    fn trouble(&self, line: core::fmt::Arguments<'_>) {
        say(Level::Trouble, line);
    }

    fn open(&self, flags: libc::c_int) -> device::Result<(RawFd, Arc<dyn File>)> {
        match self.try_open(flags) {
            Ok((fd, file)) => Ok((fd, file)),
            Err(refusal) => {
                say(
                    Level::Trouble,
                    format_args!("cannot open /dev/netmap: {refusal}"),
                );
                Err(refusal.errno.into())
            }
        }
    }

    fn adopt(&self, fd: RawFd) -> Option<Arc<dyn File>> {
        self.try_adopt(fd).map(|file| file as Arc<dyn File>)
    }

    fn before_fork(&self) {
        world::forks_again();
        // In the order in which they are taken elsewhere.
        let worlds = WORLDS.lock();
        worlds.iter().for_each(|w| w.hold());
        let files = NETMAP.files.lock();
        // SAFETY: only the thread that holds `WORLDS`, which is this one, touches the cell.
        unsafe { *HELD.0.get() = Some((worlds, files)) };
    }

    fn after_fork_in_parent(&self) {
        // Descriptions that were opened when it had begun are the child's, too.
        world::forks_again();
        self.release();
    }

    fn after_fork_in_child(&self) {
        self.release();
        // SAFETY: this is the only thread.
        unsafe { worlds::forked() };
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
        let (_, session) = worlds::enter(&uvale_link::place::runtime_dir()).ok()?;
        let found = session.parameter(name)?;
        Some(device::Parameter {
            text: found.value,
            writable: found.writable,
        })
    }

    fn parameters(&self) -> Vec<String> {
        let entered = worlds::enter(&uvale_link::place::runtime_dir());
        entered.map_or_else(|_| Vec::new(), |(_, session)| session.parameter_names())
    }

    fn open_parameter(
        &self,
        name: &str,
        flags: libc::c_int,
    ) -> device::Result<(RawFd, Arc<dyn File>)> {
        parameter::open(uvale_link::place::runtime_dir(), name, flags)
            .and_then(|(fd, file)| {
                set_flags(&fd, flags)?;
                Ok((fd.into_raw(), file as Arc<dyn File>))
            })
            .map_err(|refusal| {
                say(Level::Refusal, format_args!("parameter {name}: {refusal}"));
                refusal.errno.into()
            })
    }

    fn write_parameter(&self, name: &str, bytes: &[u8]) -> device::Result<()> {
        parameter::write(&uvale_link::place::runtime_dir(), name, bytes)
    }

    fn interfaces(&self) -> Vec<device::Interface> {
        interfaces::list()
    }

    fn change_interface(&self, index: u32, change: device::InterfaceChange) -> device::Result<()> {
        interfaces::change(index, change)
    }
}
