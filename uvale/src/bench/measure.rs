//! Windows: short stretches of time in which a group of workers runs and is counted. Groups that
//! are to be compared take turns, so that whatever else goes on strikes them alike.

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

/// Time for caches, rings and sleepers to get into their stride.
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
    /// median
    pub rate: Rate,
    /// no window was undisturbed: the median is over disturbed ones
    pub disturbed: bool,
    /// latencies of all windows, sorted
    pub samples: Vec<u32>,
}

struct Window {
    rate: Rate,
    share: f64,
}

/// Measures all `groups` in turns. A window in which other programs took a worker's processor
/// away is repeated, up to twice as many times as windows are wanted.
pub fn measure(
    board: &Board,
    groups: &mut [&mut Group<'_>],
    windows: Windows,
) -> Result<Vec<Outcome>, String> {
    let mut seen: Vec<Vec<Window>> = groups.iter().map(|_| Vec::new()).collect();
    let mut samples: Vec<Vec<u32>> = groups.iter().map(|_| Vec::new()).collect();
    let enough = |w: &Vec<Window>| good(w) >= windows.wanted;
    for _ in 0..windows.wanted * 3 {
        if seen.iter().all(enough) {
            break;
        }
        for (i, group) in groups.iter_mut().enumerate() {
            seen[i].push(window(board, group, windows.length, &mut samples[i])?);
            std::thread::sleep(windows.pause);
        }
    }
    Ok(seen
        .iter()
        .zip(samples)
        .map(|(windows, samples)| outcome(windows, samples))
        .collect())
}

fn good(windows: &[Window]) -> usize {
    windows.iter().filter(|w| w.share >= UNDISTURBED).count()
}

fn outcome(windows: &[Window], mut samples: Vec<u32>) -> Outcome {
    let disturbed = good(windows) == 0;
    let count = |w: &&Window| disturbed || w.share >= UNDISTURBED;
    let over = |f: fn(&Window) -> f64| median(windows.iter().filter(count).map(f).collect());
    samples.sort_unstable();
    let rate = Rate {
        sent: over(|w| w.rate.sent),
        delivered: over(|w| w.rate.delivered),
    };
    Outcome {
        rate,
        disturbed,
        samples,
    }
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
    Ok(Window { rate, share })
}

struct Look {
    at: Instant,
    sent: u64,
    delivered: u64,
    on_cpu: Vec<u64>,
}

fn look(board: &Board, group: &Group<'_>) -> Look {
    let on_cpu = group.busy().map(time_on_cpu).collect();
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

/// Nanoseconds that process `pid` has run, or a number that never grows if nobody knows.
fn time_on_cpu(pid: u32) -> u64 {
    std::fs::read_to_string(format!("/proc/{pid}/schedstat"))
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
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
    fn disturbed_windows_count_only_if_there_are_no_others() {
        let window = |delivered, share| Window {
            rate: Rate {
                sent: 0.0,
                delivered,
            },
            share,
        };
        let mixed = outcome(&[window(1.0, 0.5), window(9.0, 1.0)], vec![3, 1]);
        assert_eq!((mixed.rate.delivered, mixed.disturbed), (9.0, false));
        assert_eq!(mixed.samples, [1, 3]);
        let none = outcome(&[window(1.0, 0.5), window(3.0, 0.6)], vec![]);
        assert_eq!((none.rate.delivered, none.disturbed), (2.0, true));
    }
}
