//! `uvale bench`: how fast packets go through the shim and the public ABI, compared with two bare
//! processes on the same machine in the same minute.
//!
//! | file | what |
//! |---|---|
//! | `cases.rs` | what is measured and by which workers |
//! | `worker.rs` | the parts that worker processes play |
//! | `limit.rs` | the bare loops, the *limit* |
//! | `port.rs` | a netmap port by the public ABI |
//! | `wake.rs` | waking a receiver that blocks in poll, and a bare socketpair |
//! | `nic.rs` | NIC ports over veth pairs, and the same by AF_PACKET alone |
//! | `reach.rs` | syncs of programs that no preload reaches, and the kernel's part of them alone |
//! | `memif.rs` | DPDK's testpmd over memif |
//! | `preload.rs` | what the shim costs a program that has nothing to do with netmap |
//! | `measure.rs` | windows, turns, medians |
//! | `board.rs` | the memory that all share |
//! | `world.rs`, `cpus.rs` | a daemon of its own, processes, processors |
//! | `report.rs` | tables, targets, JSON |
//! | `options.rs` | the command line |
//! | `raw.rs`, `reach/raw.rs` | all that needs unsafe code |
#![deny(unsafe_code)]

mod board;
mod cases;
mod cpus;
mod limit;
mod measure;
mod memif;
mod nic;
mod options;
mod port;
mod preload;
#[allow(unsafe_code)]
mod raw;
mod reach;
mod report;
mod wake;
mod worker;
mod world;

use std::cell::OnceCell;
use std::process::ExitCode;
use std::time::Duration;

use cases::{Bench, Case, Path};
use measure::Windows;
use nic::Nic;
pub use options::Args;
use options::Section;
use reach::Reach;
use report::{ASLEEP, PING_PONG, Report, Row, WakeUp};
use uvale_tools::output;

/// An address that nobody has.
const NOBODY: u64 = 0x0200_0000_3002;

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    let result = match &args.worker {
        Some(spec) => preload::worker(spec)
            .or_else(|| nic::ground::worker(spec))
            .unwrap_or_else(|| worker::run(spec)),
        None => Run::new(args).and_then(Run::go),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            output::line(format_args!("uvale: bench: {why}"));
            ExitCode::FAILURE
        }
    }
}

struct Run {
    args: Args,
    report: Report,
    windows: Windows,
    /// Why something could not be written.
    unwritten: OnceCell<String>,
}

impl Run {
    fn new(args: Args) -> Result<Self, String> {
        let (length, wanted) = if args.quick { (40, 5) } else { (50, 7) };
        let windows = Windows {
            length: Duration::from_millis(args.window.unwrap_or(length).max(1)),
            wanted: args.windows.unwrap_or(wanted).max(1),
            pause: Duration::from_millis(if args.real_time { 20 } else { 2 }),
        };
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load
            .split_whitespace()
            .next()
            .and_then(|l| l.parse().ok())
            .unwrap_or(0.0);
        let report = Report {
            processors: cpus::usable(),
            load,
            ..Default::default()
        };
        Ok(Self {
            args,
            report,
            windows,
            unwritten: OnceCell::new(),
        })
    }

    fn go(mut self) -> Result<(), String> {
        if self.report.processors.len() < 2 {
            let why = "everything: sender and receiver need a processor each, and there is one";
            self.skip(why.into());
        } else {
            self.measure()?;
        }
        self.report.judge();
        if self.args.json {
            let text = serde_json::to_string_pretty(&self.report).map_err(|e| e.to_string())?;
            self.write(&(text + "\n"));
        } else {
            self.print_targets();
        }
        self.unwritten.into_inner().map_or(Ok(()), Err)
    }

    fn measure(&mut self) -> Result<(), String> {
        let n = self.report.processors.len();
        self.say(&format!(
            "{n} processors in use, load average {:.2} at the start",
            self.report.load
        ));
        if self.args.real_time {
            raw::go_real_time(raw::CONDUCTOR).map_err(|e| format!("--real-time: {e}"))?;
        } else if self.report.load > 0.5 {
            self.say("other programs are running: absolute figures will be low, ratios may wobble");
        }
        let board = board::Board::new()?;
        let world = world::World::new()?;
        let bench = Bench {
            board: &board,
            world: &world,
            cpus: self.report.processors.clone(),
            windows: self.windows,
            real_time: self.args.real_time,
        };
        for (section, title, cases) in self.plan() {
            if self.wants(section) {
                self.table(&bench, title, &cases);
            }
        }
        if self.wants(Section::Wakeup) {
            self.wake_ups(&bench);
        }
        if self.wants(Section::Nic) {
            self.nic(&bench);
        }
        if self.wants(Section::Reach) {
            self.reach(&bench);
        }
        if self.wants(Section::Memif) {
            self.memif();
        }
        if self.wants(Section::Preload) {
            self.preload();
        }
        Ok(())
    }

