//! One request from its start to its ending: attempts, pauses between them, and what is known at the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use inflight_core::{
    Effect, FailedAttempt, Failure, FailureKind, InFlight, Job, Outcome, Policy, Request, Response, RetryDecision,
};
use tokio::time::Instant;

use crate::answer::{self, ReadError};
use crate::body::Begun;
use crate::client::Clients;
use crate::compose::Composer;
use crate::failure::from_client_error;

/// What every exchange of a worker shares.
pub(crate) struct Exchange {
    pub(crate) policy: Arc<dyn Policy>,
    pub(crate) composer: Composer,
    pub(crate) clients: Clients,
    pub(crate) attempt_timeout: Duration,
    pub(crate) max_body: usize,
}

/// How one attempt ended.
#[allow(clippy::large_enum_variant, reason = "made once per attempt and taken apart at once")]
enum AttemptEnd {
    Outcome(Outcome),
    DeadlinePassed(Effect),
}

/// How a pause before the next attempt ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PauseEnd {
    Over,
    /// The worker stops: there will be no further attempt.
    Stopped,
}

impl Exchange {
    /// Carries one request out. `pause` sleeps until a moment, or until the worker stops.
    pub(crate) async fn carry_out<P>(&self, job: Job, pause: impl Fn(Instant) -> P)
    where
        P: Future<Output = PauseEnd>,
    {
        let Some(mut in_flight) = job.start().await else { return };
        let deadline = Instant::from_std(in_flight.deadline());
        // Whether an attempt may have been carried out without our knowing: a later refusal says nothing about that one.
        let mut in_doubt = false;
        loop {
            in_flight.begin_attempt();
            let mut failure = match self.attempt(&in_flight, deadline).await {
                AttemptEnd::Outcome(Ok(success)) => return in_flight.complete(Ok(success)),
                AttemptEnd::Outcome(Err(failure)) => failure,
                AttemptEnd::DeadlinePassed(effect) => return in_flight.complete_overdue(worst(in_doubt, effect)),
            };
            if in_doubt && !settles(&failure) {
                failure.effect = Effect::Unknown;
                failure.needs_reconcile = true;
            }
            in_doubt = failure.effect == Effect::Unknown;
            let RetryDecision::After(wait) = self.retry(&in_flight, &failure, deadline) else {
                return in_flight.complete(Err(failure));
            };
            let until = Instant::now().checked_add(wait).map_or(deadline, |at| at.min(deadline));
            if !wait.is_zero() && pause(until).await == PauseEnd::Stopped {
                return in_flight.complete(Err(failure));
            }
            if until >= deadline {
                return in_flight.complete_overdue(failure.effect);
            }
        }
    }

    async fn attempt(&self, in_flight: &InFlight, deadline: Instant) -> AttemptEnd {
        let request = in_flight.request();
        let begun = Begun::default();
        let limit = Instant::now().checked_add(request.attempt_timeout.unwrap_or(self.attempt_timeout));
        let until = limit.map_or(deadline, |limit| limit.min(deadline));
        let effect = || effect_of(request, &begun);
        match tokio::time::timeout_at(until, self.send(in_flight, &begun)).await {
            Ok(Ok(response)) => AttemptEnd::Outcome(self.classify(request, response)),
            Ok(Err(failure)) => AttemptEnd::Outcome(Err(failure)),
            Err(_) if until == deadline => AttemptEnd::DeadlinePassed(effect()),
            Err(elapsed) => {
                let message = "the attempt took longer than its timeout";
                let failure = Failure::new(FailureKind::AttemptTimeout, effect(), message).with_source(elapsed);
                AttemptEnd::Outcome(Err(failure.retryable()))
            }
        }
    }

    async fn send(&self, in_flight: &InFlight, begun: &Begun) -> Result<Response, Failure> {
        let request = in_flight.request();
        let composed = catch_unwind(AssertUnwindSafe(|| {
            self.composer.compose(in_flight.id(), request, begun)
        }));
        let outgoing = composed.unwrap_or_else(|_| {
            Err(Failure::new(
                FailureKind::Credential,
                Effect::None,
                "the look-up of the credential panicked",
            ))
        })?;
        let client = self.clients.for_scheme(outgoing.url().scheme())?;
        let failed = |error| from_client_error(error, effect_of(request, begun));
        let answer = client.execute(outgoing).await.map_err(failed)?;
        let read = answer::read(answer, self.policy.keep_headers(), self.max_body).await;
        read.map_err(|error| match error {
            ReadError::Client(error) => failed(error),
            ReadError::TooLarge => Failure::new(
                FailureKind::BodyTooLarge,
                effect_of(request, begun),
                format!("the answer's body is larger than {} bytes", self.max_body),
            ),
        })
    }

    fn classify(&self, request: &Request, response: Response) -> Outcome {
        let classified = catch_unwind(AssertUnwindSafe(|| self.policy.classify(request, response)));
        classified.unwrap_or_else(|_| {
            Err(Failure::new(
                FailureKind::InvalidResponse,
                Effect::Unknown,
                "the policy panicked over the answer",
            ))
        })
    }

    fn retry(&self, in_flight: &InFlight, failure: &Failure, deadline: Instant) -> RetryDecision {
        let now = Instant::now();
        let attempt = FailedAttempt {
            request: in_flight.request(),
            attempts: in_flight.attempts(),
            failure,
            elapsed: now.saturating_duration_since(Instant::from_std(in_flight.submitted())),
            remaining: deadline.saturating_duration_since(now),
        };
        catch_unwind(AssertUnwindSafe(|| self.policy.retry(&attempt))).unwrap_or(RetryDecision::Stop)
    }
}

fn effect_of(request: &Request, begun: &Begun) -> Effect {
    if request.method.is_safe() || !begun.is_set() {
        Effect::None
    } else {
        Effect::Unknown
    }
}

fn worst(in_doubt: bool, effect: Effect) -> Effect {
    if in_doubt { Effect::Unknown } else { effect }
}

/// Whether a failure says what became of the attempts before it, too: the other side repeats the answer that it had given to
/// the first one, or says that it did the work.
fn settles(failure: &Failure) -> bool {
    failure.effect == Effect::Done
        || failure
            .response
            .as_ref()
            .and_then(|response| response.header("idempotent-replayed"))
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
}
