//! Running a function on a stack of its own, and leaving it in the middle: with the allocator (`heap.rs`) all `unsafe` code of this
//! crate.
//!
//! Invariants that the `SAFETY` comments refer to:
//! 1. A coroutine never leaves the thread that made it: everything here is `!Send`, because it holds `Rc`s.
//! 2. `RUNNING` names a context only while that context's coroutine runs on this thread: it is set before a resume and put
//!    back after it, on every path.
//! 3. A context's `yielder` is set as the first act of its coroutine, lives on the coroutine's stack, and is not used after
//!    the coroutine has returned, because `RUNNING` then no longer names the context.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use corosensei::stack::{DefaultStack, Stack};
use corosensei::{Coroutine, CoroutineResult, Yielder};
use rhai::Position;

use crate::heap;
use crate::replay::{MAIN, Ticket};
use crate::state::{ScriptState, Stop};
use crate::ticker;
use crate::wakeups::{Alarm, WakeUps};

/// How many stacks a thread keeps for later.
const POOLED_STACKS: usize = 20_000;

/// How much of a stack stays in memory when it is given back; a small script uses less.
const KEPT_STACK: usize = 32 * 1024;

/// What a coroutine does for its script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// Runs the script, and its callbacks.
    Main,
    /// Runs the task of this number.
    Task(u64),
    /// Runs what is left at the end.
    Closing,
    /// Runs a callback, on top of what the script waits for.
    Callback,
}

/// One coroutine of a script.
pub(crate) struct Context {
    pub(crate) script: Rc<ScriptState>,
    pub(crate) role: Role,
    /// In whose name calls are made just now: the number of a run's task or callback.
    pub(crate) task: Cell<u32>,
    /// The call that is being made in fact just now, where the script is a run.
    pub(crate) call: Cell<Option<Ticket>>,
    waker: RefCell<Waker>,
    /// Where somebody wants to know how long it takes from a wake-up to a resumption.
    alarm: Option<(Arc<Alarm>, Waker)>,
    yielder: Cell<*const Yielder<(), ()>>,
    /// The lowest address that a script's evaluation may reach.
    stack_floor: usize,
    slice: Cell<u64>,
    resumed: Cell<Instant>,
}

