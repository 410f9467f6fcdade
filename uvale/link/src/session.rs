//! A process's side of a world: its session with the daemon, control memory, and caches of the
//! regions it has mapped and of the descriptors it wakes others with;
//! `session/wires.rs` has the wires of NIC ports, `session/traces.rs` the traces.
//! This is the [`Host`] of the engine in a trusted process.

mod traces;
mod wires;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::channel::{call, call_with, call_with_all, call_within, pair, send};
use crate::difference;
use crate::proto::{Call, PROTOCOL, Reply, Report, TOKEN, refused};
use crate::report::{Guest, Parameter};
use traces::Traces;
use uvale_engine::trace::Tracing;
use uvale_engine::{Host, RegionMap};
use uvale_shared::ctl::Ctl;
use uvale_shared::lock::Owner;
use uvale_shared::shm::{BufferPool, Mapping, Memfd, Pages};
use uvale_system::refusal::Refusal;
use uvale_system::sys::{Fd, OwnFd};
use uvale_system::who::Who;
use uvale_wire::Wire;
use uvale_wire::tap::Made;
use wires::Wires;

/// More bytes than any report has.
const MAX_REPORT: usize = 1 << 30;
/// How long to wait for a peer that may not be a daemon at all.
pub const PATIENCE: Duration = Duration::from_secs(5);

fn attach() -> Call {
    Call::Attach {
        protocol: PROTOCOL,
        who: Who::own(),
    }
}

/// An attached process.
pub struct Session {
    connection: OwnFd,
    /// closed for a moment when the program has used up its descriptors
    spares: Mutex<Vec<OwnFd>>,
    /// its number, as the owner of locks
    owner: Owner,
    ctl: Arc<Ctl>,
    regions: Mutex<HashMap<u32, Weak<RegionMap>>>,
    wakers: RwLock<HashMap<u32, OwnFd>>,
    wires: RwLock<Wires>,
    traces: RwLock<Traces>,
}

impl Session {
    /// Attaches this process to the daemon of `dir`.
    pub fn attach(dir: &Path) -> Result<Self, Refusal> {
        let connection = OwnFd::new(crate::place::connect(dir)?);
        let answer = call(connection.as_fd(), &attach())
            .map_err(|e| difference::explain(connection.as_fd(), e, Some(dir)))?;
        Self::attached(connection, answer, true, Some(dir))
    }

    /// Attaches this process by a connection that the daemon has made for it.
    pub fn attach_by(connection: Fd) -> Result<Self, Refusal> {
        let connection = OwnFd::new(connection);
        let answer = call(connection.as_fd(), &attach())?;
        Self::attached(connection, answer, true, None)
    }

    /// Attaches this process to the daemon that a descriptor of the device is connected to. The
    /// daemon need not have a name here: the descriptor may come from another container. With `patience`
    /// it need not be a daemon either.
    pub fn attach_through(
        device: BorrowedFd<'_>,
        patience: Option<Duration>,
    ) -> Result<Self, Refusal> {
        let (mine, theirs) = pair()?;
        let connection = OwnFd::new(mine);
        let with = Some(theirs.as_fd());
        let answer = match patience {
            Some(patience) => call_within(device, &attach(), with, patience)?,
            None => call_with(device, &attach(), with)?,
        };
        Self::attached(connection, answer, patience.is_none(), None)
    }

    /// `ask`: the other end is a daemon, which may be asked for its version.
    fn attached(
        connection: OwnFd,
        (reply, fds): (Reply, Vec<uvale_system::sys::Fd>),
        ask: bool,
        dir: Option<&Path>,
    ) -> Result<Self, Refusal> {
        let Reply::Attached { session } = reply else {
            return Err(match ask {
                true => difference::refused_first(connection.as_fd(), reply, dir),
                false => refused(reply),
            });
        };
        let ctl =
            Ctl::open(&Memfd::parts_from_peer(fds)?.on(Pages::Small)).ok_or_else(|| match ask {
                true => difference::of_versions(connection.as_fd(), dir),
                false => Errno::PROTO.into(),
            })?;
        Ok(Self {
            spares: Mutex::new(spare_descriptors()),
            connection,
            owner: Owner::new(session, 0),
            ctl: Arc::new(ctl),
            regions: Mutex::default(),
            wakers: RwLock::default(),
            wires: RwLock::default(),
            traces: RwLock::default(),
        })
    }

