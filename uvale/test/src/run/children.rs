//! Whatever a run has started ends with it: children, and children of children that have lost their parents.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};

/// How long a process that was killed may take: one that is stuck in the kernel is left alone then.
const KILL_TAKES: Duration = Duration::from_secs(10);

/// From now on processes whose parents have ended become children of this one, if it has started their parents.
pub fn adopt() -> Result<(), String> {
    set_child_subreaper(Some(getpid())).map_err(|e| format!("cannot become a subreaper: {e}"))
}

/// Kills all children, and those that become children of this process by that.
pub fn end_all() {
    let end = Instant::now() + KILL_TAKES;
    loop {
        match wait(WaitOptions::NOHANG) {
            Err(Errno::INTR) | Ok(Some(_)) => continue,
            Err(_) => return,
            Ok(None) => {}
        }
        for pid in children() {
            let _ = kill_process(pid, Signal::KILL);
        }
        if Instant::now() > end {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The children of this process.
fn children() -> Vec<Pid> {
    let listed = std::fs::read_dir("/proc/self/task").ok().and_then(|tasks| {
        let of = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("children"));
        tasks
            .flatten()
            .map(|task| of(task).ok())
            .collect::<Option<String>>()
    });
    match listed {
        Some(text) => text.split_whitespace().filter_map(pid).collect(),
        None => searched(),
    }
}

/// The same on a kernel that keeps no lists of children.
fn searched() -> Vec<Pid> {
    let own = getpid().as_raw_nonzero().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_child = |entry: &std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name, in parentheses, may have anything in it; state and parent follow.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        rest.split_whitespace().nth(1) == Some(&own)
    };
    let found = entries.filter(is_child);
    found
        .filter_map(|entry| pid(entry.file_name().to_str()?))
        .collect()
}

fn pid(text: &str) -> Option<Pid> {
    Pid::from_raw(text.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_find_the_same_children() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let [listed, found] = [children(), searched()].map(|all| all.contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(listed && found, "{listed} {found}");
    }
}
