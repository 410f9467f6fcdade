//! Programs of `programs/trap`, and how they are started.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

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

/// A folder of `programs`.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("programs")
        .join(name)
}

/// A Go program of these files; with `cgo` it needs the C library.
///
/// # Panics
/// If it does not compile.
pub fn go(name: &str, files: &[PathBuf], cgo: bool, flags: &[&str]) -> Result<PathBuf, Skip> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = (std::process::id(), NUMBER.fetch_add(1, Relaxed));
    let dir = apps::cache_dir().join(format!("go-{name}-{}-{}", number.0, number.1));
    std::fs::create_dir_all(&dir).expect("the cache can be written");
    for file in files {
        let name = file.file_name().expect("a file");
        std::fs::copy(file, dir.join(name)).expect("a file of ours is copied");
    }
    let output = Command::new("go")
        .args(["build", "-o", "program"])
        .args(flags)
        .arg(".")
        .current_dir(&dir)
        .env("GO111MODULE", "off")
        .env("GOFLAGS", "")
        .env("CGO_ENABLED", if cgo { "1" } else { "0" })
        .env("GOCACHE", apps::cache_dir().join("go-cache"))
        .output()
        .map_err(|e| Skip::required(format!("no Go compiler: {e}")))?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    Ok(dir.join("program"))
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
