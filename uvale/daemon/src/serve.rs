//! How a request is served: decode, one match, reply.

use core::slice;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::SendFlags;

use super::admission::{is_own_user, of_another_version};
use super::connection::{Answer, Answered, Role};
use super::report::as_memfd;
use super::{Daemon, descriptors};
use uvale_control::{Caller, ClientId, Offer};
use uvale_link::channel::{Packet, send};
use uvale_link::plain::{self, Word};
use uvale_link::proto::{
    AttachedNic, Call, Facts, Memory, PROTOCOL, Reply, decode, encode, protocol_of,
};
use uvale_request::Request;
use uvale_shared::binding::Binding;
use uvale_shared::extra::Extra;
use uvale_shared::shm::Memfd;
use uvale_system::refusal::Refusal;
use uvale_system::sys::Fd;

/// Ranges of extra buffers that fit into a message.
const MOST_RANGES: usize = 500;

/// The memory of an EXTMEM option, as the process that has it describes it.
fn offer(memory: Memory, fd: Option<Fd>) -> Offer {
    let with_memfd = |pages: u64, known_as| {
        let memfd = Memfd::from_peer(fd.ok_or(Errno::PROTO)?)?;
        if pages.checked_mul(4096) != Some(memfd.len() as u64) {
            return Err(Errno::INVAL);
        }
        Ok(Offer::Memory {
            memfd,
            pages,
            known_as,
        })
    };
    match memory {
        Memory::Pages { pages, known_as } => {
            with_memfd(pages, known_as).unwrap_or_else(Offer::Refused)
        }
        Memory::Region(number) => Offer::Region(number),
        Memory::Refused(errno) => Offer::Refused(errno),
    }
}

impl Daemon {
    /// Serves one packet. One that cannot be decoded gets a refusal if it has a reply socket, and
    /// has no other effect on the connection.
    pub(super) fn handle(&mut self, id: u64, packet: Packet) {
        let role = self.connections.get(&id).map(|c| c.role);
        if let Some(Role::Parameter(name)) = role
            && packet.fds.is_empty()
        {
            self.written(id, name, &packet.bytes);
            return;
        }
        match (decode::<Call>(&packet.bytes), role) {
            (Some(Call::Wake(client)), _) => return self.wake(id, client),
            (Some(Call::Chained), Some(Role::Device { client, .. })) => {
                return self.world.extra_chained(client);
            }
            (Some(Call::Guest(guest)), Some(Role::Session(_))) => {
                return self.show_guest(id, guest);
            }
            _ => {}
        }
        // Without a socket for the answer there is nobody to tell.
        let mut fds = packet.fds.into_iter();
        let Some(reply_to) = fds.next() else {
            return;
        };
        if let Some(word) = Word::read(&packet.bytes) {
            self.hear(id, word, &reply_to);
            return;
        }
        let is_new = role == Some(Role::New);
        let answer = match (decode::<Call>(&packet.bytes), protocol_of(&packet.bytes)) {
            // It may be a message of its own version, or read as another one of ours.
            (_, Some(protocol)) if is_new && protocol != PROTOCOL => {
                Err(of_another_version(protocol))
            }
            (Some(call), _) => {
                self.make_ready(&call);
                self.answer(id, call, fds.collect())
            }
            (None, _) => Err(Refusal::new(Errno::PROTO, "the message cannot be read")),
        };
        let answer = answer.unwrap_or_else(|refusal| Reply::Refused(refusal).into());
        let fds: Vec<BorrowedFd<'_>> = answer.1.into_iter().flatten().map(AsFd::as_fd).collect();
        // If the client does not receive its answer, the answer is lost.
        let _ = send(reply_to.as_fd(), &answer.0, &fds, SendFlags::DONTWAIT);
    }

    /// Handles closes and writes that came before a call, as far as the call depends on them.
    fn make_ready(&mut self, call: &Call) {
        match call {
            Call::Settle(client) => self.settle(*client),
            Call::FindMemory(_) | Call::Interfaces { .. } | Call::ChangeInterface { .. } => {
                self.finish_all();
            }
            Call::Report(_) | Call::BeginTrace { .. } => {
                self.take_written();
                self.finish_all();
            }
            Call::Request { .. } | Call::Parameter(_) | Call::SetParameter { .. } => {
                self.take_written();
            }
            _ => {}
        }
    }

