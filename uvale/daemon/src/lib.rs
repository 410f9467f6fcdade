//! The daemon: it owns what outlives a call.
//!
//! One thread, one epoll set: the listening socket, signals, and a connection for each process
//! (session) and each open file description of `/dev/netmap` (device). How a request is served reads
//! top-down in `serve.rs`: decode, one match, reply. netmap's decisions are made by
//! [`uvale_control::World`]; nothing here waits for a client.
#![deny(unsafe_code)]

mod admission;
mod connection;
mod descriptors;
mod ends;
mod interfaces;
mod listen;
mod log;
mod nic;
mod parameters;
mod report;
mod runners;
mod serve;
mod successor;
pub mod surroundings;
mod traces;

pub use listen::ALREADY_SERVED;
pub use log::FILE as LOG_FILE;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;

use connection::Connection;
use listen::Accepted;
use log::{Level, log, log_of};
use uvale_control::{ClientId, Config, PortKind, World};
use uvale_shared::ctl::{CTL_LEN, Ctl};
use uvale_shared::shm::{Memfd, Pages, nodes};
use uvale_system::who::Holder;

/// How a daemon is to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// runtime directory
    pub dir: PathBuf,
    /// group that may reach the socket (by number); without one only the owner may
    pub group: Option<u32>,
    /// leave when nobody has used it for this long
    pub idle: Option<Duration>,
    /// what the world is like
    pub config: Config,
    /// is told when the socket listens
    pub ready: Option<RawFd>,
    /// it may continue in another process before a limit on processor time ends it
    pub may_move: bool,
}

/// Events on these are not connections.
const LISTENER: u64 = u64::MAX;
const SIGNALS: u64 = u64::MAX - 1;
const REMOVALS: u64 = u64::MAX - 2;
/// Signals that end a daemon.
const ENDING: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
/// Connections that may stay without a first message.
const MAX_SILENT: usize = 64;
/// Packets of one connection that are served in a row.
const PACKETS: u32 = 4;
/// Connections that are accepted in a row.
const ACCEPTED: u32 = 64;
/// How often what could not be freed at once is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// Refusals that are logged in a second, so that no client can fill the disk.
const REFUSALS_A_SECOND: u32 = 20;
const NOW: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Runs a daemon until a signal or idleness ends it.
pub fn run(options: Options) -> Result<(), String> {
    let listener = listen::Listener::new(&options.dir, options.group)?;
    let signals = take_signals()?;
    let mut daemon = Daemon::new(options.config).map_err(|e| {
        let why = uvale_system::limits::why_no_memory(e, CTL_LEN as u64);
        format!("cannot make the daemon's memory of {CTL_LEN} bytes: {why}")
    })?;
    daemon.passed = listener.is_passed();
    for (fd, data) in [(listener.as_fd(), LISTENER), (signals.as_fd(), SIGNALS)] {
        watch(&daemon.set, &fd, data, epoll::EventFlags::IN)
            .map_err(|e| format!("cannot watch a descriptor: {e}"))?;
    }
    let removals = listener.removals();
    if let Some(removals) = &removals {
        let _ = watch(&daemon.set, removals, REMOVALS, epoll::EventFlags::IN);
    }
    // A daemon that could never accept a connection does not start.
    if let Some(why) = descriptors::lacking_for_memory(&listener) {
        return Err(why);
    }
    say_ready(&options, &listener);
    let service = Service {
        successor: successor::Successor::new(options.may_move),
        idle: options.idle,
        daemon,
        removals,
        listener,
        reachable: true,
        idle_since: Instant::now(),
        is_deaf: false,
    };
    service.go_on()
}

/// From now on the signals that end a daemon are read from a descriptor.
fn take_signals() -> Result<SignalFd, String> {
    let mut ending = SigSet::empty();
    for signal in ENDING {
        ending.add(signal);
    }
    let mut blocked = ending;
    // Hitting this limit is to be an error with a sentence, not the end.
    blocked.add(Signal::SIGXFSZ);
    blocked.add(Signal::SIGXCPU);
    blocked
        .thread_block()
        .map_err(|e| format!("cannot block signals: {e}"))?;
    SignalFd::with_flags(&ending, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|e| format!("cannot make a signalfd: {e}"))
}

