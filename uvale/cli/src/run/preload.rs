//! The environment in which a program finds the shim.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use uvale_tools::elf::{Elf, Libc, Machine};

/// The shim, looked at.
#[derive(Clone)]
pub struct Shim {
    path: PathBuf,
    /// the machine it is for
    pub machine: Machine,
    /// the C library it is for
    pub libc: Libc,
}

/// How the names of all shims begin: `libnmshim.so`, and beside it those for another C library than `uvale`'s own.
const STEM: &[u8] = b"libnmshim";

/// Libraries that the loader loads into every program.
pub const PRELOAD: &str = "LD_PRELOAD";
const ASAN_OPTIONS: &str = "ASAN_OPTIONS";
const LINK_ORDER: &str = "verify_asan_link_order";

impl Shim {
    /// Finds it; an error says what is wrong with the one that was found.
    pub fn find() -> Result<Self, String> {
        let path = uvale_link::start::shim().ok_or(
            "libnmshim.so was not found beside this program or in ../lib; name it in NMSHIM",
        )?;
        let shown = path.display();
        // The loader takes both for the end of a name.
        if path
            .as_os_str()
            .as_bytes()
            .iter()
            .any(|b| b" :".contains(b))
        {
            return Err(format!(
                "{shown} cannot be preloaded: there is a space or a colon in its name; put it into \
                 another folder and name it in NMSHIM"
            ));
        }
        let file = std::fs::File::open(&path)
            .map_err(|e| format!("cannot preload {shown}, which NMSHIM names: {e}"))?;
        match Self::read(&path, file) {
            Some(shim) => Ok(shim),
            None => Err(format!(
                "cannot preload {shown}: it is not a shared library"
            )),
        }
    }

    fn read(path: &Path, file: std::fs::File) -> Option<Self> {
        let elf = Elf::read(file)?;
        (elf.is_movable && elf.interpreter.is_none()).then(|| Self {
            machine: elf.machine,
            libc: elf.libc().unwrap_or(Libc::Glibc),
            path: path.to_owned(),
        })
    }

    /// The shim for programs of that C library, if there is one beside this one; else this one.
    pub fn for_libc(self, libc: Libc) -> Self {
        let name = match libc {
            _ if libc == self.libc => return self,
            Libc::Glibc => "libnmshim-glibc.so",
            Libc::Musl => "libnmshim-musl.so",
            Libc::Other => return self,
        };
        let path = self.path.with_file_name(name);
        let other = std::fs::File::open(&path)
            .ok()
            .and_then(|file| Self::read(&path, file));
        other.filter(|other| other.libc == libc).unwrap_or(self)
    }

    /// Its name, for people.
    pub fn file_name(&self) -> std::borrow::Cow<'_, str> {
        self.path.file_name().unwrap_or_default().to_string_lossy()
    }

    /// Puts the shim into the program's environment.
    pub fn enter(&self, command: &mut Command) {
        let mut all = without_shims(&variable(command, PRELOAD).unwrap_or_default());
        all.push(&self.path);
        command.env(PRELOAD, all);
        let options = variable(command, ASAN_OPTIONS).unwrap_or_default();
        command.env(ASAN_OPTIONS, unordered(options));
        command.envs(uvale_link::environment::paths());
        if let Ok(exe) = uvale_system::sys::this_program() {
            command.env(uvale_link::environment::ENV_PROGRAM, exe);
        }
    }
}

/// Takes the shim out of the program's environment, if an `uvale run` around this one has put it there: one for
/// another C library keeps a program from starting.
pub fn leave(command: &mut Command) {
    if let Some(others) = variable(command, PRELOAD) {
        command.env(PRELOAD, without_shims(&others));
    }
}

/// A variable as the program of `command` gets it.
pub fn variable(command: &Command, name: &str) -> Option<OsString> {
    match command.get_envs().find(|(key, _)| *key == name) {
        Some((_, value)) => value.map(OsString::from),
        None => std::env::var_os(name),
    }
}

/// The user's own entries, unchanged, each with a separator behind it; a shim, of whichever build, is not among them,
/// nor loaded twice.
fn without_shims(list: &OsStr) -> OsString {
    let mut others = OsString::new();
    for entry in list.as_bytes().split(|b| b" :".contains(b)) {
        let entry = Path::new(OsStr::from_bytes(entry));
        if entry
            .file_name()
            .is_some_and(|name| !name.as_bytes().starts_with(STEM))
        {
            others.push(entry);
            others.push(":");
        }
    }
    others
}

/// The runtime of gcc's AddressSanitizer refuses to start where a preloaded library comes before it. After the shim
/// it works as well: the shim passes calls on to the next library, which is the runtime.
fn unordered(mut options: OsString) -> OsString {
    let is_named = |o: &[u8]| {
        o.windows(LINK_ORDER.len())
            .any(|w| w == LINK_ORDER.as_bytes())
    };
    if !is_named(options.as_bytes()) {
        if !options.is_empty() {
            options.push(":");
        }
        options.push(LINK_ORDER);
        options.push("=0");
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_the_user_stay() {
        for (list, expected) in [
            ("", ""),
            ("libasan.so.8", "libasan.so.8:"),
            ("/a/x.so:y.so", "/a/x.so:y.so:"),
            ("/a/x.so  y.so:", "/a/x.so:y.so:"),
            ("/old/libnmshim.so:y.so", "y.so:"),
            ("/lib/libnmshim-musl.so", ""),
        ] {
            assert_eq!(without_shims(OsStr::new(list)), expected, "{list}");
        }
    }

    #[test]
    fn options_of_the_user_stay() {
        for (options, expected) in [
            ("", "verify_asan_link_order=0"),
            ("detect_leaks=0", "detect_leaks=0:verify_asan_link_order=0"),
            ("verify_asan_link_order=1", "verify_asan_link_order=1"),
        ] {
            assert_eq!(unordered(options.into()), expected);
        }
    }
}
