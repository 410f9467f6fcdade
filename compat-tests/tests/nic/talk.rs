//! What hosts of two namespaces say to each other.

use std::path::PathBuf;

use compat_tests::Skip;
use compat_tests::programs::{program, value};
use compat_tests::world::Program;

use compat_tests::namespaces::Ground;

/// The programs by which they do.
pub struct Talk {
    ping: PathBuf,
    pub transfer: PathBuf,
}

impl Talk {
    pub fn new() -> Result<Talk, Skip> {
        Ok(Talk {
            ping: program("nic/ping")?,
            transfer: program("nic/transfer")?,
        })
    }

    /// Each host asks the other, and every question is answered.
    pub fn pings(&self, ground: &Ground, addresses: [&str; 2], count: u32) {
        for side in 0..2 {
            self.ping(ground, side, addresses[1 - side], &[&count.to_string()]);
        }
    }

    /// The host of `side` asks `to`.
    pub fn ping(&self, ground: &Ground, side: usize, to: &str, args: &[&str]) {
        let mut ping = ground.command(side);
        ping.arg(&self.ping).arg(to).args(args);
        Program::start("ping", ping).wait_success();
    }

    /// 10 MB each way over TCP, one host serves.
    pub fn transfer(&self, ground: &Ground, addresses: [&str; 2], server: usize) {
        let address = addresses[server];
        let start = |side: usize, args: &[&str]| {
            let mut command = ground.command(side);
            command.arg(&self.transfer).args(args);
            Program::start("transfer", command)
        };
        let served = start(server, &["serve", address]);
        served.wait_line("ready", |l| l.starts_with("ready"));
        let port = value(&served.stdout(), "port")
            .expect("it says so")
            .to_string();
        let called = start(1 - server, &["call", address, &port]).wait_success();
        let served = served.wait_success();
        for [from, to] in [[&called, &served], [&served, &called]] {
            let sent = value(from, "sent");
            assert!(sent.is_some() && sent == value(to, "got"), "{from}{to}");
        }
    }
}
