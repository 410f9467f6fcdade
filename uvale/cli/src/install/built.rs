//! The files of a build.

use std::fs::File;
use std::path::{Path, PathBuf};

use uvale_tools::elf::Elf;
use uvale_tools::output::plain;

/// What a build made.
pub struct Built {
    /// The folder.
    folder: PathBuf,
    /// `uvale`
    pub uvale: PathBuf,
    /// The machine that it is for, `EM_X86_64` and the like.
    pub machine: u16,
    /// `libnmshim.so`, and those for other C libraries.
    pub shims: Vec<PathBuf>,
    /// `libnetmap`, to be loaded, with its name as a library.
    pub netmap: Option<(PathBuf, String)>,
    /// `libnetmap.a`
    pub netmap_archive: Option<PathBuf>,
}

impl Built {
    /// What lies in the folder, or in an installation of it: libraries below `../lib`.
    pub fn find(folder: &Path) -> Result<Self, String> {
        Self::with(folder, folder.join("uvale"))
    }

    /// The same around this program.
    pub fn of_this_program() -> Result<Self, String> {
        let program = uvale_system::sys::this_program()
            .map_err(|e| format!("this program's own path is not known: {e}"))?;
        let folder = program.parent().ok_or("this program lies in no folder")?;
        Self::with(folder, program.clone())
    }

    fn with(folder: &Path, uvale: PathBuf) -> Result<Self, String> {
        let elf = read(&uvale)?;
        let machine = elf.machine;
        let mut folders = vec![folder.to_owned()];
        for below in ["uvale", "", "x86_64-linux-gnu", "aarch64-linux-gnu"] {
            folders.push(folder.join("../lib").join(below));
        }
        let mut built = Self {
            folder: folder.to_owned(),
            uvale,
            machine: machine.number,
            shims: Vec::new(),
            netmap: None,
            netmap_archive: first(&folders, &["libnetmap.a"]),
        };
        for name in ["libnmshim.so", "libnmshim-glibc.so", "libnmshim-musl.so"] {
            built.shims.extend(first(&folders, &[name]));
        }
        if built.shims.is_empty() {
            return Err(format!(
                "there is no libnmshim.so in {}; build it: cargo build --release -p nmshim",
                folder.display()
            ));
        }
        if let Some(library) = first(&folders, &["libnetmap.so", "libnetmap.so.0"]) {
            let library = library.canonicalize().unwrap_or(library);
            let name = read(&library)?.soname;
            let name = name.filter(|n| n.starts_with("libnetmap.so") && !n.contains('/'));
            let name = name.ok_or_else(|| format!("{} has no soname", library.display()))?;
            built.netmap = Some((library, name));
        }
        let libraries = built.netmap.iter().map(|(path, _)| path);
        for path in built.shims.iter().chain(libraries) {
            if read(path)?.machine != machine {
                let (path, uvale) = (path.display(), built.uvale.display());
                return Err(format!("{path} is for another machine than {uvale}"));
            }
        }
        Ok(built)
    }

    /// What is not there, for people.
    pub fn left_out(&self) -> Vec<String> {
        let is_missing = [
            ("libnetmap.so", self.netmap.is_none()),
            ("libnetmap.a", self.netmap_archive.is_none()),
        ];
        let missing = is_missing.into_iter().filter(|(_, missing)| *missing);
        let folder = self.folder.display();
        missing
            .map(|(name, _)| {
                format!("{name}, which is not in {folder} (cargo build --release -p libnetmap)")
            })
            .collect()
    }
}

/// The first of these files that is there.
fn first(folders: &[PathBuf], names: &[&str]) -> Option<PathBuf> {
    let mut paths = folders
        .iter()
        .flat_map(|folder| names.iter().map(|name| folder.join(name)));
    paths.find(|path| path.is_file())
}

fn read(path: &Path) -> Result<Elf, String> {
    let file = File::open(path).map_err(|e| format!("{}: {}", path.display(), plain(&e)))?;
    Elf::read(file).ok_or_else(|| format!("{} is no program or library", path.display()))
}
