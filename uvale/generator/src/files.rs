//! Capture files by their names: what is wrong with one, in a sentence.

use std::io::ErrorKind;
use std::path::Path;

use super::args::Function;
use super::capture::Reader;
use super::captured::CaptureError;
use super::config::Config;
use uvale_tools::output::plain;

/// Looks at the captures that are to be read, before a port is opened. Streams are left alone.
pub fn look_at(config: &Config) -> Result<(), String> {
    let replayed = config
        .capture
        .as_ref()
        .filter(|_| config.function == Function::Tx)
        .map(|capture| &capture.path);
    for path in replayed.into_iter().chain(&config.packet_file) {
        if !is_stream(path) {
            Reader::open(path).map_err(|error| explain(path, &error))?;
        }
    }
    Ok(())
}

/// Whether a file's packets are for somebody who waits for them: standard input and output, pipes, terminals.
pub fn is_stream(path: &Path) -> bool {
    path == Path::new("-")
        || std::fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir())
}

/// A capture's name for people.
pub fn shown(path: &Path, stream: &str) -> String {
    if path == Path::new("-") {
        stream.to_owned()
    } else {
        path.display().to_string()
    }
}

/// What is wrong with a capture that is read.
pub fn explain(path: &Path, error: &CaptureError) -> String {
    let name = shown(path, "standard input");
    match error {
        CaptureError::Io(error) if error.kind() == ErrorKind::NotFound && path.is_relative() => {
            let here = std::env::current_dir().unwrap_or_default();
            format!("{name}: {} in {}", plain(error), here.display())
        }
        CaptureError::Io(error) if error.kind() == ErrorKind::IsADirectory => {
            format!("{name} is a directory; name a pcap or pcapng file")
        }
        CaptureError::Io(error) => format!("{name}: {}", plain(error)),
        other => format!("{name}: {other}"),
    }
}
