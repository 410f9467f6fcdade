//! `uvale gen`: a packet generator and receiver in the manner of netmap's pkt-gen.
//!
//! It uses nothing but the public netmap ABI (open `/dev/netmap`, `NIOCCTRL`, mmap, rings,
//! `NIOCTXSYNC`, `NIOCRXSYNC`, poll), and it uses that through libc. So it runs on kernel netmap as
//! it does under the shim.
//!
//! | module | what is in it |
//! |---|---|
//! | `args`, `config` | options, and what they come to |
//! | `address`, `packet`, `stream` | address ranges, a packet, the packets of a run one by one |
//! | `capture`, `pcapng`, `captured` | capture files; a packet of one, and what can be wrong |
//! | `memory` | the mapped region: all access to shared memory |
//! | `sys` | system calls through libc |
//! | `port`, `endpoint` | opening a port; a descriptor with its rings |
//! | `slots` | packets into slots and out of them, slots checked |
//! | `tx`, `replay`, `rx`, `pingpong` | the functions, each one loop |
//! | `tally` | what a thread counts, and how it publishes that |
//! | `sequence`, `latency`, `pacer`, `stats`, `dump` | arithmetic and output of the functions |
//! | `made` | packets that options make, and those of captures, without a port |
//! | `files`, `verdict` | what is wrong with a file; what is missing at the end, exit statuses |
//!
//! Each thread owns one endpoint and publishes its counts; the main thread prints them.
#![deny(unsafe_code)]

mod address;
mod args;
mod capture;
mod captured;
mod config;
mod dump;
mod endpoint;
mod files;
mod latency;
mod made;
#[allow(unsafe_code)]
mod memory;
mod pacer;
mod packet;
mod pcapng;
mod pingpong;
mod port;
mod replay;
mod rx;
mod sequence;
mod slots;
mod stats;
mod stream;
#[allow(unsafe_code)]
mod sys;
mod tally;
mod tx;
mod verdict;

#[cfg(test)]
#[allow(unsafe_code)]
mod fake;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

pub use args::Args;
use args::Function;
use config::Config;
use endpoint::{Budget, Device, Endpoint, TICK, Worker, monotonic};
pub use made::{captured_packets, packets};
use pacer::share;
use stats::{Outcome, Progress, Summary};
use tally::{Counters, Tally};
use uvale_tools::output;

/// Runs the generator. The exit code is 0 when all that was asked for was done, 1 after an error on
/// the port or a file, 2 when the options make no sense, 3 when packets are missing.
///
/// `hint` ends a sentence about a port that could not be opened or that failed: why that may be.
///
/// Another program takes the options of `uvale gen` into its own command line:
///
/// ```no_run
/// use clap::Parser;
///
/// #[derive(Parser)]
/// struct Line {
///     /// said first
///     #[arg(long, default_value = "hello")]
///     greeting: String,
///     #[command(flatten)]
///     generator: uvale_generator::Args,
/// }
///
/// # fn main() -> std::process::ExitCode {
/// let line = Line::parse_from(["lab", "-i", "vale0:a", "-f", "tx", "-n", "1000"]);
/// println!("{}", line.greeting);
/// uvale_generator::run(line.generator, &|port| format!("; is {port} in use?"))
/// # }
/// ```
pub fn run(args: Args, hint: &dyn Fn(&str) -> String) -> ExitCode {
    let config = match Config::new(&args) {
        Ok(config) => config,
        Err(why) => {
            output::line(format_args!("uvale gen: {why}"));
            return ExitCode::from(verdict::USAGE);
        }
    };
    let summary = generate(&config)
        .unwrap_or_else(|why| Summary::new(&config, vec![Err(why)], Tally::default()));
    let hint = match summary.ok() {
        true => String::new(),
        false => hint(&config.port),
    };
    for (index, line) in summary.errors.iter().chain(&summary.missing).enumerate() {
        let hint = if index == 0 { hint.as_str() } else { "" };
        // whoever closed the output knows why the run was short
        if !output::reader_has_gone() {
            output::line(format_args!("uvale gen: {line}{hint}"));
        }
    }
    if let Err(why) = print_summary(&config, &summary) {
        output::line(format_args!("uvale gen: {why}"));
        return ExitCode::from(verdict::ERROR);
    }
    ExitCode::from(summary.status)
}

/// Opens the port, waits for the link and runs the threads.
fn generate(config: &Config) -> Result<Summary, String> {
    sys::catch_signals().map_err(|error| format!("signals: {error}"))?;
    files::look_at(config)?;
    let endpoints = port::open(config)?;
    if !config.wait_link.is_zero() {
        output::line(format_args!(
            "waiting {} s for the link (-w)",
            config.wait_link.as_secs()
        ));
        let end = Instant::now() + config.wait_link;
        while !sys::interrupted() && Instant::now() < end {
            std::thread::sleep(end.saturating_duration_since(Instant::now()).min(TICK));
        }
    }
    // whoever waits for a receiver to be there can wait for this line
    let function = config.function.name();
    output::line(format_args!("{function} on {}: ready", config.port));
    Ok(run_threads(config, endpoints))
}

