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

    repository.commit("0.2.0", "0.2.0 (2026-01-01)");
    assert_eq!(
        repository.release(&["--check"]).assert_code(0).out,
        "version 0.2.0\n"
    );
    repository.git(&["tag", "--force", "v0.2.0"]);
    let said = repository.release(&["--check"]).assert_code(0);
    assert_eq!(said.out, "version 0.2.0, tag v0.2.0\n");
    repository.git(&["tag", "v0.3.0"]);
    repository
        .release(&["--check"])
        .assert_failed_with(&["v0.3.0", "Cargo.toml says 0.2.0"]);

    repository.commit("0.3.0", "0.2.0 (2026-01-01)");
    repository
        .release(&["--check"])
        .assert_failed_with(&["begins with 0.2.0", "says 0.3.0"]);
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
    said.assert_failed_with(&["there is something in"]);
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
}
