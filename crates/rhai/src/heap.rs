//! How much memory a script holds: an allocator that charges the script that runs.
//!
//! An allocator cannot refuse without ending the process, so it only counts; the check is made at the script's next operation.
//! What one operation can allocate is bounded beforehand where it is not in proportion to what the script holds already (see
//! `bounded.rs`).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The least that an allocation costs, bookkeeping included, with the allocators in common use.
const SMALLEST: usize = 32;

/// A global allocator that charges what a script allocates to that script, so that
/// [`Limits::heap_bytes`](crate::Limits::heap_bytes) holds. The program installs it; without it that limit is not enforced.
///
/// ```
/// use inflight_rhai::ScriptAllocator;
///
/// #[global_allocator]
/// static ALLOCATOR: ScriptAllocator = ScriptAllocator::system();
///
/// let engine = inflight_rhai::FiberEngine::new(rhai::Engine::new());
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// let script = engine.eval_async::<()>("let a = []; loop { a += [1, 2, 3] + a; }");
/// assert!(runtime.block_on(script).unwrap_err().message().contains("heap"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct ScriptAllocator<A = System>(A);

impl ScriptAllocator {
    /// On top of the operating system's allocator.
    #[must_use]
    pub const fn system() -> Self {
        Self(System)
    }
}

impl<A> ScriptAllocator<A> {
    /// On top of another allocator.
    #[must_use]
    pub const fn new(allocator: A) -> Self {
        Self(allocator)
    }
}

/// The meter of the script that runs on this thread.
struct Meter {
    charging: Cell<bool>,
    used: Cell<isize>,
    limit: Cell<isize>,
}

thread_local! {
    // Constant and without a destructor: an allocator may use it at any time in a thread's life.
    static METER: Meter = const {
        Meter { charging: Cell::new(false), used: Cell::new(0), limit: Cell::new(isize::MAX) }
    };
}

/// Charges the running script, where one runs; most allocations are the host's.
#[inline]
fn charge(change: impl FnOnce() -> isize) {
    METER.with(|meter| {
        if meter.charging.get() {
            meter.used.set(meter.used.get() + change());
        }
    });
}

/// What an allocation of this size costs.
fn cost(size: usize) -> isize {
    // Sizes are at most `isize::MAX`; the sum of all that exist fits.
    isize::try_from((size + 8).next_multiple_of(16).max(SMALLEST)).unwrap_or(isize::MAX)
}

// SAFETY: every method passes its arguments to the inner allocator unchanged and gives its answer back unchanged; counting
// touches neither, does not allocate and does not unwind.
unsafe impl<A: GlobalAlloc> GlobalAlloc for ScriptAllocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of the inner allocator, which is the same.
        let pointer = unsafe { self.0.alloc(layout) };
        if !pointer.is_null() {
            charge(|| cost(layout.size()));
        }
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        charge(|| -cost(layout.size()));
        // SAFETY: as above.
        unsafe { self.0.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let pointer = unsafe { self.0.alloc_zeroed(layout) };
        if !pointer.is_null() {
            charge(|| cost(layout.size()));
        }
        pointer
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        let moved = unsafe { self.0.realloc(pointer, layout, size) };
        if !moved.is_null() {
            charge(|| cost(size) - cost(layout.size()));
        }
        moved
    }
}

/// What a suspended script holds, and may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeapState {
    pub(crate) used: isize,
    pub(crate) limit: isize,
}

impl HeapState {
    pub(crate) fn with_limit(bytes: Option<usize>) -> Self {
        Self {
            used: 0,
            limit: bytes
                .and_then(|bytes| isize::try_from(bytes).ok())
                .unwrap_or(isize::MAX),
        }
    }
}

/// The meter in force before another one was put in its place.
pub(crate) struct Before {
    charging: bool,
    state: HeapState,
}

/// Charges this meter from now on.
pub(crate) fn enter(state: HeapState) -> Before {
    METER.with(|meter| Before {
        charging: meter.charging.replace(true),
        state: HeapState {
            used: meter.used.replace(state.used),
            limit: meter.limit.replace(state.limit),
        },
    })
}

