//! The synopsis of a manual page: each option with its value, as one would type it.

use clap::{Arg, ArgAction, Command};
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

/// Of a command with its name from `uvale` on.
pub fn of(command: &Command, name: &[&str]) -> Roff {
    let (positionals, options): (Vec<&Arg>, Vec<&Arg>) = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && arg.get_id() != "help")
        .partition(|arg| arg.is_positional());
    // what has to be there comes last, and then what is no option
    let (needed, free): (Vec<&Arg>, Vec<&Arg>) =
        options.iter().partition(|arg| arg.is_required_set());
    let mut line = vec![bold(name.join(" "))];
    for arg in free.into_iter().chain(needed).chain(positionals) {
        line.push(roman(" "));
        line.extend(argument(arg));
    }
    if command.get_subcommands().any(|c| !c.is_hide_set()) {
        line.extend([roman(" "), italic("COMMAND"), roman(" ...")]);
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    // ragged, and no word in two
    roff.control("nh", []);
    roff.control("ad", ["l"]);
    roff.text(line);
    roff.control("ad", []);
    roff.control("hy", []);
    roff
}

fn argument(arg: &Arg) -> Vec<Inline> {
    let is_needed = arg.is_required_set();
    let mut parts = Vec::new();
    if !is_needed {
        parts.push(roman("["));
    }
    let short = arg.get_short().map(|c| format!("-{c}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    for (i, spelt) in short.into_iter().chain(long).enumerate() {
        if i > 0 {
            parts.push(roman("|"));
        }
        parts.push(bold(spelt));
    }
    if arg.get_action().takes_values() {
        let names = arg.get_value_names().unwrap_or_default();
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        let may_be_left_out = arg
            .get_num_args()
            .is_some_and(|range| range.min_values() == 0);
        let (before, after) = match (arg.is_positional(), may_be_left_out) {
            (true, _) => ("", ""),
            // a blank that no line ends at
            (false, false) => ("\u{a0}", ""),
            (false, true) if arg.is_require_equals_set() => ("[=", "]"),
            (false, true) => ("\u{a0}[", "]"),
        };
        parts.extend([roman(before), italic(names.join(" ")), roman(after)]);
    }
    if !is_needed {
        parts.push(roman("]"));
    }
    let many = arg
        .get_num_args()
        .is_some_and(|range| range.max_values() > range.min_values().max(1));
    if many || matches!(arg.get_action(), ArgAction::Append | ArgAction::Count) {
        parts.push(roman("..."));
    }
    parts
}