thread_local! {
    static RUNNING: RefCell<Option<Rc<Context>>> = const { RefCell::new(None) };
    /// Of `RUNNING`, what every operation looks at.
    static HOT: Hot = const {
        Hot {
            slice: Cell::new(0),
            stack_floor: Cell::new(0),
            operations_left: Cell::new(u64::MAX),
            place: Cell::new((Position::NONE, 0)),
        }
    };
    static POOL: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

struct Hot {
    slice: Cell<u64>,
    stack_floor: Cell<usize>,
    /// Of the whole script: what one of its coroutines uses, the others have no more.
    operations_left: Cell<u64>,
    /// Where a call stood that makes the script grow, and how many operations were left then.
    place: Cell<(Position, u64)>,
}

/// So many operations after such a call the script is still about the same thing.
const NEAR: u64 = 16;

/// Notes where a call stands that makes the script grow.
#[inline]
pub(crate) fn note_growth(position: Position) {
    HOT.with(|hot| hot.place.set((position, hot.operations_left.get())));
}

/// Where the last such call stood, if that was just now.
pub(crate) fn near() -> Position {
    HOT.with(|hot| {
        let (position, left) = hot.place.get();
        let since = left.saturating_sub(hot.operations_left.get());
        if since <= NEAR { position } else { Position::NONE }
    })
}

/// The context of the coroutine that runs on this thread, if one does.
pub(crate) fn running() -> Option<Rc<Context>> {
    RUNNING.with_borrow(Clone::clone)
}

/// What the engine calls at every operation: preempts a script whose slice is over, and says where one has to stop.
#[inline]
pub(crate) fn on_operation() -> Option<Stop> {
    let here = 0_u8;
    let address = std::ptr::from_ref(&here).addr();
    HOT.with(|hot| {
        if address < hot.stack_floor.get() {
            return Some(Stop::Stack);
        }
        match hot.operations_left.get().checked_sub(1) {
            Some(left) => hot.operations_left.set(left),
            None => return Some(Stop::Operations),
        }
        if heap::is_exceeded() {
            return Some(Stop::Heap);
        }
        if hot.slice.get() == ticker::slice() {
            return None;
        }
        on_slice()
    })
}

/// Runs what takes much of a stack on the stack of whoever runs the script, so that the script's own stays small: every page that it
/// has touched once it keeps. Where no script runs, or none as a fiber, the body simply runs.
///
/// Meanwhile no script counts as running on this thread: the body cannot [`wait`](crate::wait()) as a script does, finds no
/// [`current_locals`](crate::current_locals), and must not call functions of the script. It must not take values apart that a script
/// can nest at will: the host's stack is not made for that.
///
/// # Panics
/// Where the body does.
pub fn on_hosts_stack<R>(body: impl FnOnce() -> R) -> R {
    /// Made and used on one thread.
    struct Here<T>(T);
    // SAFETY: `on_parent_stack` asks for `Send` so that no yielder comes to run on the other stack; the thread is the same. Yielders
    // are reached through `RUNNING` alone (invariants 2 and 3), and that names nothing until the body has returned.
    unsafe impl<T> Send for Here<T> {}
    impl<T: FnOnce() -> R, R> Here<T> {
        fn run(self) -> R {
            (self.0)()
        }
    }
    /// Names the running context again, on every path.
    struct Back(Rc<Context>);
    impl Drop for Back {
        fn drop(&mut self) {
            self.0.publish();
            RUNNING.set(Some(Rc::clone(&self.0)));
        }
    }
    let Some(context) = RUNNING.take() else {
        return body();
    };
    context.keep_count();
    publish_nothing();
    let back = Back(context);
    // SAFETY: the context was named by `RUNNING`, so by invariant 2 its coroutine runs now, and by invariant 3 the yielder is set and
    // alive.
    let yielder = unsafe { &*back.0.yielder.get() };
    let body = Here(body);
    yielder.on_parent_stack(move || body.run())
}

/// What native code that takes long calls again and again: as between two operations, others have their turn when the slice is
/// over.
#[inline]
pub(crate) fn breathe() -> Result<(), Stop> {
    if HOT.with(|hot| hot.slice.get()) == ticker::slice() {
        return Ok(());
    }
    on_slice().map_or(Ok(()), Err)
}

/// A new slice has begun since the running coroutine was resumed.
#[cold]
fn on_slice() -> Option<Stop> {
    let context = running()?;
    ticker::keep_ticking();
    if let Some(stop) = context.script.stopped() {
        return Some(stop);
    }
    if context.resumed.get().elapsed() < ticker::SLICE {
        context.enter_slice();
        return None;
    }
    context.preempt().err()
}

impl Context {
    /// Who waits for what is waited for just now.
    pub(crate) fn waiter(&self) -> Role {
        match self.role {
            Role::Task(id) => Role::Task(id),
            _ if self.script.callbacks.is_running() => Role::Callback,
            role => role,
        }
    }

    /// Waits for a future from within the running coroutine, which is suspended as often as the future is pending. Callbacks whose
    /// time has come run before a suspension.
    pub(crate) fn run_to_end<F: Future>(&self, mut future: Pin<&mut F>) -> Result<F::Output, Stop> {
        let mut output = None;
        self.run_until(&mut |cx| {
            let ready = future.as_mut().poll(cx).map(|given| output = Some(given));
            ready.is_ready()
        })?;
        Ok(output.unwrap_or_else(|| unreachable!("it runs until there is one")))
    }

    // Apart, and the same for all futures: what it holds of the stack, every script holds while it waits.
    #[inline(never)]
    fn run_until(&self, is_ready: &mut dyn FnMut(&mut std::task::Context<'_>) -> bool) -> Result<(), Stop> {
        loop {
            if let Some(stop) = self.script.stopped() {
                return Err(stop);
            }
            let waker = self.set_alarm();
            let mut cx = std::task::Context::from_waker(&waker);
            // What the future allocates is the host's, and may be freed on another thread.
            if heap::uncharged(|| is_ready(&mut cx)) {
                return Ok(());
            }
            if !(self.role == Role::Main && self.script.callbacks.run_ready(&mut cx, &self.script)) {
                self.suspend();
            }
        }
    }

    /// What wakes this coroutine for what it waits for.
    fn set_alarm(&self) -> Waker {
        match &self.alarm {
            None => self.waker.borrow().clone(),
            Some((alarm, waker)) => {
                alarm.set();
                waker.clone()
            }
        }
    }

    /// Gives the thread's other scripts their turn. Of this script nothing runs meanwhile, neither tasks nor callbacks: they
    /// switch only where one waits.
    fn preempt(&self) -> Result<(), Stop> {
        // tokio puts a task that yields this way behind its timers and its I/O; waking ourselves would starve both.
        let mut yielded = std::pin::pin!(tokio::task::yield_now());
        crate::admission::preempted();
        self.script.begin_preemption(self.id());
        let ended = loop {
            if let Some(stop) = self.script.stopped() {
                break Err(stop);
            }
            let waker = self.waker.borrow().clone();
            let mut cx = std::task::Context::from_waker(&waker);
            if heap::uncharged(|| yielded.as_mut().poll(&mut cx)).is_ready() {
                break Ok(());
            }
            self.suspend();
        };
        self.script.end_preemption();
        ended
    }

    /// Tells the script's coroutines apart.
    pub(crate) fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn suspend(&self) {
        // SAFETY: a context is only reached through `RUNNING`, so by invariant 2 its coroutine runs now, and by invariant 3
        // the yielder is set and alive.
        let yielder = unsafe { &*self.yielder.get() };
        yielder.suspend(());
    }

    /// Starts to count a slice anew.
    fn enter_slice(&self) {
        let slice = ticker::slice();
        self.slice.set(slice);
        self.resumed.set(Instant::now());
        HOT.with(|hot| hot.slice.set(slice));
    }

    /// Takes down what is left of the script's operations, before another context counts.
    fn keep_count(&self) {
        self.script
            .operations_left
            .set(HOT.with(|hot| hot.operations_left.get()));
    }

    fn publish(&self) {
        HOT.with(|hot| {
            hot.slice.set(self.slice.get());
            hot.stack_floor.set(self.stack_floor);
            hot.operations_left.set(self.script.operations_left.get());
            hot.place.set((Position::NONE, 0));
        });
    }
}

/// No script runs: nothing is counted, and the stack has no floor.
fn publish_nothing() {
    HOT.with(|hot| {
        hot.stack_floor.set(0);
        hot.operations_left.set(u64::MAX);
    });
}

/// What a coroutine ends with: what its body gave, or the payload of the panic that ended it.
pub(crate) type Ending<T> = Result<T, Box<dyn Any + Send>>;

/// A function on a stack of its own.
pub(crate) struct Fibre<T: 'static> {
    coroutine: Option<Coroutine<(), (), Ending<T>, DefaultStack>>,
    context: Rc<Context>,
}

impl<T: 'static> Fibre<T> {
    /// Prepares `body` to run on a stack from the pool, or on a new one.
    pub(crate) fn new(
        script: &Rc<ScriptState>,
        role: Role,
        body: impl FnOnce() -> T + 'static,
    ) -> std::io::Result<Self> {
        let stack = take_stack(script.stack_bytes)?;
        let context = Rc::new(Context {
            script: Rc::clone(script),
            role,
            task: Cell::new(MAIN),
            call: Cell::new(None),
            waker: RefCell::new(Waker::noop().clone()),
            alarm: script.locals.get::<WakeUps>().map(|listener| {
                let alarm = Alarm::new(listener);
                (Arc::clone(&alarm), alarm.into())
            }),
            yielder: Cell::new(std::ptr::null()),
            // A script's own recursion has the upper quarter; the rest is for native code that recurses over nested values.
            stack_floor: stack.limit().get() + size_of_stack(&stack) / 4 * 3,
            slice: Cell::new(0),
            resumed: Cell::new(Instant::now()),
        });
        let inner = Rc::clone(&context);
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            inner.yielder.set(std::ptr::from_ref(yielder));
            // A panic of a host function ends this script alone.
            catch_unwind(AssertUnwindSafe(body))
        });
        Ok(Self {
            coroutine: Some(coroutine),
            context,
        })
    }

    /// Runs on until the next suspension, or to the end.
    pub(crate) fn resume(&mut self, waker: &Waker) -> Option<Ending<T>> {
        let coroutine = self.coroutine.as_mut()?;
        {
            let mut known = self.context.waker.borrow_mut();
            if !known.will_wake(waker) {
                known.clone_from(waker);
            }
        }
        if let Some((alarm, _)) = &self.context.alarm {
            alarm.answer(waker);
        }
        let entered = Entered::new(&self.context);
        let result = coroutine.resume(());
        drop(entered);
        match result {
            CoroutineResult::Yield(()) => None,
            CoroutineResult::Return(ending) => {
                if let Some(coroutine) = self.coroutine.take() {
                    give_back(coroutine.into_stack());
                }
                Some(ending)
            }
        }
    }

    /// Whether the coroutine may run now: another one of its script may have been preempted in the middle of something.
    pub(crate) fn may_run(&self) -> bool {
        self.context.script.may_run(self.context.id())
    }

    /// Makes the body return: every wait in it fails from now on. A body that has not begun is run as well, and has to return at
    /// once: what it captured may nest too deeply to be dropped on any other stack.
    pub(crate) fn unwind(&mut self) {
        if self.coroutine.is_some() {
            self.context.script.stop(Stop::Cancelled);
        }
        while self.coroutine.is_some() {
            // What it gives, or panics with, is dropped: nobody waits for it.
            let _ = self.resume(Waker::noop());
        }
    }
}