/// Puts the meter back that was in force before, and gives the present one.
pub(crate) fn leave(before: &Before) -> HeapState {
    METER.with(|meter| {
        meter.charging.set(before.charging);
        HeapState {
            used: meter.used.replace(before.state.used),
            limit: meter.limit.replace(before.state.limit),
        }
    })
}

/// How many bytes the running script holds.
pub(crate) fn used() -> usize {
    METER.with(|meter| usize::try_from(meter.used.get()).unwrap_or(0))
}

/// How many bytes the running script may hold.
pub(crate) fn limit() -> usize {
    METER.with(|meter| usize::try_from(meter.limit.get()).unwrap_or(usize::MAX))
}

/// Whether the running script holds more than it may.
#[inline]
pub(crate) fn is_exceeded() -> bool {
    METER.with(|meter| meter.used.get() > meter.limit.get())
}

/// Whether the running script may allocate this much more.
pub(crate) fn has_room_for(bytes: usize) -> bool {
    METER.with(|meter| {
        let left = meter.limit.get().saturating_sub(meter.used.get().max(0));
        isize::try_from(bytes).is_ok_and(|bytes| bytes <= left)
    })
}

/// Runs something on behalf of the host, without charging the script: for what outlives the script, or ends on another thread.
pub fn uncharged<R>(body: impl FnOnce() -> R) -> R {
    struct Reset(bool);
    impl Drop for Reset {
        fn drop(&mut self) {
            METER.with(|meter| meter.charging.set(self.0));
        }
    }
    let _reset = Reset(METER.with(|meter| meter.charging.replace(false)));
    body()
}

/// As [`uncharged`], for what may fail: an error is the script's, which catches it and lets go of it.
pub fn uncharged_unless_err<R, E>(body: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
    /// Puts the script's meter back, on every path.
    struct Aside(Before);
    impl Drop for Aside {
        fn drop(&mut self) {
            leave(&self.0);
        }
    }
    let aside = Aside(enter(HeapState::with_limit(None)));
    let result = body();
    let held = METER.with(|meter| meter.used.get());
    drop(aside);
    if result.is_err() {
        charge(|| held);
    }
    result
}

/// A value of the host's in a script's hands: what it holds is not charged, however it goes. Boxed, so that it takes little of the
/// script's stack.
#[derive(Debug)]
pub(crate) struct Hosted<T>(Option<Box<T>>);

impl<T> Hosted<T> {
    /// Keeps a value that was made uncharged.
    pub(crate) fn new(value: impl Into<Box<T>>) -> Self {
        Self(Some(uncharged(|| value.into())))
    }

    pub(crate) fn into_inner(mut self) -> T {
        // Taken here alone, with the whole.
        let value = self.0.take().unwrap_or_else(|| unreachable!("a value is taken once"));
        uncharged(|| *value)
    }
}

impl<T> std::ops::Deref for Hosted<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
            .as_ref()
            .unwrap_or_else(|| unreachable!("a value is taken with the whole"))
    }
}

impl<T> std::ops::DerefMut for Hosted<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0
            .as_mut()
            .unwrap_or_else(|| unreachable!("a value is taken with the whole"))
    }
}

impl<T> Drop for Hosted<T> {
    fn drop(&mut self) {
        uncharged(|| drop(self.0.take()));
    }
}

/// Memory of the host that a script makes it keep: counts as the script's own until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge(isize);

impl Charge {
    pub(crate) fn new(bytes: usize) -> Self {
        let cost = cost(bytes);
        charge(|| cost);
        Self(cost)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        charge(|| -self.0);
    }
}

/// These run under Miri too: see `docs/fibers.md`.
#[cfg(test)]
mod tests {
    use super::*;
    use std::slice;

    const ALLOCATOR: ScriptAllocator = ScriptAllocator::system();

    fn metered<R>(limit: usize, body: impl FnOnce() -> R) -> (R, HeapState) {
        let before = enter(HeapState::with_limit(Some(limit)));
        let result = body();
        (result, leave(&before))
    }

