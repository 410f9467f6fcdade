//! Is what is traced still there?

use std::time::{Duration, Instant};

use uvale_link::proto::Report;
use uvale_link::report::Port;
use uvale_link::session::Session;
use uvale_tools::output::line;

use super::super::capture::is_ordinary;
use super::super::show::fetch;
use super::super::table::printable;

/// Between two questions to the daemon, while nothing is sent.
const PAUSE: Duration = Duration::from_secs(1);

/// Says once that a port is closed, or a switch has no ports: a trace waits for them to come back.
pub struct Watch {
    asked: Instant,
    is_there: bool,
}

impl Watch {
    /// Of what is there now.
    pub fn new() -> Self {
        Self {
            asked: Instant::now(),
            is_there: true,
        }
    }

    /// To be called while nothing is sent.
    pub fn look(&mut self, session: &Session, name: &str) {
        if self.asked.elapsed() < PAUSE {
            return;
        }
        self.asked = Instant::now();
        let Ok((_, ports)) = fetch::<Vec<Port>>(session, Report::Ports) else {
            return;
        };
        let is_there = is_there(&ports, name);
        if self.is_there && !is_there {
            let what = printable(name);
            line(format_args!(
                "uvale trace: {what} is closed; it is traced again when it is back"
            ));
        }
        self.is_there = is_there;
    }
}

/// Is it a port, or a switch with ports?
pub fn is_there(ports: &[Port], name: &str) -> bool {
    let mut ordinary = ports.iter().filter(|port| is_ordinary(port));
    ordinary.any(|port| port.name == name)
        || ports
            .iter()
            .any(|port| port.switch.as_deref() == Some(name))
}
