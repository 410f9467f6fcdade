//! Whose memory is whose: what a program locks is its own, and the daemon holds nothing for others that they can
//! hold themselves.

use std::path::Path;

use compat_tests::place::Place;
use compat_tests::programs::{end, kill, program, value};

use compat_tests::or_skip;

/// Kilobytes by which two runs of a program may differ.
const SLACK: u64 = 1024;

/// Runs `lock_all` to its end; `None` if the memory cannot be locked.
fn locked(place: &Place, lock_all: &Path, args: [&str; 3]) -> Option<(u64, u64)> {
    let mut command = place.command(lock_all);
    let output = command
        .args(args)
        .output()
        .expect("a compiled program can be run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.code() {
        Some(0) => Some((value(&said, "locked")?, value(&said, "memory")?)),
        Some(3) => None,
        other => panic!("lock_all {args:?}: {other:?} {said}"),
    }
}

#[test]
fn mlockall_locks_a_ports_memory_once_and_nothing_of_ours() {
    let lock_all = or_skip!("mlockall", program("lock_all"));
    let place = Place::new();
    for when in ["then", "first"] {
        let Some((with_port, memory)) = locked(&place, &lock_all, ["vale0:a", when, "0"]) else {
            assert!(locked(&place, &lock_all, ["4096", when, "0"]).is_none());
            println!("skipped: this user may not lock memory");
            return;
        };
        let bytes = memory.to_string();
        let (without, _) =
            locked(&place, &lock_all, [&bytes, when, "0"]).expect("as much as with a port");
        println!(
            "{when}: {with_port} kB with a port of {memory} bytes, {without} kB with as many others"
        );
        assert!(
            with_port <= without + SLACK,
            "{when}: {with_port} kB, not {without}"
        );
    }
    place.assert_left_clean();
}

#[test]
fn a_limit_that_is_enough_for_the_program_is_enough() {
    let lock_all = or_skip!("mlockall under a limit", program("lock_all"));
    let place = Place::new();
    let limit = (8 << 20).to_string();
    if locked(&place, &lock_all, ["0x400000", "then", &limit]).is_none() {
        println!("skipped: a program without netmap has more than {limit} bytes here");
        return;
    }
    let (kb, _) =
        locked(&place, &lock_all, ["vale0:a", "then", &limit]).expect("memory can be locked");
    assert!(kb << 10 <= 8 << 20, "{kb} kB");
    // A limit that is not enough is told.
    assert_eq!(
        locked(&place, &lock_all, ["vale0:a", "then", "65536"]),
        None
    );
    place.assert_left_clean();
}

#[test]
fn without_memory_nothing_is_bound_and_nobody_ends() {
    let no_memory = or_skip!("no memory", program("no_memory"));
    let place = Place::new();
    let output = place.command(&no_memory).output();
    let output = output.expect("a compiled program can be run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.contains("ok "),
        "{said}{errors}"
    );
    place.assert_left_clean();
}

/// Kilobytes of shared memory that process `pid` has touched.
fn touched(pid: u32) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|l| l.strip_prefix("RssShmem:"));
    let words = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
    words.expect("a number of kilobytes")
}

#[test]
fn extra_buffers_are_the_callers_memory() {
    let extra = or_skip!("extra buffers", program("extra"));
    let place = Place::new();
    let before = touched(place.daemon_pid());
    let many = place.spawn_ready(&extra, &["vale0:many", "20000"]);
    let said = many.stdout();
    assert_eq!(
        (value(&said, "got"), value(&said, "listed")),
        (Some(20000), Some(20000)),
        "{said}"
    );
    let by_daemon = touched(place.daemon_pid()) - before;
    println!("20000 extra buffers: the daemon has touched {by_daemon} kB more");
    assert!(by_daemon < 1024, "{by_daemon} kB");
    end(many);
    place.assert_left_clean();
}

/// Those who share a memory get back what others had, whether they ended or were killed.
#[test]
fn extra_buffers_of_a_shared_memory_come_back() {
    let extra = or_skip!("extra buffers that come back", program("extra"));
    let place = Place::new();
    let stays = place.spawn_ready(&extra, &["vale0:stays", "100", "1"]);
    let used = || place.status().memories[0].used[2];
    let alone = used();
    for round in 0..4 {
        let other = place.spawn_ready(&extra, &["vale0:other", "3000", "1"]);
        assert!(used() > alone + 3000);
        match round % 2 {
            0 => drop(end(other)),
            _ => kill(other),
        }
        assert_eq!(used(), alone, "round {round}");
    }
    end(stays);
    place.assert_left_clean();
}
