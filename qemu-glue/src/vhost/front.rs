//! What a front end (QEMU, cloud-hypervisor) has said since it connected: a request's way is message, check, one match,
//! answer.
//!
//! | request | what it does |
//! |---|---|
//! | GET_FEATURES ... SET_PROTOCOL_FEATURES | agree on features; a ring in use goes on with them |
//! | SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG | map and unmap the guest's RAM |
//! | SET_VRING_NUM, _ADDR, _BASE, _CALL, _ERR | describe a ring; one in use goes on with what it says |
//! | SET_VRING_KICK, GET_VRING_BASE | start a ring, stop it |
//! | SET_VRING_ENABLE | at any time, before SET_FEATURES too, as QEMU does |
//! | SET_LOG_BASE, SET_LOG_FD, the bits LOG_ALL and LOG | refused: there is no migration |
//!
//! A request that cannot be served is answered with a failure where the front end wants answers; where it does not, the
//! connection is closed. Either way a sentence says why.

use rustix::event::epoll;
use rustix::fd::OwnedFd;
use vhost::vhost_user::message::{
    FrontendReq, VHOST_USER_CONFIG_SIZE, VhostUserConfig, VhostUserMemory, VhostUserMemoryRegion,
    VhostUserProtocolFeatures, VhostUserSingleMemoryRegion, VhostUserU64, VhostUserVirtioFeatures,
    VhostUserVringAddr, VhostUserVringState,
};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use vm_memory::ByteValued;

use super::features::{self, Features};
use super::message::{Ended, Inbox, Message, record, reply};
use super::vring::Vring;
use crate::event_fd::EventFd;
use crate::guest_ram::{GuestRam, MOST_REGIONS, Place};

/// What we offer.
#[derive(Clone, Debug)]
pub struct Offer {
    /// virtio features
    pub features: Features,
    /// queue pairs
    pub pairs: u16,
    /// bytes of the longest frame that the port takes
    pub longest_frame: usize,
    /// the guest's address, if we know it
    pub mac: Option<[u8; 6]>,
}

impl Offer {
    /// Rings that a front end may have. QEMU takes what GET_QUEUE_NUM says for queue pairs and cloud-hypervisor for
    /// rings, so it is twice the pairs, and QEMU may make so many pairs; they share the port's rings.
    fn most_rings(&self) -> usize {
        4 * usize::from(self.pairs)
    }
}

/// How far a front end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// it has said nothing
    Silent,
    /// it has said something
    Talks,
    /// it knows how many queues there are: one that goes now needs more
    KnowsQueues,
    /// it has a guest: it has spoken of its RAM or of its rings
    Guest,
}

impl Stage {
    /// Where a request brings it. QEMU gives interrupts (CALL, ERR) before it looks how many queues there are.
    fn of(request: FrontendReq) -> Self {
        match request {
            FrontendReq::SET_MEM_TABLE
            | FrontendReq::ADD_MEM_REG
            | FrontendReq::SET_VRING_NUM
            | FrontendReq::SET_VRING_ADDR
            | FrontendReq::SET_VRING_BASE
            | FrontendReq::SET_VRING_KICK
            | FrontendReq::SET_VRING_ENABLE => Self::Guest,
            FrontendReq::GET_QUEUE_NUM => Self::KnowsQueues,
            _ => Self::Talks,
        }
    }
}

/// A connection.
pub struct Front {
    socket: OwnedFd,
    inbox: Inbox,
    stage: Stage,
    /// where kicks arrive: each ring's descriptor under its number
    kicks: OwnedFd,
    offer: Offer,
    /// what it has chosen
    pub features: Features,
    protocol: VhostUserProtocolFeatures,
    /// its rings, by number: those with even numbers receive
    pub rings: Vec<Vring>,
    /// the guest's RAM
    pub ram: GuestRam,
    /// bytes of an IP packet, as the host wants it
    pub mtu: Option<u16>,
}

/// The answer to a request that went well.
enum Answer {
    /// an acknowledgement, if it is wanted
    Done,
    /// a body
    Body(Vec<u8>),
}

