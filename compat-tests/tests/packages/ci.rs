//! The snippets for continuous integration do what they say: their commands are run as a runner runs them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use compat_tests::said::Said;
use compat_tests::{Skip, or_skip, target};
use serde_json::Value;

use super::packed::Packages;
use super::{Scratch, needs};

/// A function that passes on what it gets, and a case that fails without it.
const CASES: &str = r#"
name = "wire"
[ports.a]
kind = "pipe"
[ports.b]
kind = "pipe"
[[programs]]
run = ["uvale", "link", "${port.a}", "${port.b}"]
[[cases]]
name = "what is sent arrives at the other end"
steps = [ { send = "a", gen = "-f txseq -n 10" }, { expect = "b", same_as = "a" } ]
"#;

fn yaml(name: &str) -> Result<Value, Skip> {
    const READ: &str =
        "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let path = target::workspace().join("dist/ci").join(name);
    let said = Said::of(Command::new("python3").args(["-c", READ]).arg(&path));
    if said.err.contains("No module named 'yaml'") {
        return Err(Skip::optional(
            "no python3 with yaml (package python3-yaml)",
        ));
    }
    Ok(serde_json::from_str(&said.assert_code(0).out).expect("JSON"))
}

/// As GitHub runs a script, and GitLab where an image has it.
const BASH: &str = "bash --noprofile --norc -e -o pipefail";
/// As GitLab runs one in other images.
const SH: &str = "sh -e";

/// What a runner gives a script: this folder, nothing of uvale's.
fn shell(words: &str, script: &str, folder: &Path, variables: &BTreeMap<String, String>) -> Said {
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().expect("a shell"));
    command
        .args(words)
        .args(["-c", script])
        .current_dir(folder)
        .env_clear()
        .envs(variables)
        .stdin(Stdio::null());
    Said::of(&mut command)
}

/// The archive's path and checksum.
fn archive(packages: &Packages) -> Result<(String, String), Skip> {
    let archive = packages.file(".tar.gz")?;
    let name = archive
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let sums = fs::read_to_string(packages.folder().join("SHA256SUMS")).expect("checksums");
    let line = sums
        .lines()
        .find(|line| line.ends_with(&name))
        .expect("a line");
    let sum = line.split(' ').next().expect("a checksum");
    Ok((archive.display().to_string(), sum.to_owned()))
}

fn project(scratch: &Scratch) {
    fs::create_dir(scratch.path("tests")).expect("our folder");
    fs::write(scratch.path("tests/loop.toml"), CASES).expect("our folder");
}

fn assert_passed(folder: &Path, results: &str) {
    let text = fs::read_to_string(folder.join(results)).expect("results");
    let results = roxmltree::Document::parse(&text).expect("XML");
    let cases = results.descendants().filter(|n| n.has_tag_name("testcase"));
    assert_eq!(cases.count(), 1, "{text}");
    assert!(
        !text.contains("<failure") && !text.contains("<error"),
        "{text}"
    );
}

