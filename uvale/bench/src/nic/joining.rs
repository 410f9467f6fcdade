//! How long it takes from a REGISTER, its beginning or its end, until the port is joined with the other end of its
//! veth pair.

use std::path::PathBuf;

use uvale_link::environment::ENV_DIR;
use uvale_link::proto::Report;
use uvale_link::report;
use uvale_link::session::Session;

use crate::board::Stage;
use crate::port::Port;
use crate::wake::now;

/// Opens the port again and again. The time counts from the beginning of the REGISTER if `whole`.
pub fn join(stage: &Stage<'_>, name: &str, whole: bool) -> Result<(), String> {
    let dir: PathBuf = std::env::var_os(ENV_DIR).ok_or("no world")?.into();
    let session = Session::attach(&dir).map_err(|e| e.to_string())?;
    stage.perform(|running| {
        while running.is_set() {
            let begin = now();
            let _port = Port::open(name)?;
            let start = if whole { begin } else { now() };
            while running.is_set() {
                if are_joined(&session)? {
                    stage.me().latencies.add(now() - start);
                    break;
                }
            }
        }
        Ok(())
    })
}

/// No other NIC port is open in this world.
fn are_joined(session: &Session) -> Result<bool, String> {
    let text = session.report(Report::Ports).map_err(|e| e.to_string())?;
    let ports: Vec<report::Port> = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    let joined = |port: &report::Port| port.nic.as_ref().is_some_and(|nic| nic.wire == "joined");
    Ok(ports.iter().any(joined))
}
