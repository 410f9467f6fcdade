//! Other roots and machines, and programs in them: `scripts/build-for.sh` builds for them, `scripts/root.sh` makes
//! them, `scripts/in-root.sh` starts commands there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Skip, target};

/// The files that `scripts/build-for.sh` has built for a target: of a release or without optimisation, as it was built
/// last.
///
/// # Errors
/// It has built none.
pub fn built_for(triple: &str) -> Result<PathBuf, Skip> {
    let places = ["release-for", "debug-for"].map(|p| target::target_dir().join(p).join(triple));
    let built = |place: PathBuf| Some((place.metadata().ok()?.modified().ok()?, place));
    let last = places.into_iter().filter_map(built).max();
    last.map(|(_, place)| place)
        .ok_or_else(|| Skip::optional(format!("not built: scripts/build-for.sh {triple} [debug]")))
}

/// A command of the folder `scripts`, with this build's target directory.
#[must_use]
pub fn script(name: &str) -> Command {
    let mut command = Command::new(target::workspace().join("scripts").join(name));
    command
        .env("CARGO_TARGET_DIR", target::target_dir())
        .stdin(Stdio::null());
    command
}

/// The root of a Debian suite, or `musl`; `arch` is of Debian's names.
///
/// # Errors
/// Why it cannot be made.
pub fn root(suite: &str, arch: &str) -> Result<PathBuf, Skip> {
    said(script("root.sh").args([suite, arch])).map(|path| PathBuf::from(path.trim()))
}

/// What a command prints; whoever fails says why on its standard error, or output.
fn said(command: &mut Command) -> Result<String, Skip> {
    let output = command
        .output()
        .map_err(|e| Skip::optional(format!("{:?}: {e}", command.get_program())))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let why = [text(&output.stdout), text(&output.stderr)].concat();
    Err(Skip::optional(why))
}

/// A folder that is `/opt` in a root, and gone afterwards.
pub struct Stage {
    dir: PathBuf,
}

impl Stage {
    /// An empty one.
    ///
    /// # Panics
    /// If the temporary folder cannot be written.
    #[must_use]
    pub fn new(name: &str) -> Stage {
        let dir = std::env::temp_dir().join(format!("uvale-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("the temporary folder can be written");
        Stage { dir }
    }

    /// The folder, here.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Copies a file into it.
    ///
    /// # Panics
    /// If it cannot be copied.
    pub fn put(&self, file: &Path) {
        crate::apps::copy_program(file, &self.dir);
    }

    /// Copies `uvale` and its shims out of the files for a target.
    ///
    /// # Panics
    /// If they cannot be copied.
    pub fn put_uvale(&self, files: &Path) {
        for name in ["uvale", "libnmshim.so", "libnmshim-musl.so"] {
            let file = files.join(name);
            if file.is_file() {
                self.put(&file);
            }
        }
    }

    /// Compiles a program of the folder `programs`.
    ///
    /// # Errors
    /// There is no compiler for that target.
    ///
    /// # Panics
    /// If it does not compile.
    pub fn compile(&self, triple: &str, source: &str, name: &str) -> Result<(), Skip> {
        self.compile_with(triple, source, name, &[])
    }

    /// The same, with arguments behind the source.
    ///
    /// # Errors
    /// There is no compiler for that target.
    ///
    /// # Panics
    /// If it does not compile.
    pub fn compile_with(
        &self,
        triple: &str,
        source: &str,
        name: &str,
        flags: &[&str],
    ) -> Result<(), Skip> {
        let source = target::workspace()
            .join("compat-tests/programs")
            .join(source);
        let mut command = script("cc-for.sh");
        command
            .args([triple, "-O1", "-pthread", "-I"])
            .arg(target::include_dir())
            .arg("-o")
            .args([&self.dir.join(name), &source])
            .args(flags);
        match said(&mut command) {
            Ok(_) => Ok(()),
            Err(skip) if skip.why.starts_with("skipped: ") => Err(skip),
            Err(failed) => panic!("{} for {triple}: {}", source.display(), failed.why),
        }
    }

    /// Runs a command in a root, with this folder as its `/opt`: its status, and all that it said.
    ///
    /// # Errors
    /// There are no such namespaces here.
    ///
    /// # Panics
    /// If the script does not start.
    pub fn run(&self, root: &Path, command: &[&str]) -> Result<(bool, String), Skip> {
        let output = script("in-root.sh")
            .args([root, &self.dir])
            .args(command)
            .output()
            .expect("a shell starts");
        let text = [&output.stdout[..], &output.stderr[..]].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        if output.status.code() == Some(3) && text.starts_with("no namespaces") {
            return Err(Skip::optional(text.trim()));
        }
        Ok((output.status.success(), text))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
