//! `uvale install`: what a build made, put where programs, compilers, shells and people look for it; and away again.
//!
//! | file | what |
//! |---|---|
//! | `built.rs` | the files of the build |
//! | `contents.rs` | all files, and where each goes |
//! | `place.rs` | files and folders written, and removed |
//! | `record.rs` | what was installed, for its removal |

mod built;
mod contents;
mod place;
mod record;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use built::Built;
use contents::{Entry, Layout};
use place::Place;
use record::Record;
use uvale_tools::output;

/// Of `uvale install`.
pub const HELP: &str = "\
A second installation below the same prefix replaces the first. What lies below --destdir is not
recorded for --uninstall: whatever packs that folder keeps account of its files

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
    let prefix = std::path::absolute(&args.prefix)
        .map_err(|e| format!("{}: {}", args.prefix.display(), output::plain(&e)))?;
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
        return install(&Place::new(&prefix), &entries);
    };
    let below = prefix.strip_prefix("/").unwrap_or(&prefix);
    let place = Place::new(&destdir.join(below));
    write(&place, &entries)?;
    Ok(ExitCode::SUCCESS)
}

/// Installs with a record, and removes what an older version had there and this one has not.
fn install(place: &Place, entries: &[Entry]) -> Result<ExitCode, String> {
    let before = Record::read(place)?.unwrap_or_default();
    let foreign = entries
        .iter()
        .find(|entry| !before.has(&entry.path) && place.holds(&entry.path));
    if let Some(entry) = foreign {
        return Err(format!(
            "{} is there, and not from uvale install, which would replace it now and remove it later; nothing was \
             installed: move it away, or choose another --prefix",
            place.path(&entry.path).display()
        ));
    }
    let mut record = Record::default();
    for entry in entries {
        record.add(place, &before, &entry.path);
    }
    record.add(place, &before, Path::new(record::FILE));
    // before anything else: an installation that fails half way can be removed
    record.merged(&before).write(place)?;
    write(place, entries)?;
    let gone = before.without(&record);
    gone.remove(place)?;
    record.write(place)?;
    Ok(ExitCode::SUCCESS)
}

fn write(place: &Place, entries: &[Entry]) -> Result<(), String> {
    for entry in entries {
        place.put(entry)?;
        output::write(&format!("{}\n", place.path(&entry.path).display()))?;
    }
    let shown = place.root().display();
    let version = env!("CARGO_PKG_VERSION");
    output::write(&format!("installed uvale {version} below {shown}\n"))
}

fn uninstall(place: &Place) -> Result<ExitCode, String> {
    let Some(record) = Record::read(place)? else {
        return Err(format!(
            "{} is not there: uvale install has installed nothing below {}",
            place.path(Path::new(record::FILE)).display(),
            place.root().display()
        ));
    };
    for path in record.remove(place)? {
        output::write(&format!("{}\n", path.display()))?;
    }
    output::write(&format!("removed uvale from {}\n", place.root().display()))?;
    Ok(ExitCode::SUCCESS)
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
