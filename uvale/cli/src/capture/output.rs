//! Where a capture goes: a file, or a pipe whose reader may be slow and is never waited for.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use uvale_tools::output::plain;

/// Bytes that wait for a slow reader before nothing more is taken from the rings.
const MOST: usize = 4 << 20;
/// What a pipe that is writable takes without blocking (PIPE_BUF).
const CHUNK: usize = 4096;
/// The other end of a pipe, a socket or a terminal has gone.
const GONE: PollFlags = PollFlags::ERR.union(PollFlags::HUP);

/// Why nothing more can be written.
#[derive(Debug, PartialEq, Eq)]
pub enum Failed {
    /// the reader of the pipe has gone
    ReaderGone,
    /// an error of the system, a sentence
    Because(String),
}

/// An open output. Records are handed to the system in order; after an error a file ends with the last whole one.
pub struct Output {
    file: File,
    /// for people
    name: String,
    /// of a regular file: the length that it had when we came
    base: Option<u64>,
    /// bytes that are not written yet: those from `at` on
    pending: Vec<u8>,
    at: usize,
    /// bytes written
    written: u64,
    /// bytes given to `pending` so far, written or not
    given: u64,
    /// ends of the records that are not written as a whole, in bytes given; is it a packet?
    ends: VecDeque<(u64, bool)>,
    /// end of the last whole record written
    whole: u64,
    /// packets written as a whole
    packets: u64,
}

impl Output {
    /// Creates, or empties, a file; opens a pipe, which may wait until somebody reads it.
    ///
    /// # Errors
    /// A sentence.
    pub fn create(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let fail = |e: &std::io::Error| format!("{name} cannot be written: {}", plain(e));
        let file = File::create(path).map_err(|e| fail(&e))?;
        Self::of(file, &name)
    }

    /// Standard output.
    ///
    /// # Errors
    /// A sentence.
    pub fn stdout() -> Result<Self, String> {
        let fd = std::io::stdout().as_fd().try_clone_to_owned();
        let fd = fd.map_err(|e| format!("standard output cannot be used: {}", plain(&e)))?;
        Self::of(fd.into(), "standard output")
    }

    fn of(mut file: File, name: &str) -> Result<Self, String> {
        let meta = file.metadata();
        let meta = meta.map_err(|e| format!("{name} cannot be written: {}", plain(&e)))?;
        let base = match meta.is_file() {
            true => {
                let appends = rustix::fs::fcntl_getfl(&file)
                    .is_ok_and(|flags| flags.contains(OFlags::APPEND));
                match appends {
                    true => Some(meta.len()),
                    false => file.stream_position().ok(),
                }
            }
            false => None,
        };
        Ok(Self {
            file,
            name: name.to_owned(),
            base,
            pending: Vec::new(),
            at: 0,
            written: 0,
            given: 0,
            ends: VecDeque::new(),
            whole: 0,
            packets: 0,
        })
    }

    /// Its name, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Is there room for more, or does the reader have to read first?
    pub fn has_room(&self) -> bool {
        self.pending.len() - self.at < MOST
    }

    /// Packets that were written as a whole.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Is there something that is not written?
    pub fn has_pending(&self) -> bool {
        self.at < self.pending.len()
    }

    /// The descriptor, and what to poll it for, unless it is always ready.
    pub fn awaited(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let events = match self.has_pending() {
            true => PollFlags::OUT,
            // an error, that is: the reader has gone
            false => PollFlags::empty(),
        };
        self.base.is_none().then(|| (self.file.as_fd(), events))
    }

    /// Adds a record; `is_packet` counts it.
    pub fn add(&mut self, record: &mut Vec<u8>, is_packet: bool) {
        self.given += record.len() as u64;
        self.ends.push_back((self.given, is_packet));
        match self.has_pending() {
            true => self.pending.append(record),
            false => {
                std::mem::swap(&mut self.pending, record);
                self.at = 0;
                record.clear();
            }
        }
    }

