//! Windows: short stretches of time in which a group of workers runs and is counted. Groups that
//! are to be compared take turns, so that disturbances affect them alike.

use core::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::board::Board;
use super::world::Group;

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
/// A busy worker that got less than this share of its processor was disturbed by others.
const UNDISTURBED: f64 = 0.95;

/// Million packets (or events) a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    /// at the senders
    pub sent: f64,
    /// at the receivers, all together
    pub delivered: f64,
}

/// What the windows of one group say.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// one per round
    pub windows: Vec<Window>,
    /// latencies of all windows, sorted
    pub samples: Vec<u32>,
}

/// One window.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub rate: Rate,
    /// other programs took a worker's processor away
    pub disturbed: bool,
}

impl Outcome {
    /// There was no window without other programs: the figures are over disturbed ones.
    pub fn is_disturbed(&self) -> bool {
        self.undisturbed() == 0
    }

    fn undisturbed(&self) -> usize {
        self.windows.iter().filter(|w| !w.disturbed).count()
    }

    /// Of the undisturbed windows, if there are any.
    pub fn rates(&self) -> impl Iterator<Item = Rate> {
        let all = self.is_disturbed();
        self.windows
            .iter()
            .filter(move |w| all || !w.disturbed)
            .map(|w| w.rate)
    }

    /// Median over the undisturbed windows, if there are any.
    pub fn rate(&self) -> Rate {
        let over = |f: fn(Rate) -> f64| median(self.rates().map(f).collect());
        Rate {
            sent: over(|r| r.sent),
            delivered: over(|r| r.delivered),
        }
    }

    /// Median over the rounds of how many times as much was delivered as to `other`: whatever
    /// makes the machine faster or slower from one moment to the next concerns both. Where no round
    /// is good for both, the ratio of the medians.
    pub fn ratio(&self, other: &Self) -> f64 {
        let ratios = self.rounds(other, |a, b| !a.disturbed && !b.disturbed);
        if ratios.is_empty() {
            return times(self.rate().delivered, other.rate().delivered).unwrap_or(0.0);
        }
        median(ratios)
    }

    /// The ratios of the rounds that are good for both, or, where none is, of all.
    pub fn ratios(&self, other: &Self) -> Vec<f64> {
        let good = self.rounds(other, |a, b| !a.disturbed && !b.disturbed);
        match good.is_empty() {
            true => self.rounds(other, |_, _| true),
            false => good,
        }
    }

    fn rounds(&self, other: &Self, is_good: fn(&Window, &Window) -> bool) -> Vec<f64> {
        let rounds = self.windows.iter().zip(&other.windows);
        let good = rounds.filter(|(a, b)| is_good(a, b));
        good.filter_map(|(a, b)| times(a.rate.delivered, b.rate.delivered))
            .collect()
    }

    /// Largest over smallest rate, 0 if nothing was delivered at some time.
    pub fn spread(&self) -> f64 {
        let rates = || self.rates().map(|r| r.delivered);
        let (least, most) = (
            rates().fold(f64::INFINITY, f64::min),
            rates().fold(0.0, f64::max),
        );
        if least > 0.0 { most / least } else { 0.0 }
    }
}

/// How many times `b` is in `a`; of nothing nothing is a multiple.
fn times(a: f64, b: f64) -> Option<f64> {
    (b > 0.0).then(|| a / b)
}

