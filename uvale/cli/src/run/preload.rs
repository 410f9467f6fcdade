//! The environment in which a program finds the shim.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use uvale_tools::elf::{Elf, Machine};

/// The shim, looked at.
pub struct Shim {
    path: PathBuf,
    /// the machine it is for
    pub machine: Machine,
}

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
        match Elf::read(file) {
            Some(elf) if elf.is_movable && elf.interpreter.is_none() => Ok(Self {
                machine: elf.machine,
                path,
            }),
            _ => Err(format!(
                "cannot preload {shown}: it is not a shared library"
            )),
        }
    }

    /// Puts the shim into the program's environment.
    pub fn enter(&self, command: &mut Command) {
        let others = std::env::var_os(PRELOAD).unwrap_or_default();
        command.env(PRELOAD, list(&others, &self.path));
        let options = std::env::var_os(ASAN_OPTIONS).unwrap_or_default();
        command.env(ASAN_OPTIONS, unordered(options));
        command.envs(uvale_link::environment::paths());
        if let Ok(exe) = uvale_system::sys::this_program() {
            command.env(uvale_link::environment::ENV_PROGRAM, exe);
        }
    }
}

/// The user's own entries come first, unchanged; a shim among them, of this or another build, is not loaded twice.
fn list(others: &OsStr, shim: &Path) -> OsString {
    let mut list = OsString::new();
    for entry in others.as_bytes().split(|b| b" :".contains(b)) {
        let entry = Path::new(OsStr::from_bytes(entry));
        if entry
            .file_name()
            .is_some_and(|name| Some(name) != shim.file_name())
        {
            list.push(entry);
            list.push(":");
        }
    }
    list.push(shim);
    list
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
    fn entries_of_the_user_come_first() {
        let shim = Path::new("/lib/libnmshim.so");
        for (others, expected) in [
            ("", "/lib/libnmshim.so"),
            ("libasan.so.8", "libasan.so.8:/lib/libnmshim.so"),
            ("/a/x.so:y.so", "/a/x.so:y.so:/lib/libnmshim.so"),
            ("/a/x.so  y.so:", "/a/x.so:y.so:/lib/libnmshim.so"),
            ("/old/libnmshim.so:y.so", "y.so:/lib/libnmshim.so"),
            ("/lib/libnmshim.so", "/lib/libnmshim.so"),
        ] {
            assert_eq!(list(OsStr::new(others), shim), expected, "{others}");
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
