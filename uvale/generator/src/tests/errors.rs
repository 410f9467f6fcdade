//! What goes wrong on ports and in files.

use nm_abi::NS_MOREFRAG;

use super::super::fake::{Shape, Wire};
use super::super::memory::Slot;
use super::super::verdict::{COMPLETE, SHORT};
use super::{TempFile, both, run, sample};

#[test]
fn what_cannot_be_sent_is_left_out_and_said() {
    let capture = sample(&[60, 0, 70_000, 61]);
    let copy = TempFile::new("pcap");
    let (sent, received) = both(
        Shape::default(),
        &format!("-f tx --pcap {}", capture.show()),
        &format!("-f rx -n 2 --pcap {}", copy.show()),
    );
    assert!(sent.ok() && received.ok());
    assert_eq!((sent.packets, sent.skipped, sent.status), (2, 2, SHORT));
    assert_eq!(
        copy.data().iter().map(Vec::len).collect::<Vec<_>>(),
        [60, 61]
    );
    assert!(
        sent.missing.iter().any(|why| why.contains("left out")),
        "{:?}",
        sent.missing
    );
}

#[test]
fn a_cut_capture_is_sent_as_far_as_it_goes() {
    let capture = sample(&[60, 70, 80]);
    let bytes = std::fs::read(&capture.0).unwrap();
    std::fs::write(&capture.0, &bytes[..bytes.len() - 1]).unwrap();
    let (sent, _) = both(
        Shape::default(),
        &format!("-f tx --pcap {}", capture.show()),
        "-f rx -n 2",
    );
    assert_eq!((sent.ok(), sent.packets, sent.status), (true, 2, SHORT));
    assert!(sent.missing[0].contains("middle of a packet; the 2 whole packets"));
    std::fs::write(&capture.0, b"no capture at all").unwrap();
    let sent = run(
        &format!("-f tx --pcap {}", capture.show()),
        Wire::new(Shape::default()).endpoint(0),
    );
    assert!(
        !sent.ok() && sent.errors[0].contains("neither pcap nor pcapng"),
        "{:?}",
        sent.errors
    );
}

#[test]
fn a_full_ring_is_noticed() {
    let wire = Wire::new(Shape {
        lossy: true,
        ..Shape::default()
    });
    // nobody reads: 15 packets fit, 85 are lost
    assert_eq!(run("-f tx -n 100", wire.endpoint(0)).packets, 100);
    let received = run("-f rx --idle 0", wire.endpoint(1));
    assert_eq!((received.packets, received.ring_full), (15, 1));
}

#[test]
fn unanswered_pings_are_lost() {
    let summary = run(
        "-f ping -n 3 --timeout 0.01",
        Wire::new(Shape::default()).endpoint(0),
    );
    let latency = summary.latency.unwrap();
    assert_eq!((latency.sent, latency.answered, latency.lost), (3, 0, 3));
    assert_eq!(summary.status, SHORT);
}

#[test]
fn malformed_slots_are_counted_and_stepped_over() {
    for mode in ["-f rx", "-f rx --pcap", "-f rxseq"] {
        let wire = Wire::new(Shape::default());
        let good = wire.a_buffer();
        let slot = |buf_idx, len, flags| Slot {
            buf_idx,
            len,
            flags,
        };
        wire.plant(1, slot(good, 60, 0));
        wire.plant(1, slot(good, 2049, 0));
        wire.plant(1, slot(0, 60, 0));
        wire.plant(1, slot(u32::MAX, 60, 0));
        // a chain that is broken in its middle counts once
        wire.plant(1, slot(good, 60, NS_MOREFRAG));
        wire.plant(1, slot(good, 0xffff, NS_MOREFRAG));
        wire.plant(1, slot(good, 60, 0));
        wire.plant(1, slot(good, 100, NS_MOREFRAG));
        wire.plant(1, slot(good, 1, 0));
        // and one without an end
        wire.plant(1, slot(good, 60, NS_MOREFRAG));
        let file = TempFile::new("pcap");
        let path = if mode.contains("--pcap") {
            file.show()
        } else {
            String::new()
        };
        let summary = run(&format!("{mode} {path} --idle 0"), wire.endpoint(1));
        assert!(summary.ok());
        assert_eq!(
            (summary.packets, summary.bytes, summary.malformed),
            (2, 161, 5),
            "{mode}"
        );
    }
}

#[test]
fn rings_in_disorder_end_the_run_with_a_sentence() {
    for line in ["-f rx", "-f tx", "-f ping", "-f pong", "-f rxseq"] {
        let wire = Wire::new(Shape::default());
        let mut endpoint = wire.endpoint(0);
        endpoint.device.dead = true;
        wire.spoil(0, 0, |ring| ring.tail = 16);
        wire.spoil(0, 1, |ring| ring.tail = u32::MAX);
        let summary = run(line, endpoint);
        assert!(
            !summary.ok() && summary.errors[0].contains("tail"),
            "{line}: {:?}",
            summary.errors
        );
    }
}

