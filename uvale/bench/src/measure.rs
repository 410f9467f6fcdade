//! Windows: short stretches of time in which one party runs and is counted. Parties that are to be compared take
//! turns, so that disturbances affect them alike.

use std::time::{Duration, Instant};

use super::figure::{Range, median};
use super::histogram::Histogram;

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// length of one
    pub length: Duration,
    /// undisturbed ones wanted
    pub wanted: usize,
    /// pause after each: real-time workers leave others a share
    pub pause: Duration,
}

/// Time for caches, rings and sleepers to settle.
const WARM_UP: Duration = Duration::from_millis(15);
/// Rounds below which their median is one of them by chance.
pub const FEW: usize = 3;
/// A busy worker that got less than this share of its processor was disturbed by others.
const UNDISTURBED: f64 = 0.95;

/// Who is measured: processes that run during a window and rest until the next.
pub trait Party {
    /// Lets them run, or stops them.
    fn set_running(&mut self, running: bool) -> Result<(), String>;

    /// What they have done so far.
    fn look(&mut self) -> Result<Look, String>;

    /// While they rest: what has been delivered so far, and wake-ups that were sent, where some of them block.
    fn wakeups(&mut self) -> Option<Wakeups> {
        None
    }

    /// An error if one of them has gone.
    fn check(&mut self) -> Result<(), String>;
}

/// Counters at some time.
#[derive(Debug)]
pub struct Look {
    pub at: Instant,
    pub sent: u64,
    pub delivered: u64,
    /// nanoseconds of those that ought to be busy
    pub on_cpu: Vec<u64>,
    pub latencies: Histogram,
}

/// Counters of a world.
#[derive(Clone, Copy, Debug)]
pub struct Wakeups {
    /// packets that have gone into rx rings
    pub packets: u64,
    /// wake-ups that were sent to who slept for them
    pub sent: u64,
}

impl Wakeups {
    /// Those for each thousand packets since `before`; `None` if there was no packet.
    fn per_thousand(self, before: Self) -> Option<f64> {
        let packets = self.packets.saturating_sub(before.packets);
        let sent = self.sent.saturating_sub(before.sent);
        (packets > 0).then(|| sent as f64 * 1000.0 / packets as f64)
    }
}

/// Million packets (or events) a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    /// at the senders
    pub sent: f64,
    /// at the receivers, all together
    pub delivered: f64,
}

/// One window.
#[derive(Clone, Debug)]
pub struct Window {
    pub rate: Rate,
    /// other programs took a worker's processor away
    pub disturbed: bool,
    pub latencies: Histogram,
    /// wake-ups for each thousand packets, the warm-up included
    pub wakeups: Option<f64>,
}

/// What the windows of one party say, one per round.
#[derive(Clone, Debug, Default)]
pub struct Outcome(pub Vec<Window>);

impl Outcome {
    /// There was no window without other programs: the figures are over disturbed ones.
    pub fn is_disturbed(&self) -> bool {
        self.undisturbed() == 0
    }

    fn undisturbed(&self) -> usize {
        self.0.iter().filter(|w| !w.disturbed).count()
    }

    /// The undisturbed windows, or, where there are none, all of them.
    pub fn windows(&self) -> impl Iterator<Item = &Window> {
        let all = self.is_disturbed();
        self.0.iter().filter(move |w| all || !w.disturbed)
    }

    /// Packets delivered, in millions a second.
    pub fn delivered(&self) -> Option<Range> {
        Range::of(&self.windows().map(|w| w.rate.delivered).collect::<Vec<_>>())
    }

    /// The most that was delivered in any window, in millions a second.
    pub fn best(&self) -> f64 {
        self.0.iter().map(|w| w.rate.delivered).fold(0.0, f64::max)
    }

    /// Wake-ups for each thousand packets; `None` where nobody blocks.
    pub fn wakeups(&self) -> Option<Range> {
        Range::of(&self.windows().filter_map(|w| w.wakeups).collect::<Vec<_>>())
    }

