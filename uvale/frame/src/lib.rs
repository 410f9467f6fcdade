//! Frames for tests: made from fields, compared layer by layer, filtered.
#![forbid(unsafe_code)]

/// Fields of a frame with their values: nested as TOML has them, `{"ip": {"ttl": 63}}`, or with dots, `ip.ttl`.
pub type Fields = serde_json::Map<String, serde_json::Value>;
