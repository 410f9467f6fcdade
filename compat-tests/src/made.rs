//! Test programs that no preloaded library reaches, or not by itself: statically linked, on musl, of Go.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::{Skip, apps, target};

/// A folder of `programs`.
#[must_use]
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("programs")
        .join(name)
}

/// The program `FOLDER/NAME` of `programs`, on glibc, without a loader.
///
/// # Errors
/// There is no C compiler.
pub fn statically(name: &str) -> Result<PathBuf, Skip> {
    statically_of(&folder(&format!("{name}.c")), &name.replace('/', "-"))
}

/// The same of any source.
///
/// # Errors
/// There is no C compiler.
pub fn statically_of(source: &Path, name: &str) -> Result<PathBuf, Skip> {
    let flags = ["-O1", "-pthread", "-static"];
    apps::compile_c(source, &format!("static-{name}"), &flags).map(|app| app.path)
}

/// The program `FOLDER/NAME` of `programs`, on musl, without a loader.
///
/// # Errors
/// There is no musl-gcc.
///
/// # Panics
/// If it does not compile.
pub fn on_musl(name: &str) -> Result<PathBuf, Skip> {
    let dir = apps::cache_dir().join("c");
    std::fs::create_dir_all(&dir).expect("the cache can be written");
    let path = dir.join(format!(
        "musl-{}-{}",
        name.replace('/', "-"),
        std::process::id()
    ));
    if path.is_file() {
        return Ok(path);
    }
    // Another test may be starting the one that it made.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let new = path.with_extension(NUMBER.fetch_add(1, Relaxed).to_string());
    let mut command = Command::new("musl-gcc");
    command.args(["-O1", "-pthread", "-static", "-I"]);
    command.arg(target::include_dir()).arg("-o").arg(&new);
    command.arg(folder(&format!("{name}.c")));
    compile(name, &mut command).map_err(|e| Skip::optional(format!("no musl-gcc: {e}")))?;
    std::fs::rename(&new, &path).expect("the cache can be written");
    Ok(path)
}

fn compile(name: &str, command: &mut Command) -> std::io::Result<()> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    Ok(())
}

/// A Go program of these files; with `cgo` it needs the C library.
///
/// # Errors
/// There is no Go compiler.
///
/// # Panics
/// If it does not compile.
pub fn go(name: &str, files: &[PathBuf], cgo: bool, flags: &[&str]) -> Result<PathBuf, Skip> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = (std::process::id(), NUMBER.fetch_add(1, Relaxed));
    let dir = apps::cache_dir().join(format!("go-{name}-{}-{}", number.0, number.1));
    std::fs::create_dir_all(&dir).expect("the cache can be written");
    for file in files {
        let name = file.file_name().expect("a file");
        std::fs::copy(file, dir.join(name)).expect("a file of ours is copied");
    }
    let mut command = Command::new("go");
    command
        .args(["build", "-o", "program"])
        .args(flags)
        .arg(".")
        .current_dir(&dir)
        .env("GO111MODULE", "off")
        .env("GOFLAGS", "")
        .env("CGO_ENABLED", if cgo { "1" } else { "0" })
        .env("GOCACHE", apps::cache_dir().join("go-cache"));
    compile(name, &mut command).map_err(|e| Skip::required(format!("no Go compiler: {e}")))?;
    Ok(dir.join("program"))
}

/// The program that sends and checks numbered packets, in Go without C. Made once.
///
/// # Errors
/// There is no Go compiler.
pub fn exchange() -> Result<PathBuf, Skip> {
    static MADE: OnceLock<Result<PathBuf, Skip>> = OnceLock::new();
    let make = || {
        go(
            "exchange",
            &[folder("reach").join("exchange.go")],
            false,
            &[],
        )
    };
    MADE.get_or_init(make).clone()
}

/// The same with C, compiled with these flags.
///
/// # Errors
/// There is no Go compiler.
pub fn exchange_with_c(flags: &[&str]) -> Result<PathBuf, Skip> {
    let files = [
        folder("reach").join("exchange.go"),
        folder("trap").join("cgo.go"),
    ];
    go("exchange-c", &files, true, flags)
}
