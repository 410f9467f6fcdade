//! Headers, compilers and the built libraries.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The C headers of this repository.
pub fn our_include() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../include")
        .canonicalize()
        .expect("the headers are there")
}

/// A file of `tests/c`.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/c")
        .join(name)
}

/// Whether libclang can be loaded; says that the test is skipped if not.
pub fn have_libclang() -> bool {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let loaded = std::panic::catch_unwind(bindgen::clang_version).is_ok();
    std::panic::set_hook(hook);
    if !loaded {
        println!("skipped: libclang cannot be loaded");
    }
    loaded
}

/// `-I` for the compiler's own headers, which libclang alone does not have.
pub fn compiler_includes() -> Vec<String> {
    let gcc = Command::new("cc").arg("-print-file-name=include").output();
    let dir = gcc.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    dir.into_iter()
        .filter(|dir| Path::new(dir).is_dir())
        .map(|dir| format!("-I{dir}"))
        .collect()
}

/// Whether `compiler` can be run; says that the test is skipped if not.
pub fn have(compiler: &str) -> bool {
    let found = Command::new(compiler)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        println!("skipped: there is no {compiler} to compile with");
    }
    found
}

/// A directory for a test's files, emptied.
pub fn scratch(test: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("the target directory can be written");
    dir
}

/// Output of a program that must succeed.
pub fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{command:?}: {}\n{out}{error}",
        output.status
    );
    output
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
    command.args(flags).arg("-I").arg(our_include());
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
    run(&mut command);
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
