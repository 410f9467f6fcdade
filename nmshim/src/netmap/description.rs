//! An open file description of `/dev/netmap`: its session, and what it is bound to.

use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};
use std::os::fd::RawFd;
use std::sync::Arc;

use libc::c_int;
use rustix::process::{Pid, getpid};
use uvale_engine::{Attachment, RX, TX};
use uvale_link::channel::call;
use uvale_link::proto::{Call, Reply};
use uvale_link::session::Session;
use uvale_shared::binding::Binding;
use uvale_system::refusal::Refusal;
use uvale_system::sys::borrow;
use uvale_wire::Wire;

use super::say::{Level, say};
use super::world::{World, forks};
use crate::device::{Errno, Result};
use crate::ground::lock::Lock;
use crate::ground::section;

/// Syncs between two looks at the clock, and at the wires that are kept; a look at the daemon follows at most once a
/// second.
const LOOK_EVERY: i32 = 64;

/// It came from another process.
const ADOPTED: u32 = 1;
/// The daemon is gone.
const GONE: u32 = 2;
/// It is in CSB mode, as far as this process knows.
const CSB: u32 = 4;

/// An open file description, as this process knows it.
pub struct Description {
    world: Arc<World>,
    client: u32,
    flags: c_int,
    /// null until bound
    bound: AtomicPtr<Bind>,
    forks_at_open: u32,
    /// what of it is not as usual: `ADOPTED`, `GONE`, `CSB`
    state: AtomicU32,
    /// before the next look at the daemon
    syncs_left: AtomicI32,
    last_look: AtomicU64,
}

/// What a successful REGISTER left behind.
pub struct Bind {
    pub attachment: Attachment,
    /// with which it was made: this process's for as long as nothing unusual happens
    session: &'static Session,
    /// of a NIC port, until the description is closed; who is in the middle of a sync has a share of its own
    wire: Lock<Option<Arc<Wire>>>,
    /// the process that has made it
    pid: Pid,
}

impl Description {
    pub fn new(
        world: Arc<World>,
        fd: RawFd,
        client: u32,
        flags: c_int,
        bound: Option<Box<Binding>>,
    ) -> Self {
        let description = Self {
            world,
            client,
            flags,
            bound: AtomicPtr::new(core::ptr::null_mut()),
            forks_at_open: forks(),
            state: AtomicU32::new(0),
            syncs_left: AtomicI32::new(LOOK_EVERY),
            last_look: AtomicU64::new(0),
        };
        if let Some(bound) = bound {
            let _ = description.bind(fd, *bound);
        }
        description
    }

    pub fn adopted(
        world: Arc<World>,
        fd: RawFd,
        client: u32,
        flags: c_int,
        bound: Option<Box<Binding>>,
    ) -> Self {
        let description = Self::new(world, fd, client, flags, bound);
        description.state.fetch_or(ADOPTED, Relaxed);
        description
    }

    pub fn client(&self) -> u32 {
        self.client
    }

    fn bind(&self, fd: RawFd, binding: Binding) -> core::result::Result<(), Refusal> {
        self.publish(self.make_bind(fd, binding)?)
    }

    /// Prepares the data path for the binding that the daemon has given to this description.
    pub fn make_bind(&self, fd: RawFd, binding: Binding) -> core::result::Result<Bind, Refusal> {
        let session = self.world.session(fd)?;
        let region = session.map_region(binding.region)?;
        let attachment =
            Attachment::new(session, binding, region).map_err(|errno| match errno {
                rustix::io::Errno::NOMEM => Refusal::new(errno, "no memory to work with"),
                _ => Refusal::new(errno, "the port is gone already"),
            })?;
        let binding = attachment.binding();
        say(
            Level::Trace,
            format_args!(
                "{}: tx rings {:?}, rx rings {:?}, region {} of {} bytes",
                binding.name,
                binding.rings(TX),
                binding.rings(RX),
                binding.region,
                binding.mem_size
            ),
        );
        let wire = match binding.is_nic {
            true => Some(super::nic::wire_of(fd, session, binding)?),
            false => None,
        };
        if binding.csb.is_some() {
            self.enter_csb_mode();
        }
        Ok(Bind {
            attachment,
            session,
            wire: Lock::new(wire),
            pid: getpid(),
        })
    }

    /// Makes the binding visible to all threads.
    pub fn publish(&self, bind: Bind) -> core::result::Result<(), Refusal> {
        let bind = Box::into_raw(Box::new(bind));
        if self
            .bound
            .compare_exchange(core::ptr::null_mut(), bind, AcqRel, Acquire)
            .is_err()
        {
            // SAFETY: just made, and nobody else has seen it.
            drop(unsafe { Box::from_raw(bind) });
        }
        Ok(())
    }

    /// The binding, if this process knows of one.
    #[inline]
    pub fn known_bind(&self) -> Option<&Bind> {
        // SAFETY: null, or a box that lives as long as `self`: it is set once.
        unsafe { self.bound.load(Acquire).as_ref() }
    }

    /// The binding, if there is one. A description shared with another process may have been
    /// bound there.
    #[inline]
    pub fn bound(&self, fd: RawFd) -> Option<&Bind> {
        self.known_bind().or_else(|| self.ask_for_binding(fd))
    }

