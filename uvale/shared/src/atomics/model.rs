//! Atomics that loom explores, in memory as it is: same size, same layout, any mapping.
//!
//! Outside of [`check`] these are the processor's atomics, so a test builds its world with the code that
//! builds every world. Inside, each address that is touched has an atomic of loom's, whose first value is
//! what the memory holds. Operations go to that one and leave the memory as it is, for the next execution
//! to begin with.
//!
//! Slots and payload are no atomics here but memory that one side owns at a time: [`reads`] and [`writes`]
//! make loom check that nobody else touches them unless the owner has passed them on. What is written there
//! is put back before the next execution.
//!
//! loom wants its atomics to be made before threads are spawned. Which addresses that are is found out by
//! doing: an execution that comes to a new one goes on with the bare memory, proves nothing, and the check
//! begins again.

use core::sync::atomic;
use core::sync::atomic::Ordering;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;

use crate::shm::Shared;

pub use loom::thread;

/// Bytes that have one owner: a slot, so much of the payload.
const PIECE: usize = 16;

/// What is known of an address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    I64,
    U16,
    U32,
    U64,
    /// a piece of memory with one owner at a time
    Owned,
}

/// loom's counterpart.
#[derive(Clone)]
enum Cell {
    I64(Rc<loom::sync::atomic::AtomicI64>),
    U16(Rc<loom::sync::atomic::AtomicU16>),
    U32(Rc<loom::sync::atomic::AtomicU32>),
    U64(Rc<loom::sync::atomic::AtomicU64>),
    Owned(Rc<loom::cell::UnsafeCell<()>>),
}

/// A check, in the one thread that runs all of loom's.
#[derive(Default)]
struct Model {
    /// a check is under way
    is_on: bool,
    /// addresses that executions have touched
    known: BTreeSet<(usize, Kind)>,
    /// this execution has touched a new one
    has_grown: bool,
    cells: BTreeMap<(usize, Kind), Cell>,
    /// what memory held before it was written, in the order in which it was
    before: Vec<(usize, Vec<u8>)>,
    /// where that is
    written: BTreeSet<(usize, usize)>,
    executions: u64,
}

thread_local! {
    static MODEL: RefCell<Model> = RefCell::default();
}

/// loom's counterpart of what lies at `at`; `None`: the memory itself is to be used.
fn cell(at: usize, kind: Kind) -> Option<Cell> {
    MODEL.with_borrow_mut(|model| {
        // Threads of a check that has failed are unwound outside of loom.
        if !model.is_on || std::thread::panicking() {
            return None;
        }
        let known = model.cells.get(&(at, kind)).cloned();
        if known.is_none() {
            model.known.insert((at, kind));
            model.has_grown = true;
        }
        known
    })
}

/// Takes note of `n` bytes that are about to be written.
fn keep(at: usize, n: usize) {
    MODEL.with_borrow_mut(|model| {
        if model.is_on && model.written.insert((at, n)) {
            // SAFETY: the caller is about to write these bytes, and all threads of the model are this one.
            let bytes = unsafe { core::slice::from_raw_parts(at as *const u8, n) };
            model.before.push((at, bytes.to_vec()));
        }
    });
}

impl Model {
    /// Memory as it was before this execution.
    fn put_back(&mut self) {
        for (at, bytes) in core::mem::take(&mut self.before).iter().rev() {
            // SAFETY: noted by `keep`; what a check uses lives as long as the check.
            unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), *at as *mut u8, bytes.len()) };
        }
        self.written.clear();
    }

    /// Begins an execution, with loom's counterparts of everything known.
    fn begin(&mut self) {
        use loom::sync::atomic::{AtomicI64, AtomicU16, AtomicU32, AtomicU64};
        self.put_back();
        self.executions += 1;
        self.cells.clear();
        for &(at, kind) in &self.known {
            // SAFETY: an atomic of this type was used at this address, and is still there.
            let cell = unsafe {
                match kind {
                    Kind::I64 => Cell::I64(Rc::new(AtomicI64::new(*(at as *const i64)))),
                    Kind::U16 => Cell::U16(Rc::new(AtomicU16::new(*(at as *const u16)))),
                    Kind::U32 => Cell::U32(Rc::new(AtomicU32::new(*(at as *const u32)))),
                    Kind::U64 => Cell::U64(Rc::new(AtomicU64::new(*(at as *const u64)))),
                    Kind::Owned => Cell::Owned(Rc::new(loom::cell::UnsafeCell::new(()))),
                }
            };
            self.cells.insert((at, kind), cell);
        }
    }
}

