//! `uvale install`: what a build made, put where programs, compilers, shells and people look for it; and away again.
//!
//! | file | what |
//! |---|---|
//! | `built.rs` | the files of the build |
//! | `contents.rs` | all files, and where each goes |
//! | `place.rs` | files and folders written, and removed |
//! | `record.rs` | what was installed, for its removal |
//! | `units.rs` | which units systemd still starts |

mod built;
mod contents;
mod place;
mod record;
mod units;

use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use built::Built;
use contents::{Entry, Layout};
use place::{Mark, Place};
use record::{Kept, Record};
use uvale_tools::output;

/// Of `uvale install`.
pub const HELP: &str = "\
A second installation below the same prefix replaces the first. Files that somebody has changed are
neither replaced nor removed, and said. What lies below --destdir is not recorded for --uninstall:
whatever packs that folder keeps account of its files

Examples:
  uvale install --prefix ~/netmap
  uvale install --prefix ~/netmap --uninstall
  uvale install --prefix /usr --layout debian --destdir ./package";

/// Installs programs, libraries, headers, pkg-config files, manual pages, completions and systemd units below a
/// prefix, and lists what it has written.
#[derive(clap::Args)]
pub struct Args {
    /// Folder below which everything goes
    #[arg(long, value_name = "DIR", default_value = "/usr/local")]
    prefix: PathBuf,
    /// Folder in front of the prefix, for packages
    #[arg(long, value_name = "DIR")]
    destdir: Option<PathBuf>,
    /// Where things are below the prefix
    #[arg(long, value_enum, default_value_t = Layout::Plain)]
    layout: Layout,
    /// Folder of the built files [default: that of this program]
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Remove what was installed below the prefix, and nothing else
    #[arg(long, conflicts_with_all = ["destdir", "layout", "from"])]
    uninstall: bool,
}

/// Runs the command.
pub fn run(args: Args, cli: &clap::Command) -> Result<ExitCode, String> {
    let prefix = whole(&args.prefix, args.destdir.is_some())?;
    if args.uninstall {
        return uninstall(&Place::new(&prefix));
    }
    is_plain(&prefix)?;
    let built = match &args.from {
        Some(folder) => Built::find(folder)?,
        None => Built::of_this_program()?,
    };
    for left_out in built.left_out() {
        output::line(format_args!("uvale install: left out: {left_out}"));
    }
    let entries = contents::entries(&built, &prefix, args.layout, cli)?;
    let Some(destdir) = &args.destdir else {
        let place = Place::new(&prefix);
        return alone(&place, |made| install(&place, &entries, made), &entries);
    };
    let destdir = std::path::absolute(destdir).map_err(|e| shown(destdir, &e))?;
    let place = Place::below(&destdir, &prefix);
    alone(&place, |made| pack(&place, &entries, made), &entries)
}

