//! `uvale vm ptnet` with a real QEMU, and our driver in the guest.

use compat_tests::facts::Facts;
use compat_tests::guest::kit::{Kit, ptnet_guest};
use compat_tests::guest::{Guest, Plan, device};
use compat_tests::place::Place;
use compat_tests::target::binaries;
use compat_tests::wait::wait_for;
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip};
use rustix::process::Signal;

use crate::ground::{text, vm};

/// Packets that guests exchange over a pipe, unless `COMPAT_GUEST_PACKETS` says how many.
const PACKETS: u64 = 100_000;

fn packets() -> u64 {
    let named = std::env::var("COMPAT_GUEST_PACKETS").ok();
    named.and_then(|n| n.parse().ok()).unwrap_or(PACKETS)
}

pub fn kit() -> Result<Kit, Skip> {
    Kit::new(&[&ptnet_guest()?])
}

/// Serves `port` under the name `name`.
pub fn serve(place: &Place, port: &str, name: &str, options: &[&str]) -> Program {
    let path = place.file(name);
    let args = ["ptnet", "--port", port, "--socket", text(&path)];
    let server = vm(place, &[&args, options].concat());
    server.wait_text("-net.sock");
    server
}

/// QEMU's arguments for the devices of that name.
pub fn devices(place: &Place, name: &str) -> Vec<String> {
    let socket = |which: &str| device::vfio_user(&place.file(&format!("{name}-{which}.sock")));
    [socket("mem"), socket("net")].concat()
}

fn start(kit: &Kit, place: &Place, name: &'static str, devices: Vec<String>) -> Guest {
    let plan = Plan {
        name,
        devices,
        ..Plan::default()
    };
    Guest::start(kit, place.dir(), plan)
}

/// The fact of that name.
fn fact<'a>(facts: &'a Facts, name: &str) -> &'a str {
    let values = facts.get(name);
    values
        .and_then(|v| v.last())
        .unwrap_or_else(|| panic!("no {name} in {facts:?}"))
}

pub fn assert_facts(facts: &Facts, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(fact(facts, name), *value, "{name} in {facts:?}");
    }
}

/// Ends a guest and the process that served it.
pub fn end(guest: Guest, servers: Vec<Program>) {
    guest.power_off();
    for mut server in servers {
        server.signal(Signal::TERM);
        assert!(server.wait().success(), "{}", server.said());
        println!("{}", server.said());
    }
}

/// Numbered packets that go through a guest, which bridges the other ends of `pipes`, in both directions: each arrives.
/// `generate` starts `uvale gen`. Gives what the bridge has said.
pub fn bridges(
    guest: &mut Guest,
    place: &Place,
    pipes: [&str; 2],
    generate: impl Fn(&[&str]) -> Program,
) -> String {
    let bridge = guest.begin("exec ptnet-guest bridge --patience 600");
    let [one, two] = pipes;
    for (from, to) in [(one, two), (two, one)] {
        let receiver = generate(&["-i", to, "-f", "rxseq", "-n", "20000"]);
        wait_for("its port", || place.port(to).is_some());
        generate(&["-i", from, "-f", "txseq", "-n", "20000"]).wait_success();
        let said = receiver.wait_success();
        assert!(
            said.contains("20000 packets, 0 lost, 0 reordered"),
            "{said}"
        );
    }
    guest.kill(&bridge, "TERM");
    let (status, said) = guest.finish(bridge);
    assert_eq!(status, 0, "{said}");
    said
}

/// Sends `count` packets of `len` bytes from one guest to the other, which is to get all of them.
fn exchange(from: &mut Guest, to: &mut Guest, count: u64, len: usize) {
    let receiver = to.begin(&format!("ptnet-guest rx --count {count}"));
    let (sent_all, sent) = from.try_run(&format!("ptnet-guest tx --count {count} --len {len}"));
    let (status, said) = to.finish(receiver);
    assert_eq!([sent_all, status], [0, 0], "{sent}{said}");
    let sent = compat_tests::facts::parse(&sent);
    let (count, bytes) = (count.to_string(), (count * len as u64).to_string());
    assert_facts(&sent, &[("sent", &count), ("end", "done")]);
    let got = compat_tests::facts::parse(&said);
    let good = [("good", &count[..]), ("bytes", &bytes), ("end", "done")];
    assert_facts(&got, &good);
    assert_facts(
        &got,
        &[
            ("lost", "0"),
            ("late", "0"),
            ("changed", "0"),
            ("foreign", "0"),
        ],
    );
    println!(
        "{count} packets of {len} bytes: {} and {} kicks, {} ms",
        fact(&sent, "kicks"),
        fact(&got, "kicks"),
        fact(&sent, "milliseconds")
    );
}

