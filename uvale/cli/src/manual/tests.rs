use clap::{CommandFactory, Parser};

use super::*;
use crate::Cli;

/// Commands that no person types.
const STARTED_BY_OTHERS: [&str; 4] = ["nic-runner", "ptnet-driver", "test-run", "become"];

/// All commands with their names from `uvale` on.
fn commands() -> Vec<(String, Command)> {
    fn add(command: &Command, above: &str, all: &mut Vec<(String, Command)>) {
        let name = format!("{above}{}", command.get_name());
        for subcommand in command.get_subcommands() {
            add(subcommand, &format!("{name} "), all);
        }
        all.push((name, command.clone()));
    }
    let mut all = Vec::new();
    add(&Cli::command(), "", &mut all);
    all
}

fn examples(command: &Command) -> Option<Vec<String>> {
    let below = command.get_after_help()?.to_string();
    let (_, examples) = below.split_once(EXAMPLES)?;
    Some(examples.lines().map(str::to_owned).collect())
}

/// The simple commands of a line for a shell, without what they are redirected to.
fn simple_commands(line: &str) -> Vec<Vec<String>> {
    let mut quote = None;
    let split = |c: char| {
        match quote {
            Some(open) if open == c => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            _ => {}
        }
        quote.is_none() && "|&;".contains(c)
    };
    line.split(split)
        .map(|part| part.split(" > ").next().unwrap_or_default())
        .filter_map(shlex::split)
        .filter(|words| !words.is_empty())
        .collect()
}

#[test]
fn lines_are_taken_apart_as_a_shell_does() {
    let line = "a 'b; c' -w - | d x > y && e & f";
    let words = simple_commands(line);
    assert_eq!(
        words,
        [&["a", "b; c", "-w", "-"][..], &["d", "x"], &["e"], &["f"]]
    );
}

#[test]
fn help_ends_with_examples_that_are_valid() {
    let mut faults = Vec::new();
    let mut count = 0;
    for (name, command) in commands() {
        if STARTED_BY_OTHERS.contains(&command.get_name()) {
            assert!(command.is_hide_set(), "{name}");
            continue;
        }
        let lines = examples(&command).unwrap_or_default();
        if !lines.iter().any(|line| line.contains(&name)) {
            faults.push(format!("{name}: no example of it"));
        }
        for line in lines {
            if !line.starts_with("  ") || line.chars().count() > 98 {
                faults.push(format!(
                    "{name}: two blanks, then at most 96 characters: {line:?}"
                ));
            }
            for words in simple_commands(&line) {
                if words[0] != "uvale" {
                    continue;
                }
                count += 1;
                if let Err(e) = Cli::try_parse_from(&words) {
                    faults.push(format!("{name}: {line}: {e}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count > 40, "{count}");
}

#[test]
fn every_command_has_a_page_with_its_options_and_examples() {
    let pages = pages(&Cli::command()).unwrap();
    let text = |name: &str| {
        let page = pages.iter().find(|p| p.name == name);
        page.map(|p| String::from_utf8(p.text.clone()).unwrap())
    };
    for (name, command) in commands() {
        let page = text(&format!("{}.1", name.replace(' ', "-")));
        let is_hidden = command.is_hide_set();
        assert_eq!(page.is_none(), is_hidden, "{name}");
        let Some(page) = page else { continue };
        for line in examples(&command).unwrap() {
            let escaped = line.trim().replace('\\', "\\\\").replace('-', "\\-");
            // characters that roff would take for something else are written by name
            let escaped = escaped.replace('\'', "\\*(Aq");
            assert!(page.contains(&escaped), "{name}: {escaped}\n{page}");
        }
        let long = |o: &clap::Arg| o.get_long().map(str::to_owned);
        for option in command
            .get_opts()
            .filter(|o| !o.is_hide_set())
            .filter_map(long)
        {
            let option = format!("\\-\\-{}", option.replace('-', "\\-"));
            assert!(page.contains(&option), "{name}: {option}");
        }
    }
    let synopsis = |name: &str| {
        let page = text(name).unwrap().replace(['\u{a0}'], " ");
        let (_, rest) = page.split_once(".SH SYNOPSIS\n").unwrap();
        let lines = rest.split(".SH").next().unwrap().lines();
        let line: String = lines.filter(|l| !l.starts_with('.')).collect();
        ["\\fR", "\\fB", "\\fI", "\\"]
            .iter()
            .fold(line, |line, font| line.replace(font, ""))
    };
    let wait = synopsis("uvale-wait.1");
    assert_eq!(
        wait,
        "uvale wait [-t|--timeout SECONDS] [--gone] [--dir DIR] PORT..."
    );
    assert!(
        synopsis("uvale-gen.1").ends_with(" -i PORT"),
        "{}",
        synopsis("uvale-gen.1")
    );
    assert!(synopsis("uvale-vm.1").ends_with("uvale vm COMMAND ..."));
    let gen_page = text("uvale-gen.1").unwrap();
    assert!(
        gen_page.contains(".SH \"EXIT STATUS\"")
            && gen_page.contains("\n3 packets missing, lost or twice\n")
    );
    assert!(
        gen_page.contains(".SH \"SEE ALSO\"\nuvale(1)"),
        "{gen_page}"
    );
}

#[test]
fn completions_name_the_commands() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let text = String::from_utf8(completion(&Cli::command(), shell)).unwrap();
        for name in ["capture", "fdb", "install"] {
            assert!(text.contains(name), "{shell}: {name}");
        }
    }
}
