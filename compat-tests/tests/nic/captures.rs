//! tcpdump and dumpcap on libpcap's netmap module at one end of a veth pair, a capture file sent into the other, by the
//! wire and joined.
//!
//! Debian's tcpreplay is built without netmap, and sends by sockets of its own: it has no part in this.

use compat_tests::apps::{self, App};
use compat_tests::capture::{self, CLIENT};
use compat_tests::place::Place;
use compat_tests::world::Program;
use compat_tests::{or_skip, target};

use compat_tests::namespaces::{Ground, VETH};

/// Starts a program that captures as many packets as were sent, sends them when it listens, and compares.
fn captures(app: &App, words: &[&str], listens: &str) {
    let ground = or_skip!("captures", Ground::new());
    let place = Place::new();
    let sent = capture::recorded_from(CLIENT);
    let (input, count) = (place.file("sent.pcap"), sent.len().to_string());
    capture::write(&input, &sent);
    let libraries = app.libraries.as_ref().expect("it has our libpcap");
    let libraries = format!("LD_LIBRARY_PATH={}", libraries.display());
    let port = format!("netmap:{VETH}");
    for qdisc in [true, false] {
        // What would be bypassed keeps the ends apart.
        let how = if qdisc { "add" } else { "del" };
        let script = format!("tc qdisc {how} dev {VETH} root pfifo");
        ground.shell(0, &script).assert_code(0);
        let output = place.file(&format!("captured-{qdisc}"));
        let file = output.to_string_lossy();
        let args = [words, &["-i", &port, "-w", &file, "-c", &count]].concat();
        let listener = ground.spawn(1, &place, &app.path, &[&libraries], &args);
        listener.wait_text(listens);
        let uvale = &target::binaries().uvale;
        let input = input.to_string_lossy();
        let args = ["gen", "-i", &port, "-f", "tx", "-w", "0", "--pcap", &input];
        let sender = ground.spawn(0, &place, uvale, &[], &args);
        listener.wait_success();
        drop::<Program>(sender);
        let arrived = capture::read(&output).expect("a finished capture");
        capture::assert_same(if qdisc { "wire" } else { "joined" }, &arrived, &sent);
    }
    place.assert_left_clean();
}

#[test]
fn tcpdump() {
    let tcpdump = or_skip!("tcpdump", apps::tcpdump());
    captures(&tcpdump, &["-U"], "listening on");
}

#[test]
fn dumpcap() {
    let dumpcap = or_skip!("dumpcap", apps::dumpcap());
    captures(&dumpcap, &["-P"], "File:");
}
