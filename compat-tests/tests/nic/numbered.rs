//! Packets with numbers over a veth pair: none is lost, doubled or out of order, on the wire and joined, and also
//! while one end opens and closes its port.

use std::path::PathBuf;

use compat_tests::or_skip;
use compat_tests::place::Place;
use compat_tests::programs::{end, program, value};
use compat_tests::world::Program;

use compat_tests::namespaces::{Ground, VETH};

/// How many packets each way: a number of one's own makes it a longer test.
const ENV_PACKETS: &str = "COMPAT_NIC_PACKETS";
const PACKETS: u64 = 100_000;
/// How often the other end opens: 100 times, if there are so many packets for each.
const ROUNDS: u64 = 100;
const PACKETS_OF_A_ROUND: u64 = 5_000;

fn packets() -> u64 {
    let named = std::env::var(ENV_PACKETS).ok();
    named.and_then(|n| n.parse().ok()).unwrap_or(PACKETS)
}

fn rounds() -> u64 {
    (packets() / PACKETS_OF_A_ROUND).min(ROUNDS)
}

/// What both ends of the pair are to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Joined,
    /// packet sockets; a queueing discipline is in the way of joining
    Packet,
    /// AF_XDP; the same
    Xdp,
}

impl Way {
    /// The beginning of what the daemon calls it.
    fn name(self) -> &'static str {
        match self {
            Way::Joined => "joined",
            Way::Packet => "packet",
            Way::Xdp => "xdp",
        }
    }
}

struct Numbered {
    ground: Ground,
    place: Place,
    program: PathBuf,
    way: Way,
}

impl Numbered {
    fn new(way: Way) -> Result<Numbered, compat_tests::Skip> {
        let program = program("nic/numbered")?;
        let ground = Ground::new()?;
        if way != Way::Joined {
            let qdisc = format!("tc qdisc add dev {VETH} root pfifo");
            ground.shell(0, &qdisc).assert_code(0);
        }
        Ok(Numbered {
            ground,
            place: Place::new(),
            program,
            way,
        })
    }

    /// A tally of nothing yet.
    fn tally(&self, name: &str, total: u64) -> String {
        let path = self.place.file(name);
        let mut bytes = total.to_ne_bytes().to_vec();
        bytes.resize(16 * 8 + 2 * total as usize, 0);
        std::fs::write(&path, bytes).expect("the directory is ours");
        path.to_string_lossy().into_owned()
    }

    fn start(&self, side: usize, args: &[&str]) -> Program {
        let wire = match self.way {
            Way::Xdp => "NMSHIM_WIRE=xdp",
            _ => "NMSHIM_WIRE=packet",
        };
        self.ground
            .spawn_ready(side, &self.place, &self.program, &[wire], args)
    }

    /// Both ends are open.
    fn assert_way(&self) {
        let nics: Vec<_> = self
            .place
            .ports()
            .into_iter()
            .filter_map(|p| p.nic)
            .collect();
        let are_so = nics.iter().all(|nic| nic.wire.starts_with(self.way.name()));
        assert!(nics.len() == 2 && are_so, "{nics:?}");
    }

    fn both_ways(&self) {
        let (there, back) = (
            self.tally("there", packets()),
            self.tally("back", packets()),
        );
        let receivers =
            [(1, &there), (0, &back)].map(|(side, tally)| self.start(side, &["rx", VETH, tally]));
        let senders =
            [(0, &there), (1, &back)].map(|(side, tally)| self.start(side, &["tx", VETH, tally]));
        self.assert_way();
        for mut receiver in receivers {
            ended(&mut receiver);
            assert_eq!(value(&receiver.stdout(), "n"), Some(packets()));
        }
        senders.into_iter().for_each(|sender| drop(end(sender)));
        self.place.assert_left_clean();
    }

    fn in_rounds(&self) {
        let tally = self.tally("tally", packets());
        let tap = self.start(1, &["tap", VETH, &tally]);
        let rounds = rounds().to_string();
        let mut receiver = self.start(1, &["rounds", VETH, &tally, &rounds]);
        let both: &[&str] = if self.way == Way::Packet {
            &["both"]
        } else {
            &[]
        };
        let sender = self.start(0, &[&["tx", VETH, &tally], both].concat());
        ended(&mut receiver);
        let said = receiver.stdout();
        assert_eq!(value(&said, "rounds"), Some(self::rounds()), "{said}");
        println!("{}: {said}", self.way.name());
        if self.way == Way::Packet {
            assert_eq!(value(&said, "lost"), Some(0), "{said}");
        }
        end(sender);
        assert_eq!(value(&end(tap), "n"), Some(packets()));
        self.place.assert_left_clean();
    }
}

/// Waits for the end of a program for as long as it takes.
fn ended(program: &mut Program) {
    let patience =
        compat_tests::wait::deadline() + std::time::Duration::from_micros(packets() * 100);
    let status = program.finish(patience);
    assert!(
        status.is_some_and(|s| s.success()),
        "{status:?}: {}",
        program.said()
    );
}

#[test]
fn each_way_over_packet_sockets() {
    or_skip!("numbers, packet", Numbered::new(Way::Packet)).both_ways();
}

#[test]
fn each_way_over_af_xdp() {
    or_skip!("numbers, AF_XDP", Numbered::new(Way::Xdp)).both_ways();
}

#[test]
fn each_way_between_joined_ports() {
    or_skip!("numbers, joined", Numbered::new(Way::Joined)).both_ways();
}

#[test]
fn while_the_other_end_opens_and_closes_packet_sockets() {
    or_skip!("rounds, packet", Numbered::new(Way::Packet)).in_rounds();
}

#[test]
fn while_the_other_end_opens_and_closes_af_xdp() {
    or_skip!("rounds, AF_XDP", Numbered::new(Way::Xdp)).in_rounds();
}

#[test]
fn while_the_other_end_is_joined_and_parted() {
    or_skip!("rounds, joined", Numbered::new(Way::Joined)).in_rounds();
}