    /// Writes as much as can be written without waiting. False if that is not all.
    ///
    /// # Errors
    /// Nothing more can be written. A file has been cut behind its last whole record then.
    pub fn push(&mut self) -> Result<bool, Failed> {
        while self.has_pending() {
            if self.base.is_none() && !self.is_writable()? {
                return Ok(false);
            }
            let chunk = &self.pending[self.at..];
            let chunk = match self.base {
                Some(_) => chunk,
                None => &chunk[..chunk.len().min(CHUNK)],
            };
            match self.file.write(chunk) {
                Ok(n) => self.advance(n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(self.failed(&e)),
            }
        }
        Ok(true)
    }

    fn is_writable(&mut self) -> Result<bool, Failed> {
        let mut fds = [PollFd::new(&self.file, PollFlags::OUT)];
        let polled = poll(&mut fds, Some(&Timespec::default()));
        let events = fds[0].revents();
        if polled.is_ok() && events.intersects(GONE) {
            return Err(Failed::ReaderGone);
        }
        Ok(events.contains(PollFlags::OUT))
    }

    /// Has the reader of a pipe gone? Nothing needs to be written to know.
    pub fn reader_has_gone(&self) -> bool {
        let mut fds = [PollFd::new(&self.file, PollFlags::empty())];
        let polled = poll(&mut fds, Some(&Timespec::default()));
        self.base.is_none() && polled.is_ok() && fds[0].revents().intersects(GONE)
    }

    fn advance(&mut self, bytes: usize) {
        self.at += bytes;
        self.written += bytes as u64;
        while let Some((end, is_packet)) = self.ends.front().copied() {
            if end > self.written {
                break;
            }
            self.ends.pop_front();
            self.whole = end;
            self.packets += u64::from(is_packet);
        }
        if !self.has_pending() {
            self.pending.clear();
            self.at = 0;
        } else if self.at >= MOST {
            self.pending.drain(..self.at);
            self.at = 0;
        }
    }

    fn failed(&mut self, error: &std::io::Error) -> Failed {
        if error.kind() == ErrorKind::BrokenPipe {
            return Failed::ReaderGone;
        }
        let mut why = format!("{} cannot be written: {}", self.name, plain(error));
        if let Some(base) = self.base
            && let Err(e) = self.file.set_len(base + self.whole)
        {
            why += &format!("; its end could not be cut off: {}", plain(&e));
        }
        Failed::Because(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn record(n: u8) -> Vec<u8> {
        vec![n; 3000]
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_not_waited_for() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut output = Output::of(File::from(std::os::fd::OwnedFd::from(writer)), "p").unwrap();
        for n in 0..100 {
            output.add(&mut record(n), true);
        }
        assert_eq!(output.push(), Ok(false));
        let first = output.packets();
        assert!(first > 0 && first < 100, "{first}");
        let mut all = Vec::new();
        while !output.push().unwrap() {
            let mut some = [0; 5000];
            let n = reader.read(&mut some).unwrap();
            all.extend_from_slice(&some[..n]);
        }
        assert_eq!(output.packets(), 100);
        drop(output);
        reader.read_to_end(&mut all).unwrap();
        let expected: Vec<u8> = (0..100).flat_map(record).collect();
        assert!(all == expected);
    }

    #[test]
    fn a_reader_that_has_gone_is_noticed() {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut output = Output::of(File::from(std::os::fd::OwnedFd::from(writer)), "p").unwrap();
        assert!(!output.reader_has_gone());
        drop(reader);
        assert!(output.reader_has_gone());
        output.add(&mut record(1), true);
        assert_eq!(output.push(), Err(Failed::ReaderGone));
        assert_eq!(output.packets(), 0);
    }

    #[test]
    fn a_device_that_is_full_is_an_error_in_words() {
        let mut output = Output::create(Path::new("/dev/full")).unwrap();
        output.add(&mut record(1), true);
        let Err(Failed::Because(why)) = output.push() else {
            panic!("/dev/full takes nothing");
        };
        assert!(
            why.contains("/dev/full") && why.contains("No space left"),
            "{why}"
        );
    }
}
