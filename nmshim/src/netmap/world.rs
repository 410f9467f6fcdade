//! A world, and this process' session with its daemon.
//!
//! A world is known by its random number: the same directory may be another world in another
//! container, and a descriptor that comes from there leads to a world that has no name here.
//!
//! A session belongs to one process. The child of a fork drops its parent's session (closes its
//! copy of the connection, so that the parent's death is noticed) and attaches anew on first use,
//! through the descriptor that it uses. Sessions are never freed: a thread may be in the middle of
//! a sync with one.

use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::os::fd::RawFd;
use std::sync::Arc;

use rustix::io::Errno;
use uvale_link::session::Session;
use uvale_shared::ctl::Ctl;
use uvale_system::refusal::Refusal;
use uvale_system::sys::borrow;

use crate::ground::lock::Lock;

/// Where a world keeps its session. Leaked, so that the fork handler, which may neither lock nor
/// allocate, can go through all of them.
struct Place {
    /// null: not attached since the fork
    session: AtomicPtr<Session>,
    next: *const Place,
}

/// The place that was made last.
static PLACES: AtomicPtr<Place> = AtomicPtr::new(core::ptr::null_mut());

impl Place {
    fn new() -> &'static Self {
        let place = Box::leak(Box::new(Self {
            session: AtomicPtr::new(core::ptr::null_mut()),
            next: core::ptr::null(),
        }));
        let mut head = PLACES.load(Ordering::Acquire);
        loop {
            place.next = head;
            match PLACES.compare_exchange(head, place, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return place,
                Err(other) => head = other,
            }
        }
    }
}

/// A world.
pub struct World {
    place: &'static Place,
    /// control memory as the first session mapped it; a child keeps the mapping it inherits
    ctl: Arc<Ctl>,
    attaching: Lock<()>,
}

// SAFETY: `next` of a place is written before others can see it, and never again.
unsafe impl Send for World {}
// SAFETY: as above; everything else is shared by atomics and a lock.
unsafe impl Sync for World {}

impl World {
    pub fn new(session: Session) -> (Self, &'static Session) {
        let world = Self {
            place: Place::new(),
            ctl: session.shared_ctl().clone(),
            attaching: Lock::new(()),
        };
        let session = world.keep(session);
        (world, session)
    }

    /// Its random number.
    pub fn number(&self) -> u64 {
        self.ctl.world()
    }

    /// The session this process has now.
    #[inline]
    pub fn current(&self) -> Option<&'static Session> {
        let session = self.place.session.load(Ordering::Acquire);
        // SAFETY: null, or a leaked Session.
        unsafe { session.as_ref() }
    }

    /// The session, if its daemon is there.
    pub fn alive(&self) -> Option<&'static Session> {
        self.current().filter(|session| session.is_alive())
    }

    /// The session; `fd`, a descriptor of this world, leads to the daemon if necessary.
    pub fn session(&self, fd: RawFd) -> Result<&'static Session, Refusal> {
        match self.current() {
            Some(session) => Ok(session),
            None => self.attach_through(fd),
        }
    }

    #[cold]
    fn attach_through(&self, fd: RawFd) -> Result<&'static Session, Refusal> {
        let _alone = self.attaching.lock();
        if let Some(session) = self.current() {
            return Ok(session);
        }
        let session = Session::attach_through(borrow(&fd), None)?;
        if session.world() != self.number() {
            return Err(Refusal::new(
                Errno::NXIO,
                "the uvale daemon of this descriptor is gone",
            ));
        }
        Ok(self.keep(session))
    }

    /// Takes a session of this world's that was made elsewhere, unless there is one that works.
    pub fn take(&self, session: Session) -> &'static Session {
        let _alone = self.attaching.lock();
        match self.alive() {
            Some(session) => session,
            None => self.keep(session),
        }
    }

    fn keep(&self, mut session: Session) -> &'static Session {
        session.adopt_ctl(self.ctl.clone());
        let session: &'static Session = Box::leak(Box::new(session));
        let pointer = core::ptr::from_ref(session).cast_mut();
        if !self.place.session.swap(pointer, Ordering::AcqRel).is_null() {
            // Its descriptions find the new one, as after a fork.
            forks_again();
        }
        session
    }

    /// Before a fork: no attach is half done.
    pub fn hold(&self) {
        self.attaching.hold();
    }

    /// After it, in both processes.
    ///
    /// # Safety
    /// Held by `hold` of this thread, or of the thread this one is the copy of.
    pub unsafe fn release(&self) {
        // SAFETY: by contract.
        unsafe { self.attaching.release() };
    }
}

/// Forks this process has made: a description open at a fork may be shared from then on.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// How many.
pub fn forks() -> u32 {
    FORKS.load(Ordering::Acquire)
}

/// One more is about to be made.
pub fn forks_again() {
    // SYNC POINT: Release pairs with the Acquire in `forks`: who finds the new count finds the new session.
    FORKS.fetch_add(1, Ordering::Release);
}

/// In the child of a fork: drops the parent's sessions. Async-signal-safe.
pub fn forked() {
    // Descriptions that were opened when the fork had begun are the parent's, too.
    forks_again();
    let mut place = PLACES.load(Ordering::Acquire).cast_const();
    // SAFETY: null, or a leaked place, whose `next` is never written again.
    while let Some(at) = unsafe { place.as_ref() } {
        at.session.store(core::ptr::null_mut(), Ordering::Release);
        place = at.next;
    }
    uvale_system::sys::close_own_in_child();
}
