//! Lists as streams, over a session whose transport the test drives.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use inflight_core::testing::{ManualTransport, Sent};
use inflight_core::{Effect, Failure, FailureKind, Registry, Response, Session, Success};
use inflight_stripe::pages::{FetchError, PageError, PageStream, Pages, StreamError};
use inflight_stripe::{Operation, Params, RequestOptions};

struct Setup {
    registry: Registry,
    session: Session,
    transport: ManualTransport,
}

impl Setup {
    fn new() -> Self {
        let (registry, queue) = Registry::new();
        Self {
            session: registry.session(),
            registry,
            transport: ManualTransport::new(queue),
        }
    }

    fn stream(&self) -> PageStream {
        PageStream::new(self.session.clone(), pages())
    }

    fn asked(&mut self, target: &str) -> Sent {
        let sent = self
            .transport
            .try_next()
            .unwrap_or_else(|| panic!("{target} is not asked for"));
        assert_eq!(sent.request().target, target);
        sent
    }
}

fn pages() -> Pages {
    let list = Operation::by_name("product.list").unwrap();
    Pages::new(list, &[], Params::new().with("limit", 4), &RequestOptions::new()).unwrap()
}

fn answer(sent: Sent, ids: &[u32], has_more: bool) {
    let data: Vec<_> = ids.iter().map(|id| serde_json::json!({"id": id.to_string()})).collect();
    let body = serde_json::json!({"data": data, "has_more": has_more}).to_string();
    sent.complete(Ok(Success {
        object_id: None,
        response: Response::new(200, body),
    }));
}

fn poll(stream: &mut PageStream) -> Poll<Option<Result<serde_json::Value, StreamError>>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
}

fn id(stream: &mut PageStream) -> String {
    match poll(stream) {
        Poll::Ready(Some(Ok(object))) => object["id"].as_str().unwrap().to_owned(),
        other => panic!("{other:?}"),
    }
}

fn error(stream: &mut PageStream) -> StreamError {
    match poll(stream) {
        Poll::Ready(Some(Err(error))) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_next_page_is_asked_for_when_half_of_one_was_given() {
    let mut setup = Setup::new();
    let mut stream = setup.stream();
    assert!(
        setup.transport.try_next().is_none(),
        "nothing is asked for before it is needed"
    );
    assert!(poll(&mut stream).is_pending());
    answer(setup.asked("/v1/products?limit=4"), &[9, 8, 7, 6], true);
    assert_eq!(id(&mut stream), "9");
    assert!(setup.transport.try_next().is_none());
    assert_eq!(id(&mut stream), "8");
    let second = setup.asked("/v1/products?limit=4&starting_after=6");
    assert_eq!((id(&mut stream), id(&mut stream)), ("7".into(), "6".into()));
    assert!(poll(&mut stream).is_pending());
    assert!(setup.transport.try_next().is_none(), "one page is on its way at a time");
    answer(second, &[5], false);
    assert_eq!(id(&mut stream), "5");
    assert!(matches!(poll(&mut stream), Poll::Ready(None)));
    assert!(matches!(poll(&mut stream), Poll::Ready(None)));
    // No result is kept of what the stream has used up.
    assert_eq!((setup.session.len(), setup.registry.counts().submitted), (0, 2));
}

#[test]
fn without_prefetch_a_page_is_asked_for_when_it_is_needed() {
    let mut setup = Setup::new();
    let mut stream = setup.stream().prefetch(false);
    assert!(poll(&mut stream).is_pending());
    answer(setup.asked("/v1/products?limit=4"), &[9, 8, 7, 6], true);
    for expected in ["9", "8", "7", "6"] {
        assert_eq!(id(&mut stream), expected);
    }
    assert!(setup.transport.try_next().is_none());
    assert!(poll(&mut stream).is_pending());
    setup.asked("/v1/products?limit=4&starting_after=6").succeed("x");
}

#[test]
fn a_dropped_stream_gives_up_the_page_that_is_on_its_way() {
    for sent_before in [false, true] {
        let mut setup = Setup::new();
        let mut stream = setup.stream();
        assert!(poll(&mut stream).is_pending());
        answer(setup.asked("/v1/products?limit=4"), &[9, 8, 7, 6], true);
        assert_eq!((id(&mut stream), id(&mut stream)), ("9".into(), "8".into()));
        let sent = sent_before.then(|| setup.transport.next());
        drop(stream);
        // Nobody waits for it, nobody is told of it.
        assert_eq!((setup.session.pending(), setup.session.len()), (0, 0));
        match sent {
            Some(sent) => sent.fail(Failure::new(FailureKind::Connection, Effect::None, "lost")),
            None => assert!(setup.transport.try_next().is_none()),
        }
        assert!(setup.session.unobserved_failures().is_empty());
        assert_eq!(setup.registry.len(), 0);
    }
}

#[test]
fn a_failure_says_where_and_can_be_tried_again() {
    let mut setup = Setup::new();
    let mut stream = setup.stream();
    assert!(poll(&mut stream).is_pending());
    answer(setup.asked("/v1/products?limit=4"), &[9, 8, 7, 6], true);
    for _ in 0..4 {
        id(&mut stream);
    }
    let failure = Failure::new(FailureKind::Connection, Effect::None, "lost").retryable();
    setup.asked("/v1/products?limit=4&starting_after=6").fail(failure);
    let failed = error(&mut stream);
    assert!(matches!(failed.cause(), FetchError::Failed(failure) if failure.retryable));
    assert!(
        matches!(poll(&mut stream), Poll::Ready(None)),
        "after an error a stream ends"
    );

    // The same stream goes on.
    stream.retry();
    assert!(poll(&mut stream).is_pending());
    answer(setup.asked("/v1/products?limit=4&starting_after=6"), &[5], false);
    assert_eq!(id(&mut stream), "5");
    assert!(matches!(poll(&mut stream), Poll::Ready(None)));

    // And another one, from the cursor.
    let mut resumed = PageStream::new(setup.session.clone(), pages().resume(failed.cursor()).unwrap());
    assert!(poll(&mut resumed).is_pending());
    answer(setup.asked("/v1/products?limit=4&starting_after=6"), &[5], false);
    assert_eq!(id(&mut resumed), "5");
}

#[test]
fn what_is_no_page_is_an_error() {
    let mut setup = Setup::new();
    let mut stream = setup.stream();
    assert!(poll(&mut stream).is_pending());
    setup.asked("/v1/products?limit=4").succeed("prod_1");
    assert!(matches!(
        error(&mut stream).cause(),
        FetchError::Page(PageError::NotAPage(_))
    ));

    // An object that nests deeper than anyone reads.
    stream.retry();
    assert!(poll(&mut stream).is_pending());
    let deep = format!(
        r#"{{"data":[{}{}],"has_more":false}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    setup.asked("/v1/products?limit=4").complete(Ok(Success {
        object_id: None,
        response: Response::new(200, deep),
    }));
    assert!(matches!(
        error(&mut stream).cause(),
        FetchError::Page(PageError::NotAPage(_))
    ));
}

