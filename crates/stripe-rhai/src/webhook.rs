//! `stripe::webhook::…`: what Stripe sends, for scripts.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use inflight_core::Request;
use inflight_rhai::{
    batch_priority, call_request, from_json, invalid_argument, journalled, locals_of, script_error, submit_request,
    text_argument, uncharged_unless_err, wrong_type,
};
use inflight_stripe::webhook::{
    DEFAULT_TOLERANCE, Event, EventNotification, SignatureError, Webhook, WebhookError, WebhookSecret,
};
use inflight_stripe::{BuildError, RequestOptions};
use rhai::{Blob, Dynamic, EvalAltResult, FuncRegistration, ImmutableString, Map, Module, NativeCallContext};
use serde_json::Value;

use crate::Answer;
use crate::configure::timeout_of;
use crate::error::with_field;
use crate::host::{StripeConfig, StripeHost};

/// The module's name within `stripe`.
pub(crate) const NAME: &str = "webhook";

/// Its functions and what they take.
pub(crate) const FUNCTIONS: [(&str, &str); 9] = [
    ("construct_event", "(payload, header, secret), and a tolerance"),
    ("parse_event_notification", "(payload, header, secret), and a tolerance"),
    ("sign", "(payload, secret), and a Unix time"),
    ("fetch_event", "(notification)"),
    ("fetch_event_async", "(notification)"),
    ("fetch_related_object", "(notification)"),
    ("fetch_related_object_async", "(notification)"),
    ("is_duplicate", "(event)"),
    ("forget", "(event)"),
];

/// What the function that is called by this path takes, if it is one of these.
pub(crate) fn arguments_of(path: &[&str], function: &str) -> Option<&'static str> {
    let known = FUNCTIONS
        .into_iter()
        .find(|(name, _)| path == [NAME] && *name == function);
    known.map(|(_, arguments)| arguments)
}

/// The module `stripe::webhook`.
pub(crate) fn module(host: &Arc<StripeHost>) -> Module {
    let mut module = Module::new();
    register_reading(&mut module);
    register_fetching(&mut module, host);
    register_duplicates(&mut module, host);
    module
}

/// `construct_event` and `parse_event_notification`, with and without a tolerance; `sign`.
fn register_reading(module: &mut Module) {
    for (name, read) in [
        ("construct_event", event as fn(&Webhook, &[u8], &str) -> _),
        ("parse_event_notification", notification),
    ] {
        FuncRegistration::new(name).set_into_module(
            module,
            move |ctx: NativeCallContext, payload: Dynamic, header: Dynamic, secret: Dynamic| {
                // How old the delivery is depends on when it is asked.
                journalled(&ctx, name, &[payload.clone(), header.clone()], || {
                    verified(&payload, &header, &secret, Some(DEFAULT_TOLERANCE), read)
                })
            },
        );
        FuncRegistration::new(name).set_into_module(
            module,
            move |ctx: NativeCallContext, payload: Dynamic, header: Dynamic, secret: Dynamic, tolerance: Dynamic| {
                let asked = [payload.clone(), header.clone(), tolerance.clone()];
                journalled(&ctx, name, &asked, || {
                    verified(&payload, &header, &secret, tolerance_of(&tolerance)?, read)
                })
            },
        );
    }
    FuncRegistration::new("sign").set_into_module(
        module,
        |ctx: NativeCallContext, payload: Dynamic, secret: Dynamic| {
            journalled(&ctx, "sign", std::slice::from_ref(&payload), || {
                signed(&payload, &secret, SystemTime::now()).map(Dynamic::from)
            })
        },
    );
    FuncRegistration::new("sign").set_into_module(module, |payload: Dynamic, secret: Dynamic, timestamp: i64| {
        let since = u64::try_from(timestamp)
            .map_err(|_| invalid_argument("the timestamp must be zero or more seconds since 1970"))?;
        let at = UNIX_EPOCH.checked_add(Duration::from_secs(since));
        signed(
            &payload,
            &secret,
            at.ok_or_else(|| invalid_argument("the timestamp is too far away"))?,
        )
    });
}

type Read = fn(&Webhook, &[u8], &str) -> Result<Value, WebhookError>;

