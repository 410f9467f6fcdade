//! What a run leaves behind: captures, and a digest to compare repetitions by.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::UNIX_EPOCH;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};

use super::order::flow;
use super::output::plain;
use super::tester::{Frame, Tester};

/// Frames of a capture: a flood is not kept whole.
const MOST: usize = 100_000;

/// Writes `PORT.sent.pcapng` and `PORT.received.pcapng` of each port into `dir`. What has come says by a comment which
/// step has taken it.
///
/// # Errors
/// A sentence.
pub fn captures(tester: &Tester, dir: &Path) -> Result<(), String> {
    for end in &tester.ends {
        for (frames, kind) in [(&end.sent, "sent"), (&end.came, "received")] {
            let path = dir.join(format!("{}.{kind}.pcapng", plain(&end.name)));
            let written = capture(&path, &end.name, frames, kind == "received");
            written.map_err(|e| {
                format!("cannot write {}: {}", path.display(), super::why::plain(&e))
            })?;
        }
    }
    Ok(())
}

fn capture(path: &Path, name: &str, frames: &[Frame], is_received: bool) -> Result<(), PcapError> {
    let section = SectionHeaderBlock {
        endianness: Endianness::native(),
        options: vec![SectionHeaderOption::UserApplication(
            concat!("uvale test ", env!("CARGO_PKG_VERSION")).into(),
        )],
        ..SectionHeaderBlock::default()
    };
    let file = BufWriter::new(File::create(path).map_err(PcapError::IoError)?);
    let mut writer = PcapNgWriter::with_section_header(file, section)?;
    writer.write_pcapng_block(InterfaceDescriptionBlock {
        linktype: DataLink::ETHERNET,
        snaplen: 0,
        options: vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
            InterfaceDescriptionOption::IfTsResol(9),
        ],
    })?;
    for (i, frame) in frames.iter().take(MOST).enumerate() {
        // In and out, as the program sees it.
        let direction = if is_received { 2 } else { 1 };
        let mut options = vec![EnhancedPacketOption::Flags(direction)];
        if is_received {
            let note = match frame.taken {
                Some(line) => format!("expected by line {line}"),
                None => "expected by no step".to_owned(),
            };
            options.push(EnhancedPacketOption::Comment(note.into()));
        }
        if i + 1 == MOST && frames.len() > MOST {
            let note = format!("{} more are not kept", frames.len() - MOST);
            options.push(EnhancedPacketOption::Comment(note.into()));
        }
        writer.write_pcapng_block(EnhancedPacketBlock {
            interface_id: 0,
            timestamp: frame.at.duration_since(UNIX_EPOCH).unwrap_or_default(),
            original_len: u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX),
            data: Cow::Borrowed(&frame.bytes),
            options,
        })?;
    }
    writer.into_inner().flush().map_err(PcapError::IoError)
}

/// A number for what was sent and came at each port, in order; where order is only within flows, flow by flow. Ports
/// whose frames do not matter do not count.
pub fn digest(tester: &mut Tester, ignore: &[String]) -> String {
    let is_ordered = tester.keeps_order();
    let mut sum = Sum(0xcbf2_9ce4_8422_2325);
    for end in tester.ends.iter().filter(|end| !ignore.contains(&end.name)) {
        sum.add(end.name.as_bytes());
        for frames in [&end.sent, &end.came] {
            let mut all: Vec<&[u8]> = frames.iter().map(|frame| &frame.bytes[..]).collect();
            if !is_ordered {
                all.sort_by_cached_key(|bytes| flow(bytes));
            }
            all.into_iter().for_each(|bytes| sum.add(bytes));
            sum.add(&[]);
        }
    }
    format!("{:016x}", sum.0)
}

/// FNV-1a, of texts with their lengths.
struct Sum(u64);

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let len = bytes.len().to_le_bytes();
        for byte in len.iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