/// Runs `f` in every order and with every value that the memory model allows. What `f` uses is made before, and
/// stays where it is.
pub fn check(f: impl Fn() + Send + Sync + 'static) {
    let f = Arc::new(f);
    MODEL.with_borrow_mut(|model| {
        assert!(!model.is_on, "one check at a time");
        *model = Model {
            is_on: true,
            ..Model::default()
        };
    });
    loop {
        let outcome = catch_unwind(AssertUnwindSafe(|| explore(f.clone())));
        let again = MODEL.with_borrow_mut(|model| {
            model.put_back();
            model.cells.clear();
            model.is_on = core::mem::take(&mut model.has_grown);
            model.is_on
        });
        if again {
            continue;
        }
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
        let executions = MODEL.with_borrow(|model| model.executions);
        println!("{executions} executions");
        return;
    }
}

fn explore(f: Arc<impl Fn() + Send + Sync + 'static>) {
    MODEL.with_borrow_mut(|model| model.executions = 0);
    let mut loom = loom::model::Builder::new();
    loom.max_branches = 100_000;
    loom.check(move || {
        if MODEL.with_borrow(|model| model.has_grown) {
            // Not a panic that anybody is told of.
            resume_unwind(Box::new("the check begins again"));
        }
        MODEL.with_borrow_mut(Model::begin);
        f();
    });
}

/// Says that `n` bytes from `at` on are read while nobody may write them.
pub fn reads<T>(at: *const T, n: usize) {
    for at in pieces(at.addr(), n) {
        if let Some(Cell::Owned(cell)) = cell(at, Kind::Owned) {
            cell.with(|_| ());
        }
    }
}

/// Says that `n` bytes from `at` on are written while nobody else may touch them.
pub fn writes<T>(at: *const T, n: usize) {
    for at in pieces(at.addr(), n) {
        if let Some(Cell::Owned(cell)) = cell(at, Kind::Owned) {
            cell.with_mut(|_| ());
        }
    }
    keep(at.addr(), n);
}

/// The pieces that `n` bytes from `at` on lie in.
fn pieces(at: usize, n: usize) -> impl Iterator<Item = usize> {
    (at / PIECE * PIECE..at + n).step_by(PIECE)
}

/// Lets other threads go on.
pub fn spin_loop() {
    if MODEL.with_borrow(|model| model.is_on) {
        loom::hint::spin_loop();
    }
}

/// A futex sleep may end at any time: it lets other threads go on.
pub fn wait(_word: &AtomicU64, _expected: u64) -> bool {
    spin_loop();
    false
}

/// Nobody sleeps so deeply.
pub fn wake_all(_word: &AtomicU64) {}

macro_rules! atomics {
    ($($name:ident $kind:ident $int:ty),*) => { $(
        /// As the processor's.
        #[repr(transparent)]
        #[derive(Default)]
        pub struct $name(atomic::$name);

        // SAFETY: a transparent wrapper of an integer atomic.
        unsafe impl Shared for $name {}

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.load(Ordering::Relaxed).fmt(f)
            }
        }

        #[allow(missing_docs)]
        impl $name {
            pub const fn new(value: $int) -> Self {
                Self(atomic::$name::new(value))
            }

            fn cell(&self) -> Option<Rc<loom::sync::atomic::$name>> {
                match cell(core::ptr::from_ref(self).addr(), Kind::$kind) {
                    Some(Cell::$kind(cell)) => Some(cell),
                    _ => None,
                }
            }

            /// The memory itself, about to be written.
            fn bare(&self) -> &atomic::$name {
                keep(core::ptr::from_ref(self).addr(), size_of::<$int>());
                &self.0
            }

            pub fn load(&self, order: Ordering) -> $int {
                self.cell().map_or_else(|| self.0.load(order), |cell| cell.load(order))
            }

            pub fn store(&self, value: $int, order: Ordering) {
                self.cell().map_or_else(|| self.bare().store(value, order), |cell| cell.store(value, order));
            }

            pub fn swap(&self, value: $int, order: Ordering) -> $int {
                self.cell().map_or_else(|| self.bare().swap(value, order), |cell| cell.swap(value, order))
            }

            pub fn fetch_add(&self, value: $int, order: Ordering) -> $int {
                self.cell().map_or_else(|| self.bare().fetch_add(value, order), |cell| cell.fetch_add(value, order))
            }

            pub fn fetch_or(&self, value: $int, order: Ordering) -> $int {
                self.cell().map_or_else(|| self.bare().fetch_or(value, order), |cell| cell.fetch_or(value, order))
            }

            pub fn fetch_and(&self, value: $int, order: Ordering) -> $int {
                self.cell().map_or_else(|| self.bare().fetch_and(value, order), |cell| cell.fetch_and(value, order))
            }

            pub fn compare_exchange(
                &self,
                current: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                match self.cell() {
                    Some(cell) => cell.compare_exchange(current, new, success, failure),
                    None => self.bare().compare_exchange(current, new, success, failure),
                }
            }
        }
    )* };
}

atomics!(AtomicI64 I64 i64, AtomicU16 U16 u16, AtomicU32 U32 u32, AtomicU64 U64 u64);
