//! Packages made of this build by `scripts/package.sh`, and what is in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use compat_tests::said::Said;
use compat_tests::{Skip, or_skip, report_skip, target};

use super::install::EXCHANGE;
use super::{Scratch, built, needs, plain, tree};

/// Packages, and the files that they are made of.
pub struct Packages {
    folder: Scratch,
}

impl Packages {
    /// Made by the first test that asks; gone with the last that has them.
    pub fn new() -> Result<Arc<Packages>, Skip> {
        static MADE: Mutex<Weak<Packages>> = Mutex::new(Weak::new());
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(packages) = made.upgrade() {
            return Ok(packages);
        }
        for tool in ["strip", "readelf", "python3", "git"] {
            needs(tool)?;
        }
        let packages = Packages {
            folder: Scratch::new("packages"),
        };
        fs::create_dir(packages.files()).expect("our folder");
        // without symbols: packing takes half the time then
        for file in built_files() {
            let to = packages.files().join(file.file_name().expect("a name"));
            let mut command = Command::new("strip");
            command.args(["-D", "--strip-debug", "-o"]);
            Said::of(command.arg(to).arg(file)).assert_code(0);
        }
        // what else scripts/build-for.sh puts there
        let link = packages.files().join("libnetmap.so.0");
        std::os::unix::fs::symlink("libnetmap.so", link).expect("our folder");
        fs::write(packages.files().join("compat-bundle.tar.gz"), "").expect("our folder");
        package(&packages.files(), &packages.folder(), &[]);
        let packages = Arc::new(packages);
        *made = Arc::downgrade(&packages);
        Ok(packages)
    }

    /// Where they are.
    pub fn folder(&self) -> PathBuf {
        self.folder.path("made")
    }

    /// What they are made of.
    fn files(&self) -> PathBuf {
        self.folder.path("from")
    }

    /// The one file whose name ends so.
    pub fn file(&self, end: &str) -> Result<PathBuf, Skip> {
        with_end(&self.folder(), end)
            .ok_or_else(|| Skip::optional(format!("no {end} was made: its tool is not installed")))
    }
}

/// The file of a folder of packages whose name ends so.
fn with_end(folder: &Path, end: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of packages");
    let mut paths = entries.map(|e| e.expect("an entry").path());
    paths.find(|path| path.to_string_lossy().ends_with(end))
}

/// What `scripts/build-for.sh` has built for a target, if it has.
pub fn built_for(triple: &str) -> Option<PathBuf> {
    let folders = ["debug-for", "release-for"].map(|kind| target::target_dir().join(kind));
    let mut folders = folders.into_iter().map(|folder| folder.join(triple));
    folders.find(|folder| folder.join("uvale").is_file())
}

/// The files of a release, of this build: the shim for programs on musl is among them, where it can be built.
fn built_files() -> Vec<PathBuf> {
    let of_cargo = ["uvale", "libnmshim.so", "libnetmap.so", "libnetmap.a"];
    let mut files = of_cargo.map(|name| built().join(name)).to_vec();
    let musl = built().join("libnmshim-musl.so");
    let mut command = Command::new(target::workspace().join("scripts/musl.sh"));
    if !cfg!(debug_assertions) {
        command.arg("release");
    }
    let said = Said::of(command.env("CARGO_TARGET_DIR", target::target_dir())).assert_code(0);
    if said.out.contains("built ") && musl.is_file() {
        files.push(musl);
    } else {
        println!("{}", said.out.trim());
    }
    files
}

/// Runs the script; compressing matters less than time here.
pub fn package(from: &Path, to: &Path, variables: &[(&str, &str)]) {
    let mut command = Command::new(target::workspace().join("scripts/package.sh"));
    command
        .arg(from)
        .arg(to)
        .env("CARGO_TARGET_DIR", target::target_dir())
        .env("DPKG_DEB_COMPRESSOR_TYPE", "gzip")
        .env("DPKG_DEB_COMPRESSOR_LEVEL", "1")
        .envs(variables.iter().copied());
    Said::of(&mut command).assert_code(0);
}

