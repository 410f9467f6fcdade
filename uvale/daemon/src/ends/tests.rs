//! A daemon without its loop: how much of it is done before somebody is answered.

use std::os::fd::AsFd;

use nm_abi::{
    AbiBytes, NETMAP_API, NETMAP_REQ_REGISTER, NETMAP_REQ_VALE_NEWIF, NR_EXCLUSIVE, NR_REG_ALL_NIC,
    nmreq_header, nmreq_register, nmreq_vale_newif,
};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::super::{PACKETS, nic};
use super::*;
use uvale_control::Config;
use uvale_link::channel::{pair, receive, send};
use uvale_link::proto::{Call, Facts, PROTOCOL, Reply, decode};
use uvale_request::set_name;
use uvale_system::sys::Fd;
use uvale_system::who::Who;

/// Rounds after which nobody is waited for any longer.
const ROUNDS: u32 = 1000;

pub(crate) struct Place {
    pub daemon: Daemon,
}

/// A connection's far end.
pub(crate) struct Peer(pub Fd);

impl Place {
    pub fn new() -> Self {
        crate::surroundings::raise_limits(false);
        let daemon = Daemon::new(Config::default()).unwrap();
        Self { daemon }
    }

    fn connect(&mut self) -> Peer {
        let (ours, theirs) = pair().unwrap();
        self.daemon.accept(theirs);
        Peer(ours)
    }

    /// One round of the loop. The numbers of what has happened.
    pub fn round(&mut self) -> Vec<u64> {
        self.daemon.turn();
        let mut events = Vec::with_capacity(64);
        epoll::wait(&self.daemon.set, spare_capacity(&mut events), Some(&NOW)).unwrap();
        let events: Vec<u64> = events.iter().map(|e| e.data.u64()).collect();
        for id in &events {
            match id & nic::NEWS {
                0 => self.daemon.serve(*id),
                _ => self.daemon.hear_of_nic(*id as u32),
            }
        }
        events
    }

    /// The answer to a call, and the rounds that it took.
    fn call(&mut self, peer: &Peer, call: &Call) -> (Reply, u32) {
        self.call_with(peer, call, &[])
    }

    /// The same of a call with descriptors.
    pub fn call_with(&mut self, peer: &Peer, call: &Call, with: &[Fd]) -> (Reply, u32) {
        let (mine, theirs) = pair().unwrap();
        let fds: Vec<_> = [&theirs].into_iter().chain(with).map(AsFd::as_fd).collect();
        send(peer.0.as_fd(), call, &fds, SendFlags::empty()).unwrap();
        drop(theirs);
        for round in 1..ROUNDS {
            self.round();
            if let Ok(Some(packet)) = receive(mine.as_fd(), RecvFlags::DONTWAIT) {
                return (decode(&packet.bytes).unwrap(), round);
            }
        }
        panic!("no answer to {call:?}");
    }

    pub fn attach(&mut self) -> (Peer, u32) {
        let peer = self.connect();
        let call = Call::Attach {
            protocol: PROTOCOL,
            who: Who::default(),
        };
        let (reply, rounds) = self.call(&peer, &call);
        assert!(matches!(reply, Reply::Attached { .. }), "{reply:?}");
        (peer, rounds)
    }

    pub fn open(&mut self) -> Peer {
        let peer = self.connect();
        let call = Call::Open {
            protocol: PROTOCOL,
            flags: 0,
            who: Who::default(),
        };
        let (reply, _) = self.call(&peer, &call);
        assert!(matches!(reply, Reply::Opened { .. }), "{reply:?}");
        peer
    }

    /// A request: its errno, 0 for none, and what came back.
    fn request<T: AbiBytes>(&mut self, peer: &Peer, kind: u16, name: &str, body: &T) -> (i32, T) {
        self.request_with(peer, kind, name, body, Facts::default())
    }