    #[cold]
    fn ask_for_binding(&self, fd: RawFd) -> Option<&Bind> {
        if self.shared()
            && let Ok((
                Reply::Opened {
                    bound: Some(bound), ..
                },
                _,
            )) = call(borrow(&fd), &Call::Whois)
        {
            let _ = self.bind(fd, *bound);
        }
        self.known_bind()
    }

    /// Is it bound, as far as this process knows?
    pub fn is_bound(&self) -> bool {
        self.known_bind().is_some()
    }

    /// This process's session.
    pub fn session(&self, fd: RawFd) -> core::result::Result<&'static Session, Refusal> {
        self.world.session(fd)
    }

    /// Session and binding, for a sync.
    #[inline(always)]
    pub fn ready(&self, fd: RawFd) -> Result<(&'static Session, &Bind)> {
        if self.is_usual()
            && let Some(bind) = self.known_bind()
        {
            return Ok((bind.session, bind));
        }
        self.make_ready(fd)
    }

    /// Has nothing happened that a sync would have to mind?
    #[inline(always)]
    fn is_usual(&self) -> bool {
        self.state.load(Relaxed) | (forks() ^ self.forks_at_open) == 0
    }

    #[cold]
    #[inline(never)]
    fn make_ready(&self, fd: RawFd) -> Result<(&'static Session, &Bind)> {
        if self.is_gone() {
            return Err(Errno(libc::ENXIO));
        }
        let session = match self.world.current() {
            Some(session) => session,
            None => self
                .world
                .session(fd)
                .map_err(|f| self.without_session(&f))?,
        };
        let bind = self.bound(fd).ok_or(Errno(libc::ENXIO))?;
        // Another process that has the description can have put it into CSB mode.
        if self.is_in_csb_mode() || !self.is_usual() && bind.attachment.in_csb_mode() {
            return Err(Errno(libc::EBUSY));
        }
        Ok((session, bind))
    }

    /// It is in CSB mode from now on.
    pub fn enter_csb_mode(&self) {
        self.state.fetch_or(CSB, Relaxed);
    }

    /// Is it in CSB mode, as far as this process knows?
    pub fn is_in_csb_mode(&self) -> bool {
        self.state.load(Relaxed) & CSB != 0
    }

    #[cold]
    fn without_session(&self, refusal: &Refusal) -> Errno {
        let what = self.describe();
        say(
            Level::Refusal,
            format_args!("{what}: {refusal}; close and open again"),
        );
        refusal.errno.into()
    }

    /// Says that the daemon is gone, once. The wire goes with it, and what it has set up on the system.
    #[cold]
    pub fn is_lost(&self) {
        if self.state.fetch_or(GONE, Relaxed) & GONE == 0 {
            let what = self.describe();
            say(
                Level::Refusal,
                format_args!("{what}: the uvale daemon is gone; close and open again"),
            );
            self.give_up_wire();
        }
    }

    /// A program that only syncs would not notice that the daemon is gone: checks now and then, at
    /// the cost of one system call a second at most.
    #[inline(always)]
    pub fn look_after_daemon(&self, session: &Session) -> Result<()> {
        // Threads that count at the same time may lose a count, which does no harm.
        let left = self.syncs_left.load(Relaxed).wrapping_sub(1);
        self.syncs_left.store(left, Relaxed);
        if left <= 0 {
            self.look_again(session)
        } else {
            Ok(())
        }
    }

    #[cold]
    #[inline(never)]
    fn look_again(&self, session: &Session) -> Result<()> {
        self.syncs_left.store(LOOK_EVERY, Relaxed);
        session.forget_wires();
        self.look_now(session)
    }

    #[cold]
    pub fn look_now(&self, session: &Session) -> Result<()> {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse).tv_sec as u64;
        if self.last_look.swap(now, Relaxed) != now && !session.is_alive() {
            self.is_lost();
            return Err(Errno(libc::ENXIO));
        }
        Ok(())
    }

    /// Gives up its wire, because it has been closed or the daemon is gone, and wires of ports that are gone. The child
    /// of a fork has no share in its parent's wire. In a handler the heap may be in use: then the wire goes with the
    /// object, at the next open.
    pub fn give_up_wire(&self) {
        if section::this().is_in_handler() {
            return;
        }
        if let Some(bind) = self.known_bind()
            && bind.pid == getpid()
        {
            let wire = bind.wire.lock().take();
            drop(wire);
        }
        if let Some(session) = self.current() {
            session.forget_wires();
        }
    }

    /// Is the daemon known to be gone?
    pub fn is_gone(&self) -> bool {
        self.state.load(Relaxed) & GONE != 0
    }

    /// Flags of open(2).
    pub fn open_flags(&self) -> c_int {
        self.flags
    }

    /// The session this process has now, if any.
    pub fn current(&self) -> Option<&'static Session> {
        self.world.current()
    }

    /// May another process have it?
    pub fn shared(&self) -> bool {
        self.state.load(Relaxed) & ADOPTED != 0
            || forks() != self.forks_at_open
            || self
                .known_bind()
                .is_some_and(|b| b.attachment.binding().sleeper.is_none())
    }

    /// For messages.
    pub fn describe(&self) -> String {
        self.known_bind().map_or_else(
            || "unbound".to_owned(),
            |b| b.attachment.binding().name.clone(),
        )
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        let bind = *self.bound.get_mut();
        if !bind.is_null() {
            // SAFETY: made by `Box::into_raw` in `bind`, and nobody can have a reference any more.
            drop(unsafe { Box::from_raw(bind) });
        }
    }
}
