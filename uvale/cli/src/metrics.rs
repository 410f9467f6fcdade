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

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::SigSet;
use uvale_link::session::Session;

use address::Stream;
pub use address::{Listener, Name, absolute};

/// Most connections at a time. One more ends the oldest that has not asked, or has its answer: whoever holds
/// connections open keeps nobody out.
const MOST: usize = 8;
/// How long a connection that has not asked is kept, if there are too many.
const GRACE: Duration = Duration::from_millis(100);
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

/// A connection that has a thread.
struct Peer {
    stream: Stream,
    since: Instant,
    is_answering: AtomicBool,
}

/// Those that there are, the oldest first.
#[derive(Default)]
struct Peers {
    all: Mutex<Vec<Arc<Peer>>>,
    one_has_ended: Condvar,
}

impl Peers {
    /// Takes in one more as soon as there is room, and makes some.
    fn add(&self, stream: Stream) -> Arc<Peer> {
        let mut all = lock(&self.all);
        while all.len() >= MOST {
            let idle = all.iter().find(|p| !p.is_answering.load(Relaxed));
            if let Some(oldest) = idle.filter(|p| p.since.elapsed() >= GRACE) {
                oldest.stream.end();
            }
            // Its thread ends soon.
            let waited = self.one_has_ended.wait_timeout(all, GRACE / 10);
            all = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let peer = Arc::new(Peer {
            stream,
            since: Instant::now(),
            is_answering: AtomicBool::new(false),
        });
        all.push(peer.clone());
        peer
    }

    fn remove(&self, peer: &Arc<Peer>) {
        lock(&self.all).retain(|other| !Arc::ptr_eq(other, peer));
        self.one_has_ended.notify_one();
    }
}

/// Makes the metrics.
type Text = dyn Fn() -> Result<Arc<str>, String> + Send + Sync;

/// Accepts connections, each of which has so much time.
fn accept(listener: &Listener, time: Duration, text: Arc<Text>) {
    let peers: Arc<Peers> = Arc::default();
    loop {
        let Ok(stream) = listener.accept() else {
            std::thread::sleep(PAUSE);
            continue;
        };
        let peer = peers.add(stream);
        let (of, text, own) = (peers.clone(), text.clone(), peer.clone());
        let answer = move || {
            http::answer(&own.stream, time, &*text, &own.is_answering);
            of.remove(&own);
        };
        if thread("metrics-peer").spawn(answer).is_err() {
            peers.remove(&peer);
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

    /// Others connect, ask or not, and go or stay, without a pause: whoever asks is answered.
    #[test]
    fn churn_keeps_nobody_out() {
        let address = served(Duration::from_secs(3600));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|s| {
            for kind in 0..4 {
                let (address, is_over) = (&address, &is_over);
                s.spawn(move || {
                    let mut kept = std::collections::VecDeque::new();
                    while !is_over.load(Relaxed) {
                        let Ok(mut stream) = TcpStream::connect(address) else {
                            continue;
                        };
                        if kind % 2 == 0 {
                            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n");
                        }
                        kept.push_back(stream);
                        if kept.len() > 4 * (kind / 2) {
                            kept.pop_front();
                        }
                    }
                });
            }
            let ask = || {
                let mut asks = TcpStream::connect(&address).ok()?;
                asks.set_read_timeout(Some(PATIENCE)).ok()?;
                asks.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").ok()?;
                let mut answer = String::new();
                asks.read_to_string(&mut answer).ok()?;
                answer.ends_with("\r\n\r\ntext").then_some(())
            };
            let answered = (0..20).filter(|_| ask().is_some()).count();
            // Before anything may fail: the others have to end.
            is_over.store(true, Relaxed);
            assert!(answered > 0, "{answered} of 20 were answered");
        });
    }

    /// Connections that were ended are gone before others come.
    #[test]
    fn there_are_so_many_at_most() {
        let peers = Peers::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let stream = || Stream::Tcp(TcpStream::connect(at).unwrap());
        let all: Vec<_> = (0..MOST).map(|_| peers.add(stream())).collect();
        all[0].is_answering.store(true, Relaxed);
        std::thread::scope(|s| {
            let more = s.spawn(|| peers.add(stream()));
            // The oldest that does not answer is ended, and there is room when its thread says so.
            let mut end = [0];
            assert!(matches!(
                all[1].stream.read_within(PATIENCE, &mut end),
                Ok(0)
            ));
            assert!(!more.is_finished() && lock(&peers.all).len() == MOST);
            peers.remove(&all[1]);
            more.join().unwrap();
        });
        let now = lock(&peers.all);
        assert!(now.len() == MOST && Arc::ptr_eq(&now[0], &all[0]));
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
