//! Scenarios: programs that use netmap's public interface and print facts.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use super::layout::Layout;
use super::netmap_tests::Suite;
use super::platform::Platform;
use crate::{apps, target};

/// What a scenario needs to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// VALE switches and pipes.
    Switch,
    /// A network interface.
    Interface,
}

/// What a scenario runs.
#[derive(Clone, Debug)]
pub enum Work {
    /// A program that prints facts.
    Facts {
        /// The program that a preloaded library can reach.
        dynamic: PathBuf,
        /// The same without any shared library, if the toolchain could make it.
        fixed: Option<PathBuf>,
    },
    /// Tests of netmap's own.
    Netmap(Suite),
}

/// One scenario, ready to run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its file's name without the ending.
    pub name: String,
    /// What runs.
    pub work: Work,
    /// What it needs.
    pub needs: Needs,
    /// One line for a person.
    pub about: String,
}

impl Scenario {
    /// Does it make sense on this target?
    ///
    /// # Errors
    /// Why not.
    pub fn suits(&self, platform: &Platform) -> Result<(), String> {
        let has_interface = matches!(platform, Platform::Nic(_) | Platform::Ptnet);
        match (self.needs, has_interface) {
            (Needs::Switch, true) => Err("does not use the interface".into()),
            (Needs::Interface, false) => Err("needs an interface".into()),
            _ => Ok(()),
        }
    }
}

/// How a scenario is linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// Against the system's C library.
    Dynamic,
    /// With everything inside.
    Static,
}

impl Linked {
    /// The folder that such programs lie in.
    pub fn folder(self) -> &'static str {
        match self {
            Linked::Dynamic => "dynamic",
            Linked::Static => "static",
        }
    }
}

/// On the kernel this one leaves ports behind that nobody can take away, and where netmap has a fault a
/// system that does not go on: whatever else is to run goes before it.
const LAST: &str = "persistent";

/// All scenarios, by name, those of `LAST` at the end; compiled first where their sources are.
///
/// # Errors
/// A sentence, if a scenario does not compile or say what it is.
pub fn all(layout: &Layout) -> Result<Vec<Scenario>, String> {
    let mut scenarios = Vec::new();
    for name in names(layout)? {
        scenarios.push(get(layout, &name)?);
    }
    scenarios.extend(Suite::ALL.map(|suite| Scenario {
        name: suite.name().into(),
        work: Work::Netmap(suite),
        needs: Needs::Switch,
        about: suite.about().into(),
    }));
    scenarios.sort_by_key(|s| s.name == LAST);
    Ok(scenarios)
}

