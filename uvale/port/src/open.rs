//! Opening a port, and requests to it.

use std::path::Path;
use std::sync::Arc;

use nm_abi::name::{NmportName, to_field};
use nm_abi::{
    AbiBytes, NETMAP_API, NETMAP_REQ_PORT_INFO_GET, nmreq_header, nmreq_port_info_get,
    nmreq_register,
};
use rustix::fd::AsFd;
use rustix::io::Errno;
use uvale_engine::Attachment;
use uvale_link::channel::call;
use uvale_link::proto::{Call, PROTOCOL, Reply, refused};
use uvale_link::session::Session;
use uvale_link::wire::Opener;
use uvale_request::Request;
use uvale_shared::binding::Binding;
use uvale_system::refusal::Refusal;
use uvale_system::sys::OwnFd;
use uvale_system::who::Who;

use super::{Port, request};

/// What is asked for.
pub struct Wanted<'a> {
    /// the runtime directory of its world
    pub dir: &'a Path,
    /// the port as libnetmap writes it: `vale0:vm1`, `netmap:x{1`, `netmap:eth0-2/R`
    pub name: &'a str,
    /// looks at the REGISTER that the name means, and changes it: ring counts, memory
    pub register: &'a dyn Fn(&mut nmreq_register),
    /// shows a person what the port lacks, a sentence each
    pub say: &'a dyn Fn(&str),
}

/// What a port is that nobody has to open to know it.
pub struct Info {
    /// its rings, slots and memory
    pub port: nmreq_port_info_get,
    /// the interface of the system that the name means, if it means one: cookie of its network namespace, its number
    /// in there
    pub interface: Option<(u64, u32)>,
    /// the daemon, for other questions
    pub session: Arc<Session>,
}

impl Wanted<'_> {
    /// The name, and the REGISTER that it means.
    fn parsed(&self) -> Result<(NmportName<'_>, nmreq_register), Refusal> {
        let name = parse(self.name)?;
        let mut register = nmreq_register::default();
        name.register.store(&mut register);
        (self.register)(&mut register);
        Ok((name, register))
    }
}

impl Port {
    /// PORT_INFO_GET: looks at a port without opening it. Who has it open notices nothing.
    ///
    /// # Errors
    /// The name is none, no daemon can be had, or there can be no such port.
    pub fn info(wanted: &Wanted<'_>) -> Result<Info, Refusal> {
        let (name, register) = wanted.parsed()?;
        let session = Arc::new(uvale_link::start::attach(wanted.dir)?);
        let (device, _) = open_device(wanted.dir, &session, 0, Who::own())?;
        let asked = nmreq_port_info_get {
            nr_mem_id: register.nr_mem_id,
            ..nmreq_port_info_get::zeroed()
        };
        let mut request = Request {
            header: nmreq_header {
                nr_reqtype: NETMAP_REQ_PORT_INFO_GET,
                ..name.to_header()
            },
            body: asked.as_bytes().to_vec(),
            options: Vec::new(),
        };
        let interface = request::facts(&mut request).interface;
        ask(&device, &mut request)?;
        Ok(Info {
            port: nmreq_port_info_get::from_bytes(&request.body).ok_or(Errno::PROTO)?,
            interface: interface.map(|interface| (interface.netns, interface.index)),
            session,
        })
    }

    /// Opens a port.
    ///
    /// # Errors
    /// The name is none, no daemon can be had, or what REGISTER is refused for.
    pub fn open(wanted: &Wanted<'_>) -> Result<Self, Refusal> {
        // before a daemon is started for it
        wanted.parsed()?;
        Self::open_in(Arc::new(uvale_link::start::attach(wanted.dir)?), wanted)
    }

