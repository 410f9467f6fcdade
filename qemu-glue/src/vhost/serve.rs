//! The loop: one thread moves the packets of all queues, and serves the front-end between batches.
//!
//! ```text
//!   guest's tx rings -> port's tx rings   txsync   rxsync   port's rx rings -> guest's rx rings   sleep
//! ```
//!
//! While it runs the guest is asked not to kick. It sleeps when a turn has moved nothing, after asking for kicks and
//! looking once more. Queues and rings need not be as many: queue `q` of the guest sends on ring `q` modulo the rings,
//! and ring `r` is received by the enabled queue number `r` modulo those.

mod attend;

use std::time::{Duration, Instant};

use nm_abi::request::{NETMAP_REQ_PORT_HDR_SET, nmreq_port_hdr};
use nm_abi::{AbiBytes, NM_BDG_NAME};
use rustix::event::{PollFlags, epoll};
use rustix::fd::OwnedFd;
use uvale_port::{POLLIN, POLLOUT, Port, RX, TX, Woken};
use uvale_tools::output::line;

use super::Args;
use super::front::{DEFAULT_MTU, Front};
use super::header;
use super::listen::Listening;
use super::port_ring::PortRing;
use super::receive::{Waiting, receive};
use super::ring::Broken;
use super::transmit::{Shape, Stop, Tally, discard, transmit};
use crate::signals::Signals;

/// What an event of the epoll set is about; smaller numbers are rings that were kicked.
const SIGNALS: u64 = u64::MAX;
const FRONT: u64 = u64::MAX - 1;
const LISTENER: u64 = u64::MAX - 2;

/// Slots of a new port's rx rings: some 120 packets of 64 KB, as a TCP connection has them under way. A switch drops
/// what finds no room.
const RX_SLOTS: u32 = 4096;
/// Turns between two looks at descriptors while there is always something to move.
const TURNS: u32 = 16;
/// The same for a look at the daemon.
const MANY_TURNS: u32 = 1024;
/// The longest sleep while a ring has nobody that kicks.
const SOON: Duration = Duration::from_millis(1);
/// Time between two tries to connect, or to open the port again.
const AGAIN: Duration = Duration::from_millis(500);
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// A guest and its port.
pub struct Server<'a> {
    args: &'a Args,
    signals: Signals,
    listening: Listening,
    /// signals, the listener, the front-end, kicks
    events: OwnedFd,
    /// none while the daemon is gone
    port: Option<Port>,
    /// bytes of the virtio-net header before the port's packets: 0 or 12
    port_header: usize,
    front: Option<Front>,
    /// for each rx ring of the port
    waiting: Vec<Waiting>,
    from_guest: Tally,
    to_guest: Tally,
    /// by the guest's rings: there is no room where its packets go, or come from
    stopped: Vec<bool>,
    next_try: Instant,
    is_over: bool,
}

/// A sentence about what happens.
fn say(args: &Args, what: &str) {
    line(format_args!("uvale vm: {}: {what}", args.port.port));
}

/// A ring of the guest that cannot be used any more, until it is started again.
fn given_up(args: &Args, ring: usize, why: &Broken) {
    say(args, &format!("the guest's ring {ring} is given up: {why}"));
}

impl<'a> Server<'a> {
    /// Opens the port.
    pub fn new(args: &'a Args, signals: Signals, listening: Listening) -> Result<Self, String> {
        let fail = |e: rustix::io::Errno| format!("nothing can be waited for: {e}");
        let events = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(fail)?;
        let mut watched = vec![(rustix::fd::AsFd::as_fd(&signals), SIGNALS)];
        watched.extend(listening.listener().map(|fd| (fd, LISTENER)));
        for (fd, number) in watched {
            let data = epoll::EventData::new_u64(number);
            epoll::add(&events, fd, data, epoll::EventFlags::IN).map_err(fail)?;
        }
        let mut server = Self {
            args,
            signals,
            listening,
            events,
            port: None,
            port_header: 0,
            front: None,
            waiting: Vec::new(),
            from_guest: Tally::default(),
            to_guest: Tally::default(),
            stopped: Vec::new(),
            next_try: Instant::now(),
            is_over: false,
        };
        server.open_port()?;
        if server.port_header == 0 {
            say(
                args,
                "not a port of a switch, so the guest is offered no checksum or segmentation offload",
            );
        }
        Ok(server)
    }

