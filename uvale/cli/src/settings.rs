//! The configuration file of a world, in netmap's own terms.

use std::path::{Path, PathBuf};

use toml::{Table, Value};
use uvale_control::Config;
use uvale_link::environment;
use uvale_shared::shm::Huge;

/// netmap calls it `max_bridges`.
const MAX_SWITCHES: &str = "max_switches";

/// Where `--metrics` listens.
const METRICS: &str = "metrics";

/// `--huge-pages` and `--numa-node`.
const HUGE_PAGES: &str = "huge_pages";
const NUMA_NODE: &str = "numa_node";

/// What the file says.
#[derive(Debug, Default, PartialEq)]
pub struct Settings {
    /// what the world is like
    pub config: Config,
    /// where metrics are served
    pub metrics: Option<String>,
}

/// Reads the configuration; netmap's own values if there is no file.
pub fn load(named: Option<&Path>) -> Result<Settings, String> {
    let mut settings = Settings::default();
    let Some(path) = named.map(Path::to_owned).or_else(found) else {
        return Ok(settings);
    };
    let text = std::fs::read_to_string(&path)
        .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    apply(&mut settings, &text).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(settings)
}

/// Each key of the file is a module parameter of netmap, or one of those above.
fn apply(settings: &mut Settings, text: &str) -> Result<(), String> {
    let Settings { config, metrics } = settings;
    let file: Table = text.parse().map_err(|e: toml::de::Error| e.to_string())?;
    for (key, value) in &file {
        if key == METRICS {
            let address = value.as_str();
            let address = address.ok_or("metrics takes an address, such as \"127.0.0.1:9464\"")?;
            *metrics = Some(address.to_owned());
            continue;
        }
        if key == HUGE_PAGES {
            let word = value.as_str().unwrap_or_default();
            config.pages.huge = Huge::of(word).map_err(|why| format!("{key}: {why}"))?;
            continue;
        }
        if key == NUMA_NODE {
            let node = value.as_integer().and_then(|n| u32::try_from(n).ok());
            config.pages.node = Some(node.ok_or("numa_node takes the number of a node")?);
            continue;
        }
        let name = if key == MAX_SWITCHES {
            "max_bridges"
        } else {
            key
        };
        let text = match value {
            Value::Integer(n) => n.to_string(),
            Value::Boolean(true) => "1".to_owned(),
            Value::Boolean(false) => "0".to_owned(),
            other => return Err(format!("{key} takes a number, not a {}", other.type_str())),
        };
        config
            .set_parameter(name, &text)
            .map_err(|refusal| refusal.why)?;
    }
    Ok(())
}

/// Refuses values that no world can have.
pub fn check(config: &Config) -> Result<(), String> {
    config.check().map_err(|refusal| refusal.why)
}

fn found() -> Option<PathBuf> {
    if let Some(named) = environment::get(uvale_link::environment::ENV_CONFIG) {
        return Some(named.into());
    }
    let home = environment::get("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| environment::get("HOME").map(|home| Path::new(&home).join(".config")));
    home.map(|dir| dir.join("uvale.toml"))
        .into_iter()
        .chain([PathBuf::from("/etc/uvale.toml")])
        .find(|p| p.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let mut settings = Settings::default();
        apply(&mut settings, text).map(|()| settings.config)
    }

    #[test]
    fn keys_are_parameters() {
        let config = read(
            "# memory\nbuf_size = 4096\npriv_ring_num = 0x10\n\nmax_switches = 20\n\
             verbose = 1\nptnet_gso = false\nbridge_batch = -1\n",
        )
        .unwrap();
        assert_eq!(config.global.buf.size, 4096);
        assert_eq!(config.private.ring.num, 16);
        assert_eq!(config.max_switches, 20);
        assert_eq!((config.knobs.verbose, config.knobs.ptnet_gso), (1, false));
        assert_eq!(config.knobs.bridge_batch, -1);
        assert_eq!(read("max_bridges = 9").unwrap().max_switches, 9);
        assert_eq!(read("").unwrap(), Config::default());
        let pages = read("huge_pages = \"auto\"\nnuma_node = 1").unwrap().pages;
        assert_eq!((pages.huge, pages.node), (Huge::Auto, Some(1)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("bufsize = 1", "bufsize"),
            ("buf_size = \"1\"", "buf_size takes a number"),
            ("buf_size = 1.5", "buf_size takes a number"),
            ("buf_size = 3000000000", "buf_size takes a number from"),
            ("max_bridges = -1", "max_bridges takes a number from"),
            ("buf_curr_size = 1", "buf_curr_size cannot be written"),
            ("[memory]\nbuf_size = 1", "memory takes a number"),
            ("buf_size", "key"),
            ("metrics = 9464", "metrics takes an address"),
            (
                "huge_pages = true",
                "huge pages are off, auto, hugetlb or thp",
            ),
            ("huge_pages = \"2M\"", "not '2M'"),
            ("numa_node = -1", "the number of a node"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
