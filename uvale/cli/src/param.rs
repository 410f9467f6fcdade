//! `uvale ctl param`: netmap's module parameters.

use std::process::ExitCode;

use uvale_link::proto::Report;
use uvale_link::report::Parameter;
use uvale_link::session::Session;
use uvale_system::refusal::Refusal;
use uvale_tools::nearest;

use super::show::fetch;
use super::table::{Align, Table, print, printable};

/// Shows netmap's module parameters, or one of them, or writes one. A daemon starts if there is
/// none.
#[derive(clap::Args)]
pub struct Args {
    /// Show this one only
    name: Option<String>,
    /// Write this value to it
    #[arg(allow_negative_numbers = true)]
    value: Option<String>,
    /// Print the daemon's JSON
    #[arg(long, conflicts_with = "value")]
    json: bool,
}

/// Runs the command in the world of `dir`.
pub fn run(args: &Args, dir: Option<&std::path::Path>) -> Result<ExitCode, String> {
    let dir = dir.map_or_else(uvale_link::place::runtime_dir, std::path::Path::to_owned);
    let session = uvale_link::start::attach(&dir).map_err(|refusal| refusal.why)?;
    match (&args.name, &args.value) {
        (Some(name), Some(value)) => write(&session, name, value)?,
        (name, _) => {
            print(&text(&session, name.as_deref(), args.json)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write(session: &Session, name: &str, value: &str) -> Result<(), String> {
    let written = session.set_parameter(name, value);
    let explain = |refusal: Refusal| match fetch::<Vec<Parameter>>(session, Report::Parameters) {
        Ok((_, all)) => refusal.why + &hint(name, &all),
        Err(_) => refusal.why,
    };
    if let Some(warning) = written.map_err(explain)? {
        eprintln!("uvale: {name} is stored, but no port can be opened with it: {warning}");
    }
    Ok(())
}

fn text(session: &Session, name: Option<&str>, json: bool) -> Result<String, String> {
    let (bytes, all): (_, Vec<Parameter>) = fetch(session, Report::Parameters)?;
    let Some(name) = name else {
        return Ok(if json {
            String::from_utf8_lossy(&bytes).into_owned() + "\n"
        } else {
            table(&all)
        });
    };
    let one = all.iter().find(|p| p.name == name).ok_or_else(|| {
        format!(
            "there is no parameter {}; `uvale ctl param` lists them{}",
            printable(name),
            hint(name, &all)
        )
    })?;
    if json {
        let one = serde_json::to_string(one).map_err(|e| e.to_string())?;
        return Ok(one + "\n");
    }
    Ok(format!("{}\n", one.value))
}

/// The parameter that was meant, if there is none of this name.
fn hint(name: &str, all: &[Parameter]) -> String {
    if all.iter().any(|parameter| parameter.name == name) {
        return String::new();
    }
    nearest::hint(name, all.iter().map(|parameter| parameter.name.as_str()))
}

fn table(all: &[Parameter]) -> String {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("VALUE", Align::Right),
        ("DEFAULT", Align::Right),
        ("WRITE", Align::Left),
        ("EFFECT", Align::Left),
        ("WHAT", Align::Left),
    ]);
    for p in all {
        table.row([
            p.name.clone(),
            p.value.clone(),
            p.default.clone(),
            if p.writable { "yes" } else { "no" }.to_owned(),
            p.effect.clone(),
            p.what.clone(),
        ]);
    }
    table.text()
}
