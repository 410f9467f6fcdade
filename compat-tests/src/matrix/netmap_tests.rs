//! netmap's own tests, prebuilt, from the folders that `NETMAP_UTILS` and `NETMAP_APPS` name. Each
//! runs in a fresh world where there are worlds, and becomes one fact: `pass` or `fail`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::layout::{ENV_APPS, ENV_UTILS};
use super::platform::Ready;
use crate::facts::TIME_LIMIT;
use crate::wait;
use crate::world::Program;

/// A group of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// The control API test program, on a TAP interface that it makes itself.
    ControlApi,
    /// The same on a persistent port, which needs no system interface.
    ControlApiPort,
    /// The numbered functional tests through their descriptor server.
    Functional,
    /// The same by the legacy API.
    FunctionalLegacy,
    /// The program that drives a sync loop: asleep, and woken by eventfds.
    Kloop,
}

/// How a test ended.
enum End {
    Pass,
    Fail,
    /// It was cut.
    Late,
    /// Cannot run here.
    Cannot(String),
}

impl End {
    /// The fact `name`, or why there is none.
    fn fact(self, name: &str) -> Result<String, String> {
        let value = match self {
            End::Pass => "pass",
            End::Fail => "fail",
            End::Late => TIME_LIMIT,
            End::Cannot(why) => return Err(why),
        };
        Ok(format!("{name}={value}\n"))
    }
}

impl Suite {
    /// All groups.
    pub const ALL: [Suite; 5] = [
        Suite::ControlApi,
        Suite::ControlApiPort,
        Suite::Functional,
        Suite::FunctionalLegacy,
        Suite::Kloop,
    ];

    /// The name of its row.
    pub fn name(self) -> &'static str {
        match self {
            Suite::ControlApi => "netmap-control-api",
            Suite::ControlApiPort => "netmap-control-api-port",
            Suite::Functional => "netmap-functional",
            Suite::FunctionalLegacy => "netmap-functional-legacy",
            Suite::Kloop => "netmap-kloop",
        }
    }

    /// One line for a person.
    pub fn about(self) -> &'static str {
        match self {
            Suite::ControlApi => "netmap's control API tests on a TAP interface",
            Suite::ControlApiPort => "netmap's control API tests on a persistent VALE port",
            Suite::Functional => "netmap's numbered functional tests",
            Suite::FunctionalLegacy => "the same by the legacy API",
            Suite::Kloop => "netmap's sync loop test, asleep and by eventfds",
        }
    }

    /// Runs all its tests, one fact a line.
    ///
    /// # Errors
    /// Why it can't run.
    pub fn run(self, ready: &Ready) -> Result<String, String> {
        let tools = Tools::find()?;
        match self {
            Suite::ControlApi => control_api(ready, &tools, false),
            Suite::ControlApiPort => control_api(ready, &tools, true),
            Suite::Functional => functional(ready, &tools, "functional", "fd_server"),
            Suite::FunctionalLegacy => {
                functional(ready, &tools, "functional-legacy", "fd_server-legacy")
            }
            Suite::Kloop => kloop(ready, &tools),
        }
    }
}

/// Where the programs and scripts are.
struct Tools {
    utils: PathBuf,
    apps: Option<PathBuf>,
}

impl Tools {
    fn find() -> Result<Tools, String> {
        let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let utils = folder(ENV_UTILS).ok_or_else(|| format!("{ENV_UTILS} is not set"))?;
        Ok(Tools {
            utils: absolute(utils),
            apps: folder(ENV_APPS).map(absolute),
        })
    }

    /// Folders that netmap's build and installation put programs into.
    fn places(&self) -> Vec<PathBuf> {
        let mut places = Vec::new();
        for dir in self.apps.iter().chain([&self.utils]) {
            for below in ["", "build-utils", "build-apps", "utils", "apps", "bin"] {
                places.push(dir.join(below));
            }
        }
        let nested = |d: &PathBuf| ["vale-ctl", "pkt-gen"].map(|name| d.join(name)).into_iter();
        let mut all: Vec<PathBuf> = places.iter().flat_map(nested).collect();
        all.splice(0..0, places);
        all.retain(|d| d.is_dir());
        all
    }

    fn program(&self, name: &str) -> Result<PathBuf, String> {
        let found = self.places().into_iter().map(|d| d.join(name));
        let found = found.into_iter().find(|p| p.is_file());
        found.ok_or_else(|| format!("no {name} in {ENV_UTILS} or {ENV_APPS}"))
    }

    /// The folder with `test_lib` and the numbered tests.
    fn scripts(&self) -> Result<PathBuf, String> {
        let places = [
            self.utils.clone(),
            self.utils.join("utils"),
            self.utils.join(".."),
        ];
        let found = places
            .into_iter()
            .find(|d| d.join("test_lib").is_file() && d.join("tests").is_dir());
        found.ok_or_else(|| format!("no test_lib and tests in {ENV_UTILS}"))
    }

