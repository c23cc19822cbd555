//! The monitoring page's server: `inflight run --dashboard`, `inflight dashboard`.

mod access;
mod of_run;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use hyper::{Method, Request, StatusCode};
use inflight::core::RequestId;
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::http::{Answer, Body, Handler, ListenError, Server, Trust, answer, text};
use crate::monitor::{self, Past, Snapshot};
use crate::page::page;
pub(crate) use access::{TOKEN_VARIABLE, Token};
pub(crate) use of_run::OfRun;

/// How often an open page is told how things stand.
const EVERY: Duration = Duration::from_millis(500);

const UNKNOWN: &str = "This request is not known, or no longer.";

/// A page that loads and sends nothing beyond this server, and that nobody frames.
const POLICY: &str = "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What a page is about.
pub(crate) trait Watched: Send + Sync + 'static {
    fn state(&self, has_ended: bool, past: Past) -> Snapshot;

    /// One request, if it is still known.
    fn request(&self, id: RequestId) -> Option<monitor::Request>;

    /// What can be done with it. `None` where it can only be looked at.
    fn control(&self) -> Option<&dyn Control>;
}

/// What the page's buttons do.
pub(crate) trait Control {
    /// The measurements as text.
    fn metrics(&self) -> Answer;

    /// Cancels a request. Gives whether it is cancelled, or `None` where it is not known.
    fn cancel(&self, id: RequestId) -> Option<bool>;

    /// Pauses sending, or goes on. Gives whether it is paused.
    fn pause(&self, pause: bool) -> bool;
}

/// The page of a run, or of a store. Dropped, it is gone.
pub(crate) struct Dashboard {
    server: Server,
    site: Arc<Site>,
}

impl Dashboard {
    /// Serves the page at this address.
    pub(crate) fn start(address: SocketAddr, token: Token, watched: impl Watched) -> Result<Self, ListenError> {
        let site = Arc::new(Site {
            token,
            watched: Box::new(watched),
            ended: CancellationToken::new(),
            latest: Mutex::default(),
        });
        let guarded = Arc::clone(&site);
        let server = Server::start(address, move |address| Guarded { address, site: guarded })
            .map_err(|source| ListenError::of("the page", address, source))?;
        Ok(Self { server, site })
    }

    /// What opens the page.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/?token={}", self.server.address(), self.site.token.as_str())
    }

    /// Tells the open pages that the run has ended.
    pub(crate) fn run_ended(&self) {
        self.site.ended.cancel();
    }
}

/// The site, for those who may see it.
struct Guarded {
    /// Where it is served.
    address: SocketAddr,
    site: Arc<Site>,
}

impl Handler for Guarded {
    async fn handle(&self, request: Request<Incoming>, trust: &Trust) -> Answer {
        match access::check(request.uri(), request.headers(), &self.site.token, self.address) {
            Ok(()) => {
                trust.grant();
                self.site.answer(request.method(), request.uri().path())
            }
            Err(refusal) => text(refusal.status(), refusal.message()),
        }
    }
}

struct Site {
    token: Token,
    watched: Box<dyn Watched>,
    ended: CancellationToken,
    /// The state that open pages were last told, and when it was made: one for all of them.
    latest: Mutex<Option<(Instant, Bytes)>>,
}

impl Site {
    fn answer(self: &Arc<Self>, method: &Method, path: &str) -> Answer {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let (allowed, answer): (_, &dyn Fn() -> Answer) = match parts[..] {
            [""] => (Method::GET, &front),
            ["state"] => (Method::GET, &|| json_answer(&self.state(Past::All))),
            ["metrics"] => (Method::GET, &|| self.controlled(|control| control.metrics())),
            ["events"] => (Method::GET, &|| self.events()),
            ["requests", id] => (Method::GET, &|| self.request(id)),
            ["requests", id, "cancel"] => (Method::POST, &|| self.controlled(|control| cancel(control, id))),
            ["pause"] => (Method::POST, &|| self.controlled(|control| pause(control, true))),
            ["resume"] => (Method::POST, &|| self.controlled(|control| pause(control, false))),
            _ => return text(StatusCode::NOT_FOUND, "There is nothing here."),
        };
        if *method == allowed {
            answer()
        } else {
            text(
                StatusCode::METHOD_NOT_ALLOWED,
                &format!("Only {allowed} is answered here."),
            )
        }
    }

    fn state(&self, past: Past) -> Snapshot {
        self.watched.state(self.ended.is_cancelled(), past)
    }

    fn request(&self, id: &str) -> Answer {
        match id.parse().ok().and_then(|id| self.watched.request(id)) {
            Some(request) => json_answer(&request),
            None => text(StatusCode::NOT_FOUND, UNKNOWN),
        }
    }

    fn controlled(&self, act: impl FnOnce(&dyn Control) -> Answer) -> Answer {
        match self.watched.control() {
            Some(control) => act(control),
            None => text(StatusCode::NOT_FOUND, "This page only shows."),
        }
    }

    /// Server-sent events: how things stand, all of it at first and then what is new.
    fn events(self: &Arc<Self>) -> Answer {
        // One waits while one is sent: a slow reader misses states, and holds nothing up.
        let (sender, receiver) = mpsc::channel(1);
        let site = Arc::clone(self);
        tokio::spawn(async move {
            let mut next = event("all", &site.state(Past::All));
            while sender.send(next).await.is_ok() {
                tokio::select! {
                    () = site.ended.cancelled() => {
                        let _ = sender.send(event("state", &site.state(Past::Recent))).await;
                        return;
                    }
                    () = sender.closed() => return,
                    () = tokio::time::sleep(EVERY) => next = site.latest(),
                }
            }
        });
        let mut answer = answer(StatusCode::OK, "text/event-stream", Bytes::new());
        *answer.body_mut() = Body::Stream(receiver);
        answer
    }

    fn latest(&self) -> Bytes {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*latest {
            Some((made, event)) if made.elapsed() < EVERY / 2 => event.clone(),
            _ => {
                let event = event("state", &self.state(Past::Recent));
                *latest = Some((Instant::now(), event.clone()));
                event
            }
        }
    }
}

fn cancel(control: &dyn Control, id: &str) -> Answer {
    let Ok(id) = id.parse::<RequestId>() else {
        return text(StatusCode::NOT_FOUND, "This is no request's id.");
    };
    match control.cancel(id) {
        Some(cancelled) => json_answer(&json!({ "cancelled": cancelled })),
        None => text(StatusCode::NOT_FOUND, UNKNOWN),
    }
}

fn pause(control: &dyn Control, pause: bool) -> Answer {
    json_answer(&json!({ "is_paused": control.pause(pause) }))
}

fn front() -> Answer {
    let nonce = Uuid::new_v4().simple().to_string();
    let mut answer = answer(StatusCode::OK, "text/html; charset=utf-8", page(&nonce, ""));
    let policy = format!("{POLICY}; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'");
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

fn json_answer(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => answer(StatusCode::OK, "application/json", body),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "The answer cannot be written."),
    }
}

fn event(name: &str, value: &impl Serialize) -> Bytes {
    // JSON has no line breaks of its own, so one line holds it.
    let data = serde_json::to_string(value).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n").into()
}
