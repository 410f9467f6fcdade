//! What a front end has said about one of its rings.

use super::ring::{Addresses, Batch, Broken, Queue};
use crate::event_fd::EventFd;
use crate::guest_ram::GuestRam;

/// Descriptor table, available ring and used ring, by the front end's addresses.
pub type UserAddresses = [u64; 3];

/// A ring. It is started by a kick descriptor and stopped by GET_VRING_BASE; it moves packets while it is enabled, too.
#[derive(Default)]
pub struct Vring {
    /// entries, as they were last said
    pub size: u32,
    /// where it is
    pub at: Option<UserAddresses>,
    /// number of the entry to begin with
    pub base: u16,
    /// becomes readable when the guest has done something
    pub kick: Option<EventFd>,
    /// interrupts the guest
    pub call: Option<EventFd>,
    /// tells the front end that the ring cannot be used
    pub err: Option<EventFd>,
    /// SET_VRING_KICK has come
    pub is_started: bool,
    /// SET_VRING_ENABLE
    pub is_enabled: bool,
    /// its state while it is in use
    queue: Option<Queue>,
    /// the guest, or the front end, has broken it; until it is stopped
    is_broken: bool,
}

impl Vring {
    /// Does it move packets?
    pub fn is_live(&self) -> bool {
        self.is_started && self.is_enabled && !self.is_broken
    }

    /// Is it to be looked at from time to time because nobody kicks?
    pub fn is_polled(&self) -> bool {
        self.is_live() && self.kick.is_none()
    }

    /// Is it started, but not enabled: what the guest sends is to be thrown away?
    pub fn is_silenced(&self) -> bool {
        self.is_started && !self.is_enabled && !self.is_broken
    }

    /// Runs `work` on what is available, publishes what it has used, and interrupts the guest. A ring that is broken is
    /// out of service from then on, and the result says why, once.
    pub fn batch<T>(
        &mut self,
        ram: &GuestRam,
        event_idx: bool,
        work: impl FnOnce(&mut Batch<'_, '_>) -> Result<T, Broken>,
    ) -> Result<T, Broken> {
        let outcome = self.try_batch(ram, event_idx, work);
        if outcome.is_err() {
            self.is_broken = true;
            self.queue = None;
            if let Some(err) = &self.err {
                err.signal();
            }
        }
        outcome
    }

    fn try_batch<T>(
        &mut self,
        ram: &GuestRam,
        event_idx: bool,
        work: impl FnOnce(&mut Batch<'_, '_>) -> Result<T, Broken>,
    ) -> Result<T, Broken> {
        let queue = match &mut self.queue {
            Some(queue) => queue,
            none => none.insert(made(self.size, self.at, self.base, ram, event_idx)?),
        };
        let mut batch = queue.open(ram.memory())?;
        let done = work(&mut batch)?;
        if batch.publish()?
            && let Some(call) = &self.call
        {
            call.signal();
        }
        Ok(done)
    }

    /// Number of the next entry, as GET_VRING_BASE answers.
    pub fn next_entry(&self) -> u16 {
        self.queue.as_ref().map_or(self.base, Queue::next_avail)
    }

    /// Goes on from where it is, but with what has been said since: other addresses, other features, other RAM.
    pub fn renew(&mut self) {
        self.base = self.next_entry();
        self.queue = None;
    }

    /// GET_VRING_BASE.
    pub fn stop(&mut self) -> u16 {
        self.renew();
        self.is_started = false;
        self.is_broken = false;
        self.base
    }
}

fn made(
    size: u32,
    at: Option<UserAddresses>,
    base: u16,
    ram: &GuestRam,
    event_idx: bool,
) -> Result<Queue, Broken> {
    let names = ["descriptor table", "available ring", "used ring"];
    let at = at.ok_or(Broken::Place("descriptor table"))?;
    let mut found = [vm_memory::GuestAddress(0); 3];
    for ((found, user), name) in found.iter_mut().zip(at).zip(names) {
        *found = ram.guest_address(user).ok_or(Broken::Unshared(name))?;
    }
    let [desc, avail, used] = found;
    Queue::new(
        ram.memory(),
        size,
        Addresses { desc, avail, used },
        base,
        event_idx,
    )
}
