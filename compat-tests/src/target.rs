//! Where this build lies, and the binaries under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What is under test.
#[derive(Debug)]
pub struct Binaries {
    /// The `uvale` program.
    pub uvale: PathBuf,
    /// `libnmshim.so`.
    pub shim: PathBuf,
}

/// The root of the source tree.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("compat-tests lies in the workspace")
}

/// Our C headers: the folder to give to `-I`.
pub fn include_dir() -> PathBuf {
    workspace().join("include")
}

/// A file of `compat-tests/data`.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("data")
        .join(name)
}

/// The folder of finished programs, `target/debug` or `target/release`: a program lies in it, a test
/// in `deps` below it.
pub fn profile_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("a running program has a path");
    let dir = exe.parent().expect("it lies in a folder");
    if dir.file_name().is_some_and(|n| n == "deps") {
        let above = dir.parent();
        return above.expect("target/PROFILE/deps").to_path_buf();
    }
    dir.to_path_buf()
}

/// The target directory itself.
pub fn target_dir() -> PathBuf {
    profile_dir()
        .parent()
        .expect("target/PROFILE")
        .to_path_buf()
}

/// `uvale` and the shim of the profile these tests were built with. Built first, so that what is
/// tested is what the source says; `UVALE_BIN_DIR=dir` takes both from there instead.
///
/// # Panics
/// If they can't be built or are not there.
pub fn binaries() -> &'static Binaries {
    static BINARIES: OnceLock<Binaries> = OnceLock::new();
    BINARIES.get_or_init(|| {
        let dir = match std::env::var_os("UVALE_BIN_DIR") {
            Some(dir) => PathBuf::from(dir),
            None => {
                let profile = profile_dir();
                if !is_built() {
                    build(match profile.file_name().and_then(|n| n.to_str()) {
                        Some("debug") | None => "dev",
                        Some(other) => other,
                    });
                }
                profile
            }
        };
        let found = Binaries {
            uvale: dir.join("uvale"),
            shim: dir.join("libnmshim.so"),
        };
        for file in [&found.uvale, &found.shim] {
            assert!(file.is_file(), "{} is missing", file.display());
        }
        found
    })
}

/// The shim as people get it, optimised, whatever profile these tests were built with: for those that count
/// instructions.
///
/// # Panics
/// If it can't be built or is not there.
pub fn optimised_shim() -> PathBuf {
    let dir = std::env::var_os("UVALE_BIN_DIR").map_or_else(
        || {
            build("release");
            target_dir().join("release")
        },
        PathBuf::from,
    );
    let shim = dir.join("libnmshim.so");
    assert!(shim.is_file(), "{} is missing", shim.display());
    shim
}

/// Whether everything of the workspace has been built in the profile of these tests, by who runs them:
/// `COMPAT_BUILT=1`. Else it is, by whichever test needs a part.
pub fn is_built() -> bool {
    std::env::var_os("COMPAT_BUILT").is_some_and(|value| value == "1")
}

/// Builds `uvale` and the shim.
fn build(profile: &str) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(workspace())
        .args([
            "build",
            "--quiet",
            "-p",
            "uvale",
            "-p",
            "nmshim",
            "--profile",
            profile,
        ])
        .arg("--target-dir")
        .arg(target_dir())
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "uvale and nmshim do not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