fn event(webhook: &Webhook, payload: &[u8], header: &str) -> Result<Value, WebhookError> {
    webhook
        .event(payload, header, SystemTime::now())
        .map(Event::into_fields)
        .map(Value::Object)
}

fn notification(webhook: &Webhook, payload: &[u8], header: &str) -> Result<Value, WebhookError> {
    webhook
        .notification(payload, header, SystemTime::now())
        .map(EventNotification::into_fields)
        .map(Value::Object)
}

fn verified(
    payload: &Dynamic,
    header: &Dynamic,
    secret: &Dynamic,
    tolerance: Option<Duration>,
    read: Read,
) -> Answer<Dynamic> {
    let payload = bytes_of(payload)?;
    // A header that did not come is `()` or nothing.
    let header = if header.is_unit() {
        ImmutableString::new()
    } else {
        text_argument("the header", header)?
    };
    let webhook = Webhook::new(secret_of(secret)?).tolerance(tolerance);
    read(&webhook, &payload, &header)
        .map(from_json)
        .map_err(|error| webhook_error(&error))
}

/// Only with a secret that the script holds itself: with the host's it could forge deliveries for others.
fn signed(payload: &Dynamic, secret: &Dynamic, at: SystemTime) -> Answer<ImmutableString> {
    if secret.is::<WebhookSecret>() {
        return Err(script_error(
            "not_allowed",
            "the host's webhook secret verifies and does not sign: sign tests with a secret of their own, such as \"whsec_test\"",
        ));
    }
    let webhook = Webhook::new(secret_of(secret)?);
    Ok(webhook.sign(&bytes_of(payload)?, at).into())
}

/// `fetch_event` and `fetch_related_object`, which look blocking, and their `_async` twins.
fn register_fetching(module: &mut Module, host: &Arc<StripeHost>) {
    type Fetch = fn(&EventNotification, &RequestOptions) -> Option<Result<Request, BuildError>>;
    let fetches: [(&str, Fetch); 2] = [
        ("fetch_event", |notification, options| {
            Some(notification.fetch_event(options))
        }),
        ("fetch_related_object", EventNotification::fetch_related_object),
    ];
    for (name, fetch) in fetches {
        let (now, later) = (Arc::clone(host), Arc::clone(host));
        FuncRegistration::new(name).set_into_module(module, move |ctx: NativeCallContext, notification: Map| {
            match request(&ctx, &now, &notification, fetch)? {
                Some(request) => call_request(&ctx, request, true),
                None => Ok(Dynamic::UNIT),
            }
        });
        FuncRegistration::new(format!("{name}_async")).set_into_module(
            module,
            move |ctx: NativeCallContext, notification: Map| -> Answer<Dynamic> {
                match request(&ctx, &later, &notification, fetch)? {
                    Some(request) => Ok(submit_request(&ctx, request)?.into()),
                    None => Ok(Dynamic::UNIT),
                }
            },
        );
    }
}

fn request(
    ctx: &NativeCallContext,
    host: &StripeHost,
    notification: &Map,
    fetch: fn(&EventNotification, &RequestOptions) -> Option<Result<Request, BuildError>>,
) -> Answer<Option<Request>> {
    let notification = notification_of(notification)?;
    let locals = locals_of(ctx)?;
    let config = StripeConfig::of(&locals, host);
    let own = RequestOptions::new();
    let mut options =
        config.request_options(&locals, host, inflight_stripe::Server::Api, batch_priority(), own, None)?;
    // It is fetched where it happened, whichever account the script works for otherwise.
    if notification.context().is_some() {
        options.stripe_account = None;
        options.stripe_context = None;
    }
    uncharged_unless_err(|| fetch(&notification, &options).transpose())
        .map_err(|error| invalid_argument(&error.to_string()))
}

