//! One attempt of one request, and what follows from it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use inflight_core::{
    AttemptResult, Effect, FailedAttempt, Failure, FailureKind, InFlight, Outcome, Policy, Request, Response,
    RetryDecision, RetryReason, Throttle,
};
use tokio::time::Instant;

use crate::answer::{self, ReadError};
use crate::body::Begun;
use crate::breaker::Health;
use crate::budget::Budget;
use crate::client::Clients;
use crate::compose::Composer;
use crate::failure::{from_client_error, is_unanswered};
use crate::seeking::Seeking;
use crate::work::{Again, Progress, Stage};

/// A server that says nothing for so long is down, also where a request's own deadline ends the wait.
const SILENCE: Duration = Duration::from_secs(5);

/// What every exchange of a worker shares.
pub(crate) struct Exchange {
    pub(crate) policy: Arc<dyn Policy>,
    pub(crate) composer: Composer,
    pub(crate) clients: Clients,
    pub(crate) budget: Budget,
    pub(crate) attempt_timeout: Duration,
    pub(crate) max_body: usize,
}

/// What the schedule learns of an attempt.
pub(crate) struct Report {
    /// The request, where it is to be sent again, and when.
    pub(crate) again: Option<(Box<Again>, Instant)>,
    /// Whether it goes to the end of the queue. Further attempts are bounded, and keep their place; this may come without an end.
    pub(crate) requeued: bool,
    /// The server, where one was asked, and how it fared.
    pub(crate) health: Option<(Arc<str>, Health)>,
    /// What the answer says about the pace, and when the attempt began.
    pub(crate) throttle: Option<Throttle>,
    pub(crate) began: Instant,
}

impl Report {
    /// Of a request that ended without an attempt.
    pub(crate) fn nothing(began: Instant) -> Self {
        Self {
            again: None,
            requeued: false,
            health: None,
            throttle: None,
            began,
        }
    }
}

/// How one attempt ended.
#[allow(clippy::large_enum_variant, reason = "made once per attempt and taken apart at once")]
enum AttemptEnd {
    Outcome(Outcome),
    Broken(Broken),
    DeadlinePassed(Effect),
}

/// An attempt without an answer.
struct Broken {
    failure: Failure,
    unanswered: bool,
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            unanswered: false,
        }
    }
}

impl Exchange {
    /// Makes one attempt, and ends the request unless there is to be a further one.
    pub(crate) async fn turn(&self, stage: Stage, limiter_wait: Duration, seeking: &Seeking) -> Report {
        let began = Instant::now();
        let (started, mut progress) = match stage {
            Stage::Fresh(job) => {
                self.budget.deposit();
                // What a process did that is gone: it counts no attempt here, and may have had its effect.
                let progress = Progress {
                    in_doubt: job.was_sent(),
                    ..Progress::default()
                };
                (job.start().await, progress)
            }
            Stage::Again(again) if again.expires <= began || self.has_outlived_its_key(&again) => {
                again.expire(began);
                return Report::nothing(began);
            }
            Stage::Again(again) => (again.in_flight.resume().await, again.progress),
        };
        let Some(mut in_flight) = started else {
            return Report::nothing(began);
        };
        in_flight.begin_attempt(limiter_wait);
        progress.attempts += 1;
        progress.first.get_or_insert_with(SystemTime::now);
        let deadline = Instant::from_std(in_flight.deadline());
        let mut server = None;
        let asked = Instant::now();
        let end = self.attempt(&in_flight, deadline, seeking, &mut server).await;
        let health = match &end {
            AttemptEnd::Outcome(outcome) => Health::of(outcome.as_ref().err()),
            AttemptEnd::Broken(broken) => Health::of(Some(&broken.failure)),
            AttemptEnd::DeadlinePassed(_) => (asked.elapsed() >= SILENCE).then_some(Health::Down),
        };
        let mut report = Report {
            health: server.zip(health),
            ..Report::nothing(began)
        };
        match end {
            AttemptEnd::Outcome(Ok(success)) => {
                self.tell(&mut in_flight, Some(&success.response), AttemptResult::default());
                in_flight.complete(Ok(success));
            }
            AttemptEnd::Outcome(Err(failure)) => self.failed(in_flight, progress, failure.into(), &mut report),
            AttemptEnd::Broken(broken) => self.failed(in_flight, progress, broken, &mut report),
            AttemptEnd::DeadlinePassed(effect) => {
                let effect = if progress.in_doubt { Effect::Unknown } else { effect };
                in_flight.complete_overdue(effect);
            }
        }
        report
    }

