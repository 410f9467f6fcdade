//! The whole suite in one archive that runs on a machine without a toolchain.
//!
//! | in it | linked |
//! |---|---|
//! | `compat-tests`, the runner | static: on musl if that target is installed, else on glibc |
//! | `scenarios/static` | static: for the targets `kernel`, `nic` and `ptnet` |
//! | `scenarios/dynamic`, `bin/uvale`, `bin/libnmshim.so` | against glibc: the target `uvale` preloads a library |
//! | `expected` | |
//! | `run.sh`, `MANIFEST` | |

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::matrix::layout::Layout;
use crate::matrix::scenario::{self, Linked, Work};
use crate::{linked, target};

/// The folder that the archive unpacks to.
pub const FOLDER: &str = "compat-bundle";

const RUN: &str = "\
#!/bin/sh
# Runs the suite, as root, on this machine: ./run.sh [--target T]... [--scenario S]... [--junit FILE]
exec \"$(dirname \"$0\")/compat-tests\" run \"$@\"
";

/// Writes the archive, a `.tar.gz`, and gives its manifest.
///
/// # Errors
/// A sentence, if something can't be built or written.
pub fn write(layout: &Layout, archive: &Path) -> Result<String, String> {
    if layout.is_bundle() {
        return Err("this is a bundle already: copy it".into());
    }
    let above = target::target_dir().join("bundle");
    let stage = above.join(format!("stage-{}", std::process::id()));
    let made = fill(layout, &stage.join(FOLDER)).and_then(|manifest| {
        pack(&stage, archive)?;
        Ok(manifest)
    });
    let _ = std::fs::remove_dir_all(&stage);
    made
}

fn fill(layout: &Layout, dir: &Path) -> Result<String, String> {
    let (runner, how) = runner()?;
    copy(&runner, &dir.join("compat-tests"))?;
    let binaries = target::binaries();
    copy(&binaries.uvale, &dir.join("bin/uvale"))?;
    copy(&binaries.shim, &dir.join("bin/libnmshim.so"))?;
    let mut fixed_programs = 0;
    let mut count = 0;
    for scenario in scenario::all(layout)? {
        let Work::Facts { dynamic, fixed } = &scenario.work else {
            continue;
        };
        count += 1;
        let place = |l: Linked| dir.join("scenarios").join(l.folder()).join(&scenario.name);
        copy(dynamic, &place(Linked::Dynamic))?;
        if let Some(fixed) = fixed {
            fixed_programs += 1;
            copy(fixed, &place(Linked::Static))?;
        }
    }
    copy_tree(&layout.expected(), &dir.join("expected"))?;
    let mut manifest = String::new();
    let glibc = [&binaries.uvale, &binaries.shim].map(|p| needed_glibc(p));
    let glibc = glibc.into_iter().flatten().max();
    let _ = writeln!(manifest, "architecture: {}", std::env::consts::ARCH);
    let _ = writeln!(manifest, "runner: {how}");
    let _ = writeln!(
        manifest,
        "scenarios: {count}, {fixed_programs} of them linked static too"
    );
    let _ = match glibc {
        Some((major, minor)) => writeln!(
            manifest,
            "target uvale: linked against glibc, {major}.{minor} or newer; it needs no compiler and no cargo"
        ),
        None => writeln!(manifest, "target uvale: needs no glibc"),
    };
    save(&dir.join("MANIFEST"), &manifest)?;
    save(&dir.join("run.sh"), RUN)?;
    executable(&dir.join("run.sh"))?;
    Ok(manifest)
}

/// A runner that needs nothing of the machine it runs on, and how it was linked.
fn runner() -> Result<(PathBuf, String), String> {
    let why = match linked::whole("compat-tests", "compat-tests", &["--no-default-features"]) {
        Ok(built) => return Ok((built.path, built.how.into())),
        Err(why) => why,
    };
    // no static C library here: the runner as it is
    let own = target::profile_dir().join("compat-tests");
    if own.is_file() {
        return Ok((
            own,
            "against glibc, as no static C library was found".into(),
        ));
    }
    Err(format!("the runner does not build:\n{why}"))
}

/// The newest glibc version whose symbols a program asks for.
fn needed_glibc(program: &Path) -> Option<(u32, u32)> {
    let bytes = std::fs::read(program).ok()?;
    const MARK: &[u8] = b"GLIBC_2.";
    let versions = bytes.windows(MARK.len() + 3).filter_map(|w| {
        let digits: String = w
            .strip_prefix(MARK)?
            .iter()
            .map(|b| *b as char)
            .take_while(char::is_ascii_digit)
            .collect();
        Some((2, digits.parse().ok()?))
    });
    versions.max()
}

fn pack(stage: &Path, archive: &Path) -> Result<(), String> {
    let output = Command::new("tar")
        .args([
            "--sort=name",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
            "-czf",
        ])
        .arg(std::path::absolute(archive).map_err(|e| e.to_string())?)
        .arg("-C")
        .arg(stage)
        .arg(FOLDER)
        .output()
        .map_err(|e| format!("tar does not start: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("tar: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let dir = to.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::copy(from, to))
        .map(|_| ())
        .map_err(|e| format!("{} to {}: {e}", from.display(), to.display()))
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), String> {
    let entries = std::fs::read_dir(from).map_err(|e| format!("{}: {e}", from.display()))?;
    for entry in entries.filter_map(Result::ok) {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            copy_tree(&path, &to.join(name))?;
        } else {
            copy(&path, &to.join(name))?;
        }
    }
    Ok(())
}

fn save(file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|e| format!("{}: {e}", file.display()))
}

fn executable(file: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755))
        .map_err(|e| format!("{}: {e}", file.display()))
}
