//! What observers are told of attempts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight_core::{
    AttemptBegan, AttemptEnded, FailedAttempt, Failure, Observer, Outcome, PlainHttp, Policy, Registry, Request,
    Response, RetryDecision, Throttle,
};

use crate::server::{PATIENCE, RawServer, post, start};

/// A server's id, replays and limits, as one API says them.
struct Telling;

impl Policy for Telling {
    fn keep_headers(&self) -> &'static [&'static str] {
        &["request-id", "replayed"]
    }

    fn classify(&self, request: &Request, response: Response) -> Outcome {
        PlainHttp.classify(request, response)
    }

    fn retry(&self, _attempt: &FailedAttempt<'_>) -> RetryDecision {
        RetryDecision::After(Duration::from_millis(1))
    }

    fn throttle(&self, _failure: &Failure) -> Option<Throttle> {
        Some(Throttle::EndpointRate)
    }

    fn server_request_id<'r>(&self, response: &'r Response) -> Option<&'r str> {
        response.header("request-id")
    }

    fn is_replay(&self, response: &Response) -> bool {
        response.header("replayed").is_some()
    }

    fn lane(&self, _request: &Request) -> Option<String> {
        Some("one".to_owned())
    }
}

#[derive(Default)]
struct Log {
    ended: Mutex<Vec<String>>,
    limiter_waits: Mutex<Vec<Duration>>,
}

impl Observer for Log {
    fn attempt_began(&self, began: &AttemptBegan<'_>) {
        assert!(began.limiter_wait <= began.queued);
        self.limiter_waits.lock().unwrap().push(began.limiter_wait);
    }

    fn attempt_ended(&self, ended: &AttemptEnded<'_>) {
        let result = &ended.result;
        self.ended.lock().unwrap().push(format!(
            "{} {:?} {:?} {} {:?} {:?}",
            ended.attempt,
            result.status,
            result.server_request_id,
            result.replayed,
            result.next.map(|(reason, pause)| (reason.as_str(), pause)),
            result.throttle,
        ));
    }
}

#[test]
fn each_attempt_is_told_with_what_the_policy_reads_from_its_answer() {
    let server = RawServer::start(|connection| {
        for answer in [
            "HTTP/1.1 429 X\r\nrequest-id: req_1\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nrequest-id: req_2\r\nreplayed: true\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        ] {
            if connection.read_request().is_none() {
                return;
            }
            connection.write(answer.as_bytes());
        }
    });
    let log = Arc::new(Log::default());
    let (registry, queue) = Registry::builder().observer(log.clone()).build();
    let ids = [(); 2].map(|()| registry.submit(post()).unwrap());
    let worker = start(server.url(), queue, |b| b.policy(Arc::new(Telling)));
    for id in ids {
        assert!(registry.wait(id, Some(PATIENCE)).unwrap().is_ok());
    }
    worker.shutdown(PATIENCE);
    assert_eq!(
        *log.ended.lock().unwrap(),
        [
            r#"1 Some(429) Some("req_1") false Some(("rate_limited", 1ms)) Some(EndpointRate)"#,
            r#"2 Some(200) Some("req_2") true None None"#,
            "1 Some(200) None false None None",
        ]
    );
    // The second request waited for its lane while the first one paused.
    let waits = log.limiter_waits.lock().unwrap();
    assert_eq!(waits[..2], [Duration::ZERO; 2]);
    assert!(waits[2] >= Duration::from_millis(1), "{waits:?}");
}
