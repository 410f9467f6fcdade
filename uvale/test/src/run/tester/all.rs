//! All ends of the tester.
//!
//! One loop serves all of them. It never waits for one port to take a packet while others have packets to be read.

use std::time::{Duration, Instant};

use nm_user::{Watch, wait};

use super::End;
use crate::plan::{MOST_BYTES, MOST_FRAMES};
use crate::run::why::{Done, counted, error, failed, plain};

/// The tester's ends.
#[derive(Default)]
pub struct Tester {
    /// one for each port that it has a hand in
    pub ends: Vec<End>,
}

impl Tester {
    /// The end of that port.
    pub fn end(&mut self, port: &str) -> Option<&mut End> {
        self.ends.iter_mut().find(|end| end.name == port)
    }

    /// Sends and takes what it can, for the step of `line`, and sleeps for no longer than `longest` before it takes.
    pub fn turn(&mut self, line: Option<usize>, longest: Duration) -> Done {
        let now = Instant::now();
        for end in &mut self.ends {
            end.push(now).map_err(|why| failed(line, why))?;
        }
        self.echo();
        let due = self.ends.iter_mut().filter_map(|end| end.due(now)).min();
        let time = due.map_or(longest, |due| {
            due.saturating_duration_since(now).min(longest)
        });
        let mut watches: Vec<Watch<'_>> = self.ends.iter_mut().map(End::watch).collect();
        wait(&mut watches, Some(time)).map_err(|e| error(format!("the tester: {}", plain(&e))))?;
        let now = Instant::now();
        for end in &mut self.ends {
            end.is_dirty = false;
            end.pull(now);
        }
        self.is_no_flood().map_err(|why| failed(line, why))
    }

    /// Takes what programs have sent before they ended.
    pub fn take_the_rest(&mut self) {
        let mut watches: Vec<Watch<'_>> = self.ends.iter_mut().map(End::watch).collect();
        // Ports whose other ends have gone have nothing to wait for; what is in their rings is there.
        let _ = wait(&mut watches, Some(Duration::ZERO));
        let now = Instant::now();
        self.ends.iter_mut().for_each(|end| end.pull(now));
    }

    /// No port has more frames than memory is there for.
    fn is_no_flood(&self) -> Result<(), String> {
        let sent: usize = self.ends.iter().map(|end| end.sent.len()).sum();
        let bytes: usize = self.ends.iter().map(|end| end.bytes[0]).sum();
        for end in &self.ends {
            if end.came.len() > MOST_FRAMES + sent || end.bytes[1] > MOST_BYTES + bytes {
                return Err(format!(
                    "frames come without end on port {}: {} of {} bytes together, after {sent} were sent",
                    end.name,
                    counted(end.came.len(), "frame"),
                    end.bytes[1],
                ));
            }
        }
        Ok(())
    }

    /// What has left an end is heard by the others on its switch.
    fn echo(&mut self) {
        for i in 0..self.ends.len() {
            let end = &mut self.ends[i];
            let from = std::mem::replace(&mut end.echoed, end.sent.len());
            if end.switch.is_none() || from == end.sent.len() {
                continue;
            }
            let new: Vec<Vec<u8>> = end.sent[from..].iter().map(|f| f.bytes.clone()).collect();
            let switch = end.switch.clone();
            let others = self.ends.iter_mut().enumerate();
            for (_, other) in others.filter(|(j, other)| *j != i && other.switch == switch) {
                for bytes in &new {
                    *other.echoes.entry(bytes.clone()).or_default() += 1;
                }
            }
        }
    }

    /// Does the order of frames say anything but within flows, at all ports?
    pub fn keeps_order(&mut self) -> bool {
        self.ends.iter_mut().all(End::has_one_ring)
    }

    /// Frames that have left and come, in all.
    pub fn moved(&self) -> usize {
        self.ends
            .iter()
            .map(|end| end.sent.len() + end.came.len())
            .sum()
    }
}
