//! Completion of ports by name: what clap's scripts do not know, the world at that moment does.

use std::fmt::Write as _;

use clap::{Arg, Command};
use clap_complete::Shell;

/// What prints the names: nothing, and soon, where no daemon answers.
const NAMES: &str = "UVALE_PATIENCE=1 uvale ports --names 2>/dev/null";

/// A command that takes ports.
struct Taker {
    /// its name, from `uvale` on: `vm`, `vhost`
    path: Vec<String>,
    /// options before a port: `-i`, `--port`
    options: Vec<String>,
    /// options before something else
    others: Vec<String>,
    /// what is no option and a port
    positionals: Vec<String>,
}

/// A script of clap's, with names of ports where one is wanted.
pub fn with_names(script: String, shell: Shell, cli: &Command) -> String {
    let takers = takers(cli);
    match shell {
        Shell::Bash => bash(script, &takers),
        Shell::Zsh => zsh(script, &takers),
        Shell::Fish => script + &fish(&takers),
        _ => script,
    }
}

fn takers(cli: &Command) -> Vec<Taker> {
    fn add(command: &Command, path: &[String], all: &mut Vec<Taker>) {
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let path = [path, &[sub.get_name().to_owned()]].concat();
            let args: Vec<&Arg> = sub.get_arguments().filter(|arg| is_port(arg)).collect();
            let (positionals, options): (Vec<&Arg>, _) =
                args.iter().partition(|a| a.is_positional());
            if !args.is_empty() {
                all.push(Taker {
                    path: path.clone(),
                    others: sub
                        .get_opts()
                        .filter(|arg| arg.get_action().takes_values() && !is_port(arg))
                        .flat_map(spelt)
                        .collect(),
                    options: options.iter().flat_map(|arg| spelt(arg)).collect(),
                    positionals: positionals.iter().map(|a| a.get_id().to_string()).collect(),
                });
            }
            add(sub, &path, all);
        }
    }
    let mut all = Vec::new();
    add(cli, &[], &mut all);
    all
}

fn is_port(arg: &Arg) -> bool {
    let named = arg.get_value_names().unwrap_or_default();
    let id = arg.get_id().as_str();
    named.iter().any(|name| name.as_str() == "PORT") || named.is_empty() && id == "ports"
}

fn spelt(arg: &Arg) -> Vec<String> {
    let short = arg.get_short().map(|c| format!("-{c}"));
    let long = arg.get_long().map(|name| format!("--{name}"));
    short.into_iter().chain(long).collect()
}

/// bash takes a colon for the end of a word, and names have one: what stands before it is there already.
fn bash(script: String, takers: &[Taker]) -> String {
    let mut cases = String::new();
    for taker in takers {
        let (path, options) = (taker.path.join(" "), taker.options.join(" "));
        let anywhere = match taker.positionals.is_empty() {
            true => String::new(),
            false => format!(" anywhere=yes others=\" {} \"", taker.others.join(" ")),
        };
        let _ = writeln!(
            cases,
            "    \"{path} \"*) options=\" {options} \"{anywhere} ;;"
        );
    }
    let more = format!(
        r#"
_uvale_and_ports() {{
    _uvale "$@"
    local line=${{COMP_LINE:0:COMP_POINT}} words options others anywhere= name
    read -ra words <<<"$line"
    [[ $line != *[[:space:]] ]] || words+=("")
    local cur=${{words[@]: -1}} prev=${{words[@]: -2:1}}
    case "${{words[*]:1}}" in
{cases}    *) return ;;
    esac
    if [[ $options != *" $prev "* ]]; then
        [[ $anywhere && $cur != -* && $others != *" $prev "* ]] || return
    fi
    local there=
    if [[ $COMP_WORDBREAKS == *:* && $cur == *:* ]]; then
        there=${{cur%:*}}: COMPREPLY=()
    fi
    while read -r name; do
        [[ $name != "$cur"* ]] || COMPREPLY+=("${{name:${{#there}}}}")
    done < <({NAMES})
}}
"#
    );
    // before what says which function completes
    let at = script
        .rfind("\nif [[ \"${BASH_VERSINFO")
        .unwrap_or(script.len());
    let (functions, rest) = script.split_at(at);
    format!(
        "{functions}{more}{}",
        rest.replace("complete -F _uvale ", "complete -F _uvale_and_ports ")
    )
}

fn zsh(script: String, takers: &[Taker]) -> String {
    const ANY: &str = ":_default' \\";
    let ids: Vec<&String> = takers.iter().flat_map(|taker| &taker.positionals).collect();
    let is_port = |line: &str| {
        let word = line.trim_start_matches(['\'', '*', ':']);
        line.ends_with(":PORT:_default' \\")
            || ids.iter().any(|id| word.starts_with(&format!("{id} -- ")))
    };
    let mut text = String::new();
    for line in script.lines() {
        match line.strip_suffix(ANY).filter(|_| is_port(line)) {
            Some(line) => text.push_str(&format!("{line}:_uvale_port_names' \\")),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    let function = format!(
        "_uvale_port_names() {{\n    local -a names\n    names=(${{(f)\"$({NAMES})\"}})\n    \
         compadd \"$@\" -a names\n}}\n\n"
    );
    let at = text.rfind("if [ \"$funcstack[1]\"").unwrap_or(text.len());
    text.insert_str(at, &function);
    text
}

fn fish(takers: &[Taker]) -> String {
    let mut text = String::new();
    for taker in takers {
        let mut when = format!("__fish_uvale_using_subcommand {}", taker.path[0]);
        for name in &taker.path[1..] {
            let _ = write!(when, "; and __fish_seen_subcommand_from {name}");
        }
        let complete = format!("complete -c uvale -n \"{when}\"");
        for option in &taker.options {
            let option = match option.strip_prefix("--") {
                Some(long) => format!("-l {long}"),
                None => format!("-s {}", option.trim_start_matches('-')),
            };
            let _ = writeln!(text, "{complete} {option} -x -a '(env {NAMES})'");
        }
        if !taker.positionals.is_empty() {
            let _ = writeln!(text, "{complete} -f -a '(env {NAMES})'");
        }
    }
    text
}
