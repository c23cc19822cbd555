//! The clock that moves with tokio's.

use std::time::Instant;

use inflight_core::Clock;

/// tokio's clock, for [`RegistryBuilder::clock`](inflight_core::RegistryBuilder::clock): where a test pauses tokio's time, the
/// registry's deadlines stand still with the worker's. Otherwise the same as the operating system's monotonic clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioClock;

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}
