//! Who connects to `uvale vm vhost`, and what is made of it.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;

use compat_tests::place::Place;
use compat_tests::wait::wait_for;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit};
use vhost::VhostBackend;
use vhost::vhost_user::message::{FrontendReq, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};

use crate::vhost::{PLAIN, client, end, frame, vhost};
use crate::virtio::{Choice, VirtioGuest};

/// The guest's packets arrive at another port of the switch.
fn is_served(place: &Place, guest: &mut VirtioGuest) {
    let host = crate::vhost::Plain::open(place, "vale0:h", 1);
    guest.send(0, PLAIN, &frame(7, 60), 72);
    assert_eq!(host.receive(), frame(7, 60));
}

#[test]
fn who_says_nothing_is_no_guest_and_keeps_nobody_out() {
    let place = Place::new();
    let (mut vm, socket) = vhost(&place, "vale0:a", &["--once"]);
    for _ in 0..100 {
        drop(UnixStream::connect(&socket).expect("it listens"));
    }
    let silent: Vec<UnixStream> = (0..20)
        .map(|_| UnixStream::connect(&socket).expect("it listens"))
        .collect();
    let mut guest = VirtioGuest::on(&socket, Choice::default());
    is_served(&place, &mut guest);
    drop(silent);
    is_served(&place, &mut guest);
    guest.hang_up();
    assert!(vm.wait().success(), "{}", vm.said());
    let said = vm.said();
    let lines = said
        .lines()
        .filter(|line| line.contains("guest has"))
        .count();
    assert_eq!(lines, 2, "one has come, and gone: {said}");
}

#[test]
fn a_front_end_that_never_stops_talking_holds_nothing_up() {
    let place = Place::new();
    let (mut vm, socket) = vhost(&place, "vale0:a", &[]);
    let mut talker = UnixStream::connect(&socket).expect("it listens");
    let message = [u32::from(FrontendReq::SET_OWNER), 1, 0].map(u32::to_ne_bytes);
    let many = message.concat().repeat(1000);
    // More than a socket holds, so it has been heard.
    (0..100).for_each(|_| talker.write_all(&many).expect("it is heard"));
    std::thread::scope(|scope| {
        scope.spawn(move || while talker.write_all(&many).is_ok() {});
        vm.signal(Signal::TERM);
        assert!(vm.wait().success(), "{}", vm.said());
    });
}

/// What QEMU says before it looks how many queues there are, and goes.
fn asks_for_more_queues(socket: &Path) {
    let mut front = Frontend::connect(socket, 4).expect("it listens");
    front.get_features().expect("GET_FEATURES");
    let chosen = VhostUserProtocolFeatures::MQ;
    front
        .get_protocol_features()
        .expect("GET_PROTOCOL_FEATURES");
    front
        .set_protocol_features(chosen)
        .expect("SET_PROTOCOL_FEATURES");
    assert_eq!(front.get_queue_num().expect("GET_QUEUE_NUM"), 2);
}

#[test]
fn a_guest_with_too_many_queues_is_told_of_the_option_and_not_for_ever() {
    let place = Place::new();
    let (vm, socket) = vhost(&place, "vale0:a", &[]);
    for _ in 0..500 {
        asks_for_more_queues(&socket);
    }
    vm.wait_text("if it has more than 1, give uvale vm vhost as many with --queues");
    let mut guest = VirtioGuest::on(&socket, Choice::default());
    is_served(&place, &mut guest);
    drop(guest);
    let said = end(vm, &socket);
    let lines = said
        .lines()
        .filter(|line| line.contains("--queues"))
        .count();
    assert!(lines < 100, "{lines} lines");
}

#[test]
fn without_descriptors_it_waits_for_some() {
    let place = Place::new();
    let (vm, socket) = vhost(&place, "vale0:a", &[]);
    // Fewer than it has, and yet enough for poll(2).
    let few = Rlimit {
        current: Some(5),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    let before = prlimit(Some(vm.pid()), Resource::Nofile, few).expect("prlimit");
    let mut guest = VirtioGuest::new(Choice::default());
    std::thread::scope(|scope| {
        let connects = scope.spawn(|| guest.connect(&socket));
        vm.wait_text("cannot accept connections, trying again");
        prlimit(Some(vm.pid()), Resource::Nofile, before).expect("prlimit");
        connects.join().expect("it is let in");
    });
    is_served(&place, &mut guest);
    end(vm, &socket);
}

#[test]
fn the_daemon_dies_while_nobody_listens_for_it() {
    let mut place = Place::new();
    let (mut vm, _path) = client(&place, &[]);
    place.signal_daemon(Signal::KILL);
    vm.wait_text("the port is gone");
    place.start_daemon(&[]);
    vm.wait_text("the port is open again");
    wait_for("the port", || place.port("vale0:a").is_some());
    vm.signal(Signal::TERM);
    assert!(vm.wait().success(), "{}", vm.said());
}