    /// Ends the request, or has it wait for a further attempt.
    fn failed(&self, mut in_flight: InFlight, mut progress: Progress, broken: Broken, report: &mut Report) {
        let Broken {
            mut failure,
            unanswered,
        } = broken;
        report.throttle = self.guarded(|policy| policy.throttle(&failure)).flatten();
        if progress.in_doubt && !self.guarded(|policy| policy.settles(&failure)).unwrap_or(false) {
            failure.effect = Effect::Unknown;
            failure.needs_reconcile = true;
        }
        progress.in_doubt = failure.effect == Effect::Unknown;
        let now = Instant::now();
        let deadline = Instant::from_std(in_flight.deadline());
        let decision = self.decide(&in_flight, &mut progress, &failure, unanswered, deadline, now);
        let mut result = AttemptResult {
            error: Some(&failure.kind),
            throttle: report.throttle,
            ..AttemptResult::default()
        };
        let pause = match decision {
            RetryDecision::Stop => {
                self.tell(&mut in_flight, failure.response.as_ref(), result);
                return in_flight.complete(Err(failure));
            }
            RetryDecision::AtOnce => Duration::ZERO,
            RetryDecision::After(pause) => pause,
            RetryDecision::Requeue(pause) => {
                progress.attempts -= 1;
                progress.requeued += 1;
                report.requeued = true;
                pause
            }
        };
        result.next = Some((RetryReason::of(&failure), pause));
        self.tell(&mut in_flight, failure.response.as_ref(), result);
        let expires = self.expires(&in_flight, deadline);
        let until = now.checked_add(pause).map_or(expires, |at| at.min(expires));
        in_flight.wait(failure.effect, until.into_std());
        let again = Again {
            in_flight,
            progress,
            failure,
            expires,
        };
        report.again = Some((Box::new(again), until));
    }