impl<T> Drop for Fibre<T> {
    fn drop(&mut self) {
        self.unwind();
    }
}

/// Names a context as the running one, and puts back what was named before.
struct Entered {
    before: Option<Rc<Context>>,
    entered: Rc<Context>,
    heap_before: heap::Before,
}

impl Entered {
    fn new(context: &Rc<Context>) -> Self {
        let before = RUNNING.with_borrow_mut(|running| running.replace(Rc::clone(context)));
        if let Some(before) = &before {
            before.keep_count();
        }
        ticker::keep_ticking();
        context.enter_slice();
        context.publish();
        Self {
            before,
            entered: Rc::clone(context),
            heap_before: heap::enter(context.script.heap.get()),
        }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let script = &self.entered.script;
        script.heap.set(heap::leave(&self.heap_before));
        self.entered.keep_count();
        let before = self.before.take();
        match &before {
            Some(context) => context.publish(),
            None => publish_nothing(),
        }
        RUNNING.with_borrow_mut(|running| *running = before);
    }
}

fn take_stack(bytes: usize) -> std::io::Result<DefaultStack> {
    let pooled = POOL.with_borrow_mut(|pool| {
        let found = pool.iter().rposition(|stack| size_of_stack(stack) >= bytes)?;
        Some(pool.swap_remove(found))
    });
    pooled.map_or_else(|| DefaultStack::new(bytes), Ok)
}

