//! The rpm: what is in it; installed, used and removed in a folder that rpm takes for a root.

use std::fs;
use std::path::Path;
use std::process::Command;

use compat_tests::or_skip;
use compat_tests::said::Said;

use super::install::EXCHANGE;
use super::packed::Packages;
use super::{Scratch, needs, plain, tree};

#[test]
fn an_rpm_has_the_same_files() {
    or_skip!("rpm", needs("rpm"));
    let packages = or_skip!("packages", Packages::new());
    let package = or_skip!("rpm", packages.file(".rpm"));
    let said = Said::of(Command::new("rpm").args(["-qlp"]).arg(&package)).assert_code(0);
    for path in [
        "/usr/bin/uvale",
        "/usr/lib/uvale/libnmshim.so",
        "/usr/lib64/libnetmap.so.0",
        "/usr/share/man/man1/uvale-run.1.gz",
        "/usr/lib/systemd/system/uvale.socket",
    ] {
        assert!(
            said.out.lines().any(|line| line == path),
            "{path}: {}",
            said.out
        );
    }
    let said = Said::of(
        Command::new("rpm")
            .args(["-qp", "--requires"])
            .arg(&package),
    );
    assert!(said.assert_code(0).out.contains("glibc >= 2."));
}

/// Not in a system of its own kind: none can be had here. So without what it depends on, and without its scripts,
/// which run ldconfig there.
#[test]
fn an_rpm_installs_and_goes_away_again() {
    or_skip!("rpm", needs("rpm"));
    if !rustix::process::geteuid().is_root() {
        println!("skipped: rpm: needs root");
        return;
    }
    let packages = or_skip!("packages", Packages::new());
    let package = or_skip!("rpm", packages.file(".rpm"));
    let scratch = Scratch::new("rpm");
    let root = scratch.path("root");
    fs::create_dir(&root).expect("our folder");
    let rpm = |words: &[&str], package: &Path| {
        let mut command = Command::new("rpm");
        command.arg("--root").arg(&root).args(words);
        Said::of(command.arg(package))
    };
    let files = || {
        let mut files = tree(&root);
        // but for rpm's own, of which each distribution has its place
        files.retain(|path| {
            !["var", "root/.rpmdb", "usr/lib/sysimage"]
                .iter()
                .any(|own| path.starts_with(own))
        });
        files
    };
    let before = files();
    rpm(&["--install", "--nodeps", "--noscripts"], &package).assert_code(0);
    rpm(&["--verify", "--nodeps"], Path::new("uvale")).assert_code(0);
    let bin = root.join("usr/bin");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = plain(&bin.join("uvale"));
    command
        .args(["run", "--private", "--", "sh", "-c", EXCHANGE])
        .env("PATH", format!("{}:{path}", bin.display()));
    let said = Said::of(&mut command).assert_code(0);
    assert!(said.out.contains("Received 1000 packets"), "{}", said.out);
    rpm(&["--erase", "--noscripts"], Path::new("uvale")).assert_code(0);
    let left = files();
    let left: Vec<_> = left.iter().filter(|path| !before.contains(path)).collect();
    assert!(left.iter().all(|path| root.join(path).is_dir()), "{left:?}");
    let ours = left
        .iter()
        .filter(|path| path.to_string_lossy().contains("uvale"));
    assert_eq!(ours.count(), 0, "{left:?}");
}