    /// Tells whoever observes how an attempt went. What the answer says besides, only the policy can read.
    fn tell<'r>(&self, in_flight: &mut InFlight, response: Option<&'r Response>, mut result: AttemptResult<'r>) {
        if !in_flight.has_observer() {
            return;
        }
        if let Some(response) = response {
            result.status = Some(response.status);
            let asked = catch_unwind(AssertUnwindSafe(|| {
                (self.policy.server_request_id(response), self.policy.is_replay(response))
            }));
            (result.server_request_id, result.replayed) = asked.unwrap_or_default();
        }
        in_flight.end_attempt(result);
    }

    fn expires(&self, in_flight: &InFlight, deadline: Instant) -> Instant {
        let lifetime = self.repeatable_for(in_flight);
        let end = lifetime.and_then(|lifetime| Instant::from_std(in_flight.submitted()).checked_add(lifetime));
        end.map_or(deadline, |end| end.min(deadline))
    }

    fn has_outlived_its_key(&self, again: &Again) -> bool {
        let lifetime = self.repeatable_for(&again.in_flight);
        lifetime.is_some_and(|lifetime| again.progress.age() >= lifetime)
    }

    fn repeatable_for(&self, in_flight: &InFlight) -> Option<Duration> {
        self.guarded(|policy| policy.repeatable_for(in_flight.request()))
            .flatten()
    }

    async fn attempt(
        &self,
        in_flight: &InFlight,
        deadline: Instant,
        seeking: &Seeking,
        server: &mut Option<Arc<str>>,
    ) -> AttemptEnd {
        let request = in_flight.request();
        let begun = Begun::not_yet(seeking.begin());
        let limit = Instant::now().checked_add(request.attempt_timeout.unwrap_or(self.attempt_timeout));
        let until = limit.map_or(deadline, |limit| limit.min(deadline));
        let effect = || effect_of(request, &begun);
        let end = tokio::time::timeout_at(until, self.send(in_flight, &begun, server)).await;
        begun.end();
        match end {
            Ok(Ok(response)) => AttemptEnd::Outcome(self.classify(request, response)),
            Ok(Err(broken)) => AttemptEnd::Broken(broken),
            Err(_) if until == deadline => AttemptEnd::DeadlinePassed(effect()),
            Err(elapsed) => {
                let message = "the attempt took longer than its timeout";
                let failure = Failure::new(FailureKind::AttemptTimeout, effect(), message).with_source(elapsed);
                AttemptEnd::Broken(failure.retryable().into())
            }
        }
    }

    async fn send(
        &self,
        in_flight: &InFlight,
        begun: &Begun,
        server: &mut Option<Arc<str>>,
    ) -> Result<Response, Broken> {
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
        *server = Some(outgoing.server);
        let client = self.clients.for_scheme(outgoing.request.url().scheme())?;
        let failed = |error| from_client_error(error, effect_of(request, begun));
        // A policy that panics keeps none.
        let kept_headers = self.guarded(Policy::keep_headers).unwrap_or_default();
        let answer = client.execute(outgoing.request).await.map_err(|error| Broken {
            unanswered: is_unanswered(&error),
            failure: failed(error),
        })?;
        let read = answer::read(answer, kept_headers, self.max_body).await;
        Ok(read.map_err(|error| match error {
            ReadError::Client(error) => failed(error),
            ReadError::TooLarge => Failure::new(
                FailureKind::BodyTooLarge,
                effect_of(request, begun),
                format!("the answer's body is larger than {} bytes", self.max_body),
            ),
        })?)
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

    /// What the policy says and the budget allows.
    fn decide(
        &self,
        in_flight: &InFlight,
        progress: &mut Progress,
        failure: &Failure,
        unanswered: bool,
        deadline: Instant,
        now: Instant,
    ) -> RetryDecision {
        let attempt = FailedAttempt {
            request: in_flight.request(),
            attempts: progress.attempts,
            requeued: progress.requeued,
            failure,
            unanswered,
            repeated_at_once: progress.repeated_at_once,
            elapsed: now.saturating_duration_since(Instant::from_std(in_flight.submitted())),
            remaining: deadline.saturating_duration_since(now),
            random: fastrand::f64(),
        };
        let decision = self
            .guarded(|policy| policy.retry(&attempt))
            .unwrap_or(RetryDecision::Stop);
        let pause = match decision {
            RetryDecision::AtOnce => Duration::ZERO,
            RetryDecision::After(pause) => pause,
            RetryDecision::Stop | RetryDecision::Requeue(_) => return decision,
        };
        let Some(wait) = self.budget.withdraw(now, attempt.remaining) else {
            return RetryDecision::Stop;
        };
        progress.repeated_at_once |= decision == RetryDecision::AtOnce;
        if wait > pause {
            RetryDecision::After(wait)
        } else {
            decision
        }
    }

    /// Asks the policy. `None` where it panics.
    pub(crate) fn guarded<T>(&self, ask: impl FnOnce(&dyn Policy) -> T) -> Option<T> {
        catch_unwind(AssertUnwindSafe(|| ask(&*self.policy))).ok()
    }
}

fn effect_of(request: &Request, begun: &Begun) -> Effect {
    if request.method.is_safe() || !begun.is_set() {
        Effect::None
    } else {
        Effect::Unknown
    }
}