    /// Packets sent, in millions a second.
    pub fn sent(&self) -> f64 {
        median(self.windows().map(|w| w.rate.sent).collect())
    }

    /// The time of one event, in microseconds.
    pub fn time_of_one(&self) -> Option<Range> {
        let rates = self.windows().map(|w| w.rate.delivered);
        Range::of(
            &rates
                .filter(|r| *r > 0.0)
                .map(|r| 1.0 / r)
                .collect::<Vec<_>>(),
        )
    }

    /// Over the rounds, how many times as much was delivered as to `other`: whatever makes the machine faster or
    /// slower from one moment to the next concerns both. Where too few rounds are good for both, the ratio of the
    /// medians, and the range of all rounds.
    pub fn ratio(&self, other: &Self) -> Option<Range> {
        let of_medians = self.delivered()?.median / other.delivered()?.median;
        self.by_rounds(other, of_medians, |window| Some(window.rate.delivered))
    }

    fn by_rounds(
        &self,
        other: &Self,
        of_medians: f64,
        value: impl Fn(&Window) -> Option<f64>,
    ) -> Option<Range> {
        let ratios = |all: bool| {
            let rounds = self.0.iter().zip(&other.0);
            let rounds = rounds.filter(|(a, b)| all || !a.disturbed && !b.disturbed);
            let ratios = rounds.filter_map(|(a, b)| Some(value(a)? / value(b)?));
            Range::of(&ratios.filter(|r| r.is_finite()).collect::<Vec<_>>())
        };
        let good = |(a, b): &(&Window, &Window)| !a.disturbed && !b.disturbed;
        if self.0.iter().zip(&other.0).filter(good).count() >= FEW {
            return ratios(false);
        }
        let range = ratios(true)?;
        of_medians.is_finite().then_some(Range {
            median: of_medians,
            least: range.least.min(of_medians),
            most: range.most.max(of_medians),
        })
    }

    /// The latency that `percent` of all do not exceed, in nanoseconds; its range is that of the windows' own.
    pub fn latency(&self, percent: f64) -> Option<Range> {
        let mut all = Histogram::default();
        self.windows().for_each(|w| all.merge(&w.latencies));
        let each = self.windows().map(|w| w.latencies.percentile(percent));
        let range = Range::of(&each.flatten().collect::<Vec<_>>())?;
        let median = all.percentile(percent)?;
        Some(Range { median, ..range })
    }

    /// That latency in terms of the other one's, likewise.
    pub fn latency_ratio(&self, other: &Self, percent: f64) -> Option<Range> {
        let of_medians = self.latency(percent)?.median / other.latency(percent)?.median;
        self.by_rounds(other, of_medians, |window| {
            window.latencies.percentile(percent)
        })
    }
}

