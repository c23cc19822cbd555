//! The look-up as a state machine, without any I/O: it says what to ask for, and takes in the answers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::RangeInclusive;

use inflight_core::{Failure, Method, Outcome, Request, RequestId, Response, Success};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::place::Place;
use super::{CHANGE_TAG, ReconcileError, TAG};

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// The request was carried out; this is what it made or left.
    Done(Success),
    /// There is no trace of it.
    Absent,
    /// What there is says neither: the object bears no tag or another request's, the list may hide some objects, another object may have
    /// got the name of the one that was to be deleted, or there is too much to look through.
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

impl LookUp {
    /// How to find this request again.
    ///
    /// # Errors
    /// [`ReconcileError::Impossible`] where there is no way.
    pub fn new(request: &Request, id: RequestId, created: Option<RangeInclusive<u64>>) -> Result<Self, ReconcileError> {
        let (target, place) = Place::of(request, id, created)?;
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
        if let Place::List(listing) = &self.place {
            request.target.push_str(&listing.query());
        }
        request
    }

    /// Takes in the answer to that. `None` where there is more to ask for.
    ///
    /// # Errors
    /// The failure of the look-up, or one that says that its answer made no sense.
    pub fn accept(&mut self, answer: &Outcome) -> Result<Option<Seen>, Failure> {
        let success = match answer {
            Ok(success) => success,
            Err(failure) if is_missing(failure) => return Ok(Some(self.place.is_gone())),
            Err(failure) => return Err(failure.clone()),
        };
        let body = &success.response.body;
        let own = self.id.to_string();
        match &mut self.place {
            Place::Changed => {
                let object: Object<'_> = parse(body)?;
                // A tag that is not there may have been cleared since, or have gone with the object.
                Ok(Some(match object.tag(CHANGE_TAG) {
                    Some(tag) if tag == own => Seen::Done(success.clone()),
                    _ => Seen::Unclear,
                }))
            }
            Place::Deleted { stays, may_return, .. } => {
                let object: Object<'_> = parse(body)?;
                Ok(Some(if object.deleted || (*stays && object.has_ended()) {
                    Seen::Done(success.clone())
                } else if *may_return {
                    Seen::Unclear
                } else {
                    Seen::Absent
                }))
            }
            Place::List(listing) => {
                let page: Page<'_> = parse(body)?;
                let mut last = None;
                for raw in &page.data {
                    let object: Object<'_> = parse(raw.get().as_bytes())?;
                    if object.tag(TAG).is_some_and(|tag| tag == own) {
                        return Ok(Some(Seen::Done(Success {
                            object_id: object.id.as_deref().map(Into::into),
                            response: Response::new(200, raw.get().to_owned()),
                        })));
                    }
                    last = object.id.map(Cow::into_owned).filter(|id| !id.is_empty());
                }
                Ok(listing.not_on_page(page.has_more, last))
            }
        }
    }
}

impl Place {
    /// What it says that there is no such object: what was to be deleted is gone, as was asked for; what was changed, or was made for
    /// it, may have gone with it.
    fn is_gone(&self) -> Seen {
        let Self::Deleted { id, .. } = self else {
            return Seen::Unclear;
        };
        let answer = serde_json::json!({ "id": id, "deleted": true });
        Seen::Done(Success {
            object_id: Some(id.as_str().into()),
            response: Response::new(200, answer.to_string()),
        })
    }
}

/// Whether Stripe says that there is no such object. Another 404 may be anybody's. <https://docs.stripe.com/error-codes#resource-missing>
fn is_missing(failure: &Failure) -> bool {
    failure.status() == Some(404) && failure.code.as_deref() == Some("resource_missing")
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
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
    fn tag(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.metadata.as_ref()?.get(name)?.get()).ok()
    }

    /// Whether it was canceled. A subscription that was never paid for expires in place of that.
    /// <https://docs.stripe.com/api/subscriptions/object#subscription_object-status>
    fn has_ended(&self) -> bool {
        let status = self.status.map(RawValue::get);
        matches!(status, Some(r#""canceled""# | r#""incomplete_expired""#))
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
