//! Sentences about what a guest and its front end do. They may do it as often as they like, so there is a limit.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use uvale_tools::output::line;

/// So many lines may come at once, and then one a [`PERIOD`].
const MOST: u32 = 32;
const PERIOD: Duration = Duration::from_secs(1);
/// The same line does not come twice in this time, if there is no other between.
const REPEAT: Duration = Duration::from_secs(60);

/// Says what happens at a port.
pub struct Voice<'a> {
    port: &'a str,
    left: Cell<u32>,
    /// when one more was allowed
    since: Cell<Instant>,
    /// the last line, and when it came
    last: RefCell<(String, Instant)>,
    /// not said
    unsaid: Cell<u64>,
}

impl<'a> Voice<'a> {
    /// For `port`.
    pub fn new(port: &'a str) -> Self {
        let now = Instant::now();
        Self {
            port,
            left: Cell::new(MOST),
            since: Cell::new(now),
            last: RefCell::new((String::new(), now)),
            unsaid: Cell::new(0),
        }
    }

    /// About the port itself: always said.
    pub fn say(&self, what: &str) {
        line(format_args!("uvale vm: {}: {what}", self.port));
    }

    /// About a guest: said unless there have been too many.
    pub fn say_of_guest(&self, what: &str) {
        if !self.may_say(what, Instant::now()) {
            return;
        }
        match self.unsaid.take() {
            0 => {}
            n => self.say(&format!("{n} lines about guests were left out")),
        }
        self.say(what);
    }

    fn may_say(&self, what: &str, now: Instant) -> bool {
        let periods =
            now.duration_since(self.since.get()).as_millis() as u64 / PERIOD.as_millis() as u64;
        if periods > 0 {
            let more = u32::try_from(periods).unwrap_or(MOST);
            self.left
                .set(self.left.get().saturating_add(more).min(MOST));
            self.since.set(now);
        }
        let mut last = self.last.borrow_mut();
        let is_new = last.0 != what || now.duration_since(last.1) >= REPEAT;
        let may = is_new && self.left.get() > 0;
        match may {
            true => {
                self.left.set(self.left.get() - 1);
                *last = (what.to_owned(), now);
            }
            false => self.unsaid.set(self.unsaid.get() + 1),
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_once_and_then_one_a_period() {
        let voice = Voice::new("vale0:a");
        let begin = voice.since.get();
        let said = |at| {
            let lines = (0..100).filter(|i| voice.may_say(&i.to_string(), at));
            lines.count()
        };
        assert_eq!(said(begin), 32);
        assert_eq!(said(begin + PERIOD / 2), 0);
        assert_eq!(said(begin + PERIOD), 1);
        assert_eq!(said(begin + PERIOD * 1000), 32);
        assert_eq!(voice.unsaid.get(), 400 - 65);
        let later = begin + PERIOD * 2000;
        let times = (0..120).filter(|i| voice.may_say("it is gone", later + PERIOD * *i));
        assert_eq!(times.count(), 2, "one a minute");
    }
}
