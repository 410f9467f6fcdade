//! Capture files: reading pcap and pcapng for replay, writing them for recording.
//!
//! Classic pcap and all writing go through the `pcap-file` crate. pcapng blocks are read here,
//! because files that other tools write every day need it: timestamps in the unit that
//! `if_tsresol` says, option lists without an end marker, options of unexpected size.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapReader, RawPcapPacket};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, Endianness, TsResolution};

use super::captured::{CaptureError, Captured, LINKTYPE_ETHERNET, MAX_PACKET};
use super::pcapng::{PcapNgBlocks, read_up_to};

/// A capture file being read.
pub struct Reader {
    format: Format,
}

enum Format {
    Pcap {
        reader: Box<PcapReader<Source>>,
        nanos_per_unit: u64,
    },
    PcapNg(Box<PcapNgBlocks<BufReader<Source>>>),
}

type Source = io::Chain<io::Cursor<[u8; 4]>, Box<dyn Read + Send>>;

impl Reader {
    /// Opens the file; `-` is standard input. The format is told by its first bytes.
    pub fn open(path: &Path) -> Result<Reader, CaptureError> {
        if path == Path::new("-") {
            Reader::new(Box::new(io::stdin()))
        } else {
            Reader::new(Box::new(File::open(path)?))
        }
    }

    /// Reads from anything.
    pub fn new(mut input: Box<dyn Read + Send>) -> Result<Reader, CaptureError> {
        let mut magic = [0u8; 4];
        match read_up_to(&mut input, &mut magic)? {
            0 => return Err(CaptureError::Format("it is empty".into())),
            4 => {}
            _ => {
                return Err(CaptureError::Format(
                    "it is too short to be a capture".into(),
                ));
            }
        }
        let source = io::Cursor::new(magic).chain(input);
        let format = match magic {
            [0x0a, 0x0d, 0x0d, 0x0a] => {
                Format::PcapNg(Box::new(PcapNgBlocks::new(BufReader::new(source))?))
            }
            [0xa1, 0xb2, 0xc3, 0xd4]
            | [0xd4, 0xc3, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0x3c, 0x4d]
            | [0x4d, 0x3c, 0xb2, 0xa1] => {
                let reader = PcapReader::new(source).map_err(|error| match error.into() {
                    CaptureError::Truncated => {
                        CaptureError::Format("it is too short to be a capture".into())
                    }
                    other => other,
                })?;
                let reader = Box::new(reader);
                let header = reader.header();
                // the upper bits tell of a frame check sequence, the lower ones are the type
                let linktype = u32::from(header.datalink) & 0xffff;
                if linktype != LINKTYPE_ETHERNET {
                    return Err(CaptureError::LinkType(linktype));
                }
                let nanos_per_unit = if header.ts_resolution == TsResolution::NanoSecond {
                    1
                } else {
                    1000
                };
                Format::Pcap {
                    reader,
                    nanos_per_unit,
                }
            }
            _ => return Err(CaptureError::Format(not_a_capture(magic))),
        };
        Ok(Reader { format })
    }

    /// Reads the next packet into `packet`; false at the end of the file.
    pub fn next(&mut self, packet: &mut Captured) -> Result<bool, CaptureError> {
        match &mut self.format {
            Format::PcapNg(blocks) => blocks.next(packet),
            Format::Pcap {
                reader,
                nanos_per_unit,
            } => match reader.next_raw_packet() {
                None => Ok(false),
                Some(raw) => take_raw(raw?, *nanos_per_unit, packet).map(|()| true),
            },
        }
    }
}

/// What a file is that begins like this.
fn not_a_capture(magic: [u8; 4]) -> String {
    let program = match magic {
        [0x1f, 0x8b, ..] => "zcat",
        [0x28, 0xb5, 0x2f, 0xfd] => "zstdcat",
        [0xfd, b'7', b'z', b'X'] => "xzcat",
        [b'B', b'Z', b'h', _] => "bzcat",
        _ => return "it is neither pcap nor pcapng".into(),
    };
    format!("it is compressed; give its content: {program} FILE | uvale gen ... --pcap -")
}

