//! Programs of `programs/trap`, and how they are started.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use compat_tests::made::folder;
use compat_tests::place::Place;
use compat_tests::world::Program;
use compat_tests::{Skip, apps, report_skip};

/// A C program of `programs/trap`, compiled with `flags` besides the usual ones.
pub fn c(name: &str, flags: &[&str]) -> Result<PathBuf, Skip> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let made = format!("trap-{name}-{}", NUMBER.fetch_add(1, Relaxed));
    let usual = ["-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"];
    let source = folder("trap").join(format!("{name}.c"));
    Ok(apps::compile_c(&source, &made, &[&usual, flags].concat())?.path)
}

/// Starts a program whose system calls are trapped, by the way that `reach` names.
pub fn start(place: &Place, reach: &str, program: &Path, args: &[&str]) -> Program {
    let mut command = place.command(program);
    command.args(args).env("NMSHIM_REACH", reach);
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    Program::start(&format!("{reach}: {name} {}", args.join(" ")), command)
}

/// Does the shim say that the kernel does not trap by the way that was asked for? Then this is reported as skipped.
pub fn is_refused(said: &str) -> bool {
    let refusal = said.lines().find(|l| l.contains("cannot be trapped"));
    if let Some(line) = refusal {
        report_skip("trapped calls", &Skip::required(line));
    }
    refusal.is_some()
}
