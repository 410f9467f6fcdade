//! A guest, and programs in containers, in one world.

use compat_tests::containers::{Engine, Who};
use compat_tests::guest::{Guest, Plan, VIRTIO_NET, device};
use compat_tests::or_skip;
use compat_tests::place::Place;
use compat_tests::wait::wait_for;
use compat_tests::world::Program;

use crate::{ptnet_guests, vhost_guests};

/// `uvale run -- uvale gen ARGS...` in a container that has the world's directory and nothing else of the host.
fn generate(engine: &Engine, place: &Place, args: &[&str]) -> Program {
    let volume = format!("--volume={}:/world", place.dir().display());
    let words = ["/bin/uvale", "run", "--", "/bin/uvale", "gen"];
    let command = engine.run(
        &[&volume, "--env=UVALE_DIR=/world"],
        &[&words, args].concat(),
    );
    Program::start(&format!("container: gen {}", args.join(" ")), command)
}

/// Over pipes each packet arrives; over a switch each ping is answered.
#[test]
fn a_guest_and_programs_in_containers() {
    let engine = or_skip!("containers", Engine::new(Who::Root, &[]));
    let kit = or_skip!("guest", ptnet_guests::kit());
    let place = Place::new();
    let pipes = ["one", "two"].map(|name| {
        let port = format!("netmap:{name}{{1");
        ptnet_guests::serve(&place, &port, name, &[])
    });
    let socket = place.file("vhost");
    let switch = vhost_guests::serve(&place, "vm", &socket);
    let devices = [
        ptnet_guests::devices(&place, "one"),
        ptnet_guests::devices(&place, "two"),
        device::vhost_user("n0", &socket, &vhost_guests::mac(1)),
    ];
    let plan = Plan {
        name: "g",
        devices: devices.concat(),
        modules: VIRTIO_NET,
        // Nothing is sent but what the test sends.
        kernel: "ipv6.disable=1",
        ..Plan::default()
    };
    let mut guest = Guest::start(&kit, place.dir(), plan);
    println!("{}", guest.wait_ready());
    // From one container to the other, through the guest, and back.
    let generate_in_one = |args: &[&str]| generate(&engine, &place, args);
    ptnet_guests::bridges(&mut guest, &place, ["one}1", "two}1"], generate_in_one);
    ping_over_a_switch(&engine, &place, &mut guest);
    let [one, two] = pipes;
    ptnet_guests::end(guest, vec![one, two, switch]);
    place.assert_left_clean();
}

/// The program sends each packet back with its ends exchanged: the guest gets its own request, answers it, and gets
/// that answer. So each ping is two numbered packets in either direction.
fn ping_over_a_switch(engine: &Engine, place: &Place, guest: &mut Guest) {
    let mirror = generate(engine, place, &["-i", "vale0:c", "-f", "pong", "-n", "200"]);
    wait_for("its port", || place.port("vale0:c").is_some());
    guest.run("ip addr add 10.0.0.1/24 dev eth0 && ip link set eth0 up");
    guest.run("arp -s 10.0.0.9 02:00:00:00:00:09");
    let (status, said) = guest.try_run("ping -c 100 -i 0.05 10.0.0.9");
    assert_eq!(status, 0, "{said}");
    assert!(
        said.contains("100 packets transmitted, 100 packets received"),
        "{said}"
    );
    mirror.wait_success();
}