#[test]
fn the_archive_works_wherever_it_is_unpacked() {
    let packages = or_skip!("packages", Packages::new());
    let archive = or_skip!("archive", packages.file(".tar.gz"));
    let scratch = Scratch::new("archive");
    let mut command = Command::new("tar");
    command.arg("-xzf").arg(&archive).arg("-C").arg(&scratch.0);
    Said::of(&mut command).assert_code(0);
    let top = fs::read_dir(&scratch.0)
        .expect("ours")
        .next()
        .expect("a folder")
        .expect("ours");
    let top = top.path();
    let name = archive
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    assert_eq!(
        top.file_name().expect("a name").to_string_lossy() + ".tar.gz",
        name
    );
    let mut folders: Vec<_> = tree(&top)
        .into_iter()
        .filter(|p| p.components().count() == 1)
        .collect();
    folders.sort();
    assert_eq!(
        folders,
        ["bin", "include", "lib", "share"].map(PathBuf::from)
    );
    for document in ["LICENSE", "third-party-licences.txt"] {
        let text = fs::read_to_string(top.join("share/doc/uvale").join(document)).expect(document);
        assert!(text.contains("WARRANT"), "{document}");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = plain(&top.join("bin/uvale"));
    command
        .args(["run", "--private", "--", "sh", "-c", EXCHANGE])
        .env("PATH", format!("{}:{path}", top.join("bin").display()));
    let said = Said::of(&mut command).assert_code(0);
    assert!(said.out.contains("Received 1000 packets"), "{}", said.out);

    // it can put itself where it belongs
    let prefix = scratch.path("prefix");
    let mut command = plain(&top.join("bin/uvale"));
    let said = Said::of(command.args(["install", "--prefix"]).arg(&prefix)).assert_code(0);
    assert_eq!(said.err, "", "nothing is left out");
    assert!(prefix.join("lib/libnetmap.so.0").is_file());

    if needs("pkg-config").is_err() {
        return;
    }
    let moved = scratch.path("moved");
    fs::rename(&top, &moved).expect("ours");
    let mut command = Command::new("pkg-config");
    command.args(["--cflags", "--libs", "libnetmap", "uvale-netmap"]);
    command.env("PKG_CONFIG_LIBDIR", moved.join("lib/pkgconfig"));
    let said = Said::of(&mut command).assert_code(0);
    for flag in said.out.split_whitespace().filter_map(|f| f.get(2..)) {
        if flag.starts_with('/') {
            assert!(Path::new(flag).is_dir(), "{}", said.out);
        }
    }
    assert!(said.out.contains("/moved/"), "{}", said.out);
}

#[test]
fn the_same_files_give_the_same_packages() {
    let packages = or_skip!("packages", Packages::new());
    let scratch = Scratch::new("twice");
    let sums = |dir: &Path| fs::read_to_string(dir.join("SHA256SUMS")).expect("checksums");
    // what tar, date and others take from their surroundings
    let again = scratch.path("again");
    package(
        &packages.files(),
        &again,
        &[
            ("TZ", "Pacific/Auckland"),
            ("LC_ALL", "C.UTF-8"),
            ("USER", "x"),
        ],
    );
    assert_eq!(sums(&again), sums(&packages.folder()));
    let mut command = Command::new("sha256sum");
    command
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(packages.folder());
    Said::of(&mut command).assert_code(0);
    let listed = sums(&packages.folder()).lines().count();
    assert_eq!(
        listed + 1,
        tree(&packages.folder()).len(),
        "every file but the list is in it"
    );
}

#[test]
fn the_list_of_parts_has_what_is_linked_in() {
    let packages = or_skip!("packages", Packages::new());
    let list = or_skip!("list", packages.file(".cdx.json"));
    let text = fs::read_to_string(list).expect("a list");
    let list: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(list["bomFormat"], "CycloneDX");
    assert_eq!(
        list["metadata"]["component"]["version"],
        env!("CARGO_PKG_VERSION")
    );
    let parts = list["components"].as_array().expect("a list");
    let named = |name: &str| parts.iter().find(|part| part["name"] == name);
    for name in ["clap", "rustix", "nmshim", "libnetmap", "std"] {
        assert!(named(name).is_some(), "{name}");
    }
    for name in ["proptest", "clap_derive", "syn"] {
        assert!(named(name).is_none(), "{name} is not linked in");
    }
    let serial = list["serialNumber"].as_str().expect("a number");
    assert!(
        serial.starts_with("urn:uuid:") && serial.len() == 45,
        "{serial}"
    );
    let tools = list["metadata"]["tools"]["components"]
        .as_array()
        .expect("tools");
    assert!(tools.iter().any(|tool| tool["name"] == "cargo"));
    let lock = fs::read_to_string(target::workspace().join("Cargo.lock")).expect("a lock");
    for part in parts {
        let licence = part["licenses"][0]["expression"]
            .as_str()
            .expect("a licence");
        assert!(!licence.is_empty() && !licence.contains('/'), "{part}");
        if let Some(sum) = part["hashes"][0]["content"].as_str() {
            assert!(lock.contains(sum), "{part}");
        }
    }
    let references: Vec<&str> = list["dependencies"]
        .as_array()
        .expect("a list")
        .iter()
        .flat_map(|d| d["dependsOn"].as_array().expect("a list"))
        .map(|r| r.as_str().expect("a reference"))
        .collect();
    assert!(references.len() > 100);
    for reference in references {
        assert!(
            parts.iter().any(|part| part["bom-ref"] == reference),
            "{reference}"
        );
    }
}

/// A crate without a licence's text stops a release.
#[test]
fn every_part_has_a_licence() {
    or_skip!("licences", needs("python3"));
    const CHECK: &str = "import runpy, sys; m = runpy.run_path(sys.argv[1]); \
                         p = {'name': 'odd', 'version': '1.2.3', 'license': sys.argv[2], 'authors': ['A. Thor'], \
                         'manifest_path': sys.argv[3] + '/Cargo.toml'}; print(m['texts_of'](p)[0])";
    let scratch = Scratch::new("licence");
    let said = |licence: &str| {
        let mut command = Command::new("python3");
        command.args(["-c", CHECK]);
        command.arg(target::workspace().join("scripts/sbom.py"));
        Said::of(command.arg(licence).arg(&scratch.0))
    };
    let text = said("MIT").assert_code(0).out;
    assert!(
        text.contains("Copyright (c) A. Thor") && text.contains("NONINFRINGEMENT"),
        "{text}"
    );
    let text = said("BSD-3-Clause/Apache-2.0").assert_code(0).out;
    assert!(text.contains("Apache License"), "{text}");
    said("Zlib").assert_failed_with(&["odd 1.2.3 (Zlib) comes without", "dist/licences"]);
    fs::write(scratch.path("COPYING"), "do as you like").expect("our folder");
    assert_eq!(said("Zlib").assert_code(0).out, "do as you like\n");
}

/// Of this build, and of what is released for other machines, where that has been built.
#[test]
fn lintian_finds_no_fault() {
    or_skip!("lintian", needs("lintian"));
    let packages = or_skip!("packages", Packages::new());
    let scratch = Scratch::new("lintian");
    let mut files = vec![or_skip!("Debian package", packages.file(".deb"))];
    for machine in ["x86_64", "aarch64"] {
        let triple = format!("{machine}-unknown-linux-gnu");
        let Some(folder) = built_for(&triple) else {
            let why = format!("scripts/build-for.sh has not built {triple} here");
            report_skip("lintian", &Skip::optional(why));
            continue;
        };
        let out = scratch.path(&triple);
        package(&folder, &out, &[]);
        files.extend(with_end(&out, ".deb"));
    }
    for file in files {
        let mut command = Command::new("lintian");
        command.args(["--fail-on", "error,warning"]).arg(file);
        let said = Said::of(&mut command);
        // 1: lintian itself failed; 2: faults
        assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    }
}
