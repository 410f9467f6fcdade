//! Wires of NIC ports, as a process knows them.

use core::sync::atomic::Ordering::{Acquire, Relaxed};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;

use super::Session;
use crate::channel::{call, call_with_all};
use crate::proto::{Call, Join, Reply, refused};
use uvale_system::clock::monotonic;
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;
use uvale_wire::interface::Watch;
use uvale_wire::{Kind, Opened, Wire};

/// How long a wire that could not be had is not asked for again, in nanoseconds.
const NOT_AGAIN: u64 = 200_000_000;

/// Which wire of which port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct WireKey {
    port: u32,
    generation: u32,
    /// of the port's wires: [`uvale_shared::ctl::Port::wires`]
    number: u32,
}

/// The wires that this process has.
#[derive(Default)]
pub(super) struct Wires {
    known: HashMap<WireKey, Weak<Wire>>,
    /// those that nobody else in this process keeps: a fork's child has descriptions, but not their wires
    kept: HashMap<WireKey, Arc<Wire>>,
    /// those that could not be had, and until when they are not asked for again
    missing: HashMap<WireKey, u64>,
}

impl Session {
    /// The wire of the NIC port with record `port`; `ENODATA` if nobody has opened it yet.
    pub fn fetch_wire(&self, port: u32) -> Result<Arc<Wire>, Refusal> {
        // A wire that takes the place of this one in the meantime has another number, and so is fetched, too.
        let key = self.wire_key(port).ok_or(Errno::NXIO)?;
        let (reply, fds) = call(self.connection.as_fd(), &Call::Wire(port))?;
        let wire = received(reply, fds)?;
        self.know(key, &wire);
        Ok(wire)
    }

    /// Gives the daemon the wire of a NIC port that this process has opened, and takes what it has then: another
    /// process may have been faster. `device` has the port open, or has put it on a switch.
    pub fn give_wire(
        &self,
        device: BorrowedFd<'_>,
        port: u32,
        opened: Opened,
        watch: Option<Watch>,
        join: Join,
    ) -> Result<Arc<Wire>, Refusal> {
        let Opened { shape, fds, kept } = opened;
        let watched = watch.is_some();
        let give = Call::GiveWire {
            port,
            shape,
            watched,
            join,
        };
        let watch = watch.map(Watch::into_fds);
        let all = fds.iter().chain(watch.iter().flatten()).chain(&kept);
        let all: Vec<_> = all.map(AsFd::as_fd).collect();
        let before = self.wire_key(port).ok_or(Errno::NXIO)?;
        let (reply, fds) = call_with_all(device, &give, &all)?;
        let wire = received(reply, fds)?;
        // One that carries something is the port's last.
        let is_last = wire.shape().kind != Kind::Nothing;
        let number = self.wire_key(port).filter(|_| is_last);
        let number = number.map_or(before.number, |key| key.number);
        self.know(WireKey { number, ..before }, &wire);
        Ok(wire)
    }

    fn know(&self, key: WireKey, wire: &Arc<Wire>) {
        let mut wires = self.wires.write().unwrap_or_else(PoisonError::into_inner);
        wires.known.retain(|_, wire| wire.strong_count() > 0);
        wires.known.insert(key, Arc::downgrade(wire));
    }

    fn wire_key(&self, port: u32) -> Option<WireKey> {
        let record = self.ctl.port(port)?;
        Some(WireKey {
            port,
            generation: record.generation.load(Relaxed),
            // SYNC POINT: Acquire pairs with the Release of the daemon, which has the wire by then.
            number: record.wires.load(Acquire),
        })
    }

    /// The wire of a port as the daemon has it now.
    pub(super) fn known_wire(&self, port: u32) -> Option<Arc<Wire>> {
        let key = self.wire_key(port)?;
        let wires = self.wires.read().unwrap_or_else(PoisonError::into_inner);
        let known = wires.known.get(&key).and_then(Weak::upgrade);
        drop(wires);
        known.or_else(|| self.keep_wire(key))
    }

    /// The wire of a port that this process uses without having opened it, or got another one. One that cannot be had
    /// is asked for again when the port has another wire, or after a while: whoever wants it holds the lock of a ring.
    #[cold]
    fn keep_wire(&self, key: WireKey) -> Option<Arc<Wire>> {
        let wires = self.wires.read().unwrap_or_else(PoisonError::into_inner);
        let is_missing = wires
            .missing
            .get(&key)
            .is_some_and(|end| monotonic() < *end);
        drop(wires);
        if is_missing {
            return None;
        }
        self.forget_wires();
        let fetched = self.fetch_wire(key.port);
        let mut wires = self.wires.write().unwrap_or_else(PoisonError::into_inner);
        match fetched {
            Ok(wire) => {
                wires.kept.insert(key, wire.clone());
                Some(wire)
            }
            Err(_) => {
                wires.missing.insert(key, monotonic() + NOT_AGAIN);
                None
            }
        }
    }

