//! `uvale capture` and `uvale extcap`: captures are what was sent, with directions; nobody is slowed; what is missed,
//! dropped or cut is said.

mod endings;
mod ground;
mod readers;
mod wireshark;

use compat_tests::place::Place;
use compat_tests::said::Said;
use compat_tests::wait::wait_for;
use ground::*;
use rustix::process::Signal;

#[test]
fn ten_thousand_packets_are_captured_as_they_were_sent() {
    let place = Place::new();
    let (a, b) = (End::open(&place, "vale0:a"), End::open(&place, "vale0:b"));
    let file = place.file("all.pcapng");
    let args = ["vale0:a", "vale0:b", "-c", "20000", "-w", text(&file)];
    let capture = capture(&place, &args);
    let packets = numbers(0, 10_000);
    send_in_step(&place, &a, &b, &packets);
    let said = {
        let mut capture = capture;
        assert!(capture.wait().success(), "{}", capture.said());
        capture.said()
    };
    assert!(
        said.contains("20000 of 20000 packets captured, 0 missed"),
        "{said}"
    );
    let captured = Captured::read(&file);
    assert!(captured.of("vale0:a", true) == packets, "what was sent");
    assert!(captured.of("vale0:b", false) == packets, "what arrived");
    assert!(
        captured
            .packets
            .iter()
            .all(|p| p.comments.is_empty() && p.missed == 0)
    );
    let expected = ["vale0:a", "vale0:b"].map(|name| (name.to_owned(), 10_000, 0));
    assert_eq!(captured.statistics, expected);
}

#[test]
fn one_end_of_a_pipe_sees_both_directions_in_order() {
    let place = Place::new();
    let (master, slave) = (
        End::open(&place, "netmap:p{1"),
        End::open(&place, "netmap:p}1"),
    );
    for (args, seen) in [
        (&["p{1"][..], [true, true]),
        (&["netmap:p{1", "-Q", "out"], [true, false]),
        (&["p{1", "-Q", "in"], [false, true]),
    ] {
        let file = place.file("pipe.pcapng");
        let capture = capture(&place, &[args, &["-w", text(&file)]].concat());
        let (there, back) = (numbers(0, 3), numbers(100, 3));
        send_in_step(&place, &master, &slave, &there);
        send_in_step(&place, &slave, &master, &back);
        stop(capture, 0);
        let mut expected = Vec::new();
        for (is_seen, sent, packets) in [(seen[0], true, there), (seen[1], false, back)] {
            let packets = packets.into_iter().filter(|_| is_seen);
            expected.extend(packets.map(|packet| (packet, sent)));
        }
        let packets = Captured::read(&file).packets.into_iter();
        let packets: Vec<_> = packets.map(|p| (p.data, p.sent)).collect();
        assert_eq!(packets, expected, "{args:?}");
    }
}

/// SIGTERM; it has to end with that status. Gives what it said.
fn stop(mut capture: compat_tests::world::Program, status: i32) -> String {
    capture.signal(Signal::TERM);
    let code = capture.wait().code();
    assert_eq!(code, Some(status), "{}", capture.said());
    capture.said()
}

#[test]
fn ports_of_a_switch_are_followed() {
    let place = Place::new();
    let (a, b) = (End::open(&place, "vale3:a"), End::open(&place, "vale3:b"));
    let file = place.file("switch.pcapng");
    let capture = capture(&place, &["vale3:", "-w", text(&file)]);
    wait_for_captured(&place, 2);
    send_in_step(&place, &a, &b, &numbers(0, 10));
    for round in 1..=2 {
        let late = End::open(&place, "vale3:late");
        wait_for_captured(&place, 3);
        send_in_step(&place, &late, &b, &numbers(100 * round, 10));
        a.receive();
        late.close();
        wait_for_captured(&place, 2);
    }
    // all of them go, and the switch with them
    a.close();
    b.close();
    wait_for_captured(&place, 0);
    let (a, b) = (End::open(&place, "vale3:a"), End::open(&place, "vale3:b"));
    wait_for_captured(&place, 2);
    send_in_step(&place, &a, &b, &numbers(900, 10));
    stop(capture, 0);
    let captured = Captured::read(&file);
    let sent = |from: &str| -> Vec<Vec<u8>> {
        let packets = captured
            .packets
            .iter()
            .filter(|p| p.interface == from && p.sent);
        packets.map(|p| p.data.clone()).collect()
    };
    assert_eq!(
        sent("vale3:late"),
        [numbers(100, 10), numbers(200, 10)].concat()
    );
    assert_eq!(sent("vale3:a"), [numbers(0, 10), numbers(900, 10)].concat());
    let mut names: Vec<&str> = captured
        .statistics
        .iter()
        .map(|(name, ..)| name.as_str())
        .collect();
    names.sort_unstable();
    let (a, b, late) = ("vale3:a", "vale3:b", "vale3:late");
    assert_eq!(names, [a, a, b, b, late, late]);
}