fn take_raw(
    raw: RawPcapPacket<'_>,
    nanos_per_unit: u64,
    packet: &mut Captured,
) -> Result<(), CaptureError> {
    if raw.data.len() > MAX_PACKET {
        return Err(CaptureError::Format(format!(
            "a packet of {} bytes",
            raw.data.len()
        )));
    }
    packet.nanos = u64::from(raw.ts_sec) * 1_000_000_000 + u64::from(raw.ts_frac) * nanos_per_unit;
    packet.data.clear();
    packet.data.extend_from_slice(&raw.data);
    packet.original = raw.orig_len.max(raw.incl_len);
    Ok(())
}

type Output = BufWriter<Box<dyn Write + Send>>;

/// A capture file being written: Ethernet, timestamps in nanoseconds.
pub struct Writer {
    format: WriteFormat,
}

enum WriteFormat {
    Pcap(Output),
    PcapNg(PcapNgWriter<Output>),
}

impl Writer {
    /// Creates (or truncates) the file; `-` is standard output. `pcapng` picks the format,
    /// `interface` is the name of the port for formats that record it.
    pub fn create(path: &Path, pcapng: bool, interface: &str) -> Result<Writer, CaptureError> {
        if path == Path::new("-") {
            Writer::new(Box::new(io::stdout()), pcapng, interface)
        } else {
            Writer::new(Box::new(File::create(path)?), pcapng, interface)
        }
    }

