//! Messages of 60 bytes by iceoryx2: a process that publishes and one that subscribes, both spinning. A build has it
//! with the feature `iceoryx2`: the crate takes minutes to build, and needs libclang for that.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::board::Stage;
use super::temporary::Removed;

/// One of the two.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    /// a directory in which the two find each other
    root: PathBuf,
    pub sends: bool,
}

/// Where the two find each other; what they leave there and in shared memory goes with it.
pub struct Meeting(Removed);

impl Meeting {
    /// A place that nobody else knows.
    pub fn new() -> Result<Self, String> {
        Removed::new().map(Self)
    }

    /// One of the two who meet.
    pub fn end(&self, sends: bool) -> End {
        End {
            root: self.0.0.clone(),
            sends,
        }
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        let prefix = prefix(&self.0.0);
        for entry in std::fs::read_dir("/dev/shm")
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// What names in shared memory begin with.
fn prefix(root: &Path) -> String {
    let name = root.file_name().unwrap_or_default();
    format!("{}_", name.to_string_lossy())
}

/// Why this build has nothing to measure.
pub fn missing() -> Option<&'static str> {
    let why = "built without the feature iceoryx2 (cargo build -p uvale --features iceoryx2)";
    (!cfg!(feature = "iceoryx2")).then_some(why)
}

/// Publishes, or takes what is published.
#[cfg(not(feature = "iceoryx2"))]
pub fn perform(_: &Stage<'_>, _: &End) -> Result<(), String> {
    Err(missing().unwrap_or_default().into())
}

/// Publishes, or takes what is published.
#[cfg(feature = "iceoryx2")]
pub fn perform(stage: &Stage<'_>, end: &End) -> Result<(), String> {
    built::perform(stage, end).map_err(|e| format!("iceoryx2: {e}"))
}

#[cfg(feature = "iceoryx2")]
mod built {
    use std::error::Error;
    use std::hint::black_box;
    use std::os::unix::ffi::OsStrExt;

    use iceoryx2::prelude::*;

    use super::{End, Stage, prefix};
    use crate::board::SLOTS;
    use crate::messages::{LEN, ROUND};

    pub fn perform(stage: &Stage<'_>, end: &End) -> Result<(), Box<dyn Error>> {
        set_log_level(LogLevel::Error);
        let mut config = Config::default();
        let root = Path::new(end.root.as_os_str().as_bytes())?;
        config.global.set_root_path(&root);
        config.global.prefix = FileName::new(prefix(&end.root).as_bytes())?;
        let node = NodeBuilder::new()
            .config(&config)
            .create::<ipc::Service>()?;
        let service = node
            .service_builder(&"uvale-bench".try_into()?)
            .publish_subscribe::<[u8; LEN]>()
            .max_publishers(1)
            .max_subscribers(1)
            .history_size(0)
            .subscriber_max_buffer_size(SLOTS)
            .enable_safe_overflow(false)
            .open_or_create()?;
        if end.sends {
            let publisher = service.publisher_builder();
            let full = BackpressureStrategy::DiscardData;
            let publisher = publisher.backpressure_strategy(full).create()?;
            let publish = || -> Result<bool, Box<dyn Error>> {
                let message = publisher.loan_uninit()?.write_payload([1; LEN]);
                Ok(message.send()? > 0)
            };
            stage.perform(|running| stage.count(running, || several(&publish)))?;
        } else {
            let subscriber = service.subscriber_builder().create()?;
            let take = || -> Result<bool, Box<dyn Error>> {
                Ok(subscriber
                    .receive()?
                    .map(|message| black_box(*message))
                    .is_some())
            };
            stage.perform(|running| stage.count(running, || several(&take)))?;
        }
        Ok(())
    }

    /// Does it until it does not work; how often it did.
    fn several(one: impl Fn() -> Result<bool, Box<dyn Error>>) -> Result<u32, String> {
        for n in 0..ROUND {
            match one() {
                Ok(true) => {}
                Ok(false) => return Ok(n),
                Err(e) => return Err(e.to_string()),
            }
        }
        Ok(ROUND)
    }
}
