//! What a worker enters: namespaces that another process holds.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

/// Files that stand for them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Namespaces {
    /// the user namespace that the other one belongs to, if it is not this process's
    pub user: Option<PathBuf>,
    /// the network namespace
    pub net: PathBuf,
}

impl Namespaces {
    /// Moves this thread, the process's only one, there.
    pub fn enter(&self) -> Result<(), String> {
        let open =
            |path: &PathBuf| File::open(path).map_err(|e| format!("{}: {e}", path.display()));
        // Both while the way to them is open.
        let net = open(&self.net)?;
        let user = self.user.as_ref().map(open).transpose()?;
        let enter = |file: &File, kind| {
            move_into_link_name_space(file.as_fd(), Some(kind)).map_err(|e| format!("setns: {e}"))
        };
        if let Some(user) = user {
            enter(&user, LinkNameSpaceType::User)?;
        }
        enter(&net, LinkNameSpaceType::Network)
    }
}
