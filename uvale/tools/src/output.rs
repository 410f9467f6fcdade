//! Lines for people on standard error, and results on standard output. When the reader has gone
//! (`| head`) the run ends quietly.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

static READER_GONE: AtomicBool = AtomicBool::new(false);

/// Has the reader of our output gone?
#[inline]
pub fn reader_has_gone() -> bool {
    READER_GONE.load(Ordering::Relaxed)
}

/// From now on [`reader_has_gone`].
pub fn reader_went() {
    READER_GONE.store(true, Ordering::Relaxed);
}

/// Prints a line on standard error. There is nowhere to say that this failed.
pub fn line(text: Arguments<'_>) {
    let _ = note(writeln!(io::stderr().lock(), "{text}"));
}

/// Writes to standard output; an error is a sentence.
pub fn write(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    note(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
        .map_err(|error| format!("cannot write to standard output: {}", plain(&error)))
}

/// A reader that has gone is no error, but remembered.
fn note(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            reader_went();
            Ok(())
        }
        other => other,
    }
}

/// Has the reader of standard output, a pipe or a socket, gone? Checked before anything is written.
pub fn ask_stdout() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let stdout = io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec::default();
    let gone = poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::ERR);
    if gone {
        reader_went();
    }
    gone
}

/// An error of the system without its number.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
