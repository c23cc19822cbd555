use std::borrow::Cow;

use inflight_core::{Policy, Response};

use super::*;
use crate::StripePolicy;

const NONE: Duration = Duration::ZERO;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What a row of the table varies; the rest is an everyday first attempt of a keyed POST.
#[derive(Clone, Copy)]
struct Row {
    method: Method,
    keyed: bool,
    v2: bool,
    attempts: u32,
    requeued: u32,
    max_retries: Option<u32>,
    unanswered: bool,
    repeated_at_once: bool,
    in_doubt: bool,
    elapsed: Duration,
    random: f64,
}

const ROW: Row = Row {
    method: Method::Post,
    keyed: true,
    v2: false,
    attempts: 1,
    requeued: 0,
    max_retries: None,
    unanswered: false,
    repeated_at_once: false,
    in_doubt: false,
    elapsed: NONE,
    random: 0.5,
};

impl Row {
    fn request(&self) -> Request {
        let target = if self.v2 { "/v2/core/accounts" } else { "/v1/products" };
        let mut request = Request::new(self.method, target);
        request.max_retries = self.max_retries;
        if self.keyed && self.method == Method::Post {
            request.idempotency_key = IdempotencyKey::Generated;
        }
        request
    }

    fn decide(&self, mut failure: Failure) -> RetryDecision {
        if self.in_doubt {
            failure.effect = Effect::Unknown;
        }
        let request = self.request();
        RetrySettings::default().decide(&FailedAttempt {
            request: &request,
            attempts: self.attempts,
            requeued: self.requeued,
            failure: &failure,
            unanswered: self.unanswered,
            repeated_at_once: self.repeated_at_once,
            elapsed: self.elapsed,
            remaining: Duration::from_secs(600),
            random: self.random,
        })
    }

