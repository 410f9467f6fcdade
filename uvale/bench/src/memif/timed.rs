//! Latency one way over memif. testpmd cannot time it, so `timed.c` does, a program of our own with DPDK's interface:
//! it is compiled when it is wanted, and plays its part on the board as the other workers do.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::dpdk;
use crate::board::{QUIT, RUN};
use crate::histogram::{BITS, BUCKETS};
use crate::load::{LEN, MOST};
use crate::temporary::Removed;
use crate::wake::STAMP;

const SOURCE: &str = include_str!("timed.c");
const MISSING: &str =
    "cc and libdpdk-dev are needed (Debian: apt install build-essential pkg-config libdpdk-dev)";

/// The program, in a directory that goes with it.
pub struct Timed(Removed);

/// Its file.
const PROGRAM: &str = "timed";

/// One of its two processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    /// where the program is, and other files of it
    dir: PathBuf,
    /// the socket by which the two meet
    name: String,
    /// sends so many packets a second, 0: as many as it can; else it receives
    per_second: Option<f64>,
}

impl Timed {
    /// Compiles it; or why it cannot be had.
    pub fn build() -> Result<Self, String> {
        let dir = Removed::new()?;
        compile(&dir.0, "timed.c", SOURCE)?;
        Ok(Self(dir))
    }

    /// A receiver, and a sender of so many packets a second (0: as many as it can), which meet under that name.
    pub fn ends(&self, name: &str, per_second: f64) -> [End; 2] {
        [None, Some(per_second)].map(|per_second| End {
            dir: self.0.0.clone(),
            name: name.into(),
            per_second,
        })
    }
}

impl End {
    /// Does it receive?
    pub fn receives(&self) -> bool {
        self.per_second.is_none()
    }

    /// The program that plays it on that processor, at those places of the board ([`crate::board::Board::places`]).
    pub fn command(&self, cpu: usize, places: [usize; 5]) -> Command {
        let mut command = Command::new(self.dir.join(PROGRAM));
        let role = if self.receives() { "server" } else { "client" };
        dpdk::prepare(&mut command, &self.dir);
        command.arg(format!("--lcores=0@{cpu}"));
        command.arg(dpdk::memif(role, &self.dir.join(&self.name)));
        command.arg("--");
        command.args(places.map(|place| place.to_string()));
        command.args(self.per_second.map(|rate| rate.to_string()));
        command
    }
}

/// Makes the program in that directory of what is said there.
fn compile(dir: &Path, name: &str, text: &str) -> Result<(), String> {
    let mut flags = Command::new("pkg-config");
    let flags = flags.args(["--cflags", "--libs", "libdpdk"]).output();
    let flags = flags.ok().filter(|said| said.status.success());
    let flags = String::from_utf8(flags.ok_or(MISSING)?.stdout).map_err(|e| e.to_string())?;
    std::fs::write(dir.join(name), text).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut compile = Command::new("cc");
    compile.current_dir(dir).args(["-O3", "-o", PROGRAM, name]);
    compile.args(definitions()).args(flags.split_whitespace());
    let said = compile.output().map_err(|_| MISSING)?;
    if said.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&said.stderr);
    let first = errors.lines().find(|line| line.contains("error"));
    let first = first.unwrap_or("no message");
    Err(format!("its program cannot be compiled: {first}"))
}

/// What the program has to know of the bench.
fn definitions() -> [String; 7] {
    let define = |name, value: usize| format!("-D{name}={value}");
    [
        define("RUN", RUN as usize),
        define("QUIT", QUIT as usize),
        define("BITS", BITS as usize),
        define("BUCKETS", BUCKETS),
        define("MOST", MOST as usize),
        define("LEN", LEN.into()),
        define("STAMP", STAMP),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::place;

    /// Says in which buckets the numbers are that it is given.
    const DRIVER: &str = r#"
        #define main unused
        #include "timed.c"
        #undef main
        int main(int argc, char **argv)
        {
            static _Atomic uint32_t buckets[BUCKETS];
            latencies = buckets;
            for (int i = 1; i < argc; i++)
                add(strtoull(argv[i], NULL, 10));
            for (int i = 0; i < BUCKETS; i++)
                for (uint32_t n = 0; n < buckets[i]; n++)
                    printf("%d\n", i);
        }
    "#;

    #[test]
    fn its_buckets_are_those_of_the_bench() {
        let program = match Timed::build() {
            Ok(program) => program,
            Err(why) => return println!("skipped: memif latency: {why}"),
        };
        compile(&program.0.0, "driver.c", DRIVER).unwrap();
        let values = (0..63).flat_map(|shift| [1u64 << shift, (1 << shift) + (1 << shift) / 3]);
        let values: Vec<u64> = values.chain([0, 127, 129, 255, u64::MAX]).collect();
        let mut driver = Command::new(program.0.0.join(PROGRAM));
        let said = driver.args(values.iter().map(u64::to_string)).output();
        let said = String::from_utf8(said.unwrap().stdout).unwrap();
        let got: Vec<usize> = said.lines().map(|line| line.parse().unwrap()).collect();
        let mut expected: Vec<usize> = values.into_iter().map(place).collect();
        expected.sort_unstable();
        assert_eq!(got, expected);
    }
}