    /// The same by a session with the daemon of that world, which several ports may share.
    ///
    /// # Errors
    /// As for [`Port::open`].
    pub fn open_in(session: Arc<Session>, wanted: &Wanted<'_>) -> Result<Self, Refusal> {
        let (name, register) = wanted.parsed()?;
        let device = open_device(wanted.dir, &session, 0, Who::own())?;
        let mut request = Request {
            header: name.to_header(),
            body: register.as_bytes().to_vec(),
            options: Vec::new(),
        };
        let binding = ask(&device.0, &mut request)?
            .ok_or_else(|| Refusal::new(Errno::PROTO, "REGISTER gave no rings"))?;
        let registered = nmreq_register::from_bytes(&request.body).ok_or(Errno::PROTO)?;
        Self::bound(device, session, (registered, *binding), wanted.say)
    }

    fn bound(
        (device, client): (OwnFd, u32),
        session: Arc<Session>,
        (registered, binding): (nmreq_register, Binding),
        say: &dyn Fn(&str),
    ) -> Result<Self, Refusal> {
        let region = session.map_region(binding.region)?;
        let attachment = Attachment::new(&*session, binding, region)
            .map_err(|errno| Refusal::new(errno, format!("the port cannot be used: {errno}")))?;
        let opener = Opener {
            device: device.as_fd(),
            session: &session,
            say,
        };
        let wire = match attachment.binding().is_nic {
            true => Some(opener.wire_of(attachment.binding())?),
            false => None,
        };
        Ok(Self {
            device,
            client,
            session,
            attachment,
            registered,
            stuck: Default::default(),
            _wire: wire,
        })
    }

    /// A request of type `reqtype` about port `name` (as the kernel writes it), on this description; answers with its
    /// body.
    pub fn request(&self, reqtype: u16, name: &str, body: Vec<u8>) -> Result<Vec<u8>, Refusal> {
        let nr_name = to_field(name.as_bytes()).ok_or_else(|| {
            Refusal::new(Errno::INVAL, format!("{name:?} is too long for a port"))
        })?;
        let mut request = Request {
            header: nmreq_header {
                nr_version: NETMAP_API,
                nr_reqtype: reqtype,
                nr_name,
                ..nmreq_header::default()
            },
            body,
            options: Vec::new(),
        };
        ask(&self.device, &mut request)?;
        Ok(request.body)
    }
}

fn parse(name: &str) -> Result<NmportName<'_>, Refusal> {
    NmportName::parse(name).map_err(|e| {
        let why = format!("{name:?} is not the name of a port: {e}");
        Refusal::new(Errno::from_raw_os_error(e.errno), why)
    })
}

/// Can a port be called that? Whether there is one, or can be, is not asked.
///
/// # Errors
/// A sentence.
pub fn check_name(name: &str) -> Result<(), String> {
    parse(name).map(drop).map_err(|refusal| refusal.why)
}

/// `open("/dev/netmap")` in the world of `session`, whose runtime directory is `dir`, with flags of open(2), for the
/// process `who`: the open description, and its number at the daemon.
///
/// # Errors
/// The daemon cannot be asked, is another one by now (`ENXIO`), or refuses.
pub fn open_device(
    dir: &Path,
    session: &Session,
    flags: i32,
    who: Who,
) -> Result<(OwnFd, u32), Refusal> {
    let device = OwnFd::new(uvale_link::place::connect(dir)?);
    let opening = Call::Open {
        protocol: PROTOCOL,
        flags,
        who,
    };
    match call(device.as_fd(), &opening)?.0 {
        Reply::Opened { world, client, .. } if world == session.world() => Ok((device, client)),
        Reply::Opened { .. } => Err(Errno::NXIO.into()),
        other => Err(refused(other)),
    }
}

/// NIOCCTRL: what the description is bound to since then.
fn ask(device: &OwnFd, request: &mut Request) -> Result<Option<Box<Binding>>, Refusal> {
    let facts = request::facts(request);
    let answer = request::ask(device.as_fd(), request, facts, None)?;
    answer.served?;
    Ok(answer.bound)
}
