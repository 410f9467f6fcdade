//! An open file description of `/dev/netmap`.

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::*};
use std::os::fd::RawFd;
use std::sync::Arc;

use libc::{c_int, c_short, c_ulong};
use rustix::fd::AsRawFd;
use rustix::net::RecvFlags;
use uvale_engine::{Attachment, Host, RX, TX};
use uvale_link::channel::call;
use uvale_link::proto::{Call, Reply};
use uvale_link::session::{Failure, Session};
use uvale_shared::binding::Binding;
use uvale_system::sys::borrow;

use super::say::{Level, say};
use super::world::World;
use super::{FORKS, errno};
use crate::device::{Errno, File, Result};

/// Syncs between two looks at the clock; a look at the daemon follows at most once a second.
const LOOK_EVERY: u32 = 64;
/// Rounds of spinning over the rings before a thread goes to sleep, least and most. Adaptive: more after
/// a spin that found something or a sleep that was short, fewer otherwise. If the peer needs this
/// very processor, no spin is long enough; then spinning stays short for [`SPIN_HOLD`] sleeps.
const SPIN_ROUNDS: core::ops::RangeInclusive<u32> = 16..=2048;

/// Sleeps for which spinning stays short after the longest spin was in vain.
const SPIN_HOLD: u32 = 256;
/// Sleeps shorter than this, in ns, a longer spin would have avoided.
const SHORT_SLEEP: u64 = 100_000;

fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// An open file description, as this process knows it.
pub struct NetmapFile {
    world: Arc<World>,
    client: u32,
    flags: c_int,
    /// null until bound
    bound: AtomicPtr<Bind>,
    forks_at_open: u32,
    adopted: bool,
    gone: AtomicBool,
    syncs: AtomicU32,
    spin_rounds: AtomicU32,
    /// sleeps for which `spin_rounds` stays as it is
    spin_hold: AtomicU32,
    /// when a thread went to sleep last, in ns
    slept_at: AtomicU64,
    /// threads between `arm` and `disarm`: they share one bit in the rings' masks
    armed: AtomicU32,
    last_look: AtomicU64,
}

/// What a successful REGISTER left behind.
pub struct Bind {
    pub attachment: Attachment,
    /// in CSB mode, as far as this process knows
    pub csb: AtomicBool,
}

impl NetmapFile {
    pub fn new(
        world: Arc<World>,
        fd: RawFd,
        client: u32,
        flags: c_int,
        bound: Option<Box<Binding>>,
    ) -> Self {
        let file = Self {
            world,
            client,
            flags,
            bound: AtomicPtr::new(core::ptr::null_mut()),
            forks_at_open: FORKS.load(Relaxed),
            adopted: false,
            gone: AtomicBool::new(false),
            syncs: AtomicU32::new(0),
            spin_rounds: AtomicU32::new(*SPIN_ROUNDS.end()),
            spin_hold: AtomicU32::new(0),
            slept_at: AtomicU64::new(0),
            armed: AtomicU32::new(0),
            last_look: AtomicU64::new(0),
        };
        if let Some(bound) = bound {
            let _ = file.bind(fd, *bound);
        }
        file
    }

    pub fn adopted(
        world: Arc<World>,
        fd: RawFd,
        client: u32,
        flags: c_int,
        bound: Option<Box<Binding>>,
    ) -> Self {
        let mut file = Self::new(world, fd, client, flags, bound);
        file.adopted = true;
        file
    }

    pub fn client(&self) -> u32 {
        self.client
    }

    fn bind(&self, fd: RawFd, binding: Binding) -> core::result::Result<(), Failure> {
        self.publish(self.make_bind(fd, binding)?)
    }

