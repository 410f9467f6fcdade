//! The C programs of these tests, and the built libraries.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of `tests/c`.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/c")
        .join(name)
}

/// How a program gets the library.
#[derive(Clone, Copy, Debug)]
pub enum Link {
    /// `libnetmap.so`
    Shared,
    /// `libnetmap.a`
    Static,
}

/// Compiles a file of `tests/c` with `compiler` and `flags`, against our header, and links it with
/// our library.
pub fn build(compiler: &str, name: &str, flags: &[&str], link: Link, dir: &Path) -> PathBuf {
    let program = dir.join(format!("{}-{link:?}", name.replace('.', "_")));
    let libraries = libraries();
    let mut command = Command::new(compiler);
    command.args(["-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]);
    command.args(flags).arg("-I").arg(c_checks::our_include());
    command.arg("-o").arg(&program).arg(source(name));
    match link {
        Link::Shared => command
            .arg(format!("-Wl,-rpath,{}", libraries.display()))
            .arg("-L")
            .arg(&libraries)
            .arg("-Wl,-Bdynamic")
            .arg("-lnetmap"),
        Link::Static => command.arg(libraries.join("libnetmap.a")).arg("-lm"),
    };
    c_checks::run(&mut command);
    program
}

/// The directory of `libnetmap.so` and `libnetmap.a`, which cargo builds with these tests.
pub fn libraries() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let deps = test.parent().expect("it lies in deps");
    assert!(
        deps.join("libnetmap.so").is_file() && deps.join("libnetmap.a").is_file(),
        "no libnetmap.so and libnetmap.a in {}",
        deps.display()
    );
    deps.to_owned()
}