/// The notification in a script's map, as far as fetching needs it.
fn notification_of(map: &Map) -> Answer<EventNotification> {
    const NAMES: [&str; 7] = ["object", "id", "type", "context", "url", "related_object", "created"];
    fn texts(map: &Map) -> serde_json::Map<String, Value> {
        let text = |name: &str| {
            Some((
                name.to_owned(),
                map.get(name)?.read_lock::<ImmutableString>()?.as_str().into(),
            ))
        };
        NAMES.into_iter().filter_map(text).collect()
    }
    let mut fields = texts(map);
    if let Some(related) = map.get("related_object").and_then(|related| related.read_lock::<Map>()) {
        fields.insert("related_object".into(), Value::Object(texts(&related)));
    }
    EventNotification::from_fields(fields).map_err(|error| webhook_error(&error))
}

/// `is_duplicate` and `forget`, by the event or its id.
fn register_duplicates(module: &mut Module, host: &Arc<StripeHost>) {
    let (asked, forgetting) = (Arc::clone(host), Arc::clone(host));
    FuncRegistration::new("is_duplicate").set_into_module(
        module,
        move |ctx: NativeCallContext, event: Dynamic| -> Answer<Dynamic> {
            let id = id_of(&ctx, &asked, &event)?;
            // Also where the answer is known from an earlier run: this process has not seen the event yet.
            let is_first = inflight_rhai::uncharged(|| asked.seen_events().first_time(&id));
            journalled(&ctx, "is_duplicate", &[event_id(&event)], || Ok((!is_first).into()))
        },
    );
    FuncRegistration::new("forget").set_into_module(
        module,
        move |ctx: NativeCallContext, event: Dynamic| -> Answer<()> {
            let id = id_of(&ctx, &forgetting, &event)?;
            inflight_rhai::uncharged(|| forgetting.seen_events().forget(&id));
            Ok(())
        },
    );
}

/// The event's id, within what the script is configured as: one tenant's ids say nothing of another's.
fn id_of(ctx: &NativeCallContext, host: &StripeHost, event: &Dynamic) -> Answer<String> {
    let id = event_id(event);
    let id = id.read_lock::<ImmutableString>().map(|id| id.clone());
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or_else(|| invalid_argument("an event, or the id of one, is needed"))?;
    let config = StripeConfig::of(&locals_of(ctx)?, host);
    Ok(format!("{} {id}", config.tenant()))
}

/// What an event's id is, by the event or by the id itself.
fn event_id(event: &Dynamic) -> Dynamic {
    match event.read_lock::<Map>() {
        Some(map) => map.get("id").cloned().unwrap_or_default(),
        None => event.clone(),
    }
}

fn bytes_of(payload: &Dynamic) -> Answer<Vec<u8>> {
    if let Some(text) = payload.read_lock::<ImmutableString>() {
        return Ok(text.as_bytes().to_vec());
    }
    match payload.read_lock::<Blob>() {
        Some(bytes) => Ok(bytes.clone()),
        None => Err(wrong_type(
            "the payload",
            "the body as it was received, as a text or a blob, since what was parsed cannot be verified",
            payload,
        )),
    }
}

fn secret_of(value: &Dynamic) -> Answer<WebhookSecret> {
    if let Some(secret) = value.read_lock::<WebhookSecret>() {
        return Ok(secret.clone());
    }
    let text = text_argument("the webhook secret", value)?;
    WebhookSecret::new(&text).map_err(|error| {
        let error = script_error("webhook_signature", &error.to_string());
        with_field(error, "reason", "blank_secret".into())
    })
}

/// Seconds above zero; `()` for any age.
fn tolerance_of(value: &Dynamic) -> Answer<Option<Duration>> {
    if value.is_unit() {
        return Ok(None);
    }
    timeout_of(value).map(Some).map_err(|_| {
        invalid_argument("the tolerance must be a number of seconds above zero, or () for deliveries of any age")
    })
}

fn webhook_error(error: &WebhookError) -> Box<EvalAltResult> {
    let kind = match error {
        WebhookError::Signature(_) => "webhook_signature",
        _ => "webhook_payload",
    };
    let thrown = with_field(script_error(kind, &error.to_string()), "reason", error.reason().into());
    match error {
        WebhookError::Signature(SignatureError::TooOld { age, .. }) => {
            with_field(thrown, "age", i64::try_from(age.as_secs()).unwrap_or(i64::MAX).into())
        }
        _ => thrown,
    }
}