/// Tells whoever waits for it, and the log, that the socket listens.
fn say_ready(options: &Options, listener: &listen::Listener) {
    if let Some(ready) = options.ready {
        let _ = rustix::io::write(uvale_system::sys::borrow(&ready), b"ready\n");
    }
    log::keep_small(&options.dir);
    log(
        Level::Notice,
        &format!(
            "uvale {} listening at {}",
            env!("CARGO_PKG_VERSION"),
            listener.path().display()
        ),
    );
    for found in crate::surroundings::findings(options.may_move) {
        log(Level::Warning, &found);
    }
    let nodes = nodes();
    if let Some(node) = options.config.pages.node
        && nodes == node.to_string()
    {
        let line = format!("numa_node={node}: this is the only node there is");
        log(Level::Notice, &line);
    }
}

/// A daemon and what brings it its connections; what comes first here ends first.
struct Service {
    successor: successor::Successor,
    idle: Option<Duration>,
    daemon: Daemon,
    /// tells that names have gone from the socket's directory
    removals: Option<uvale_system::sys::Fd>,
    listener: listen::Listener,
    /// the socket can be found
    reachable: bool,
    idle_since: Instant,
    /// connections wait until there is a descriptor for one
    is_deaf: bool,
}

impl Service {
    /// Serves until there is a reason to leave.
    fn go_on(mut self) -> Result<(), String> {
        let mut events = Vec::with_capacity(64);
        loop {
            self.successor.go_on(&self.listener);
            let more = self.daemon.turn();
            self.daemon.tidy_nics();
            let retry = self.daemon.collect() | self.daemon.tend_runners();
            if let Some(why) = self.reason_to_leave() {
                log(Level::Notice, &format!("{why}: leaving"));
                return Ok(());
            }
            let timeout = self.timeout(more, retry).and_then(|t| t.try_into().ok());
            events.clear();
            let space = spare_capacity(&mut events);
            match epoll::wait(&self.daemon.set, space, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(format!("epoll: {e}")),
            }
            if core::mem::take(&mut self.is_deaf) {
                let listener = self.listener.as_fd();
                let _ = watch(&self.daemon.set, &listener, LISTENER, epoll::EventFlags::IN);
            }
            for event in &events {
                match event.data.u64() {
                    SIGNALS => self.daemon.told_to_stop = true,
                    REMOVALS => self.look_for_socket(),
                    LISTENER => self.accept(),
                    id if id & nic::NEWS != 0 => self.daemon.hear_of_nic(id as u32),
                    id if id & nic::TAP_NEWS != 0 => self.daemon.hear_of_tap(id as u32),
                    id if id & nic::PTNET_NEWS != 0 => self.daemon.hear_of_ptnet(id as u32),
                    id => self.daemon.serve(id),
                }
                if self.daemon.told_to_stop {
                    log(Level::Notice, "told to stop");
                    return Ok(());
                }
            }
        }
    }

