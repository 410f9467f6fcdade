//! `compat-tests`: scenarios on every target, and the bundle that takes them elsewhere.

use std::path::Path;
use std::process::ExitCode;

use compat_tests::bundle;
use compat_tests::matrix::layout::Layout;
use compat_tests::matrix::platform::Platform;
use compat_tests::matrix::{self, Plan, junit, scenario, table};

const USAGE: &str = "\
usage: compat-tests run [--target T]... [--scenario S]... [--record] [--junit FILE]
       compat-tests list
       compat-tests bundle OUT.tar.gz
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
    let matrix = matrix::run(&layout, &plan)?;
    print!("{}", table::render(&matrix));
    if let Some(file) = args.junit {
        std::fs::write(&file, junit::render(&matrix)).map_err(|e| format!("{file}: {e}"))?;
    }
    Ok(ExitCode::from(u8::from(matrix.failed())))
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
