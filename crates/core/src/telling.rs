//! What observers are told of a request.

use std::time::Duration;

use crate::entry::Entry;
use crate::observer::{AttemptBegan, AttemptEnded, AttemptResult, Ended, Settled, Submitted};
use crate::state::State;
use crate::{Outcome, RequestStatus};

impl Entry {
    pub(crate) fn tell_submitted(&self) {
        self.ledger.registry.observers.tell(|observer| {
            observer.submitted(&Submitted {
                id: self.id,
                session: self.ledger.id,
                operation: &self.operation,
                method: self.method,
                priority: self.priority,
                restored: self.restored,
            });
        });
        self.note_accepted();
    }

    pub(crate) fn tell_attempt_began(&self, attempt: u32, queued: Duration, limiter_wait: Duration) {
        self.ledger.registry.observers.tell(|observer| {
            observer.attempt_began(&AttemptBegan {
                id: self.id,
                session: self.ledger.id,
                operation: &self.operation,
                method: self.method,
                priority: self.priority,
                attempt,
                queued,
                limiter_wait,
            });
        });
    }

    pub(crate) fn tell_attempt_ended(&self, attempt: u32, duration: Duration, result: AttemptResult<'_>) {
        self.ledger.registry.observers.tell(|observer| {
            observer.attempt_ended(&AttemptEnded {
                id: self.id,
                session: self.ledger.id,
                operation: &self.operation,
                method: self.method,
                priority: self.priority,
                attempt,
                duration,
                result,
            });
        });
    }

    pub(crate) fn tell_ended(&self, status: RequestStatus, outcome: &Outcome, left: bool) {
        let registry = &self.ledger.registry;
        if registry.observers.is_empty() {
            return;
        }
        let latency = registry.clock.now().saturating_duration_since(self.submitted);
        registry.observers.tell(|observer| {
            observer.ended(&Ended {
                id: self.id,
                session: self.ledger.id,
                operation: &self.operation,
                method: self.method,
                priority: self.priority,
                status,
                latency,
                restored: self.restored,
                left,
                outcome,
            });
        });
    }

    pub(crate) fn tell_settled(&self, before: State, after: State, outcome: &Outcome) {
        self.ledger.registry.observers.tell(|observer| {
            observer.settled(&Settled {
                id: self.id,
                session: self.ledger.id,
                operation: &self.operation,
                method: self.method,
                priority: self.priority,
                before,
                after,
                outcome,
            });
        });
    }
}
