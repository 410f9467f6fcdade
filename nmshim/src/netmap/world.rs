//! A world as this process sees it: its session with the daemon.
//!
//! A session belongs to one process. The child of a fork drops its parent's session (closes its
//! copy of the connection, so that the parent's death is noticed) and attaches anew on first use.
//! Sessions are never freed: a thread may be in the middle of a sync with one.

use core::sync::atomic::{AtomicPtr, Ordering};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use uvale::ctl::Ctl;
use uvale::session::{Failure, Session};

use crate::interpose::Lock;

/// Worlds that a fork must be told of; a process hardly ever meets more than one.
const MAX_WORLDS: usize = 32;
/// Where the worlds keep their sessions, for the fork handler, which may neither lock nor allocate.
static SESSIONS: [AtomicPtr<AtomicPtr<Session>>; MAX_WORLDS] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_WORLDS];

/// A world, known by the path of its socket.
pub struct World {
    socket: PathBuf,
    /// null: not attached (yet, or since the fork). Leaked, so that the fork handler can reach it.
    session: &'static AtomicPtr<Session>,
    /// control memory as the first session mapped it; a child goes on with the mapping it
    /// inherits, and a daemon that restarted has a memory with another number
    ctl: Lock<Option<Arc<Ctl>>>,
}

impl World {
    pub fn new(socket: PathBuf) -> Self {
        let session: &'static AtomicPtr<Session> =
            Box::leak(Box::new(AtomicPtr::new(core::ptr::null_mut())));
        register(session);
        Self {
            socket,
            session,
            ctl: Lock::new(None),
        }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Is its daemon there, or not yet asked?
    pub fn is_usable(&self) -> bool {
        self.current().is_none_or(Session::is_alive)
    }

    /// The session this process has now.
    #[inline]
    pub fn current(&self) -> Option<&'static Session> {
        let session = self.session.load(Ordering::Acquire);
        // SAFETY: null, or a leaked Session.
        unsafe { session.as_ref() }
    }

    /// The session, attaching if need be.
    pub fn session(&self) -> Result<&'static Session, Failure> {
        match self.current() {
            Some(session) => Ok(session),
            None => self.attach(|| Session::attach(&self.socket)),
        }
    }

    /// The session; if no daemon answers one is started.
    pub fn session_or_start(&self) -> Result<&'static Session, Failure> {
        match self.current() {
            Some(session) => Ok(session),
            None => {
                self.attach(|| uvale::start::attach(self.socket.parent().unwrap_or(Path::new("/"))))
            }
        }
    }

    /// Before a fork: no attach is half done.
    pub fn hold(&self) {
        self.ctl.hold();
    }

    /// After it.
    pub fn release(&self) {
        // SAFETY: held by `hold` of this thread, or of the thread this one is the copy of.
        unsafe { self.ctl.release() };
    }

    #[cold]
    fn attach(
        &self,
        attach: impl FnOnce() -> Result<Session, Failure>,
    ) -> Result<&'static Session, Failure> {
        let mut ctl = self.ctl.lock();
        if let Some(session) = self.current() {
            return Ok(session);
        }
        let mut session = attach()?;
        match &*ctl {
            Some(known) if known.world() != session.world() => {
                return Err(Failure::new(
                    Errno::NXIO,
                    "the uvale daemon of this descriptor is gone",
                ));
            }
            Some(known) => session.adopt_ctl(known.clone()),
            None => *ctl = Some(session.shared_ctl().clone()),
        }
        let session: &'static Session = Box::leak(Box::new(session));
        self.session
            .store(core::ptr::from_ref(session).cast_mut(), Ordering::Release);
        Ok(session)
    }
}

fn register(pointer: &'static AtomicPtr<Session>) {
    let pointer = core::ptr::from_ref(pointer).cast_mut();
    let null = core::ptr::null_mut();
    for slot in &SESSIONS {
        if slot
            .compare_exchange(null, pointer, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
        {
            return;
        }
    }
}

/// In the child of a fork: lets go of the parent's sessions. Async-signal-safe.
pub fn forked() {
    for slot in &SESSIONS {
        // SAFETY: null, or a leaked cell.
        if let Some(cell) = unsafe { slot.load(Ordering::Acquire).as_ref() } {
            cell.store(core::ptr::null_mut(), Ordering::Release);
        }
    }
    uvale::sys::close_own_in_child();
}