/// Runs a thread for each endpoint, prints progress, and combines what they found.
fn run_threads<D: Device + Send>(config: &Config, endpoints: Vec<Endpoint<D>>) -> Summary {
    let counters: Vec<Counters> = endpoints.iter().map(|_| Counters::default()).collect();
    let total = || {
        counters
            .iter()
            .map(Counters::load)
            .fold(Tally::default(), Tally::plus)
    };
    let stop = AtomicBool::new(false);
    // senders get equal parts of the count; receivers cannot know who will receive how much
    let receives = config.function.is_receiver();
    let budget = Budget::new(config.count);
    let threads = endpoints.len() as u64;
    let (done, finished) = channel();
    let results = std::thread::scope(|scope| {
        let mut handles = Vec::new();
        for (index, (mut endpoint, counters)) in endpoints.into_iter().zip(&counters).enumerate() {
            let worker = Worker {
                config,
                counters,
                limit: if receives {
                    config.count
                } else {
                    share(config.count, index as u64, threads)
                },
                budget: &budget,
                rate: if config.rate == 0 {
                    0
                } else {
                    share(config.rate, index as u64, threads).max(1)
                },
                index,
                stop: &stop,
            };
            // a thread whose part of a small count is zero has nothing to do; 0 would mean no end
            let nothing = config.count > 0 && worker.limit == 0;
            let done = done.clone();
            let run = move || {
                let result = if nothing {
                    Ok(Outcome::default())
                } else {
                    work(&worker, &mut endpoint)
                };
                if result.is_err() {
                    worker.stop.store(true, Ordering::Relaxed);
                }
                // the receiver lives until all threads have ended
                let _ = done.send(());
                result
            };
            let started = std::thread::Builder::new().spawn_scoped(scope, run);
            if started.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            handles.push(started);
        }
        drop(done);
        report_until_done(config, threads, &finished, total);
        handles
            .into_iter()
            .map(|started| match started {
                Ok(handle) => handle
                    .join()
                    .unwrap_or_else(|_| Err("a thread of the generator failed".into())),
                Err(error) => Err(no_thread(&error)),
            })
            .collect::<Vec<_>>()
    });
    Summary::new(config, results, total())
}

/// Why a thread could not be started.
fn no_thread(error: &std::io::Error) -> String {
    format!(
        "cannot start a thread: {}; the number of processes (ulimit -u, or of a container) or memory is limited",
        output::plain(error)
    )
}

/// Prints progress until all threads have said that they are done.
fn report_until_done(
    config: &Config,
    threads: u64,
    finished: &std::sync::mpsc::Receiver<()>,
    total: impl Fn() -> Tally,
) {
    let mut progress = Progress::new(config, monotonic());
    let quiet = config.report.is_zero();
    let interval = if quiet {
        Duration::from_secs(1)
    } else {
        config.report
    };
    let mut next = Instant::now() + interval;
    let mut running = threads;
    while running > 0 {
        match finished.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(()) => running -= 1,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                if !quiet {
                    output::line(format_args!("{}", progress.line(total(), monotonic())));
                }
                next += interval;
            }
        }
    }
}

/// Runs the function on one endpoint.
fn work<D: Device>(worker: &Worker<'_>, endpoint: &mut Endpoint<D>) -> Result<Outcome, String> {
    let config = worker.config;
    if let Some(cpu) = config.cpus.get(worker.index) {
        sys::pin_to(*cpu).map_err(|error| format!("-a: processor {cpu}: {error}"))?;
    }
    match (config.function, &config.capture) {
        (Function::Tx, Some(capture)) => replay::run(worker, endpoint, capture),
        (Function::Tx | Function::TxSeq, _) => tx::run(worker, endpoint),
        (Function::Rx | Function::RxSeq, _) => rx::run(worker, endpoint),
        (Function::Ping, _) => pingpong::ping(worker, endpoint),
        (Function::Pong, _) => pingpong::pong(worker, endpoint),
    }
}

fn print_summary(config: &Config, summary: &Summary) -> Result<(), String> {
    if config.json {
        let json = serde_json::to_string(summary).map_err(|error| format!("summary: {error}"))?;
        return output::write(&(json + "\n"));
    }
    if !summary.ok() && summary.packets == 0 {
        // the error has been told, and there is nothing else to tell
        return Ok(());
    }
    let text = summary.text(config.plain);
    if config.records_to_stdout() {
        output::line(format_args!("{}", text.trim_end()));
        return Ok(());
    }
    output::write(&text)
}
