//! A station of a chain as a process of its own, as a program between pipes is one: while it can do nothing it sleeps,
//! until a neighbour wakes it. A futex for each direction of a lane, and nobody is woken who is awake.

use core::sync::atomic::{Ordering::*, fence};
use core::time::Duration;

use rustix::thread::futex;

use super::chain::Stations;
use crate::board::{Board, Lane, Word};

/// Longest sleep, after which a station looks whether it is to stop.
const LONGEST: Duration = Duration::from_millis(100);

/// A station.
pub struct Station<'a> {
    alone: Stations<'a>,
    /// where its packets come from, and where they go
    from: Option<&'a Lane>,
    to: Option<&'a Lane>,
    longest: Duration,
}

impl<'a> Station<'a> {
    /// Station `number` of a chain over `lanes`: number 0 sends, number `lanes.len()` receives, those between forward.
    pub fn new(
        board: &'a Board,
        lanes: &[usize],
        number: usize,
        shape: (u32, u16),
        copy: bool,
    ) -> Option<Self> {
        let lane = |i: usize| board.lane(*lanes.get(i)?);
        Some(Self {
            alone: Stations::new(board, lanes, number..number + 1, shape, copy)?,
            from: number.checked_sub(1).and_then(lane),
            to: lane(number),
            longest: LONGEST,
        })
    }

    /// Does what it can, or sleeps; packets that it sent or received, if it is an end of the chain.
    pub fn step(&mut self) -> u32 {
        // What others write, and then what it writes itself.
        let arrived = self.from.map(|lane| &lane.tail);
        let freed = self.to.map(|lane| &lane.head);
        let [was_arrived, was_freed] = [arrived, freed].map(read);
        let left = self.from.map(|lane| &lane.head);
        let sent = self.to.map(|lane| &lane.tail);
        let before = [left, sent].map(read);
        let n = self.alone.step();
        let changed = [left, sent].into_iter().zip(before);
        let mut moved = false;
        for (word, before) in changed {
            if let Some(word) = word.filter(|word| word.value.load(Relaxed) != before) {
                moved = true;
                wake(word);
            }
        }
        if !moved {
            match arrived {
                Some(word) if was_arrived == before[0] => sleep(word, was_arrived, self.longest),
                _ => {
                    let freed = freed.into_iter();
                    freed.for_each(|word| sleep(word, was_freed, self.longest));
                }
            }
        }
        n
    }
}

fn read(word: Option<&Word>) -> u32 {
    word.map_or(0, |word| word.value.load(Acquire))
}

/// Sleeps as long as the word has that value, but no longer than that.
fn sleep(word: &Word, seen: u32, longest: Duration) {
    word.sleeps.store(1, Relaxed);
    // SYNC POINT: SeqCst pairs with the fence in `wake`: one of the two sees what the other one has written.
    fence(SeqCst);
    if word.value.load(Acquire) == seen {
        let timeout = futex::Timespec {
            tv_sec: longest.as_secs() as i64,
            tv_nsec: longest.subsec_nanos().into(),
        };
        let _ = futex::wait(&word.value, futex::Flags::empty(), seen, Some(&timeout));
    }
    word.sleeps.store(0, Relaxed);
}

/// Wakes who sleeps until the word changes, which it has.
fn wake(word: &Word) {
    // SYNC POINT: SeqCst pairs with the fence in `sleep`.
    fence(SeqCst);
    if word.sleeps.load(Relaxed) != 0 {
        word.sleeps.store(0, Relaxed);
        let _ = futex::wake(&word.value, futex::Flags::empty(), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::prepare;

    #[test]
    fn stations_that_sleep_lose_nothing_and_wake_each_other() {
        const PACKETS: u32 = 400_000;
        let board = Board::new().unwrap();
        for lane in 0..3 {
            prepare(board.lane(lane).unwrap(), board.table(), &[]);
        }
        std::thread::scope(|scope| {
            for number in 0..4 {
                let board = &board;
                scope.spawn(move || {
                    let made = Station::new(board, &[0, 1, 2], number, (8, 60), false);
                    // Whom nobody wakes sleeps on.
                    let longest = Duration::from_secs(3600);
                    let mut station = Station {
                        longest,
                        ..made.unwrap()
                    };
                    let done = match station.to {
                        Some(lane) => &lane.tail,
                        None => &board.lane(2).unwrap().head,
                    };
                    let mut ends = 0;
                    while done.value.load(Relaxed) < PACKETS {
                        ends += station.step();
                    }
                    match number {
                        0 | 3 => assert_eq!(ends, PACKETS, "{number}"),
                        _ => assert_eq!(ends, 0, "{number}"),
                    }
                });
            }
        });
    }
}
