//! The C programs of these tests.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles a file under `tests/c` against the headers in `include` and returns the program.
pub fn compile(name: &str, include: &Path, dir: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/c")
        .join(name);
    let program = dir.join(name.replace('.', "_"));
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Wno-unused", "-I"]);
    cc.arg(include).arg("-o").arg(&program).arg(source);
    c_checks::run(&mut cc);
    program
}
