//! Runners: for each NIC on a switch a process (`uvale nic-runner`) that brings in what arrives. It is started here
//! with a connection of its own, by which the daemon hears of its end, and starts another; when the daemon ends, so
//! does the runner. To change what a runner does another one takes its place.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Daemon;
use super::log::{Level, log};
use super::nic::Changes;
use uvale_control::{NicInfo, Polling};

/// Most processors that are looked at.
const MOST_PROCESSORS: usize = rustix::thread::CpuSet::MAX_CPU;
/// A runner that ends sooner after its start is not replaced before this time is over.
const LEAST_LIFE: Duration = Duration::from_millis(500);

/// What a runner is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Task {
    /// NIC port and port on the switch: record and generation
    ports: [(u32, u32); 2],
    polling: Option<Polling>,
    /// name of the port on the switch, for people
    name: String,
}

struct Runner {
    task: Task,
    since: Instant,
    /// its connection and its process; none: it could not be started
    started: Option<(u64, u32)>,
}

/// All of them, by record of the NIC port.
#[derive(Default)]
pub(super) struct Runners {
    by_nic: BTreeMap<u32, Runner>,
    /// what has to be done, by the same, and as of which changes
    tasks: BTreeMap<u32, Task>,
    looked: Option<Changes>,
    /// processes that have not ended yet, or not been waited for
    children: Vec<Child>,
}

impl Runners {
    /// The process at the other end of connection `id`, if it is a runner.
    pub fn process_of(&self, id: u64) -> Option<i32> {
        let started = self.by_nic.values().filter_map(|runner| runner.started);
        let (_, pid) = started.into_iter().find(|(of, _)| *of == id)?;
        i32::try_from(pid).ok()
    }
}

impl Daemon {
    /// Starts the runners that are missing, and ends those that are not wanted. True if there is something to be done
    /// later.
    pub(super) fn tend_runners(&mut self) -> bool {
        if self.runners.by_nic.is_empty() && self.runners.children.is_empty() && !self.nics.any() {
            return false;
        }
        self.find_tasks();
        let mut later = false;
        for (nic, task) in self.runners.tasks.clone() {
            later |= !self.has_runner(nic, task);
        }
        let is_left = |child: &mut Child| matches!(child.try_wait(), Ok(None));
        self.runners.children.retain_mut(is_left);
        later || self.runners.children.len() > self.runners.by_nic.len()
    }

    /// Finds out what has to be done, if something has changed, and ends the runners that do something else.
    fn find_tasks(&mut self) {
        let changes = self.changes();
        if self.runners.looked.replace(changes) == Some(changes) {
            return;
        }
        let tasks = self
            .world
            .nics()
            .filter_map(|nic| Some((nic.port, self.task(&nic)?)));
        let tasks: BTreeMap<u32, Task> = tasks.collect();
        let known: Vec<u32> = self.runners.by_nic.keys().copied().collect();
        for nic in known {
            let Some(runner) = self.runners.by_nic.get(&nic) else {
                continue;
            };
            if tasks.get(&nic) == Some(&runner.task) {
                continue;
            }
            if let Some((id, _)) = runner.started {
                self.has_ended(id);
            }
            self.runners.by_nic.remove(&nic);
        }
        self.runners.tasks = tasks;
    }

    /// Sees to it that a runner does `task`. False if that is for later.
    fn has_runner(&mut self, nic: u32, task: Task) -> bool {
        if let Some(runner) = self.runners.by_nic.get(&nic) {
            let is_there = |(id, _)| self.connections.contains_key(&id);
            if runner.started.is_some_and(is_there) {
                return true;
            }
            if runner.since.elapsed() < LEAST_LIFE {
                return false;
            }
        }
        let before = self
            .runners
            .by_nic
            .get(&nic)
            .and_then(|runner| runner.started);
        let started = match self.start_runner(&task) {
            Ok(started) => {
                if let Some((_, pid)) = before {
                    let (name, now) = (&task.name, started.1);
                    let what =
                        format!("{name}: its runner (pid {pid}) has ended: pid {now} goes on");
                    log(Level::Warning, &what);
                }
                Some(started)
            }
            Err(why) => {
                let name = &task.name;
                log(
                    Level::Warning,
                    &format!("{name}: nobody brings in what arrives: {why}"),
                );
                None
            }
        };
        let is_there = started.is_some();
        let since = Instant::now();
        let runner = Runner {
            task,
            since,
            started,
        };
        self.runners.by_nic.insert(nic, runner);
        is_there
    }

    fn start_runner(&mut self, task: &Task) -> Result<(u64, u32), String> {
        let exe = uvale_system::sys::this_program()
            .map_err(|e| format!("cannot find out where this program is: {e}"))?;
        let cannot = |e: std::io::Error| format!("cannot start a process: {e}");
        let (ours, theirs) = uvale_link::channel::pair().map_err(|e| cannot(e.into()))?;
        let [nic, port] = task
            .ports
            .map(|(record, generation)| format!("{record},{generation}"));
        let mut command = Command::new(exe);
        command
            .env_clear()
            .envs(uvale_link::environment::for_daemon())
            .args(["nic-runner", "--nic", &nic, "--port", &port])
            .args(polling_option(task.polling))
            .arg(&task.name)
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null());
        let child = command.spawn().map_err(cannot)?;
        let pid = child.id();
        self.runners.children.push(child);
        Ok((self.accept(ours), pid))
    }

    /// What a runner has to do for this NIC, if there is something.
    fn task(&self, nic: &NicInfo) -> Option<Task> {
        let attached = nic.attached.as_ref()?;
        self.nics.shape(nic.port)?;
        if nic.is_gone {
            return None;
        }
        let generation = self.generation_of(attached.port)?;
        Some(Task {
            ports: [(nic.port, nic.generation), (attached.port, generation)],
            polling: attached.polling,
            name: attached.name.clone(),
        })
    }

    fn generation_of(&self, port: u32) -> Option<u32> {
        use core::sync::atomic::Ordering::Relaxed;
        Some(self.ctl.port(port)?.generation.load(Relaxed))
    }
}

fn polling_option(polling: Option<Polling>) -> Vec<String> {
    match polling {
        None => Vec::new(),
        Some(Polling::One(cpu)) => vec!["--poll-all".into(), cpu.to_string()],
        Some(Polling::Each { first, count }) => {
            vec!["--poll-each".into(), format!("{first},{count}")]
        }
    }
}

/// The processors that this process, and its runners, may use.
pub(super) fn processors() -> Vec<u32> {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_default();
    let all = (0..MOST_PROCESSORS).filter(|cpu| set.is_set(*cpu));
    all.map(|cpu| cpu as u32).collect()
}
