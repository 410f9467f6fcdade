//! The functions against each other over a netmap in ordinary memory.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

mod errors;

use super::capture::{Reader, Writer};
use super::captured::Captured;
use super::config::tests::config;
use super::fake::{FakeDevice, Shape, Wire};
use super::stats::Summary;
use super::{Endpoint, run_threads};

/// Runs a command line on an endpoint.
fn run(line: &str, endpoint: Endpoint<FakeDevice>) -> Summary {
    let line = format!("-i vale0:a -T 0 {line}");
    run_threads(
        &config(&line).unwrap_or_else(|why| panic!("{line}: {why}")),
        vec![endpoint],
    )
}

/// Runs a sender and a receiver at the same time.
fn both(shape: Shape, sender: &str, receiver: &str) -> (Summary, Summary) {
    let wire = Wire::new(shape);
    let (a, b) = (wire.endpoint(0), wire.endpoint(1));
    std::thread::scope(|scope| {
        let receiver = scope.spawn(move || run(receiver, b));
        let sent = run(sender, a);
        (sent, receiver.join().unwrap())
    })
}

/// A file that is removed at the end.
struct TempFile(PathBuf);

impl TempFile {
    fn new(extension: &str) -> TempFile {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        TempFile(std::env::temp_dir().join(format!(
            "uvale-gen-{}-{number}.{extension}",
            std::process::id()
        )))
    }

    fn packets(&self) -> Vec<Captured> {
        let mut reader = Reader::open(&self.0).unwrap();
        let (mut packet, mut all) = (Captured::default(), Vec::new());
        while reader.next(&mut packet).unwrap() {
            all.push(packet.clone());
        }
        all
    }

    fn data(&self) -> Vec<Vec<u8>> {
        self.packets().into_iter().map(|p| p.data).collect()
    }

