//! Asks the daemon again and again, in a thread of its own: the screen answers keys also while the daemon does not.

use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::fd::{AsFd, BorrowedFd};
use uvale_link::proto::Report;
use uvale_link::report;
use uvale_link::session::Session;

use super::super::show::{Place, fetch};
use super::super::stats::sample::{Changes, Sample};

/// What the daemon told, or why there is nothing to tell.
pub type News = Result<(Changes, report::Daemon), String>;

/// News as they come.
pub struct Feed {
    news: Receiver<News>,
    /// becomes readable with each
    bell: UnixStream,
}

impl Feed {
    /// Begins to ask. The thread ends with the process, or when nobody listens any more.
    pub fn begin(place: Place, interval: Duration) -> Result<Self, String> {
        let (to, news) = channel();
        let pair = UnixStream::pair().and_then(|(bell, button)| {
            bell.set_nonblocking(true)?;
            button.set_nonblocking(true)?;
            Ok((bell, button))
        });
        let fail = |e: std::io::Error| format!("cannot begin to ask the daemon: {e}");
        let (bell, button) = pair.map_err(fail)?;
        let ask = move || {
            let mut source = Source::new(place);
            let mut due = Instant::now();
            while to.send(source.next()).is_ok() {
                // one that is not read rings for the others, too
                let _ = rustix::io::write(&button, &[0]);
                due = (due + interval).max(Instant::now());
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        };
        let thread = std::thread::Builder::new().name("feed".to_owned());
        thread.spawn(ask).map_err(fail)?;
        Ok(Self { news, bell })
    }

    /// The next of those that have come.
    pub fn next(&self) -> Option<News> {
        let mut rung = [0; 64];
        let _ = rustix::io::read(&self.bell, &mut rung);
        self.news.try_recv().ok()
    }
}

impl AsFd for Feed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// A daemon that may be gone, and return.
struct Source {
    place: Place,
    /// with what it told last
    session: Option<(Session, Sample)>,
}

impl Source {
    fn new(place: Place) -> Self {
        let session = None;
        Self { place, session }
    }

    /// What happened since the last time; nothing yet at a daemon's first.
    fn next(&mut self) -> News {
        let news = self.ask();
        if news.is_err() {
            self.session = None;
        }
        news
    }

    fn ask(&mut self) -> News {
        let (session, before) = match self.session.take() {
            Some((session, before)) => (session, Some(before)),
            None => (self.place.attach()?, None),
        };
        let now = Sample::take(&session)?;
        let (_, daemon) = fetch(&session, Report::Daemon)?;
        let changes = now.since(before.as_ref().unwrap_or(&now));
        self.session = Some((session, now));
        Ok((changes, daemon))
    }
}