    /// The connection: it hangs up when the daemon is gone.
    pub fn connection(&self) -> &OwnFd {
        &self.connection
    }

    /// Control memory as this process has it mapped.
    pub fn shared_ctl(&self) -> &Arc<Ctl> {
        &self.ctl
    }

    /// Uses an existing mapping of the same control memory, whose addresses the state of the data
    /// path refers to.
    pub fn adopt_ctl(&mut self, ctl: Arc<Ctl>) {
        self.ctl = ctl;
    }

    /// Random number of the world: another daemon, another number.
    pub fn world(&self) -> u64 {
        self.ctl.world()
    }

    /// A region's memfd, the shape of its buffers and how many of its bytes a program may map.
    pub fn region_memfd(&self, number: u32) -> Result<(Memfd, RegionShape), Refusal> {
        let (reply, fds) = call(self.connection.as_fd(), &Call::Region(number))?;
        let Reply::Region {
            pool_ofs,
            buf_size,
            buf_count,
            mem_size,
            pages,
        } = reply
        else {
            return Err(refused(reply));
        };
        let memfd = Memfd::parts_from_peer(fds)?.on(pages);
        if (memfd.len() as u64) < mem_size {
            // The kernel leaves out descriptors that there is no room for.
            return Err(Errno::MFILE.into());
        }
        Ok((
            memfd,
            RegionShape {
                pool_ofs,
                buf_size,
                buf_count,
                mem_size,
            },
        ))
    }

    /// Asks the daemon for descriptors, in a program whose descriptor table is full: with those that were kept for
    /// this.
    fn with_spares<T>(&self, ask: impl FnOnce() -> T) -> T {
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        spares.clear();
        let answer = ask();
        *spares = spare_descriptors();
        answer
    }

    /// The region, mapped; an error says why not.
    pub fn map_region(&self, number: u32) -> Result<Arc<RegionMap>, Refusal> {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(region) = regions.get(&number).and_then(Weak::upgrade) {
            return Ok(region);
        }
        let (memfd, shape) = match self.region_memfd(number) {
            Err(refusal) if refusal.errno == Errno::MFILE => {
                self.with_spares(|| self.region_memfd(number))?
            }
            other => other?,
        };
        let map = Mapping::new(&memfd)?;
        let pool = BufferPool::new(&map, shape.pool_ofs, shape.buf_size, shape.buf_count)
            .ok_or(Errno::PROTO)?;
        let region = Arc::new(RegionMap { number, map, pool });
        regions.retain(|_, old| old.strong_count() > 0);
        regions.insert(number, Arc::downgrade(&region));
        Ok(region)
    }

    /// Gives the daemon an interface that this process has made; it goes with the daemon.
    pub fn keep_tap(&self, name: &str, made: Made) -> Result<(), Refusal> {
        let Made {
            interface,
            fds,
            watch,
        } = made;
        let keep = Call::KeepTap {
            name: name.to_owned(),
            index: interface.index,
            queues: u16::try_from(fds.len()).unwrap_or(u16::MAX),
        };
        let watch = watch.into_fds();
        let all: Vec<_> = fds.iter().chain(&watch).map(AsFd::as_fd).collect();
        done(call_with_all(self.connection.as_fd(), &keep, &all)?.0)
    }

    /// Has the daemon close what it has of an interface that uvale has made.
    pub fn drop_tap(&self, netns: u64, index: u32) -> Result<(), Refusal> {
        done(call(self.connection.as_fd(), &Call::DropTap { netns, index })?.0)
    }