    fn wants(&self, section: Section) -> bool {
        self.args.only.is_empty() || self.args.only.contains(&section)
    }

    /// The tables and their rows.
    fn plan(&self) -> Vec<(Section, &'static str, Vec<Case>)> {
        let quick = self.args.quick;
        let or = |given: &[u32], full: &[u32], few: &[u32]| -> Vec<u32> {
            let usual = if quick { few } else { full };
            if given.is_empty() {
                usual.to_vec()
            } else {
                given.to_vec()
            }
        };
        let batches = or(&self.args.batch, &[1, 8, 64, 256], &[1, 256]);
        let several = or(&self.args.batch, &[1, 8, 64, 256], &[256]);
        let sizes = self.sizes();
        let cases = |path, senders, receivers, batches: &[u32]| {
            let of_size = |len| {
                batches.iter().map(move |batch| Case {
                    path,
                    senders,
                    receivers,
                    len,
                    batch: *batch,
                })
            };
            sizes.iter().copied().flat_map(of_size).collect::<Vec<_>>()
        };
        vec![
            (
                Section::Vale,
                "VALE, 1 to 1",
                cases(Path::Vale, 1, 1, &batches),
            ),
            (Section::Pipe, "pipe", cases(Path::Pipe, 1, 1, &batches)),
            (
                Section::Many,
                "VALE, 2 to 1",
                cases(Path::Vale, 2, 1, &several),
            ),
            (
                Section::Many,
                "VALE, 1 to 8 flooding",
                cases(Path::Vale, 1, 8, &several),
            ),
        ]
    }

    /// Sizes and batches for what goes through the kernel, which is slow with small batches.
    fn kernel_cases(&self) -> Vec<(u16, u32)> {
        let batches = match &self.args.batch[..] {
            [] => &[256],
            given => given,
        };
        let sizes = self.sizes();
        let of_size = |len| batches.iter().map(move |batch| (len, *batch));
        sizes.into_iter().flat_map(of_size).collect()
    }

    fn sizes(&self) -> Vec<u16> {
        match (self.args.size.is_empty(), self.args.quick) {
            (false, _) => self.args.size.clone(),
            (true, false) => vec![60, 1500],
            (true, true) => vec![60],
        }
    }

    fn table(&mut self, bench: &Bench<'_>, title: &str, cases: &[Case]) {
        let Some(first) = cases.first() else { return };
        self.say(&format!(
            "\n{title}: Mpps delivered{}",
            shared(bench, first)
        ));
        self.say(&Row::head());
        for case in cases {
            match bench.run(*case) {
                Ok(figures) => {
                    let row = Row::new(*case, &figures);
                    self.say(&row.line());
                    self.report.rows.push(row);
                }
                Err(why) => {
                    self.skip(format!(
                        "{title}, {} bytes, batch {}: {why}",
                        case.len, case.batch
                    ));
                }
            }
        }
    }

    fn wake_ups(&mut self, bench: &Bench<'_>) {
        self.say("\nwake-up of a receiver that blocks in poll: median in microseconds");
        for (what, asleep) in [(PING_PONG, false), (ASLEEP, true)] {
            let wake_up = bench
                .wake_up(asleep)
                .and_then(|o| WakeUp::new(what, &o).ok_or_else(|| "nothing arrived".into()));
            match wake_up {
                Ok(wake_up) => {
                    self.say(&wake_up.line());
                    self.report.wake_ups.push(wake_up);
                }
                Err(why) => self.skip(format!("{what}: {why}")),
            }
        }
    }

    fn nic(&mut self, bench: &Bench<'_>) {
        match Nic::new(bench) {
            Ok(nic) => {
                self.wires(&nic);
                self.joins(&nic);
            }
            Err(why) => self.skip(format!("nic: {why}")),
        }
    }

