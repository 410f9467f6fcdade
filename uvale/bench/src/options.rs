//! Options of `uvale bench`.

/// Options of `uvale bench`.
#[derive(clap::Args)]
pub struct Args {
    /// Fewer cases and shorter windows: some 20 seconds instead of two to three minutes
    #[arg(long)]
    pub quick: bool,
    /// What to measure
    #[arg(long, value_delimiter = ',', value_name = "WHAT")]
    pub only: Vec<Section>,
    /// Batch sizes [default: 1,8,64,256]
    #[arg(long, value_delimiter = ',', value_name = "PACKETS", value_parser = clap::value_parser!(u32).range(1..=1023))]
    pub batch: Vec<u32>,
    /// Packet sizes [default: 60,1500]
    #[arg(long, value_delimiter = ',', value_name = "BYTES", value_parser = clap::value_parser!(u16).range(14..=2048))]
    pub size: Vec<u16>,
    /// Length of a window
    #[arg(long, value_name = "MS")]
    pub window: Option<u64>,
    /// Windows to take the median of
    #[arg(long, value_name = "N")]
    pub windows: Option<usize>,
    /// Keep other programs off the processors while a window lasts (needs CAP_SYS_NICE)
    #[arg(long)]
    pub real_time: bool,
    /// One JSON object instead of tables
    #[arg(long)]
    pub json: bool,
    /// Run as a worker of another bench
    #[arg(long, hide = true)]
    pub worker: Option<String>,
}

/// Parts of the benchmark.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// one sender, one receiver, on a switch
    Vale,
    /// one sender, one receiver, on a pipe
    Pipe,
    /// two senders to one receiver, one sender flooding to eight
    Many,
    /// waking a receiver that blocks in poll
    Wakeup,
    /// NIC ports over veth pairs between two network namespaces
    Nic,
    /// DPDK's memif, if testpmd is installed
    Memif,
    /// programs that no preload reaches: syncs by notification and by a signal, and bare ones
    Reach,
    /// what the shim costs a program that has nothing to do with netmap
    Preload,
}
