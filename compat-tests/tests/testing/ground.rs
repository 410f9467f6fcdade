//! Runs, and processes that carry them out.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use compat_tests::apps::compile_c;
use compat_tests::made::statically_of;
use compat_tests::wait::{deadline, until};
use compat_tests::{Skip, target};
use serde_json::json;
use uvale_test::plan::{
    Action, Count, Frame, Kind, Outcome, Port, Program, Run, Step, Target, Verdict,
};
use uvale_tools::reach::Reach;

/// The bridge of the documents, in C.
pub fn bridge() -> Result<PathBuf, Skip> {
    let source = target::workspace().join("docs/examples/bridge.c");
    let include = format!("-I{}", target::include_dir().display());
    Ok(compile_c(&source, "testing-bridge", &["-O1", &include])?.path)
}

/// A run, with a folder of its own for what it leaves; that is gone with this value.
pub struct Case {
    pub run: Run,
    dir: PathBuf,
}

/// The variable by which everything that a run has started is found again.
const MARK: &str = "UVALE_TESTING_MARK";

impl Case {
    /// Nothing in it yet.
    pub fn new() -> Case {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("uvale-testing-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).expect("the temporary folder can be written");
        let run = Run {
            id: format!("case {number}"),
            dir: dir.clone(),
            timeout: deadline(),
            quiet: Duration::from_millis(50),
            seed: 1,
            target: Target::Uvale,
            ports: Vec::new(),
            namespaces: Vec::new(),
            programs: Vec::new(),
            steps: Vec::new(),
            ignore: Vec::new(),
            keep: dir.join("keep"),
        };
        Case { run, dir }
    }

    /// A bridge between two switches, with the tester's ports `lan` and `wan` on them.
    pub fn of_bridge() -> Result<Case, Skip> {
        let mut case = Case::new();
        case.port("lan", switch("vale0"));
        case.port("wan", switch("vale1"));
        case.bridge("lan", "wan")?;
        Ok(case)
    }

    pub fn port(&mut self, name: &str, kind: Kind) -> &mut Port {
        self.run.ports.push(Port {
            name: name.into(),
            kind,
            rings: None,
            slots: None,
            link: None,
        });
        self.run.ports.last_mut().expect("it was added")
    }

    pub fn program(&mut self, name: &str, run: &[&str], opens: &[&str]) -> &mut Program {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        self.run.programs.push(Program {
            name: name.into(),
            run: words(run),
            env: BTreeMap::new(),
            namespace: None,
            opens: words(opens),
            status: None,
            reach: Reach::Auto,
        });
        self.run.programs.last_mut().expect("it was added")
    }

    pub fn bridge(&mut self, a: &str, b: &str) -> Result<&mut Program, Skip> {
        let path = bridge()?;
        let [x, y] = [a, b].map(|port| format!("${{port.{port}}}"));
        Ok(self.program("bridge", &[&path.to_string_lossy(), &x, &y], &[a, b]))
    }

    /// The same, statically linked: it is served from beside.
    pub fn static_bridge(&mut self, a: &str, b: &str) -> Result<&mut Program, Skip> {
        let source = target::workspace().join("docs/examples/bridge.c");
        let path = statically_of(&source, "testing-static-bridge")?;
        let [x, y] = [a, b].map(|port| format!("${{port.{port}}}"));
        Ok(self.program("bridge", &[&path.to_string_lossy(), &x, &y], &[a, b]))
    }

    /// Adds a step, on the line that is its number from 1.
    pub fn step(&mut self, action: Action) -> &mut Self {
        let line = self.run.steps.len() + 1;
        self.run.steps.push(Step { line, action });
        self
    }

    pub fn send(&mut self, on: &str, frames: Vec<Frame>) -> &mut Self {
        let on = on.into();
        self.step(Action::Send { on, frames })
    }

    /// What was sent on `port` comes on `on`, with `change`.
    pub fn same(&mut self, on: &str, port: &str, change: serde_json::Value) -> &mut Self {
        self.step(Action::ExpectSame {
            on: on.into(),
            port: port.into(),
            change: table(change),
            is_ordered: true,
        })
    }

    pub fn matching(&mut self, on: &str, filter: &str, min: u64, max: u64) -> &mut Self {
        self.step(Action::ExpectMatching {
            on: on.into(),
            filter: Some(filter.into()),
            count: Count { min, max },
            fields: Default::default(),
            learn: BTreeMap::new(),
        })
    }

    pub fn command(&mut self, run: &[&str], namespace: Option<&str>) -> &mut Self {
        self.step(Action::Run {
            run: run.iter().map(|word| (*word).to_owned()).collect(),
            namespace: namespace.map(str::to_owned),
            status: 0,
        })
    }

    /// A program prints a text, at least once.
    pub fn prints(&mut self, program: &str, text: &str) -> &mut Self {
        self.step(Action::Prints {
            program: program.into(),
            text: text.into(),
            count: Count {
                min: 1,
                max: u64::MAX,
            },
        })
    }

    /// A file of what it leaves.
    pub fn left(&self, file: &str) -> String {
        let path = self.run.keep.join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// A text that everything has in its environment that this run starts.
    fn mark(&self) -> String {
        format!("{MARK}={}", self.dir.display())
    }

    /// Starts the process that carries it out, by what `by` makes of a command.
    pub fn start(&self, by: &[&str]) -> Child {
        let uvale = &target::binaries().uvale;
        let words = by.iter().map(AsRef::as_ref);
        let words: Vec<&std::ffi::OsStr> = words
            .chain([uvale.as_os_str(), "test-run".as_ref()])
            .collect();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .env(MARK, &self.dir)
            .env("NMSHIM", &target::binaries().shim)
            .env_remove("UVALE_DIR")
            .env_remove("XDG_RUNTIME_DIR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let text = serde_json::to_vec(&self.run).expect("a run is JSON");
        let mut input = child.stdin.take().expect("it is a pipe");
        input.write_all(&text).expect("it reads the run");
        child
    }

    /// Carries it out, and sees that nothing is left of it.
    pub fn outcome(&self) -> Outcome {
        self.outcome_by(&[])
    }

    /// The same, by what `by` makes of a command.
    pub fn outcome_by(&self, by: &[&str]) -> Outcome {
        let output = self.start(by).wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        let outcome = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
            panic!("{e}: {:?} {said}", String::from_utf8_lossy(&output.stdout))
        });
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        assert_eq!(self.traces(), Vec::<String>::new());
        outcome
    }

    /// Carries it out; it passes. Gives the digest.
    pub fn passes(&self) -> String {
        self.passes_by(&[])
    }

    pub fn passes_by(&self, by: &[&str]) -> String {
        let outcome = self.outcome_by(by);
        match outcome.result {
            Verdict::Passed => outcome.digest,
            Verdict::Failed { line, why } => panic!("line {line:?}: {why}"),
            other => panic!("{other:?}"),
        }
    }

    /// Carries it out; it fails. Gives the line and the reason.
    pub fn fails(&self) -> (Option<usize>, String) {
        match self.outcome().result {
            Verdict::Failed { line, why } => (line, why),
            other => panic!("{other:?}"),
        }
    }

    /// Processes and folders that the run has left.
    pub fn traces(&self) -> Vec<String> {
        let mark = self.mark();
        let mut found = Vec::new();
        let has = |path: &Path, what: &[u8]| {
            let text = std::fs::read(path).unwrap_or_default();
            text.windows(what.len()).any(|part| part == what)
        };
        let world = std::fs::read_to_string(self.dir.join("world")).unwrap_or_default();
        for entry in std::fs::read_dir("/proc").expect("there is one").flatten() {
            let dir = entry.path();
            let is_marked = has(&dir.join("environ"), mark.as_bytes());
            // The daemon has another environment, and the world's folder among its arguments.
            let is_daemon =
                !world.trim().is_empty() && has(&dir.join("cmdline"), world.trim().as_bytes());
            if is_marked || is_daemon {
                let name = std::fs::read_to_string(dir.join("comm")).unwrap_or_default();
                found.push(format!("{} {}", dir.display(), name.trim()));
            }
        }
        if !world.trim().is_empty() && Path::new(world.trim()).exists() {
            found.push(world);
        }
        found
    }

    /// Waits until nothing is left of it, neither a process nor the folder of its world.
    pub fn assert_nothing_left(&self) {
        let mut left = Vec::new();
        let gone = until(deadline(), || {
            left = self.traces();
            left.is_empty().then_some(())
        });
        assert!(gone.is_some(), "{left:?}");
    }

    /// Adds a program that writes the folder of its world into a file, by which [`Case::traces`] finds it.
    pub fn tells_its_world(&mut self) {
        let file = self.dir.join("world");
        let script = format!(
            "echo \"$UVALE_DIR\" > {}.new; mv {0}.new {0}; exec sleep 1000",
            file.display()
        );
        self.program("teller", &["sh", "-c", &script], &[]);
    }

    /// The folder of its world, once it has told it.
    pub fn world(&self) -> PathBuf {
        let world = until(deadline(), || {
            std::fs::read_to_string(self.dir.join("world")).ok()
        });
        world.expect("it tells its world").trim().into()
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub fn switch(name: &str) -> Kind {
    let switch = name.into();
    Kind::Switch { switch }
}

pub fn table(value: serde_json::Value) -> uvale_frame::Fields {
    match value {
        serde_json::Value::Object(table) => table,
        other => panic!("{other} is no table"),
    }
}

/// A frame of UDP, with that text in it.
pub fn udp(text: &str) -> Frame {
    Frame::Fields(table(json!({
        "eth": { "src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02" },
        "ip": { "src": "10.0.0.1", "dst": "10.0.0.2" },
        "udp": { "srcport": 1000, "dstport": 53 },
        "data": text,
    })))
}

/// So many different ones.
pub fn numbered(n: usize) -> Vec<Frame> {
    (0..n).map(|i| udp(&format!("number {i}"))).collect()
}
