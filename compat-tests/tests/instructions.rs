//! What a packet costs, counted in instructions by valgrind: the recorded numbers are upper bounds, which time and
//! machine do not move. `uvale bench` measures the same in time, which decides no test.
//!
//! A count is of all instructions of the process, the program's own included, in the shim as people get it (profile
//! `release`). Two runs of different lengths are compared, so that what comes before and after the rounds cancels out.

use compat_tests::place::Place;
use compat_tests::programs::{fact, program};
use compat_tests::{Skip, or_skip};
use std::path::Path;
use std::process::Command;

/// Who has compiled what was counted: another compiler makes other code.
const COMPILER: &str = "rustc 1.95.";
/// Shapes and the instructions of a round as they were counted last, on x86_64: program's arguments, count.
/// Who makes one cheaper lowers its number; who makes one dearer by more than [`MORE`] percent mends it, or says why.
const RECORDED: [(&str, u64); 10] = [
    ("vale sync 1", 604),
    ("vale poll 1", 719),
    ("pipe sync 1", 551),
    ("pipe poll 1", 677),
    ("flows sync 1", 892),
    ("vale sync 8", 1513),
    ("pipe sync 8", 1043),
    ("vale sync 64", 6442),
    ("flows sync 64", 8649),
    ("pipe sync 64", 3429),
];

/// Percent by which machines may differ.
const MORE: u64 = 5;
/// Rounds of the two runs: whole turns of a ring of 1024 slots.
const ROUNDS: [u64; 2] = [1024, 5 * 1024];

/// Instructions of a round of that shape.
fn of_a_round(rounds: &Path, shape: &str) -> Result<u64, Skip> {
    let run = |n: u64| {
        let place = Place::new();
        let mut command = place.command(Path::new("valgrind"));
        command.env("LD_PRELOAD", compat_tests::target::optimised_shim());
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        command
            .arg(rounds)
            .args(shape.split(' '))
            .arg(n.to_string());
        compat_tests::programs::instructions(command)
    };
    let counts = [run(ROUNDS[0])?, run(ROUNDS[1])?];
    let more = ROUNDS[1] - ROUNDS[0];
    Ok((counts[1].saturating_sub(counts[0]) + more / 2) / more)
}

/// What the compiler says of itself.
fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).arg("-V").output();
    let said = said.expect("the compiler is there").stdout;
    String::from_utf8_lossy(&said).trim().to_owned()
}

#[test]
fn a_sync_costs_no_more_than_it_did() {
    if !cfg!(target_arch = "x86_64") {
        let skip = Skip::required("the counts are of x86_64");
        return compat_tests::report_skip("instructions", &skip);
    }
    let rounds = or_skip!("instructions", program("rounds"));
    let mut dearer = Vec::new();
    for (shape, recorded) in RECORDED {
        let counted = or_skip!("instructions", of_a_round(&rounds, shape));
        fact(&format!(
            "{shape}: {counted} instructions a round, recorded {recorded}"
        ));
        if counted * 100 > recorded * (100 + MORE) {
            dearer.push(format!("{shape}: {counted}, recorded {recorded}"));
        }
    }
    let compiler = compiler();
    if !compiler.starts_with(COMPILER) {
        let skip = Skip::optional(format!("the bounds are of {COMPILER}x, not of {compiler}"));
        return compat_tests::report_skip("instructions", &skip);
    }
    assert!(dearer.is_empty(), "dearer than recorded: {dearer:?}");
}
