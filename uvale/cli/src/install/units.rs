//! Units of an installation that systemd has been told to start: links that are not ours to remove.

use std::path::{Path, PathBuf};

use super::place::Place;

/// Why nothing can be removed yet: the first unit below the prefix that is enabled, and how it is disabled.
pub fn none_enabled(place: &Place) -> Result<(), String> {
    let own = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    let folders = [
        (
            Some("/etc/systemd/system".into()),
            "system",
            "systemctl disable --now",
        ),
        (
            Some("/etc/systemd/user".into()),
            "user",
            "systemctl --global disable",
        ),
        (
            own.map(|dir| dir.join("systemd/user")),
            "user",
            "systemctl --user disable --now",
        ),
    ];
    for (folder, kind, command) in folders {
        let units = place.path(&Path::new("lib/systemd").join(kind));
        let link = folder.and_then(|folder| find(&folder, &units));
        let Some(link) = link else { continue };
        let unit = link.file_name().unwrap_or_default().to_string_lossy();
        return Err(format!(
            "systemd still starts {unit} from there ({}); nothing was removed: first  {command} {unit}",
            link.display()
        ));
    }
    Ok(())
}

/// A link to one of these units, in a folder of units or in one of those in it, as `sockets.target.wants`.
fn find(folder: &Path, units: &Path) -> Option<PathBuf> {
    let real = |path: &Path| path.canonicalize().ok();
    let units = real(units)?;
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let below = entries(folder).filter(|e| e.path().is_dir() && !e.path().is_symlink());
    let folders = [folder.to_owned()]
        .into_iter()
        .chain(below.map(|e| e.path()));
    let mut links = folders.flat_map(|f| entries(&f).map(|e| e.path()).collect::<Vec<_>>());
    links.find(|link| link.is_symlink() && real(link).is_some_and(|unit| unit.starts_with(&units)))
}
