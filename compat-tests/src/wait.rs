//! Waiting for a condition.

use std::time::{Duration, Instant};

/// Names the time limit, in seconds.
pub const ENV_DEADLINE: &str = "COMPAT_DEADLINE";

/// Far beyond what anything here takes on a loaded machine: reached only when it never happens.
/// [`ENV_DEADLINE`] shortens it for a person who looks for a fault, and lengthens it where a machine is
/// emulated. Scenarios take it from there too, as the limit of each of their cases.
pub fn deadline() -> Duration {
    let named = std::env::var(ENV_DEADLINE)
        .ok()
        .and_then(|v| v.parse().ok());
    Duration::from_secs(named.filter(|s| *s > 0).unwrap_or(120))
}
const STEP: Duration = Duration::from_millis(10);

/// Waits until `condition` gives a value; `None` after `deadline`.
pub fn until<T>(deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(STEP);
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not within [`deadline`]; `what` says what was waited for.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let done = until(deadline(), || condition().then_some(()));
    assert!(
        done.is_some(),
        "waited {:?} in vain for: {what}",
        deadline()
    );
}
