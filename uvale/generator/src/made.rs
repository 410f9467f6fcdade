//! The packets that options make, without a port: for tests of network functions.

use clap::parser::ValueSource;
use clap::{Args as _, Command, FromArgMatches};

use super::args::Args;
use super::capture::Reader;
use super::captured::Captured;
use super::config::Config;
use super::files::explain;
use super::stream::Stream;

/// Options that say what packets are like, by their fields' names.
const ABOUT_PACKETS: [&str; 11] = [
    "function",
    "count",
    "length",
    "source",
    "destination",
    "source_mac",
    "destination_mac",
    "ipv4",
    "ipv6",
    "random_source",
    "random_destination",
];

/// Bytes of all packets together, at most.
const MOST_BYTES: usize = 256 << 20;

/// The packets that `uvale gen` sends with these options, `-l 60 -n 1000 -s 10.0.0.1:2000`: one without `-n`. What
/// `-z`, `-Z` and random sizes make is the same for the same seed.
///
/// # Errors
/// A sentence.
pub fn packets(options: &str, seed: u64) -> Result<Vec<Vec<u8>>, String> {
    let args = parse(options)?;
    let config = Config::new(&args)?;
    if !config.function.is_sender() {
        let name = args.function.name();
        return Err(format!(
            "-f {name} sends no packets of its own; use tx or txseq"
        ));
    }
    let count = args.count.max(1);
    let bytes = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(config.packet.length));
    if bytes.is_none_or(|bytes| bytes > MOST_BYTES) {
        let most = MOST_BYTES / config.packet.length;
        return Err(format!("-n {count}: {most} packets of this size at most"));
    }
    let mut stream = Stream::seeded(&config, seed)?;
    Ok((0..count)
        .map(|_| {
            let frame = stream.frame().to_vec();
            stream.advance();
            frame
        })
        .collect())
}

/// The packets of a capture, pcap or pcapng.
///
/// # Errors
/// A sentence, also when a packet was not captured whole, or the file ends in the middle of one.
pub fn captured_packets(path: &std::path::Path) -> Result<Vec<Vec<u8>>, String> {
    let mut reader = Reader::open(path).map_err(|error| explain(path, &error))?;
    let mut packets: Vec<Vec<u8>> = Vec::new();
    let mut bytes = 0;
    let mut packet = Captured::default();
    loop {
        let number = packets.len() + 1;
        match reader.next(&mut packet) {
            Ok(true) => {}
            Ok(false) => return Ok(packets),
            Err(error) => {
                let why = explain(path, &error);
                return Err(format!("{why}, packet {number}"));
            }
        }
        let (has, had) = (packet.data.len(), packet.original as usize);
        if has < had {
            return Err(format!(
                "{}: packet {number} was not captured whole, {has} of {had} bytes",
                path.display()
            ));
        }
        bytes += has;
        if bytes > MOST_BYTES {
            return Err(format!(
                "{}: more than {} MiB of packets",
                path.display(),
                MOST_BYTES >> 20
            ));
        }
        packets.push(std::mem::take(&mut packet.data));
    }
}

fn parse(options: &str) -> Result<Args, String> {
    let plain = |error: clap::Error| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        line.strip_prefix("error: ").unwrap_or(line).to_owned()
    };
    // a port that is no interface of this machine; the options' own -f, if there is one, counts
    let words = ["gen", "-i", "vale0:a"];
    let words = words.into_iter().chain(options.split_whitespace());
    let command = Args::augment_args(Command::new("gen")).disable_help_flag(true);
    let command = command.mut_arg("function", |arg| arg.default_value("tx"));
    let matches = command.try_get_matches_from(words).map_err(plain)?;
    let other = matches.ids().map(clap::Id::as_str).find(|id| {
        let given = matches.value_source(id) == Some(ValueSource::CommandLine);
        given && *id != "interface" && *id != "Args" && !ABOUT_PACKETS.contains(id)
    });
    if let Some(other) = other {
        let other = Args::augment_args(Command::new("gen"))
            .get_arguments()
            .find(|arg| arg.get_id() == other)
            .and_then(|arg| match (arg.get_short(), arg.get_long()) {
                (Some(letter), _) => Some(format!("-{letter}")),
                (None, long) => long.map(|long| format!("--{long}")),
            })
            .unwrap_or_default();
        return Err(format!(
            "{other} says nothing about packets; here -f -n -l -s -d -S -D -4 -6 -z -Z count"
        ));
    }
    Args::from_arg_matches(&matches).map_err(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_make_the_packets_that_they_send() {
        assert_eq!(packets("", 1).unwrap().len(), 1);
        let made = packets("-l 80 -n 4 -s 10.0.0.1:1-2 -d 10.0.0.9:80", 1).unwrap();
        assert!(made.iter().all(|p| p.len() == 80) && made.len() == 4);
        assert!(made[0] == made[2] && made[1] == made[3] && made[0] != made[1]);
        assert_ne!(
            packets("-f txseq -n 2", 1).unwrap()[0],
            packets("-f txseq -n 2", 1).unwrap()[1]
        );
    }

    #[test]
    fn equal_seeds_make_equal_packets() {
        let line = "-z -Z -l 200 -l 100 -n 50";
        assert_eq!(packets(line, 7), packets(line, 7));
        assert_ne!(packets(line, 7), packets(line, 8));
    }

    #[test]
    fn what_makes_no_packets_is_refused() {
        for (line, why) in [
            ("-i vale0:x", "-i"),
            ("--pcap x", "--pcap says nothing"),
            ("-R 1000", "-R says nothing"),
            ("-f rx", "-f rx sends no packets"),
            ("-l 5", "-l 5: packets have 16"),
            ("-q", "unexpected argument '-q'"),
            ("-n x", "invalid value 'x'"),
            ("-n 18446744073709551615", "at most"),
            ("--help", "unexpected argument '--help'"),
            ("-f", "a value is required"),
        ] {
            let error = packets(line, 1).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn captures_are_whole_or_refused() {
        let path = std::env::temp_dir().join(format!("uvale-made-{}.pcap", std::process::id()));
        let sent = packets("-n 3 -s 10.0.0.1:1-3", 1).unwrap();
        let mut writer = super::super::capture::Writer::create(&path, false, "x").unwrap();
        for packet in &sent {
            writer.write(1, packet).unwrap();
        }
        writer.flush().unwrap();
        assert_eq!(captured_packets(&path).unwrap(), sent);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let why = captured_packets(&path).unwrap_err();
        assert!(
            why.ends_with("the file ends in the middle of a packet, packet 3"),
            "{why}"
        );
        // the length that the packet had: one byte more than is there
        let mut cut = bytes.clone();
        cut[24 + 12] += 1;
        std::fs::write(&path, &cut).unwrap();
        let why = captured_packets(&path).unwrap_err();
        assert!(
            why.ends_with("packet 1 was not captured whole, 60 of 61 bytes"),
            "{why}"
        );
        std::fs::remove_file(&path).unwrap();
        assert!(
            captured_packets(&path)
                .unwrap_err()
                .contains("No such file")
        );
    }
}
