//! `uvale nic-helper`

use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `uvale nic-helper`.
#[derive(clap::Args)]
pub struct Args {
    /// Socket to listen at
    #[arg(long, value_name = "PATH", default_value = uvale_link::nic_helper::SOCKET)]
    socket: PathBuf,
    /// Who may use which interface: lines of `USER INTERFACE` or `@GROUP INTERFACE`
    #[arg(long, value_name = "FILE", default_value = uvale_helper::ALLOW)]
    allow: PathBuf,
}

/// Runs the command.
pub fn run(args: Args) -> Result<ExitCode, String> {
    let options = uvale_helper::Options {
        socket: args.socket,
        allow: args.allow,
    };
    uvale_helper::run(&options).map(|()| ExitCode::SUCCESS)
}
