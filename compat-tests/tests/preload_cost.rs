//! What preloading costs a program that uses no netmap, counted in instructions by valgrind:
//! `uvale bench --only preload`
//! measures the same in time, which decides no test.

use std::path::Path;

use compat_tests::place::Place;
use compat_tests::programs::{fact, program};
use compat_tests::{Skip, or_skip};

/// Calls in a round of `ordinary`, and instructions that each may cost: what a processor does in less than 5 ns.
const CALLS: u64 = 6;
const ALLOWED: u64 = 24;

/// Instructions of a run with so many rounds.
fn instructions(
    place: &Place,
    program: &Path,
    rounds: u32,
    shim: Option<&Path>,
) -> Result<u64, Skip> {
    let mut command = place.command(Path::new("valgrind"));
    match shim {
        Some(shim) => command.env("LD_PRELOAD", shim),
        None => command.env_remove("LD_PRELOAD"),
    };
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(program).arg(rounds.to_string());
    compat_tests::programs::instructions(command)
}

#[test]
fn ordinary_calls_cost_next_to_nothing() {
    let ordinary = or_skip!("cost of preloading", program("ordinary"));
    let place = Place::empty();
    let shim = compat_tests::target::optimised_shim();
    let rounds = |shim| {
        let few = instructions(&place, &ordinary, 1000, shim)?;
        Ok(instructions(&place, &ordinary, 3000, shim)?.saturating_sub(few) / 2000)
    };
    let (without, with) = (
        or_skip!("valgrind", rounds(None)),
        or_skip!("valgrind", rounds(Some(&shim))),
    );
    let more = with.saturating_sub(without);
    fact(&format!(
        "a round of {CALLS} ordinary calls: {without} instructions, {more} more with the shim"
    ));
    assert!(more <= CALLS * ALLOWED);
}