    /// A search path that has all programs.
    fn path(&self) -> String {
        let mut path: Vec<String> = self
            .places()
            .iter()
            .map(|d| d.to_string_lossy().into_owned())
            .collect();
        path.push(std::env::var("PATH").unwrap_or_default());
        path.join(":")
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// A test on a persistent port that is made for it.
const ON_PORT: &str = "\
vale-ctl -n ctl0 >/dev/null || exit 9
\"$1\" -i ctl0 -j \"$2\"
end=$?
vale-ctl -r ctl0 >/dev/null 2>&1
exit $end
";

fn control_api(ready: &Ready, tools: &Tools, on_port: bool) -> Result<String, String> {
    let program = tools.program("ctrl-api-test")?;
    if on_port {
        tools.program("vale-ctl")?;
    }
    let listed = Command::new(&program)
        .arg("-l")
        .output()
        .map_err(|e| format!("{}: {e}", program.display()))?;
    let mut facts = String::new();
    for (number, name) in numbered(&String::from_utf8_lossy(&listed.stdout)) {
        let mut command;
        if on_port {
            command = ready.start(Path::new("bash"));
            command.args(["-c", ON_PORT, "bash"]);
            command.arg(&program).arg(&number);
            command.env("PATH", tools.path());
        } else {
            command = ready.start(&program);
            command.args(["-j", &number]);
        }
        facts.push_str(&end_of(&name, command).fact(&name)?);
    }
    if facts.is_empty() {
        return Err("ctrl-api-test lists no tests".into());
    }
    Ok(facts)
}

/// Lines such as `#007: name`: number without zeros, and name.
fn numbered(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|l| l.strip_prefix('#'));
    lines
        .filter_map(|l| l.split_once(": "))
        .map(|(number, name)| {
            let number = number.trim_start_matches('0');
            (number.into(), name.trim().into())
        })
        .collect()
}

fn end_of(name: &str, command: Command) -> End {
    let mut program = Program::start(name, command);
    let status = program.finish(wait::deadline());
    if program.stdout().contains("Failed to create tap interface") {
        return End::Cannot("no TAP interface can be made".into());
    }
    match status {
        Some(status) if status.success() => End::Pass,
        Some(_) => End::Fail,
        None => End::Late,
    }
}

/// What each numbered test is started with: a descriptor server of its own, small packets.
const NUMBERED: &str = "\
\"$FUNCTIONAL\" -c >/dev/null 2>&1
\"$FUNCTIONAL\" -o >/dev/null 2>&1
\"$@\" -n 10 -l 300 -f x -q
end=$?
\"$FUNCTIONAL\" -c >/dev/null 2>&1
exit $end
";

fn functional(ready: &Ready, tools: &Tools, program: &str, server: &str) -> Result<String, String> {
    let scripts = tools.scripts()?;
    for needed in [program, server, "vale-ctl"] {
        tools.program(needed)?;
    }
    let mut tests: Vec<String> = std::fs::read_dir(scripts.join("tests"))
        .map_err(|e| format!("{}: {e}", scripts.display()))?
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter(|n| n.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    tests.sort();
    // the server listens in one place for the whole machine
    let _alone = alone()?;
    let mut facts = String::new();
    for test in tests {
        let mut command = ready.start(Path::new("bash"));
        command
            .args(["-c", NUMBERED, "bash", &format!("tests/{test}")])
            .current_dir(&scripts)
            .env("PATH", tools.path())
            .env("FUNCTIONAL", program);
        facts.push_str(&end_of(&test, command).fact(&test)?);
    }
    Ok(facts)
}

fn alone() -> Result<std::fs::File, String> {
    let path = std::env::temp_dir().join("netmap-fdserver.lock");
    let file = std::fs::File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let operation = rustix::fs::FlockOperation::LockExclusive;
    rustix::fs::flock(&file, operation).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(file)
}

/// A sender and a receiver, both in loops of their own; it passes when packets come out.
const KLOOP: &str = "\
out=$(mktemp)
\"$1\" -i vale6:r -f rx -v $2 >\"$out\" & rx=$!
\"$1\" -i vale6:t -f tx -R 1000 $2 >/dev/null & tx=$!
end=1
for i in $(seq 200); do
  if grep -q '^ ff ff ff' \"$out\"; then end=0; break; fi
  kill -0 $rx && kill -0 $tx || break
  sleep 0.05
done
kill -INT $rx $tx
wait $rx || end=1
wait $tx || end=1
rm -f \"$out\"
exit $end
";

fn kloop(ready: &Ready, tools: &Tools) -> Result<String, String> {
    let program = tools.program("sync_kloop_test")?;
    let mut facts = String::new();
    for (name, flag) in [("sleep", "-u100"), ("eventfds", "-k")] {
        let mut command = ready.start(Path::new("bash"));
        command.args(["-c", KLOOP, "bash"]).arg(&program).arg(flag);
        facts.push_str(&end_of(name, command).fact(name)?);
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_tests_are_found() {
        let text = "Available tests:\n#001: port_info_get\n#047: binarycomp\n";
        let want = [("1", "port_info_get"), ("47", "binarycomp")];
        let want = want.map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(numbered(text), want);
    }
}
