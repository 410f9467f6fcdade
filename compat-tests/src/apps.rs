//! Programs that know nothing of uvale: where they come from and where they are.
//!
//! Each `scripts/build-*.sh` leaves its program in `target/compat-apps`, built against our headers,
//! and does nothing when it is there already. A lock file serializes test processes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::{Skip, target};

/// What a script answers when its program can't be had on this machine.
const CANNOT_BE_HAD: i32 = 77;

/// A program from outside.
#[derive(Clone, Debug)]
pub struct App {
    /// The executable.
    pub path: PathBuf,
    /// `LD_LIBRARY_PATH` for it, if it needs one.
    pub libraries: Option<PathBuf>,
}

/// The folder that holds everything built here.
pub fn cache_dir() -> PathBuf {
    target::target_dir().join("compat-apps")
}

/// Copies a program that will be started. `cp` does it: a copy that this process had open for writing would be open
/// in whatever another test starts at the same moment, and could not be executed (`ETXTBSY`).
///
/// # Panics
/// If it can't be copied.
pub fn copy_program(from: &Path, to: &Path) {
    let status = Command::new("cp").arg(from).arg(to).status();
    assert!(
        status.is_ok_and(|s| s.success()),
        "{} cannot be copied to {}",
        from.display(),
        to.display()
    );
}

/// Debian's tcpdump on Debian's libpcap with its netmap module.
pub fn tcpdump() -> Result<App, Skip> {
    prepare("build-tcpdump.sh")?;
    Ok(on_our_libpcap("tcpdump/bin/tcpdump"))
}

/// Debian's own dumpcap binary on that libpcap.
pub fn dumpcap() -> Result<App, Skip> {
    prepare("get-dumpcap.sh")?;
    Ok(on_our_libpcap("dumpcap/dumpcap"))
}

/// Debian's own tshark on that libpcap.
pub fn tshark() -> Result<App, Skip> {
    prepare("get-tshark.sh")?;
    Ok(on_our_libpcap("tshark/tshark"))
}

/// A `qemu-system-x86_64` that has the device `vfio-user-pci`, the installed one or Debian's.
pub fn qemu() -> Result<App, Skip> {
    prepare("get-qemu.sh")?;
    let path = cache_dir().join("qemu/qemu-system-x86_64");
    Ok(App {
        path,
        libraries: None,
    })
}

/// The folder with a guest's kernel `vmlinuz`, its modules and a static `busybox`, as `scripts/get-guest.sh` says.
pub fn guest_files() -> Result<PathBuf, Skip> {
    prepare("get-guest.sh")?;
    Ok(cache_dir().join("guest"))
}

/// A program of the crate netmap-rs: `integration` is its integration test.
pub fn netmap_rs(name: &str) -> Result<App, Skip> {
    prepare("build-netmap-rs.sh")?;
    let path = cache_dir().join("netmap-rs/bin").join(name);
    assert!(path.is_file(), "netmap-rs has no program {name}");
    Ok(App {
        path,
        libraries: None,
    })
}

/// One of netmap's own tools, from the folder that `NETMAP_APPS` names.
pub fn netmap_tool(name: &str) -> Result<App, Skip> {
    let dir = std::env::var_os("NETMAP_APPS").map(PathBuf::from);
    let dir = dir.ok_or_else(|| Skip::optional("NETMAP_APPS not set"))?;
    // netmap's build puts them flat or into a folder of their own name
    let places = [
        dir.join(name),
        dir.join(name).join(name),
        dir.join("build-apps").join(name).join(name),
    ];
    let path = places.into_iter().find(|p| p.is_file());
    let path =
        path.ok_or_else(|| Skip::optional(format!("no {name} in NETMAP_APPS={}", dir.display())))?;
    Ok(App {
        path,
        libraries: None,
    })
}

/// Compiles one C file against our headers; the program lands in the cache.
pub fn compile_c(source: &Path, name: &str, flags: &[&str]) -> Result<App, Skip> {
    let dir = cache_dir().join("c");
    std::fs::create_dir_all(&dir).expect("the cache can be written");
    let path = dir.join(format!("{name}-{}", std::process::id()));
    // Another test of this process may be starting the one that it made.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let made = path.with_extension(NUMBER.fetch_add(1, Relaxed).to_string());
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let output = Command::new(&compiler)
        .args(flags)
        .arg("-I")
        .arg(target::include_dir())
        .arg("-o")
        .arg(&made)
        .arg(source)
        .output()
        .map_err(|e| Skip::required(format!("no C compiler {compiler}: {e}")))?;
    assert!(
        output.status.success(),
        "{} does not compile against our headers:\n{}",
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::rename(&made, &path).expect("the cache can be written");
    Ok(App {
        path,
        libraries: None,
    })
}

fn on_our_libpcap(program: &str) -> App {
    App {
        path: cache_dir().join(program),
        libraries: Some(cache_dir().join("pcap/lib")),
    }
}

/// Runs one script of `scripts/`; cheap when its work is done.
fn prepare(script: &str) -> Result<(), Skip> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _here = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let cache = cache_dir();
    std::fs::create_dir_all(&cache).expect("the cache can be written");
    let lock = std::fs::File::create(cache.join("lock")).expect("the cache can be written");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
        .expect("a file of ours can be locked");
    run_script(script, &cache)
}

fn run_script(script: &str, cache: &Path) -> Result<(), Skip> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scripts")
        .join(script);
    let output = Command::new(&path)
        .arg(target::include_dir())
        .arg(cache)
        // cargo's own variables would reach the cargo that builds netmap-rs
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .unwrap_or_else(|e| panic!("{} does not start: {e}", path.display()));
    let said = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(0) => Ok(()),
        Some(CANNOT_BE_HAD) => {
            let why = said.lines().rev().find_map(|l| l.strip_prefix("skipped: "));
            Err(Skip::required(why.unwrap_or("no reason given")))
        }
        _ => panic!(
            "{script} failed:\n{said}{}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}