impl Answer {
    fn number(value: u64) -> Self {
        Self::Body(VhostUserU64::new(value).as_slice().to_vec())
    }
}

impl Front {
    /// What has connected. Kicks are added to the epoll set `kicks`, edge-triggered: nobody reads them.
    pub fn new(socket: OwnedFd, kicks: OwnedFd, offer: Offer) -> Self {
        let rings = (0..offer.most_rings()).map(|_| Vring::default()).collect();
        Self {
            socket,
            inbox: Inbox::default(),
            stage: Stage::Silent,
            kicks,
            offer,
            features: Features::default(),
            protocol: VhostUserProtocolFeatures::empty(),
            rings,
            ram: GuestRam::default(),
            mtu: None,
        }
    }

    /// The connection.
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// How far it has come.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Has it chosen the event index?
    pub fn event_idx(&self) -> bool {
        self.features.has(VIRTIO_RING_F_EVENT_IDX)
    }

    /// Serves the next request, if there is one. `say` shows a sentence.
    pub fn serve(&mut self, say: &dyn Fn(&str)) -> Result<bool, Ended> {
        let Some(message) = self.inbox.receive(&self.socket)? else {
            return Ok(false);
        };
        let (request, needs_reply) = (message.request, message.needs_reply);
        self.stage = self.stage.max(Stage::of(request));
        let acknowledged =
            needs_reply && self.protocol.contains(VhostUserProtocolFeatures::REPLY_ACK);
        let body = match self.handle(message) {
            Ok(Answer::Body(body)) => body,
            Ok(Answer::Done) if acknowledged => VhostUserU64::new(0).as_slice().to_vec(),
            Ok(Answer::Done) => return Ok(true),
            Err(why) if acknowledged => {
                say(&format!("refused: {why}"));
                VhostUserU64::new(1).as_slice().to_vec()
            }
            Err(why) => return Err(Ended::Nonsense(why)),
        };
        reply(&self.socket, request, &body).map(|()| true)
    }

    fn handle(&mut self, mut message: Message) -> Result<Answer, String> {
        let request = message.request;
        match request {
            FrontendReq::SET_OWNER => {}
            FrontendReq::RESET_OWNER => self.reset(),
            FrontendReq::GET_FEATURES => return Ok(Answer::number(self.offer.features.0)),
            FrontendReq::SET_FEATURES => {
                self.set_features(message.body_as::<VhostUserU64>()?.value)?
            }
            FrontendReq::GET_PROTOCOL_FEATURES => {
                return Ok(Answer::number(self.offered().bits()));
            }
            FrontendReq::SET_PROTOCOL_FEATURES => {
                self.set_protocol(message.body_as::<VhostUserU64>()?.value)?
            }
            // Twice the pairs: see `Offer::most_rings`.
            FrontendReq::GET_QUEUE_NUM => {
                return Ok(Answer::number(2 * u64::from(self.offer.pairs)));
            }
            FrontendReq::SET_MEM_TABLE => self.set_ram(message)?,
            FrontendReq::GET_MAX_MEM_SLOTS => return Ok(Answer::number(MOST_REGIONS as u64)),
            FrontendReq::ADD_MEM_REG => {
                let place = place(&*message.body_as::<VhostUserSingleMemoryRegion>()?);
                self.ram.add(place, message.fd()?)?;
            }
            FrontendReq::REM_MEM_REG => {
                let place = place(&*message.body_as::<VhostUserSingleMemoryRegion>()?);
                self.ram.remove(place)?;
                self.rings.iter_mut().for_each(Vring::renew);
            }
            FrontendReq::SET_VRING_NUM => {
                let state: VhostUserVringState = message.body_as()?;
                self.change(state.index)?.size = state.num;
            }
            FrontendReq::SET_VRING_ADDR => self.set_addresses(message.body_as()?)?,
            FrontendReq::SET_VRING_BASE => {
                let state: VhostUserVringState = message.body_as()?;
                let base = u16::try_from(state.num).map_err(|_| "a base beyond 65535")?;
                self.change(state.index)?.base = base;
            }
            FrontendReq::GET_VRING_BASE => {
                let index = message.body_as::<VhostUserVringState>()?.index;
                self.forget_kick(index)?;
                let base = self.ring(index)?.stop();
                let state = VhostUserVringState::new(index, base.into());
                return Ok(Answer::Body(state.as_slice().to_vec()));
            }
            FrontendReq::SET_VRING_KICK => self.set_kick(message)?,
            FrontendReq::SET_VRING_CALL => {
                let (index, fd) = event(message)?;
                self.ring(index)?.call = fd;
            }
            FrontendReq::SET_VRING_ERR => {
                let (index, fd) = event(message)?;
                self.ring(index)?.err = fd;
            }
            FrontendReq::SET_VRING_ENABLE => {
                let state: VhostUserVringState = message.body_as()?;
                let on = [false, true].get(state.num as usize).copied();
                self.ring(state.index)?.is_enabled =
                    on.ok_or("SET_VRING_ENABLE with a number other than 0 and 1")?;
            }
            FrontendReq::NET_SET_MTU => self.set_mtu(message.body_as::<VhostUserU64>()?.value)?,
            FrontendReq::GET_CONFIG if self.offer.mac.is_some() => {
                return self.config(&message.body);
            }
            FrontendReq::SET_LOG_BASE | FrontendReq::SET_LOG_FD => return Err(NO_MIGRATION.into()),
            other => return Err(format!("{other:?} is not served: it was not offered")),
        }
        Ok(Answer::Done)
    }

