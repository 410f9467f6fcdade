//! `compat-tests`: scenarios on every target, and the bundle that takes them elsewhere.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use compat_tests::bundle;
use compat_tests::matrix::layout::Layout;
use compat_tests::matrix::platform::Platform;
use compat_tests::matrix::{self, Event, Matrix, Plan, junit, scenario, table};

const USAGE: &str = "\
usage: compat-tests run [--target T]... [--scenario S]... [--record] [--junit FILE]
       compat-tests list
       compat-tests bundle OUT.tar.gz
COMPAT_DEADLINE=seconds is what a case of a scenario may take (120)
targets: uvale, kernel, nic:IFACE, ptnet; without --target all that need no name are tried
run exits with 0 if everything that ran is as expected, 1 if something differs, 2 if it cannot work";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.split_first() {
        Some((&"run", rest)) => run(rest),
        Some((&"list", [])) => list(),
        Some((&"bundle", [archive])) => {
            bundle::write(&Layout::find(), Path::new(archive)).map(|manifest| {
                print!("{manifest}");
                ExitCode::SUCCESS
            })
        }
        Some((&("help" | "--help" | "-h"), _)) => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(USAGE.into()),
    };
    result.unwrap_or_else(|why| {
        eprintln!("{why}");
        ExitCode::from(2)
    })
}

/// The arguments of `run`.
#[derive(Default)]
struct RunArgs {
    targets: Vec<Platform>,
    scenarios: Vec<String>,
    record: bool,
    junit: Option<String>,
}

impl RunArgs {
    fn parse(args: &[&str]) -> Result<RunArgs, String> {
        let mut parsed = RunArgs::default();
        let mut args = args.iter();
        while let Some(&arg) = args.next() {
            let mut value = || {
                let value = args.next().map(|v| (*v).to_owned());
                value.ok_or_else(|| format!("{arg} wants a value\n{USAGE}"))
            };
            match arg {
                "--target" => parsed.targets.push(Platform::parse(&value()?)?),
                "--scenario" => parsed.scenarios.push(value()?),
                "--junit" => parsed.junit = Some(value()?),
                "--record" => parsed.record = true,
                _ => return Err(format!("what is {arg}?\n{USAGE}")),
            }
        }
        Ok(parsed)
    }
}

fn run(args: &[&str]) -> Result<ExitCode, String> {
    let args = RunArgs::parse(args)?;
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
    println!("targets:");
    for platform in Platform::usual() {
        let state = match platform.ready(&layout) {
            Ok(_) => "here".into(),
            Err(why) => format!("not here: {why}"),
        };
        println!("  {platform:8} {state}");
    }
    println!("  nic:IFACE");
    println!("scenarios:");
    for scenario in scenario::all(&layout)? {
        println!("  {:20} {}", scenario.name, scenario.about);
    }
    Ok(ExitCode::SUCCESS)
}
