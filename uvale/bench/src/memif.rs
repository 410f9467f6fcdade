//! DPDK's testpmd, without huge pages. Over memif, point to point with no switch in it: two processes, one that only
//! sends and one that only receives. Over rings: two threads of one process, each of which moves bursts from one ring
//! to the other one. They take turns with ours: between their windows they are stopped by a signal.

mod dpdk;
pub mod timed;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::board::wait_for;
use super::histogram::Histogram;
use super::measure::{Look, Party, time_on_cpu};
use super::raw::{die_with_parent, start_real_time};
use super::temporary::Removed;
use super::world::end;

const PROGRAM: &str = "dpdk-testpmd";
/// Longest time until both have started, and until one answers.
const START: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(5);

/// Packets that go round in rings, whose size is 1024.
const ROUND: u32 = 512;

/// What is to be measured.
pub struct Setup {
    over: Over,
    burst: u32,
}

/// What packets go over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// from one process to another one
    Memif,
    /// between two threads
    Rings,
}

impl Setup {
    /// Bursts of so many packets; or why there is nothing to measure.
    pub fn new(over: Over, burst: u32) -> Result<Self, String> {
        if !installed() {
            return Err(format!(
                "{PROGRAM} not installed (Debian: apt install dpdk-dev)"
            ));
        }
        // testpmd's own bound.
        let most = 512;
        match burst <= most {
            true => Ok(Self { over, burst }),
            false => Err(format!("bursts of {burst}: {PROGRAM} has {most} at most")),
        }
    }

    /// Starts what there is to start, and stops it again until a window begins.
    pub fn start(self, cpus: &[usize], real_time: bool) -> Result<Peer, String> {
        let [tx_cpu, rx_cpu, ..] = cpus else {
            return Err("one processor only".into());
        };
        let dir = Removed::new()?;
        let start = |name: &str, options: &[String]| {
            let burst = format!("--burst={}", self.burst);
            Testpmd::start(&dir.0, name, options, &burst, real_time)
        };
        // The first of the logical cores only sleeps, and answers questions.
        let processes = match self.over {
            Over::Memif => {
                let socket = dir.0.join("memif");
                let options = |role: &str, cpu: usize, mode: &str| {
                    [
                        format!("--lcores=0@{cpu},1@{cpu}"),
                        dpdk::memif(role, &socket),
                        "--".to_owned(),
                        "--auto-start".to_owned(),
                        format!("--forward-mode={mode}"),
                    ]
                };
                let mut receiver = start("server", &options("server", *rx_cpu, "rxonly"))?;
                if !wait_for(START, || socket.exists() || receiver.is_gone()) || receiver.is_gone()
                {
                    return Err(receiver.why("has not made its socket"));
                }
                let mut client = options("client", *tx_cpu, "txonly").to_vec();
                client.push("--txpkts=60".to_owned());
                vec![receiver, start("client", &client)?]
            }
            Over::Rings => {
                let lcores = format!("--lcores=0@{tx_cpu},1@{tx_cpu},2@{rx_cpu}");
                let rings = ["--vdev=net_ring0", "--vdev=net_ring1"];
                let rest = ["--", "--nb-cores=2", "--forward-mode=io"];
                let words = rings.into_iter().chain(rest).map(str::to_owned);
                let options: Vec<_> = [lcores].into_iter().chain(words).collect();
                let mut one = start("rings", &options)?;
                one.threads = 2;
                let bursts = (ROUND / self.burst).max(1);
                one.ask(&format!("start tx_first {bursts}"))?;
                vec![one]
            }
        };
        let mut peer = Peer {
            processes,
            _dir: dir,
        };
        peer.wait_for_packets()?;
        peer.set_running(false)?;
        Ok(peer)
    }
}

/// Is testpmd in PATH?
fn installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(PROGRAM).is_file())
}

/// The processes: the one that receives, and the one that sends, if that is another one.
pub struct Peer {
    processes: Vec<Testpmd>,
    _dir: Removed,
}