#[test]
fn the_action_installs_and_tests() {
    or_skip!("action", needs("python3"));
    let action = or_skip!("action", yaml("action.yml"));
    let packages = or_skip!("action", Packages::new());
    let (archive, sum) = or_skip!("action", archive(&packages));
    let scratch = Scratch::new("action");
    project(&scratch);
    let given = [
        ("archive", &*archive),
        ("sha256", &*sum),
        ("tests", "tests/*.toml"),
    ];
    let inputs = action["inputs"].as_object().expect("inputs");
    for (name, input) in inputs {
        let is_given = given.iter().any(|(n, _)| n == name);
        assert!(input["required"] != true || is_given, "{name}");
    }
    let value = |expression: &str| {
        let name = expression
            .strip_prefix("${{ inputs.")
            .and_then(|e| e.strip_suffix(" }}"));
        let Some(name) = name else {
            return expression.to_owned();
        };
        assert!(inputs.contains_key(name), "{expression}");
        let given = given.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        let default = inputs[name]["default"].as_str();
        given.or(default).expect("a value or a default").to_owned()
    };
    let temp = scratch.path("temp");
    fs::create_dir(&temp).expect("our folder");
    let github_path = temp.join("path");
    let run = |sum: Option<&str>| -> Result<(), Said> {
        fs::write(&github_path, "").expect("our folder");
        for step in action["runs"]["steps"].as_array().expect("steps") {
            assert_eq!(step["shell"], "bash");
            let env = step["env"].as_object().expect("an environment");
            let mut variables: BTreeMap<String, String> = env
                .iter()
                .map(|(name, v)| (name.clone(), value(v.as_str().expect("a text"))))
                .collect();
            if let Some(sum) = sum.filter(|_| variables.contains_key("SHA256")) {
                variables.insert("SHA256".into(), sum.into());
            }
            let added = fs::read_to_string(&github_path).expect("ours");
            let path = added
                .lines()
                .chain(["/usr/bin", "/bin"])
                .collect::<Vec<_>>()
                .join(":");
            variables.insert("PATH".into(), path);
            variables.insert("RUNNER_TEMP".into(), temp.display().to_string());
            variables.insert("GITHUB_PATH".into(), github_path.display().to_string());
            let said = shell(
                BASH,
                step["run"].as_str().expect("a script"),
                &scratch.0,
                &variables,
            );
            if said.code != Some(0) {
                return Err(said);
            }
        }
        Ok(())
    };
    if let Err(said) = run(None) {
        panic!("{}{}", said.out, said.err);
    }
    assert_passed(&scratch.0, "uvale-results.xml");
    // another archive than the one that was meant
    let said = run(Some(&"0".repeat(64))).expect_err("the checksum is wrong");
    assert!(said.err.contains("sha256sum"), "{}", said.err);
    let mut inputs_of_another_name = BTreeMap::new();
    inputs_of_another_name.insert("PATH".to_owned(), "/usr/bin:/bin".to_owned());
    let first = action["runs"]["steps"][0]["run"]
        .as_str()
        .expect("a script");
    let said = shell(BASH, first, &scratch.0, &inputs_of_another_name);
    assert!(said.err.contains("the input archive names"), "{}", said.err);
}

#[test]
fn the_gitlab_job_installs_and_tests() {
    or_skip!("GitLab", needs("python3"));
    let jobs = or_skip!("GitLab", yaml("gitlab.yml"));
    let packages = or_skip!("GitLab", Packages::new());
    let (archive, sum) = or_skip!("GitLab", archive(&packages));
    let scratch = Scratch::new("gitlab");
    project(&scratch);
    let job = &jobs[".uvale-test"];
    assert_eq!(job["extends"], ".uvale");
    let lines = |value: &Value| {
        let lines = value.as_array().expect("a list").iter();
        let lines = lines.map(|line| line.as_str().expect("a line"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let script = format!(
        "{}\n{}",
        lines(&jobs[".uvale"]["before_script"]),
        lines(&job["script"])
    );
    let mut variables: BTreeMap<String, String> = [
        ("PATH", "/usr/bin:/bin".to_owned()),
        ("CI_PROJECT_DIR", scratch.0.display().to_string()),
        ("UVALE_ARCHIVE", archive.clone()),
        ("UVALE_SHA256", sum),
        ("UVALE_TESTS", "tests/*.toml".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    for (name, value) in job["variables"].as_object().expect("variables") {
        variables.insert(name.clone(), value.as_str().expect("a text").to_owned());
    }
    assert_eq!(job["artifacts"]["reports"]["junit"], "$UVALE_RESULTS");
    let image = jobs[".uvale"]["image"].as_str().expect("an image");
    assert!(image.starts_with("debian:"), "{image}");
    let passes = |words: &str, variables: &BTreeMap<String, String>| {
        shell(words, &script, &scratch.0, variables).assert_code(0);
        assert_passed(&scratch.0, "uvale-results.xml");
        fs::remove_file(scratch.path("uvale-results.xml")).expect("results");
    };
    passes(BASH, &variables);
    // a file of the project, whatever it is called
    fs::copy(&archive, scratch.path("uvale.tar.gz")).expect("our folder");
    variables.insert("UVALE_ARCHIVE".into(), "uvale.tar.gz".into());
    passes(SH, &variables);
    if needs("curl").is_ok() {
        variables.insert("UVALE_ARCHIVE".into(), format!("file://{archive}"));
        passes(SH, &variables);
    }
    // what is not said, or not right, is named
    for (name, value, why) in [
        ("UVALE_TESTS", "", "UVALE_TESTS: names files of cases"),
        ("UVALE_ARCHIVE", "", "UVALE_ARCHIVE: names the archive"),
        ("UVALE_SHA256", &*"0".repeat(64), "FAILED"),
    ] {
        let mut variables = variables.clone();
        variables.insert(name.into(), value.into());
        let said = shell(SH, &script, &scratch.0, &variables);
        assert_ne!(said.code, Some(0), "{name}");
        assert!(
            format!("{}{}", said.out, said.err).contains(why),
            "{}{}",
            said.out,
            said.err
        );
    }
}
