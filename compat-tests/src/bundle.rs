//! The whole suite in one archive that runs on a machine without a toolchain.
//!
//! | in it | linked |
//! |---|---|
//! | `compat-tests`, the runner | static: on musl if that target is installed, else on glibc |
//! | `scenarios/static` | static: for the targets `kernel`, `nic` and `ptnet` |
//! | `scenarios/dynamic`, `bin/uvale`, its shims | against the C library: the target `uvale` preloads a library |
//! | `expected` | |
//! | `run.sh`, `MANIFEST` | |
//!
//! It is for this machine, or for a target of `scripts/build-for.sh`, whose files it takes.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::matrix::layout::Layout;
use crate::matrix::scenario::{self, Compiler, Linked, Work};
use crate::{linked, target};

/// The folder that the archive unpacks to.
pub const FOLDER: &str = "compat-bundle";

const RUN: &str = "\
#!/bin/sh
# Runs the suite, as root, on this machine: ./run.sh [--target T]... [--scenario S]... [--junit FILE]
exec \"$(dirname \"$0\")/compat-tests\" run \"$@\"
";

/// How the runner is built: it is small, and how fast it is matters less than how long it takes to build.
const RUNNER: [&str; 5] = [
    "--no-default-features",
    "--config",
    "profile.release.lto='off'",
    "--config",
    "profile.release.codegen-units=16",
];

/// A target of `scripts/build-for.sh`.
#[derive(Debug)]
pub struct For {
    /// As the compiler names it.
    pub triple: String,
    /// The folder with `uvale` and its shims.
    pub files: PathBuf,
}

impl For {
    /// Where the script puts the files of a release.
    #[must_use]
    pub fn released(triple: &str) -> For {
        For {
            triple: triple.into(),
            files: target::target_dir().join("release-for").join(triple),
        }
    }

    fn arch(&self) -> &str {
        self.triple.split('-').next().unwrap_or_default()
    }
}

/// What goes into an archive.
struct Parts {
    arch: String,
    /// `uvale` and its shims
    binaries: Vec<PathBuf>,
    runner: PathBuf,
    /// how the runner is linked
    how: String,
    scenarios: Vec<Programs>,
}

/// A scenario, compiled.
struct Programs {
    name: String,
    dynamic: PathBuf,
    fixed: Option<PathBuf>,
}

/// Writes the archive, a `.tar.gz`, for this machine or for `target`, and gives its manifest.
///
/// # Errors
/// A sentence, if something can't be built or written.
pub fn write(layout: &Layout, archive: &Path, target: Option<&For>) -> Result<String, String> {
    if layout.is_bundle() {
        return Err("this is a bundle already: copy it".into());
    }
    let parts = match target {
        None => own_parts(layout),
        Some(target) => parts_for(layout, target),
    }?;
    let above = target::target_dir().join("bundle");
    let stage = above.join(format!("stage-{}", std::process::id()));
    let made = fill(layout, &parts, &stage.join(FOLDER)).and_then(|manifest| {
        pack(&stage, archive)?;
        Ok(manifest)
    });
    let _ = std::fs::remove_dir_all(&stage);
    made
}

fn own_parts(layout: &Layout) -> Result<Parts, String> {
    let (runner, how) = runner()?;
    let binaries = target::binaries();
    let programs = |scenario: scenario::Scenario| match scenario.work {
        Work::Facts { dynamic, fixed } => Some(Programs {
            name: scenario.name,
            dynamic,
            fixed,
        }),
        Work::Netmap(_) => None,
    };
    Ok(Parts {
        arch: std::env::consts::ARCH.into(),
        binaries: vec![binaries.uvale.clone(), binaries.shim.clone()],
        runner,
        how,
        scenarios: scenario::all(layout)?
            .into_iter()
            .filter_map(programs)
            .collect(),
    })
}

