//! Sequence numbers: what is missing, out of order or twice, flow by flow.
//!
//! Numbered packets carry a 32-bit big-endian number at the start of the UDP payload, as
//! pkt-gen's do. A flow is a source MAC address with both IP addresses and ports.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use serde::Serialize;

/// Numbers that are remembered behind the newest one of a flow.
const WINDOW: u32 = 4096;
const WORDS: usize = WINDOW as usize / 64;
/// Flows that are followed.
const MAX_FLOWS: usize = 65_536;

/// Totals over all flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SequenceSummary {
    /// Flows seen.
    pub flows: u64,
    /// Numbered packets.
    pub packets: u64,
    /// Numbers that never came.
    pub lost: u64,
    /// Packets that came after one with a higher number.
    pub reordered: u64,
    /// Packets that came twice.
    pub duplicate: u64,
    /// Times that a flow jumped back by more than the window: its sender started again.
    pub restarts: u64,
    /// Packets without a number, or of more flows than are followed.
    pub unnumbered: u64,
}

impl SequenceSummary {
    /// Both together.
    pub fn plus(self, other: SequenceSummary) -> SequenceSummary {
        SequenceSummary {
            flows: self.flows + other.flows,
            packets: self.packets + other.packets,
            lost: self.lost + other.lost,
            reordered: self.reordered + other.reordered,
            duplicate: self.duplicate + other.duplicate,
            restarts: self.restarts + other.restarts,
            unnumbered: self.unnumbered + other.unnumbered,
        }
    }
}

impl fmt::Display for SequenceSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Sequence: {} flows, {} packets, {} lost, {} reordered, {} duplicate, {} restarts, {} without a number",
            self.flows,
            self.packets,
            self.lost,
            self.reordered,
            self.duplicate,
            self.restarts,
            self.unnumbered
        )
    }
}

/// One flow: the next number, which of the last [`WINDOW`] numbers came, and how many numbers have
/// passed since the first packet (as far as it matters).
struct Flow {
    next: u32,
    seen: Box<[u64; WORDS]>,
    passed: u32,
}

/// What a number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    InOrder,
    Gap(u32),
    /// Fills a gap.
    Late,
    /// Belongs before the first packet that came, so was never counted as lost.
    BeforeFirst,
    Duplicate,
    Restart,
}

impl Flow {
    fn new(number: u32) -> Flow {
        let mut flow = Flow {
            next: number.wrapping_add(1),
            seen: Box::new([0; WORDS]),
            passed: 1,
        };
        flow.mark(number, true);
        flow
    }

    fn bit(number: u32) -> (usize, u64) {
        let at = number % WINDOW;
        ((at / 64) as usize, 1 << (at % 64))
    }

    fn mark(&mut self, number: u32, seen: bool) {
        let (word, mask) = Self::bit(number);
        if seen {
            self.seen[word] |= mask;
        } else {
            self.seen[word] &= !mask;
        }
    }

    fn has(&self, number: u32) -> bool {
        let (word, mask) = Self::bit(number);
        self.seen[word] & mask != 0
    }

    fn observe(&mut self, number: u32) -> Verdict {
        let ahead = number.wrapping_sub(self.next);
        if ahead < 1 << 31 {
            for missing in 0..ahead.min(WINDOW) {
                self.mark(number.wrapping_sub(1 + missing), false);
            }
            self.mark(number, true);
            self.next = number.wrapping_add(1);
            self.passed = self.passed.saturating_add(ahead).saturating_add(1);
            return if ahead == 0 {
                Verdict::InOrder
            } else {
                Verdict::Gap(ahead)
            };
        }
        let behind = self.next.wrapping_sub(number);
        if behind > WINDOW {
            *self = Flow::new(number);
            return Verdict::Restart;
        }
        if self.has(number) {
            return Verdict::Duplicate;
        }
        self.mark(number, true);
        if behind > self.passed {
            Verdict::BeforeFirst
        } else {
            Verdict::Late
        }
    }
}

type Key = [u8; 43];

/// Follows the sequence numbers of all flows.
#[derive(Default)]
pub struct Sequences {
    flows: HashMap<Key, Flow>,
    totals: SequenceSummary,
}

impl Sequences {
    /// Looks at one packet, which starts with its Ethernet header.
    pub fn observe(&mut self, packet: &[u8]) {
        let Some((key, number)) = parse(packet) else {
            self.totals.unnumbered += 1;
            return;
        };
        let full = self.flows.len() >= MAX_FLOWS;
        let verdict = match self.flows.entry(key) {
            Entry::Occupied(mut flow) => flow.get_mut().observe(number),
            Entry::Vacant(_) if full => {
                self.totals.unnumbered += 1;
                return;
            }
            Entry::Vacant(place) => {
                place.insert(Flow::new(number));
                self.totals.flows += 1;
                Verdict::InOrder
            }
        };
        self.totals.packets += 1;
        match verdict {
            Verdict::InOrder => {}
            Verdict::Gap(missing) => self.totals.lost += u64::from(missing),
            Verdict::Late => {
                self.totals.lost = self.totals.lost.saturating_sub(1);
                self.totals.reordered += 1;
            }
            Verdict::BeforeFirst => self.totals.reordered += 1,
            Verdict::Duplicate => self.totals.duplicate += 1,
            Verdict::Restart => self.totals.restarts += 1,
        }
    }

