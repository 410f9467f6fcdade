//! Stock tcpdump and dumpcap read captures from a pipe.

use std::process::{Command, Stdio};

use compat_tests::or_skip;
use compat_tests::place::Place;
use compat_tests::target;
use compat_tests::world::Program;

use crate::ground::*;

/// `uvale capture ARGS | reader` in a shell, once it captures.
fn piped(place: &Place, args: &str, reader: &str) -> Program {
    let program = &target::binaries().uvale;
    let script = format!("\"$0\" capture {args} -w - | {reader}");
    let mut command = Command::new("sh");
    command.args(["-c", &script, text(program)]);
    command.env("UVALE_DIR", place.dir()).stdin(Stdio::null());
    let program = Program::start(&script, command);
    program.wait_text("uvale capture: capturing");
    program
}

#[test]
fn tcpdump_reads_it_with_a_filter() {
    let tcpdump = or_skip!("tcpdump", debian("tcpdump"));
    let place = Place::new();
    let (a, b) = (End::open(&place, "vale0:a"), End::open(&place, "vale0:b"));
    // the last byte of the number, which is the packet's 18th
    let reader = format!("{tcpdump} -n -r - 'ether[17] < 10'");
    let capture = piped(&place, "vale0:a -c 100", &reader);
    send_in_step(&place, &a, &b, &numbers(0, 100));
    let said = capture.wait_success();
    assert_eq!(said.matches("ethertype").count(), 10, "{said}");
    assert!(
        said.contains("02:00:00:00:00:07 > ff:ff:ff:ff:ff:ff, ethertype Unknown (0x88b5)"),
        "{said}"
    );
}

#[test]
fn dumpcap_captures_ten_thousand_packets() {
    let dumpcap = or_skip!("dumpcap", debian("dumpcap"));
    let place = Place::new();
    let (a, b) = (End::open(&place, "vale0:a"), End::open(&place, "vale0:b"));
    let file = place.file("dumpcap.pcapng");
    let reader = format!("{dumpcap} -q -i - -w {}", text(&file));
    let capture = piped(&place, "vale0:a vale0:b -c 20000", &reader);
    let packets = numbers(0, 10_000);
    send_in_step(&place, &a, &b, &packets);
    capture.wait_success();
    let captured = Captured::read(&file);
    assert!(captured.of("vale0:a", true) == packets, "what was sent");
    assert!(captured.of("vale0:b", false) == packets, "what arrived");
}