    fn answer(&mut self, id: u64, call: Call, fds: Vec<Fd>) -> Answered<'_> {
        let Some(connection) = self.connections.get(&id) else {
            return Err(Refusal::new(Errno::NXIO, "the connection is gone"));
        };
        let reply = match (connection.role, call) {
            (Role::New, Call::Attach { protocol, who }) => return self.attach(id, protocol, &who),
            (
                Role::New,
                Call::Open {
                    protocol,
                    flags,
                    who,
                },
            ) => self.open(id, protocol, flags, &who)?,
            (Role::New, Call::OpenParameter { protocol, name }) => {
                self.open_parameter(id, protocol, &name)?
            }
            (Role::New, Call::Interfaces { protocol }) => {
                let list = self.interfaces(id, protocol)?;
                return self.text(&list);
            }
            (
                Role::New,
                Call::ChangeInterface {
                    protocol,
                    index,
                    change,
                },
            ) => self.change_interface(id, protocol, index, change)?,
            (Role::Device { client, flags }, Call::Whois) => self.whois(client, flags),
            (Role::Device { .. }, Call::Attach { protocol, who }) => {
                return self.attach_given(protocol, &who, fds.into_iter().next());
            }
            (Role::Device { client, .. }, Call::Request { request, facts }) => {
                return self.request(client, &request, facts, fds.into_iter().next());
            }
            (Role::Device { client, .. }, Call::SetCsb { atok, ktoa }) => {
                self.world.set_csb(client, atok, ktoa);
                Reply::Ok
            }
            (Role::Device { client, .. }, Call::Unbind) => {
                self.world.undo_register(client);
                Reply::Ok
            }
            (Role::Device { client, .. }, Call::KloopEnd) => {
                self.world.kloop_end(client);
                Reply::Ok
            }
            (Role::Session(_), Call::FindMemory(range)) => {
                Reply::Found(self.world.find_extmem(&range))
            }
            (Role::Session(_), Call::Region(number)) => return self.region(number),
            (Role::Session(_), Call::Waker(client)) => return self.waker(client),
            (Role::Session(_), Call::Wire(port)) => return self.wire(port),
            (
                Role::Device { client, .. },
                Call::GiveWire {
                    port,
                    shape,
                    watched,
                    join,
                },
            ) => return self.give_wire(client, port, shape, (watched, join), fds),
            (
                Role::Session(_),
                Call::KeepTap {
                    name,
                    index,
                    queues,
                },
            ) => self.keep_tap(name, index, queues, fds)?,
            (Role::Session(_), Call::DropTap { netns, index }) => self.drop_tap((netns, index))?,
            (Role::Session(_), Call::KeepPtnet { name, shape }) => {
                self.keep_ptnet(name, shape, fds)?
            }
            (Role::Session(_), Call::DropPtnet(name)) => self.drop_ptnet(&name)?,
            (Role::Session(session), Call::BeginTrace { name, snaplen }) => {
                return self.begin_trace(id, session, name, snaplen);
            }
            (Role::Session(session), Call::EndTrace) => Reply::Untraced(self.end_traces(session)),
            (Role::Session(_), Call::Trace(number)) => return self.trace(number),
            // The descriptor was settled before this was handled.
            (Role::Session(_), Call::Settle(_)) => Reply::Ok,
            (Role::Session(_), Call::Report(what)) => {
                let text = self.report(id, &what)?;
                return self.text(&text);
            }
            (Role::Session(_), Call::Parameter(name)) => self.parameter(&name),
            (Role::Session(_), Call::ParameterNames) => self.parameter_names(),
            (Role::Session(_), Call::SetParameter { name, text }) => {
                let warning = self.set_parameter(id, &name, &text)?;
                Reply::Written { warning }
            }
            _ => {
                let why = "this call does not belong on this connection";
                return Err(Refusal::new(Errno::PROTO, why));
            }
        };
        Ok(reply.into())
    }

    /// Answers a word and does what it says, if it is our own user's. A client that has given up
    /// waiting for the answer, perhaps while this process was stopped, does not want it any more.
    fn hear(&mut self, id: u64, word: Word, reply_to: &Fd) {
        let own = self.connections.get(&id).map(|c| is_own_user(&c.fd));
        let refused = word == Word::Stop && !matches!(own, Some(Ok(())));
        let answer = plain::Answer {
            passed: self.passed,
            refused,
            ..plain::Answer::own()
        };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let heard = rustix::net::send(reply_to, &answer.bytes(), flags).is_ok();
        self.told_to_stop |= word == Word::Stop && !refused && heard;
    }

    fn request(
        &mut self,
        client: ClientId,
        bytes: &[u8],
        facts: Facts,
        fd: Option<Fd>,
    ) -> Answered<'_> {
        let unreadable = || Refusal::new(Errno::PROTO, "the netmap request cannot be read");
        let mut request = Request::decode(bytes).ok_or_else(unreadable)?;
        let was_bound = self.world.binding(client).is_some();
        let mut caller = Caller {
            // The loops of a session end with it; a session that is gone cannot start one.
            session: if self.has_session(facts.session) {
                facts.session
            } else {
                0
            },
            extmem: facts.memory.map(|memory| offer(memory, fd)),
            interface: self.nics.interface_of(&request.header, facts.interface),
            netns: facts.netns,
            csb_entries: 0,
            extra: Extra::default(),
        };
        self.world.collect();
        let again = self.finish_before(&mut request);
        let original = again.then(|| (request.clone(), caller.interface.clone()));
        let mut served = self.serve_request(client, &mut caller, &mut request);
        if served.is_err()
            && let Some(original) = original
        {
            self.finish_all();
            (request, caller.interface) = original;
            served = self.serve_request(client, &mut caller, &mut request);
        }
        let stops = request.header.nr_reqtype == nm_abi::NETMAP_REQ_SYNC_KLOOP_STOP;
        if served.is_ok() && stops {
            // The loop may be asleep.
            self.send_token(client.0);
        }
        match &served {
            Ok(()) => self.log_served(client, &mut request),
            Err(refusal) => {
                let who = self.world.holder(client).cloned();
                self.log_refusal(who.as_ref(), &refusal.why);
            }
        }
        let bound = if was_bound { None } else { self.bound(client) };
        let mut extra = match bound {
            Some(_) => caller.extra,
            None => Extra::default(),
        };
        let is_long = extra.ranges.len() > MOST_RANGES;
        if is_long {
            self.last_report = as_memfd(&encode(&core::mem::take(&mut extra))).ok();
        }
        let attached = match served {
            Ok(()) if request.header.nr_reqtype == nm_abi::NETMAP_REQ_VALE_ATTACH => {
                self.attached_nic(client, &mut request)
            }
            _ => None,
        };
        let done = Reply::Done {
            attached,
            served,
            request: request.encode(),
            bound,
            extra,
            csb_entries: caller.csb_entries,
        };
        let memfd = self.last_report.as_ref().filter(|_| is_long);
        Ok(Answer(done, memfd.map(slice::from_ref)))
    }

    /// The NIC that the request has put on a switch.
    fn attached_nic(&mut self, client: ClientId, request: &mut Request) -> Option<AttachedNic> {
        let name = uvale_request::name_of(&mut request.header);
        let (port, name) = self.world.attached_nic(&name)?;
        self.expect_wire(client, port);
        Some(AttachedNic { port, name })
    }

    /// A registration may need memory, and so a descriptor.
    fn serve_request(
        &mut self,
        client: ClientId,
        caller: &mut Caller,
        request: &mut Request,
    ) -> Result<(), Refusal> {
        if request.header.nr_reqtype == nm_abi::NETMAP_REQ_REGISTER
            && let Some(why) = descriptors::lacking_for_memory(&self.ctl_memfd)
        {
            return Err(Refusal::new(Errno::NFILE, why));
        }
        let served = self.world.request_from(client, caller, request);
        self.log_less();
        served
    }

    fn has_session(&self, number: u32) -> bool {
        self.sessions.contains_key(&number)
    }

    pub(super) fn bound(&self, client: ClientId) -> Option<Box<Binding>> {
        self.world.binding(client).cloned().map(Box::new)
    }

    fn region(&mut self, number: u32) -> Answered<'_> {
        let gone = || Refusal::new(Errno::NXIO, "that memory region is gone");
        let region = self.world.region(number).ok_or_else(gone)?;
        let shape = Reply::Region {
            pool_ofs: region.pool().offset(0) as u64,
            buf_size: region.pool().size(),
            buf_count: region.pool().count(),
            mem_size: region.size,
            pages: region.memfd.pages(),
        };
        Ok(Answer(shape, Some(region.memfd.parts())))
    }

    fn waker(&mut self, client: u32) -> Answered<'_> {
        let id = self.devices.get(&client);
        let connection = id.and_then(|id| self.connections.get(id));
        let closed = || Refusal::new(Errno::NXIO, "that descriptor is closed");
        let fd = &connection.ok_or_else(closed)?.fd;
        Ok(Answer(Reply::Waker, Some(slice::from_ref(fd))))
    }

    /// Sends a token for a session that has no descriptor left to send it with.
    fn wake(&self, id: u64, client: u32) {
        let asks = self.connections.get(&id).map(|c| c.role);
        if let Some(Role::Session(_)) = asks {
            self.send_token(client);
        }
    }

    /// Wakes whoever sleeps on the descriptor of `client`.
    pub(super) fn send_token(&self, client: u32) {
        let id = self.devices.get(&client);
        if let Some(device) = id.and_then(|id| self.connections.get(id)) {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let _ = rustix::net::send(&device.fd, uvale_link::proto::TOKEN, flags);
        }
    }

    /// Sends `text` as a memfd, since it may be longer than a packet.
    fn text(&mut self, text: &[u8]) -> Answered<'_> {
        let memfd = as_memfd(text).map_err(|e| Refusal::new(e, "no memory for the report"))?;
        let memfd = self.last_report.insert(memfd);
        Ok(Answer(Reply::Report, Some(slice::from_ref(memfd))))
    }
}
