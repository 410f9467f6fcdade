//! Captures as pcapng: directions as flags, missed packets as drop counts, the rest as comments.

use std::borrow::Cow;
use std::time::Duration;

use pcap_file::pcapng::PcapNgBlock;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{
    InterfaceStatisticsBlock, InterfaceStatisticsOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness};

use super::record::{self, Record, Seen, Totals};

/// `epb_flags`, bits 0 and 1.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
/// `epb_flags`, bits 2 to 4, of what has arrived.
const UNICAST: u32 = 1 << 2;
const MULTICAST: u32 = 2 << 2;
const BROADCAST: u32 = 3 << 2;

/// A pcapng writer.
pub struct PcapNg {
    writer: Option<PcapNgWriter<Vec<u8>>>,
    snaplen: u32,
}

impl PcapNg {
    /// Packets are cut to `snaplen` bytes.
    pub fn new(snaplen: u32) -> Self {
        Self {
            writer: None,
            snaplen,
        }
    }

    /// Writing into memory does not fail, and the numbers of interfaces are this writer's own.
    fn write<'a>(&mut self, block: impl PcapNgBlock<'a>, to: &mut Vec<u8>) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        std::mem::swap(writer.get_mut(), to);
        let written = writer.write_pcapng_block(block);
        debug_assert!(written.is_ok(), "{written:?}");
        std::mem::swap(writer.get_mut(), to);
    }
}

impl Record for PcapNg {
    fn begin(&mut self, to: &mut Vec<u8>) {
        let program = concat!("uvale ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            // dumpcap takes nothing else from a pipe
            endianness: Endianness::native(),
            options: vec![SectionHeaderOption::UserApplication(program.into())],
            ..SectionHeaderBlock::default()
        };
        self.writer = PcapNgWriter::with_section_header(Vec::new(), section).ok();
        if let Some(writer) = &mut self.writer {
            to.append(writer.get_mut());
        }
    }

    fn interface(&mut self, name: &str, description: &str, to: &mut Vec<u8>) -> u32 {
        let number = self.writer.as_ref().map_or(0, |w| w.interfaces().len());
        let options = vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
            InterfaceDescriptionOption::IfDescription(Cow::Borrowed(description)),
            InterfaceDescriptionOption::IfTsResol(9),
        ];
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: self.snaplen,
            options,
        };
        self.write(block, to);
        number as u32
    }

    fn packet(&mut self, at: u32, seen: &Seen<'_>, to: &mut Vec<u8>) {
        let mut options = vec![EnhancedPacketOption::Flags(flags(seen))];
        if seen.missed > 0 {
            options.push(EnhancedPacketOption::DropCount(seen.missed));
            options.push(EnhancedPacketOption::Comment(
                record::missed(seen.missed).into(),
            ));
        }
        let notes = seen.notes.iter();
        options.extend(notes.map(|note| EnhancedPacketOption::Comment(note.as_str().into())));
        let kept = seen.data.len().min(self.snaplen as usize);
        let block = EnhancedPacketBlock {
            interface_id: at,
            timestamp: Duration::from_nanos(seen.nanos),
            original_len: u32::try_from(seen.len).unwrap_or(u32::MAX),
            data: Cow::Borrowed(&seen.data[..kept]),
            options,
        };
        self.write(block, to);
    }

    fn end(&mut self, at: u32, totals: &Totals, to: &mut Vec<u8>) {
        let mut options = vec![
            InterfaceStatisticsOption::IsbIfRecv(totals.captured.saturating_add(totals.missed)),
            InterfaceStatisticsOption::IsbIfDrop(totals.missed),
        ];
        if let Some(dropped) = &totals.dropped {
            let text = format!("dropped at this port meanwhile: {dropped}");
            options.push(InterfaceStatisticsOption::Comment(text.into()));
        }
        let block = InterfaceStatisticsBlock {
            interface_id: at,
            timestamp: halves(record::now()),
            options,
        };
        self.write(block, to);
    }
}