fn give_back(stack: DefaultStack) {
    let unused = size_of_stack(&stack).saturating_sub(KEPT_STACK);
    if was_used_below(&stack, unused) {
        // SAFETY: the range is the lower part of this stack, without its guard page; nothing runs on it, and nothing on it is
        // read again: a coroutine that starts on it writes before it reads. Where the call fails, the memory only stays in use.
        unsafe {
            libc::madvise(stack.limit().get() as *mut libc::c_void, unused, libc::MADV_DONTNEED);
        }
    }
    POOL.with_borrow_mut(|pool| {
        if pool.len() < POOLED_STACKS {
            pool.push(stack);
        }
    });
}

/// Whether the stack's lowest `unused` bytes take memory: whether the page at their upper end does, since a stack grows
/// downwards page by page (the compiler's stack probes touch each). Asking about one page costs a tenth of giving back the
/// whole range.
fn was_used_below(stack: &DefaultStack, unused: usize) -> bool {
    let page = page_size();
    if unused < page {
        return false;
    }
    let top = (stack.limit().get() + unused - page) & !(page - 1);
    let mut resident = 0;
    // SAFETY: `top` is the start of a page within this stack's mapping, and one page's answer is one byte. The call reads
    // and writes nothing else. Where it fails, the range is given back.
    let failed = unsafe { libc::mincore(top as *mut libc::c_void, page, &raw mut resident) } != 0;
    failed || resident & 1 != 0
}

fn page_size() -> usize {
    // SAFETY: it reads a constant of the system.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

fn size_of_stack(stack: &DefaultStack) -> usize {
    stack.base().get() - stack.limit().get()
}