    /// Totals so far.
    pub fn summary(&self) -> SequenceSummary {
        self.totals
    }
}

/// Flow and number of a UDP packet over IPv4 or IPv6.
fn parse(packet: &[u8]) -> Option<(Key, u32)> {
    let mut key = [0u8; 43];
    let mac = packet.get(6..12)?;
    let ethertype = packet.get(12..14)?;
    let (addresses, udp) = match ethertype {
        [0x08, 0x00] => {
            let header = usize::from(packet.get(14)? & 0x0f) * 4;
            if packet[14] >> 4 != 4 || header < 20 || *packet.get(23)? != 17 {
                return None;
            }
            (packet.get(26..34)?, 14 + header)
        }
        [0x86, 0xdd] if *packet.get(20)? == 17 => (packet.get(22..54)?, 54),
        _ => return None,
    };
    let ports = packet.get(udp..udp + 4)?;
    let number = packet.get(udp + 8..udp + 12)?;
    key[0] = addresses.len() as u8;
    key[1..7].copy_from_slice(mac);
    key[7..11].copy_from_slice(ports);
    key[11..11 + addresses.len()].copy_from_slice(addresses);
    Some((key, u32::from_be_bytes(number.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::super::address::{Mac, parse_range};
    use super::super::packet::{Addresses, Packet};
    use super::*;

    fn numbered(source: &str, v6: bool, number: u32) -> Vec<u8> {
        let addresses = Addresses {
            source_mac: Mac([2, 0, 0, 0, 0, 1]),
            destination_mac: Mac([0xff; 6]),
            source: parse_range(source, v6).unwrap(),
            destination: parse_range(if v6 { "::2" } else { "10.1.0.1" }, v6).unwrap(),
        };
        let mut packet = Packet::new(&addresses, 80);
        packet.set_payload(0, &number.to_be_bytes());
        packet.bytes().to_vec()
    }

    fn totals(numbers: &[u32]) -> SequenceSummary {
        let mut sequences = Sequences::default();
        for number in numbers {
            sequences.observe(&numbered("10.0.0.1", false, *number));
        }
        sequences.summary()
    }

    #[test]
    fn in_order_from_anywhere() {
        let s = totals(&[u32::MAX - 1, u32::MAX, 0, 1]);
        assert_eq!(
            s,
            SequenceSummary {
                flows: 1,
                packets: 4,
                ..Default::default()
            }
        );
    }

    #[test]
    fn losses_reordering_duplicates() {
        assert_eq!(totals(&[1, 2, 5]).lost, 2);
        let late = totals(&[1, 2, 5, 3]);
        assert_eq!((late.lost, late.reordered, late.duplicate), (1, 1, 0));
        let twice = totals(&[1, 2, 2, 3, 1]);
        assert_eq!((twice.lost, twice.reordered, twice.duplicate), (0, 0, 2));
        let late_twice = totals(&[1, 3, 2, 2]);
        assert_eq!(
            (late_twice.lost, late_twice.reordered, late_twice.duplicate),
            (0, 1, 1)
        );
        // numbers before the first packet are not known to be missing
        let before = totals(&[10, 9, 9, 12, 8, 11]);
        assert_eq!((before.lost, before.reordered, before.duplicate), (0, 3, 1));
    }

    #[test]
    fn long_gaps_and_restarts() {
        let gap = totals(&[0, 1_000_000, 999_999, 990_000]);
        assert_eq!((gap.lost, gap.reordered, gap.restarts), (999_998, 1, 1));
        let again = totals(&[100_000, 100_001, 0, 1, 2]);
        assert_eq!((again.lost, again.restarts, again.packets), (0, 1, 5));
    }

    #[test]
    fn a_long_stream_with_every_tenth_packet_missing() {
        let numbers: Vec<u32> = (0..100_000).filter(|n| n % 10 != 5).collect();
        let s = totals(&numbers);
        assert_eq!((s.lost, s.reordered, s.duplicate), (10_000, 0, 0));
    }

    #[test]
    fn flows_are_apart() {
        let mut sequences = Sequences::default();
        for number in 0..10 {
            sequences.observe(&numbered("10.0.0.1:1", false, number));
            sequences.observe(&numbered("10.0.0.1:2", false, 500 + number));
            sequences.observe(&numbered("::1", true, 7_000_000 + number));
        }
        let s = sequences.summary();
        assert_eq!((s.flows, s.packets, s.lost, s.reordered), (3, 30, 0, 0));
    }

    #[test]
    fn packets_without_a_number() {
        let mut sequences = Sequences::default();
        let good = numbered("10.0.0.1", false, 0);
        for len in 0..46 {
            sequences.observe(&good[..len]);
        }
        let mut tcp = good.clone();
        tcp[23] = 6;
        sequences.observe(&tcp);
        let s = sequences.summary();
        assert_eq!((s.unnumbered, s.packets), (47, 0));
    }
}