/// A time as the crate has to be given it: it writes one number, and pcapng has the upper half first in either byte
/// order.
fn halves(time: u64) -> u64 {
    match cfg!(target_endian = "little") {
        true => time.rotate_left(32),
        false => time,
    }
}

fn flags(seen: &Seen<'_>) -> u32 {
    let destination = seen.data.get(..6);
    match seen.is_sent {
        true => OUTBOUND,
        false => {
            INBOUND
                | match destination {
                    Some([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => BROADCAST,
                    Some([first, ..]) if first & 1 != 0 => MULTICAST,
                    Some(_) => UNICAST,
                    None => 0,
                }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcapng::Block;
    use pcap_file::pcapng::PcapNgReader;

    #[test]
    fn what_is_written_can_be_read() {
        let mut file = Vec::new();
        let mut pcapng = PcapNg::new(64);
        pcapng.begin(&mut file);
        assert_eq!(pcapng.interface("vale0:a", "of nobody", &mut file), 0);
        assert_eq!(pcapng.interface("x{1", "a pipe", &mut file), 1);
        let data: Vec<u8> = (0..=99).collect();
        let seen = Seen {
            nanos: 1_700_000_000_123_456_789,
            is_sent: true,
            data: &data,
            len: 100,
            missed: 7,
            notes: &["one".to_owned(), "two".to_owned()],
        };
        pcapng.packet(1, &seen, &mut file);
        let before = record::now();
        let totals = Totals {
            captured: 1,
            missed: 7,
            dropped: Some("no destination 3".to_owned()),
        };
        pcapng.end(1, &totals, &mut file);

        let mut reader = PcapNgReader::new(file.as_slice()).unwrap();
        let mut blocks = Vec::new();
        while let Some(block) = reader.next_block() {
            blocks.push(block.unwrap().into_owned());
        }
        let [
            Block::InterfaceDescription(_),
            Block::InterfaceDescription(pipe),
            rest @ ..,
        ] = blocks.as_slice()
        else {
            panic!("{blocks:?}");
        };
        assert!(
            pipe.options
                .contains(&InterfaceDescriptionOption::IfName("x{1".into()))
        );
        let [
            Block::EnhancedPacket(packet),
            Block::InterfaceStatistics(statistics),
        ] = rest
        else {
            panic!("{rest:?}");
        };
        assert_eq!(packet.timestamp.as_nanos(), 1_700_000_000_123_456_789);
        assert_eq!((packet.data.len(), packet.original_len), (64, 100));
        let comments = [
            "7 packets before this one were missed: the capture was too slow",
            "one",
            "two",
        ];
        let mut options = vec![
            EnhancedPacketOption::Flags(OUTBOUND),
            EnhancedPacketOption::DropCount(7),
        ];
        options.extend(comments.map(|c| EnhancedPacketOption::Comment(c.into())));
        assert_eq!(packet.options, options);
        assert!(
            statistics
                .options
                .contains(&InterfaceStatisticsOption::IsbIfDrop(7))
        );
        assert!(
            statistics
                .options
                .contains(&InterfaceStatisticsOption::IsbIfRecv(8))
        );
        let time = halves(statistics.timestamp);
        assert!((before..=record::now()).contains(&time), "{time}");
    }

    #[test]
    fn what_arrives_is_of_a_kind() {
        let of = |first: u8, is_sent| {
            let data = [first; 14];
            let seen = Seen {
                nanos: 0,
                is_sent,
                data: &data,
                len: 14,
                missed: 0,
                notes: &[],
            };
            flags(&seen)
        };
        assert_eq!(of(0xff, false), INBOUND | BROADCAST);
        assert_eq!(of(1, false), INBOUND | MULTICAST);
        assert_eq!(of(2, false), INBOUND | UNICAST);
        assert_eq!(of(0xff, true), OUTBOUND);
    }
}