    fn show(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A capture with packets of all kinds of sizes.
fn sample(sizes: &[usize]) -> TempFile {
    let file = TempFile::new("pcap");
    let mut writer = Writer::create(&file.0, false, "x").unwrap();
    for (number, size) in sizes.iter().enumerate() {
        let data: Vec<u8> = (0..*size).map(|i| (i * 31 + number) as u8).collect();
        writer.write(number as u64 * 1000, &data).unwrap();
    }
    writer.flush().unwrap();
    file
}

#[test]
fn every_packet_arrives_over_many_wraps() {
    for (shape, extra) in [
        (Shape::default(), ""),
        (
            Shape {
                slots: 2,
                ..Shape::default()
            },
            "",
        ),
        (
            Shape {
                swaps: true,
                ..Shape::default()
            },
            "",
        ),
        (
            Shape {
                swaps: true,
                header: 12,
                ..Shape::default()
            },
            "-z",
        ),
        (
            Shape {
                rings: 3,
                ..Shape::default()
            },
            "",
        ),
        (Shape::default(), "--busy"),
        (Shape::default(), "-b 1"),
        (Shape::default(), "-I"),
        (Shape::default(), "-r"),
        (Shape::default(), "-o 4"),
    ] {
        let receiver = if extra == "--busy" {
            "-f rx -n 1000 --busy"
        } else {
            "-f rx -n 1000"
        };
        let (sent, received) = both(shape, &format!("-f tx -n 1000 -l 100 {extra}"), receiver);
        assert!(
            sent.ok() && received.ok(),
            "{extra}: {:?} {:?}",
            sent.errors,
            received.errors
        );
        assert_eq!(
            (sent.packets, sent.bytes, sent.slots, sent.unsent),
            (1000, 100_000, 1000, 0),
            "{extra}"
        );
        assert_eq!(
            (received.packets, received.bytes, received.malformed),
            (1000, 100_000, 0),
            "{extra}"
        );
    }
}

#[test]
fn what_arrives_is_what_was_built() {
    let shapes = [
        Shape::default(),
        Shape {
            swaps: true,
            ..Shape::default()
        },
        Shape {
            header: 10,
            ..Shape::default()
        },
        Shape {
            buf_size: 64,
            ..Shape::default()
        },
    ];
    for shape in shapes {
        for options in [
            "",
            "-s 10.0.0.1:1-10.0.0.3:7",
            "-l 300 -l 60",
            "-F 3",
            "-M 50 -l 120 -d 10.1.0.1:5-6",
        ] {
            let file = TempFile::new("pcapng");
            let receiver = format!("-f rx -n 100 --pcap {}", file.show());
            let (sent, received) = both(shape, &format!("-f tx -n 100 {options}"), &receiver);
            assert!(
                sent.ok() && received.ok(),
                "{options}: {:?} {:?}",
                sent.errors,
                received.errors
            );
            let data = file.data();
            assert_eq!(data.len(), 100);
            if options.contains("-l 300") {
                assert!(data.iter().all(|d| (60..300).contains(&d.len())));
                continue;
            }
            let mut stream = super::stream::Stream::new(
                &config(&format!("-i vale0:a -f tx {options}")).unwrap(),
                0,
                0,
            )
            .unwrap();
            for packet in &data {
                assert_eq!(packet, stream.frame(), "{options}");
                stream.advance();
            }
        }
    }
}

#[test]
fn captures_pass_byte_for_byte() {
    let sizes = [14, 60, 61, 1514, 1, 2047, 2048, 2049, 9000, 20_000, 60, 15];
    let shapes = [
        Shape {
            slots: 32,
            ..Shape::default()
        },
        Shape {
            slots: 64,
            buf_size: 512,
            header: 12,
            ..Shape::default()
        },
        Shape {
            slots: 32,
            swaps: true,
            ..Shape::default()
        },
    ];
    for shape in shapes {
        for (extension, options) in [
            ("pcap", ""),
            ("pcapng", "--timing"),
            ("pcap", "-R 20K"),
            ("pcap", "-b 3"),
        ] {
            let (capture, copy) = (sample(&sizes), TempFile::new(extension));
            let sender = format!("-f tx --pcap {} --loop 3 {options}", capture.show());
            let receiver = format!("-f rx -n 36 --pcap {}", copy.show());
            let (sent, received) = both(shape, &sender, &receiver);
            assert!(
                sent.ok() && received.ok(),
                "{:?} {:?}",
                sent.errors,
                received.errors
            );
            let expected = std::iter::repeat_n(capture.data(), 3)
                .flatten()
                .collect::<Vec<_>>();
            assert_eq!(copy.data(), expected);
            let bytes = 3 * sizes.iter().sum::<usize>() as u64;
            assert_eq!(
                (sent.packets, sent.bytes, received.bytes),
                (36, bytes, bytes)
            );
        }
    }
}

#[test]
fn sequence_numbers_are_followed() {
    let (sent, received) = both(
        Shape::default(),
        "-f txseq -n 3000 -s 10.0.0.1:1-7",
        "-f rxseq -n 3000",
    );
    let sequence = received.sequence.unwrap();
    assert_eq!(
        (sent.packets, sequence.flows, sequence.packets),
        (3000, 7, 3000)
    );
    assert_eq!(
        (
            sequence.lost,
            sequence.reordered,
            sequence.duplicate,
            sequence.unnumbered
        ),
        (0, 0, 0, 0)
    );
}

#[test]
fn losses_are_found() {
    let capture = TempFile::new("pcap");
    let mut writer = Writer::create(&capture.0, false, "x").unwrap();
    let mut packet =
        super::packet::Packet::new(&config("-i vale0:a").unwrap().packet.addresses, 60);
    for number in [5u32, 6, 7, 10, 8, 8, 11, 4_000_000] {
        packet.set_payload(0, &number.to_be_bytes());
        writer.write(0, packet.bytes()).unwrap();
    }
    writer.flush().unwrap();
    let (_, received) = both(
        Shape::default(),
        &format!("-f tx --pcap {}", capture.show()),
        "-f rxseq -n 8",
    );
    let s = received.sequence.unwrap();
    let lost = 1 + 4_000_000 - 12;
    assert_eq!(
        (s.packets, s.lost, s.reordered, s.duplicate, s.restarts),
        (8, lost, 1, 1, 0)
    );
}

#[test]
fn ping_is_answered() {
    for (shape, line) in [
        (Shape::default(), "-f ping -n 200"),
        (
            Shape {
                header: 12,
                ..Shape::default()
            },
            "-f ping -n 200 -b 8 -l 2100",
        ),
        (Shape::default(), "-f ping -n 50 -6 -l 100 --busy"),
    ] {
        let n = if line.contains("200") { 200 } else { 50 };
        let (pinged, answered) = both(shape, line, &format!("-f pong -n {n}"));
        assert!(
            pinged.ok() && answered.ok(),
            "{:?} {:?}",
            pinged.errors,
            answered.errors
        );
        let latency = pinged.latency.unwrap();
        assert_eq!(
            (latency.sent, latency.answered, latency.lost, latency.late),
            (n, n, 0, 0),
            "{line}"
        );
        assert!(
            latency.min_ns > 0
                && latency.min_ns <= latency.p50_ns
                && latency.p50_ns <= latency.max_ns
        );
        assert_eq!(answered.packets, n);
    }
}

#[test]
fn threads_share_the_count() {
    let wires: Vec<Wire> = (0..3)
        .map(|_| {
            Wire::new(Shape {
                slots: 256,
                ..Shape::default()
            })
        })
        .collect();
    let config = config("-i vale0:a -T 0 -f tx -n 100 -p 3").unwrap();
    let summary = run_threads(&config, wires.iter().map(|w| w.endpoint(0)).collect());
    assert_eq!((summary.packets, summary.ok()), (100, true));
    let parts: Vec<u64> = wires
        .iter()
        .map(|w| run("-f rx --idle 0", w.endpoint(1)).packets)
        .collect();
    assert_eq!(parts, [34, 33, 33]);
}

#[test]
fn receiving_threads_share_the_count_as_packets_come() {
    let wires: Vec<Wire> = (0..2)
        .map(|_| {
            Wire::new(Shape {
                slots: 256,
                ..Shape::default()
            })
        })
        .collect();
    assert_eq!(run("-f tx -n 90", wires[1].endpoint(0)).packets, 90);
    let config = config("-i vale0:a -T 0 -f rx -n 70 -b 8 -p 2").unwrap();
    let summary = run_threads(&config, wires.iter().map(|w| w.endpoint(1)).collect());
    assert_eq!((summary.packets, summary.ok()), (70, true));
    // what was not asked for is still there
    assert_eq!(run("-f rx --idle 0", wires[1].endpoint(1)).packets, 20);
}
