//! Options of `uvale bench`.

use std::path::PathBuf;

/// Options of `uvale bench`.
#[derive(clap::Args)]
pub struct Args {
    /// Fewer cases and shorter windows: a minute and a half instead of ten
    #[arg(long)]
    pub quick: bool,
    /// What to measure [default: everything]
    #[arg(long, value_delimiter = ',', value_name = "SUITE")]
    pub only: Vec<Suite>,
    /// Batch sizes [default: depends on the suite]
    #[arg(long, value_delimiter = ',', value_name = "PACKETS", value_parser = clap::value_parser!(u32).range(1..=1023))]
    pub batch: Vec<u32>,
    /// Packet sizes [default: depends on the suite]
    #[arg(long, value_delimiter = ',', value_name = "BYTES", value_parser = clap::value_parser!(u16).range(14..=2048))]
    pub size: Vec<u16>,
    /// Length of a window
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub window: Option<u64>,
    /// Windows to take the median of
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub windows: Option<u64>,
    /// Keep other programs off the processors while a window lasts (needs CAP_SYS_NICE)
    #[arg(long)]
    pub real_time: bool,
    /// One JSON object instead of tables
    #[arg(long)]
    pub json: bool,
    /// Draw the figures, too: into one file, or into a directory, a file for each suite
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Say what has changed since an earlier run, by what it printed with --json
    #[arg(long, value_name = "OLD.json")]
    pub compare: Option<PathBuf>,
    /// Measure another build in the same minutes: its `uvale`, with its own shim and daemon
    #[arg(long, value_name = "BINARY")]
    pub against: Option<PathBuf>,
    /// Run as a worker of another bench
    #[arg(long, hide = true)]
    pub worker: Option<String>,
}

/// Parts of the benchmark.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// one sender, one receiver, on a switch
    Vale,
    /// one sender, one receiver, on a pipe
    Pipe,
    /// bytes: small and large packets, and chains of fragments
    Sizes,
    /// 64 flows between several addresses in each batch
    Mixed,
    /// several senders to one receiver
    Senders,
    /// one sender flooding to several receivers
    Flood,
    /// 2 to 252 ports in random use
    Ports,
    /// 1 to 16 rings
    Rings,
    /// 1 to 8 forwarding programs, by slot swap and by copy
    Chain,
    /// with and without a monitor
    Monitored,
    /// with and without virtio-net headers
    Vnet,
    /// one way under load, and round trips
    Latency,
    /// waking a receiver that blocks in poll
    Wakeup,
    /// NIC ports over veth pairs between two network namespaces
    Nic,
    /// programs that no preload reaches: syncs by notification and by a signal
    Reach,
    /// DPDK's memif and rings, if testpmd is installed
    Memif,
    /// a socketpair and a channel
    Peers,
    /// what the shim costs a program that has nothing to do with netmap
    Preload,
    /// memory that worlds and ports touch, and how long a start takes
    Memory,
}

impl Args {
    /// Is it to be measured?
    pub fn wants(&self, suite: Suite) -> bool {
        self.only.is_empty() || self.only.contains(&suite)
    }

    /// Batch sizes: those given, or those of a full or of a quick run.
    pub fn batches(&self, full: &[u32], quick: &[u32]) -> Vec<u32> {
        match (&self.batch[..], self.quick) {
            ([], true) => quick.to_vec(),
            ([], false) => full.to_vec(),
            (given, _) => given.to_vec(),
        }
    }

    /// Packet sizes, likewise.
    pub fn sizes(&self, full: &[u16], quick: &[u16]) -> Vec<u16> {
        match (&self.size[..], self.quick) {
            ([], true) => quick.to_vec(),
            ([], false) => full.to_vec(),
            (given, _) => given.to_vec(),
        }
    }

    /// Every size with every batch, of small packets unless sizes are given.
    pub fn shapes(&self, full: &[u32], quick: &[u32]) -> Vec<(u16, u32)> {
        let batches = self.batches(full, quick);
        let with = |len| batches.iter().map(move |batch| (len, *batch));
        self.sizes(&[60], &[60])
            .into_iter()
            .flat_map(with)
            .collect()
    }

    /// The same for what goes through the kernel, which is slow with small batches.
    pub fn kernel_shapes(&self) -> Vec<(u16, u32)> {
        let batches = self.batches(&[256], &[256]);
        let with = |len| batches.iter().map(move |batch| (len, *batch));
        self.sizes(&[60, 1500], &[60])
            .into_iter()
            .flat_map(with)
            .collect()
    }
}
