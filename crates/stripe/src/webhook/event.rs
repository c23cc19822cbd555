//! What a delivery says, once its signature has been verified.

use inflight_core::{Method, Request};
use serde_json::{Map, Value};

use super::SignatureError;
use crate::api_path::is_api_path;
use crate::form::percent_encode;
use crate::options::RequestOptions;
use crate::request::{BuildError, ID_MAX, apply};

/// The `object` of an event of API v1. <https://docs.stripe.com/api/events/object>
const SNAPSHOT: &str = "event";
/// The `object` of an event notification of API v2. <https://docs.stripe.com/api/v2/core/events/object>
const THIN: &str = "v2.core.event";

/// Why a delivery gives no event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// It must not be trusted.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It is signed and no JSON.
    #[error("the payload is signed, and cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// An event notification of API v2 where an event of v1 was expected.
    #[error(
        "the payload is an event notification of API v2 (`v2.core.event`): read it as a notification, not as an event"
    )]
    IsNotification,
    /// An event of API v1 where an event notification of v2 was expected.
    #[error("the payload is an event of API v1 (`event`): read it as an event, not as a notification")]
    IsEvent,
    /// It is signed and something else, or lacks what every event has.
    #[error("the payload is signed, and no event: {0}")]
    NotAnEvent(&'static str),
}

impl WebhookError {
    /// The reason in a word: [`SignatureError::reason`], or `invalid_json`, `is_notification`, `is_event`, `not_an_event`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Signature(error) => error.reason(),
            Self::Json(_) => "invalid_json",
            Self::IsNotification => "is_notification",
            Self::IsEvent => "is_event",
            Self::NotAnEvent(_) => "not_an_event",
        }
    }
}

/// An event of API v1: something has happened, with a snapshot of the object that it happened to.
#[derive(Debug, Clone, PartialEq)]
pub struct Event(Map<String, Value>);

impl Event {
    /// Reads a payload whose signature has been verified, or that came from Stripe another way.
    ///
    /// # Errors
    /// [`WebhookError`] where it is no event of API v1.
    pub fn from_verified(payload: &[u8]) -> Result<Self, WebhookError> {
        read(payload, SNAPSHOT, WebhookError::IsNotification).map(Self)
    }

    /// The event's id (`evt_…`), the same in every delivery of it.
    #[must_use]
    pub fn id(&self) -> &str {
        text(&self.0, "id")
    }

    /// What has happened: `invoice.paid`.
    #[must_use]
    pub fn event_type(&self) -> &str {
        text(&self.0, "type")
    }

    /// The connected account that it happened in.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.0.get("account")?.as_str()
    }

    /// The object as it was then.
    #[must_use]
    pub fn object(&self) -> Option<&Value> {
        self.0.get("data")?.get("object")
    }

    /// All fields.
    #[must_use]
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }

    /// All fields.
    #[must_use]
    pub fn into_fields(self) -> Map<String, Value> {
        self.0
    }
}

/// An event notification of API v2, also called a thin event: it says what has happened, and to which object. Both are fetched.
/// <https://docs.stripe.com/event-destinations>
#[derive(Debug, Clone, PartialEq)]
pub struct EventNotification(Map<String, Value>);

/// The object that an event notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelatedObject<'a> {
    /// Its id.
    pub id: &'a str,
    /// What it is: `billing.meter`.
    pub object_type: &'a str,
    /// Where it is fetched, as a path: `/v1/billing/meters/mtr_…`.
    pub url: &'a str,
}

impl EventNotification {
    /// Reads a payload whose signature has been verified, or that came from Stripe another way.
    ///
    /// # Errors
    /// [`WebhookError`] where it is no event notification of API v2.
    pub fn from_verified(payload: &[u8]) -> Result<Self, WebhookError> {
        read(payload, THIN, WebhookError::IsEvent).map(Self)
    }

    /// The same from fields that were read before, such as [`into_fields`](Self::into_fields).
    ///
    /// # Errors
    /// [`WebhookError`] where they are no event notification of API v2.
    pub fn from_fields(fields: Map<String, Value>) -> Result<Self, WebhookError> {
        checked(fields, THIN, WebhookError::IsEvent).map(Self)
    }

