//! `compat-tests bench-vm`: what a port costs a guest, compared with other ways in the same guests and minutes.
//!
//! - `ground`: a namespace, the guests and what serves them
//! - `cases`: what is measured: one window of each
//! - `netmap`: netmap's own driver
//! - `figures`: windows, medians, tables
//!
//! Nothing here decides whether uvale works: a slow machine prints other numbers.

mod cases;
mod figures;
mod ground;
mod netmap;

use crate::Skip;
use crate::guest::kit::Kit;
use crate::matrix::in_guest::ENV_KMOD;
use cases::Pair;
use figures::{Figures, tell};
use ground::Accelerator;

/// Options of `compat-tests bench-vm`.
#[derive(clap::Args)]
pub struct Args {
    /// Windows of each kind, which take turns
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    windows: u32,
    /// Packets of a window over ptnet; a tenth of them over packet sockets
    #[arg(long, value_name = "PACKETS", default_value_t = 200_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1000..))]
    packets: u64,
    /// Only these accelerators: tcg, kvm [default: both]
    #[arg(long, value_name = "WHICH", value_enum)]
    accel: Vec<Accelerator>,
}

/// Runs it, and prints a table for each accelerator.
///
/// # Errors
/// A sentence: the system has not what guests are made of.
///
/// # Panics
/// If a guest or a program does not do what it is told.
pub fn run(args: &Args) -> Result<(), String> {
    let programs = ground::programs().map_err(|Skip { why, .. }| why)?;
    let [a, b] = programs.each_ref().map(std::path::PathBuf::as_path);
    let kit = Kit::new(&[a, b]).map_err(|Skip { why, .. }| format!("no guest: {why}"))?;
    // Interfaces are made in a namespace of our own. What had to be fetched is here now: there is no network in there.
    let bridge = ground::enter()?;
    let wanted = match args.accel.is_empty() {
        true => vec![Accelerator::Tcg, Accelerator::Kvm],
        false => args.accel.clone(),
    };
    for accelerator in wanted {
        tell(&format!("\nGuests with {accelerator}\n"));
        match ground::is_usable(&kit, accelerator) {
            Ok(()) => measure(args, &kit, accelerator, bridge.as_ref().err()),
            Err(why) => tell(&format!("skipped: {why}\n")),
        }
    }
    Ok(())
}

fn measure(args: &Args, kit: &Kit, accelerator: Accelerator, no_bridge: Option<&String>) {
    let mut figures = Figures::new(args.windows);
    let world = crate::world::World::new();
    cases::first_packet(kit, &world, accelerator, &mut figures);
    let mut pair = Pair::boot(kit, &world, accelerator, no_bridge.is_none());
    for window in 1..=args.windows {
        tell(&format!("window {window} of {}\r", args.windows));
        pair.window(args.packets, &mut figures);
    }
    pair.end();
    match std::env::var_os(ENV_KMOD) {
        Some(dir) => match netmap::measure(kit, &world, accelerator, dir.as_ref()) {
            Ok(lines) => lines.into_iter().for_each(|line| figures.add_line(line)),
            Err(why) => figures.add_line(format!("netmap's driver skipped: {why}")),
        },
        None => figures
            .add_line("netmap's driver skipped: NETMAP_KMOD names no folder with netmap.ko".into()),
    }
    if let Some(why) = no_bridge {
        figures.add_line(format!("TAP and bridge skipped: {why}"));
    }
    tell(&figures.render());
}