    /// Prepares the data path for the binding that the daemon has given to this description.
    pub fn make_bind(&self, fd: RawFd, binding: Binding) -> core::result::Result<Bind, Failure> {
        let session = self.world.session(fd)?;
        let region = session.map_region(binding.region)?;
        let attachment =
            Attachment::new(session, binding, region).map_err(|errno| match errno {
                rustix::io::Errno::NOMEM => Failure::new(errno, "no memory to work with"),
                _ => Failure::new(errno, "the port is gone already"),
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
        Ok(Bind {
            csb: AtomicBool::new(binding.csb.is_some()),
            attachment,
        })
    }

    /// Makes the binding visible to all threads.
    pub fn publish(&self, bind: Bind) -> core::result::Result<(), Failure> {
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
    fn known_bind(&self) -> Option<&Bind> {
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
    pub fn session(&self, fd: RawFd) -> core::result::Result<&'static Session, Failure> {
        self.world.session(fd)
    }

    /// Session and binding, for a sync.
    #[inline]
    fn ready(&self, fd: RawFd) -> Result<(&'static Session, &Bind)> {
        if self.gone.load(Relaxed) {
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
        let alone = !self.adopted && FORKS.load(Relaxed) == self.forks_at_open;
        if bind.csb.load(Relaxed) || !alone && bind.attachment.in_csb_mode(session) {
            return Err(Errno(libc::EBUSY));
        }
        Ok((session, bind))
    }

    #[cold]
    fn without_session(&self, failure: &Failure) -> Errno {
        let what = self.describe();
        say(
            Level::Refusal,
            format_args!("{what}: {failure}; close and open again"),
        );
        errno(failure)
    }

    /// Says that the daemon is gone, once.
    #[cold]
    fn is_lost(&self) {
        if !self.gone.swap(true, Relaxed) {
            let what = self.describe();
            say(
                Level::Refusal,
                format_args!("{what}: the uvale daemon is gone; close and open again"),
            );
        }
    }

    /// A program that only syncs would not notice that the daemon is gone: checks now and then, at
    /// the cost of one system call a second at most.
    #[inline]
    pub fn look_after_daemon(&self, session: &Session) -> Result<()> {
        // Threads that count at the same time may lose a count, which does no harm.
        let syncs = self.syncs.load(Relaxed).wrapping_add(1);
        self.syncs.store(syncs, Relaxed);
        if syncs.is_multiple_of(LOOK_EVERY) {
            self.look_now(session)
        } else {
            Ok(())
        }
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

    /// After a sleep: would a slightly longer spin have avoided it?
    fn adapt_spin(&self) {
        let hold = self.spin_hold.load(Relaxed);
        if hold > 0 {
            self.spin_hold.store(hold - 1, Relaxed);
            return;
        }
        let slept = now_ns().saturating_sub(self.slept_at.load(Relaxed));
        let rounds = self.spin_rounds.load(Relaxed);
        let (least, most) = (*SPIN_ROUNDS.start(), *SPIN_ROUNDS.end());
        let rounds = if slept < SHORT_SLEEP {
            rounds * 2
        } else {
            rounds / 2
        };
        self.spin_rounds.store(rounds.clamp(least, most), Relaxed);
    }
}

impl Drop for NetmapFile {
    fn drop(&mut self) {
        let bind = *self.bound.get_mut();
        if !bind.is_null() {
            // SAFETY: made by `Box::into_raw` in `bind`, and nobody can have a reference any more.
            drop(unsafe { Box::from_raw(bind) });
        }
    }
}

impl File for NetmapFile {
    fn ioctl(&self, fd: RawFd, request: c_ulong, arg: *mut c_void) -> Result<c_int> {
        match request as u32 {
            nm_abi::NIOCTXSYNC => {
                let (session, bind) = self.ready(fd)?;
                bind.attachment.txsync(session);
                self.look_after_daemon(session)?;
                Ok(0)
            }
            nm_abi::NIOCRXSYNC => {
                let (session, bind) = self.ready(fd)?;
                bind.attachment.rxsync(session);
                self.look_after_daemon(session)?;
                Ok(0)
            }
            nm_abi::NIOCCTRL => self.control(fd, arg as u64),
            request => self.legacy(fd, request, arg as u64),
        }
    }

    fn mmap(
        &self,
        fd: RawFd,
        addr: *mut c_void,
        len: usize,
        prot: c_int,
        flags: c_int,
        offset: i64,
    ) -> Result<*mut c_void> {
        let bind = self.bound(fd).ok_or(Errno(libc::EINVAL))?;
        let binding = bind.attachment.binding();
        let size = binding.mem_size.next_multiple_of(4096);
        let end = (offset as u64)
            .checked_add(len as u64)
            .ok_or(Errno(libc::EINVAL))?;
        if end.next_multiple_of(4096) > size {
            return Err(self.explain(
                "mmap",
                rustix::io::Errno::INVAL,
                &format!("bytes up to {end} were asked for and the region has {size}"),
            ));
        }
        let failed = |failure: Failure| self.explain("mmap", failure.errno, &failure.why);
        let session = self.world.session(fd).map_err(failed)?;
        let (memfd, _) = session.region_memfd(binding.region).map_err(failed)?;
        map_pieces(&memfd, addr, len, prot, flags, offset)
    }

    fn poll(&self, fd: RawFd, events: c_short) -> c_short {
        let Ok((session, bind)) = self.ready(fd) else {
            let hup = if self.gone.load(Relaxed) {
                libc::POLLHUP
            } else {
                0
            };
            return libc::POLLERR | hup;
        };
        if self.look_after_daemon(session).is_err() {
            return libc::POLLERR | libc::POLLHUP;
        }
        bind.attachment.poll(session, events)
    }

    fn spin(&self, fd: RawFd, events: c_short) -> c_short {
        let Ok((session, bind)) = self.ready(fd) else {
            return 0;
        };
        let rounds = self.spin_rounds.load(Relaxed);
        for _ in 0..rounds {
            if bind.attachment.glance(session, events) {
                self.spin_rounds
                    .store((rounds * 2).min(*SPIN_ROUNDS.end()), Relaxed);
                return bind.attachment.poll(session, events);
            }
            core::hint::spin_loop();
        }
        if rounds >= *SPIN_ROUNDS.end() {
            self.spin_rounds.store(*SPIN_ROUNDS.start(), Relaxed);
            self.spin_hold.store(SPIN_HOLD, Relaxed);
        }
        0
    }

    fn drain(&self, fd: RawFd) {
        let mut tokens = [0u8; 64];
        while rustix::net::recv(borrow(&fd), &mut tokens[..], RecvFlags::DONTWAIT)
            .is_ok_and(|(_, n)| n > 0)
        {}
    }

    fn arm(&self, fd: RawFd, events: c_short) {
        self.slept_at.store(now_ns(), Relaxed);
        self.armed.fetch_add(1, SeqCst);
        if let Ok((session, bind)) = self.ready(fd) {
            bind.attachment.announce(session, events);
        }
    }

    fn disarm(&self, fd: RawFd, events: c_short) {
        self.adapt_spin();
        // The announcement is that of all threads armed on this description.
        let last = self
            .armed
            .fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1))
            == Ok(1);
        if last && let Ok((session, bind)) = self.ready(fd) {
            bind.attachment.withdraw(session, events);
            // SYNC POINT: whoever announced before our withdrawal had been counted before that: it
            // looks, and announces, once more.
            if self.armed.load(SeqCst) != 0 {
                session.wake(self.client);
            }
        }
    }

    fn edges(&self) -> u64 {
        match (self.world.current(), self.known_bind()) {
            (Some(session), Some(bind)) => bind.attachment.edges(session),
            _ => 0,
        }
    }

    fn liveness(&self) -> RawFd {
        self.world
            .current()
            .map_or(-1, |s| s.connection().as_raw_fd())
    }

    fn lost(&self, own: bool) {
        // Several worlds may be in one set: each asks after its own daemon.
        if own || self.world.current().is_some_and(|s| !s.is_alive()) {
            self.is_lost();
        }
    }

    fn open_flags(&self) -> c_int {
        self.flags
    }

    fn closed(&self) {
        // As in the kernel, a close is done when it returns: the name is free, nothing more arrives.
        if let Some(session) = self.world.current() {
            session.settle(self.client);
        }
    }

    fn shared(&self) -> bool {
        self.adopted
            || FORKS.load(Relaxed) != self.forks_at_open
            || self
                .known_bind()
                .is_some_and(|b| b.attachment.binding().sleeper.is_none())
    }

    fn describe(&self) -> String {
        self.known_bind().map_or_else(
            || "unbound".to_owned(),
            |b| b.attachment.binding().name.clone(),
        )
    }
}

/// mmap of a memory that may have several parts.
fn map_pieces(
    memfd: &uvale_shared::shm::Memfd,
    addr: *mut c_void,
    len: usize,
    prot: c_int,
    flags: c_int,
    offset: i64,
) -> Result<*mut c_void> {
    use crate::ground::raw::{map, unmap};
    if let [one] = memfd.parts() {
        return map(addr, len, prot, flags, one.raw(), offset);
    }
    let from = usize::try_from(offset).unwrap_or(usize::MAX);
    if !from.is_multiple_of(4096) {
        return Err(Errno(libc::EINVAL));
    }
    // Reserve the whole range first, so that nothing else is where the parts go.
    let exact = flags & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE);
    let nothing = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let place = map(addr, len, libc::PROT_NONE, nothing | exact, -1, 0)?;
    let there = flags & !libc::MAP_FIXED_NOREPLACE | libc::MAP_FIXED;
    for piece in memfd.pieces(from, len) {
        let at = place.wrapping_byte_add(piece.at);
        let ofs = piece.ofs as i64;
        if let Err(errno) = map(at, piece.len, prot, there, piece.fd.raw(), ofs) {
            unmap(place, len);
            return Err(errno);
        }
    }
    Ok(place)
}
