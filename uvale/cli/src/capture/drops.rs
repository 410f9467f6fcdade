//! The rings that a monitor looks at, and what they have dropped.

use core::sync::atomic::Ordering::{Acquire, Relaxed};

use uvale_engine::Host;
use uvale_link::session::Session;
use uvale_port::{Port, RX, TX};
use uvale_shared::ctl::{self, Kring};

use super::super::stats::counters::in_words;

/// Packets that the monitored port has dropped, by reason.
pub type Drops = [(&'static str, u64); 6];

/// A ring of the monitored port.
struct Source {
    dir: usize,
    kring: u32,
    generation: u32,
}

impl Source {
    fn kring<'a>(&self, session: &'a Session) -> Option<&'a Kring> {
        let kring = session.ctl().kring(self.kring)?;
        (kring.generation.load(Acquire) == self.generation).then_some(kring)
    }
}

/// The rings of the monitored port.
pub struct Origin(Vec<Source>);

impl Origin {
    /// Those that feed `monitor`.
    pub fn of(monitor: &Port) -> Self {
        let ctl = monitor.session().ctl();
        let mut all = Vec::new();
        for ring in monitor.attachment().binding().rings(RX) {
            let Some(kring) = monitor.kring(RX, ring) else {
                continue;
            };
            for dir in [RX, TX] {
                let parent = kring.mon_parent[dir].load(Acquire).checked_sub(1);
                if let Some(index) = parent
                    && let Some(of) = ctl.kring(index)
                {
                    all.push(Source {
                        dir,
                        kring: index,
                        generation: of.generation.load(Acquire),
                    });
                }
            }
        }
        Self(all)
    }

    /// What the port has dropped since it was opened; `before` once it is closed.
    pub fn drops(&self, session: &Session, before: &Drops) -> Drops {
        let mut drops: Drops = [
            ("short", 0),
            ("no_destination", 0),
            ("no_receiver", 0),
            ("full", 0),
            ("unconvertible", 0),
            ("stuck", 0),
        ];
        for source in &self.0 {
            let Some(k) = source.kring(session) else {
                // What it dropped at last is not known.
                return *before;
            };
            let (sent, arrived) = (&k.sync, &k.produced);
            let counters = match source.dir {
                TX => [(0, &sent.short), (1, &sent.no_dest), (2, &sent.no_receiver)],
                _ => [
                    (3, &arrived.full),
                    (4, &arrived.unconvertible),
                    (5, &k.stuck),
                ],
            };
            for (at, counter) in counters {
                drops[at].1 += counter.load(Relaxed);
            }
        }
        drops
    }

    /// The port's record, while it is open.
    pub fn record<'a>(&self, session: &'a Session) -> Option<&'a ctl::Port> {
        let kring = self.0.first()?.kring(session)?;
        session.ctl().port(kring.port.load(Relaxed))
    }
}

/// What was dropped between two counts, in words; none if nothing was.
pub fn between(before: &Drops, after: &Drops) -> Option<String> {
    let counts = after.iter().zip(before);
    let more =
        counts.map(|((reason, after), (_, before))| (*reason, after.saturating_sub(*before)));
    let words = in_words(
        more.filter(|(_, n)| *n > 0)
            .map(|(reason, n)| (reason, n.to_string())),
    );
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_dropped_meanwhile_is_told() {
        let drops = |short, full| {
            let mut drops: Drops = [("short", short); 6];
            drops[1..].fill(("full", 0));
            drops[3].1 = full;
            drops
        };
        assert_eq!(between(&drops(1, 2), &drops(1, 2)), None);
        let said = between(&drops(1, 2), &drops(4, 7));
        assert_eq!(said.as_deref(), Some("short frame 3, receiver full 5"));
    }
}