    /// The event's id (`evt_…`), the same in every delivery of it.
    #[must_use]
    pub fn id(&self) -> &str {
        text(&self.0, "id")
    }

    /// What has happened: `v1.billing.meter.error_report_triggered`.
    #[must_use]
    pub fn event_type(&self) -> &str {
        text(&self.0, "type")
    }

    /// Where it happened, as the header `Stripe-Context` says it.
    #[must_use]
    pub fn context(&self) -> Option<&str> {
        self.0.get("context")?.as_str().filter(|context| !context.is_empty())
    }

    /// The object that it is about.
    #[must_use]
    pub fn related_object(&self) -> Option<RelatedObject<'_>> {
        let related = self.0.get("related_object")?.as_object()?;
        Some(RelatedObject {
            id: text(related, "id"),
            object_type: text(related, "type"),
            url: text(related, "url"),
        })
    }

    /// All fields.
    #[must_use]
    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }

    /// All fields.
    #[must_use]
    pub fn into_fields(self) -> Map<String, Value> {
        self.0
    }

    /// The request for the whole event. Unless the options say otherwise, it is made where the event happened.
    ///
    /// # Errors
    /// [`BuildError`] where the options cannot be sent, or the id cannot be part of a path.
    pub fn fetch_event(&self, options: &RequestOptions) -> Result<Request, BuildError> {
        const OPERATION: &str = "v2.core.event.retrieve";
        if matches!(self.id(), "" | "." | "..") || self.id().len() > ID_MAX {
            return Err(BuildError::Id {
                operation: OPERATION,
                name: "id",
            });
        }
        let target = format!("/v2/core/events/{}", percent_encode(self.id()));
        self.fetch(OPERATION, target, options)
    }

    /// The request for the object that the event is about, as it is now; `None` where it is about none. Unless the options say
    /// otherwise, it is made where the event happened.
    ///
    /// # Errors
    /// [`BuildError`] where the options cannot be sent, or the object's URL is not a plain path of Stripe's API: the key goes to no
    /// other server.
    pub fn fetch_related_object(&self, options: &RequestOptions) -> Option<Result<Request, BuildError>> {
        let url = self.related_object()?.url;
        if !is_api_path(url) {
            return Some(Err(BuildError::Path));
        }
        Some(self.fetch("related_object.retrieve", url.to_owned(), options))
    }

    fn fetch(&self, operation: &'static str, target: String, options: &RequestOptions) -> Result<Request, BuildError> {
        let is_v2 = crate::catalogue::is_v2(&target);
        let mut request = apply(options, Request::new(Method::Get, target).operation(operation), is_v2)?;
        let has = |name: &str| {
            request
                .headers
                .iter()
                .any(|(header, _)| header.eq_ignore_ascii_case(name))
        };
        let elsewhere = has("Stripe-Account") || has("Stripe-Context");
        // So that Stripe can tell what a notification costs. The official SDKs send it as well.
        let mut headers = vec![("Stripe-Request-Trigger", format!("event={}", self.id()))];
        if let Some(context) = self.context().filter(|_| !elsewhere) {
            headers.push(("Stripe-Context", context.to_owned()));
        }
        for (name, value) in headers {
            if value.len() > 255 || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(BuildError::Header(name));
            }
            request = request.header(name, value);
        }
        Ok(request)
    }
}

fn read(payload: &[u8], object: &str, other: WebhookError) -> Result<Map<String, Value>, WebhookError> {
    match serde_json::from_slice(payload)? {
        Value::Object(fields) => checked(fields, object, other),
        _ => Err(WebhookError::NotAnEvent("it is not a JSON object")),
    }
}

