//! Guests of a real QEMU: that they start and do what they are told.

use compat_tests::guest::kit::Kit;
use compat_tests::guest::{Guest, Plan, VIRTIO_NET, device};
use compat_tests::or_skip;
use compat_tests::place::Place;

/// Two guests on one network of QEMU's own.
#[test]
fn two_guests_talk_over_a_socket() {
    let kit = or_skip!("guest", Kit::new(&[]));
    let place = Place::empty();
    let path = |name| place.file(name).display().to_string();
    let end = |own, other| {
        format!(
            "dgram,id=n0,local.type=unix,local.path={},remote.type=unix,remote.path={}",
            path(own),
            path(other)
        )
    };
    let guest = |name: &'static str, own, other, mac| {
        let devices = device::virtio_net("n0", &end(own, other), mac);
        Guest::start(
            &kit,
            place.dir(),
            Plan {
                name,
                modules: VIRTIO_NET,
                devices,
                ..Plan::default()
            },
        )
    };
    let mut a = guest("a", "one", "two", "52:54:00:00:00:01");
    let mut b = guest("b", "two", "one", "52:54:00:00:00:02");
    for guest in [&a, &b] {
        println!("{}", guest.wait_ready());
    }
    let address = a.facts("echo mac=$(cat /sys/class/net/eth0/address)");
    assert_eq!(address["mac"], ["52:54:00:00:00:01"]);
    a.run("ip addr add 10.0.0.1/24 dev eth0 && ip link set eth0 up");
    b.run("ip addr add 10.0.0.2/24 dev eth0 && ip link set eth0 up");
    let ping = a.begin("ping -c 20 -i 0.1 10.0.0.2");
    let (status, said) = b.try_run("ping -c 5 -i 0.1 10.0.0.1");
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("5 packets received"), "{said}");
    let (status, said) = a.finish(ping);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("20 packets received"), "{said}");
    assert_eq!(a.try_run("echo some; false"), (1, "some\n".to_owned()));
    let endless = b.begin("cat </dev/zero >/dev/null");
    b.kill(&endless, "TERM");
    assert_ne!(b.finish(endless).0, 0);
    a.power_off();
    b.power_off();
}
