//! Programs that no preloaded library reaches, served from beside them: `uvale run --reach=notify`, which `uvale run`
//! chooses by itself for those that no loader loads.

mod contained;
mod cost;
mod exchange;
mod facts;
mod limits;
mod lives;
mod mapping;

use std::path::{Path, PathBuf};
use std::process::Command;

use compat_tests::programs::program;
use compat_tests::world::{Program, World};
use compat_tests::{Skip, apps, target};

/// How a program is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    /// on glibc, loaded
    Dynamic,
    /// on glibc, without a loader
    Static,
    /// on musl, without a loader
    Musl,
    /// of Go, without C
    Go,
}

impl Made {
    /// The program that sends and checks numbered packets.
    fn traffic(self) -> Result<PathBuf, Skip> {
        match self {
            Made::Dynamic => program("traffic"),
            Made::Static => statically("robust/traffic"),
            Made::Musl => on_musl("robust/traffic"),
            Made::Go => exchange(),
        }
    }
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("programs")
        .join(name)
}

/// A program of `programs/` without a loader.
fn statically(name: &str) -> Result<PathBuf, Skip> {
    let source = source(&format!("{name}.c"));
    let flags = ["-O1", "-pthread", "-static"];
    let name = format!("static-{}", name.replace('/', "-"));
    apps::compile_c(&source, &name, &flags).map(|app| app.path)
}

fn made(name: &str, compiler: &str, args: &[&str]) -> Result<PathBuf, Skip> {
    let dir = apps::cache_dir().join("c");
    std::fs::create_dir_all(&dir).expect("the cache can be written");
    let path = dir.join(format!("{name}-{}", std::process::id()));
    if path.is_file() {
        return Ok(path);
    }
    // Another test may be starting the one that it made.
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let new = path.with_extension(number.to_string());
    let output = Command::new(compiler)
        .env("CGO_ENABLED", "0")
        .args(&args[..args.len() - 1])
        .arg("-o")
        .arg(&new)
        .arg(args[args.len() - 1])
        .output()
        .map_err(|e| Skip::optional(format!("no {compiler}: {e}")))?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compiler}: {said}");
    std::fs::rename(&new, &path).expect("the cache can be written");
    Ok(path)
}

fn on_musl(name: &str) -> Result<PathBuf, Skip> {
    let source = source(&format!("{name}.c"));
    let include = target::include_dir();
    let [source, include] = [&source, &include].map(|p| p.to_string_lossy());
    let args = ["-O1", "-pthread", "-static", "-I", &include, &source];
    made(
        &format!("musl-{}", name.replace('/', "-")),
        "musl-gcc",
        &args,
    )
}

/// The same traffic in Go.
fn exchange() -> Result<PathBuf, Skip> {
    let source = source("reach/exchange.go");
    made("exchange", "go", &["build", &source.to_string_lossy()])
}

/// Ends a program that sends. A handler without SA_RESTART may interrupt a sync that is handed over, before it is
/// looked at: then the program says so.
fn end(mut sender: Program) {
    sender.signal(rustix::process::Signal::TERM);
    let is_well = sender.wait().success();
    let interrupted = rustix::io::Errno::INTR.raw_os_error();
    let said = sender.said();
    assert!(
        is_well || said.contains(&format!("sync errno={interrupted}")),
        "{said}"
    );
}

/// `uvale run OPTIONS -- PROGRAM ARGS` in `world`.
fn run(world: &World, options: &[&str], program: &Path, args: &[&str]) -> Program {
    let mut command = world.uvale(&[&["run"][..], options, &["--"]].concat());
    command.env_remove("LD_PRELOAD").arg(program).args(args);
    Program::start(&program.to_string_lossy(), command)
}
