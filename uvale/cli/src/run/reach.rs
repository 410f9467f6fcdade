//! Programs that a preloaded library does not reach, recognised by their files. A user who starts one is told so,
//! instead of getting "No such file or directory" for a device that other programs find.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use uvale_tools::elf::{Elf, Libc};

use uvale_tools::reach::Reach;

use super::preload::Shim;

/// Scripts whose interpreter is a script are followed so far, as the kernel does.
const MAX_SCRIPTS: usize = 5;
/// What the kernel reads of a script's first line.
const FIRST_LINE: u64 = 256;

/// Why the shim does not reach a program.
pub struct Obstacle {
    /// for the person
    what: String,
    /// the shim would crash the program's loader: it is better started without
    pub is_fatal: bool,
    /// the way that gets past it, if there is one
    pub way: Option<Reach>,
    /// what else does, if something does
    remedy: &'static str,
}

impl Obstacle {
    /// Is it none for that way?
    pub fn is_passed_by(&self, way: Reach) -> bool {
        self.way == Some(way)
    }

    /// For the person; `by` says how a way is asked for.
    pub fn said(&self, by: impl Fn(&str) -> String) -> String {
        let Self { what, remedy, .. } = self;
        let way = self.way.map(|way| by(way.name()));
        let other = (!remedy.is_empty()).then(|| (*remedy).to_owned());
        let remedies: Vec<_> = way.into_iter().chain(other).collect();
        format!("{what}; {}", remedies.join(", or "))
    }
}

/// The file that runs when a command does.
pub struct Program {
    path: PathBuf,
    elf: Elf,
}

impl Program {
    /// That of the command `name`, which is looked for in `path`; `None` if it is not ELF.
    pub fn of(name: &OsStr, path: &OsStr) -> Option<Self> {
        let path = found(name, path).and_then(|file| program_file(file, path))?;
        let elf = Elf::read(File::open(&path).ok()?)?;
        Some(Self { path, elf })
    }

    /// How it is best reached.
    pub fn way(&self) -> Reach {
        let elf = &self.elf;
        match (elf.is_static(), elf.is_go) {
            (true, _) if elf.machine.is_own() => Reach::Notify,
            (false, true) => Reach::Trap,
            _ => Reach::Preload,
        }
    }

    /// The shim for its C library, where it is installed beside `shim`, and what keeps it from the program.
    pub fn reached_by(&self, shim: Shim) -> (Shim, Option<Obstacle>) {
        let shim = match self.elf.interpreter.is_some().then(|| self.elf.libc()) {
            Some(Some(libc)) => shim.for_libc(libc),
            _ => shim,
        };
        let obstacle = obstacle(&self.path, &self.elf, &shim);
        (shim, obstacle)
    }
}

fn obstacle(path: &Path, elf: &Elf, shim: &Shim) -> Option<Obstacle> {
    let loader = elf.interpreter.as_deref().unwrap_or_default();
    let is_fatal = !loader.is_empty() && elf.libc() != Some(shim.libc);
    let (way, what, remedy) = if elf.machine != shim.machine {
        let what = "is built for another kind of processor or word size than libnmshim.so, which is not loaded into \
                    it: it finds no /dev/netmap";
        let remedy = "build it for this machine, or uvale for that";
        (None, what.to_owned(), remedy)
    } else if elf.is_go && elf.is_static() {
        let what = "is a Go program: it makes system calls itself, is not reached by a preloaded library and finds \
                    no /dev/netmap";
        (Some(Reach::Notify), what.to_owned(), "")
    } else if elf.is_static() {
        let what = "is statically linked: it is not reached by a preloaded library and finds no /dev/netmap";
        (Some(Reach::Notify), what.to_owned(), "link it dynamically")
    } else if is_fatal {
        let remedy = match elf.libc() {
            Some(Libc::Musl) => "put libnmshim-musl.so beside it, or build the program with glibc",
            Some(Libc::Glibc) => "put libnmshim-glibc.so beside it, or build the program with musl",
            _ => "build it with glibc",
        };
        let shim = shim.file_name();
        let what = format!(
            "is built for another C library ({loader}) than {shim}: it runs without, and finds no /dev/netmap"
        );
        (Some(Reach::Notify), what, remedy)
    } else if let Some(why) = gains_privileges(path) {
        let what =
            format!("{why}: the loader preloads nothing into it and it finds no /dev/netmap");
        (
            None,
            what,
            "start a copy without that, as the user that it becomes",
        )
    } else if elf.is_go {
        let what = "is a Go program with C code (cgo): what its C code opens is reached, Go's own system calls are \
                    not";
        (Some(Reach::Trap), what.to_owned(), "")
    } else {
        return None;
    };
    Some(Obstacle {
        what: format!("{} {what}", path.display()),
        is_fatal,
        way,
        remedy,
    })
}