    /// Writes to anything.
    pub fn new(
        output: Box<dyn Write + Send>,
        pcapng: bool,
        interface: &str,
    ) -> Result<Writer, CaptureError> {
        let mut output = BufWriter::with_capacity(1 << 20, output);
        if !pcapng {
            let header = PcapHeader {
                endianness: Endianness::native(),
                snaplen: MAX_PACKET as u32,
                ts_resolution: TsResolution::NanoSecond,
                ..PcapHeader::default()
            };
            header.write_to(&mut output)?;
            return Ok(Writer {
                format: WriteFormat::Pcap(output),
            });
        }
        let mut writer = PcapNgWriter::new(output)?;
        let options = vec![
            InterfaceDescriptionOption::IfName(interface.into()),
            InterfaceDescriptionOption::IfTsResol(9),
        ];
        writer.write_pcapng_block(InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: MAX_PACKET as u32,
            options,
        })?;
        Ok(Writer {
            format: WriteFormat::PcapNg(writer),
        })
    }

    /// Appends a packet captured at `nanos` nanoseconds since the epoch.
    pub fn write(&mut self, nanos: u64, data: &[u8]) -> Result<(), CaptureError> {
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        match &mut self.format {
            WriteFormat::Pcap(output) => {
                let seconds = u32::try_from(nanos / 1_000_000_000).unwrap_or(u32::MAX);
                let fraction = (nanos % 1_000_000_000) as u32;
                let mut record = [0u8; 16];
                for (field, value) in record
                    .chunks_exact_mut(4)
                    .zip([seconds, fraction, length, length])
                {
                    field.copy_from_slice(&value.to_ne_bytes());
                }
                output.write_all(&record)?;
                output.write_all(data)?;
            }
            WriteFormat::PcapNg(writer) => {
                // the crate stores this number of nanoseconds as it is, which is what if_tsresol 9 says
                writer.write_pcapng_block(EnhancedPacketBlock {
                    interface_id: 0,
                    timestamp: Duration::from_nanos(nanos),
                    original_len: length,
                    data: data.into(),
                    options: Vec::new(),
                })?;
            }
        }
        Ok(())
    }

    /// Hands everything written so far to the system.
    pub fn flush(&mut self) -> Result<(), CaptureError> {
        match &mut self.format {
            WriteFormat::Pcap(output) => output.flush()?,
            WriteFormat::PcapNg(writer) => writer.get_mut().flush()?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A file in memory that several owners can look at.
    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(data);
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Buffer {
        fn bytes(&self) -> Vec<u8> {
            self.0.lock().unwrap().clone()
        }
    }

    fn open(bytes: Vec<u8>) -> Result<Reader, CaptureError> {
        Reader::new(Box::new(io::Cursor::new(bytes)))
    }

    fn read_all(bytes: Vec<u8>) -> Result<Vec<Captured>, CaptureError> {
        let mut reader = open(bytes)?;
        let (mut packet, mut all) = (Captured::default(), Vec::new());
        while reader.next(&mut packet)? {
            all.push(packet.clone());
        }
        Ok(all)
    }

    fn samples() -> Vec<Captured> {
        let mut nanos = 1_700_000_000_123_456_789u64;
        [0usize, 1, 2, 3, 4, 60, 61, 1514, 9000, 65535, 131_072]
            .into_iter()
            .map(|len| {
                nanos += 999_999_999;
                Captured {
                    nanos,
                    data: (0..len).map(|i| (i * 7 + len) as u8).collect(),
                    original: len as u32,
                }
            })
            .collect()
    }

    fn written(pcapng: bool) -> Vec<u8> {
        let buffer = Buffer::default();
        let mut writer = Writer::new(Box::new(buffer.clone()), pcapng, "vale0:a").unwrap();
        for packet in samples() {
            writer.write(packet.nanos, &packet.data).unwrap();
        }
        writer.flush().unwrap();
        buffer.bytes()
    }

    #[test]
    fn round_trip_to_the_nanosecond() {
        for pcapng in [false, true] {
            assert_eq!(
                read_all(written(pcapng)).unwrap(),
                samples(),
                "pcapng: {pcapng}"
            );
        }
    }

    #[test]
    fn a_cut_is_noticed_wherever_it_is() {
        for pcapng in [false, true] {
            let bytes = written(pcapng);
            let number = |at: usize| {
                u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
                    as usize
            };
            // where a header or a packet ends
            let mut ends = vec![if pcapng { number(4) } else { 24 }];
            while let Some(&end) = ends.last().filter(|end| **end < bytes.len()) {
                let length = if pcapng {
                    number(end + 4)
                } else {
                    16 + number(end + 8)
                };
                ends.push(end + length);
            }
            for length in 1..ends[9] {
                let read = read_all(bytes[..length].to_vec());
                assert_eq!(read.is_ok(), ends.contains(&length), "{length}: {read:?}");
            }
        }
    }

    #[test]
    fn cut_files_deliver_what_is_whole() {
        for pcapng in [false, true] {
            let mut bytes = written(pcapng);
            bytes.truncate(bytes.len() - 5);
            let mut reader = open(bytes).unwrap();
            let mut packet = Captured::default();
            let mut count = 0;
            let error = loop {
                match reader.next(&mut packet) {
                    Ok(true) => count += 1,
                    Ok(false) => panic!("the cut went unnoticed"),
                    Err(error) => break error,
                }
            };
            assert_eq!(count, samples().len() - 1);
            assert!(matches!(error, CaptureError::Truncated), "{error:?}");
        }
    }

    #[test]
    fn both_byte_orders_and_resolutions_of_pcap() {
        for (magic, big, nanos) in [
            (0xa1b2_c3d4u32, true, 5_000u64),
            (0xa1b2_c3d4, false, 5_000),
            (0xa1b2_3c4d, true, 5),
            (0xa1b2_3c4d, false, 5),
        ] {
            // snap length 4 is smaller than the original length, as `tcpdump -s` writes it;
            // the link type says that frames end in a 4-byte check sequence
            let words = [magic, 0, 0, 0, 4, 0x2400_0001, 3, 5, 2, 1500];
            let mut bytes: Vec<u8> = words
                .iter()
                .flat_map(|w| {
                    if big {
                        w.to_be_bytes()
                    } else {
                        w.to_le_bytes()
                    }
                })
                .collect();
            bytes.extend_from_slice(&[0xaa, 0xbb]);
            let expected = Captured {
                nanos: 3_000_000_000 + nanos,
                data: vec![0xaa, 0xbb],
                original: 1500,
            };
            assert_eq!(read_all(bytes).unwrap(), [expected]);
        }
    }

    #[test]
    fn other_files_are_refused() {
        assert!(matches!(open(vec![]), Err(CaptureError::Format(_))));
        let Err(zipped) = open(b"\x1f\x8b\x08\x00....".to_vec()) else {
            panic!("a compressed file is no capture");
        };
        assert!(zipped.to_string().contains("zcat"), "{zipped}");
        assert!(matches!(
            open(b"GIF89a..".to_vec()),
            Err(CaptureError::Format(_))
        ));
        let mut linux_cooked = written(false);
        linux_cooked[20..24].copy_from_slice(&113u32.to_ne_bytes());
        assert!(matches!(
            open(linux_cooked),
            Err(CaptureError::LinkType(113))
        ));
    }
}