fn parts_for(layout: &Layout, target: &For) -> Result<Parts, String> {
    let names = ["uvale", "libnmshim.so", "libnmshim-musl.so"];
    let binaries = names.map(|name| target.files.join(name));
    let binaries: Vec<_> = binaries.into_iter().filter(|file| file.is_file()).collect();
    if binaries.len() < 2 {
        let (triple, files) = (&target.triple, target.files.display());
        return Err(format!(
            "{files} has no uvale and shim: scripts/build-for.sh {triple}"
        ));
    }
    let runner = linked::whole_for(target.arch(), "compat-tests", "compat-tests", &RUNNER)
        .map_err(|why| format!("the runner does not build:\n{why}"))?;
    let compiler = Compiler::of_target(&target.triple);
    let programs = |name: &String| {
        let compile = |linked| compiler.scenario(layout, name, linked);
        Ok(Programs {
            dynamic: compile(Linked::Dynamic)?,
            fixed: Some(compile(Linked::Static)?),
            name: name.clone(),
        })
    };
    let scenarios = on_all_processors(&scenario::names(layout)?, programs);
    Ok(Parts {
        arch: target.arch().into(),
        binaries,
        runner: runner.path,
        how: runner.how.into(),
        scenarios: scenarios.into_iter().collect::<Result<_, String>>()?,
    })
}

/// What `make` makes of each item, in order.
fn on_all_processors<T: Sync, M: Send>(items: &[T], make: impl Fn(&T) -> M + Sync) -> Vec<M> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let share = items.len().div_ceil(processors).max(1);
    let make = &make;
    std::thread::scope(|scope| {
        let start = |share| scope.spawn(move || <[T]>::iter(share).map(make).collect::<Vec<_>>());
        let threads: Vec<_> = items.chunks(share).map(start).collect();
        let made = threads.into_iter().map(|thread| thread.join());
        made.flat_map(|made| made.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn fill(layout: &Layout, parts: &Parts, dir: &Path) -> Result<String, String> {
    copy(&parts.runner, &dir.join("compat-tests"))?;
    for binary in &parts.binaries {
        let name = binary.file_name().unwrap_or_default();
        copy(binary, &dir.join("bin").join(name))?;
    }
    for scenario in &parts.scenarios {
        let place = |l: Linked| dir.join("scenarios").join(l.folder()).join(&scenario.name);
        copy(&scenario.dynamic, &place(Linked::Dynamic))?;
        if let Some(fixed) = &scenario.fixed {
            copy(fixed, &place(Linked::Static))?;
        }
    }
    copy_tree(&layout.expected(), &dir.join("expected"))?;
    let manifest = manifest(parts);
    save(&dir.join("MANIFEST"), &manifest)?;
    save(&dir.join("run.sh"), RUN)?;
    executable(&dir.join("run.sh"))?;
    Ok(manifest)
}

fn manifest(parts: &Parts) -> String {
    let mut text = String::new();
    let count = parts.scenarios.len();
    let fixed = parts.scenarios.iter().filter(|s| s.fixed.is_some()).count();
    let _ = writeln!(text, "architecture: {}", parts.arch);
    let _ = writeln!(text, "runner: {}", parts.how);
    let _ = writeln!(
        text,
        "scenarios: {count}, {fixed} of them linked static too"
    );
    // of what the target `uvale` starts, a scenario is the part that is of one C library alone
    let dynamic = parts.scenarios.iter().map(|s| &s.dynamic);
    let is_glibcs = |program: &&PathBuf| needed_glibc(program).is_some();
    let on_glibc = dynamic.clone().filter(is_glibcs).count();
    let glibc = dynamic
        .chain(&parts.binaries)
        .filter_map(|p| needed_glibc(p));
    let _ = match glibc.max().filter(|_| on_glibc > 0) {
        Some((major, minor)) => writeln!(
            text,
            "target uvale: linked against glibc, {major}.{minor} or newer; it needs no compiler and no cargo"
        ),
        None => writeln!(
            text,
            "target uvale: linked against musl; it needs no compiler and no cargo"
        ),
    };
    text
}

/// A runner that needs nothing of the machine it runs on, and how it was linked.
fn runner() -> Result<(PathBuf, String), String> {
    let why = match linked::whole("compat-tests", "compat-tests", &RUNNER) {
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
    let mut command = Command::new("tar");
    // the same bytes for the same files, where somebody asks for that
    if let Ok(time) = std::env::var("SOURCE_DATE_EPOCH") {
        command.arg(format!("--mtime=@{time}"));
    }
    let output = command
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
