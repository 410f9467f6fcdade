//! As many ports on one switch as netmap has, and 64 switches. Memory and time per port are printed, not judged.

use std::path::Path;

use compat_tests::or_skip;
use compat_tests::place::Place;
use compat_tests::programs::{fact, program, value};

const ENOMEM: u64 = 12;

/// A number of kB from a file of /proc.
fn kilobytes(pid: i32, file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with(key));
    let number = line.and_then(|l| l.split_whitespace().nth(1));
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// What the memfds that a process holds take and how many they are: bytes in use, number.
fn memfds(pid: i32) -> (u64, usize) {
    use std::os::unix::fs::MetadataExt;
    let Ok(fds) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return (0, 0);
    };
    let of_memory = fds
        .flatten()
        .map(|e| e.path())
        .filter(|p| std::fs::read_link(p).is_ok_and(|t| t.to_string_lossy().contains("memfd:")));
    let used: Vec<_> = of_memory
        .filter_map(|p| std::fs::metadata(p).ok())
        .map(|m| m.blocks() * 512)
        .collect();
    (used.iter().sum(), used.len())
}

fn run(many: &Path, switches: usize, ports: usize, args: &[&str]) {
    let place = Place::with(args);
    let go = place.file("go");
    let daemon = place.status().pid;
    let before = (
        kilobytes(daemon, "status", "VmRSS:"),
        kilobytes(daemon, "smaps_rollup", "Pss:"),
    );
    let mut command = place.command(many);
    command
        .args([switches.to_string(), ports.to_string()])
        .env("GO", &go);
    let program = compat_tests::world::Program::start("many", command);
    program.wait_line("ready", |l| l.starts_with("ready"));
    let all = (switches * ports) as u64;

    let open = place.ports();
    assert_eq!(open.len() as u64, all);
    let said = program.stdout();
    let pid = value(&said, "pid").expect("it says its pid") as i32;
    let us: u64 = said.lines().filter_map(|l| value(l, "us")).sum();
    let (used, number) = memfds(daemon);
    let what = format!("{ports} ports on each of {switches} switches");
    fact(&format!(
        "{what}: {} us to open, bind and map a port",
        us / all
    ));
    fact(&format!(
        "{what}: daemon RSS {} kB (was {}), PSS {} kB (was {}); {number} memfds use {} kB, {} kB a port",
        kilobytes(daemon, "status", "VmRSS:"),
        before.0,
        kilobytes(daemon, "smaps_rollup", "Pss:"),
        before.1,
        used / 1024,
        used / 1024 / all,
    ));
    fact(&format!(
        "{what}: the program's RSS {} kB, PSS {} kB, {} kB mapped",
        kilobytes(pid, "status", "VmRSS:"),
        kilobytes(pid, "smaps_rollup", "Pss:"),
        kilobytes(pid, "status", "VmSize:"),
    ));
    // one more than there may be is refused
    let what = if args.is_empty() {
        "one-more"
    } else {
        "switch-more"
    };
    let line = said.lines().find(|l| l.starts_with(what)).unwrap_or("");
    assert_eq!(value(line, "errno"), Some(ENOMEM), "{said}");
    std::fs::write(&go, "").expect("the file can be written");
    program.wait_success();
    place.assert_left_clean();
}

#[test]
fn all_ports_of_a_switch() {
    let many = or_skip!("252 ports", program("many"));
    run(&many, 1, 252, &[]);
}

#[test]
fn sixty_four_switches() {
    let many = or_skip!("64 switches", program("many"));
    run(&many, 64, 4, &["--max-switches", "64"]);
}
