//! The library with interposition and the device of the tests, built first: what is tested is what the source says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Directory of what cargo built for this profile: `target/PROFILE`.
pub fn profile_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("this test's path");
    let dir = exe.ancestors().nth(2);
    dir.expect("target/PROFILE/deps/test").to_owned()
}

/// `libfakedev.so`. Built with the features of the whole workspace, so that it is there already when all tests run.
pub fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let dir = profile_dir();
        let profile = match dir.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(other) => other,
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let out = Command::new(cargo)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["build", "--quiet", "--workspace", "--example", "fakedev"])
            .args(["--profile", profile, "--target-dir"])
            .arg(dir.parent().expect("target"))
            .output()
            .expect("cargo starts");
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "fakedev does not build:\n{errors}");
        dir.join("examples/libfakedev.so")
    })
}