    /// Gives the daemon a ptnet device that this process drives, with the descriptors of its shape, and a socket that
    /// hangs up at whichever's end comes first.
    pub fn keep_ptnet(
        &self,
        name: &str,
        shape: uvale_wire::ptnet::Shape,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), Refusal> {
        let name = name.to_owned();
        let keep = Call::KeepPtnet { name, shape };
        done(call_with_all(self.connection.as_fd(), &keep, fds)?.0)
    }

    /// Has the daemon close what it has of a ptnet device.
    pub fn drop_ptnet(&self, name: &str) -> Result<(), Refusal> {
        let drop = Call::DropPtnet(name.to_owned());
        done(call(self.connection.as_fd(), &drop)?.0)
    }

    /// A report as JSON.
    pub fn report(&self, report: Report) -> Result<Vec<u8>, Refusal> {
        let connection = self.connection.as_fd();
        let (reply, mut fds) = call(connection, &Call::Report(report))
            .map_err(|e| difference::explain(connection, e, None))?;
        if reply != Reply::Report {
            return Err(refused(reply));
        }
        Ok(whole(&fds.pop().ok_or(Errno::PROTO)?)?)
    }

    /// A module parameter.
    pub fn parameter(&self, name: &str) -> Option<Parameter> {
        match call(self.connection.as_fd(), &Call::Parameter(name.to_owned())) {
            Ok((Reply::Parameter(value), _)) => value,
            _ => None,
        }
    }

    /// The names of all module parameters; none if the daemon is gone.
    pub fn parameter_names(&self) -> Vec<String> {
        match call(self.connection.as_fd(), &Call::ParameterNames) {
            Ok((Reply::ParameterNames(names), _)) => names,
            _ => Vec::new(),
        }
    }

    /// Writes a module parameter; gives a warning if no port will be opened with this value.
    pub fn set_parameter(&self, name: &str, text: &str) -> Result<Option<String>, Refusal> {
        let (name, text) = (name.to_owned(), text.to_owned());
        match call(self.connection.as_fd(), &Call::SetParameter { name, text })? {
            (Reply::Written { warning }, _) => Ok(warning),
            (other, _) => Err(refused(other)),
        }
    }

    /// Has reports show what guest this process serves. Never waits: false if the daemon does not listen now, and
    /// so does not know.
    pub fn show_guest(&self, guest: Guest) -> bool {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        send(self.connection.as_fd(), &Call::Guest(guest), &[], flags).is_ok()
    }

    /// Waits until the daemon has cleaned up after the descriptor of `client`, which was closed before, for
    /// a tenth of a second at most: the daemon may be stopped. Async-signal-safe.
    pub fn settle(&self, client: u32) {
        let patience = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        let mut space = [0; 16];
        let message = crate::proto::encode_into(&Call::Settle(client), &mut space);
        let _ = crate::channel::nudge(self.connection.as_fd(), message, patience);
    }

    /// Is the daemon still there?
    pub fn is_alive(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&self.connection, PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(poll(&mut fds, Some(&now)), Ok(0) | Err(Errno::INTR))
    }

    fn fetch_waker(&self, client: u32) -> Option<()> {
        let (reply, mut fds) = call(self.connection.as_fd(), &Call::Waker(client)).ok()?;
        if reply != Reply::Waker {
            return None;
        }
        let waker = OwnFd::new(fds.pop()?);
        let mut wakers = self.wakers.write().unwrap_or_else(PoisonError::into_inner);
        drop_closed(&mut wakers);
        wakers.insert(client, waker);
        Some(())
    }

    /// Sends a token; `None` if there is no descriptor for `client`.
    fn send_token(&self, client: u32) -> Option<Result<usize, Errno>> {
        let wakers = self.wakers.read().unwrap_or_else(PoisonError::into_inner);
        let waker = wakers.get(&client)?;
        Some(rustix::net::send(
            waker,
            TOKEN,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        ))
    }
}