    fn reason_to_leave(&mut self) -> Option<&'static str> {
        if !self.reachable && self.daemon.connections.is_empty() {
            return Some("nobody is left, and nobody else can find this world");
        }
        if self.daemon.in_use() {
            self.idle_since = Instant::now();
            return None;
        }
        let is_over = |limit| self.idle_since.elapsed() >= limit;
        let is_over = self.idle.is_some_and(is_over);
        is_over.then_some("nobody has used this world for a while")
    }

    /// How long to wait for the next event. `more`: something is left to do now; `retry`: some time later.
    fn timeout(&self, more: bool, retry: bool) -> Option<Duration> {
        match (retry || self.is_deaf, self.idle) {
            _ if more => Some(Duration::ZERO),
            (true, _) => Some(RETRY),
            (false, Some(limit)) if !self.daemon.in_use() => {
                let rest = limit.saturating_sub(self.idle_since.elapsed());
                Some(rest + Duration::from_millis(1))
            }
            // A silent connection causes no event.
            (false, Some(_)) if self.daemon.has_new() => Some(connection::PATIENCE),
            _ => None,
        }
    }

    /// A name has gone from the socket's directory, perhaps its own.
    fn look_for_socket(&mut self) {
        let mut names = [0; 4096];
        let removals = self.removals.as_ref();
        let _ = removals.map(|fd| rustix::io::read(fd, &mut names[..]));
        if self.reachable && !self.listener.is_reachable() {
            self.reachable = false;
            log(
                Level::Warning,
                "the socket was removed: no new program can connect; leaving with the last one",
            );
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTED {
            match self.listener.accept() {
                Accepted::Connection(fd) => {
                    self.idle_since = Instant::now();
                    self.daemon.accept(fd);
                }
                Accepted::TurnedAway(why) => self.daemon.log_refusal(None, &why),
                Accepted::Nothing => break,
                Accepted::NotNow => {
                    let _ = epoll::delete(&self.daemon.set, &self.listener);
                    self.is_deaf = true;
                    break;
                }
            }
        }
    }
}

/// A running daemon.
struct Daemon {
    world: World,
    ctl: Arc<Ctl>,
    ctl_memfd: Memfd,
    connections: HashMap<u64, Connection>,
    /// connections without a first message yet, the oldest first
    newcomers: BTreeSet<u64>,
    /// epoll set of everything
    set: uvale_system::sys::Fd,
    /// epoll set of all connections, for their ends alone
    end_set: uvale_system::sys::Fd,
    ends: ends::Ends,
    /// connection of each device, by wake-up number
    devices: BTreeMap<u32, u64>,
    /// connection of each session
    sessions: HashMap<u32, u64>,
    /// connections that are parameters' files
    writers: Vec<u64>,
    next_connection: u64,
    next_session: u32,
    /// wires of NIC ports
    nics: nic::Nics,
    /// of NICs on switches
    runners: runners::Runners,
    interfaces: interfaces::Interfaces,
    traces: traces::Traces,
    /// the report being sent
    last_report: Option<uvale_system::sys::Fd>,
    started: Instant,
    /// when what could not be freed was tried last
    collected: Instant,
    /// what has been said of memory that is not as wanted
    less: Vec<String>,
    /// the second of the last refusal, and how many there were in it
    refusals: (u64, u32),
    /// the listening socket is not our own
    passed: bool,
    told_to_stop: bool,
}

impl Daemon {
    fn new(config: Config) -> Result<Self, Errno> {
        let ctl_memfd = Memfd::in_parts("uvale-control", CTL_LEN)?.on(Pages::Small);
        let ctl = Arc::new(Ctl::format(&ctl_memfd).ok_or(Errno::NOMEM)?);
        ctl.set_world(uvale_system::sys::random());
        let mut world = World::new(ctl.clone(), config);
        world.set_processors(runners::processors());
        Ok(Self {
            world,
            ctl,
            ctl_memfd,
            connections: HashMap::new(),
            newcomers: BTreeSet::new(),
            set: epoll::create(epoll::CreateFlags::CLOEXEC)?.into(),
            end_set: epoll::create(epoll::CreateFlags::CLOEXEC)?.into(),
            ends: ends::Ends::default(),
            devices: BTreeMap::new(),
            sessions: HashMap::new(),
            writers: Vec::new(),
            next_connection: 0,
            // 1 is the daemon itself.
            next_session: 2,
            nics: nic::Nics::default(),
            runners: runners::Runners::default(),
            interfaces: interfaces::Interfaces::default(),
            traces: traces::Traces::default(),
            last_report: None,
            started: Instant::now(),
            collected: Instant::now(),
            less: Vec::new(),
            refusals: (0, 0),
            passed: false,
            told_to_stop: false,
        })
    }

