//! The loop: one thread moves the packets of all queues, and serves the front end between batches.
//!
//! ```text
//!   guest's tx rings -> port's tx rings   txsync   rxsync   port's rx rings -> guest's rx rings   sleep
//! ```
//!
//! While it runs the guest is asked not to kick. It sleeps when a turn has moved nothing, after asking for kicks and
//! looking once more. Queues and rings need not be as many: queue `q` of the guest sends on ring `q` modulo the rings,
//! and ring `r` is received by the enabled queue number `r` modulo those.

mod attend;

use std::path::Path;
use std::time::{Duration, Instant};

use super::Args;
use super::front::{DEFAULT_MTU, Front};
use super::header;
use super::listen::{Listening, Strangers};
use super::port_ring::PortRing;
use super::receive::{Waiting, receive};
use super::ring::Broken;
use super::transmit::{Shape, Stop, Tally, discard, transmit};
use super::voice::Voice;
use crate::guest_shown::{GuestShown, peer};
use crate::sigbus;
use nm_abi::request::{NETMAP_REQ_PORT_HDR_SET, nmreq_port_hdr};
use nm_abi::{AbiBytes, NM_BDG_NAME, NR_ACCEPT_VNET_HDR, NR_EXCLUSIVE};
use rustix::event::{PollFlags, epoll};
use rustix::fd::OwnedFd;
use uvale_port::{POLLIN, POLLOUT, Port, RX, TX, Woken};
use uvale_tools::signals::Signals;

/// What an event of the epoll set is about; smaller numbers are rings that were kicked.
const SIGNALS: u64 = u64::MAX;
const FRONT: u64 = u64::MAX - 1;
const LISTENER: u64 = u64::MAX - 2;
const STRANGERS: u64 = u64::MAX - 3;

/// Slots of a new port's rx rings: some 120 packets of 64 KB, as a TCP connection has them under way. A switch drops
/// what finds no room.
const RX_SLOTS: u32 = 4096;
/// Turns between two looks at descriptors while there is always something to move.
const TURNS: u32 = 16;
/// The same for a look at the daemon.
const MANY_TURNS: u32 = 1024;
/// The longest sleep while a ring has nobody that kicks.
const SOON: Duration = Duration::from_millis(1);
/// Time between two tries to connect, to let somebody in, or to open the port again.
const AGAIN: Duration = Duration::from_millis(500);
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// A guest and its port.
pub struct Server<'a> {
    args: &'a Args,
    voice: Voice<'a>,
    signals: Signals,
    listening: Listening,
    /// signals, the listener, who has connected, kicks
    events: OwnedFd,
    /// none while the daemon is gone
    port: Option<Port>,
    /// bytes of the virtio-net header before the port's packets: 0 or 12
    port_header: usize,
    front: Option<Front>,
    shown: GuestShown,
    strangers: Strangers,
    /// for each rx ring of the port
    waiting: Vec<Waiting>,
    from_guest: Tally,
    to_guest: Tally,
    /// by the guest's rings: there is no room where its packets go, or come from
    stopped: Vec<bool>,
    /// when the port may be opened again
    next_open: Instant,
    /// when we may connect again
    next_connect: Instant,
    /// until when nobody is let in
    deaf_until: Option<Instant>,
    is_over: bool,
}

/// A ring of the guest that cannot be used any more, until it is started again.
fn given_up(voice: &Voice<'_>, ring: usize, why: &Broken) {
    voice.say_of_guest(&format!("the guest's ring {ring} is out of service: {why}"));
}

impl<'a> Server<'a> {
    /// Opens the port, and then the socket: who finds the socket is served.
    pub fn new(args: &'a Args, signals: Signals) -> Result<Self, String> {
        let (port, port_header) = open_port(args)?;
        let listening = match args.client {
            true => Listening::client(&args.socket),
            false => Listening::server(&args.socket)?,
        };
        let ours: &[&Path] = if args.client { &[] } else { &[&args.socket] };
        sigbus::take(ours)?;
        let fail = |e: rustix::io::Errno| format!("cannot wait for events: {e}");
        let events = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(fail)?;
        let mut watched = vec![(rustix::fd::AsFd::as_fd(&signals), SIGNALS)];
        watched.extend(listening.listener().map(|fd| (fd, LISTENER)));
        for (fd, number) in watched {
            let data = epoll::EventData::new_u64(number);
            epoll::add(&events, fd, data, epoll::EventFlags::IN).map_err(fail)?;
        }
        let mut server = Self {
            args,
            voice: Voice::new(&args.port.port),
            signals,
            listening,
            events,
            port: None,
            port_header: 0,
            front: None,
            shown: GuestShown::new(&[&args.socket]),
            strangers: Strangers::default(),
            waiting: Vec::new(),
            from_guest: Tally::default(),
            to_guest: Tally::default(),
            stopped: Vec::new(),
            next_open: Instant::now(),
            next_connect: Instant::now(),
            deaf_until: None,
            is_over: false,
        };
        server.has_opened(port, port_header);
        if port_header == 0 {
            server.voice.say(
                "this is not a port of a switch, so the guest is offered no checksum or segmentation offload",
            );
        }
        server.say_of_rings();
        Ok(server)
    }

