//! The configuration file: what the world is like, in netmap's own terms.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use uvale::model::Config;

/// Keys of the file. Each stands for a constant or module parameter of netmap.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// switches that may exist at a time (netmap: 8)
    max_switches: Option<u32>,
}

/// Reads the configuration, or netmap's own values if there is no file.
pub fn load(named: Option<&Path>) -> Result<Config, String> {
    let mut config = Config::default();
    let Some(path) = named.map(Path::to_owned).or_else(found) else {
        return Ok(config);
    };
    let text = std::fs::read_to_string(&path)
        .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let file: File = toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    if let Some(n) = file.max_switches {
        config.max_switches = n;
    }
    Ok(config)
}

/// Refuses what no world can have.
pub fn check(config: &Config) -> Result<(), String> {
    config.check().map_err(|refusal| refusal.why)
}

fn found() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("UVALE_CONFIG").filter(|v| !v.is_empty()) {
        return Some(named.into());
    }
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
    home.map(|dir| dir.join("uvale.toml"))
        .into_iter()
        .chain([PathBuf::from("/etc/uvale.toml")])
        .find(|p| p.is_file())
}
