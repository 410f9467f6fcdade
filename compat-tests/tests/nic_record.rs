//! The probe that recorded what kernel netmap does with network interfaces, run here: the same facts must come out.
//!
//! The probe and its record are in `data/kernel-record`; `expected/nic-record.txt` lists what differs, and why. Each
//! section has a network namespace with interfaces of its own, and a world of its own.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use compat_tests::apps::{self, App};
use compat_tests::facts::{self, Comparison, Expected, Facts};
use compat_tests::world::Program;
use compat_tests::{Skip, or_skip, target, wait};

const RECORD: &str = "nic-generic.txt";
const DIFFERENCES: &str = "compat-tests/expected/nic-record.txt";
/// The probe waits a fixed time for each packet. Where others want the processor too, one may come later: a section
/// that differs runs again.
const RUNS: usize = 3;

/// Interfaces, and what was recorded on them.
struct Ground {
    /// what the record's keys begin with
    prefix: &'static str,
    /// what makes them, by `ip`
    made: &'static [&'static str],
    /// what the probe is told
    names: [&'static str; 2],
    sections: &'static [&'static str],
}

const GROUNDS: [Ground; 2] = [
    Ground {
        prefix: "",
        made: &[
            "link add veth0 numtxqueues 1 numrxqueues 1 type veth peer name veth1 numtxqueues 1 numrxqueues 1",
        ],
        names: ["veth0", "veth1"],
        sections: &[
            "world", "info", "reg", "modes", "two", "tx", "rx", "host", "link", "pipe", "vale",
            "opts", "legacy", "mtuopen",
        ],
    },
    Ground {
        prefix: "mq1:",
        made: &[
            "link add mq0 numtxqueues 4 numrxqueues 4 type veth peer name mq1 numtxqueues 4 numrxqueues 4",
        ],
        names: ["mq0", "mq1"],
        sections: &["info", "reg", "modes", "two"],
    },
];

impl Ground {
    /// A command with namespaces of its own and these interfaces; `$0` and what follows replaces it then.
    fn command(&self) -> Command {
        let mut script = String::from(
            "set -e; mount -t sysfs none /sys; mkdir -p /run/netns; mount -t tmpfs none /run/netns
             for f in all default; do echo 1 >/proc/sys/net/ipv6/conf/$f/disable_ipv6 || true; done 2>/dev/null
             ip link set lo up\n",
        );
        let up = self.names.iter().filter(|n| **n != "-");
        let up = up.map(|name| format!("link set {name} up"));
        let words = self.made.iter().map(ToString::to_string);
        for words in words.chain(up) {
            script.push_str(&format!("ip {words}\n"));
        }
        script.push_str("exec \"$0\" \"$@\"\n");
        let mut command = Command::new("unshare");
        command
            .args(["--net", "--mount", "sh", "-c", &script])
            .stdin(Stdio::null());
        command
    }

    /// Can they be made here?
    fn check(&self) -> Result<(), Skip> {
        if !rustix::process::geteuid().is_root() {
            return Err(Skip::optional("it takes root to make interfaces"));
        }
        let mut command = self.command();
        let output = command.arg("true").output();
        let output = output.map_err(|e| Skip::optional(format!("no unshare: {e}")))?;
        if output.status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&output.stderr);
        Err(Skip::optional(format!(
            "no {} here: {}",
            self.names[0],
            why.trim()
        )))
    }

    /// What the probe tells of a section; keys as in the record.
    fn facts(&self, probe: &Path, section: &str) -> Facts {
        let mut command = self.command();
        command
            .arg(&target::binaries().uvale)
            .args(["run", "--private", "--"])
            .arg(probe)
            .args(self.names)
            .arg(section);
        for name in ["LD_PRELOAD", "UVALE_DIR", "UVALE_AUTOSTART"] {
            command.env_remove(name);
        }
        let mut program = Program::start(section, command);
        let status = program.finish(wait::deadline());
        let status = status.unwrap_or_else(|| panic!("does not end: {}", program.said()));
        assert!(status.success(), "{}", program.said());
        let facts = facts::parse(&program.stdout());
        let named = facts
            .into_iter()
            .map(|(key, value)| (format!("{}{key}", self.prefix), value));
        named.collect()
    }

    /// Compares a section with the record; again, if there is something nobody expects.
    fn compare(&self, probe: &Path, section: &str, known: &Known) -> Comparison {
        let wanted = format!("{}{section}", self.prefix);
        let once = || {
            let ours = self.facts(probe, section);
            facts::compare(&wanted, &known.record, &ours, &known.expected)
        };
        let mut found = once();
        for _ in 1..RUNS {
            if found.unexplained().next().is_none() {
                break;
            }
            found = once();
        }
        found
    }
}

/// What the kernel told, and where we are known to differ.
struct Known {
    record: Facts,
    expected: Vec<Expected>,
}

impl Known {
    fn read() -> Known {
        let record = target::data("kernel-record").join(RECORD);
        let read = |file: &Path| std::fs::read_to_string(file).expect("the file is text");
        Known {
            record: facts::parse_record(&read(&record)),
            expected: facts::parse_expected(&read(&target::workspace().join(DIFFERENCES))),
        }
    }
}

/// May the fact be as recorded, too? The reason says so.
fn is_sometimes(entry: &Expected) -> bool {
    entry.reason.starts_with("sometimes: ")
}

fn probe() -> Result<App, Skip> {
    let source = target::data("kernel-record").join("nic-probe.c");
    apps::compile_c(&source, "nic-probe", &["-O1", "-g", "-w"])
}

#[test]
fn nic_facts_equal_the_kernels() {
    or_skip!("NIC record", GROUNDS[0].check());
    let probe = or_skip!("NIC record", probe());
    let known = Known::read();
    target::binaries();
    let found: Vec<(String, Comparison)> = std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for ground in &GROUNDS {
            for section in ground.sections {
                let (known, probe) = (&known, &probe.path);
                let name = format!("{}{section}", ground.prefix);
                let thread = scope.spawn(move || ground.compare(probe, section, known));
                threads.push((name, thread));
            }
        }
        let join = |(name, thread): (String, std::thread::ScopedJoinHandle<'_, _>)| {
            (name, thread.join().expect("the section ends"))
        };
        threads.into_iter().map(join).collect()
    });
    let _ = std::fs::remove_file(&probe.path);
    judge(&found, &known);
}

/// Every difference has a reason, and every reason a difference.
fn judge(found: &[(String, Comparison)], known: &Known) {
    let mut failures = Vec::new();
    let mut used = BTreeSet::new();
    let (mut equal, mut listed) = (0, 0);
    for (_, comparison) in found {
        equal += comparison.equal;
        listed += comparison.listed();
        failures.extend(comparison.unexplained().map(ToString::to_string));
        let differing = comparison.differences.iter();
        used.extend(differing.filter_map(|d| known.expected.iter().position(|e| e.fits(&d.key))));
    }
    let _ = writeln!(
        std::io::stderr().lock(),
        "NIC record: {} sections, {equal} facts equal, {listed} different as listed, {} others",
        found.len(),
        failures.len()
    );
    assert!(
        failures.is_empty(),
        "differ for no listed reason:\n{}",
        failures.join("\n")
    );
    let entries = known.expected.iter().enumerate();
    let stale: Vec<&str> = entries
        .filter(|(i, e)| !used.contains(i) && !is_sometimes(e))
        .map(|(_, e)| e.pattern())
        .collect();
    assert!(
        stale.is_empty(),
        "{DIFFERENCES} lists what does not differ: {stale:?}"
    );
}
