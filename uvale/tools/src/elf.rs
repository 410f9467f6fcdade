//! What an ELF file says about how the program or library is started: its machine, its loader, the libraries it needs.
//! The file is not trusted: at worst it is not understood.

use std::io::{Read, Seek};

use object::elf;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::read::{ReadCache, ReadRef};
use object::{Endianness, FileKind};

/// What programs and libraries must have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// of 64 bits, not 32
    pub is_64: bool,
    /// stores the low byte first
    pub is_little_endian: bool,
    /// `e_machine`
    pub number: u16,
}

impl Machine {
    /// Is it the one that this program runs on?
    #[must_use]
    pub fn is_own(&self) -> bool {
        let number = match std::env::consts::ARCH {
            "x86_64" => elf::EM_X86_64,
            "aarch64" => elf::EM_AARCH64,
            _ => return false,
        };
        self.number == number.0
            && self.is_64 == cfg!(target_pointer_width = "64")
            && self.is_little_endian == cfg!(target_endian = "little")
    }
}

/// A C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Libc {
    /// the GNU C library
    Glibc,
    /// musl, of Alpine and others
    Musl,
    /// bionic, uClibc
    Other,
}

impl Libc {
    /// Whose loader this is; loaders that are not known are glibc's under another name.
    #[must_use]
    pub fn of_loader(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        let begins = |with: &str| name.starts_with(with);
        if begins("ld-musl-") {
            Self::Musl
        } else if ["ld-uClibc", "ld64-uClibc", "linker"]
            .into_iter()
            .any(begins)
        {
            Self::Other
        } else {
            Self::Glibc
        }
    }
}

/// An ELF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// the machine it is for
    pub machine: Machine,
    /// can be loaded at any address: a library, or a program of today
    pub is_movable: bool,
    /// the loader that it asks for
    pub interpreter: Option<String>,
    /// the libraries that it asks for
    pub needed: Vec<String>,
    /// its name as a library
    pub soname: Option<String>,
    /// was made by the Go compiler
    pub is_go: bool,
}

impl Elf {
    /// Reads an ELF file; `None` if it is none.
    pub fn read(file: impl Read + Seek) -> Option<Self> {
        let cache = ReadCache::new(file);
        match FileKind::parse(&cache).ok()? {
            FileKind::Elf32 => parse::<elf::FileHeader32<Endianness>, _>(&cache),
            FileKind::Elf64 => parse::<elf::FileHeader64<Endianness>, _>(&cache),
            _ => None,
        }
    }

    /// A program that no loader is asked to load, and that is not the loader itself.
    pub fn is_static(&self) -> bool {
        self.interpreter.is_none() && self.soname.is_none()
    }

    /// The C library that it is built for, as its loader or the libraries that it asks for tell.
    pub fn libc(&self) -> Option<Libc> {
        if let Some(loader) = &self.interpreter {
            return Some(Libc::of_loader(loader));
        }
        self.needed.iter().find_map(|name| match name.as_str() {
            "libc.so.6" => Some(Libc::Glibc),
            "libc.so" => Some(Libc::Musl),
            _ => name.starts_with("libc.musl-").then_some(Libc::Musl),
        })
    }
}

fn parse<'a, H: FileHeader<Endian = Endianness>, R: ReadRef<'a>>(data: R) -> Option<Elf> {
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let kind = header.e_type(endian);
    if ![elf::ET_EXEC, elf::ET_DYN].contains(&kind) {
        return None;
    }
    let mut found = Elf {
        machine: Machine {
            is_64: header.is_class_64(),
            is_little_endian: header.is_little_endian(),
            number: header.e_machine(endian).0,
        },
        is_movable: kind == elf::ET_DYN,
        interpreter: None,
        needed: Vec::new(),
        soname: None,
        is_go: is_go(header, endian, data),
    };
    let segments = header.program_headers(endian, data).ok()?;
    for segment in segments {
        if let Some(path) = segment.interpreter(endian, data).ok()? {
            found.interpreter = Some(String::from_utf8_lossy(path).into_owned());
        }
        if let Some(entries) = segment.dynamic(endian, data).ok()? {
            names::<H, _>(&mut found, segments, entries, endian, data);
        }
    }
    Some(found)
}

