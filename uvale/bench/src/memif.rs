//! DPDK's memif, point to point with no switch in it: two testpmd processes, one that only sends and one that only
//! receives, no huge pages. They take turns with ours: between their windows both are stopped by a signal.

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
use super::world::end;

const PROGRAM: &str = "dpdk-testpmd";
/// Longest time until both have started, and until one answers.
const START: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(5);

/// What is to be measured.
pub struct Setup {
    burst: u32,
}

impl Setup {
    /// Bursts of so many packets; or why there is nothing to measure.
    pub fn new(burst: u32) -> Result<Self, String> {
        if !installed() {
            return Err(format!(
                "{PROGRAM} not installed (Debian: apt install dpdk-dev)"
            ));
        }
        // testpmd's own bound.
        let most = 512;
        match burst <= most {
            true => Ok(Self { burst }),
            false => Err(format!("bursts of {burst}: {PROGRAM} has {most} at most")),
        }
    }

    /// Starts both, and stops them again until a window begins.
    pub fn start(self, cpus: &[usize], real_time: bool) -> Result<Pair, String> {
        let [tx_cpu, rx_cpu, ..] = cpus else {
            return Err("one processor only".into());
        };
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("uvale-memif-XXXXXX"))
            .map_err(|e| format!("cannot make a directory: {e}"))?;
        let dir = Removed(dir);
        let start =
            |role, cpu, mode| Testpmd::start(&dir.0, role, cpu, mode, self.burst, real_time);
        let mut receiver = start("server", *rx_cpu, "rxonly")?;
        let socket = dir.0.join("memif");
        if !wait_for(START, || socket.exists() || receiver.is_gone()) || receiver.is_gone() {
            return Err(receiver.why("has not made its socket"));
        }
        let sender = start("client", *tx_cpu, "txonly")?;
        let mut pair = Pair {
            sender,
            receiver,
            _dir: dir,
        };
        pair.wait_for_packets()?;
        pair.set_running(false)?;
        Ok(pair)
    }
}

/// Is testpmd in PATH?
fn installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(PROGRAM).is_file())
}

/// A directory that goes.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Both processes.
pub struct Pair {
    sender: Testpmd,
    receiver: Testpmd,
    _dir: Removed,
}

impl Pair {
    fn both(&mut self) -> [&mut Testpmd; 2] {
        [&mut self.sender, &mut self.receiver]
    }

    /// The link comes up some time after both have started.
    fn wait_for_packets(&mut self) -> Result<(), String> {
        let end = Instant::now() + START;
        let first = self.receiver.counter("RX-packets:")?;
        while self.receiver.counter("RX-packets:")? == first {
            self.check()?;
            if Instant::now() > end {
                return Err(self.receiver.why("has received nothing"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Party for Pair {
    fn set_running(&mut self, running: bool) -> Result<(), String> {
        let signal = if running {
            Signal::SIGCONT
        } else {
            Signal::SIGSTOP
        };
        self.both()
            .into_iter()
            .try_for_each(|one| one.signal(signal))
    }

    fn look(&mut self) -> Result<Look, String> {
        let on_cpu = self.both().map(|one| time_on_cpu(one.child.id())).to_vec();
        let delivered = self.receiver.counter("RX-packets:")?;
        let at = Instant::now();
        Ok(Look {
            at,
            sent: self.sender.counter("TX-packets:")?,
            delivered,
            on_cpu,
            latencies: Histogram::default(),
        })
    }

    fn check(&mut self) -> Result<(), String> {
        for one in self.both() {
            if one.is_gone() {
                return Err(one.why("has ended"));
            }
        }
        Ok(())
    }
}

struct Testpmd {
    child: Child,
    input: ChildStdin,
    /// lines that it prints
    lines: mpsc::Receiver<String>,
    log: PathBuf,
}

impl Testpmd {
    fn start(
        dir: &Path,
        role: &str,
        cpu: usize,
        mode: &str,
        burst: u32,
        real_time: bool,
    ) -> Result<Self, String> {
        let log = dir.join(format!("{role}.log"));
        let errors = std::fs::File::create(&log).map_err(|e| e.to_string())?;
        let socket = dir.join("memif");
        // Into a pipe it would write whole blocks, and an answer is a few lines.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", PROGRAM]);
        // Two logical cores on one processor: the first only sleeps, and answers questions.
        command.arg(format!("--lcores=0@{cpu},1@{cpu}"));
        command.args(["--no-huge", "-m", "256", "--no-pci", "--no-telemetry"]);
        command.arg(format!(
            "--file-prefix=uvale-bench-{}-{role}",
            std::process::id()
        ));
        command.arg(format!(
            "--vdev=net_memif0,role={role},id=0,socket={},socket-abstract=no,rsize=10",
            socket.display()
        ));
        command.args([
            "--",
            "--interactive",
            "--auto-start",
            "--total-num-mbufs=8192",
        ]);
        command.arg(format!("--burst={burst}"));
        command.arg(format!("--forward-mode={mode}"));
        if mode == "txonly" {
            command.arg("--txpkts=60");
        }
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
            input,
            lines,
            log,
        })
    }

    /// A counter of its port.
    fn counter(&mut self, name: &str) -> Result<u64, String> {
        while self.lines.try_recv().is_ok() {}
        let asked = self.input.write_all(b"show port stats 0\n");
        if asked.and_then(|()| self.input.flush()).is_err() {
            return Err(self.why("takes no more commands"));
        }
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