/// The names of all programs that print facts.
///
/// # Errors
/// A sentence, if the folder cannot be read.
pub fn names(layout: &Layout) -> Result<Vec<String>, String> {
    let dir = if layout.is_bundle() {
        layout.scenarios().join(Linked::Dynamic.folder())
    } else {
        layout.scenarios()
    };
    let entries = std::fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .map(|e| e.path())
        .filter(|p| layout.is_bundle() || p.extension().is_some_and(|x| x == "c"))
        .filter_map(|p| Some(p.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

fn get(layout: &Layout, name: &str) -> Result<Scenario, String> {
    let (dynamic, fixed) = if layout.is_bundle() {
        let place = |l: Linked| layout.scenarios().join(l.folder()).join(name);
        let fixed = place(Linked::Static);
        (place(Linked::Dynamic), fixed.is_file().then_some(fixed))
    } else {
        let own = Compiler::own();
        let fixed = own.scenario(layout, name, Linked::Static).ok();
        (own.scenario(layout, name, Linked::Dynamic)?, fixed)
    };
    let (needs, about) = describe(fixed.as_deref().unwrap_or(&dynamic), name)?;
    Ok(Scenario {
        name: name.into(),
        work: Work::Facts { dynamic, fixed },
        needs,
        about,
    })
}

/// Asks the program what it is.
fn describe(program: &Path, name: &str) -> Result<(Needs, String), String> {
    let output = Command::new(program)
        .arg("--about")
        .env_remove("LD_PRELOAD")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("scenario {name} does not start: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = |key: &str| {
        text.lines()
            .find_map(|l| l.strip_prefix(key)?.strip_prefix('='))
    };
    let needs = match value("for") {
        Some("switch") => Needs::Switch,
        Some("interface") => Needs::Interface,
        other => return Err(format!("scenario {name} says for={other:?}")),
    };
    Ok((needs, value("about").unwrap_or_default().into()))
}

/// A C compiler, and where what it makes lies.
pub struct Compiler {
    command: Vec<OsString>,
    dir: PathBuf,
    fixed: &'static str,
}

impl Compiler {
    /// The one that makes programs for this machine.
    #[must_use]
    pub fn own() -> Compiler {
        let command = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        Compiler {
            command: vec![command],
            dir: apps::cache_dir().join("scenarios"),
            fixed: "-static-pie",
        }
    }

    /// The one for a target of `scripts/build-for.sh`.
    #[must_use]
    pub fn of_target(triple: &str) -> Compiler {
        let script = target::workspace().join("scripts/cc-for.sh");
        Compiler {
            command: vec![script.into(), triple.into()],
            dir: apps::cache_dir().join("scenarios-for").join(triple),
            // musl's knows no other
            fixed: "-static",
        }
    }

    /// A scenario as a program.
    ///
    /// # Errors
    /// What the compiler said, or that there is none.
    pub fn scenario(&self, layout: &Layout, name: &str, linked: Linked) -> Result<PathBuf, String> {
        let source = layout.scenarios().join(format!("{name}.c"));
        compile(self, &source, name, linked)
    }
}

/// The compiled program, made anew if a source is younger.
fn compile(
    compiler: &Compiler,
    source: &Path,
    name: &str,
    linked: Linked,
) -> Result<PathBuf, String> {
    let dir = compiler.dir.join(linked.folder());
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let program = dir.join(name);
    if is_current(&program, source) {
        return Ok(program);
    }
    // under another name first: several processes and threads may do this at once
    static MADE: AtomicU32 = AtomicU32::new(0);
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    let fresh = dir.join(format!("{name}.{}.{made}", std::process::id()));
    let link = match linked {
        Linked::Dynamic => "-pie",
        Linked::Static => compiler.fixed,
    };
    let (program_of, first) = compiler.command.split_first().expect("a command");
    let output = Command::new(program_of)
        .args(first)
        .env("CARGO_TARGET_DIR", target::target_dir())
        .args(["-O1", "-g", "-std=gnu11", "-Wall", "-Wextra", "-Werror"])
        .args(["-Wno-override-init", "-pthread", "-fPIE", link])
        .arg("-I")
        .arg(target::include_dir())
        .arg("-o")
        .arg(&fresh)
        .arg(source)
        .output()
        .map_err(|e| format!("no C compiler {}: {e}", program_of.display()))?;
    if !output.status.success() {
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        let said = String::from_utf8_lossy(&said);
        return Err(format!("{} does not compile:\n{said}", source.display()));
    }
    std::fs::rename(&fresh, &program).map_err(|e| format!("{}: {e}", program.display()))?;
    Ok(program)
}

/// Is the program younger than its source, the headers beside it and ours?
fn is_current(program: &Path, source: &Path) -> bool {
    let Some(made) = modified(program) else {
        return false;
    };
    let beside = source.parent().unwrap_or(Path::new("."));
    let folders = [beside.to_path_buf(), target::include_dir().join("net")];
    let headers = folders
        .iter()
        .flat_map(|d| std::fs::read_dir(d).into_iter());
    let newest = headers
        .flatten()
        .filter_map(Result::ok)
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|x| x == "h"))
        .chain([source.to_path_buf()])
        .filter_map(|p| modified(&p))
        .max();
    newest.is_some_and(|changed| changed < made)
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}
