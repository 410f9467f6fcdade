//! What a person sees of a run while it goes on, and what is left of one that does not come to its end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use compat_tests::wait::wait_for;
use compat_tests::{Skip, apps, or_skip, target};

/// A suite of small scenarios, laid out as a bundle, that is gone afterwards.
struct Suite {
    dir: PathBuf,
}

/// All facts of `programs/fidelity/hangs.c`.
const EXPECTED: &str = "# derived from source\n\
    before.x=1\nbefore.END=0\nwaits.x=1\nwaits.y=2\nwaits.z=3\nwaits.END=0\nafter.x=1\nafter.END=0\nexit=0\n";

impl Suite {
    fn new(name: &str, scenarios: &[&str]) -> Result<Suite, Skip> {
        let dir = std::env::temp_dir().join(format!("compat-{name}-{}", std::process::id()));
        for folder in ["scenarios/dynamic", "expected/kernel", "bin"] {
            std::fs::create_dir_all(dir.join(folder)).expect("the temporary folder can be written");
        }
        let suite = Suite { dir };
        let copy = |from: &Path, to: &str| {
            apps::copy_program(from, &suite.dir.join(to));
        };
        copy(
            Path::new(env!("CARGO_BIN_EXE_compat-tests")),
            "compat-tests",
        );
        let binaries = target::binaries();
        copy(&binaries.uvale, "bin/uvale");
        copy(&binaries.shim, "bin/libnmshim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/fidelity/hangs.c");
        let flags = ["-O1", "-Wno-override-init"];
        let program = apps::compile_c(&source, "fidelity-hangs", &flags)?.path;
        for &name in scenarios {
            copy(&program, &format!("scenarios/dynamic/{name}"));
            let file = suite.dir.join(format!("expected/kernel/{name}.txt"));
            std::fs::write(file, EXPECTED).expect("a file of ours");
        }
        Ok(suite)
    }

    fn junit(&self) -> PathBuf {
        self.dir.join("junit.xml")
    }

    /// The runner on uvale, with that time limit.
    fn runner(&self, seconds: u32) -> Command {
        let mut command = Command::new(self.dir.join("compat-tests"));
        command
            .args(["run", "--target", "uvale", "--junit"])
            .arg(self.junit());
        command.env("COMPAT_DEADLINE", seconds.to_string());
        command.env_remove("NETMAP_UTILS").stdin(Stdio::null());
        command
    }

    /// Names of the test cases in the file as it is now, those that have ended and those that have not.
    fn cases(&self) -> (Vec<String>, Vec<String>) {
        let text = std::fs::read_to_string(self.junit()).expect("the file is there");
        let document = roxmltree::Document::parse(&text).expect("well-formed XML");
        let cases = document
            .descendants()
            .filter(|n| n.has_tag_name("testcase"));
        let ended = |n: &roxmltree::Node<'_, '_>| !n.children().any(|c| c.has_tag_name("error"));
        let (ended, running): (Vec<_>, Vec<_>) = cases.partition(ended);
        let name = |n: roxmltree::Node<'_, '_>| n.attribute("name").unwrap_or_default().to_owned();
        (
            ended.into_iter().map(name).collect(),
            running.into_iter().map(name).collect(),
        )
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn a_cut_case_says_time_limit_and_nothing_else() {
    let suite = Suite::new("cut", &["hangs", "stuck"]);
    let suite = or_skip!("a case that hangs", suite);
    let output = suite.runner(10).output().expect("the runner starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        !text.contains("(nothing)") && !text.contains("signal"),
        "{text}"
    );
    let why = "got time limit of 10 s: what comes after it is not known; COMPAT_DEADLINE=seconds gives more";
    for line in [
        format!("uvale hangs waits.END: expected 0, {why}"),
        format!("uvale stuck exit: expected 0, {why}"),
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    for cell in [
        "uvale hangs: DIFFERS 1 of 7, time limit (",
        "uvale stuck: DIFFERS 1 of 4, time limit (",
    ] {
        assert!(text.lines().any(|l| l.starts_with(cell)), "{cell}\n{text}");
    }
}

/// `persistent` leaves the kernel in a state in which nothing else can be tested.
#[test]
fn persistent_is_the_last_and_each_cell_is_told() {
    let suite = Suite::new("last", &["persistent", "another", "quite_another"]);
    let suite = or_skip!("order", suite);
    let output = suite.runner(100).output().expect("the runner starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let (told, table) = text.split_once("\n\n").expect("the cells, then the table");
    let told: Vec<&str> = told.lines().filter(|l| l.contains(": pass 9 (")).collect();
    let names = ["another", "quite_another", "persistent"];
    assert_eq!(told.len(), names.len(), "{text}");
    for (line, name) in told.iter().zip(names) {
        assert!(line.starts_with(&format!("uvale {name}: ")), "{text}");
    }
    assert!(
        table.lines().any(|l| l.starts_with("persistent ")),
        "{text}"
    );
    assert!(
        text.lines()
            .rfind(|l| l.starts_with("uvale "))
            .is_some_and(|l| l.contains("NETMAP_UTILS"))
    );
}

#[test]
fn what_was_done_is_there_when_the_run_does_not_come_to_its_end() {
    let suite = Suite::new("crash", &["another", "hangs", "later"]);
    let suite = or_skip!("a crash", suite);
    let mut runner = suite.runner(20);
    runner.stdout(Stdio::null());
    let mut child = runner.spawn().expect("the runner starts");
    wait_for("the second scenario to begin", || {
        suite.junit().exists() && suite.cases().1 == ["hangs"]
    });
    child.kill().expect("a child of ours can be killed");
    child.wait().expect("a child of ours can be waited for");
    assert_eq!(
        suite.cases(),
        (vec!["another".into()], vec!["hangs".into()])
    );
}
