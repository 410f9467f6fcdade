//! Programs on musl, as those of Alpine, beside those on glibc: `uvale run` chooses the shim by the loader.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustix::process::Signal;

use compat_tests::world::{Program, World};
use compat_tests::{Skip, apps, or_skip, target};

/// Packets of an exchange, at least: the receiver ends after a sync.
const PACKETS: u32 = 100_000;

/// The program of `programs/robust` that sends and checks numbered packets, compiled by `compiler`.
fn traffic(compiler: &str) -> Result<PathBuf, Skip> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/robust/traffic.c");
    std::fs::create_dir_all(apps::cache_dir()).expect("the cache can be written");
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = (std::process::id(), NUMBER.fetch_add(1, Relaxed));
    let made = format!("traffic-{compiler}-{}-{}", number.0, number.1);
    let made = apps::cache_dir().join(made);
    let output = Command::new(compiler)
        .args(["-O1", "-pthread", "-I"])
        .arg(target::include_dir())
        .arg("-o")
        .args([&made, &source])
        .output()
        .map_err(|e| Skip::optional(format!("no compiler {compiler}: {e}")))?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compiler}: {said}");
    Ok(made)
}

/// `uvale run` with a shim for glibc, and one for musl beside it.
fn run(world: &World, program: &Path, args: &[&str]) -> Program {
    let mut command = world.uvale(&["run", "--"]);
    command.env_remove("LD_PRELOAD").arg(program).args(args);
    Program::start(&program.to_string_lossy(), command)
}

/// A Go program that needs musl: its threads are musl's, its system calls those of Go's runtime.
fn go_with_musl() -> Result<PathBuf, Skip> {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs");
    let dir = apps::cache_dir().join(format!("go-musl-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("the cache can be written");
    // both files have to be in one folder
    for file in ["reach/exchange.go", "trap/cgo.go"] {
        apps::copy_program(&programs.join(file), &dir);
    }
    // A program that can be loaded anywhere would have relocations in code here, which musl's loader does not know.
    let output = Command::new("go")
        .args(["build", "-ldflags=-extldflags=-no-pie", "-o", "program"])
        .args(["exchange.go", "cgo.go"])
        .current_dir(&dir)
        .envs([("GO111MODULE", "off"), ("GOFLAGS", "")])
        .envs([("CGO_ENABLED", "1"), ("CC", "musl-gcc")])
        .env("GOCACHE", apps::cache_dir().join("go-cache-musl"))
        .output()
        .map_err(|e| Skip::required(format!("no Go compiler: {e}")))?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Ok(dir.join("program"))
}

/// The shim for musl, where it has been built.
fn shim() -> Result<PathBuf, Skip> {
    let shim = target::binaries().shim.with_file_name("libnmshim-musl.so");
    let why = || Skip::optional(format!("no {}: scripts/musl.sh builds it", shim.display()));
    shim.is_file().then(|| shim.clone()).ok_or_else(why)
}

/// One program receives, the other one sends, all of it and in order.
fn exchange(receiver: &Path, sender: &Path, how: &str) {
    let (world, how) = (World::new(), format!("how={how}"));
    let count = format!("n={PACKETS}");
    let rx = run(
        &world,
        receiver,
        &["rx", "vale0:p}1", "gapless=1", &count, &how],
    );
    rx.wait_line("ready", |line| line.starts_with("ready"));
    let mut tx = run(&world, sender, &["tx", "vale0:p{1", &how]);
    let said = rx.wait_success();
    // Another thread of it may say how far it is after that.
    let last = said.lines().find(|line| line.starts_with("end "));
    let last = last.unwrap_or_default();
    assert!(
        last.starts_with("end n=1000") && last.ends_with(" lost=0"),
        "{how}: {last}"
    );
    tx.signal(Signal::TERM);
    tx.wait();
}

#[test]
fn programs_on_musl_and_on_glibc_exchange_packets() {
    or_skip!("musl", shim());
    let musl = or_skip!("musl", traffic("musl-gcc"));
    let glibc = or_skip!("C compiler", traffic("cc"));
    for (receiver, sender, how) in [
        (&musl, &glibc, "sync"),
        (&glibc, &musl, "poll"),
        (&musl, &musl, "epoll"),
        (&musl, &glibc, "et"),
        (&glibc, &musl, "select"),
    ] {
        exchange(receiver, sender, how);
    }
    let _ = std::fs::remove_file(musl);
    let _ = std::fs::remove_file(glibc);
}

/// Its system calls are trapped. Go's runtime asks what each signal does that there is, those of musl's, too.
#[test]
fn go_with_musl_and_c_on_glibc_exchange_packets() {
    or_skip!("musl", shim());
    let musl = or_skip!("musl", traffic("musl-gcc"));
    let glibc = or_skip!("C compiler", traffic("cc"));
    let go = or_skip!("Go with musl", go_with_musl());
    exchange(&go, &glibc, "sync");
    exchange(&glibc, &go, "poll");
    exchange(&go, &musl, "et");
    exchange(&musl, &go, "select");
    exchange(&go, &go, "netpoller");
    let _ = std::fs::remove_file(musl);
    let _ = std::fs::remove_file(glibc);
    if let Some(dir) = go.parent() {
        let _ = std::fs::remove_dir_all(dir);
    }
}
