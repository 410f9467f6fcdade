//! `compat-tests`: scenarios on every target, and the bundle that takes them elsewhere.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use compat_tests::bench_vm;
use compat_tests::bundle;
use compat_tests::matrix::layout::Layout;
use compat_tests::matrix::platform::Platform;
use compat_tests::matrix::{self, Event, Matrix, Plan, junit, scenario, table};

/// Real netmap programs, unchanged, over uvale: scenarios on every target.
#[derive(Parser)]
#[command(
    name = "compat-tests",
    after_help = "COMPAT_DEADLINE=seconds is what a case of a scenario may take (120).\n\
                  NETMAP_KMOD=dir has netmap.ko for guests of the target ptnet, and pkt-gen for bench-vm."
)]
enum Args {
    /// Runs scenarios: exits with 0 if all is as expected, 1 if something differs, 2 if it cannot work
    Run(RunArgs),
    /// Lists targets and scenarios
    List,
    /// Writes all that runs elsewhere into one archive
    Bundle {
        /// For this target, from the files that scripts/build-for.sh has built
        #[arg(long, value_name = "TRIPLE")]
        target: Option<String>,
        /// The folder that has them, if it is not the one for a release
        #[arg(long, value_name = "DIR", requires = "target")]
        files: Option<PathBuf>,
        #[arg(value_name = "OUT.tar.gz")]
        archive: PathBuf,
    },
    /// Measures what ports cost guests of QEMU, compared with other ways in the same run
    BenchVm(bench_vm::Args),
}

#[derive(clap::Args)]
struct RunArgs {
    /// uvale, kernel, nic:IFACE or ptnet; without this all that need no name are tried
    #[arg(long = "target", value_name = "T", value_parser = Platform::parse)]
    targets: Vec<Platform>,
    /// Only this one
    #[arg(long = "scenario", value_name = "S")]
    scenarios: Vec<String>,
    /// Make what the target says what is expected of it
    #[arg(long)]
    record: bool,
    /// Write results there as JUnit does
    #[arg(long, value_name = "FILE")]
    junit: Option<String>,
}

fn main() -> ExitCode {
    let result = match Args::parse() {
        Args::Run(args) => run(args),
        Args::List => list(),
        Args::Bundle {
            target,
            files,
            archive,
        } => pack(target, files, &archive),
        Args::BenchVm(args) => bench_vm::run(&args).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|why| {
        eprintln!("{why}");
        ExitCode::from(2)
    })
}

fn pack(
    target: Option<String>,
    files: Option<PathBuf>,
    archive: &Path,
) -> Result<ExitCode, String> {
    let target = target.map(|triple| {
        let mut target = bundle::For::released(&triple);
        if let Some(files) = files {
            target.files = files;
        }
        target
    });
    let manifest = bundle::write(&Layout::find(), archive, target.as_ref())?;
    print!("{manifest}");
    Ok(ExitCode::SUCCESS)
}

fn run(args: RunArgs) -> Result<ExitCode, String> {
    let layout = Layout::find();
    let mut scenarios = scenario::all(&layout)?;
    for name in &args.scenarios {
        if !scenarios.iter().any(|s| &s.name == name) {
            return Err(format!("no scenario {name}: compat-tests list"));
        }
    }
    if !args.scenarios.is_empty() {
        scenarios.retain(|s| args.scenarios.contains(&s.name));
    }
    let targets = if args.targets.is_empty() {
        Platform::usual()
    } else {
        args.targets
    };
    let plan = Plan {
        targets,
        scenarios,
        record: args.record,
    };
    let file = args.junit.as_deref();
    let matrix = matrix::run(&layout, &plan, &mut |matrix, event| {
        watch(file, matrix, event)
    })?;
    tell(&format!("\n{}", table::render(&matrix)));
    Ok(ExitCode::from(u8::from(matrix.failed())))
}

/// Prints each cell as it is done, and keeps the JUnit file as far as the run has come: what the machine does
/// not survive must not take the results with it.
fn watch(junit: Option<&str>, matrix: &Matrix, event: Event<'_>) -> Result<(), String> {
    let last = matrix.columns.last();
    if let (Event::Done, Some(column)) = (event, last)
        && let Some(cell) = column.cells.last()
    {
        tell(&table::progress(&column.target, cell));
    }
    let Some(file) = junit else { return Ok(()) };
    let xml = match event {
        Event::Begins(name) => junit::render_running(matrix, name),
        Event::Done => junit::render(matrix),
    };
    replace(Path::new(file), &xml).map_err(|e| format!("{file}: {e}"))
}

/// Prints at once. Who reads no longer does not stop the run.
fn tell(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Puts a file in the place of another, so that there is a whole one at any time, on the disk too.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    if std::fs::metadata(file).is_ok_and(|m| !m.is_file()) {
        // a pipe or a terminal
        return std::fs::write(file, text);
    }
    let mut fresh = file.as_os_str().to_owned();
    fresh.push(".new");
    let mut new = std::fs::File::create(&fresh)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    std::fs::rename(&fresh, file)?;
    let dir = file.parent().filter(|d| !d.as_os_str().is_empty());
    std::fs::File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

fn list() -> Result<ExitCode, String> {
    let layout = Layout::find();
    tell("targets:\n");
    for platform in Platform::usual() {
        let state = match platform.ready(&layout) {
            Ok(_) => "here".into(),
            Err(why) => format!("not here: {why}"),
        };
        tell(&format!("  {platform:8} {state}\n"));
    }
    tell("  nic:IFACE\nscenarios:\n");
    for scenario in scenario::all(&layout)? {
        tell(&format!("  {:20} {}\n", scenario.name, scenario.about));
    }
    Ok(ExitCode::SUCCESS)
}