    fn set_features(&mut self, chosen: u64) -> Result<(), String> {
        if chosen & VhostUserVirtioFeatures::LOG_ALL.bits() != 0 {
            return Err(NO_MIGRATION.into());
        }
        let more = chosen & !self.offer.features.0;
        if more != 0 {
            return Err(format!("features {more:#x} were not offered"));
        }
        self.features = Features(chosen);
        for ring in &mut self.rings {
            ring.renew();
            ring.is_enabled |= !self.features.has_protocol();
        }
        Ok(())
    }

    /// Features of the protocol that we offer.
    fn offered(&self) -> VhostUserProtocolFeatures {
        features::protocol(self.offer.mac.is_some())
    }

    fn set_protocol(&mut self, chosen: u64) -> Result<(), String> {
        let chosen = VhostUserProtocolFeatures::from_bits_retain(chosen);
        let more = chosen.difference(self.offered());
        if !more.is_empty() {
            return Err(format!(
                "protocol features {:#x} were not offered",
                more.bits()
            ));
        }
        self.protocol = chosen;
        Ok(())
    }

    fn set_ram(&mut self, message: Message) -> Result<(), String> {
        let bad = || "SET_MEM_TABLE with an impossible table".to_owned();
        let (head, table) = message
            .body
            .split_at_checked(size_of::<VhostUserMemory>())
            .ok_or_else(bad)?;
        let head: VhostUserMemory = record(head).ok_or_else(bad)?;
        let regions = table
            .chunks(size_of::<VhostUserMemoryRegion>())
            .map(record::<VhostUserMemoryRegion>);
        let regions: Vec<_> = regions.collect::<Option<_>>().ok_or_else(bad)?;
        if regions.len() != head.num_regions as usize || regions.len() != message.fds.len() {
            return Err(bad());
        }
        let mut ram = GuestRam::default();
        for (region, fd) in regions.iter().zip(message.fds) {
            ram.add(place(region), fd)?;
        }
        self.ram = ram;
        self.rings.iter_mut().for_each(Vring::renew);
        Ok(())
    }

    fn set_addresses(&mut self, said: VhostUserVringAddr) -> Result<(), String> {
        if said.flags != 0 {
            return Err(NO_MIGRATION.into());
        }
        self.change(said.index)?.at = Some([said.descriptor, said.available, said.used]);
        Ok(())
    }

