//! Programs on musl, as those of Alpine, beside those on glibc: `uvale run` chooses the shim by the loader.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use compat_tests::world::{Program, World};
use compat_tests::{Skip, apps, or_skip, target};

/// Packets of an exchange, at least: the receiver ends after a sync.
const PACKETS: u32 = 100_000;

/// The program of `programs/robust` that sends and checks numbered packets, compiled by `compiler`.
fn traffic(compiler: &str) -> Result<PathBuf, Skip> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/robust/traffic.c");
    std::fs::create_dir_all(apps::cache_dir()).expect("the cache can be written");
    let made = apps::cache_dir().join(format!("traffic-{compiler}-{}", std::process::id()));
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

#[test]
fn programs_on_musl_and_on_glibc_exchange_packets() {
    let shim = target::binaries().shim.with_file_name("libnmshim-musl.so");
    if !shim.is_file() {
        println!("skipped: no {}: scripts/musl.sh builds it", shim.display());
        return;
    }
    let musl = or_skip!("musl", traffic("musl-gcc"));
    let glibc = or_skip!("C compiler", traffic("cc"));
    let count = format!("n={PACKETS}");
    for (receiver, sender, how) in [
        (&musl, &glibc, "how=sync"),
        (&glibc, &musl, "how=poll"),
        (&musl, &musl, "how=epoll"),
        (&musl, &glibc, "how=et"),
        (&glibc, &musl, "how=select"),
    ] {
        let world = World::new();
        let rx = run(
            &world,
            receiver,
            &["rx", "vale0:p}1", "gapless=1", &count, how],
        );
        rx.wait_line("ready", |line| line.starts_with("ready"));
        let mut tx = run(&world, sender, &["tx", "vale0:p{1", how]);
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
    let _ = std::fs::remove_file(musl);
    let _ = std::fs::remove_file(glibc);
}
