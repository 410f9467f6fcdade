//! Programs of ours that are linked with all they need: they run where there is nothing else.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::target;

/// A static program.
#[derive(Debug)]
pub struct Whole {
    /// Where it is.
    pub path: PathBuf,
    /// How it was linked.
    pub how: &'static str,
}

/// The program `bin` of our package `package`, optimised and static: on musl if that target is installed, else on
/// glibc. `options` are cargo's.
///
/// # Errors
/// Why it does not build.
pub fn whole(package: &str, bin: &str, options: &[&str]) -> Result<Whole, String> {
    let (triple, how) = own_triple()?;
    build(package, bin, options, &triple, how, None)
}

/// The same for another machine: on glibc, by GCC for it.
///
/// # Errors
/// Why it does not build.
pub fn whole_for(arch: &str, package: &str, bin: &str, options: &[&str]) -> Result<Whole, String> {
    if arch == std::env::consts::ARCH {
        return whole(package, bin, options);
    }
    let triple = format!("{arch}-unknown-linux-gnu");
    let linker = format!("{arch}-linux-gnu-gcc");
    let how = "static, on glibc";
    build(package, bin, options, &triple, how, Some(&linker))
}

/// The target on which programs of this machine are static, and how they are.
fn own_triple() -> Result<(String, &'static str), String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let host = said(Command::new(&rustc).arg("-vV"))?;
    let host = host.lines().find_map(|l| l.strip_prefix("host: "));
    let host = host.ok_or("rustc does not say its host")?.to_owned();
    let sysroot = said(Command::new(&rustc).args(["--print", "sysroot"]))?;
    let musl = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let has_musl = Path::new(sysroot.trim()).join("lib/rustlib").join(&musl);
    Ok(if has_musl.is_dir() {
        (musl, "static, on musl")
    } else {
        (host, "static, on glibc")
    })
}

fn build(
    package: &str,
    bin: &str,
    options: &[&str],
    triple: &str,
    how: &'static str,
    linker: Option<&str>,
) -> Result<Whole, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let dir = target::target_dir();
    let mut command = Command::new(cargo);
    command
        .current_dir(target::workspace())
        .args(["build", "--quiet", "--release", "-p", package, "--bin", bin])
        .args(options)
        .args(["--target", triple, "--target-dir"])
        .arg(&dir)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_BUILD_RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    if let Some(linker) = linker {
        let variable = triple.to_uppercase().replace('-', "_");
        command.env(format!("CARGO_TARGET_{variable}_LINKER"), linker);
    }
    let built = command
        .output()
        .map_err(|e| format!("cargo does not start: {e}"))?;
    match built.status.success() {
        true => Ok(Whole {
            path: dir.join(triple).join("release").join(bin),
            how,
        }),
        false => Err(String::from_utf8_lossy(&built.stderr).into_owned()),
    }
}

fn said(command: &mut Command) -> Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{:?} does not start: {e}", command.get_program()))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
