//! A directory that goes.

use std::path::PathBuf;

/// A directory that goes.
pub struct Removed(pub PathBuf);

impl Removed {
    /// A new one.
    pub fn new() -> Result<Self, String> {
        let made = nix::unistd::mkdtemp(&std::env::temp_dir().join("uvale-bench-XXXXXX"));
        made.map(Self)
            .map_err(|e| format!("cannot make a directory: {e}"))
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
