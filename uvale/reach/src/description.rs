//! An open file description of the device that a program has: behind its end of a line (`line.rs`) stands one that this
//! process has open, and what it is bound to.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};
use std::sync::{Arc, Mutex, OnceLock};

use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown};
use uvale_engine::{Attachment, Events};
use uvale_link::session::Session;
use uvale_link::wire::Opener;
use uvale_shared::binding::Binding;
use uvale_shared::shm::Memfd;
use uvale_system::refusal::Refusal;
use uvale_system::sys::{OwnFd, memory_is_of};
use uvale_system::who::Who;
use uvale_wire::Wire;

use crate::kernel;
use crate::line::Line;
use crate::locks::lock;
use crate::say::{Level, say};
use crate::waits::{Found, IN, OUT, Place, WRONG, Wait, Waits, Watching};

/// Syncs between two looks at the clock; a look at the daemon follows at most once a second.
const LOOK_EVERY: u32 = 64;

/// What REGISTER gave.
pub struct Bound {
    /// the engine's entry point
    pub attachment: Attachment,
    /// of a NIC port, until the description is closed
    wire: Mutex<Option<Arc<Wire>>>,
    /// its memory, for programs to map
    memory: OnceLock<Memfd>,
}

/// A description.
pub struct Description {
    /// number of the program's end, by which it is found
    pub inode: u64,
    waits: Mutex<Waits>,
    device: OwnFd,
    client: u32,
    /// this process's session with its daemon
    pub session: Arc<Session>,
    flags: i32,
    bound: OnceLock<Bound>,
    is_lost: AtomicBool,
    /// held until everything about the close is done
    is_closed: Mutex<bool>,
    syncs: AtomicU32,
    last_look: AtomicU64,
}

impl Description {
    /// `open("/dev/netmap")` in the world of `session`, for process `who`: a description and the program's end.
    pub fn open(
        session: Arc<Session>,
        dir: &std::path::Path,
        flags: i32,
        who: Who,
    ) -> Result<(Self, OwnedFd), Refusal> {
        let (device, client) = uvale_port::open_device(dir, &session, flags, who)?;
        let (line, theirs) = Line::new()?;
        let description = Self {
            inode: rustix::fs::fstat(&theirs)?.st_ino,
            waits: Mutex::new(Waits::new(line, kernel::cookie(&theirs)?)),
            device,
            client,
            session,
            flags,
            bound: OnceLock::new(),
            is_lost: AtomicBool::new(false),
            is_closed: Mutex::new(false),
            syncs: AtomicU32::new(0),
            last_look: AtomicU64::new(0),
        };
        Ok((description, theirs))
    }

    /// The description of this process: requests go to it, and tokens arrive there.
    pub fn device(&self) -> &OwnFd {
        &self.device
    }

    /// Flags of open(2).
    pub fn flags(&self) -> i32 {
        self.flags
    }

    /// What it is bound to.
    pub fn bound(&self) -> Option<&Bound> {
        self.bound.get()
    }

    /// For messages.
    pub fn name(&self) -> &str {
        self.bound()
            .map_or("unbound", |b| &b.attachment.binding().name)
    }

    /// The program's end was seen there.
    pub fn is_at(&self, place: Place) {
        lock(&self.waits).place = place;
    }

    /// Was it last seen in that process, or in one that has ended?
    pub fn was_of(&self, tgid: i32) -> bool {
        let place = lock(&self.waits).place.clone();
        place.tgid == tgid || place.process.strong_count() == 0
    }

    /// The other end of the program's, if it is not broken.
    pub fn with_end<T>(&self, with: impl FnOnce(Option<&OwnedFd>) -> T) -> T {
        with(lock(&self.waits).line.end())
    }

    /// Keeps a handle: the kernel gives none later.
    pub fn keep(&self, handle: OwnedFd) {
        lock(&self.waits).kept = Some(handle);
    }

    /// For as long as that handle lives its number may stand for something else.
    pub fn holds(&self, handle: &Arc<OwnedFd>) {
        lock(&self.waits).held = Arc::downgrade(handle);
    }

    /// The handle that is kept.
    pub fn take_kept(&self) -> Option<OwnedFd> {
        lock(&self.waits).kept.take()
    }

    /// Prepares the data path for what the daemon has given.
    pub fn bind(&self, binding: Binding) -> Result<(), Refusal> {
        let session = &*self.session;
        let region = session.map_region(binding.region)?;
        let attachment =
            Attachment::new(session, binding, region).map_err(|errno| match errno {
                Errno::NOMEM => Refusal::new(errno, "no memory to work with"),
                _ => Refusal::new(errno, "the port is gone already"),
            })?;
        let binding = attachment.binding();
        let (name, bytes) = (&binding.name, binding.mem_size);
        say(
            Level::Trace,
            &format!("{name}: region {} of {bytes} bytes", binding.region),
        );
        let wire = match binding.is_nic {
            true => Some(self.opener().wire_of(binding)?),
            false => None,
        };
        let _ = self.bound.set(Bound {
            attachment,
            wire: Mutex::new(wire),
            memory: OnceLock::new(),
        });
        Ok(())
    }

