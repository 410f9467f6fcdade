//! The worlds that this process has met.

use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uvale_link::session::{PATIENCE, Session};
use uvale_system::refusal::Refusal;
use uvale_system::sys::borrow;

use super::world::World;
use crate::ground::lock::Lock;

/// All of them.
pub static WORLDS: Lock<Worlds> = Lock::new(Worlds::new());
/// Held by the one thread that looks for a daemon by its name, and starts one.
static ENTERING: Lock<()> = Lock::new(());

/// The world at `dir`. If no daemon answers there one is started.
pub fn enter(dir: &Path) -> Result<(Arc<World>, &'static Session), Refusal> {
    let _alone = ENTERING.lock();
    if let Some(found) = WORLDS.lock().at(dir) {
        return Ok(found);
    }
    let session = uvale_link::start::attach(dir)?;
    let mut worlds = WORLDS.lock();
    let (world, session) = worlds.join(session);
    worlds.settle(dir, &world);
    Ok((world, session))
}

/// The world with this number, to which `fd` leads.
pub fn follow(number: u64, fd: RawFd) -> Result<Arc<World>, Refusal> {
    let known = WORLDS.lock().with_number(number);
    if let Some(world) = known.filter(|world| world.current().is_some()) {
        return Ok(world);
    }
    let session = Session::attach_through(borrow(&fd), Some(PATIENCE))?;
    if session.world() != number {
        return Err(rustix::io::Errno::PROTO.into());
    }
    let (world, _) = WORLDS.lock().join(session);
    Ok(world)
}

/// In the child of a fork.
///
/// # Safety
/// This is the only thread.
pub unsafe fn forked() {
    // SAFETY: by contract. Who enters, if somebody did, is not in this process.
    unsafe { ENTERING.reset() };
}

/// See the module.
pub struct Worlds {
    met: Vec<Arc<World>>,
    /// where this process opens the device, and what it found there
    directories: Vec<(PathBuf, Arc<World>)>,
}

impl Worlds {
    /// None yet.
    const fn new() -> Self {
        Self {
            met: Vec::new(),
            directories: Vec::new(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<World>> {
        self.met.iter()
    }

    /// The world with this number.
    pub fn with_number(&self, number: u64) -> Option<Arc<World>> {
        self.met.iter().find(|w| w.number() == number).cloned()
    }

    /// The world of `session`. One that was met before may go on with its own session.
    pub fn join(&mut self, session: Session) -> (Arc<World>, &'static Session) {
        match self.with_number(session.world()) {
            Some(world) => {
                let session = world.take(session);
                (world, session)
            }
            None => {
                // Those whose daemon is gone, and of which nothing is open any more.
                self.met
                    .retain(|w| Arc::strong_count(w) > 1 || w.alive().is_some());
                let (world, session) = World::new(session);
                let world = Arc::new(world);
                self.met.push(world.clone());
                (world, session)
            }
        }
    }

    /// The world whose daemon answered at `dir`, if it still does.
    pub fn at(&self, dir: &Path) -> Option<(Arc<World>, &'static Session)> {
        let (_, world) = self.directories.iter().find(|(known, _)| known == dir)?;
        Some((world.clone(), world.alive()?))
    }

    /// From now on `world` is found at `dir`.
    pub fn settle(&mut self, dir: &Path, world: &Arc<World>) {
        self.forget(dir);
        self.directories.push((dir.to_owned(), world.clone()));
    }

    /// Nothing is known of `dir` any more.
    pub fn forget(&mut self, dir: &Path) {
        self.directories.retain(|(known, _)| known != dir);
    }
}