/// That a call is done, and nothing more.
fn done(reply: Reply) -> Result<(), Refusal> {
    match reply {
        Reply::Ok => Ok(()),
        other => Err(refused(other)),
    }
}

/// What is in a file that the daemon has sent.
pub fn whole(fd: &Fd) -> Result<Vec<u8>, Errno> {
    let len = usize::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(usize::MAX);
    if len > MAX_REPORT {
        return Err(Errno::PROTO);
    }
    let mut text = vec![0; len];
    let mut done = 0;
    while done < len {
        match rustix::io::pread(fd, &mut text[done..], done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    text.truncate(done);
    Ok(text)
}

/// As many descriptors as a call needs at a time: two for the answer's socket, one for what comes.
fn spare_descriptors() -> Vec<OwnFd> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    (0..3)
        .filter_map(|_| rustix::fs::memfd_create("uvale-spare", flags).ok())
        .map(|fd| OwnFd::new(fd.into()))
        .collect()
}

/// Wakers that are kept at most.
const MAX_WAKERS: usize = 1024;

/// Drops the wakers of descriptors that are closed: they are duplicates of the daemon's end, which
/// has hung up. If too many are left, one that is not needed now is dropped too.
fn drop_closed(wakers: &mut HashMap<u32, OwnFd>) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let clients: Vec<u32> = wakers.keys().copied().collect();
    let mut fds: Vec<PollFd<'_>> = wakers
        .values()
        .map(|fd| PollFd::new(fd, PollFlags::empty()))
        .collect();
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let _ = poll(&mut fds, Some(&now));
    let hung_up = |fd: &PollFd<'_>| fd.revents().intersects(PollFlags::HUP | PollFlags::ERR);
    let closed: Vec<u32> = clients
        .iter()
        .zip(&fds)
        .filter(|(_, fd)| hung_up(fd))
        .map(|(client, _)| *client)
        .collect();
    drop(fds);
    closed.iter().for_each(|client| drop(wakers.remove(client)));
    if wakers.len() >= MAX_WAKERS
        && let Some(any) = clients.iter().find(|c| wakers.contains_key(c))
    {
        wakers.remove(any);
    }
}

/// Shape of a region.
#[derive(Debug, Clone, Copy)]
pub struct RegionShape {
    /// byte offset of buffer 0
    pub pool_ofs: u64,
    /// bytes per buffer
    pub buf_size: u32,
    /// number of buffers
    pub buf_count: u32,
    /// bytes that a program may map
    pub mem_size: u64,
}

impl Host for Session {
    fn ctl(&self) -> &Arc<Ctl> {
        &self.ctl
    }

    fn session(&self) -> u32 {
        self.owner.session()
    }

    #[inline]
    fn owner(&self) -> Owner {
        self.owner.on(uvale_system::sys::thread_number())
    }

    fn region(&self, number: u32) -> Option<Arc<RegionMap>> {
        self.map_region(number).ok()
    }

    fn wire(&self, port: u32) -> Option<Arc<Wire>> {
        self.known_wire(port)
    }

    fn trace(&self, number: u32) -> Option<Arc<Tracing>> {
        self.known_trace(number)
    }

    fn wake(&self, client: u32) {
        let sent = self.send_token(client).or_else(|| {
            self.fetch_waker(client)?;
            self.send_token(client)
        });
        match sent {
            // A full queue (EAGAIN) is as good as a token.
            Some(Ok(_) | Err(Errno::AGAIN)) => {}
            // The descriptor is closed.
            Some(Err(_)) => {
                self.wakers
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&client);
            }
            // No free descriptor (the program's table is full): the daemon sends the token for us.
            None => {
                let wake = Call::Wake(client);
                let _ = send(self.connection.as_fd(), &wake, &[], SendFlags::DONTWAIT);
            }
        }
    }
}