    fn open_port(&mut self) -> Result<(), String> {
        let queues = self.args.queues;
        let port = self.args.port.open(&|register| {
            // Pipes and interfaces have the rings that they have.
            if self.is_on_switch() {
                register.nr_tx_rings = queues;
                register.nr_rx_rings = queues;
                register.nr_rx_slots = RX_SLOTS;
            }
        })?;
        self.port_header = self.set_header(&port);
        let rings = port.attachment().binding().rings(RX).len();
        self.waiting = (0..rings).map(|_| Waiting::new()).collect();
        self.port = Some(port);
        Ok(())
    }

    fn is_on_switch(&self) -> bool {
        self.args.port.port.starts_with(NM_BDG_NAME)
    }

    /// Has packets begin with virtio-net headers, if the port takes them: one of a switch does. Bytes of a header.
    fn set_header(&self, port: &Port) -> usize {
        let name = &self.args.port.port;
        let wanted = nmreq_port_hdr {
            nr_hdr_len: header::LEN as u32,
            pad1: 0,
        };
        let set = || port.request(NETMAP_REQ_PORT_HDR_SET, name, wanted.as_bytes().to_vec());
        match self.is_on_switch() && set().is_ok() {
            true => header::LEN,
            false => 0,
        }
    }

    /// Serves guests until a signal comes, or the only one has gone.
    pub fn run(&mut self) -> Result<(), String> {
        let mut turns = 0u32;
        while !self.is_over {
            let moved = self.turn();
            turns = turns.wrapping_add(1);
            if moved && !turns.is_multiple_of(TURNS) {
                continue;
            }
            // A guest may keep us from sleeping, but neither from ending nor from opening the port again.
            if moved || self.ask_for_kicks() {
                self.look(Duration::ZERO);
                if turns.is_multiple_of(MANY_TURNS) {
                    self.check_port();
                    self.open_again();
                }
            } else {
                self.sleep();
            }
        }
        Ok(())
    }

    /// Gives the port up.
    pub fn close(self) {
        if let Some(port) = self.port {
            port.close();
        }
    }

    /// Moves what there is in both directions. False if there was nothing.
    fn turn(&mut self) -> bool {
        let before = (self.from_guest, self.to_guest);
        self.transmit();
        if let Some(port) = &self.port {
            port.txsync();
            port.rxsync();
        }
        self.receive();
        before != (self.from_guest, self.to_guest)
    }

    fn transmit(&mut self) {
        let Some(mut front) = self.front.take() else {
            return;
        };
        let (shape, event_idx) = (shape(&front, self.port_header), front.event_idx());
        for (i, ring) in front.rings.iter_mut().enumerate().skip(1).step_by(2) {
            let live = ring.is_live();
            if !live && !ring.is_silenced() {
                continue;
            }
            let slots = self.port.as_ref().and_then(|port| {
                let rings = port.attachment().binding().rings(TX);
                let number = rings.start + (i / 2 % rings.len().max(1)) as u32;
                PortRing::of(port, TX, number)
            });
            let tally = &mut self.from_guest;
            let outcome = ring.batch(&front.ram, event_idx, |guest| {
                guest.refuse_kicks()?;
                match slots.filter(|_| live) {
                    Some(mut slots) => {
                        let stop = transmit(guest, &mut slots, &shape, tally);
                        slots.finish();
                        stop
                    }
                    None => discard(guest, tally).map(|()| Stop::Empty),
                }
            });
            self.stopped[i] = matches!(outcome, Ok(Stop::Full));
            if let Err(why) = outcome {
                given_up(self.args, i, &why);
            }
        }
        self.front = Some(front);
    }

