//! What command lines come to.

use clap::Parser;

use super::super::address::Mac;
use super::*;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// What the options of a command line come to.
pub fn config(line: &str) -> Result<Config, String> {
    let words = std::iter::once("gen").chain(line.split_whitespace());
    let line = Line::try_parse_from(words).map_err(|e| e.to_string())?;
    Config::new(&line.args)
}

fn ok(line: &str) -> Config {
    config(line).unwrap_or_else(|why| panic!("{line}: {why}"))
}

#[test]
fn defaults_are_those_of_pkt_gen() {
    let c = ok("-i vale0:a");
    assert_eq!(
        (c.function, c.count, c.burst, c.rate, c.threads),
        (Function::Rx, 0, 512, 0, 1)
    );
    assert_eq!(
        (c.packet.length, c.packet.addresses.destination_mac),
        (60, Mac([0xff; 6]))
    );
    assert_eq!(c.packet.addresses.source.to_string(), "10.0.0.1:1234");
    assert_eq!(c.packet.addresses.destination.to_string(), "10.1.0.1:1234");
    assert_eq!(
        (c.wait_link, c.report),
        (Duration::ZERO, Duration::from_secs(1))
    );
    assert_eq!(ok("-i eth7").wait_link, Duration::from_secs(2));
    assert_eq!(ok("-i netmap:x{1 -f tx").wait_link, Duration::ZERO);
    assert_eq!(ok("-i vale0:a -f ping").burst, 1);
    assert_eq!(ok("-i vale0:a -f tx -6").packet.length, 62);
}

#[test]
fn names_get_their_prefix() {
    for (given, name) in [
        ("eth0", "netmap:eth0"),
        ("x{1", "netmap:x{1"),
        ("netmap:x}1", "netmap:x}1"),
        ("valeA:f", "valeA:f"),
    ] {
        assert_eq!(ok(&format!("-i {given}")).port, name);
    }
    for bad in ["tap:x", "pcap:eth0", "null"] {
        assert!(config(&format!("-i {bad}")).is_err(), "{bad}");
    }
}

#[test]
fn usual_lines_are_understood() {
    let c = ok(
        "-i vale0:a -f tx -n 1000 -l 1514 -l 64 -b 8 -R 1.5M -s 1.2.3.4:5-1.2.3.9:6 \
         -d 10.1.0.1 -D 2:0:0:0:0:1 -S 2:0:0:0:0:2 -NABv",
    );
    assert_eq!(
        (c.rate, c.burst, c.packet.length, c.packet.min_length),
        (1_500_000, 8, 1514, Some(64))
    );
    assert_eq!(c.packet.addresses.source.flows(), 12);
    assert_eq!(c.packet.addresses.source_mac, Mac([2, 0, 0, 0, 0, 2]));
    assert!(c.plain && c.deviation && c.framing == 24 && c.verbose == 1 && c.packet.varies());
    let c = ok("-i vale0:a -f tx -I -w 3 -T 500 -H 12 -C 512,1024,2");
    assert!(c.indirect && !c.packet.varies());
    assert_eq!((c.header, c.sizes), (Some(12), Some([512, 1024, 2, 2])));
    let c = ok("-i x -f rx -p 4 -a 0 -X -W");
    assert_eq!((c.cpus.len(), c.dump, c.until_silence), (4, true, true));
    assert!(ok("-i x -f tx -o 2560").deviation);
    assert!(ok("-i vale0:x -f tx -o 32").indirect);
}

#[test]
fn captures() {
    let c = ok("-i vale0:a -f rx --pcap /x/y.PCAPNG").capture.unwrap();
    assert!(c.pcapng);
    assert!(!ok("-i vale0:a -f rx --pcap y.pcap").capture.unwrap().pcapng);
    assert!(
        ok("-i vale0:a -f rx --pcap y.pcap --pcapng")
            .capture
            .unwrap()
            .pcapng
    );
    let c = ok("-i vale0:a -f tx --pcap y.pcap --loop 3 --timing")
        .capture
        .unwrap();
    assert_eq!((c.repeat, c.timing), (3, true));
}

#[test]
fn rates() {
    for (text, rate) in [
        ("0", 0),
        ("7", 7),
        ("10k", 10_000),
        ("2.5M", 2_500_000),
        ("1G", 1_000_000_000),
    ] {
        assert_eq!(parse_rate(text).unwrap(), rate);
    }
    for bad in ["", "x", "K", "-1", "1KK", "1e3", "nan", "inf", "0.5", "."] {
        assert!(parse_rate(bad).is_err(), "{bad}");
    }
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    let lines = [
        "-f tx",
        "-i x -f nothing",
        "-i x -f rx --unknown",
        "-i x -q",
        "-i x -f tx -l 15",
        "-i x -f tx -l 65536",
        "-i x -f tx -l 100 -l 100",
        "-i x -f tx -l 100 -l 20",
        "-i x -f tx -l 100 -l 90 -l 80",
        "-i x -f tx -F 0",
        "-i x -f tx -F 65",
        "-i x -f tx -M 0",
        "-i x -f tx -H 11",
        "-i x -f tx -p 0",
        "-i x -f ping -p 2",
        "-i x -f tx -I",
        "-i vale0:a -f tx -I -z",
        "-i vale0:a -f rx -I",
        "-i x -f rx -r",
        "-i x -f rx -R 5",
        "-i x -f tx --idle 1",
        "-i x -f rx --idle -1",
        "-i x -f rx --linger 1",
        "-i x -f rx --loop 2 --pcap f",
        "-i x -f tx --loop 2",
        "-i x -f rx --timing --pcap f",
        "-i x -f tx --timing --pcap f -R 5",
        "-i x -f ping --pcap f",
        "-i x -f tx --pcap f -z",
        "-i x -f rx --pcap - --json",
        "-i x -f rx -X --json",
        "-i x -f txseq -l 45",
        "-i x -f ping -l 53",
        "-i x -f txseq -z",
        "-i x -f tx -l 30 -z",
        "-i x -f tx -4 -6",
        "-i x -f tx -s ::1",
        "-i x -f tx -S nonsense",
        "-i x -f tx -o 16",
        "-i x -f tx -C 1,2,3,4,5",
        "-i x -f tx -C 1,2,70000",
        "-i x -f tx -c 100000",
    ];
    for line in lines {
        let why = config(line)
            .err()
            .unwrap_or_else(|| panic!("accepted: {line}"));
        assert!(why.len() > 10, "{line}: {why}");
    }
}
