//! The requests of a batch, before and after they are sent.

use inflight_core::{Effect, Failure, IdempotencyKey, Outcome, Progress, Request, RequestId, Session, State};

use crate::error::script_error;
use crate::heap::{Charge, Hosted};
use crate::package::Answer;

/// A request, to be sent and perhaps sent again.
pub(crate) struct Kept {
    pub(crate) request: Hosted<Request>,
    _charge: Charge,
}

/// What was submitted.
pub(crate) struct Sent {
    pub(crate) session: Session,
    /// The latest round; those before it have ended.
    pub(crate) batch: Hosted<inflight_core::Batch>,
    /// Each request's latest id.
    pub(crate) ids: Vec<RequestId>,
}

impl Kept {
    pub(crate) fn new(request: Hosted<Request>) -> Self {
        let charge = Charge::new(size_of(&request));
        Self {
            request,
            _charge: charge,
        }
    }
}

/// About what a request takes in memory.
fn size_of(request: &Request) -> usize {
    let headers = request.headers.iter().map(|(name, value)| name.len() + value.len());
    let key = match &request.idempotency_key {
        IdempotencyKey::Given(key) => key.len(),
        _ => 0,
    };
    let body = request.body.as_ref().map_or(0, |body| body.bytes.len());
    size_of_val(request) + request.target.len() + body + headers.sum::<usize>() + key
}

impl Sent {
    /// The places of what failed or was cancelled without an effect.
    pub(crate) fn to_resubmit(&self) -> Answer<Vec<usize>> {
        let progress = self.progress();
        if progress.done < progress.total {
            return Err(script_error(
                "not_completed",
                "the batch has not ended: use await_batch before resubmit_failed",
            ));
        }
        let failures = self.failures().into_iter();
        let without_effect = failures.filter(|(_, failure)| failure.effect == Effect::None);
        Ok(without_effect.map(|(index, _)| index).collect())
    }

    /// Asking does not count as having looked at a failure.
    pub(crate) fn progress(&self) -> Progress {
        let mut progress = Progress::default();
        progress.total = self.ids.len() as u64;
        for id in &self.ids {
            match self.session.state(*id) {
                Some(State::Completed) => progress.completed += 1,
                Some(State::Failed(_) | State::Timeout(_)) => progress.failed += 1,
                Some(State::Cancelled) => progress.cancelled += 1,
                _ => continue,
            }
            progress.done += 1;
        }
        progress
    }

    /// How those ended that have ended.
    pub(crate) fn outcomes(&self) -> Vec<std::sync::Arc<Outcome>> {
        self.ids.iter().filter_map(|id| self.session.result(*id).ok()).collect()
    }

    /// What failed or was cancelled, so far.
    pub(crate) fn failures(&self) -> Vec<(usize, Failure)> {
        let outcomes = self.ids.iter().enumerate();
        outcomes
            .filter_map(|(index, id)| {
                let outcome = self.session.result(*id).ok()?;
                Some((index, (*outcome).as_ref().err()?.clone()))
            })
            .collect()
    }
}