    /// Gives up wires that are kept of ports that nobody has open any more. Cheap if there are none.
    pub fn forget_wires(&self) {
        let is_over = |key: &WireKey| self.wire_key(key.port) != Some(*key);
        let wires = self.wires.read().unwrap_or_else(PoisonError::into_inner);
        if wires.kept.is_empty() && wires.missing.is_empty() {
            return;
        }
        let all = wires.kept.keys().chain(wires.missing.keys());
        let over: Vec<_> = all.copied().filter(is_over).collect();
        drop(wires);
        for key in over {
            let mut wires = self.wires.write().unwrap_or_else(PoisonError::into_inner);
            wires.missing.remove(&key);
            let wire = wires.kept.remove(&key);
            // Sockets are closed without the lock.
            drop(wires);
            drop(wire);
        }
    }
}

/// The wire in an answer.
fn received(reply: Reply, fds: Vec<Fd>) -> Result<Arc<Wire>, Refusal> {
    match reply {
        Reply::Wire(shape) => Ok(Arc::new(Wire::new(shape, fds)?)),
        other => Err(refused(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::{pair, receive, send};
    use crate::proto::decode;
    use core::sync::atomic::AtomicU32;
    use core::sync::atomic::Ordering::Release;
    use rustix::net::{RecvFlags, SendFlags};
    use std::sync::{Mutex, RwLock};
    use std::time::Duration;
    use uvale_engine::Host;
    use uvale_shared::ctl::{CTL_LEN, Ctl};
    use uvale_shared::shm::Memfd;
    use uvale_system::sys::OwnFd;
    use uvale_wire::Shape;

    fn nothing() -> Shape {
        Shape {
            kind: Kind::Nothing,
            frames: Vec::new(),
            senders: 0,
            host: None,
            is_stolen: false,
            plan: None,
            lacks: Vec::new(),
        }
    }

    /// A session with a daemon that knows nothing but wires: it has none for port 1, and counts who asks.
    fn session() -> (Session, Arc<AtomicU32>) {
        let memfd = Memfd::in_parts("test-control", CTL_LEN).expect("memory");
        let ctl = Arc::new(Ctl::format(&memfd).expect("it is as long as control memory"));
        let (mine, theirs) = pair().expect("sockets");
        let asked = Arc::new(AtomicU32::new(0));
        let count = asked.clone();
        std::thread::spawn(move || {
            while let Ok(Some(packet)) = receive(theirs.as_fd(), RecvFlags::empty()) {
                let reply = match decode(&packet.bytes) {
                    Some(Call::Wire(1)) => Reply::Refused(Errno::NODATA.into()),
                    Some(Call::Wire(_)) => Reply::Wire(nothing()),
                    other => panic!("{other:?}"),
                };
                count.fetch_add(1, Relaxed);
                let to = packet.fds[0].as_fd();
                send(to, &reply, &[], SendFlags::empty()).expect("it waits for the answer");
            }
        });
        let session = Session {
            connection: OwnFd::new(mine),
            spares: Mutex::default(),
            owner: uvale_shared::lock::Owner::new(2, 0),
            ctl,
            regions: Mutex::default(),
            wakers: RwLock::default(),
            traces: RwLock::default(),
            wires: RwLock::default(),
        };
        (session, asked)
    }

    fn given(session: &Session, port: u32) {
        let record = session.ctl.port(port).expect("a record");
        record.wires.fetch_add(1, Release);
    }

    #[test]
    fn a_wire_that_cannot_be_had_is_not_asked_for_at_every_sync() {
        let (session, asked) = session();
        // Not more often than every 200 ms, however slow this machine is.
        let begin = monotonic();
        for _ in 0..1000 {
            assert!(session.wire(1).is_none());
        }
        let most = 1 + (monotonic() - begin) / NOT_AGAIN;
        assert!(u64::from(asked.load(Relaxed)) <= most, "{asked:?}");
        // Another wire is asked for at once.
        let before = asked.load(Relaxed);
        given(&session, 1);
        assert!(session.wire(1).is_none());
        assert!(asked.load(Relaxed) > before);
        std::thread::sleep(Duration::from_nanos(NOT_AGAIN));
        let before = asked.load(Relaxed);
        assert!(session.wire(1).is_none());
        assert!(asked.load(Relaxed) > before);
    }

    #[test]
    fn a_wire_that_takes_the_place_of_another_is_noticed() {
        let (session, asked) = session();
        let first = session.wire(2).expect("the daemon has one");
        for _ in 0..10 {
            assert!(Arc::ptr_eq(&first, &session.wire(2).expect("it is kept")));
        }
        assert_eq!(asked.load(Relaxed), 1);
        given(&session, 2);
        let second = session.wire(2).expect("the daemon has one");
        assert!(!Arc::ptr_eq(&first, &second));
        assert_eq!(asked.load(Relaxed), 2);
        // The first goes with the next look.
        session.forget_wires();
        assert_eq!(Arc::strong_count(&first), 1);
    }
}
