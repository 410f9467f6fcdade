//! A ring and the buffers of its region, looked at once and used many times.

use std::sync::Arc;

use super::{Buffer, Buffers, Mapping, RegionMap, RingHeader, RingPlace, RingView, SlotView};

/// A ring with a share in the region it lies in.
pub struct HeldRing {
    header: *const RingHeader,
    slots: *const [SlotView],
    /// of the mapping of `region`
    buffers: Buffers<'static>,
    region: Arc<RegionMap>,
}

// SAFETY: the pointers lead into the mapping of `region`, which all threads share.
unsafe impl Send for HeldRing {}
// SAFETY: as above.
unsafe impl Sync for HeldRing {}

impl HeldRing {
    /// The ring at `place`. `None` if that is of another mapping, or if the region's buffers are not made of whole
    /// lines.
    pub fn new(region: &Arc<RegionMap>, place: RingPlace) -> Option<Self> {
        let buffers = Buffers::of(region)?;
        let view = RingView::at(&region.map, place)?;
        Some(Self {
            header: view.header(),
            slots: view.slots(),
            // SAFETY: handed out only for as long as `self`, and with it `region`, lives.
            buffers: unsafe { buffers.held() },
            region: region.clone(),
        })
    }

    /// The ring.
    #[inline(always)]
    pub fn view(&self) -> RingView<'_> {
        // SAFETY: of a view of the mapping, in which `region` has a share for as long as `self` lives.
        unsafe { RingView::of(&*self.header, &*self.slots) }
    }

    /// Is it the ring at `place` of `region`?
    pub fn is_at(&self, region: &Mapping, place: RingPlace) -> bool {
        RingView::at(region, place).is_some_and(|ring| {
            core::ptr::eq(ring.header(), self.header) && core::ptr::eq(ring.slots(), self.slots)
        })
    }

    /// The region it lies in.
    #[inline(always)]
    pub fn region(&self) -> &RegionMap {
        &self.region
    }

    /// All buffers of the region.
    #[inline(always)]
    pub fn buffers(&self) -> Buffers<'_> {
        self.buffers
    }

    /// Buffer `idx`. Like netmap's `NMB()`, an index beyond the pool means buffer 0, which nobody owns.
    #[inline(always)]
    pub fn buffer(&self, idx: u32) -> Buffer<'_> {
        self.buffers.at(idx)
    }
}