    fn wires(&mut self, nic: &Nic<'_>) {
        self.say("\nNIC port, veth: Mpps delivered");
        self.say(&nic::Wire::head());
        for (len, batch) in self.kernel_cases() {
            match nic.wire(batch, len) {
                Ok(row) => {
                    self.say(&row.line());
                    self.report.nic.wire.push(row);
                }
                Err(why) => self.skip(format!("NIC, {len} bytes, batch {batch}: {why}")),
            }
        }
        self.say(&nic::XdpWire::head());
        for (len, batch) in self.kernel_cases() {
            match nic.xdp(batch, len) {
                Ok(row) => {
                    self.say(&row.line());
                    self.report.nic.xdp.push(row);
                }
                Err(why) => self.skip(format!("AF_XDP, {len} bytes, batch {batch}: {why}")),
            }
        }
        match nic.ping_pong() {
            Ok(row) => {
                self.say(&row.line());
                self.report.nic.ping_pong = Some(row);
            }
            Err(why) => self.skip(format!("NIC, ping-pong: {why}")),
        }
    }

    fn joins(&mut self, nic: &Nic<'_>) {
        self.say("\nNIC ports, both ends of a veth pair: Mpps delivered");
        self.say(&nic::Joined::head());
        for (len, batch) in self.kernel_cases() {
            match nic.joined(batch, len) {
                Ok(row) => {
                    self.say(&row.line());
                    self.report.nic.joined.push(row);
                }
                Err(why) => self.skip(format!("joined, {len} bytes, batch {batch}: {why}")),
            }
        }
        match nic.joining() {
            Ok(row) => {
                self.say(&row.line());
                self.report.nic.joining = Some(row);
            }
            Err(why) => self.skip(format!("joining: {why}")),
        }
    }

    fn reach(&mut self, bench: &Bench<'_>) {
        self.say("\nprograms that no preload reaches, a call: microseconds, median (range)");
        self.say(&reach::Syncs::head());
        for way in [Reach::Notify, Reach::Trap] {
            match bench.syncs(way) {
                Ok(row) => {
                    self.say(&row.line());
                    self.report.reach.syncs.push(row);
                }
                Err(why) => self.skip(format!("{}: {why}", way.option())),
            }
        }
        self.say("\nprograms that no preload reaches: Mpps delivered, median (range)");
        self.say(&reach::Packets::head());
        for path in [Path::Vale, Path::Pipe] {
            for (len, batch) in self.kernel_cases() {
                match bench.by_notification(path, batch, len) {
                    Ok(row) => {
                        self.say(&row.line());
                        self.report.reach.packets.push(row);
                    }
                    Err(why) => self.skip(format!("notified, {len} bytes, batch {batch}: {why}")),
                }
            }
        }
    }

    fn memif(&mut self) {
        let seconds = if self.args.quick { 3 } else { 6 };
        match memif::run(&self.report.processors, seconds, self.args.real_time) {
            Ok(rate) => {
                self.say(&format!(
                    "\nDPDK memif, 60 bytes, bursts of 32: {rate:.2} Mpps"
                ));
                self.report.memif = Some(rate);
            }
            Err(why) => self.skip(format!("memif: {why}")),
        }
    }

    fn preload(&mut self) {
        self.say("\nordinary calls without and with the shim: nanoseconds");
        match preload::measure(self.report.processors[0]) {
            Ok(costs) => {
                self.say(&preload::Cost::head());
                costs.iter().for_each(|cost| self.say(&cost.line()));
                self.report.preload = costs;
            }
            Err(why) => self.skip(format!("ordinary calls: {why}")),
        }
    }

    fn print_targets(&self) {
        if self.report.targets.is_empty() {
            return;
        }
        self.write("\ntargets\n");
        for target in &self.report.targets {
            self.write(&(target.line() + "\n"));
        }
    }

    fn skip(&mut self, what: String) {
        self.say(&format!("skipped: {what}"));
        self.report.skipped.push(what);
    }

    fn say(&self, line: &str) {
        if !self.args.json {
            self.write(&format!("{line}\n"));
        }
    }

    fn write(&self, text: &str) {
        if let Err(why) = output::write(text) {
            let _ = self.unwritten.set(why);
        }
    }
}

/// A remark for tables in which processes share processors.
fn shared(bench: &Bench<'_>, case: &Case) -> String {
    let (processes, processors) = (case.senders + case.receivers, bench.cpus.len());
    if processes <= processors {
        return String::new();
    }
    format!(" ({processes} processes share {processors} processors)")
}
