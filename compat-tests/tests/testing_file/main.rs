//! `uvale test` as a whole: what it says of files and options that are wrong, what it reports, how it ends. The
//! function under test is `uvale link`, which joins two ports.

mod ending;
mod fields;
mod reach;
mod refused;
mod reports;
mod sums;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use compat_tests::capture::Frame;
use compat_tests::said::Said;
use compat_tests::target::{binaries, workspace};

/// A folder of a test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("uvale-testing-{}-{number}", std::process::id()));
        std::fs::create_dir_all(path.join("tmp")).expect("the temporary folder can be written");
        Folder(path)
    }

    /// A file in it, or the name of one.
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).expect("the folder can be written");
    }

    /// `uvale test ARGS...` in it, whose temporary files are in `tmp`, not started yet.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&binaries().uvale);
        command
            .arg("test")
            .args(args)
            .current_dir(&self.0)
            .env("TMPDIR", self.path("tmp"))
            .env("XDG_RUNTIME_DIR", self.path("tmp"))
            .env("UVALE", &binaries().uvale)
            .env_remove("UVALE_DIR")
            .stdin(Stdio::null());
        command
    }

    fn test(&self, args: &[&str]) -> Said {
        Said::of(&mut self.command(args))
    }

    /// Nothing that runs made is left in the temporary folder.
    fn assert_swept(&self) {
        let left: Vec<_> = std::fs::read_dir(self.path("tmp"))
            .expect("it is there")
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A function that joins the ports lan and wan.
const JOINED: &str = r#"
[ports.lan]
[ports.wan]
[[programs]]
run = ["${env.UVALE}", "link", "${port.lan}", "${port.wan}"]
"#;

/// The file in which each key of the format is used once.
fn complete() -> String {
    read(&workspace().join("uvale/test/src/file/complete.toml"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A packet for captures.
fn packet(length: usize) -> Frame {
    Frame {
        bytes: vec![2; length],
        original: length as u32,
    }
}