#[test]
fn guests_exchange_packets_over_a_pipe() {
    let kit = or_skip!("guest", kit());
    let place = Place::new();
    let a_server = serve(&place, "netmap:p{1", "a", &[]);
    let b_server = serve(&place, "netmap:p}1", "b", &["--bar0", "io"]);
    let mut a = start(&kit, &place, "a", devices(&place, "a"));
    let mut b = start(&kit, &place, "b", devices(&place, "b"));
    for guest in [&a, &b] {
        println!("{}", guest.wait_ready());
    }
    let shape = [
        ("tx_rings", "1"),
        ("rx_rings", "1"),
        ("host_tx_rings", "1"),
        ("host_rx_rings", "1"),
        ("buffer_bytes", "2048"),
        ("header", "0"),
    ];
    for (guest, bar) in [(&mut a, "memory"), (&mut b, "io")] {
        let facts = guest.facts("ptnet-guest facts");
        assert_facts(&facts, &shape);
        assert_facts(&facts, &[("bar0", bar)]);
    }
    exchange(&mut a, &mut b, packets(), 60);
    exchange(&mut b, &mut a, packets(), 60);
    // packets of several slots
    exchange(&mut a, &mut b, 2_000, 5_000);

    // One that is killed has not told the host to stop; the next one does.
    let endless = a.begin("exec ptnet-guest tx --count 1000000000");
    let receiver = b.begin("ptnet-guest rx --count 20000");
    let (status, said) = b.finish(receiver);
    assert_eq!(status, 0, "{said}");
    a.kill(&endless, "KILL");
    assert_ne!(a.finish(endless).0, 0);
    assert_eq!(a.run("ls /run | grep -c ptnet-csb"), "1\n");
    a.facts("ptnet-guest facts");
    assert_eq!(a.try_run("ls /run | grep -c ptnet-csb").1, "0\n");

    // What was under way is there still, and then the pipe is empty.
    b.try_run("ptnet-guest rx --count 1000000 --patience 2");
    exchange(&mut a, &mut b, 1_000, 60);
    end(a, vec![a_server]);
    end(b, vec![b_server]);
    place.assert_left_clean();
}

#[test]
fn a_guest_forwards_between_programs_of_the_host() {
    let kit = or_skip!("guest", kit());
    let place = Place::new();
    let one = serve(&place, "netmap:one{1", "one", &[]);
    let other = serve(&place, "netmap:two{1", "two", &[]);
    let both = [devices(&place, "one"), devices(&place, "two")].concat();
    let mut guest = start(&kit, &place, "g", both);
    println!("{}", guest.wait_ready());
    let generate = |args: &[&str]| place.spawn(&binaries().uvale, &[&["gen"], args].concat());
    let said = bridges(&mut guest, &place, ["one}1", "two}1"], generate);
    let moved = compat_tests::facts::parse(&said);
    let all = [
        ("forth", "20000"),
        ("back", "20000"),
        ("dropped", "0"),
        ("end", "signal"),
    ];
    assert_facts(&moved, &all);
    end(guest, vec![one, other]);
    place.assert_left_clean();
}

#[test]
fn several_rings_a_switch_and_an_echo() {
    let kit = or_skip!("guest", kit());
    let place = Place::new();
    let a_server = serve(&place, "vale0:a", "a", &["--queues", "2"]);
    let b_server = serve(&place, "vale0:b", "b", &["--queues", "2"]);
    let mut a = start(&kit, &place, "a", devices(&place, "a"));
    let mut b = start(&kit, &place, "b", devices(&place, "b"));
    for guest in [&a, &b] {
        guest.wait_ready();
    }
    let shape = a.facts("ptnet-guest facts");
    assert_facts(&shape, &[("tx_rings", "2"), ("rx_rings", "2")]);
    // A switch loses what the receiver has no room for, so no more are sent than it has.
    let receiver = b.begin("ptnet-guest rx --count 400");
    b.run("until ls /run | grep -q ptnet-csb; do usleep 1000; done");
    let sent = a.facts("ptnet-guest tx --count 400 --batch 10");
    assert_facts(&sent, &[("sent", "400")]);
    let (status, said) = b.finish(receiver);
    assert_eq!(status, 0, "{said}");
    let got = compat_tests::facts::parse(&said);
    assert_facts(&got, &[("good", "400"), ("lost", "0"), ("streams", "2")]);

    let echo = b.begin("exec ptnet-guest echo --count 300");
    b.run("until ls /run | grep -q ptnet-csb; do usleep 1000; done");
    a.run("ptnet-guest tx --count 300 --len 1514");
    let (status, said) = b.finish(echo);
    assert_eq!(status, 0, "{said}");
    assert_facts(&compat_tests::facts::parse(&said), &[("moved", "300")]);

    // What is wrong is said.
    for (command, sentence) in [
        (
            "ptnet-guest --device 7 facts",
            "there is no ptnet device 7: this machine has 1",
        ),
        (
            "ptnet-guest --ring 2 tx",
            "there is no ring 2: the last one is 1",
        ),
        ("ptnet-guest --header 11 facts", "ask for"),
    ] {
        let (status, said) = a.try_run(command);
        assert_ne!(status, 0, "{said}");
        assert!(said.contains(sentence), "{said}");
    }
    // Whoever was refused has left no file that the next wait could mistake for the holder's.
    assert_eq!(a.try_run("ls /run | grep -c ptnet-csb").1, "0\n");
    let holder = a.begin("exec ptnet-guest rx --patience 600");
    a.run("until ls /run | grep -q ptnet-csb; do usleep 1000; done");
    let (status, said) = a.try_run("ptnet-guest facts");
    assert_ne!(status, 0);
    assert!(said.contains("in use by another process"), "{said}");
    a.kill(&holder, "TERM");
    a.finish(holder);
    end(a, vec![a_server]);
    end(b, vec![b_server]);
    place.assert_left_clean();
}
