//! A run while it runs: what its steps have in their hands.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use uvale_tools::signals::Signals;

use super::fill::{Values, fill, learnt};
use super::names::Names;
use super::network::Network;
use super::programs::{Prepare, Program};
use super::tester::{End, Tester};
use super::why::{Done, counted, error, failed};
use super::world::{World, kernel_reads};
use crate::plan::{LONGEST_WAIT, Run, Target, Verdict};

/// The longest sleep: after it is seen whether a program has ended, or a signal has come.
pub const LONGEST: Duration = Duration::from_millis(20);
/// After so much time without a frame it is seen whether the ports are still open.
const LOOK: Duration = Duration::from_millis(100);
/// The shortest pause between two questions to the daemon.
pub const PAUSE: Duration = Duration::from_millis(2);
/// Frames that may be on the way to a program by an interface, or on a kernel, where nobody says whether it has read
/// them.
const UNSEEN: u32 = 256;

/// What is on the way to a program by an interface.
pub struct Away {
    /// slots that were delivered when it was asked
    delivered: u64,
    /// and since when there are no more
    since: Instant,
    /// slots that have left and are taken for lost
    lost: u64,
}

/// How far the steps of two ports have come that want what was sent at one of them at the other.
#[derive(Clone, Copy, Default)]
pub struct Same {
    /// frames that had left the wire
    pub sent: usize,
    /// frames that had been given to it
    pub given: usize,
    /// of the last such step; 0: there was none
    pub line: usize,
}

/// What its steps have in their hands.
pub struct Running<'r> {
    pub run: &'r Run,
    pub names: Names,
    pub network: Network,
    pub tester: Tester,
    pub programs: Vec<Program>,
    /// none on a kernel
    pub world: Option<World>,
    pub learnt: Values,
    pub prepare: &'r Prepare<'r>,
    pub signals: Signals,
    /// a signal has come
    pub was_stopped: bool,
    /// line of the step, once steps are carried out
    pub line: Option<usize>,
    /// when the daemon was asked last
    pub asked: Instant,
    /// ports that programs have had open
    pub opened: Vec<String>,
    /// how long the last thing was waited for that has not come, for people
    pub waited: String,
    /// what is on the way to interfaces, by port
    pub away: BTreeMap<String, Away>,
    /// by ports: sent on, received on
    pub same: BTreeMap<(String, String), Same>,
}

impl Away {
    fn new(delivered: u64) -> Self {
        Self {
            delivered,
            since: Instant::now(),
            lost: 0,
        }
    }

    /// How many more slots may leave.
    fn room(&mut self, sent: u64, delivered: u64, patience: Duration) -> u32 {
        if self.delivered != delivered {
            (self.delivered, self.since) = (delivered, Instant::now());
        }
        let mut away = sent.saturating_sub(delivered + self.lost);
        if self.since.elapsed() > patience {
            self.lost += away;
            away = 0;
        }
        u64::from(UNSEEN).saturating_sub(away) as u32
    }
}

