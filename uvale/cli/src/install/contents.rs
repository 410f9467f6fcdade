//! All files of an installation, and where each goes.

use std::path::{Path, PathBuf};

use clap_complete::Shell;

use super::built::Built;
use crate::manual;

/// A file below the prefix.
pub struct Entry {
    /// Its path from there.
    pub path: PathBuf,
    /// What it is.
    pub what: What,
}

/// What a file is.
pub enum What {
    /// a program or library, to be copied
    Copy { from: PathBuf, mode: u32 },
    /// a text
    Text(Vec<u8>),
    /// a symbolic link
    Link { to: PathBuf },
}

/// Where things are below a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    /// bin, lib, include and share, as below /usr/local
    Plain,
    /// Debian's: libraries in lib/x86_64-linux-gnu and the like
    Debian,
    /// Fedora's: libraries in lib64
    Fedora,
    /// That of an archive, which may be unpacked anywhere: without what has the prefix written into it
    Archive,
}

const HEADERS: [(&str, &str); 7] = [
    (
        "libnetmap.h",
        include_str!("../../../../include/libnetmap.h"),
    ),
    (
        "net/netmap.h",
        include_str!("../../../../include/net/netmap.h"),
    ),
    (
        "net/netmap_legacy.h",
        include_str!("../../../../include/net/netmap_legacy.h"),
    ),
    (
        "net/netmap_user.h",
        include_str!("../../../../include/net/netmap_user.h"),
    ),
    (
        "net/netmap_user_lib.h",
        include_str!("../../../../include/net/netmap_user_lib.h"),
    ),
    (
        "net/netmap_user_name.h",
        include_str!("../../../../include/net/netmap_user_name.h"),
    ),
    (
        "net/netmap_virt.h",
        include_str!("../../../../include/net/netmap_virt.h"),
    ),
];

const PKG_CONFIG: [(&str, &str); 2] = [
    (
        "libnetmap.pc",
        include_str!("../../../../include/libnetmap.pc.in"),
    ),
    (
        "uvale-netmap.pc",
        include_str!("../../../../include/uvale-netmap.pc.in"),
    ),
];

const UNITS: [(&str, &str); 6] = [
    (
        "system/uvale.service",
        include_str!("../../../../dist/systemd/system/uvale.service"),
    ),
    (
        "system/uvale.socket",
        include_str!("../../../../dist/systemd/system/uvale.socket"),
    ),
    (
        "system/uvale-nic-helper.service",
        include_str!("../../../../dist/systemd/system/uvale-nic-helper.service"),
    ),
    (
        "system/uvale-nic-helper.socket",
        include_str!("../../../../dist/systemd/system/uvale-nic-helper.socket"),
    ),
    (
        "user/uvale.service",
        include_str!("../../../../dist/systemd/user/uvale.service"),
    ),
    (
        "user/uvale.socket",
        include_str!("../../../../dist/systemd/user/uvale.socket"),
    ),
];

const DOCUMENTS: [(&str, &str); 4] = [
    ("LICENSE", include_str!("../../../../LICENSE")),
    ("CHANGELOG.md", include_str!("../../../../CHANGELOG.md")),
    (
        "examples/bridge.c",
        include_str!("../../../../docs/examples/bridge.c"),
    ),
    (
        "examples/bridge.toml",
        include_str!("../../../../docs/examples/bridge.toml"),
    ),
];

/// The program in the units as they are in the source.
const PROGRAM: &str = "/usr/bin/uvale";

