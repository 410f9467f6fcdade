//! `uvale daemon --metrics`: what there is to know of the world, as OpenMetrics over HTTP.
//!
//! A thread in the daemon's process asks the daemon as `uvale stats` does; the daemon's own thread never waits for it,
//! nor for those that ask it.
//!
//! | file | what |
//! |---|---|
//! | `address.rs` | where it listens |
//! | `http.rs` | a connection: its request, within limits, and the answer |
//! | `families.rs` | what is told |
//! | `text.rs` | the text of it |

mod address;
mod families;
mod http;
mod text;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use uvale_link::session::Session;

use address::Stream;
pub use address::{Listener, Name, absolute};

/// Most connections at a time. One more ends the oldest: whoever holds connections open keeps nobody out.
const MOST: usize = 8;
/// How long a request and its answer may take together.
const TIME: Duration = Duration::from_secs(5);
/// How long a text is good enough: however many ask, the daemon is asked so often at most.
const FRESH: Duration = Duration::from_millis(200);
/// What is waited for after a connection could not be accepted, for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);
/// Of a connection's thread, in bytes.
const STACK: usize = 256 << 10;

/// Answers in threads of their own from now on, until the process ends.
pub fn serve(listener: Listener, dir: &Path) -> Result<(), String> {
    let source = Arc::new(Source {
        dir: dir.to_owned(),
        last: Mutex::new(None),
    });
    let text = move || source.text();
    let accept = move || accept(&listener, TIME, Arc::new(text));
    // the daemon's signals are the daemon's: threads begin with those blocked that are blocked here
    let cannot = |e: nix::Error| format!("cannot block signals: {e}");
    let before = SigSet::thread_get_mask().map_err(cannot)?;
    SigSet::all().thread_block().map_err(cannot)?;
    let started = thread("metrics").spawn(accept);
    before.thread_set_mask().map_err(cannot)?;
    let started = started.map_err(|e| format!("cannot make a thread for metrics: {e}"));
    started.map(drop)
}

fn thread(name: &str) -> std::thread::Builder {
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK)
}

/// Connections that are open, the oldest first.
type Open = Mutex<VecDeque<Arc<Stream>>>;

/// Makes the metrics.
type Text = dyn Fn() -> Result<Arc<str>, String> + Send + Sync;

/// Accepts connections, each of which has so much time.
fn accept(listener: &Listener, time: Duration, text: Arc<Text>) {
    let open: Arc<Open> = Arc::default();
    loop {
        let Ok(stream) = listener.accept() else {
            std::thread::sleep(PAUSE);
            continue;
        };
        let stream = Arc::new(stream);
        {
            let mut open = lock(&open);
            open.push_back(stream.clone());
            if open.len() > MOST
                && let Some(oldest) = open.pop_front()
            {
                oldest.end();
            }
        }
        let (of, text) = (open.clone(), text.clone());
        let kept = stream.clone();
        let answer = move || {
            http::answer(&kept, time, &*text);
            lock(&of).retain(|other| !Arc::ptr_eq(other, &kept));
        };
        if thread("metrics-peer").spawn(answer).is_err() {
            lock(&open).retain(|other| !Arc::ptr_eq(other, &stream));
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The daemon, and what it told last.
struct Source {
    dir: PathBuf,
    last: Mutex<Option<(Instant, Arc<str>)>>,
}

impl Source {
    /// The text as it is now, or nearly.
    fn text(&self) -> Result<Arc<str>, String> {
        let mut last = lock(&self.last);
        if let Some((made, text)) = &*last
            && made.elapsed() < FRESH
        {
            return Ok(text.clone());
        }
        let session = Session::attach(&self.dir).map_err(|refusal| refusal.why)?;
        let world = families::World::ask(&session)?;
        drop(session);
        let text: Arc<str> = text::text(families::of(&world))?.into();
        *last = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;

    use super::*;

    /// What is waited for, if it goes wrong.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// An address that answers; a connection has so much time.
    fn served(time: Duration) -> String {
        let (listener, _) = Listener::new("0", None).unwrap();
        let said = listener.said("");
        let text: Arc<Text> = Arc::new(|| Ok("text".into()));
        std::thread::spawn(move || accept(&listener, time, text));
        let address = said
            .strip_prefix("http://")
            .and_then(|at| at.strip_suffix("/metrics"));
        address.unwrap().to_owned()
    }

    #[test]
    fn one_connection_too_many_ends_the_oldest() {
        let address = served(Duration::from_secs(3600));
        let connect = || TcpStream::connect(&address).unwrap();
        let mut silent: Vec<_> = (0..MOST).map(|_| connect()).collect();
        let mut asks = connect();
        asks.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        silent[0].set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        // ended by the one that asks, and nobody else is
        assert_eq!(silent[0].read_to_end(&mut rest).unwrap(), 0);
        let mut answer = String::new();
        asks.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("\r\n\r\ntext"), "{answer}");
        for stream in &mut silent[1..] {
            stream.set_nonblocking(true).unwrap();
            let error = stream.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn who_takes_too_long_is_let_go() {
        let address = served(Duration::from_millis(50));
        let mut slow = TcpStream::connect(&address).unwrap();
        let _ = slow.write_all(b"GET /metrics HTTP/1.1\r\n");
        slow.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        let end = slow.read_to_end(&mut rest).map_err(|e| e.kind());
        assert!(
            matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)),
            "{end:?}"
        );
    }
}