    #[test]
    fn what_is_allocated_is_charged_until_it_is_freed() {
        let small = Layout::from_size_align(10, 1).expect("a layout");
        let large = Layout::from_size_align(5_000, 64).expect("a layout");
        let ((), after) = metered(4_000, || {
            // SAFETY: sizes are not zero; each pointer is used within the size that it has then, and freed once with its layout.
            unsafe {
                let text = ALLOCATOR.alloc(small);
                text.copy_from(b"0123456789".as_ptr(), 10);
                let zeroed = ALLOCATOR.alloc_zeroed(large);
                assert!(slice::from_raw_parts(zeroed, 5_000).iter().all(|byte| *byte == 0));
                assert!(zeroed.addr().is_multiple_of(64));
                assert!(is_exceeded());
                ALLOCATOR.dealloc(zeroed, large);
                assert!(!is_exceeded() && has_room_for(3_900) && !has_room_for(4_000));

                let text = ALLOCATOR.realloc(text, small, 1_000);
                assert_eq!(slice::from_raw_parts(text, 10), b"0123456789");
                assert!(!has_room_for(3_500));
                let grown = Layout::from_size_align(1_000, 1).expect("a layout");
                let text = ALLOCATOR.realloc(text, grown, 5);
                assert_eq!(slice::from_raw_parts(text, 5), b"01234");
                ALLOCATOR.dealloc(text, Layout::from_size_align(5, 1).expect("a layout"));
            }
        });
        assert_eq!(after.used, 0);
        assert_eq!(after.limit, 4_000);
    }

    #[test]
    fn what_the_host_does_meanwhile_is_not_charged() {
        let layout = Layout::from_size_align(100, 8).expect("a layout");
        let (mut hosted, after) = metered(1_000, || {
            // SAFETY: as above.
            let free = |pointer| unsafe { ALLOCATOR.dealloc(pointer, layout) };
            // SAFETY: as above.
            free(uncharged(|| unsafe { ALLOCATOR.alloc(layout) }));
            let charge = Charge::new(100);
            let _ = std::panic::catch_unwind(|| uncharged(|| panic!("the host fails")));
            // SAFETY: as above. It is charged again after the panic.
            let kept = unsafe { ALLOCATOR.alloc(layout) };
            drop(charge);
            uncharged(|| free(kept));
            Hosted::<Vec<i32>>::new(vec![1, 2])
        });
        assert_eq!(after.used, 0, "freed what was not charged, and the other way round");
        hosted.push(3);
        assert_eq!(hosted.into_inner(), [1, 2, 3]);
    }

    #[test]
    fn what_fails_leaves_the_script_its_error() {
        let layout = Layout::from_size_align(100, 8).expect("a layout");
        // SAFETY: as above.
        let made = || unsafe { ALLOCATOR.alloc(layout) };
        // SAFETY: as above.
        let free = |pointer| unsafe { ALLOCATOR.dealloc(pointer, layout) };
        let (kept, after) = metered(1_000, || {
            let error = uncharged_unless_err(|| {
                free(made());
                Err::<(), _>(made())
            });
            assert!(!has_room_for(900), "the error is charged");
            error.map_err(free).expect_err("an error");
            let _ =
                std::panic::catch_unwind(|| uncharged_unless_err(|| -> Result<(), ()> { panic!("the host fails") }));
            assert!(!has_room_for(1_001), "the script is charged again");
            uncharged_unless_err(|| Ok::<_, ()>(made())).expect("made")
        });
        assert_eq!(after.used, 0);
        free(kept);
    }

    #[test]
    fn meters_are_put_back() {
        let ((), outer) = metered(100, || {
            let charge = Charge::new(50);
            let ((), inner) = metered(10, || {
                assert!(!is_exceeded());
                std::mem::forget(Charge::new(20));
                assert!(is_exceeded());
            });
            assert_eq!(inner.used, SMALLEST.cast_signed());
            assert!(!is_exceeded());
            std::mem::forget(charge);
        });
        assert_eq!(outer.used, cost(50));
        assert!(has_room_for(usize::MAX / 4), "nobody is charged here");
    }
}