    fn has_opened(&mut self, port: Port, port_header: usize) {
        let rings = port.attachment().binding().rings(RX).len();
        self.waiting = (0..rings).map(|_| Waiting::new()).collect();
        self.port_header = port_header;
        self.port = Some(port);
        self.shown.forget();
        self.show_guest();
    }

    /// Has `uvale ports` show who is connected.
    fn show_guest(&mut self) {
        let pid = self.front.as_ref().and_then(|front| peer(front.socket()));
        if let Some(port) = &self.port {
            self.shown.tell(port, pid);
        }
    }

    /// What a user may not expect who asks for more queue pairs than the port has rings.
    fn say_of_rings(&self) {
        let Some(port) = &self.port else { return };
        let [tx, rx] = [TX, RX].map(|dir| port.attachment().binding().rings(dir).len());
        let queues = self.args.queues;
        if tx.min(rx) < usize::from(queues) {
            self.voice.say(&format!(
                "--queues {queues}, but the port has only {tx} tx and {rx} rx rings: the queue pairs share them"
            ));
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
                given_up(&self.voice, i, &why);
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
                given_up(&self.voice, i, &why);
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
                Err(why) => given_up(&self.voice, i, &why),
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
        let events = match is_full {
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
        let until = [
            connects.then_some(self.next_connect),
            self.port.is_none().then_some(self.next_open),
            self.deaf_until,
        ];
        let until = until.into_iter().flatten().min()?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// The daemon, or the interface of a NIC, is it still there?
    fn check_port(&mut self) {
        if self.port.as_ref().is_some_and(|port| !port.is_alive()) {
            self.lost();
        }
        if !self.shown.is_told() {
            self.show_guest();
        }
    }

    fn lost(&mut self) {
        self.voice.say(
            "the port is gone, with the daemon or its network interface; packets are lost until it can be opened \
             again",
        );
        self.port = None;
        self.next_open = Instant::now() + AGAIN;
    }

    /// Opens the port again, in a world that somebody else has brought up: who has stopped a daemon does not want us to
    /// start another.
    fn open_again(&mut self) {
        if self.port.is_some() || Instant::now() < self.next_open {
            return;
        }
        self.next_open = Instant::now() + AGAIN;
        if !self.args.port.is_served() {
            return;
        }
        if let Ok((port, port_header)) = open_port(self.args) {
            self.has_opened(port, port_header);
            self.voice.say("the port is open again");
        }
    }
}

/// The port, and the bytes of the virtio-net header before its packets.
fn open_port(args: &Args) -> Result<(Port, usize), String> {
    let is_on_switch = args.port.port.starts_with(NM_BDG_NAME);
    let port = args.port.open(&|register| {
        // A port that has headers from before is as good.
        register.nr_flags |= NR_EXCLUSIVE | NR_ACCEPT_VNET_HDR;
        // Pipes and interfaces have the rings that they have.
        if is_on_switch {
            register.nr_tx_rings = args.queues;
            register.nr_rx_rings = args.queues;
            register.nr_rx_slots = RX_SLOTS;
        }
    })?;
    // Has packets begin with virtio-net headers, if the port takes them: one of a switch does.
    let wanted = nmreq_port_hdr {
        nr_hdr_len: header::LEN as u32,
        pad1: 0,
    };
    let name = &args.port.port;
    let set = || port.request(NETMAP_REQ_PORT_HDR_SET, name, wanted.as_bytes().to_vec());
    let port_header = match is_on_switch && set().is_ok() {
        true => header::LEN,
        false => 0,
    };
    Ok((port, port_header))
}

/// What a direction needs to know.
fn shape(front: &Front, port_header: usize) -> Shape {
    Shape {
        features: front.features,
        port_header,
        longest: usize::from(front.mtu.unwrap_or(DEFAULT_MTU)) + ETHERNET,
    }
}