    fn set_kick(&mut self, message: Message) -> Result<(), String> {
        let (index, fd) = event(message)?;
        self.forget_kick(index)?;
        if let Some(fd) = &fd {
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(
                &self.kicks,
                fd,
                epoll::EventData::new_u64(u64::from(index)),
                flags,
            )
            .map_err(|e| format!("a kick descriptor that cannot be polled: {e}"))?;
        }
        let ring = self.ring(index)?;
        ring.kick = fd;
        ring.is_started = true;
        Ok(())
    }

    /// The front end keeps the descriptor, so closing it would not take it out of the set.
    fn forget_kick(&mut self, index: u32) -> Result<(), String> {
        if let Some(fd) = self.ring(index)?.kick.take() {
            let _ = epoll::delete(&self.kicks, fd);
        }
        Ok(())
    }

    fn set_mtu(&mut self, mtu: u64) -> Result<(), String> {
        let most = self.offer.longest_frame.saturating_sub(18);
        match u16::try_from(mtu) {
            Ok(mtu @ 68..) if usize::from(mtu) <= most => self.mtu = Some(mtu),
            _ => return Err(format!("an MTU of {mtu}: this port takes 68 to {most}")),
        }
        Ok(())
    }

    /// GET_CONFIG: `struct virtio_net_config` of a link that is up. An answer without a body is a refusal.
    fn config(&self, body: &[u8]) -> Result<Answer, String> {
        let (head, _) = body
            .split_at_checked(size_of::<VhostUserConfig>())
            .ok_or("GET_CONFIG without a header")?;
        let asked: VhostUserConfig = record(head).ok_or("GET_CONFIG with an impossible header")?;
        let mut all = [0; VHOST_USER_CONFIG_SIZE as usize];
        all[..6].copy_from_slice(&self.offer.mac.unwrap_or_default());
        let link_up = 1u16;
        let fields = [link_up, self.offer.pairs, self.mtu.unwrap_or(DEFAULT_MTU)];
        for (at, field) in all[6..].chunks_mut(2).zip(fields) {
            at.copy_from_slice(&field.to_le_bytes());
        }
        // The record has been checked: it ends before the configuration space does.
        let (from, to) = (asked.offset as usize, (asked.offset + asked.size) as usize);
        let answer = [asked.as_slice(), all.get(from..to).unwrap_or_default()].concat();
        Ok(Answer::Body(answer))
    }

    /// All rings are disabled, and know nothing.
    fn reset(&mut self) {
        for index in 0..self.rings.len() {
            let _ = self.forget_kick(index as u32);
            self.rings[index] = Vring::default();
        }
    }

    fn ring(&mut self, index: u32) -> Result<&mut Vring, String> {
        let most = self.rings.len();
        self.rings.get_mut(index as usize).ok_or_else(|| {
            format!(
                "there is no ring {index}: this port offers {most}, two for each queue pair; give uvale vm vhost \
                 more --queues, or the guest fewer queues"
            )
        })
    }

    /// A ring about which something new is said.
    fn change(&mut self, index: u32) -> Result<&mut Vring, String> {
        let ring = self.ring(index)?;
        ring.renew();
        Ok(ring)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.reset();
    }
}

/// MTU where nobody says anything.
pub const DEFAULT_MTU: u16 = 1500;

const NO_MIGRATION: &str = "the guest cannot be migrated: logging of dirty pages is not offered";

fn place(region: &VhostUserMemoryRegion) -> Place {
    Place {
        guest: region.guest_phys_addr,
        user: region.user_addr,
        len: region.memory_size,
        offset: region.mmap_offset,
    }
}

/// The number of a ring, and its descriptor unless there is none.
fn event(mut message: Message) -> Result<(u32, Option<EventFd>), String> {
    const NONE: u64 = 0x100;
    let value = message.body_as::<VhostUserU64>()?.value;
    let index = (value & 0xff) as u32;
    if value & NONE != 0 {
        return Ok((index, None));
    }
    let fd = EventFd::new(message.fd()?).map_err(|why| format!("{:?}: {why}", message.request))?;
    Ok((index, Some(fd)))
}