#[test]
fn an_object_that_cannot_be_read_is_not_lost() {
    let mut setup = Setup::new();
    let mut stream = setup.stream().prefetch(false);
    assert!(poll(&mut stream).is_pending());
    let page = r#"{"data":[{"id":"9"},{"id":"8","n":1e999},{"id":"7"}],"has_more":false}"#;
    setup.asked("/v1/products?limit=4").complete(Ok(Success {
        object_id: None,
        response: Response::new(200, page),
    }));
    assert_eq!(id(&mut stream), "9");
    let failed = error(&mut stream);
    let resumed = pages().resume(failed.cursor()).unwrap();
    assert_eq!(resumed.given(), 1);
    let target = resumed.next_request().unwrap().unwrap().target;
    assert_eq!(target, "/v1/products?limit=4&starting_after=9");
    // Who goes on all the same goes on after it.
    stream.retry();
    assert_eq!(id(&mut stream), "7");
}

#[test]
fn a_page_waits_for_room_and_a_prefetch_does_not() {
    let (registry, queue) = Registry::builder().queue_capacity(10).build();
    let mut transport = ManualTransport::new(queue);
    let session = registry.session();
    let mut stream = PageStream::new(session.clone(), pages());
    assert!(poll(&mut stream).is_pending());
    answer(transport.next(), &[9, 8, 7, 6], true);
    // The session's one place in the queue is taken.
    let other = inflight_core::Request::new(inflight_core::Method::Get, "/other");
    session.submit(other).unwrap();
    for expected in ["9", "8", "7", "6"] {
        assert_eq!(id(&mut stream), expected);
    }
    assert!(poll(&mut stream).is_pending());
    transport.next().succeed("x");
    assert!(poll(&mut stream).is_pending());
    answer(transport.next(), &[5], false);
    assert_eq!(id(&mut stream), "5");
    registry.close();
    let mut late = PageStream::new(session, pages());
    assert!(matches!(error(&mut late).cause(), FetchError::Submit(_)));
}