/// Measures all `groups` in turns, one window each a round. A window in which other programs took
/// a worker's processor away does not count; there are up to three times as many rounds as are
/// wanted.
pub fn measure(
    board: &Board,
    groups: &mut [&mut Group<'_>],
    windows: Windows,
) -> Result<Vec<Outcome>, String> {
    let mut outcomes = vec![Outcome::default(); groups.len()];
    for _ in 0..windows.wanted * 3 {
        if outcomes.iter().all(|o| o.undisturbed() >= windows.wanted) {
            break;
        }
        for (group, outcome) in groups.iter_mut().zip(&mut outcomes) {
            let window = window(board, group, windows.length, &mut outcome.samples)?;
            outcome.windows.push(window);
            std::thread::sleep(windows.pause);
        }
    }
    outcomes.iter_mut().for_each(|o| o.samples.sort_unstable());
    Ok(outcomes)
}

fn window(
    board: &Board,
    group: &mut Group<'_>,
    length: Duration,
    samples: &mut Vec<u32>,
) -> Result<Window, String> {
    group.set_running(true);
    std::thread::sleep(WARM_UP);
    for spec in group.specs() {
        board.worker(spec.index).take_samples();
    }
    let before = look(board, group);
    std::thread::sleep(length);
    let after = look(board, group);
    group.set_running(false);
    group.check()?;
    for spec in group.specs() {
        samples.extend(board.worker(spec.index).take_samples());
    }

    let time = (after.at - before.at).as_secs_f64();
    let rate = |a: u64, b: u64| a.wrapping_sub(b) as f64 / time / 1e6;
    // how much of its processor each one had
    let share = before
        .on_cpu
        .iter()
        .zip(&after.on_cpu)
        .map(|(b, a)| a.saturating_sub(*b) as f64 / 1e9 / time)
        .fold(1.0, f64::min);
    let rate = Rate {
        sent: rate(after.sent, before.sent),
        delivered: rate(after.delivered, before.delivered),
    };
    Ok(Window {
        rate,
        disturbed: share < UNDISTURBED,
    })
}

struct Look {
    at: Instant,
    sent: u64,
    delivered: u64,
    on_cpu: Vec<u64>,
}

fn look(board: &Board, group: &Group<'_>) -> Look {
    let time = |pids: Vec<u32>| pids.into_iter().map(time_on_cpu).sum();
    let on_cpu = group.busy().into_iter().map(time).collect();
    let sum = |receivers: bool| {
        group
            .specs()
            .filter(|s| s.role.receives() == receivers)
            .map(|s| board.worker(s.index).count.load(Relaxed))
            .fold(0, u64::wrapping_add)
    };
    Look {
        at: Instant::now(),
        sent: sum(false),
        delivered: sum(true),
        on_cpu,
    }
}

/// Nanoseconds that the threads of process `pid` have run, or a number that never grows if nobody knows.
fn time_on_cpu(pid: u32) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let of_thread = |thread: std::fs::DirEntry| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    let threads = threads.into_iter().flatten().flatten();
    threads.filter_map(of_thread).sum()
}

/// The middle one, or the mean of the two in the middle; 0 of none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// The value below which `percent` of the sorted values lie.
pub fn percentile(sorted: &[u32], percent: usize) -> Option<u32> {
    sorted
        .get((sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?))
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[5], 99), Some(5));
        assert_eq!(percentile(&[1, 2, 3, 4], 50), Some(3));
    }

    #[test]
    fn disturbed_windows_do_not_count_and_ratios_are_taken_round_by_round() {
        let outcome = |delivered: &[f64]| Outcome {
            // a minus stands for a disturbed window
            windows: delivered
                .iter()
                .map(|d| Window {
                    rate: Rate {
                        sent: 0.0,
                        delivered: d.abs(),
                    },
                    disturbed: *d < 0.0,
                })
                .collect(),
            samples: Vec::new(),
        };
        let limit = outcome(&[100.0, 20.0, -1.0, 100.0]);
        let other = outcome(&[50.0, 10.0, 40.0, -1.0]);
        assert_eq!(limit.rate().delivered, 100.0);
        assert_eq!(other.ratio(&limit), 0.5);
        assert_eq!(limit.spread(), 5.0);
        assert!(!limit.is_disturbed());
        assert_eq!(outcome(&[-1.0, 8.0]).ratio(&outcome(&[4.0, -1.0])), 2.0);
        let all = outcome(&[-3.0, -5.0]);
        assert!(all.is_disturbed());
        assert_eq!(all.rate().delivered, 4.0);
    }
}
