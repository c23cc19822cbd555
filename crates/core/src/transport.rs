//! The seam between the registry and whatever sends its requests.

/// What sends the requests of a registry.
///
/// A transport owns the registry's [`Queue`](crate::Queue) and takes [`Job`](crate::Job)s from it. The registry calls
/// [`notify`](Self::notify) after each send into the queue, so that a transport never polls: an asynchronous one wakes its
/// task, a thread unparks. Core knows no runtime.
///
/// Nothing else looks after deadlines: a transport ends what is overdue ([`Job::expire`](crate::Job::expire),
/// [`InFlight::complete_overdue`](crate::InFlight::complete_overdue)) when its time comes, also while it waits in the queue or is under
/// way.
pub trait Transport: Send + Sync + 'static {
    /// Something changed in the queue: a job was added or cancelled, or the registry was closed.
    ///
    /// Called on the submitting thread, after the change; it must neither block nor panic. Several changes may be told by
    /// one call that is still being served, so look at the whole queue.
    fn notify(&self);
}