    /// How an answer with this status, code and headers is decided.
    fn answered(&self, status: u16, code: &str, headers: &[(&'static str, &str)]) -> RetryDecision {
        let body = format!(r#"{{"error":{{"type":"invalid_request_error","code":"{code}","message":"m"}}}}"#);
        let mut response = Response::new(status, body);
        for (name, value) in headers {
            response.headers.push((Cow::Borrowed(*name), (*value).into()));
        }
        let failure = StripePolicy::new().classify(&self.request(), response).unwrap_err();
        self.decide(failure)
    }

    /// How an attempt without an answer is decided.
    fn broken(&self, kind: FailureKind, effect: Effect) -> RetryDecision {
        self.decide(Failure::new(kind, effect, "m"))
    }
}

fn after(milliseconds: u64) -> RetryDecision {
    RetryDecision::After(Duration::from_millis(milliseconds))
}

fn requeue(milliseconds: u64) -> RetryDecision {
    RetryDecision::Requeue(Duration::from_millis(milliseconds))
}

const STOP: RetryDecision = RetryDecision::Stop;
const REPLAYED: (&str, &str) = ("idempotent-replayed", "true");

#[test]
fn answers() {
    for (status, code, headers, expected) in [
        (400, "parameter_missing", &[][..], STOP),
        (401, "", &[], STOP),
        (402, "card_declined", &[], STOP),
        (403, "", &[], STOP),
        (404, "resource_missing", &[], STOP),
        (409, "idempotency_key_in_use", &[], after(250)),
        (409, "", &[], after(250)),
        (424, "", &[], STOP),
        (429, "lock_timeout", &[], after(250)),
        (429, "", &[], requeue(250)),
        (429, "", &[("stripe-rate-limited-reason", "global-rate")], requeue(250)),
        (
            429,
            "",
            &[("stripe-rate-limited-reason", "resource-specific")],
            after(250),
        ),
        (400, "rate_limit", &[], requeue(250)),
        (500, "", &[], after(250)),
        (502, "", &[], after(250)),
        (503, "", &[("retry-after", "7")], after(7250)),
        (503, "", &[("retry-after", "86400")], after(60_250)),
        (503, "", &[("retry-after", "-1")], after(250)),
        (503, "", &[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")], after(250)),
        (429, "", &[("retry-after", "2")], requeue(2250)),
        (302, "", &[], STOP),
        // Stripe's own word goes first.
        (400, "", &[("stripe-should-retry", "true")], after(250)),
        (500, "", &[("stripe-should-retry", "false")], STOP),
        (409, "", &[("stripe-should-retry", "false")], STOP),
        (429, "lock_timeout", &[("stripe-should-retry", "true")], after(250)),
        (429, "", &[("stripe-should-retry", "false")], STOP),
        (429, "", &[("stripe-should-retry", "true")], requeue(250)),
        (500, "", &[("stripe-should-retry", "perhaps")], after(250)),
        // What was answered once is answered so again.
        (500, "", &[REPLAYED], STOP),
        (500, "", &[REPLAYED, ("stripe-should-retry", "true")], after(250)),
        (402, "card_declined", &[REPLAYED], STOP),
    ] {
        assert_eq!(
            ROW.answered(status, code, headers),
            expected,
            "{status} {code} {headers:?}"
        );
        let read = Row {
            method: Method::Get,
            ..ROW
        };
        assert_eq!(read.answered(status, code, headers), expected, "GET {status} {code}");
    }
}

#[test]
fn attempts_without_an_answer() {
    use Effect::{None, Unknown};
    for (kind, effect, expected) in [
        (FailureKind::Connect, None, after(250)),
        (FailureKind::Connection, Unknown, after(250)),
        (FailureKind::Connection, None, after(250)),
        (FailureKind::AttemptTimeout, Unknown, after(250)),
        (FailureKind::InvalidResponse, Unknown, after(250)),
        (FailureKind::Tls, None, STOP),
        (FailureKind::BodyTooLarge, Unknown, STOP),
        (FailureKind::InvalidRequest, None, STOP),
        (FailureKind::Credential, None, STOP),
        (FailureKind::Deadline, Unknown, STOP),
    ] {
        assert_eq!(ROW.broken(kind.clone(), effect), expected, "{kind} {effect}");
    }
}

#[test]
fn a_garbled_success_is_asked_for_again_and_a_foreign_page_is_not() {
    let classify = |status| {
        let failure = StripePolicy::new().classify(&ROW.request(), Response::new(status, "<html>"));
        ROW.decide(failure.unwrap_err())
    };
    assert_eq!(classify(200), after(250));
    assert_eq!(classify(302), STOP);
    assert_eq!(classify(404), STOP);
    assert_eq!(classify(502), after(250));
    // Stripe's answer to the repetition says that it is one, and may be garbled like the first.
    let mut replayed = Response::new(200, "<html>");
    replayed.headers.push((REPLAYED.0.into(), REPLAYED.1.into()));
    let failure = StripePolicy::new().classify(&ROW.request(), replayed);
    assert_eq!(ROW.decide(failure.unwrap_err()), after(250));
}

#[test]
fn a_mutation_without_a_key_is_repeated_only_where_nothing_was_done() {
    let keyless = Row { keyed: false, ..ROW };
    assert_eq!(keyless.broken(FailureKind::Connect, Effect::None), after(250));
    assert_eq!(keyless.answered(429, "lock_timeout", &[]), after(250));
    assert_eq!(keyless.answered(429, "", &[]), requeue(250));
    assert_eq!(keyless.broken(FailureKind::Connection, Effect::Unknown), STOP);
    assert_eq!(keyless.answered(500, "", &[]), STOP);
    assert_eq!(keyless.answered(500, "", &[("stripe-should-retry", "true")]), STOP);
    let doubtful = Row {
        in_doubt: true,
        ..keyless
    };
    assert_eq!(doubtful.answered(429, "", &[]), STOP);
    // Deleting twice deletes once.
    let delete = Row {
        method: Method::Delete,
        ..keyless
    };
    assert_eq!(delete.broken(FailureKind::Connection, Effect::Unknown), after(250));
    assert_eq!(delete.answered(500, "", &[]), after(250));
    assert_eq!(delete.answered(404, "resource_missing", &[]), STOP);
}

#[test]
fn the_number_of_attempts_is_bounded() {
    for (attempts, max_retries, expected) in [
        (1, None, after(250)),
        (2, None, after(500)),
        (3, None, STOP),
        (u32::MAX, None, STOP),
        (1, Some(0), STOP),
        (3, Some(9), after(1000)),
        (5, Some(9), after(2500)),
        (9, Some(9), after(2500)),
        (10, Some(9), STOP),
        (40, Some(99), after(2500)),
        (u32::MAX - 1, Some(u32::MAX), after(2500)),
    ] {
        let row = Row {
            attempts,
            max_retries,
            ..ROW
        };
        assert_eq!(row.answered(500, "", &[]), expected, "{attempts} {max_retries:?}");
    }
}

#[test]
fn what_is_turned_away_for_the_rate_limit_does_not_count() {
    for (requeued, expected) in [(0, 250), (1, 500), (2, 1000), (4, 2500), (1000, 2500)] {
        let row = Row {
            attempts: 9,
            max_retries: Some(0),
            requeued,
            ..ROW
        };
        assert_eq!(row.answered(429, "", &[]), requeue(expected));
    }
}

#[test]
fn a_stale_connection_is_left_at_once_and_once() {
    let stale = Row {
        unanswered: true,
        ..ROW
    };
    let (kind, doubt) = (FailureKind::Connection, Effect::Unknown);
    assert_eq!(stale.broken(kind.clone(), doubt), RetryDecision::AtOnce);
    let again = Row {
        attempts: 2,
        repeated_at_once: true,
        ..stale
    };
    assert_eq!(again.broken(kind.clone(), doubt), after(500));
    let keyless = Row { keyed: false, ..stale };
    assert_eq!(keyless.broken(kind.clone(), doubt), STOP);
    let unwanted = Row {
        max_retries: Some(0),
        ..stale
    };
    assert_eq!(unwanted.broken(kind, doubt), STOP);
}

#[test]
fn an_old_key_is_never_sent_again() {
    let just = DAY - Duration::from_secs(3600);
    for (v2, elapsed, expected) in [
        (false, just - Duration::from_secs(1), after(250)),
        (false, just - Duration::from_millis(250), STOP),
        (false, just, STOP),
        (false, DAY * 300, STOP),
        (false, Duration::MAX, STOP),
        (true, DAY * 28, after(250)),
        (true, DAY * 29, STOP),
    ] {
        let row = Row { v2, elapsed, ..ROW };
        assert_eq!(row.broken(FailureKind::AttemptTimeout, Effect::Unknown), expected);
        let unanswered = Row {
            unanswered: true,
            ..row
        };
        let at_once = unanswered.broken(FailureKind::Connection, Effect::Unknown);
        let expired = elapsed >= if v2 { DAY * 29 } else { just };
        assert_eq!(at_once == STOP, expired, "{elapsed:?}");
        let limited = row.answered(429, "", &[]);
        assert_eq!(limited == STOP, expected == STOP, "{elapsed:?}");
    }
    let read = Row {
        method: Method::Get,
        elapsed: DAY * 300,
        ..ROW
    };
    assert_eq!(read.answered(500, "", &[]), after(250));
}

/// Those that fail together come back evenly spread, not at the bound's end and not at its start.
#[test]
fn pauses_are_spread_over_the_whole_range() {
    const PARTS: usize = 10;
    for (attempts, bound) in [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 5.0)] {
        let mut counts = [0; PARTS];
        for step in 0..1000 {
            let row = Row {
                attempts,
                max_retries: Some(9),
                random: f64::from(step) / 1000.0,
                ..ROW
            };
            let RetryDecision::After(pause) = row.answered(500, "", &[]) else {
                panic!("it is repeated")
            };
            counts[(pause.as_secs_f64() / bound * PARTS as f64 + 1e-6) as usize] += 1;
        }
        assert_eq!(counts, [100; PARTS], "attempt {attempts}");
    }
    for random in [f64::NAN, -1.0, 2.0] {
        let wild = Row { random, ..ROW };
        let RetryDecision::After(pause) = wild.answered(500, "", &[]) else {
            panic!("it is repeated")
        };
        assert!(pause <= Duration::from_millis(500), "{pause:?}");
    }
}

#[test]
fn what_settles_earlier_attempts() {
    let policy = StripePolicy::new();
    for (status, replayed, expected) in [
        (400, false, false),
        (401, false, false),
        (402, false, true),
        (402, true, true),
        (404, false, false),
        (409, false, false),
        (429, false, false),
        (500, false, false),
        (500, true, true),
        (400, true, true),
    ] {
        let mut response = Response::new(status, r#"{"error":{"type":"api_error"}}"#);
        if replayed {
            response.headers.push((Cow::Borrowed(REPLAYED.0), REPLAYED.1.into()));
        }
        let failure = policy.classify(&ROW.request(), response).unwrap_err();
        assert_eq!(policy.settles(&failure), expected, "{status} {replayed}");
    }
}
