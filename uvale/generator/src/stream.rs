//! The packets that are sent, one after the other: the odometer of addresses and ports, random
//! ends and sizes, sequence numbers.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;

use super::address::IpRange;
use super::args::Function;
use super::capture::Reader;
use super::captured::Captured;
use super::config::{Config, PacketConfig};
use super::files::explain;
use super::packet::{Packet, Side};

/// Payload bytes that may differ from packet to packet.
const CHANGING_PAYLOAD: usize = 16;

/// An endless stream of packets with room for a virtio-net header in front.
pub struct Stream {
    /// Zeros of the virtio-net header, then the longest packet.
    frame: Vec<u8>,
    header: usize,
    len: usize,
    changing: usize,
    variation: Option<Variation>,
}

struct Variation {
    packet: Packet,
    config: PacketConfig,
    numbered: bool,
    index: u64,
    random: Random,
}

impl Stream {
    /// The stream that the options ask for. `thread` makes random streams of threads differ.
    pub fn new(config: &Config, header: usize, thread: usize) -> Result<Stream, String> {
        Stream::with(config, header, Random::new(thread as u64))
    }

    /// The same packets each time: without a header, and with chance that is the seed's.
    pub fn seeded(config: &Config, seed: u64) -> Result<Stream, String> {
        Stream::with(config, 0, Random::seeded(seed))
    }

    fn with(config: &Config, header: usize, random: Random) -> Result<Stream, String> {
        if let Some(path) = &config.packet_file {
            return Ok(Stream::fixed(&first_packet(path)?, header));
        }
        let numbered = config.function == Function::TxSeq;
        let mut packet = Packet::new(&config.packet.addresses, config.packet.length);
        if !numbered && !config.packet.varies() {
            return Ok(Stream::fixed(packet.bytes(), header));
        }
        packet.allow_resize();
        let mut stream = Stream::fixed(packet.bytes(), header);
        stream.changing =
            (header + packet.payload_offset() + CHANGING_PAYLOAD).next_multiple_of(64);
        let mut variation = Variation {
            packet,
            config: config.packet,
            numbered,
            index: 0,
            random,
        };
        variation.apply();
        stream.variation = Some(variation);
        stream.refresh();
        Ok(stream)
    }

    fn fixed(packet: &[u8], header: usize) -> Stream {
        let mut frame = vec![0; header];
        frame.extend_from_slice(packet);
        let len = frame.len();
        Stream {
            frame,
            header,
            len,
            changing: len,
            variation: None,
        }
    }

    /// Whether packets differ.
    pub fn changes(&self) -> bool {
        self.variation.is_some()
    }

    /// Length of the longest packet, virtio-net header included.
    pub fn max_len(&self) -> usize {
        self.frame.len()
    }

    /// Length of the packet proper.
    pub fn packet_len(&self) -> usize {
        self.len - self.header
    }

    /// The packet to send now, virtio-net header included.
    pub fn frame(&self) -> &[u8] {
        &self.frame[..self.len]
    }

    /// The packet as long as packets get; what lies behind its own end is the same in all.
    pub fn whole(&self) -> &[u8] {
        &self.frame
    }

    /// The first part of the packet, all that differs from packet to packet.
    pub fn changing_part(&self) -> &[u8] {
        &self.frame[..self.changing.min(self.frame.len())]
    }

    /// Goes on to the next packet.
    pub fn advance(&mut self) {
        if let Some(variation) = &mut self.variation {
            variation.index += 1;
            variation.apply();
            self.refresh();
        }
    }

    /// Takes over what the variation changed.
    fn refresh(&mut self) {
        let Some(variation) = &self.variation else {
            return;
        };
        let packet = variation.packet.bytes();
        self.len = self.header + packet.len();
        let end = self.changing.min(self.len);
        self.frame[self.header..end].copy_from_slice(&packet[..end - self.header]);
    }
}

impl Variation {
    /// Makes the packet number `index` of the stream.
    fn apply(&mut self) {
        let config = &self.config;
        let (source, destination) = (config.addresses.source, config.addresses.destination);
        // the source counts fastest and carries into the destination
        let source_flows = if config.random_source {
            1
        } else {
            source.flows()
        };
        let destination_flows = if config.random_destination {
            1
        } else {
            destination.flows()
        };
        let ends = [
            (Side::Source, source, config.random_source, self.index),
            (
                Side::Destination,
                destination,
                config.random_destination,
                self.index / source_flows,
            ),
        ];
        for (side, range, random, position) in ends {
            if random {
                let (address, port) = self.random.end(&range);
                self.packet.set_end(side, address, port);
            } else if range.flows() > 1 {
                let (address, port) = range.at(position);
                self.packet.set_end(side, address, port);
            }
        }
        if let Some(least) = config.min_length {
            let span = (config.length - least) as u64;
            self.packet.resize(least + self.random.below(span) as usize);
        }
        if self.numbered {
            // numbers count within each flow
            let number = self.index / source_flows.saturating_mul(destination_flows);
            self.packet.set_payload(0, &(number as u32).to_be_bytes());
        }
    }
}

