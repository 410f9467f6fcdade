//! Where scenarios, expected facts and the binaries under test are: in the source tree, or beside
//! this program in an unpacked bundle.

use std::path::{Path, PathBuf};

use crate::target;

/// Names the folder of netmap's own tools.
pub const ENV_APPS: &str = "NETMAP_APPS";
/// Names the folder of netmap's own tests.
pub const ENV_UTILS: &str = "NETMAP_UTILS";

/// The places of one installation.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The folder `compat-tests` of the source tree, or the unpacked bundle.
    root: PathBuf,
    bundled: bool,
}

impl Layout {
    /// The bundle that this program lies in, else the source tree it was built from.
    pub fn find() -> Layout {
        let exe = std::env::current_exe().unwrap_or_default();
        let beside = exe.parent().unwrap_or(Path::new("/"));
        Layout::bundle_at(beside).unwrap_or_else(|| Layout {
            root: PathBuf::from(env!("CARGO_MANIFEST_DIR")),
            bundled: false,
        })
    }

    /// The bundle unpacked in `dir`, if there is one.
    pub fn bundle_at(dir: &Path) -> Option<Layout> {
        let complete = dir.join("scenarios/dynamic").is_dir() && dir.join("expected").is_dir();
        complete.then(|| Layout {
            root: dir.to_path_buf(),
            bundled: true,
        })
    }

    /// Are the scenarios here as programs only?
    pub fn is_bundle(&self) -> bool {
        self.bundled
    }

    /// The folder of scenarios: sources, or in a bundle the folders `dynamic` and `static`.
    pub fn scenarios(&self) -> PathBuf {
        self.root.join("scenarios")
    }

    /// The folder of expected facts, one folder per target in it.
    pub fn expected(&self) -> PathBuf {
        self.root.join("expected")
    }

    /// The program `uvale`; the shim lies beside it. In the source tree both are built first.
    ///
    /// # Panics
    /// If they can't be built.
    pub fn uvale(&self) -> PathBuf {
        if self.bundled {
            self.root.join("bin/uvale")
        } else {
            target::binaries().uvale.clone()
        }
    }
}