fn checked(fields: Map<String, Value>, object: &str, other: WebhookError) -> Result<Map<String, Value>, WebhookError> {
    match fields.get("object").and_then(Value::as_str) {
        Some(given) if given == object => {}
        Some(SNAPSHOT | THIN) => return Err(other),
        _ => {
            return Err(WebhookError::NotAnEvent(
                "its `object` is neither `event` nor `v2.core.event`",
            ));
        }
    }
    if text(&fields, "id").is_empty() || text(&fields, "type").is_empty() {
        return Err(WebhookError::NotAnEvent("it has no `id` or no `type`"));
    }
    Ok(fields)
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::API_VERSION;

    const EVENT: &str = r#"{"id":"evt_1","object":"event","type":"invoice.paid","account":"acct_1",
        "data":{"object":{"id":"in_1"}}}"#;
    const NOTIFICATION: &str = r#"{"id":"evt_2","object":"v2.core.event","type":"v1.billing.meter.error","context":"acct_1/acct_2",
        "related_object":{"id":"mtr_1","type":"billing.meter","url":"/v1/billing/meters/mtr_1"}}"#;

    fn notification(json: &str) -> EventNotification {
        EventNotification::from_verified(json.as_bytes()).unwrap()
    }

    #[test]
    fn both_kinds_are_read_and_told_apart() {
        let event = Event::from_verified(EVENT.as_bytes()).unwrap();
        assert_eq!((event.id(), event.event_type()), ("evt_1", "invoice.paid"));
        assert_eq!(event.account(), Some("acct_1"));
        assert_eq!(event.object().unwrap()["id"], "in_1");

        let thin = notification(NOTIFICATION);
        assert_eq!((thin.id(), thin.event_type()), ("evt_2", "v1.billing.meter.error"));
        let related = thin.related_object().unwrap();
        assert_eq!((related.id, related.object_type), ("mtr_1", "billing.meter"));

        let reason = |payload: &str| Event::from_verified(payload.as_bytes()).unwrap_err().reason();
        assert_eq!(reason(NOTIFICATION), "is_notification");
        let mixed_up = EventNotification::from_verified(EVENT.as_bytes()).unwrap_err();
        assert_eq!(mixed_up.reason(), "is_event");
        for other in [
            "[]",
            "1",
            "{}",
            r#"{"object":"charge"}"#,
            r#"{"object":"event"}"#,
            r#"{"object":1,"id":"x"}"#,
        ] {
            assert_eq!(reason(other), "not_an_event", "{other}");
        }
        assert_eq!(reason("{"), "invalid_json");
        assert_eq!(reason(&"[".repeat(100_000)), "invalid_json");
    }

    #[test]
    fn a_notification_fetches_where_it_happened() {
        let options = RequestOptions::new().credential("shop");
        let request = notification(NOTIFICATION).fetch_event(&options).unwrap();
        let expected = Request::new(Method::Get, "/v2/core/events/evt_2")
            .operation("v2.core.event.retrieve")
            .credential("shop")
            .header("Stripe-Version", API_VERSION)
            .header("Stripe-Request-Trigger", "event=evt_2")
            .header("Stripe-Context", "acct_1/acct_2");
        assert_eq!(request, expected);

        let related = notification(NOTIFICATION)
            .fetch_related_object(&options)
            .unwrap()
            .unwrap();
        assert_eq!(related.target, "/v1/billing/meters/mtr_1");
        // Account and context are never sent together.
        let elsewhere = options.stripe_account("acct_3");
        let request = notification(NOTIFICATION).fetch_event(&elsewhere).unwrap();
        assert!(request.headers.iter().all(|(name, _)| name != "Stripe-Context"));
        // An event about no object.
        let alone = notification(r#"{"id":"evt_3","object":"v2.core.event","type":"x","related_object":null}"#);
        assert!(alone.fetch_related_object(&RequestOptions::new()).is_none());
    }

    #[test]
    fn the_key_follows_no_url_elsewhere() {
        for url in [
            "https://evil.example/v1/x",
            "//evil.example/v1/x",
            "/\\evil.example",
            "@evil.example",
            "/v1/../../x",
            "/v1/%2e%2E/x",
            "/v1//x",
            "/v1/a b",
            "/v1/a\r\nX: y",
            "/admin",
            "/v1",
            "",
        ] {
            let json = serde_json::json!({
                "id": "evt_1", "object": "v2.core.event", "type": "x", "related_object": {"id": "a", "type": "b", "url": url},
            });
            let fetched = notification(&json.to_string()).fetch_related_object(&RequestOptions::new());
            assert!(matches!(fetched, Some(Err(BuildError::Path))), "{url}");
        }
        let id = notification(r#"{"id":"../a?b\r\n","object":"v2.core.event","type":"x"}"#);
        assert!(matches!(
            id.fetch_event(&RequestOptions::new()),
            Err(BuildError::Header(_))
        ));
    }
}