impl Peer {
    /// The link comes up some time after all have started.
    fn wait_for_packets(&mut self) -> Result<(), String> {
        let end = Instant::now() + START;
        let first = self.received()?;
        while self.received()? == first {
            self.check()?;
            if Instant::now() > end {
                return Err(self.processes[0].why("has received nothing"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn received(&mut self) -> Result<u64, String> {
        self.processes[0].counter("RX-packets:")
    }
}

impl Party for Peer {
    fn set_running(&mut self, running: bool) -> Result<(), String> {
        let signal = match running {
            true => Signal::SIGCONT,
            false => Signal::SIGSTOP,
        };
        let mut all = self.processes.iter_mut();
        all.try_for_each(|one| one.signal(signal))
    }

    fn look(&mut self) -> Result<Look, String> {
        let on_cpu = self.processes.iter().map(Testpmd::time_on_cpu).collect();
        let delivered = self.received()?;
        let at = Instant::now();
        let sent = match &mut self.processes[..] {
            [_, sender] => sender.counter("TX-packets:")?,
            // what one thread has sent the other one has received
            _ => delivered,
        };
        Ok(Look {
            at,
            sent,
            delivered,
            on_cpu,
            latencies: Histogram::default(),
        })
    }

    fn check(&mut self) -> Result<(), String> {
        let mut all = self.processes.iter_mut();
        match all.find_map(|one| one.is_gone().then(|| one.why("has ended"))) {
            Some(why) => Err(why),
            None => Ok(()),
        }
    }
}

struct Testpmd {
    child: Child,
    /// that forward
    threads: u64,
    input: ChildStdin,
    /// lines that it prints
    lines: mpsc::Receiver<String>,
    log: PathBuf,
}

impl Testpmd {
    /// Options of DPDK, `--`, and testpmd's.
    fn start(
        dir: &Path,
        name: &str,
        options: &[String],
        burst: &str,
        real_time: bool,
    ) -> Result<Self, String> {
        let log = dir.join(format!("{name}.log"));
        let errors = std::fs::File::create(&log).map_err(|e| e.to_string())?;
        // Into a pipe it would write whole blocks, and an answer is a few lines.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", PROGRAM]);
        dpdk::prepare(&mut command, dir);
        command.args(options);
        command.args(["--interactive", "--total-num-mbufs=8192", burst]);
        command.env_remove("LD_PRELOAD").stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(errors);
        die_with_parent(&mut command);
        if real_time {
            start_real_time(&mut command);
        }
        let mut child = command
            .spawn()
            .map_err(|e| format!("cannot run {PROGRAM}: {e}"))?;
        let (Some(stdout), Some(input)) = (child.stdout.take(), child.stdin.take()) else {
            end(&mut child);
            return Err(format!("{PROGRAM} has no standard input and output"));
        };
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            threads: 1,
            input,
            lines,
            log,
        })
    }

    /// A counter of its port.
    fn counter(&mut self, name: &str) -> Result<u64, String> {
        while self.lines.try_recv().is_ok() {}
        self.ask("show port stats 0")?;
        // The first answer comes when it has started.
        let end = Instant::now() + START.max(ANSWER);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(value) = counter(&line, name) {
                        return Ok(value);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => return Err(self.why("does not answer")),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(self.why("has ended")),
            }
        }
    }

    fn ask(&mut self, what: &str) -> Result<(), String> {
        let asked = self.input.write_all(format!("{what}\n").as_bytes());
        let asked = asked.and_then(|()| self.input.flush());
        asked.map_err(|_| self.why("takes no more commands"))
    }

    /// Of one thread: all those that forward are as busy.
    fn time_on_cpu(&self) -> u64 {
        time_on_cpu(self.child.id()) / self.threads
    }

    fn signal(&mut self, signal: Signal) -> Result<(), String> {
        kill(Pid::from_raw(self.child.id() as i32), signal).map_err(|e| self.why(&e.to_string()))
    }

    fn is_gone(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn why(&self, what: &str) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = log
            .lines()
            .rev()
            .find(|l| !l.trim().is_empty())
            .unwrap_or("no message");
        format!("{PROGRAM} {what}: {last}")
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.signal(Signal::SIGCONT);
        end(&mut self.child);
    }
}

/// A counter in a line of testpmd's statistics.
fn counter(line: &str, name: &str) -> Option<u64> {
    let value = line.trim().strip_prefix(name)?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::counter;

    #[test]
    fn statistics() {
        let line = "  RX-packets: 986816     RX-missed: 0          RX-bytes:  59208960";
        assert_eq!(counter(line, "RX-packets:"), Some(986816));
        assert_eq!(counter(line, "TX-packets:"), None);
        assert_eq!(
            counter("  TX-packets: 0          TX-errors: 0", "TX-packets:"),
            Some(0)
        );
    }
}