/// Measures all parties in turns, one window each a round. A window in which other programs took a worker's processor
/// away does not count; there are up to three times as many rounds as are wanted.
pub fn measure(
    parties: &mut [Box<dyn Party + '_>],
    windows: Windows,
) -> Result<Vec<Outcome>, String> {
    let mut outcomes = vec![Outcome::default(); parties.len()];
    for _ in 0..windows.wanted * 3 {
        if outcomes.iter().all(|o| o.undisturbed() >= windows.wanted) {
            break;
        }
        for (party, outcome) in parties.iter_mut().zip(&mut outcomes) {
            outcome.0.push(window(party.as_mut(), windows.length)?);
            std::thread::sleep(windows.pause);
        }
    }
    Ok(outcomes)
}

fn window(party: &mut dyn Party, length: Duration) -> Result<Window, String> {
    let wakeups = party.wakeups();
    party.set_running(true)?;
    std::thread::sleep(WARM_UP);
    let before = party.look()?;
    std::thread::sleep(length);
    let after = party.look()?;
    party.set_running(false)?;
    party.check()?;
    let wakeups = wakeups.and_then(|before| party.wakeups()?.per_thousand(before));

    let time = (after.at - before.at).as_secs_f64();
    let rate = |a: u64, b: u64| a.wrapping_sub(b) as f64 / time / 1e6;
    // how much of its processor each one had
    let shares = before.on_cpu.iter().zip(&after.on_cpu);
    let share = shares
        .map(|(b, a)| a.saturating_sub(*b) as f64 / 1e9 / time)
        .fold(1.0, f64::min);
    Ok(Window {
        rate: Rate {
            sent: rate(after.sent, before.sent),
            delivered: rate(after.delivered, before.delivered),
        },
        disturbed: share < UNDISTURBED,
        latencies: after.latencies.since(&before.latencies),
        wakeups,
    })
}

/// Nanoseconds that the threads of process `pid` have run, or a number that never grows if nobody knows.
pub fn time_on_cpu(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let of_thread = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    let threads = threads.into_iter().flatten().flatten();
    threads.filter_map(of_thread).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A minus stands for a disturbed window.
    fn outcome(delivered: &[f64]) -> Outcome {
        let window = |d: &f64| Window {
            rate: Rate {
                sent: 0.0,
                delivered: d.abs(),
            },
            disturbed: *d < 0.0,
            latencies: Histogram::default(),
            wakeups: None,
        };
        Outcome(delivered.iter().map(window).collect())
    }

    #[test]
    fn disturbed_windows_do_not_count_and_ratios_are_taken_round_by_round() {
        let limit = outcome(&[100.0, 20.0, -1.0, 100.0, 50.0]);
        let other = outcome(&[50.0, 10.0, 40.0, -1.0, 25.0]);
        let delivered = limit.delivered().unwrap();
        assert_eq!(
            (delivered.median, delivered.least, delivered.most),
            (75.0, 20.0, 100.0)
        );
        assert_eq!(other.ratio(&limit), Some(Range::exactly(0.5)));
        assert!(!limit.is_disturbed());
        let medians = outcome(&[-1.0, 8.0]).ratio(&outcome(&[4.0, -1.0])).unwrap();
        assert_eq!(
            (medians.median, medians.least, medians.most),
            (2.0, 0.25, 8.0)
        );
        let all = outcome(&[-3.0, -5.0]);
        assert!(all.is_disturbed());
        assert_eq!((all.best(), outcome(&[2.0, -3.0]).best()), (5.0, 3.0));
        assert_eq!(all.delivered().unwrap().median, 4.0);
    }

    /// Delivers 10 packets in each window, and 3 between two of them.
    struct Steady {
        delivered: u64,
        running: bool,
    }

    impl Party for Steady {
        fn set_running(&mut self, running: bool) -> Result<(), String> {
            self.running = running;
            self.delivered += 3;
            Ok(())
        }

        fn look(&mut self) -> Result<Look, String> {
            assert!(self.running);
            self.delivered += 10;
            Ok(Look {
                at: Instant::now(),
                sent: 2 * self.delivered,
                delivered: self.delivered,
                on_cpu: Vec::new(),
                latencies: Histogram::default(),
            })
        }

        /// Two for each packet.
        fn wakeups(&mut self) -> Option<Wakeups> {
            assert!(!self.running);
            Some(Wakeups {
                packets: self.delivered,
                sent: 2 * self.delivered,
            })
        }

        fn check(&mut self) -> Result<(), String> {
            assert!(!self.running);
            Ok(())
        }
    }

    #[test]
    fn parties_take_turns_and_only_windows_count() {
        let party = || {
            Box::new(Steady {
                delivered: 0,
                running: false,
            }) as Box<dyn Party>
        };
        let windows = Windows {
            length: Duration::from_millis(1),
            wanted: 3,
            pause: Duration::ZERO,
        };
        let outcomes = measure(&mut [party(), party()], windows).unwrap();
        assert_eq!(outcomes.len(), 2);
        for outcome in outcomes {
            assert_eq!(outcome.0.len(), 3);
            assert_eq!(outcome.wakeups(), Some(Range::exactly(2000.0)));
            for window in outcome.0 {
                assert!((window.rate.sent / window.rate.delivered - 2.0).abs() < 1e-9);
            }
        }
    }
}