/// Makes the prefix, is alone in it, and takes folders away again that were made for nothing.
fn alone(
    place: &Place,
    work: impl FnOnce(&mut Vec<PathBuf>) -> Result<Vec<Kept>, String>,
    entries: &[Entry],
) -> Result<ExitCode, String> {
    let mut made = Vec::new();
    let done = place.make(&mut made).and_then(|_lock| work(&mut made));
    let kept = done.inspect_err(|_| {
        for folder in made.iter().rev() {
            let _ = std::fs::remove_dir(folder);
        }
    })?;
    say_kept(&kept);
    let mut text = String::new();
    for entry in entries {
        let _ = writeln!(text, "{}", place.path(&entry.path).display());
    }
    let (version, root) = (env!("CARGO_PKG_VERSION"), place.root().display());
    output::write(&format!("{text}installed uvale {version} below {root}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes files for a package: without a record, over what is there.
fn pack(place: &Place, entries: &[Entry], made: &mut Vec<PathBuf>) -> Result<Vec<Kept>, String> {
    prepare(place, entries, made)?;
    finish(place, entries)?;
    Ok(Vec::new())
}

/// Installs with a record, and removes what an older version had there and this one has not. If it fails before all
/// files are written beside those that they are to replace, nothing has happened. If it is killed, or fails later, the
/// record names all that may be there, for a second try or for the removal.
fn install(place: &Place, entries: &[Entry], made: &mut Vec<PathBuf>) -> Result<Vec<Kept>, String> {
    let nothing = |why| format!("{why}; nothing was installed");
    let before = Record::read(place).map_err(nothing)?.unwrap_or_default();
    let mut record = Record::default();
    for entry in entries {
        is_free(place, &before, &entry.path).map_err(nothing)?;
        record.add_folders(place, &before, made, &entry.path);
    }
    record.add_folders(place, &before, made, Path::new(record::FILE));
    // which files there may be, from now on
    let mut names = record.clone();
    for entry in entries {
        names.add(&entry.path, record::UNKNOWN.into());
    }
    put(place, &names.merged(&before).entry(), made).map_err(nothing)?;
    let prepared = prepare(place, entries, made).and_then(|files| {
        for (entry, mark) in entries.iter().zip(files) {
            record.add(&entry.path, mark);
        }
        put(place, &record.merged(&before).entry(), made)
    });
    if let Err(why) = prepared {
        forget(place, entries);
        // if there is no room for the old one, the new one names what may be there
        let _ = match before.is_empty() {
            true => place.remove(Path::new(record::FILE)).map(|_| ()),
            false => put(place, &before.entry(), made),
        };
        return Err(nothing(why));
    }
    let rest = || -> Result<Vec<Kept>, String> {
        finish(place, entries)?;
        let gone = before.without(&record);
        let (_, kept) = gone.remove(place)?;
        put(place, &record.entry(), &mut Vec::new())?;
        gone.remove_folders(place)?;
        Ok(kept)
    };
    rest().map_err(|why| {
        let prefix = place.root().display();
        format!(
            "{why}; a part is installed: mend that and do the same again, or remove it: uvale install --uninstall \
             --prefix {prefix}"
        )
    })
}

/// Is there nothing that belongs to others where a file goes?
fn is_free(place: &Place, before: &Record, path: &Path) -> Result<(), String> {
    let Some(mark) = place.mark(path)? else {
        return Ok(());
    };
    if before.is(path, &mark) {
        return Ok(());
    }
    let shown = place.path(path);
    let shown = shown.display();
    Err(match before.has(path) {
        true => format!(
            "{shown} has been changed since it was installed, and would be replaced: move it away"
        ),
        false => format!(
            "{shown} is there, and not from uvale install, which would replace it now and remove it later: move it \
             away, or choose another --prefix"
        ),
    })
}

/// Writes all files beside those that they are to replace; what they are.
fn prepare(place: &Place, entries: &[Entry], made: &mut Vec<PathBuf>) -> Result<Vec<Mark>, String> {
    let all = entries.iter().map(|entry| place.prepare(entry, made));
    all.collect::<Result<_, _>>()
        .inspect_err(|_| forget(place, entries))
}

fn forget(place: &Place, entries: &[Entry]) {
    for entry in entries {
        place.forget(&entry.path);
    }
}

fn finish(place: &Place, entries: &[Entry]) -> Result<(), String> {
    entries
        .iter()
        .try_for_each(|entry| place.take_name(&entry.path))
}

/// Writes one file.
fn put(place: &Place, entry: &Entry, made: &mut Vec<PathBuf>) -> Result<(), String> {
    let done = place
        .prepare(entry, made)
        .and_then(|_| place.take_name(&entry.path));
    done.inspect_err(|_| place.forget(&entry.path))
}

fn say_kept(kept: &[Kept]) {
    for Kept { path, why } in kept {
        output::line(format_args!(
            "uvale install: kept {}: {why}",
            path.display()
        ));
    }
}

fn uninstall(place: &Place) -> Result<ExitCode, String> {
    let nothing = || {
        format!(
            "{} is not there: uvale install has installed nothing below {}",
            place.path(Path::new(record::FILE)).display(),
            place.root().display()
        )
    };
    if !place.root().exists() {
        return Err(nothing());
    }
    let _lock = place.lock()?;
    let record = Record::read(place)?.ok_or_else(nothing)?;
    units::none_enabled(place)?;
    let (mut removed, kept) = record
        .remove(place)
        .map_err(|why| format!("{why}; do the same again then, to remove what is left"))?;
    // the last, so that a removal that fails can be done again
    let file = Path::new(record::FILE);
    place.forget(file);
    if place.remove(file)? {
        removed.push(place.path(file));
    }
    removed.extend(record.remove_folders(place)?);
    say_kept(&kept);
    let mut text = String::new();
    for path in removed {
        let _ = writeln!(text, "{}", path.display());
    }
    output::write(&format!(
        "{text}removed uvale from {}\n",
        place.root().display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The prefix from the root on. A `..` in it is followed where it can be: from a folder that is there.
fn whole(prefix: &Path, for_package: bool) -> Result<PathBuf, String> {
    let given = prefix.display();
    let is_up = |c: Component| c == Component::ParentDir;
    if for_package && (prefix.is_relative() || prefix.components().any(is_up)) {
        return Err(format!(
            "--prefix {given} with --destdir: the prefix is where the package's files will be, from the root on and \
             without \"..\", such as /usr"
        ));
    }
    let absolute = std::path::absolute(prefix).map_err(|e| shown(prefix, &e))?;
    let names: Vec<Component> = absolute.components().collect();
    let Some(last) = names.iter().rposition(|c| is_up(*c)) else {
        return Ok(absolute);
    };
    let there: PathBuf = names[..=last].iter().collect();
    let there = there.canonicalize().map_err(|e| shown(&there, &e))?;
    Ok(there.join(names[last + 1..].iter().collect::<PathBuf>()))
}

fn shown(path: &Path, e: &std::io::Error) -> String {
    format!("{}: {}", path.display(), output::plain(e))
}

/// The prefix is written into files in which blanks and the like mean something: pkg-config's, systemd's, and
/// `LD_PRELOAD`.
fn is_plain(prefix: &Path) -> Result<(), String> {
    let shown = prefix.display().to_string();
    let is_fine = |c: char| c.is_alphanumeric() || "/._+-~@,=".contains(c);
    match prefix
        .to_str()
        .and_then(|p| p.chars().find(|c| !is_fine(*c)))
    {
        None if prefix.to_str().is_some() => Ok(()),
        Some(c) => Err(format!(
            "{c:?} in {shown}: the loader, pkg-config or systemd would misread it; choose another prefix"
        )),
        None => Err(format!("{shown} is not UTF-8; choose another prefix")),
    }
}
