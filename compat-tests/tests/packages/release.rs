//! `scripts/release.sh` releases what has one version, and nothing else.

use std::fs;
use std::path::Path;
use std::process::Command;

use compat_tests::said::Said;
use compat_tests::{or_skip, target};

use super::{Scratch, needs};

struct Repository(Scratch);

impl Repository {
    /// One commit of what the script reads.
    fn new(cargo: &str, changelog: &str) -> Repository {
        let repository = Repository(Scratch::new("release"));
        let script = target::workspace().join("scripts/release.sh");
        fs::create_dir(repository.0.path("scripts")).expect("our folder");
        fs::copy(script, repository.0.path("scripts/release.sh")).expect("our folder");
        repository.git(&["init", "-q"]);
        repository.commit(cargo, changelog);
        repository
    }

    fn git(&self, words: &[&str]) {
        let mut command = Command::new("git");
        command
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(words);
        Said::of(command.current_dir(&self.0.0)).assert_code(0);
    }

    fn commit(&self, cargo: &str, changelog: &str) {
        let cargo = format!(
            "[workspace]\n\n[workspace.package]\nversion = \"{cargo}\"\n\n[other]\nversion = \"7\"\n"
        );
        fs::write(self.0.path("Cargo.toml"), cargo).expect("our folder");
        let changelog =
            format!("# Changelog\n\n## {changelog}\n\n- new\n\n## 0.1.0 (2025-01-01)\n");
        fs::write(self.0.path("CHANGELOG.md"), changelog).expect("our folder");
        self.git(&["add", "."]);
        self.git(&["commit", "-qm", "a commit"]);
    }

    fn release(&self, words: &[&str]) -> Said {
        let mut command = Command::new(self.0.path("scripts/release.sh"));
        command.args(words).current_dir(Path::new("/"));
        Said::of(command.env("CARGO_TARGET_DIR", self.0.path(".git/target")))
    }
}

#[test]
fn versions_have_to_agree() {
    or_skip!("release", needs("git"));
    let repository = Repository::new("0.2.0", "0.2.0 (unreleased)");
    assert_eq!(
        repository.release(&["--check"]).assert_code(0).out,
        "version 0.2.0\n"
    );
    repository.git(&["tag", "v0.2.0"]);
    repository
        .release(&["--check"])
        .assert_failed_with(&["v0.2.0", "give it its date"]);
    repository.git(&["tag", "--delete", "v0.2.0"]);

    repository.commit("0.2.0", "0.2.0 (2026-01-01)");
    assert_eq!(
        repository.release(&["--check"]).assert_code(0).out,
        "version 0.2.0\n"
    );
    repository.git(&["tag", "v0.2.0"]);
    let said = repository.release(&["--check"]).assert_code(0);
    assert_eq!(said.out, "version 0.2.0, tag v0.2.0\n");
    repository.git(&["tag", "v0.3.0"]);
    repository
        .release(&["--check"])
        .assert_failed_with(&["v0.3.0", "Cargo.toml says 0.2.0"]);

    repository.commit("0.3.0", "0.2.0 (2026-01-01)");
    repository
        .release(&["--check"])
        .assert_failed_with(&["begins with '0.2.0'", "says 0.3.0"]);
}

/// What only looks like a release's tag or heading is none.
#[test]
fn other_ways_to_write_a_version_are_refused() {
    or_skip!("release", needs("git"));
    let repository = Repository::new("0.2.0", "0.2.0 (2026-01-01)");
    for tag in ["0.2.0", "V0.2.0", "uvale-0.2.0", "v0.2.0-rc1", "0.3.0"] {
        repository.git(&["tag", tag]);
        repository.release(&["--check"]).assert_failed_with(&[tag]);
        repository.git(&["tag", "--delete", tag]);
    }
    repository.git(&["tag", "nightly"]);
    repository.release(&["--check"]).assert_code(0);
    for heading in [
        "0.2.0 (Unreleased)",
        "0.2.0",
        "0.2.0 (soon)",
        "0.2.0 (2026-13-01)",
        "0.2.0 (1.1.2026)",
        "0.2.0 - 2026-01-01",
    ] {
        repository.commit("0.2.0", heading);
        let said = repository.release(&["--check"]);
        said.assert_failed_with(&[heading, "write '0.2.0 (unreleased)'"]);
    }
    repository.commit(
        "0.2.0",
        "0.2.0 (2026-01-01)\n\n- a\n\n## 0.2.0 (2025-12-31)",
    );
    repository
        .release(&["--check"])
        .assert_failed_with(&["more than one section 0.2.0"]);
    // what was released is not released again with other contents
    repository.commit("0.2.0", "0.2.0 (2026-01-02)");
    repository.git(&["tag", "v0.2.0"]);
    repository.commit("0.2.0", "0.2.0 (2026-01-03)");
    repository
        .release(&["--check"])
        .assert_failed_with(&["v0.2.0 is the tag of an older commit", "next version"]);
}

#[test]
fn what_is_not_committed_is_not_released() {
    or_skip!("release", needs("git"));
    let repository = Repository::new("0.2.0", "0.2.0 (2026-01-01)");
    repository.git(&["tag", "v0.2.0"]);
    fs::write(repository.0.path("new"), "").expect("our folder");
    repository.release(&[]).assert_code(1).assert_says("?? new");
    fs::remove_file(repository.0.path("new")).expect("our file");
    // what another release has left would be in the checksums
    let out = repository.0.path(".git/out");
    fs::create_dir(&out).expect("our folder");
    fs::write(out.join("old.deb"), "").expect("our folder");
    let said = repository.release(&[&out.display().to_string()]);
    said.assert_failed_with(&["there is something in", "old.deb"]);
    // also beside, or in the place of, what an earlier release has listed
    let list = |file: &str| format!("{}  {file}\n", "0".repeat(64));
    for lines in ["".into(), list("other.deb"), list("old.deb")] {
        fs::write(out.join("SHA256SUMS"), lines).expect("our folder");
        let said = repository.release(&[&out.display().to_string()]);
        said.assert_failed_with(&["there is something in"]);
        assert!(out.join("old.deb").exists());
    }
}

/// The tree's own.
#[test]
fn this_tree_has_one_version() {
    or_skip!("release", needs("git"));
    if !target::workspace().join(".git").exists() {
        return;
    }
    let script = target::workspace().join("scripts/release.sh");
    let said = Said::of(Command::new(script).arg("--check")).assert_code(0);
    assert!(said.out.contains(env!("CARGO_PKG_VERSION")), "{}", said.out);
    // also in the names of packages that documents and snippets show
    let root = target::workspace();
    for folder in ["docs", "dist/ci", "dist/container"] {
        for entry in fs::read_dir(root.join(folder)).expect("ours") {
            let path = entry.expect("ours").path();
            let Ok(text) = fs::read_to_string(&path) else {
                continue;
            };
            for (at, name) in ["uvale-", "uvale_"]
                .iter()
                .flat_map(|n| text.match_indices(n))
            {
                let after = &text[at + name.len()..];
                if !after.starts_with(|c: char| c.is_ascii_digit()) {
                    continue;
                }
                let version = after.split(['-', '_']).next().unwrap_or_default();
                assert_eq!(version, env!("CARGO_PKG_VERSION"), "{}", path.display());
            }
        }
    }
}