impl Running<'_> {
    /// Sends and takes frames for a moment, and complains about what has ended.
    pub fn turn(&mut self, longest: Duration) -> Done {
        let before = self.tester.moved();
        self.tester.turn(self.line, longest.min(LONGEST))?;
        if self.signals.has_come() {
            self.was_stopped = true;
            return Err(error("it was stopped by a signal"));
        }
        for program in &mut self.programs {
            program.check(self.line)?;
        }
        if self.tester.ends.iter().any(End::wants_credit) {
            self.give_credit()?;
        } else if before == self.tester.moved() && self.asked.elapsed() > LOOK {
            self.look_at_ports()?;
        }
        Ok(())
    }

    /// Turns until `look` finds something; none if it does not for as long as the case's `timeout`, during which
    /// nothing has moved.
    pub fn until<T>(
        &mut self,
        mut look: impl FnMut(&mut Self) -> Done<Option<T>>,
    ) -> Done<Option<T>> {
        let mut moved = self.tester.moved();
        let mut end = Instant::now() + self.run.timeout;
        // Where frames come without end, that is no reason to wait without end.
        let last = Instant::now() + self.run.timeout * LONGEST_WAIT;
        loop {
            if let Some(found) = look(self)? {
                return Ok(Some(found));
            }
            if Instant::now() >= end.min(last) {
                let timeout = self.run.timeout;
                self.waited = match end < last {
                    true => format!("within {timeout:?}"),
                    false => format!(
                        "within {:?}, in which frames came without end",
                        timeout * LONGEST_WAIT
                    ),
                };
                return Ok(None);
            }
            self.turn(LONGEST)?;
            if self.tester.moved() != moved {
                moved = self.tester.moved();
                end = Instant::now() + self.run.timeout;
            }
        }
    }

    /// Waits until programs have read all that they were sent, and nothing has come for as long as the case says.
    pub fn settle(&mut self) -> Done {
        let mut moved = self.tester.moved();
        let mut quiet = Instant::now();
        let mut end = quiet + self.run.timeout;
        let last = quiet + self.run.timeout * LONGEST_WAIT;
        let mut has_read = false;
        loop {
            let now = Instant::now();
            let is_idle = self.tester.ends.iter().all(End::is_idle);
            if moved != self.tester.moved() || !is_idle {
                (moved, quiet, has_read) = (self.tester.moved(), now, false);
                end = now + self.run.timeout;
            }
            if now > last {
                return Err(failed(
                    self.line,
                    format!(
                        "frames have come without end for {:?}",
                        self.run.timeout * LONGEST_WAIT
                    ),
                ));
            }
            if !has_read && is_idle {
                let unread = self.unread()?;
                has_read = unread.is_empty();
                quiet = Instant::now();
                if !has_read && now >= end {
                    let list: Vec<_> = unread
                        .iter()
                        .map(|(port, slots)| {
                            format!("{} on port {port}", counted(*slots as usize, "frame"))
                        })
                        .collect();
                    return Err(failed(
                        self.line,
                        format!(
                            "after {:?} programs have not read {}",
                            self.run.timeout,
                            list.join(", ")
                        ),
                    ));
                }
            }
            if has_read && now.saturating_duration_since(quiet) >= self.run.quiet {
                if self.unread()?.is_empty() {
                    // Whoever has closed its ports reads nothing.
                    return self.look_at_ports();
                }
                has_read = false;
            }
            let rest = match has_read {
                true => self.run.quiet.saturating_sub(quiet.elapsed()),
                false => PAUSE,
            };
            self.turn(rest)?;
        }
    }

    fn unread(&mut self) -> Done<Vec<(String, u32)>> {
        self.asked = Instant::now();
        match &self.world {
            None => Ok(Vec::new()),
            Some(world) => Ok(world.look()?.unread(&self.names, &self.run.ignore)),
        }
    }

    /// Says to the ends how many slots programs have free.
    fn give_credit(&mut self) -> Done {
        if self.asked.elapsed() < PAUSE && self.tester.moved() > 0 {
            std::thread::sleep(PAUSE.saturating_sub(self.asked.elapsed()));
        }
        self.asked = Instant::now();
        let ports = match &self.world {
            None => None,
            Some(world) => Some(world.look()?),
        };
        for end in &mut self.tester.ends {
            if !end.wants_credit() {
                continue;
            }
            let name = self.names.get(&end.name)?;
            let Some(ports) = &ports else {
                end.credit = Some(UNSEEN);
                continue;
            };
            end.credit = Some(match name.switch() {
                Some(switch) => ports.room_on(switch).unwrap_or(UNSEEN),
                None => {
                    let delivered = ports.delivered(name).unwrap_or(end.slots_sent);
                    let away = self
                        .away
                        .entry(end.name.clone())
                        .or_insert_with(|| Away::new(delivered));
                    away.room(end.slots_sent, delivered, self.run.timeout / 2)
                }
            });
        }
        Ok(())
    }

    /// Number of a program that has not opened a port that it opens, and the port.
    pub fn late(&mut self) -> Done<Option<(usize, String)>> {
        let ports = match &self.world {
            None => None,
            Some(world) => Some(world.look()?),
        };
        let mut opened = Vec::new();
        let programs = self.run.programs.iter().zip(&mut self.programs);
        for (i, (planned, program)) in programs.enumerate() {
            // One that has done all that it does may have closed its ports.
            if program.is_done() {
                continue;
            }
            let is_late = |port: &&String| match &ports {
                Some(ports) => Ok(!ports.has(self.names.get(port)?)),
                None => Ok(program.devices(nm_abi::NETMAP_DEVICE_NAME) < planned.opens.len()),
            };
            for port in &planned.opens {
                if is_late(&port)? {
                    return Ok(Some((i, port.clone())));
                }
                opened.push(port.clone());
            }
        }
        self.opened = opened;
        Ok(None)
    }

    /// Waits until somebody is there to read what is sent on a port, as far as that can be known.
    pub fn wait_for_reader(&mut self, on: &str) -> Done {
        self.end(on)?;
        let name = self.names.get(on)?.clone();
        let is_of_machine = matches!(self.run.target, Target::Nic(_)) && name.interface.is_some();
        if is_of_machine || kernel_reads(self.run, on) {
            return Ok(());
        }
        let is_there = self.until(|running| {
            let Some(world) = &running.world else {
                return Ok(Some(()));
            };
            let ports = world.look()?;
            let is_there = match name.switch() {
                Some(switch) => ports.room_on(switch).is_some(),
                None => ports.has(&name),
            };
            Ok(is_there.then_some(()))
        })?;
        if is_there.is_some() {
            return Ok(());
        }
        let hint = match &name.interface {
            Some(_) => format!("; what the kernel reads is named ${{interface.{on}}} in the case"),
            None => String::new(),
        };
        Err(self.wrong(format!(
            "what is sent on port {on} ({}) reaches nobody: {} no program has opened it; {}{hint}",
            name.program,
            self.waited,
            self.ports_for_people()?,
        )))
    }

    /// The ports that programs have open, in words.
    pub fn ports_for_people(&self) -> Done<String> {
        Ok(match &self.world {
            Some(world) => world.look()?.list(),
            None => "a kernel does not tell who has which port open".to_owned(),
        })
    }

    /// Complains about a port that a program had open, and has not any more.
    fn look_at_ports(&mut self) -> Done {
        self.asked = Instant::now();
        let Some(world) = &self.world else {
            return Ok(());
        };
        let ports = world.look()?;
        for port in &self.opened {
            let name = self.names.get(port)?;
            if ports.has(name) {
                continue;
            }
            let mut holders = self.run.programs.iter().zip(&mut self.programs);
            let holder = holders.find(|(planned, _)| planned.opens.contains(port));
            let Some((_, program)) = holder else { continue };
            // One that ends by itself closes its ports before.
            if program.is_done() || program.is_to_end() {
                continue;
            }
            // It may be about to end, and why it does says more.
            program.check(self.line)?;
            let said = program.said();
            return Err(failed(
                self.line,
                format!(
                    "{} has closed port {port} ({}){said}",
                    program.shown, name.program
                ),
            ));
        }
        Ok(())
    }

    /// What is wrong with the step.
    pub fn wrong(&self, why: impl std::fmt::Display) -> Verdict {
        failed(self.line, why.to_string())
    }

    /// The end of a port.
    pub fn end(&mut self, port: &str) -> Done<&mut End> {
        self.names.get(port)?;
        let end = self.tester.end(port);
        end.ok_or_else(|| error(format!("the tester has no hand in port {port}")))
    }

    /// Words of a command, filled in.
    pub fn words(&self, words: &[String]) -> Done<Vec<String>> {
        let value = |name: &str| match self.names.value(name)? {
            Some(value) => Ok(Some(value)),
            None if self
                .learnt
                .contains_key(name.split(['+', '-']).next().unwrap_or(name)) =>
            {
                learnt(&self.learnt, name)
            }
            None => Ok(None),
        };
        let words = words.iter().map(|word| fill(word, &value));
        words
            .collect::<Result<_, _>>()
            .map_err(|why| failed(self.line, why))
    }
}
