//! `--save` and `--since`: a report in a file, to count from.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uvale_link::proto::Report;
use uvale_link::report;
use uvale_link::session::Session;

use super::super::show::fetch;
use super::sample::{Changes, Sample};

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Baseline {
    /// seconds since the epoch
    saved_at: f64,
    /// the daemon: its number, and when it started
    daemon: (i32, f64),
    ports: Vec<report::Port>,
}

/// Seconds by which two computations of a daemon's start may differ: it reports whole seconds.
const SLACK: f64 = 3.0;

/// Keeps the counters in `file`.
pub fn save(file: &Path, session: &Session, now: &Sample) -> Result<(), String> {
    let saved_at = seconds_now();
    let baseline = Baseline {
        saved_at,
        daemon: daemon(session, saved_at)?,
        ports: now.ports.clone(),
    };
    let json = serde_json::to_vec(&baseline).map_err(|e| e.to_string())?;
    std::fs::write(file, json).map_err(|e| explain(file, &e))
}

/// What happened since `file` was saved.
pub fn since(file: &Path, session: &Session, now: &Sample) -> Result<Changes, String> {
    let json = std::fs::read(file).map_err(|e| explain(file, &e))?;
    let baseline: Baseline = serde_json::from_slice(&json).map_err(|_| {
        format!(
            "{} does not read; `uvale stats --save FILE` makes such a file",
            file.display()
        )
    })?;
    let time = seconds_now();
    let (pid, started) = daemon(session, time)?;
    let same = pid == baseline.daemon.0 && (started - baseline.daemon.1).abs() <= SLACK;
    let before = if same { baseline.ports.as_slice() } else { &[] };
    let seconds = (time - baseline.saved_at).max(0.0);
    Ok(Changes::between(&now.ports, before, seconds))
}

fn daemon(session: &Session, now: f64) -> Result<(i32, f64), String> {
    let (_, daemon) = fetch::<report::Daemon>(session, Report::Daemon)?;
    Ok((daemon.pid, now - daemon.uptime as f64))
}

fn seconds_now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

fn explain(file: &Path, error: &std::io::Error) -> String {
    format!("{}: {}", file.display(), uvale_tools::output::plain(error))
}