#[test]
fn without_a_file_it_is_a_line_a_packet() {
    let place = Place::new();
    let (a, b) = (End::open(&place, "vale0:a"), End::open(&place, "vale0:b"));
    let capture = capture(&place, &["vale0:a", "-c", "2"]);
    send_in_step(&place, &a, &b, &numbers(0, 2));
    let said = capture.wait_success();
    let line = " vale0:a tx 02:00:00:00:00:07 > ff:ff:ff:ff:ff:ff: type 0x88b5, 60 bytes\n";
    assert!(said.contains(line), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[test]
fn what_the_port_drops_is_a_comment() {
    let place = Place::new();
    let (a, b) = (End::open(&place, "vale0:a"), End::open(&place, "vale0:b"));
    let file = place.file("drops.pcapng");
    let capture = capture(&place, &["vale0:a", "-w", text(&file)]);
    // too short; to itself; then one that arrives
    let mut to_itself = numbered(0);
    to_itself[..6].copy_from_slice(&[2, 0, 0, 0, 0, 7]);
    for packet in [vec![0xff; 10], to_itself, numbered(1)] {
        assert_eq!(a.send(&[packet]), 1);
        wait_for("the capture to take it", || {
            let ports = place.ports();
            let mut monitors = ports.iter().filter(|p| p.kind == "monitor");
            monitors.all(|p| p.rx[0].pending == 0)
        });
        b.receive();
    }
    stop(capture, 0);
    let captured = Captured::read(&file);
    let comments: Vec<String> = captured
        .packets
        .iter()
        .map(|p| p.comments.join("; "))
        .collect();
    assert_eq!(comments.len(), 3, "{captured:?}");
    assert!(
        comments[0].contains("dropped: shorter than an Ethernet header"),
        "{comments:?}"
    );
    // When the counters are read decides which of the next two packets tells it, if not the statistics.
    let bytes = std::fs::read(&file).expect("it is there");
    let all = String::from_utf8_lossy(&bytes);
    assert!(all.contains("dropped at this port meanwhile: short frame 1, no destination 1"));
}

#[test]
fn a_slow_reader_slows_nobody_and_is_told_what_it_missed() {
    let place = Place::new();
    let (a, b) = (End::open(&place, "vale0:a"), End::open(&place, "vale0:b"));
    let fifo = place.file("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.is_ok_and(|s| s.success()));
    // A reader that opens the fifo and does not read until it is told to.
    let (go, out) = (place.file("go"), place.file("read.pcapng"));
    let script =
        "exec 3< \"$0\"; while [ ! -e \"$1\" ]; do sleep 0.02; done; exec cat <&3 > \"$2\"";
    let mut reader = std::process::Command::new("sh");
    reader.args(["-c", script, text(&fifo), text(&go), text(&out)]);
    let reader = compat_tests::world::Program::start("reader", reader);
    let capture = capture(&place, &["vale0:a", "-w", text(&fifo)]);
    let missed = || {
        let ports = place.ports();
        let monitor = ports
            .iter()
            .find(|p| p.kind == "monitor")
            .expect("it captures");
        monitor.rx[0].drops.full
    };
    let mut sent = 0;
    wait_for("the capture to miss packets", || {
        for _ in 0..10 {
            let batch = numbers(sent, 500);
            assert_eq!(a.send(&batch), 500, "the sender goes on");
            assert_eq!(b.receive(), batch, "the receiver misses nothing");
            sent += 500;
        }
        missed() > 0
    });
    std::fs::write(&go, "").expect("the file can be written");
    wait_for("the capture to catch up", || {
        let ports = place.ports();
        let monitor = ports
            .iter()
            .find(|p| p.kind == "monitor")
            .expect("it captures");
        monitor.rx[0].pending == 0
    });
    for _ in 0..2 {
        send_in_step(&place, &a, &b, &numbers(sent, 1));
        sent += 1;
    }
    let missed = missed();
    let said = stop(capture, 3);
    assert!(said.contains(&format!("{missed} missed")), "{said}");
    reader.wait_success();
    let captured = Captured::read(&out);
    let packets = captured.of("vale0:a", true);
    assert_eq!(packets.len() as u64 + missed, u64::from(sent));
    let told: u64 = captured.packets.iter().map(|p| p.missed).sum();
    assert_eq!(told, missed, "each missed packet is told at a later one");
    let first = captured
        .packets
        .iter()
        .find(|p| p.missed > 0)
        .expect("told");
    assert!(
        first.comments[0].contains("missed: the capture was too slow"),
        "{first:?}"
    );
    assert_eq!(
        captured.statistics,
        [("vale0:a".to_owned(), u64::from(sent), missed)]
    );
    assert!(packets.iter().all(|p| {
        let number = u32::from_be_bytes([p[14], p[15], p[16], p[17]]);
        *p == numbered(number)
    }));
}

#[test]
fn buffers_that_are_longer_than_a_monitor_s_are_said() {
    let place = Place::new();
    let set = |bytes: u32| {
        let session = place.attach().expect("it answers");
        let set = session.set_parameter("priv_buf_size", &bytes.to_string());
        set.expect("it can be set");
    };
    set(4096);
    let (a, b) = (End::open(&place, "vale0:a"), End::open(&place, "vale0:b"));
    let (file, packet) = (place.file("long.pcapng"), vec![0xff; 4000]);
    // named twice, captured once
    let args = ["vale0:a", "netmap:vale0:a", "-c", "1", "-w", text(&file)];
    for (buffers, kept) in [(2048, 2048), (4096, 4000)] {
        set(buffers);
        let mut capture = capture(&place, &args);
        assert_eq!(a.send(std::slice::from_ref(&packet)), 1);
        assert!(capture.wait().success(), "{}", capture.said());
        let warning = "its buffers have 4096 bytes, and those of its monitors 2048: longer packets are cut off";
        assert_eq!(
            capture.said().contains(warning),
            kept < packet.len(),
            "{}",
            capture.said()
        );
        assert_eq!(
            Captured::read(&file).of("vale0:a", true),
            [packet[..kept].to_vec()]
        );
        assert_eq!(b.receive(), std::slice::from_ref(&packet));
    }
}

#[test]
fn names_that_are_none_get_a_sentence() {
    let place = Place::new();
    let _held = [
        End::open(&place, "vale0:web"),
        End::open(&place, "netmap:x{1"),
    ];
    let file = place.file("none.pcapng");
    for (name, why) in [
        (
            "vale0:wbe",
            "there is no port or switch vale0:wbe; see: uvale ports; did you mean vale0:web?",
        ),
        (
            "vale1:",
            "there is no port or switch vale1:; see: uvale ports; did you mean vale0?",
        ),
        ("x{11", "did you mean x{1?"),
        ("nowhere", "there is no port or switch nowhere"),
        ("vale0:web/t", "-Q out"),
    ] {
        let args = ["capture", name, "-w", text(&file)];
        Said::of(&mut uvale(&place, &args))
            .assert_code(1)
            .assert_says(why);
        assert!(!file.exists(), "{name}");
    }
    let args = ["capture", "vale0:web", "tcp", "port", "80"];
    let said = Said::of(&mut uvale(&place, &args)).assert_code(1);
    said.assert_says("uvale capture PORT -w - | tcpdump -r - FILTER");
    let nobody = Place::empty();
    let said = Said::of(&mut uvale(&nobody, &["capture", "vale0:a"])).assert_code(1);
    said.assert_says("no uvale daemon answers");
    assert!(nobody.pid_of_started_daemon().is_none(), "none is started");
}
