//! A sender of numbered packets in a world, `uvale capture` beside it, and what it has written.

use std::path::Path;
use std::process::{Command, Stdio};

use compat_tests::Skip;
use compat_tests::place::Place;
use compat_tests::target;
use compat_tests::wait::wait_for;
use compat_tests::world::Program;
use pcap_file::pcapng::Block;
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::blocks::interface_statistics::InterfaceStatisticsOption;
use uvale_port::{Port, RX, TX, Wanted};

/// A port of this test.
pub struct End(Port);

/// What a port takes of these packets at once: fewer than any ring here has slots.
const BATCH: usize = 500;

impl End {
    /// Opens it.
    pub fn open(place: &Place, name: &str) -> End {
        let wanted = Wanted {
            dir: place.dir(),
            name,
            register: &|_| {},
            say: &|_| {},
        };
        End(Port::open(&wanted).unwrap_or_else(|e| panic!("{name}: {}", e.why)))
    }

    /// Sends packets, as many as there is room for. Answers with how many.
    pub fn send(&self, packets: &[Vec<u8>]) -> usize {
        let mut slots = self.0.slots(TX, 0).expect("it has a tx ring");
        let sent = packets.iter().take_while(|p| slots.put(p)).count();
        slots.finish();
        self.0.txsync();
        sent
    }

    /// Takes everything that has arrived.
    pub fn receive(&self) -> Vec<Vec<u8>> {
        self.0.rxsync();
        let mut slots = self.0.slots(RX, 0).expect("it has an rx ring");
        let (mut all, mut packet) = (Vec::new(), Vec::new());
        while slots.take(&mut packet) {
            all.push(packet.clone());
        }
        slots.finish();
        self.0.rxsync();
        all
    }

    pub fn close(self) {
        self.0.close();
    }
}

/// A broadcast packet with that number in it, and a length that depends on it.
pub fn numbered(number: u32) -> Vec<u8> {
    let mut packet = vec![0xff; 6];
    packet.extend([2, 0, 0, 0, 0, 7, 0x88, 0xb5]);
    packet.extend(number.to_be_bytes());
    packet.resize(60 + number as usize % 1400, number as u8);
    packet
}

/// So many of them, from that number on.
pub fn numbers(from: u32, count: u32) -> Vec<Vec<u8>> {
    (from..from + count).map(numbered).collect()
}

/// Sends everything to a receiver, never more than captures have room for. Nobody's speed matters.
pub fn send_in_step(place: &Place, from: &End, to: &End, packets: &[Vec<u8>]) {
    for batch in packets.chunks(BATCH) {
        assert_eq!(from.send(batch), batch.len());
        assert_eq!(to.receive(), batch, "the receiver gets them");
        let taken = |port: &uvale_link::report::Port| {
            port.kind != "monitor" || port.rx.iter().all(|ring| ring.pending == 0)
        };
        wait_for("the captures to take them", || {
            place.ports().iter().all(taken)
        });
    }
}

/// `uvale ARGS...` in that world.
pub fn uvale(place: &Place, args: &[&str]) -> Command {
    let mut command = Command::new(&target::binaries().uvale);
    command
        .args(args)
        .env("UVALE_DIR", place.dir())
        .stdin(Stdio::null());
    command
}

/// Starts `uvale capture ARGS...` and waits until it captures.
pub fn capture(place: &Place, args: &[&str]) -> Program {
    let args = [&["capture"], args].concat();
    let program = Program::start(&args.join(" "), uvale(place, &args));
    program.wait_text("uvale capture: capturing");
    program
}

/// How many monitors there are: captured ports.
pub fn captured_ports(place: &Place) -> usize {
    let ports = place.ports();
    ports.iter().filter(|port| port.kind == "monitor").count()
}

/// Waits until so many ports are captured.
pub fn wait_for_captured(place: &Place, count: usize) {
    wait_for("the ports to be captured", || {
        captured_ports(place) == count
    });
}

/// A packet of a pcapng file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub interface: String,
    pub data: Vec<u8>,
    pub sent: bool,
    pub missed: u64,
    pub comments: Vec<String>,
}

/// A pcapng file: its packets, and what the statistics say: interface, received, missed.
#[derive(Debug, Default)]
pub struct Captured {
    pub packets: Vec<Packet>,
    pub statistics: Vec<(String, u64, u64)>,
}

impl Captured {
    /// Reads a file that has to be whole.
    pub fn read(path: &Path) -> Captured {
        let bytes = std::fs::read(path).expect("the capture is there");
        let mut reader = PcapNgReader::new(bytes.as_slice()).expect("it is pcapng");
        let (mut captured, mut names) = (Captured::default(), Vec::<String>::new());
        let name = |names: &[String], id: u32| names[id as usize].clone();
        while let Some(block) = reader.next_block() {
            match block.expect("each block is whole") {
                Block::InterfaceDescription(block) => {
                    let name = block.options.iter().find_map(|o| match o {
                        InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                        _ => None,
                    });
                    names.push(name.expect("each interface has a name"));
                }
                Block::EnhancedPacket(block) => {
                    let mut packet = Packet {
                        interface: name(&names, block.interface_id),
                        data: block.data.to_vec(),
                        sent: false,
                        missed: 0,
                        comments: Vec::new(),
                    };
                    for option in &block.options {
                        match option {
                            EnhancedPacketOption::Flags(flags) => packet.sent = flags & 3 == 2,
                            EnhancedPacketOption::DropCount(n) => packet.missed = *n,
                            EnhancedPacketOption::Comment(text) => {
                                packet.comments.push(text.to_string());
                            }
                            _ => {}
                        }
                    }
                    captured.packets.push(packet);
                }
                Block::InterfaceStatistics(block) => {
                    let (mut received, mut missed) = (0, 0);
                    for option in &block.options {
                        match option {
                            InterfaceStatisticsOption::IsbIfRecv(n) => received = *n,
                            InterfaceStatisticsOption::IsbIfDrop(n) => missed = *n,
                            _ => {}
                        }
                    }
                    let name = name(&names, block.interface_id);
                    captured.statistics.push((name, received, missed));
                }
                _ => {}
            }
        }
        captured
    }

    /// The packets of an interface, all of that direction.
    pub fn of(&self, interface: &str, sent: bool) -> Vec<Vec<u8>> {
        let packets = self.packets.iter().filter(|p| p.interface == interface);
        let one = |p: &Packet| {
            assert_eq!(p.sent, sent, "direction of {p:?}");
            p.data.clone()
        };
        packets.map(one).collect()
    }
}

/// A program of Debian's.
pub fn debian(program: &str) -> Result<String, Skip> {
    let found = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    match found {
        Ok(output) if output.status.success() => Ok(program.to_owned()),
        Ok(output) => Err(Skip::required(format!(
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        ))),
        Err(e) => Err(Skip::required(format!("{program}: {e}"))),
    }
}

/// A path as a program's argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are plain")
}
