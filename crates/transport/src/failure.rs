//! What an error of the HTTP client means.

use std::error::Error;
use std::io;

use inflight_core::{Effect, Failure, FailureKind};

/// The failure that this error is. `effect` is what is known of the attempt: `none` where no byte can have left.
pub(crate) fn from_client_error(error: reqwest::Error, effect: Effect) -> Failure {
    // A URL may hold what the caller does not want to see in a log.
    let error = error.without_url();
    let kind = kind_of(&error);
    let message = match kind {
        FailureKind::Connect => "no connection could be made",
        FailureKind::Tls => "no secure connection could be made",
        FailureKind::InvalidResponse => "the answer is not valid HTTP",
        FailureKind::InvalidRequest => "the request cannot be sent",
        _ => "the connection broke before the answer was complete",
    };
    let message = match innermost(&error) {
        Some(cause) => format!("{message}: {cause}"),
        None => message.to_owned(),
    };
    let retryable = matches!(
        kind,
        FailureKind::Connect | FailureKind::Connection | FailureKind::InvalidResponse
    );
    let mut failure = Failure::new(kind, effect, message).with_source(error);
    failure.retryable = retryable;
    failure
}

fn kind_of(error: &reqwest::Error) -> FailureKind {
    if causes(error).any(|cause| cause.is::<rustls::Error>()) {
        // Once a connection is secure, what breaks it is as any other break.
        return if error.is_connect() {
            FailureKind::Tls
        } else {
            FailureKind::Connection
        };
    }
    if error.is_connect() {
        return FailureKind::Connect;
    }
    if error.is_builder() {
        return FailureKind::InvalidRequest;
    }
    if causes(error).any(makes_no_sense) {
        return FailureKind::InvalidResponse;
    }
    FailureKind::Connection
}

/// Whether the connection ended before the answer began, as one does that the other side had closed already.
pub(crate) fn is_unanswered(error: &reqwest::Error) -> bool {
    !error.is_connect()
        && causes(error).any(|cause| {
            let closed =
                |error: &hyper::Error| error.is_incomplete_message() || error.is_closed() || error.is_canceled();
            cause.downcast_ref::<hyper::Error>().is_some_and(closed)
                || cause
                    .downcast_ref::<io::Error>()
                    .is_some_and(|error| is_hang_up(error.kind()))
        })
}

fn is_hang_up(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// Whether this cause says that what came was not HTTP.
fn makes_no_sense(cause: &(dyn Error + 'static)) -> bool {
    if let Some(error) = cause.downcast_ref::<hyper::Error>() {
        return error.is_parse();
    }
    cause
        .downcast_ref::<io::Error>()
        .is_some_and(|error| matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput))
}

/// The error and its causes, the outermost first. An I/O error that wraps another one hides it from `source`.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        }
    })
}

fn innermost(error: &reqwest::Error) -> Option<String> {
    causes(error).skip(1).last().map(ToString::to_string)
}
