//! libnetmap as these tests link it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use compat_tests::target;

/// The folder of `libnetmap.so` and `libnetmap.a`, built first.
pub fn libraries() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        if let Some(dir) = std::env::var_os("UVALE_BIN_DIR") {
            return dir.into();
        }
        let dir = target::profile_dir();
        if target::is_built() {
            return dir;
        }
        let profile = match dir.file_name().and_then(|n| n.to_str()) {
            Some("debug") | None => "dev",
            Some(other) => other,
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .current_dir(target::workspace())
            .args(["build", "--quiet", "-p", "libnetmap", "--profile", profile])
            .arg("--target-dir")
            .arg(target::target_dir())
            .output()
            .expect("cargo starts");
        assert!(
            output.status.success(),
            "libnetmap does not build:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        dir
    })
}