#[test]
fn a_bad_tx_buffer_is_not_written_to() {
    let wire = Wire::new(Shape::default());
    let mut endpoint = wire.endpoint(0);
    wire.spoil_tx_slot(0, 3, u32::MAX);
    endpoint.device.dead = true;
    let summary = run("-f tx -n 10", endpoint);
    assert!(
        !summary.ok() && summary.errors[0].contains("slot 3"),
        "{:?}",
        summary.errors
    );
}

#[test]
fn silence_ends_a_receiver() {
    let wire = Wire::new(Shape::default());
    assert_eq!(run("-f tx -n 5", wire.endpoint(0)).packets, 5);
    let summary = run("-f rx --idle 0", wire.endpoint(1));
    assert_eq!((summary.packets, summary.ok()), (5, true));
    assert_eq!(run("-f pong --idle 0", wire.endpoint(1)).packets, 0);
}

#[test]
fn untaken_packets_are_given_up_on_request() {
    let wire = Wire::new(Shape {
        slots: 8,
        ..Shape::default()
    });
    let summary = run("-f tx -n 10 --linger 0.01", wire.endpoint(0));
    // 7 are at the receiver, 3 wait in the sender's ring
    assert_eq!(
        (summary.packets, summary.unsent, summary.status),
        (10, 3, SHORT)
    );
    // and neither does a full ring hold up the packets behind it for ever
    let summary = run("-f tx -n 100 --linger 0.01", wire.endpoint(0));
    assert!(summary.packets < 100, "{}", summary.packets);
    assert!(
        summary.missing[0].contains("--linger"),
        "{:?}",
        summary.missing
    );
}

#[test]
fn a_count_that_is_not_reached_is_said() {
    let wire = Wire::new(Shape::default());
    assert_eq!(run("-f tx -n 5", wire.endpoint(0)).status, COMPLETE);
    let short = run("-f rx -n 6 --idle 0", wire.endpoint(1));
    assert_eq!((short.packets, short.ok(), short.status), (5, true, SHORT));
    assert!(
        short.missing[0].starts_with("received 5 of 6 packets"),
        "{:?}",
        short.missing
    );
    let pong = run("-f pong -n 1 --idle 0", wire.endpoint(1));
    assert_eq!((pong.packets, pong.status), (0, SHORT));
    // without a count there is nothing to miss
    assert_eq!(run("-f rx --idle 0", wire.endpoint(1)).status, COMPLETE);
}

#[test]
fn numbers_that_are_missing_or_twice_are_said() {
    let wire = Wire::new(Shape::default());
    assert_eq!(run("-f txseq -n 5", wire.endpoint(0)).status, COMPLETE);
    assert_eq!(run("-f rxseq --idle 0", wire.endpoint(1)).status, COMPLETE);
    // the same numbers a second time
    for _ in 0..2 {
        assert_eq!(run("-f txseq -n 5", wire.endpoint(0)).status, COMPLETE);
    }
    let twice = run("-f rxseq -n 10 --idle 0", wire.endpoint(1));
    assert_eq!(twice.status, SHORT);
    assert!(
        twice.missing[0].contains("5 came twice"),
        "{:?}",
        twice.missing
    );
}

#[test]
fn one_burst_has_no_rate() {
    let wire = Wire::new(Shape::default());
    let sent = run("-f tx -n 5", wire.endpoint(0));
    let received = run("-f rx -n 5", wire.endpoint(1));
    for summary in [sent, received] {
        assert_eq!((summary.packets, summary.pps, summary.bps), (5, None, None));
        assert!(
            summary
                .text(false)
                .contains("not known: the run was too short"),
            "{}",
            summary.text(false)
        );
    }
}

#[test]
fn chains_that_cannot_fit_are_refused() {
    for (shape, line) in [
        (
            Shape {
                slots: 4,
                buf_size: 64,
                ..Shape::default()
            },
            "-f tx -l 300",
        ),
        (
            Shape {
                slots: 256,
                buf_size: 64,
                ..Shape::default()
            },
            "-f tx -l 5000",
        ),
        (
            Shape {
                buf_size: 64,
                ..Shape::default()
            },
            "-f tx -l 100 -I",
        ),
        (
            Shape {
                slots: 4,
                buf_size: 64,
                ..Shape::default()
            },
            "-f ping -l 300",
        ),
    ] {
        let summary = run(line, Wire::new(shape).endpoint(0));
        assert!(
            !summary.ok() && summary.errors[0].contains("slots"),
            "{line}: {:?}",
            summary.errors
        );
    }
}
