//! What a file asks of the machine where it is loaded.

use std::collections::BTreeSet;
use std::path::Path;

use object::elf;
use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader, Sym};
use object::{Endianness, FileKind};

use super::OLDEST;

/// The libraries that are part of a C library: nothing else may be asked for.
const OF_GLIBC: [&str; 7] = [
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
];
const OF_MUSL: [&str; 1] = ["libc.so"];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Libc {
    Glibc,
    Musl,
}

/// What a file of ours asks of the machine.
#[derive(Debug, Default)]
pub struct Asks {
    pub machine: u16,
    pub interpreter: Option<String>,
    pub needed: Vec<String>,
    pub soname: Option<String>,
    /// `GLIBC_2.17` and so on, with the library that has to have it
    pub versions: BTreeSet<(String, String)>,
    /// symbols that others have to have
    pub names: BTreeSet<String>,
    /// symbols that it has for others
    pub has: BTreeSet<String>,
    /// what no file of ours may have
    faults: Vec<String>,
}

impl Asks {
    pub fn of(file: &Path) -> Asks {
        let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert_eq!(FileKind::parse(&bytes[..]).ok(), Some(FileKind::Elf64));
        Asks::read(&bytes).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
    }

    fn read(data: &[u8]) -> object::read::Result<Asks> {
        let header = elf::FileHeader64::<Endianness>::parse(data)?;
        let endian = header.endian()?;
        let mut asks = Asks {
            machine: header.e_machine(endian).0,
            ..Asks::default()
        };
        let mut stack = None;
        for segment in header.program_headers(endian, data)? {
            if let Some(path) = segment.interpreter(endian, data)? {
                asks.interpreter = Some(String::from_utf8_lossy(path).into_owned());
            }
            let is_code = segment.p_flags(endian) & elf::PF_X != elf::ProgramFlags(0);
            if segment.p_type(endian) == elf::PT_GNU_STACK {
                stack = Some(is_code);
            }
            let is_data = segment.p_flags(endian) & elf::PF_W != elf::ProgramFlags(0);
            if segment.p_type(endian) == elf::PT_LOAD && is_code && is_data {
                asks.fault("memory that is code and can be written");
            }
        }
        if stack != Some(false) {
            asks.fault("a stack that is code");
        }
        let sections = header.sections(endian, data)?;
        for section in sections.iter() {
            let Some((entries, link)) = section.dynamic(endian, data)? else {
                continue;
            };
            let strings = sections.strings(endian, data, link)?;
            for entry in entries {
                let value = entry.val(endian);
                let text = || -> object::read::Result<String> {
                    let at = u32::try_from(value).unwrap_or(u32::MAX);
                    let name = strings.get(at).unwrap_or_default();
                    Ok(String::from_utf8_lossy(name).into_owned())
                };
                match entry.tag(endian) {
                    elf::DT_NEEDED => asks.needed.push(text()?),
                    elf::DT_SONAME => asks.soname = Some(text()?),
                    elf::DT_RPATH | elf::DT_RUNPATH => {
                        asks.fault(&format!("a folder of libraries: {}", text()?));
                    }
                    elf::DT_TEXTREL => asks.fault("relocations in code"),
                    elf::DT_FLAGS if value & elf::DF_TEXTREL.0 != 0 => {
                        asks.fault("relocations in code");
                    }
                    _ => {}
                }
            }
        }
        let symbols = sections.symbols(endian, data, elf::SHT_DYNSYM)?;
        for symbol in symbols.iter() {
            let name = symbols.symbol_name(endian, symbol)?;
            let name = String::from_utf8_lossy(name).into_owned();
            if !symbol.is_undefined(endian) {
                asks.has.insert(name);
            } else if !symbol.is_weak() && !name.is_empty() {
                asks.names.insert(name);
            }
        }
        if let Some((mut needs, link)) = sections.gnu_verneed(endian, data)? {
            let strings = sections.strings(endian, data, link)?;
            while let Some((need, mut parts)) = needs.next()? {
                let library = need.file(endian, strings)?;
                while let Some(part) = parts.next()? {
                    let version = part.name(endian, strings)?;
                    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
                    asks.versions.insert((text(version), text(library)));
                }
            }
        }
        Ok(asks)
    }

    fn fault(&mut self, what: &str) {
        self.faults.push(what.to_owned());
    }

    /// Everything that is wrong with a file for `libc`.
    pub fn wrong(&self, libc: Libc, oldest: Option<(u32, u32)>) -> Vec<String> {
        let mut wrong = self.faults.clone();
        let known: &[&str] = match libc {
            Libc::Glibc => &OF_GLIBC,
            Libc::Musl => &OF_MUSL,
        };
        let others = self.needed.iter().filter(|n| !known.contains(&n.as_str()));
        wrong.extend(others.map(|n| format!("needs {n}")));
        for (version, library) in &self.versions {
            let number = version.strip_prefix("GLIBC_").and_then(parse_version);
            match (libc, number) {
                (Libc::Musl, _) => wrong.push(format!("asks for {version}, on musl")),
                (Libc::Glibc, Some(n)) if oldest.is_none_or(|oldest| n <= oldest) => {}
                (Libc::Glibc, _) => wrong.push(format!("asks {library} for {version}")),
            }
        }
        wrong
    }
}

/// `2.17`, or `2.2.5`, of which two numbers are enough.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(str::parse);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    numbers.all(|n| n.is_ok()).then_some((major, minor))
}

#[test]
fn what_is_wrong_is_told() {
    let asks = |version: &str, needed: &str| Asks {
        needed: vec![needed.to_owned()],
        versions: [(version.to_owned(), "libc.so.6".to_owned())].into(),
        ..Asks::default()
    };
    let wrong = |asks: Asks| asks.wrong(Libc::Glibc, Some(OLDEST));
    assert!(wrong(asks("GLIBC_2.28", "libc.so.6")).is_empty());
    assert!(wrong(asks("GLIBC_2.2.5", "libc.so.6")).is_empty());
    for version in [
        "GLIBC_2.29",
        "GLIBC_2.100",
        "GLIBC_ABI_DT_RELR",
        "GLIBC_PRIVATE",
        "GCC_3.0",
    ] {
        assert_eq!(wrong(asks(version, "libc.so.6")).len(), 1, "{version}");
    }
    assert_eq!(wrong(asks("GLIBC_2.17", "libgcc_s.so.1")).len(), 1);
    assert_eq!(
        asks("GLIBC_2.17", "libc.so").wrong(Libc::Musl, None).len(),
        1
    );
}