/// The file of the command `name`, as execvp(3) finds it in `path`.
fn found(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(name.into());
    }
    std::env::split_paths(path)
        .map(|dir| dir.join(name))
        .find(|file| uvale_link::start::is_program(file))
}

/// The program that runs the file: itself, or the interpreter that its first line names.
fn program_file(mut file: PathBuf, path: &OsStr) -> Option<PathBuf> {
    for _ in 0..MAX_SCRIPTS {
        let mut line = Vec::new();
        let open = File::open(&file).ok()?;
        open.take(FIRST_LINE).read_to_end(&mut line).ok()?;
        let Some(line) = line.strip_prefix(b"#!") else {
            return Some(file);
        };
        file = interpreter(line, path)?;
    }
    None
}

/// The interpreter that the rest of a `#!` line names; after `env` the program that it starts.
fn interpreter(line: &[u8], path: &OsStr) -> Option<PathBuf> {
    let line = line.split(|b| *b == b'\n').next()?;
    let mut words = line
        .split(|b| b" \t".contains(b))
        .filter(|word| !word.is_empty())
        .map(|word| OsString::from_vec(word.to_vec()));
    let first = PathBuf::from(words.next()?);
    if first.file_name() != Some(OsStr::new("env")) {
        return Some(first);
    }
    let is_program =
        |word: &OsString| word.as_bytes()[0] != b'-' && !word.as_bytes().contains(&b'=');
    words.find(is_program).and_then(|word| found(&word, path))
}

/// Why the loader ignores preloads: the file gives its process another user, group or capabilities.
fn gains_privileges(path: &Path) -> Option<&'static str> {
    let meta = std::fs::metadata(path).ok()?;
    let no_new_privileges = rustix::thread::no_new_privs().unwrap_or(false);
    let nosuid = rustix::fs::statvfs(path)
        .is_ok_and(|fs| fs.f_flag.contains(rustix::fs::StatVfsMountFlags::NOSUID));
    if no_new_privileges || nosuid {
        return None;
    }
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if meta.mode() & libc::S_ISUID != 0 && meta.uid() != user.as_raw() {
        return Some("is set-uid");
    }
    let set_gid = libc::S_ISGID | libc::S_IXGRP;
    if meta.mode() & set_gid == set_gid && meta.gid() != group.as_raw() {
        return Some("is set-gid");
    }
    let mut none: [u8; 0] = [];
    let has_capabilities =
        rustix::fs::getxattr(path, "security.capability", &mut none).is_ok_and(|len| len > 0);
    (has_capabilities && !user.is_root()).then_some("has file capabilities")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines() {
        let path = OsStr::new("/nonexistent:/bin:/usr/bin");
        let sh = found(OsStr::new("sh"), path);
        assert!(sh.is_some());
        let interpreter = |line: &[u8]| interpreter(line, path);
        for line in [
            "/usr/bin/env sh\n",
            " /usr/bin/env -S A=1 sh -e",
            "/usr/bin/env\tsh",
        ] {
            assert_eq!(interpreter(line.as_bytes()), sh, "{line}");
        }
        assert_eq!(interpreter(b" /bin/x -y\nz"), Some("/bin/x".into()));
        assert_eq!(interpreter(b"\n"), None);
        assert_eq!(interpreter(b"/usr/bin/env -S"), None);
    }
}