/// What belongs below `prefix`.
pub fn entries(
    built: &Built,
    prefix: &Path,
    layout: Layout,
    cli: &clap::Command,
) -> Result<Vec<Entry>, String> {
    let lib = match layout {
        Layout::Plain | Layout::Archive => "lib".to_owned(),
        Layout::Debian => format!("lib/{}", multiarch(built.machine)?),
        Layout::Fedora => "lib64".to_owned(),
    };
    let mut list = List(Vec::new());
    list.copy("bin/uvale", &built.uvale, 0o755);
    for shim in &built.shims {
        let name = shim.file_name().unwrap_or_default().to_string_lossy();
        list.copy(&format!("lib/uvale/{name}"), shim, 0o644);
    }
    library(&mut list, built, &lib);
    for (name, text) in HEADERS {
        list.text(&format!("include/{name}"), text);
    }
    for (name, text) in PKG_CONFIG {
        let path = format!("{lib}/pkgconfig/{name}");
        list.text(&path, &filled_in(text, prefix, &lib, layout));
    }
    for page in manual::pages(cli)? {
        list.bytes(&format!("share/man/man1/{}", page.name), page.text);
    }
    // where each shell looks, by the distribution's choice
    let zsh = match layout {
        Layout::Debian => "share/zsh/vendor-completions/_uvale",
        Layout::Plain | Layout::Fedora | Layout::Archive => "share/zsh/site-functions/_uvale",
    };
    for (path, shell) in [
        ("share/bash-completion/completions/uvale", Shell::Bash),
        (zsh, Shell::Zsh),
        ("share/fish/vendor_completions.d/uvale.fish", Shell::Fish),
    ] {
        list.bytes(path, manual::completion(cli, shell));
    }
    for (name, text) in DOCUMENTS {
        list.text(&format!("share/doc/uvale/{name}"), text);
    }
    if layout != Layout::Archive {
        let program = prefix.join("bin/uvale").display().to_string();
        for (name, text) in UNITS {
            let text = text.replace(PROGRAM, &program);
            list.text(&format!("lib/systemd/{name}"), &text);
        }
        // Wireshark looks below its own prefix
        let up = "../".repeat(lib.split('/').count() + 2);
        list.link(
            &format!("{lib}/wireshark/extcap/uvale"),
            &format!("{up}bin/uvale"),
        );
    }
    Ok(list.0)
}

/// The library by its version, by the name that programs ask for, and by the one that the linker asks for.
fn library(list: &mut List, built: &Built, lib: &str) {
    const LINKERS: &str = "libnetmap.so";
    if let Some((path, soname)) = &built.netmap {
        if soname == LINKERS {
            list.copy(&format!("{lib}/{LINKERS}"), path, 0o644);
        } else {
            let file = format!("{LINKERS}.{}", env!("CARGO_PKG_VERSION"));
            list.copy(&format!("{lib}/{file}"), path, 0o644);
            list.link(&format!("{lib}/{soname}"), &file);
            list.link(&format!("{lib}/{LINKERS}"), soname);
        }
    }
    if let Some(path) = &built.netmap_archive {
        list.copy(&format!("{lib}/libnetmap.a"), path, 0o644);
    }
}

/// A pkg-config file without its first line, which is for who fills it in.
fn filled_in(template: &str, prefix: &Path, lib: &str, layout: Layout) -> String {
    // an archive's says where it is itself
    let prefix = match layout {
        Layout::Archive => format!("${{pcfiledir}}{}", "/..".repeat(lib.split('/').count() + 1)),
        Layout::Plain | Layout::Debian | Layout::Fedora => prefix.display().to_string(),
    };
    let (_, template) = template.split_once('\n').unwrap_or_default();
    template
        .replace("@prefix@", &prefix)
        .replace("@libdir@", &format!("${{prefix}}/{lib}"))
        .replace("@shimdir@", "${prefix}/lib/uvale")
        .replace("@version@", env!("CARGO_PKG_VERSION"))
}

/// Debian's name of a machine's folder.
fn multiarch(machine: u16) -> Result<&'static str, String> {
    const EM_X86_64: u16 = 62;
    const EM_AARCH64: u16 = 183;
    match machine {
        EM_X86_64 => Ok("x86_64-linux-gnu"),
        EM_AARCH64 => Ok("aarch64-linux-gnu"),
        other => Err(format!(
            "these files are for machine {other}: Debian's layout is known for x86_64 and aarch64"
        )),
    }
}

struct List(Vec<Entry>);

impl List {
    fn add(&mut self, path: &str, what: What) {
        let path = path.into();
        self.0.push(Entry { path, what });
    }

    fn copy(&mut self, path: &str, from: &Path, mode: u32) {
        let from = from.to_owned();
        self.add(path, What::Copy { from, mode });
    }

    fn bytes(&mut self, path: &str, text: Vec<u8>) {
        self.add(path, What::Text(text));
    }

    fn text(&mut self, path: &str, text: &str) {
        self.bytes(path, text.into());
    }

    fn link(&mut self, path: &str, to: &str) {
        self.add(path, What::Link { to: to.into() });
    }
}
