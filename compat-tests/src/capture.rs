//! Packets of capture files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::pcapng::PcapNgReader;

/// One frame: its bytes and the length it had on the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// What was captured of it, from the destination address on.
    pub bytes: Vec<u8>,
    /// Its length in bytes before any truncation.
    pub original: u32,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes:", self.bytes.len(), self.original)?;
        self.bytes
            .iter()
            .take(32)
            .try_for_each(|b| write!(f, " {b:02x}"))
    }
}

impl Frame {
    /// The sender's Ethernet address.
    pub fn source(&self) -> Option<[u8; 6]> {
        self.bytes.get(6..12)?.try_into().ok()
    }

    /// Is the destination a group (broadcast or multicast)?
    pub fn is_group(&self) -> bool {
        self.bytes.first().is_some_and(|b| b & 1 == 1)
    }
}

/// The two hosts of `data/http.pcap`.
pub const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// See [`CLIENT`].
pub const SERVER: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// The recorded capture, whole.
///
/// # Panics
/// If it is not there or empty.
pub fn recorded() -> Vec<Frame> {
    let frames = read(&crate::target::data("http.pcap")).expect("data/http.pcap is readable");
    assert!(!frames.is_empty(), "data/http.pcap holds no frame");
    frames
}

/// The frames of the recorded capture that `source` sent. A switch delivers all of them when they
/// come from one port: no destination among them has been seen as a source.
pub fn recorded_from(source: [u8; 6]) -> Vec<Frame> {
    recorded()
        .into_iter()
        .filter(|f| f.source() == Some(source))
        .collect()
}

/// All frames of a pcap or pcapng file. A file that is still being written gives an error or fewer.
pub fn read(path: &Path) -> Result<Vec<Frame>, String> {
    let mut content = Vec::new();
    let mut file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    file.read_to_end(&mut content)
        .map_err(|e| format!("{}: {e}", path.display()))?;
    let frames = if content.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
        pcapng(&content)
    } else {
        pcap(&content)
    };
    frames.map_err(|e| format!("{}: {e}", path.display()))
}

fn pcap(content: &[u8]) -> Result<Vec<Frame>, pcap_file::PcapError> {
    let mut reader = PcapReader::new(content)?;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet?;
        frames.push(Frame {
            original: packet.orig_len,
            bytes: packet.data.into_owned(),
        });
    }
    Ok(frames)
}

fn pcapng(content: &[u8]) -> Result<Vec<Frame>, pcap_file::PcapError> {
    let mut reader = PcapNgReader::new(content)?;
    let mut frames = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Some(packet) = block?.into_enhanced_packet() {
            frames.push(Frame {
                original: packet.original_len,
                bytes: packet.data.into_owned(),
            });
        }
    }
    Ok(frames)
}

/// Writes a pcap file with one frame a millisecond.
///
/// # Panics
/// If the file can't be written.
pub fn write(path: &Path, frames: &[Frame]) {
    let file = File::create(path).expect("the capture can be written");
    let mut writer =
        PcapWriter::with_header(file, PcapHeader::default()).expect("the capture can be written");
    for (number, frame) in frames.iter().enumerate() {
        let time = std::time::Duration::from_millis(number as u64);
        let packet = PcapPacket::new(time, frame.original, &frame.bytes);
        writer
            .write_packet(&packet)
            .expect("the capture can be written");
    }
}

/// Compares frame by frame, in order.
///
/// # Panics
/// At the first frame that differs, with its number and both sides.
pub fn assert_same(what: &str, arrived: &[Frame], sent: &[Frame]) {
    for (number, (a, s)) in arrived.iter().zip(sent).enumerate() {
        let at = a.bytes.iter().zip(&s.bytes).position(|(a, s)| a != s);
        assert_eq!(
            a,
            s,
            "{what}: frame {number} of {} differs (arrived, sent) from byte {at:?}",
            sent.len()
        );
    }
    assert_eq!(
        arrived.len(),
        sent.len(),
        "{what}: number of frames (arrived, sent)"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_capture_is_what_the_tests_count_on() {
        let all = recorded();
        assert!(
            all.len() < 900,
            "the capture must fit into one ring of 1024 slots"
        );
        assert!(
            all.iter()
                .all(|f| f.bytes.len() == f.original as usize
                    && (14..=1514).contains(&f.bytes.len()))
        );
        let (client, server) = (recorded_from(CLIENT), recorded_from(SERVER));
        assert_eq!(
            client.len() + server.len(),
            all.len(),
            "there are two hosts"
        );
        assert!(
            client.iter().any(|f| f.bytes.len() == 1514),
            "a full-sized frame"
        );
        assert!(
            client.iter().any(Frame::is_group) && server.iter().any(Frame::is_group),
            "broadcasts"
        );
    }

    #[test]
    fn written_frames_are_read_back() {
        let path = std::env::temp_dir().join(format!("compat-capture-{}.pcap", std::process::id()));
        let frames = recorded();
        write(&path, &frames);
        let back = read(&path);
        std::fs::remove_file(&path).expect("it was just written");
        assert_same("file", &back.expect("it is a capture"), &frames);
    }

    #[test]
    #[should_panic(expected = "frame 7 of")]
    fn one_changed_byte_is_found() {
        let sent = recorded();
        let mut arrived = sent.clone();
        arrived[7].bytes[20] ^= 1;
        assert_same("file", &arrived, &sent);
    }

    #[test]
    #[should_panic(expected = "number of frames")]
    fn a_missing_frame_is_found() {
        let sent = recorded();
        assert_same("file", &sent[..sent.len() - 1], &sent);
    }
}