/// The first packet of a capture.
fn first_packet(path: &Path) -> Result<Vec<u8>, String> {
    let mut reader = Reader::open(path).map_err(|error| explain(path, &error))?;
    let mut packet = Captured::default();
    match reader.next(&mut packet) {
        Ok(true) if !packet.data.is_empty() => Ok(packet.data),
        Ok(_) => Err(format!("{} holds no packet", path.display())),
        Err(error) => Err(explain(path, &error)),
    }
}

/// A fast generator of random numbers (xorshift64*), no secret.
struct Random(u64);

impl Random {
    /// A stream of its own for each `thread` and run.
    fn new(thread: u64) -> Random {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(thread);
        Random(hasher.finish() | 1)
    }

    /// The same stream for the same seed. Seeds that are near each other begin far apart (splitmix64's last step).
    fn seeded(seed: u64) -> Random {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Random((z ^ (z >> 31)) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, 0 when `bound` is 0.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Any IPv4 address, or any value of an IPv6 address's counting group, and any port.
    fn end(&mut self, range: &IpRange) -> (std::net::IpAddr, u16) {
        let bits = self.next();
        (range.address(bits >> 32), bits as u16)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::config::tests::config;
    use super::*;

    fn frames(line: &str, count: usize) -> Vec<Vec<u8>> {
        let mut stream = Stream::new(&config(line).unwrap(), 0, 0).unwrap();
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(stream.frame().to_vec());
            stream.advance();
        }
        all
    }

    fn ends(frame: &[u8]) -> (u8, u16, u8, u16) {
        let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        (frame[29], port(34), frame[33], port(36))
    }

    #[test]
    fn one_packet_stays_the_same() {
        let all = frames("-i vale0:a -f tx", 3);
        assert!(all.iter().all(|f| f == &all[0] && f.len() == 60));
    }

    #[test]
    fn source_port_counts_fastest_and_carries() {
        let all = frames(
            "-i vale0:a -f tx -s 10.0.0.1:1-10.0.0.2:2 -d 10.1.0.7:5-10.1.0.8:5",
            9,
        );
        let got: Vec<_> = all.iter().map(|f| ends(f)).collect();
        let expected = [
            (1, 1, 7, 5),
            (1, 2, 7, 5),
            (2, 1, 7, 5),
            (2, 2, 7, 5),
            (1, 1, 8, 5),
            (1, 2, 8, 5),
            (2, 1, 8, 5),
            (2, 2, 8, 5),
            (1, 1, 7, 5),
        ];
        assert_eq!(got, expected);
    }

    #[test]
    fn numbers_count_within_flows() {
        let all = frames("-i vale0:a -f txseq -s 10.0.0.1:1-3", 7);
        let numbers: Vec<_> = all
            .iter()
            .map(|f| (ends(f).1, u32::from_be_bytes(f[42..46].try_into().unwrap())))
            .collect();
        assert_eq!(
            numbers,
            [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (3, 1), (1, 2)]
        );
    }

    #[test]
    fn random_ends_and_sizes_differ() {
        let all = frames("-i vale0:a -f tx -z -Z -l 200 -l 100", 500);
        let sizes: HashSet<_> = all.iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|s| (100..200).contains(s)) && sizes.len() > 50);
        let ends: HashSet<_> = all.iter().map(|f| f[26..38].to_vec()).collect();
        assert!(ends.len() > 490);
    }

    #[test]
    fn what_does_not_change_is_complete_in_every_frame() {
        // a receiver that gets only the changing part into an old buffer sees the same packet
        let config = config("-i vale0:a -f txseq -l 300 -l 100").unwrap();
        let mut stream = Stream::new(&config, 12, 0).unwrap();
        let mut buffer = stream.whole().to_vec();
        for _ in 0..1000 {
            stream.advance();
            buffer[..stream.changing_part().len()].copy_from_slice(stream.changing_part());
            assert_eq!(&buffer[..stream.frame().len()], stream.frame());
            assert_eq!(&stream.frame()[..12], [0; 12]);
        }
    }
}
