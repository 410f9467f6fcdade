//! What an earlier run has written.

use std::path::Path;

use super::report::{FORMAT, Report, VERSION};

/// What an earlier run printed by `--json`.
pub fn read(path: &Path) -> Result<Report, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| format!("--compare {name}: {e}"))?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| {
        format!("--compare {name}: this is not what `uvale bench --json` prints: {e}")
    })?;
    if value["format"] != FORMAT {
        return Err(format!(
            "--compare {name}: this is not what `uvale bench --json` prints: it does not say `\"format\": \"{FORMAT}\"`"
        ));
    }
    if value["version"] != VERSION {
        return Err(format!(
            "--compare {name}: it has version {}, and this uvale reads version {VERSION}; measure again with this one",
            value["version"]
        ));
    }
    serde_json::from_value(value).map_err(|e| format!("--compare {name}: {e}"))
}
