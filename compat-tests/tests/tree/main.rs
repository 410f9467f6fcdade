//! What must hold for the source tree itself: licences, versions, length of lines, names and paths in comments, no
//! circle between files.

mod circles;
mod comments;
mod licences;
mod lines;
mod sync_points;
mod versions;

use std::process::Command;

use compat_tests::{Skip, target};

/// A file of the tree.
fn read(path: &str) -> String {
    let path = target::workspace().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What git says about the tree; a tree without its history (an archive, a container) is skipped.
fn git(args: &[&str]) -> Result<String, Skip> {
    let output = Command::new("git")
        .current_dir(target::workspace())
        .args(args)
        .output()
        .map_err(|e| Skip::optional(format!("git does not start: {e}")))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_string();
        return Err(Skip::optional(why));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// All crates that go into the programs and their tests, whatever features they have, as cargo describes them.
fn packages() -> Vec<serde_json::Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .arg("--all-features")
        .current_dir(target::workspace())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 10);
    packages.clone()
}

#[test]
fn the_readme_of_these_tests_names_them_all() {
    let readme = read("compat-tests/README.md");
    let dir = target::workspace().join("compat-tests/tests");
    let entries = std::fs::read_dir(dir).expect("the tests are there");
    let missing: Vec<_> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.is_file() || path.join("main.rs").is_file())
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .filter(|test| !readme.contains(&format!("`{test}`")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
