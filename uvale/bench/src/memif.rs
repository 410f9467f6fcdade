//! DPDK's memif, point to point with no switch in it: two testpmd processes, one that only sends
//! and one that only receives, bursts of 32, no huge pages.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::measure::median;
use super::raw::{die_with_parent, start_real_time};
use super::world::end;

const PROGRAM: &str = "dpdk-testpmd";
const START: Duration = Duration::from_secs(10);

/// Million packets a second at the receiver, or why there is no such figure.
pub fn run(cpus: &[usize], seconds: usize, real_time: bool) -> Result<f64, String> {
    if !installed() {
        return Err(format!(
            "{PROGRAM} not installed (Debian: apt install dpdk-dev)"
        ));
    }
    let [tx_cpu, rx_cpu, ..] = cpus else {
        return Err("one processor only".into());
    };
    let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("uvale-memif-XXXXXX"))
        .map_err(|e| format!("cannot make a directory: {e}"))?;
    let start = |role, cpu, mode| Testpmd::start(&dir, role, cpu, mode, real_time);
    let receiver = start("server", *rx_cpu, "rxonly");
    let rates = receiver.and_then(|receiver| {
        exchange(
            &dir,
            receiver,
            || start("client", *tx_cpu, "txonly"),
            seconds,
        )
    });
    let _ = std::fs::remove_dir_all(&dir);
    rates.map(|rates| median(rates) / 1e6)
}

/// Is testpmd in PATH?
fn installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(PROGRAM).is_file())
}

fn exchange(
    dir: &Path,
    mut receiver: Testpmd,
    sender: impl FnOnce() -> Result<Testpmd, String>,
    seconds: usize,
) -> Result<Vec<f64>, String> {
    if !super::board::wait_for(START, || dir.join("memif").exists() || receiver.is_gone()) {
        return Err(receiver.why("has not made its socket"));
    }
    let mut sender = sender()?;
    // The first seconds say 0, and then something in between.
    let end = Instant::now() + START + Duration::from_secs(seconds as u64);
    let mut rates = Vec::new();
    while rates.len() < seconds + 1 && Instant::now() < end {
        if sender.is_gone() {
            return Err(sender.why("(sender) has ended"));
        }
        match receiver.rates.recv_timeout(Duration::from_millis(200)) {
            Ok(rate) if rate > 0.0 => rates.push(rate),
            Ok(_) | Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(_) => return Err(receiver.why("(receiver) has ended")),
        }
    }
    if rates.len() < 2 {
        return Err(receiver.why("has received nothing"));
    }
    rates.remove(0);
    Ok(rates)
}

struct Testpmd {
    child: Child,
    rates: mpsc::Receiver<f64>,
    log: std::path::PathBuf,
}

impl Testpmd {
    fn start(
        dir: &Path,
        role: &str,
        cpu: usize,
        mode: &str,
        real_time: bool,
    ) -> Result<Self, String> {
        let log = dir.join(format!("{role}.log"));
        let errors = std::fs::File::create(&log).map_err(|e| e.to_string())?;
        let socket = dir.join("memif");
        let mut command = Command::new(PROGRAM);
        // Two logical cores on one processor: the first only sleeps and prints.
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
            "--burst=32",
            "--stats-period=1",
            "--total-num-mbufs=8192",
        ]);
        command.arg(format!("--forward-mode={mode}"));
        if mode == "txonly" {
            command.arg("--txpkts=60");
        }
        command.env_remove("LD_PRELOAD").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(errors);
        die_with_parent(&mut command);
        if real_time {
            start_real_time(&mut command);
        }
        let mut child = command
            .spawn()
            .map_err(|e| format!("cannot run {PROGRAM}: {e}"))?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let (tell, rates) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(rate) = received(&line)
                    && tell.send(rate).is_err()
                {
                    break;
                }
            }
        });
        Ok(Self { child, rates, log })
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
        end(&mut self.child);
    }
}

/// Packets a second in a line of testpmd's statistics.
fn received(line: &str) -> Option<f64> {
    line.trim()
        .strip_prefix("Rx-pps:")?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::received;

    #[test]
    fn statistics() {
        assert_eq!(
            received("  Rx-pps:     44305574          Rx-bps:    146675800"),
            Some(44305574.0)
        );
        assert_eq!(
            received("  Tx-pps:            0          Tx-bps:            0"),
            None
        );
        assert_eq!(received("  RX-packets: 986816     RX-missed: 0"), None);
    }
}