    /// Opens wires for it.
    pub fn opener(&self) -> Opener<'_> {
        Opener {
            device: self.device.as_fd(),
            session: &self.session,
            say: &|lack| say(Level::Refusal, lack),
        }
    }

    /// The memory of its port.
    pub fn memory(&self) -> Result<&Memfd, Refusal> {
        let bound = self.bound().ok_or(Errno::INVAL)?;
        if let Some(memory) = bound.memory.get() {
            return Ok(memory);
        }
        let number = bound.attachment.binding().region;
        let (memory, _) = self.session.region_memfd(number)?;
        Ok(bound.memory.get_or_init(|| memory))
    }

    fn ready(&self) -> Result<&Bound, Errno> {
        if self.is_lost.load(Relaxed) {
            return Err(Errno::NXIO);
        }
        self.bound().ok_or(Errno::NXIO)
    }

    /// NIOCTXSYNC (`sends`) or NIOCRXSYNC.
    pub fn sync(&self, sends: bool) -> Result<(), Errno> {
        let attachment = &self.ready()?.attachment;
        match sends {
            true => attachment.txsync(&*self.session),
            false => attachment.rxsync(&*self.session),
        }
        if attachment.is_gone() {
            return Err(Errno::IO);
        }
        self.look_after_daemon()
    }

    /// Now and then.
    fn look_after_daemon(&self) -> Result<(), Errno> {
        // Threads that count at the same time may lose a count, which does no harm.
        let syncs = self.syncs.load(Relaxed).wrapping_add(1);
        self.syncs.store(syncs, Relaxed);
        if !syncs.is_multiple_of(LOOK_EVERY) {
            return Ok(());
        }
        self.session.forget_wires();
        let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse).tv_sec as u64;
        if self.last_look.swap(now, Relaxed) != now && !self.session.is_alive() {
            self.lose();
            return Err(Errno::NXIO);
        }
        Ok(())
    }

    /// What netmap's poll does, for a program that is in a call now; afterwards its end is as was found, and whoever
    /// changes that sends a token. `watch`: how long to sleep until somebody looks again, and which descriptors of
    /// wires tell of something.
    pub fn look(&self, wait: Wait, watch: Watching<'_>) -> Found {
        let Ok(bound) = self.ready() else {
            // epoll has no word for it: what is in error is readable and writable.
            let line = &mut lock(&self.waits).line;
            line.set_readable(true, false, &|| None);
            line.set_writable(true, false, &|| None);
            let hung_up = match self.is_lost.load(Relaxed) {
                true => libc::POLLHUP,
                false => 0,
            };
            return Found {
                events: libc::POLLERR | hung_up,
                is_overstated: false,
            };
        };
        if self.look_after_daemon().is_err() {
            return Found {
                events: WRONG,
                is_overstated: false,
            };
        }
        let mut waits = lock(&self.waits);
        let wanted = wait.events & (IN | OUT);
        let mut events = match wait.edges {
            // In the kernel a wait for edges syncs nothing that the program has not synced.
            true => bound.attachment.refresh(&*self.session, wanted),
            false => bound.attachment.poll(&*self.session, wanted),
        };
        if wait.edges {
            waits.edges |= wanted;
        }
        let is_lowered = waits.is_lowered(wanted, events);
        let missing = match wait.edges {
            true => wanted,
            false => wanted & !events,
        };
        if missing != 0 && (wait.sleeps || is_lowered || wait.edges) {
            waits.armed |= missing;
            events |= waits.arm(&*self.session, &bound.attachment, watch);
        }
        let moved = bound.attachment.edges();
        let is_set = waits.show(moved, wanted, events);
        Found {
            events,
            is_overstated: !is_set,
        }
    }

    /// A handle of it, by which the program's number can be given back to it.
    pub fn any_handle(&self) -> Option<OwnedFd> {
        lock(&self.waits).handle()
    }

    /// A token has come, or a nap is over: nobody is in a call, but somebody may sleep. `watch` as of
    /// [`Description::look`].
    pub fn woken(&self, watch: Watching<'_>) {
        let mut tokens = [0u8; 64];
        while rustix::net::recv(&self.device, &mut tokens[..], RecvFlags::DONTWAIT)
            .is_ok_and(|(_, n)| n > 0)
        {}
        let Ok(bound) = self.ready() else {
            return;
        };
        let mut waits = lock(&self.waits);
        waits.armed |= waits.edges;
        let armed = waits.armed;
        if armed == 0 {
            return;
        }
        let _of = memory_is_of(waits.place.tgid);
        let events = waits.arm(&*self.session, &bound.attachment, watch);
        let moved = bound.attachment.edges();
        // Whoever sleeps believes what its end says: it is not made to say less here.
        waits.show(moved, events & armed, events);
        waits.armed &= !events | waits.edges;
    }

    /// Somebody waits for edges since before it was bound.
    pub fn wait_on(&self, events: Events) {
        lock(&self.waits).edges |= events & (IN | OUT);
    }

    /// Has somebody found nothing, and may sleep?
    pub fn is_armed(&self) -> bool {
        lock(&self.waits).armed != 0
    }

    /// The daemon is gone. Said once.
    pub fn lose(&self) {
        if !self.is_lost.swap(true, Relaxed) {
            let name = self.name();
            let why = format!("{name}: the uvale daemon is gone; close and open again");
            say(Level::Refusal, &why);
            self.give_up_wire();
            let end = lock(&self.waits).line.break_off();
            drop(end);
        }
    }

    /// Is the daemon known to be gone?
    pub fn is_lost(&self) -> bool {
        self.is_lost.load(Relaxed)
    }

    fn give_up_wire(&self) {
        if let Some(bound) = self.bound() {
            let wire = lock(&bound.wire).take();
            drop(wire);
        }
        self.session.forget_wires();
    }

    /// No program has it any more: its name is free when this returns.
    pub fn close(&self) {
        let mut is_closed = lock(&self.is_closed);
        if !std::mem::replace(&mut *is_closed, true) {
            // As closing it: whoever has a share of this may be in a sync.
            let _ = rustix::net::shutdown(&self.device, Shutdown::Both);
            self.session.settle(self.client);
            self.give_up_wire();
        }
    }
}
