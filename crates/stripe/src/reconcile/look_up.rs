//! The look-up as a state machine, without any I/O: it says what to ask for, and takes in the answers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::RangeInclusive;

use inflight_core::{Failure, Method, Outcome, Request, RequestId, Response, Success};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ReconcileError, TAG, is_tagged};
use crate::catalogue::{Answer, Operation, Param, is_v2};
use crate::form;
use crate::route::{operation_of, path_of};

/// A page has at most so many objects. <https://docs.stripe.com/api/pagination>
const PAGE: usize = 100;

/// How many pages are looked through: 100,000 objects.
const PAGES_MAX: u32 = 1000;

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The request was carried out; this is what it made or left.
    Done(Success),
    /// There is no trace of it.
    Absent,
    /// What there is says neither: another request has changed the object, or there is too much to look through.
    Unclear,
}

/// One look-up.
#[derive(Debug)]
pub struct LookUp {
    id: RequestId,
    /// What all its requests have in common.
    like: Request,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// The object that was changed.
    Changed,
    /// The object that was deleted, by its id. One that `stays` is there afterwards, such as a subscription that was canceled.
    /// <https://docs.stripe.com/api/subscriptions/cancel>
    Deleted { name: String, stays: bool },
    /// The list that holds what was created.
    List {
        created: Option<RangeInclusive<u64>>,
        last: Option<String>,
        pages_left: u32,
    },
}

impl LookUp {
    /// How to find this request again.
    ///
    /// # Errors
    /// [`ReconcileError::Impossible`] where there is no way.
    pub fn new(request: &Request, id: RequestId, created: Option<RangeInclusive<u64>>) -> Result<Self, ReconcileError> {
        let path = path_of(request);
        if is_v2(path) {
            return Err(ReconcileError::Impossible("objects of API v2 are not looked up"));
        }
        let operation = operation_of(request).ok_or(ReconcileError::Impossible("its operation is not known"))?;
        let (target, place) = match request.method {
            Method::Delete => {
                // What belongs to an object, such as its discount, may be gone while the object is there.
                let is_object =
                    Operation::by_route(Method::Get, path).is_some_and(|(get, _)| get.answer == Answer::Object);
                if !is_object {
                    return Err(ReconcileError::Impossible("what it deletes cannot be asked for"));
                }
                let name = path.rsplit('/').next().unwrap_or_default().to_owned();
                let stays = operation.answer == Answer::Object;
                (path, Place::Deleted { name, stays })
            }
            _ if !request.body.as_ref().is_some_and(|body| is_tagged(body, id)) => {
                return Err(ReconcileError::Impossible("it does not carry its id in its metadata"));
            }
            _ => match Operation::by_route(Method::Get, path) {
                Some((list, _)) if list.answer == Answer::List => {
                    let place = Place::List {
                        created: created.filter(|_| Param::find(list.query, "created").is_some()),
                        last: None,
                        pages_left: PAGES_MAX,
                    };
                    (path, place)
                }
                _ => {
                    let object =
                        object_path(operation, path).ok_or(ReconcileError::Impossible("such objects have no list"))?;
                    (object, Place::Changed)
                }
            },
        };
        let mut like = Request::new(Method::Get, target);
        like.headers.clone_from(&request.headers);
        like.credential.clone_from(&request.credential);
        like.priority = request.priority;
        Ok(Self { id, like, place })
    }

    /// What to ask for next.
    #[must_use]
    pub fn next_request(&self) -> Request {
        let mut request = self.like.clone();
        if let Place::List { created, last, .. } = &self.place {
            request.target.push_str(&format!("?limit={PAGE}"));
            if let Some(created) = created {
                let (from, to) = (created.start(), created.end());
                request
                    .target
                    .push_str(&format!("&created[gte]={from}&created[lte]={to}"));
            }
            if let Some(last) = last {
                request
                    .target
                    .push_str(&format!("&starting_after={}", form::percent_encode(last)));
            }
        }
        request
    }

    /// Takes in the answer to that. `None` where there is more to ask for.
    ///
    /// # Errors
    /// The failure of the look-up, or one that says that its answer made no sense.
    pub fn accept(&mut self, answer: &Outcome) -> Result<Option<Seen>, Failure> {
        let success = match (answer, &self.place) {
            (Ok(success), _) => success,
            (Err(failure), Place::Deleted { name, .. }) if failure.status() == Some(404) => {
                return Ok(Some(Seen::Done(Success {
                    object_id: Some(name.as_str().into()),
                    response: failure.response.clone().unwrap_or_default(),
                })));
            }
            (Err(failure), _) => return Err(failure.clone()),
        };
        let body = &success.response.body;
        match &mut self.place {
            Place::Changed => {
                let object: Object<'_> = parse(body)?;
                Ok(Some(match object.tag().as_deref() {
                    Some(tag) if tag == self.id.to_string() => Seen::Done(success.clone()),
                    Some(_) => Seen::Unclear,
                    None => Seen::Absent,
                }))
            }
            Place::Deleted { stays, .. } => {
                let object: Object<'_> = parse(body)?;
                let is_canceled = *stays && object.status.is_some_and(|status| status.get() == r#""canceled""#);
                Ok(Some(if object.deleted || is_canceled {
                    Seen::Done(success.clone())
                } else {
                    Seen::Absent
                }))
            }
            Place::List { last, pages_left, .. } => {
                let page: Page<'_> = parse(body)?;
                *last = None;
                for raw in &page.data {
                    let object: Object<'_> = parse(raw.get().as_bytes())?;
                    if object.tag().is_some_and(|tag| tag == self.id.to_string()) {
                        return Ok(Some(Seen::Done(Success {
                            object_id: object.id.as_deref().map(Into::into),
                            response: Response::new(200, raw.get().to_owned()),
                        })));
                    }
                    *last = object.id.map(Cow::into_owned);
                }
                *pages_left = pages_left.saturating_sub(1);
                Ok(match (page.has_more && last.is_some(), *pages_left) {
                    (false, _) => Some(Seen::Absent),
                    (true, 0) => Some(Seen::Unclear),
                    (true, _) => None,
                })
            }
        }
    }
}

/// The path of the first object that the request's path names, if that can be fetched.
fn object_path<'p>(operation: &Operation, path: &'p str) -> Option<&'p str> {
    let at = operation.path.split('/').position(|segment| segment.starts_with('{'))?;
    let end = path.match_indices('/').nth(at).map_or(path.len(), |(end, _)| end);
    let object = &path[..end];
    let (found, _) = Operation::by_route(Method::Get, object)?;
    (found.answer == Answer::Object).then_some(object)
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(default)]
    deleted: bool,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<HashMap<Cow<'a, str>, &'a RawValue>>,
}

impl Object<'_> {
    fn tag(&self) -> Option<String> {
        serde_json::from_str(self.metadata.as_ref()?.get(TAG)?.get()).ok()
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::new(
            inflight_core::FailureKind::InvalidResponse,
            inflight_core::Effect::None,
            "the look-up's answer is not what Stripe sends",
        )
        .with_source(error)
    })
}
