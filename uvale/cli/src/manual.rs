//! Manual pages and completions, made of what clap knows of the commands.

mod ports;
mod synopsis;

use std::path::Path;
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use uvale_tools::output;

use super::help::EXAMPLES;

/// A manual page.
pub struct Page {
    /// Its file: `uvale-run.1`.
    pub name: String,
    /// roff
    pub text: Vec<u8>,
}

/// `uvale man [FOLDER]`.
pub fn write(cli: &Command, folder: Option<&Path>) -> Result<ExitCode, String> {
    let pages = pages(cli)?;
    let Some(folder) = folder else {
        let first = pages.first().ok_or("there is no page")?;
        output::write(&String::from_utf8_lossy(&first.text))?;
        return Ok(ExitCode::SUCCESS);
    };
    let fail = |path: &Path, e: &std::io::Error| {
        format!("{} cannot be written: {}", path.display(), output::plain(e))
    };
    std::fs::create_dir_all(folder).map_err(|e| fail(folder, &e))?;
    for page in pages {
        let path = folder.join(page.name);
        std::fs::write(&path, page.text).map_err(|e| fail(&path, &e))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `uvale completions SHELL`.
pub fn completions(cli: &Command, shell: Shell) -> Result<ExitCode, String> {
    output::write(&String::from_utf8_lossy(&completion(cli, shell)))?;
    Ok(ExitCode::SUCCESS)
}

/// What makes the shell complete.
pub fn completion(cli: &Command, shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut cli.clone(), "uvale", &mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    ports::with_names(text, shell, cli).into_bytes()
}

/// The page of `uvale`, then one for each command that `--help` lists.
pub fn pages(cli: &Command) -> Result<Vec<Page>, String> {
    let mut cli = cli.clone().disable_help_subcommand(true);
    cli.build();
    let source = format!("uvale {}", cli.get_version().unwrap_or_default());
    let mut pages = Vec::new();
    add_pages(&cli, &source, &[], &mut pages)
        .map_err(|e| format!("the manual pages cannot be made: {e}"))?;
    Ok(pages)
}

fn add_pages(
    command: &Command,
    source: &str,
    above: &[&str],
    pages: &mut Vec<Page>,
) -> std::io::Result<()> {
    let name = [above, &[command.get_name()]].concat();
    let subcommands = || command.get_subcommands().filter(|c| !c.is_hide_set());
    let man = Man::new(command.clone())
        .title(name.join("-").to_uppercase())
        .source(source)
        .manual("netmap in userspace");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    text.extend(synopsis::of(command, &name).render().into_bytes());
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if subcommands().next().is_some() {
        man.render_subcommands_section(&mut text)?;
    }
    text.extend(rest(command, &name).render().into_bytes());
    pages.push(Page {
        name: format!("{}.1", name.join("-")),
        text,
    });
    for subcommand in subcommands() {
        add_pages(subcommand, source, &name, pages)?;
    }
    Ok(())
}

/// What stands below the options: notes, exit status, examples; and the page above.
fn rest(command: &Command, name: &[&str]) -> Roff {
    const STATUS: &str = "Exit status: ";
    let below = command.get_after_help().map(ToString::to_string);
    let below = below.unwrap_or_default();
    let (notes, examples) = below.split_once(EXAMPLES).unwrap_or((&below, ""));
    let (status, notes): (Vec<&str>, Vec<&str>) = notes
        .lines()
        .filter(|line| !line.is_empty())
        .partition(|line| line.starts_with(STATUS));
    let status: Vec<&str> = status
        .iter()
        .flat_map(|line| each_status(&line[STATUS.len()..]))
        .collect();
    let examples: Vec<&str> = examples.lines().collect();
    let mut roff = Roff::new();
    for (heading, lines) in [
        ("NOTES", notes),
        ("EXIT STATUS", status),
        ("EXAMPLES", examples),
    ] {
        if lines.is_empty() {
            continue;
        }
        roff.control("SH", [heading]);
        roff.control("nf", []);
        for line in lines {
            roff.text([roman(line.trim_start())]);
        }
        roff.control("fi", []);
    }
    if let [above @ .., _] = name
        && !above.is_empty()
    {
        let above = above.join("-");
        roff.control("SH", ["SEE ALSO"]);
        roff.text([roman(format!("{above}(1)"))]);
    }
    roff
}

/// The parts of `0 done, 1 an error, 3 packets missing, lost or twice`: each begins with a number.
fn each_status(line: &str) -> Vec<&str> {
    let begins = |at: &usize| line[*at + 2..].starts_with(|c: char| c.is_ascii_digit());
    let commas = line.match_indices(", ").map(|(at, _)| at).filter(begins);
    let (mut parts, mut start) = (Vec::new(), 0);
    for at in commas {
        parts.push(&line[start..at]);
        start = at + 2;
    }
    parts.push(&line[start..]);
    parts
}

#[cfg(test)]
mod tests;