    /// The same with what the daemon has to know besides.
    pub fn request_with<T: AbiBytes>(
        &mut self,
        peer: &Peer,
        kind: u16,
        name: &str,
        body: &T,
        facts: Facts,
    ) -> (i32, T) {
        let mut header = nmreq_header::zeroed();
        (header.nr_version, header.nr_reqtype) = (NETMAP_API, kind);
        set_name(&mut header, name.as_bytes());
        let request = Request {
            header,
            body: body.as_bytes().to_vec(),
            options: Vec::new(),
        };
        let call = Call::Request {
            request: request.encode(),
            facts,
        };
        match self.call(peer, &call).0 {
            Reply::Done {
                served, request, ..
            } => {
                let request = Request::decode(&request).unwrap();
                let errno = served
                    .err()
                    .map_or(0, |refusal| refusal.errno.raw_os_error());
                (errno, T::from_bytes(&request.body).unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    /// errno of a REGISTER, 0 for none.
    fn register(&mut self, peer: &Peer, name: &str, flags: u64) -> i32 {
        self.request(peer, NETMAP_REQ_REGISTER, name, &all_rings(flags, 0))
            .0
    }

    fn set_parameter(&mut self, session: &Peer, name: &str, text: &str) {
        let (name, text) = (name.to_owned(), text.to_owned());
        let (reply, _) = self.call(session, &Call::SetParameter { name, text });
        assert!(matches!(reply, Reply::Written { .. }), "{reply:?}");
    }

    fn port(&mut self, name: &str) -> Peer {
        let peer = self.open();
        assert_eq!(self.register(&peer, name, 0), 0, "{name}");
        peer
    }
}

/// All rings, which are short; in the memory `mem`.
pub(crate) fn all_rings(flags: u64, mem: u16) -> nmreq_register {
    let mut body = nmreq_register::zeroed();
    (body.nr_mode, body.nr_flags) = (NR_REG_ALL_NIC, flags);
    (body.nr_tx_slots, body.nr_rx_slots) = (16, 16);
    body.nr_mem_id = mem;
    body
}

#[test]
fn many_that_die_at_once_delay_nobody() {
    let mut place = Place::new();
    let dying: Vec<(Peer, Peer)> = (0..300).map(|_| (place.attach().0, place.open())).collect();
    drop(dying);
    let (_peer, rounds) = place.attach();
    let done = 601 - place.daemon.connections.len();
    assert!(
        rounds <= 3 && done <= 3 * WORK as usize,
        "{rounds} rounds, {done} ends"
    );
    while place.daemon.turn() {}
    assert_eq!(place.daemon.connections.len(), 1);
    assert_eq!(
        (place.daemon.devices.len(), place.daemon.sessions.len()),
        (0, 1)
    );
}

#[test]
fn what_was_closed_before_a_request_is_gone_when_it_is_served() {
    let mut place = Place::new();
    let asking = place.open();
    let names: Vec<String> = (0..100).map(|i| format!("vale0:p{i}")).collect();
    let ports: Vec<Peer> = names.iter().map(|name| place.port(name)).collect();
    let busy = Errno::BUSY.raw_os_error();
    assert_eq!(place.register(&asking, "vale0:p99", NR_EXCLUSIVE), busy);
    drop(ports);
    assert_eq!(place.register(&asking, "vale0:p99", NR_EXCLUSIVE), 0);
    // It did not have to wait for all of them.
    let left = place.daemon.ends.queue.len();
    assert!(left > 0, "all ends were dealt with");
}

#[test]
fn a_request_that_is_refused_is_tried_again_after_all_ends() {
    let mut place = Place::new();
    let asking = place.open();
    let full: Vec<Peer> = (0..252)
        .map(|i| place.port(&format!("vale0:p{i}")))
        .collect();
    assert_ne!(place.register(&asking, "vale0:one-more", 0), 0);
    drop(full);
    assert_eq!(place.register(&asking, "vale0:one-more", 0), 0);
}

#[test]
fn a_memory_that_is_named_is_gone_with_its_last_user() {
    let mut place = Place::new();
    let asking = place.open();
    let mut ports: Vec<Peer> = (0..99)
        .map(|i| place.port(&format!("vale0:p{i}")))
        .collect();
    let last = place.open();
    let body = all_rings(0, 0);
    let (errno, made) = place.request(&last, NETMAP_REQ_REGISTER, "vale0:last", &body);
    assert_eq!(errno, 0);
    ports.push(last);
    drop(ports);
    let mut interface = nmreq_vale_newif::zeroed();
    interface.nr_mem_id = made.nr_mem_id;
    let (errno, _) = place.request(&asking, NETMAP_REQ_VALE_NEWIF, "other", &interface);
    assert_eq!(errno, Errno::INVAL.raw_os_error());
}

#[test]
fn the_global_memory_is_made_anew_when_its_users_are_gone() {
    let mut place = Place::new();
    let (session, _) = place.attach();
    place.set_parameter(&session, "buf_num", "8000");
    let users: Vec<Peer> = (0..100).map(|_| place.open()).collect();
    let mut sizes = Vec::new();
    for (i, user) in users.iter().enumerate() {
        let name = format!("vale0:p{i}");
        let answer = place.request(user, NETMAP_REQ_REGISTER, &name, &all_rings(0, 1));
        assert_eq!(answer.0, 0);
        sizes.push(answer.1.nr_memsize);
    }
    place.set_parameter(&session, "buf_num", "9000");
    drop(users);
    let asking = place.open();
    let answer = place.request(&asking, NETMAP_REQ_REGISTER, "vale0:new", &all_rings(0, 1));
    assert_eq!(answer.0, 0);
    assert!(
        answer.1.nr_memsize > sizes[0],
        "{sizes:?}, then {}",
        answer.1.nr_memsize
    );
}

#[test]
fn a_close_is_settled_alone() {
    let mut place = Place::new();
    let (session, _) = place.attach();
    let mine = place.port("vale0:mine");
    let client = *place.daemon.devices.keys().last().unwrap();
    let others: Vec<Peer> = (0..300).map(|_| place.open()).collect();
    drop((others, mine));
    let (reply, _) = place.call(&session, &Call::Settle(client));
    assert_eq!(reply, Reply::Ok);
    assert!(!place.daemon.devices.contains_key(&client));
    assert!(!place.daemon.ends.queue.is_empty());
}

#[test]
fn a_flood_delays_nobody() {
    let mut place = Place::new();
    let (session, _) = place.attach();
    let device = place.open();
    let mut sent = 0;
    for peer in [&session, &device] {
        let garbage = [0xff; 100];
        while rustix::net::send(&peer.0, &garbage, SendFlags::DONTWAIT).is_ok() {
            sent += 1;
        }
    }
    assert!(sent > 10 * PACKETS, "{sent} packets are no flood");
    let (_peer, rounds) = place.attach();
    assert!(rounds <= 2, "{rounds} rounds");
    // And the flood is not forgotten.
    for _ in 0..sent {
        place.round();
    }
    assert_eq!(place.register(&device, "vale0:after", 0), 0);
}

#[test]
fn silent_connections_go_when_there_are_too_many_and_others_stay() {
    let mut place = Place::new();
    let (_session, _) = place.attach();
    let silent: Vec<Peer> = (0..100).map(|_| place.connect()).collect();
    // They have time to say what they are.
    assert_eq!(place.daemon.connections.len(), 101);
    for id in place.daemon.newcomers.clone() {
        let connection = place.daemon.connections.get_mut(&id).unwrap();
        connection.wait_in_vain();
    }
    let (_peer, _) = place.attach();
    while place.daemon.turn() {}
    // The oldest have gone, as many as are too many.
    assert_eq!(
        place.daemon.connections.len(),
        2 + 100 - super::super::MAX_SILENT
    );
    assert!(place.daemon.in_use());
    drop(silent);
}

#[test]
fn the_stem_of_a_name() {
    for (name, want) in [
        ("vale0:a", "a"),
        ("vale0:a{1", "a"),
        ("a}1", "a"),
        ("vale1:a/rt#3", "a"),
        ("a", "a"),
        ("", ""),
    ] {
        assert_eq!(stem(name.as_bytes()), want.as_bytes(), "{name}");
    }
}
