//! One run of a case, with all values in place: what the process that runs it is given, and what it answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uvale_frame::Fields;
use uvale_tools::reach::Reach;

/// Waiting for one thing ends after so many times the `timeout` of its run though frames come and go.
pub const LONGEST_WAIT: u32 = 10;
/// Frames that may come at a port beyond those that were sent: more are a flood that no case can want.
pub const MOST_FRAMES: usize = 1_000_000;
/// Their bytes.
pub const MOST_BYTES: usize = 256 << 20;
/// Bytes that a program may print on stdout, and on stderr.
pub const MOST_PRINTED: u64 = 64 << 20;

/// What a process runs: one case with one combination of the matrix.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// file, case and values: `firewall/answers are let in [mode=swap] #2`
    pub id: String,
    /// where programs run
    pub dir: PathBuf,
    /// how long anything is waited for
    pub timeout: Duration,
    /// how long nothing may come before nothing more is said to come
    pub quiet: Duration,
    /// of impairments that name none
    pub seed: u64,
    pub target: Target,
    pub ports: Vec<Port>,
    pub namespaces: Vec<Namespace>,
    pub programs: Vec<Program>,
    pub steps: Vec<Step>,
    /// ports where frames that no step expected do not matter
    pub ignore: Vec<String>,
    /// where captures and logs are written; removed by the parent if the run passes
    pub keep: PathBuf,
}

/// Where ports come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Target {
    /// a world of its own
    Uvale,
    /// `/dev/netmap` of this machine's kernel
    Kernel,
    /// interfaces of this machine in the place of ports: port, interface
    Nic(BTreeMap<String, String>),
}

/// A port between the tester and programs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Port {
    pub name: String,
    pub kind: Kind,
    pub rings: Option<u16>,
    pub slots: Option<u32>,
    /// options of `uvale link`, if the tester is behind a bad wire: `loss` -> `10%`
    pub link: Option<BTreeMap<String, String>>,
}

/// What a port is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// a port of a switch; the tester has another one of it
    Switch { switch: String },
    /// one end of a pipe; the tester has the other one
    Pipe,
    /// an interface; `peer` is the namespace of its other end, else the tester has it
    Nic { peer: Option<String> },
    /// a monitor of another port, with netmap's letters for which side: `/rt`
    Monitor { of: String, suffix: String },
}

/// A network namespace beside that of the programs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Namespace {
    pub name: String,
    pub commands: Vec<Vec<String>>,
}

/// A program under test. `${port.NAME}` and `${interface.NAME}` in `run` and `env` are filled in by who runs it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Program {
    pub name: String,
    pub run: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub namespace: Option<String>,
    /// ports that it is waited for
    pub opens: Vec<String>,
    /// how it must end by itself; `None`: it has to run until it is stopped
    pub status: Option<i32>,
    /// how it finds the device
    #[serde(default)]
    pub reach: Reach,
}

/// A step of a case, with the line of the file it is on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    pub line: usize,
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Action {
    Send {
        on: String,
        frames: Vec<Frame>,
    },
    /// these frames, and in this order if `is_ordered`
    Expect {
        on: String,
        frames: Vec<Frame>,
        is_ordered: bool,
    },
    /// what was sent on `port` and no such step has matched yet, with fields changed
    ExpectSame {
        on: String,
        port: String,
        change: Fields,
        is_ordered: bool,
    },
    /// `count` frames that match `filter` (all, if none), each with these fields
    ExpectMatching {
        on: String,
        filter: Option<String>,
        count: Count,
        fields: Fields,
        /// names for fields of the last one, `${NAME}` in later steps
        learn: BTreeMap<String, String>,
    },
    Nothing {
        on: String,
    },
    /// `count` lines of a program's output, stdout or stderr, have this text
    Prints {
        program: String,
        text: String,
        count: Count,
    },
    Run {
        run: Vec<String>,
        namespace: Option<String>,
        status: i32,
    },
}

/// How many frames: `min..=max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub min: u64,
    pub max: u64,
}

/// A frame, built already if no value of it is learnt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Frame {
    /// in hex
    Bytes(String),
    /// with `${NAME}` or `${NAME+1}` in values
    Fields(Fields),
}

/// What a run has come to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    pub result: Verdict,
    /// from its start to its end
    pub took: Duration,
    /// what was sent and received, equal for equal seeds: a digest for repetitions
    pub digest: String,
}

/// Whether the function does what its case says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Verdict {
    Passed,
    /// it does not: line of the step, and what is to be read
    Failed {
        line: Option<usize>,
        why: String,
    },
    /// it could not be tried: a program that is not there, a port that cannot be opened
    Error(String),
    /// this machine cannot
    Skipped(String),
}
