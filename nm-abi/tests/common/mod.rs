//! C headers and a C compiler for the tests that need them.
#![allow(dead_code)] // each test file uses a part

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The headers of this repository.
pub fn our_include() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../include")
        .canonicalize()
        .unwrap()
}

/// The headers in the directory that the environment names in `NETMAP_INCLUDE`, if any.
pub fn given_include() -> Option<PathBuf> {
    let dir = PathBuf::from(std::env::var_os("NETMAP_INCLUDE")?);
    assert!(
        dir.join("net/netmap.h").is_file(),
        "no net/netmap.h in NETMAP_INCLUDE={dir:?}"
    );
    Some(dir)
}

/// A directory for a test's files, emptied.
pub fn scratch(test: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Whether `compiler` can be run; says that the test is skipped if not.
pub fn have(compiler: &str) -> bool {
    let quiet = |c: &mut Command| {
        c.arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    };
    let found = quiet(&mut Command::new(compiler)).is_ok_and(|status| status.success());
    if !found {
        println!("skipped: there is no {compiler} to compile with");
    }
    found
}

/// A file under `tests/c`.
pub fn c_source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/c")
        .join(name)
}

/// Output of a program that must succeed.
pub fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{error}",
        output.status
    );
    output
}

/// Compiles a file under `tests/c` against the headers in `include` and returns the program.
pub fn compile(name: &str, include: &Path, dir: &Path) -> PathBuf {
    let program = dir.join(name.replace('.', "_"));
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Wno-unused", "-I"])
        .arg(include);
    cc.arg("-o").arg(&program).arg(c_source(name));
    run(&mut cc);
    program
}
