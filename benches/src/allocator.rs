//! An allocator that is chosen for a process when it is started: one program compares clients with different ones.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use inflight_rhai::ScriptAllocator;
use mimalloc::MiMalloc;

/// The environment's variable that is set where a process has the allocator of the program `inflight`.
const VARIABLE: &str = "INFLIGHT_BENCHES_ALLOCATOR";
const VARIABLE_OF_C: &std::ffi::CStr = c"INFLIGHT_BENCHES_ALLOCATOR";

const UNKNOWN: u8 = 0;
const SYSTEM: u8 = 1;
const PROGRAM: u8 = 2;

/// Has this process started with the system's allocator, or with that of the program `inflight`: mimalloc, below the count of what
/// scripts hold.
pub fn start_with(as_in_program: bool, command: &mut Command) -> &mut Command {
    if as_in_program {
        command.env(VARIABLE, "program")
    } else {
        command.env_remove(VARIABLE)
    }
}

/// The allocator that this process was started with; by default the system's.
pub struct Chosen {
    choice: AtomicU8,
    program: ScriptAllocator<MiMalloc>,
}

impl Chosen {
    /// For `#[global_allocator]`.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "a constant is needed")]
    pub const fn new() -> Self {
        Self {
            choice: AtomicU8::new(UNKNOWN),
            program: ScriptAllocator::new(MiMalloc),
        }
    }

    fn is_program(&self) -> bool {
        match self.choice.load(Ordering::Relaxed) {
            UNKNOWN => self.choose(),
            choice => choice == PROGRAM,
        }
    }

    #[cold]
    fn choose(&self) -> bool {
        // SAFETY: the name ends in a zero byte. The first allocation of a process comes before it has a second thread or changes
        // its environment, and the answer is only compared with null. Nothing here allocates.
        let program = unsafe { !libc::getenv(VARIABLE_OF_C.as_ptr()).is_null() };
        self.choice
            .store(if program { PROGRAM } else { SYSTEM }, Ordering::Relaxed);
        program
    }
}

impl fmt::Debug for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chosen").finish_non_exhaustive()
    }
}

// SAFETY: each call goes to one of two allocators, and for the life of the process to the same one: the choice is made before the
// first allocation and never changes.
unsafe impl GlobalAlloc for Chosen {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are handed on as they are.
        unsafe {
            if self.is_program() {
                self.program.alloc(layout)
            } else {
                System.alloc(layout)
            }
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; the same allocator gave it.
        unsafe {
            if self.is_program() {
                self.program.dealloc(pointer, layout);
            } else {
                System.dealloc(pointer, layout);
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            if self.is_program() {
                self.program.alloc_zeroed(layout)
            } else {
                System.alloc_zeroed(layout)
            }
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; the same allocator gave it.
        unsafe {
            if self.is_program() {
                self.program.realloc(pointer, layout, size)
            } else {
                System.realloc(pointer, layout, size)
            }
        }
    }
}