    fn receive(&mut self) {
        let Some(port) = &self.port else { return };
        let mut front = self.front.take();
        let receivers: Vec<usize> = match &front {
            None => Vec::new(),
            Some(front) => (0..front.rings.len())
                .step_by(2)
                .filter(|i| front.rings[*i].is_live())
                .collect(),
        };
        receivers.iter().for_each(|i| self.stopped[*i] = false);
        let rings = port.attachment().binding().rings(RX);
        for (number, (ring, waiting)) in rings.zip(&mut self.waiting).enumerate() {
            let Some(mut slots) = PortRing::of(port, RX, ring) else {
                continue;
            };
            let tally = &mut self.to_guest;
            let (Some(front), false) = (&mut front, receivers.is_empty()) else {
                // The guest's link is down.
                tally.lost += slots.left() as u64;
                waiting.clear();
                slots.pass_all();
                slots.finish();
                continue;
            };
            let i = receivers[number % receivers.len()];
            let shape = shape(front, self.port_header);
            let event_idx = front.event_idx();
            if !front.rings[i].is_live() {
                continue;
            }
            let outcome = front.rings[i].batch(&front.ram, event_idx, |guest| {
                guest.refuse_kicks()?;
                receive(&mut slots, waiting, guest, &shape, tally)
            });
            slots.finish();
            self.stopped[i] |= matches!(outcome, Ok(Stop::Full));
            if let Err(why) = outcome {
                given_up(self.args, i, &why);
            }
        }
        self.front = front;
    }

    /// Before a sleep. True if there is something to do after all.
    fn ask_for_kicks(&mut self) -> bool {
        let Some(front) = &mut self.front else {
            return false;
        };
        let event_idx = front.event_idx();
        let mut more = false;
        for (i, ring) in front.rings.iter_mut().enumerate() {
            let is_tx = i % 2 == 1;
            // What the guest has to say: packets, unless there is no room for them; buffers, if they are missing.
            let matters = is_tx != self.stopped[i];
            if !(ring.is_live() && matters || is_tx && ring.is_silenced()) {
                continue;
            }
            match ring.batch(&front.ram, event_idx, |guest| guest.ask_for_kicks()) {
                Ok(has_come) => more |= has_come,
                Err(why) => given_up(self.args, i, &why),
            }
        }
        more
    }

    fn sleep(&mut self) {
        let longest = self.longest_sleep();
        let Some(port) = &self.port else {
            self.look(longest.unwrap_or(AGAIN));
            return self.open_again();
        };
        let is_full = self.stopped.iter().skip(1).step_by(2).any(|full| *full);
        let events = match is_full || has_unsent(port) {
            true => POLLIN | POLLOUT,
            false => POLLIN,
        };
        let others = [(rustix::fd::AsFd::as_fd(&self.events), PollFlags::IN)];
        let woken = port.wait(events, &others, longest, &|| false);
        self.look(Duration::ZERO);
        if woken == Woken::Lost {
            return self.lost();
        }
        self.check_port();
    }

    fn longest_sleep(&self) -> Option<Duration> {
        let is_polled = |front: &Front| front.rings.iter().any(super::vring::Vring::is_polled);
        if self.front.as_ref().is_some_and(is_polled) {
            return Some(SOON);
        }
        let connects = self.front.is_none() && self.listening.listener().is_none();
        let until = self.next_try.saturating_duration_since(Instant::now());
        (connects || self.port.is_none()).then_some(until)
    }

    /// The daemon, or the interface of a NIC, is it still there?
    fn check_port(&mut self) {
        if self.port.as_ref().is_some_and(|port| !port.is_alive()) {
            self.lost();
        }
    }

    fn lost(&mut self) {
        say(
            self.args,
            "the port is gone, with the daemon or its interface; packets are lost until it can be opened again",
        );
        self.port = None;
        self.next_try = Instant::now() + AGAIN;
    }

    /// Opens the port again, in a world that somebody else has brought up: who has stopped a daemon does not want us to
    /// start another.
    fn open_again(&mut self) {
        if self.port.is_some() || Instant::now() < self.next_try {
            return;
        }
        self.next_try = Instant::now() + AGAIN;
        if self.args.port.is_served() && self.open_port().is_ok() {
            say(self.args, "the port is open again");
        }
    }
}

/// What a direction needs to know.
fn shape(front: &Front, port_header: usize) -> Shape {
    Shape {
        features: front.features,
        port_header,
        longest: usize::from(front.mtu.unwrap_or(DEFAULT_MTU)) + ETHERNET,
    }
}

/// Is something left in the rings of an interface, for which its wire had no room? Another sync has to send it.
fn has_unsent(port: &Port) -> bool {
    use core::sync::atomic::Ordering::Relaxed;
    let binding = port.attachment().binding();
    let is_behind = |ring| {
        let (view, kring) = (port.ring(TX, ring), port.kring(TX, ring));
        view.zip(kring).is_some_and(|(view, kring)| {
            view.header().head.load(Relaxed) != kring.hwcur.load(Relaxed)
        })
    };
    binding.is_nic && binding.rings(TX).any(is_behind)
}