    /// A new connection. If too many are without a first message, those are closed.
    fn accept(&mut self, fd: uvale_system::sys::Fd) -> u64 {
        let id = self.next_connection;
        self.next_connection += 1;
        let is_silent = |id: &&u64| self.connections.get(id).is_none_or(Connection::is_silent);
        let silent: Vec<u64> = self
            .newcomers
            .iter()
            .take_while(is_silent)
            .take(MAX_SILENT)
            .copied()
            .collect();
        if silent.len() == MAX_SILENT {
            for id in silent {
                self.newcomers.remove(&id);
                self.has_ended(id);
            }
        }
        let watched = watch(&self.set, &fd, id, epoll::EventFlags::IN)
            .and_then(|()| watch(&self.end_set, &fd, id, epoll::EventFlags::RDHUP));
        if watched.is_ok() {
            self.connections.insert(id, Connection::new(fd));
            self.newcomers.insert(id);
        }
        id
    }

    /// Something happened on a connection: serves some of what has come. The rest has to wait until
    /// others have had their turn.
    fn serve(&mut self, id: u64) {
        for _ in 0..PACKETS {
            let Some(connection) = self.connections.get(&id) else {
                return;
            };
            match connection.receive() {
                Ok(Some(packet)) => self.handle(id, packet),
                Err(Errno::AGAIN) => return,
                // An empty packet looks like the end of the connection and is not.
                Ok(None) if !connection.has_hung_up() => {}
                Ok(None) | Err(_) => return self.has_ended(id),
            }
        }
    }

    /// Is there a client, or anything that outlives its creators?
    fn in_use(&self) -> bool {
        let is_silent = |id: &u64| self.connections.get(id).is_none_or(Connection::is_silent);
        self.connections.len() > self.newcomers.len()
            || self.newcomers.last().is_some_and(|id| !is_silent(id))
            || self.world.has_changed_parameters()
            || self.world.ports().any(|p| p.kind == PortKind::Persistent)
            || self.world.nics().any(|nic| nic.attached.is_some())
            || self.nics.has_made()
    }

    /// Is there a connection without a first message?
    fn has_new(&self) -> bool {
        !self.newcomers.is_empty()
    }

    /// Tries again, now and then, to free what could not be freed. True while something is left.
    fn collect(&mut self) -> bool {
        if self.collected.elapsed() >= RETRY {
            self.collected = Instant::now();
            return self.world.collect();
        }
        self.world.has_left()
    }

    /// Logs a refusal of what the process asked for, unless there were many in this second.
    fn log_refusal(&mut self, who: Option<&Holder>, why: &str) {
        let second = self.started.elapsed().as_secs();
        if self.refusals.0 != second {
            self.refusals = (second, 0);
        }
        self.refusals.1 += 1;
        if self.refusals.1 <= REFUSALS_A_SECOND {
            log_of(Level::Warning, who, &format!("refused: {why}"));
        }
    }

    /// Says once what memory is not as the configuration wants it.
    fn log_less(&mut self) {
        for line in self.world.take_less() {
            if !self.less.contains(&line) {
                log(Level::Warning, &line);
                self.less.push(line);
            }
        }
    }

    /// Logs a request that was served, if the parameter `verbose` says so.
    fn log_served(&self, client: ClientId, request: &mut uvale_request::Request) {
        if self.world.config().knobs.verbose == 0 {
            return;
        }
        let name = uvale_request::name_of(&mut request.header);
        let name = String::from_utf8_lossy(&name);
        let what = uvale_request::type_name(request.header.nr_reqtype);
        let who = self.world.holder(client);
        log_of(Level::Info, who, &format!("served: {what} {name}"));
    }
}

/// Adds `fd` to the epoll set `set`.
fn watch(
    set: impl AsFd,
    fd: &dyn AsRawFd,
    data: u64,
    events: epoll::EventFlags,
) -> Result<(), Errno> {
    let fd = fd.as_raw_fd();
    let data = epoll::EventData::new_u64(data);
    epoll::add(set, uvale_system::sys::borrow(&fd), data, events)
}
