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
    let accept = move || accept(&listener, &source);
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

fn accept(listener: &Listener, source: &Arc<Source>) {
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
        let (of, source) = (open.clone(), source.clone());
        let kept = stream.clone();
        let answer = move || {
            http::answer(&kept, &|| source.text());
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