/// Reads the names that the dynamic section refers to.
fn names<'a, H: FileHeader<Endian = Endianness>, R: ReadRef<'a>>(
    found: &mut Elf,
    segments: &[H::ProgramHeader],
    entries: &[H::Dyn],
    endian: Endianness,
    data: R,
) {
    let value = |tag| {
        let entry = entries.iter().find(|e| e.tag(endian) == tag)?;
        Some(entry.val(endian))
    };
    let strings = value(elf::DT_STRTAB)
        .zip(value(elf::DT_STRSZ))
        .and_then(|(address, size)| {
            let range = |s: &H::ProgramHeader| s.data_range(endian, data, address, size).ok()?;
            segments.iter().find_map(range)
        });
    let string = |entry: &H::Dyn| {
        let start = usize::try_from(entry.val(endian)).ok()?;
        let name = strings?.get(start..)?.split(|b| *b == 0).next()?;
        Some(String::from_utf8_lossy(name).into_owned())
    };
    for entry in entries {
        match entry.tag(endian) {
            elf::DT_NEEDED => found.needed.extend(string(entry)),
            elf::DT_SONAME => found.soname = string(entry),
            _ => {}
        }
    }
}

fn is_go<'a, H: FileHeader<Endian = Endianness>, R: ReadRef<'a>>(
    header: &H,
    endian: Endianness,
    data: R,
) -> bool {
    let Ok(sections) = header.sections(endian, data) else {
        return false;
    };
    let is_gos = |name: &[u8]| name == b".go.buildinfo" || name == b".note.go.buildid";
    sections
        .iter()
        .any(|s| sections.section_name(endian, s).is_ok_and(is_gos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn own() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn a_program_of_ours_is_read() {
        let elf = Elf::read(Cursor::new(own())).unwrap();
        assert_eq!(elf.machine.is_64, cfg!(target_pointer_width = "64"));
        assert_eq!(elf.machine.is_little_endian, cfg!(target_endian = "little"));
        assert!(elf.machine.is_own(), "{elf:?}");
        assert!(!elf.is_static() && !elf.is_go, "{elf:?}");
        let libc = if cfg!(target_env = "musl") {
            Libc::Musl
        } else {
            Libc::Glibc
        };
        assert_eq!(elf.libc(), Some(libc), "{elf:?}");
        let library = Elf {
            interpreter: None,
            ..elf
        };
        assert_eq!(library.libc(), Some(libc), "{library:?}");
    }

    #[test]
    fn loaders() {
        for (loader, libc) in [
            ("/lib64/ld-linux-x86-64.so.2", Libc::Glibc),
            ("/nix/store/x/ld-linux-aarch64.so.1", Libc::Glibc),
            ("/lib/ld.so.1", Libc::Glibc),
            ("/lib/ld-musl-x86_64.so.1", Libc::Musl),
            ("/system/bin/linker64", Libc::Other),
            ("/lib/ld-uClibc.so.0", Libc::Other),
        ] {
            assert_eq!(Libc::of_loader(loader), libc, "{loader}");
        }
    }

    #[test]
    fn what_is_no_elf_is_none() {
        for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", b"\x7fELF\x02\x01\x01"] {
            assert_eq!(Elf::read(Cursor::new(bytes)), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// The head and the tables that it points to, with some bytes of them changed, and cut somewhere.
        #[test]
        fn damaged_files_are_survived(
            changes in prop::collection::vec((0usize..2048, any::<u8>()), 0..40),
            len in 0usize..20_000,
        ) {
            use std::sync::LazyLock;
            static START: LazyLock<Vec<u8>> = LazyLock::new(|| own()[..20_000].to_vec());
            let mut bytes = START[..len].to_vec();
            for (at, byte) in changes {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            let _ = Elf::read(Cursor::new(bytes));
        }
    }
}
