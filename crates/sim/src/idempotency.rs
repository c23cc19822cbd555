//! Idempotency keys, as Stripe treats them. <https://docs.stripe.com/api/idempotent_requests>

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use inflight_stripe::{Params, Value};

/// How long keys are kept, those of API v1 and those of API v2. <https://docs.stripe.com/api-v2-overview#idempotency>
const KEPT: [Duration; 2] = [
    Duration::from_secs(24 * 60 * 60),
    Duration::from_secs(30 * 24 * 60 * 60),
];

/// What a key was used for.
#[derive(Debug, Clone)]
pub(crate) struct Saved {
    fingerprint: u64,
    /// Until then the request counts as being carried out.
    ready_at: Instant,
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    pub(crate) request_id: Box<str>,
    /// Whether something was changed.
    pub(crate) effect: bool,
}

/// What a key means for a request that carries it.
#[derive(Debug)]
pub(crate) enum Known<'a> {
    New,
    InFlight,
    OtherRequest,
    Replay(&'a Saved),
}

/// The keys of one account.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    saved: HashMap<Arc<str>, Saved>,
    /// Oldest first, those of API v1 and those of API v2.
    by_age: [VecDeque<(Instant, Arc<str>)>; 2],
}

impl Keys {
    pub(crate) fn look_up(&mut self, key: &str, fingerprint: u64, now: Instant) -> Known<'_> {
        self.forget_old(now);
        match self.saved.get(key) {
            None => Known::New,
            Some(saved) if saved.fingerprint != fingerprint => Known::OtherRequest,
            Some(saved) if now < saved.ready_at => Known::InFlight,
            Some(saved) => Known::Replay(saved),
        }
    }

    fn forget_old(&mut self, now: Instant) {
        for (by_age, kept) in self.by_age.iter_mut().zip(KEPT) {
            let is_old = |at: &Instant| now.saturating_duration_since(*at) >= kept;
            while by_age.front().is_some_and(|(at, _)| is_old(at)) {
                if let Some((_, old)) = by_age.pop_front() {
                    self.saved.remove(&old);
                }
            }
        }
    }

    pub(crate) fn save(&mut self, key: &str, is_v2: bool, now: Instant, saved: Saved) {
        let key: Arc<str> = key.into();
        self.by_age[usize::from(is_v2)].push_back((now, Arc::clone(&key)));
        self.saved.insert(key, saved);
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Saved> {
        self.saved.get(key)
    }
}

impl Saved {
    pub(crate) fn new(fingerprint: u64, ready_at: Instant, status: u16, body: Bytes, request_id: &str) -> Self {
        Self {
            fingerprint,
            ready_at,
            status,
            body,
            request_id: request_id.into(),
            effect: false,
        }
    }
}

/// Equal for requests with the same target and the same parameters. The order of names does not matter, nor how they came: the
/// boundary between the parts of an upload is drawn anew for each request.
pub(crate) fn fingerprint(method: &str, path: &str, params: &Params) -> u64 {
    let mut hasher = DefaultHasher::new();
    (method, path, of_params(params)).hash(&mut hasher);
    hasher.finish()
}

fn of_params(params: &Params) -> u64 {
    let entries = params.iter().map(|(name, value)| {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        hash_value(value, &mut hasher);
        hasher.finish()
    });
    entries.fold(0, u64::wrapping_add)
}

fn hash_value(value: &Value, hasher: &mut DefaultHasher) {
    std::mem::discriminant(value).hash(hasher);
    match value {
        Value::Null => {}
        Value::Bool(value) => value.hash(hasher),
        Value::Integer(number) => number.hash(hasher),
        Value::Float(number) => number.to_bits().hash(hasher),
        Value::Text(text) => text.hash(hasher),
        Value::File(file) => (file.name(), file.bytes()).hash(hasher),
        Value::List(items) => {
            items.len().hash(hasher);
            items.iter().for_each(|item| hash_value(item, hasher));
        }
        Value::Map(entries) => of_params(entries).hash(hasher),
    }
}

#[cfg(test)]
mod tests {
    use inflight_stripe::form;

    use super::*;

    #[test]
    fn keys_are_in_flight_then_replayed_then_forgotten() {
        let mut keys = Keys::default();
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        keys.save("k", false, start, Saved::new(1, later(2), 200, Bytes::new(), "req_1"));
        assert!(matches!(keys.look_up("k", 1, later(1)), Known::InFlight));
        assert!(matches!(keys.look_up("k", 1, later(2)), Known::Replay(_)));
        assert!(matches!(keys.look_up("k", 2, later(2)), Known::OtherRequest));
        assert!(matches!(keys.look_up("other", 1, later(2)), Known::New));
        keys.save(
            "other",
            true,
            later(24 * 3600),
            Saved::new(1, start, 200, Bytes::new(), "req_2"),
        );
        assert!(matches!(keys.look_up("k", 1, later(24 * 3600)), Known::New));
        assert_eq!(keys.saved.len(), 1);
        let days = |days: u64| later(days * 24 * 3600);
        assert!(matches!(keys.look_up("other", 1, days(30)), Known::Replay(_)));
        assert!(matches!(keys.look_up("other", 1, days(31)), Known::New));
    }

    #[test]
    fn order_does_not_matter_and_the_rest_does() {
        let of = |method, path, form| fingerprint(method, path, &form::decode(form).unwrap());
        assert_eq!(
            of("POST", "/a", "x=1&y[a]=2&y[b]=3"),
            of("POST", "/a", "y[b]=3&y[a]=2&x=1")
        );
        for (method, path, form) in [
            ("DELETE", "/a", "x[]=1&x[]=2"),
            ("POST", "/b", "x[]=1&x[]=2"),
            ("POST", "/a", "x[]=2&x[]=1"),
            ("POST", "/a", "x[]=1&y[]=2"),
            ("POST", "/a", "x[]=12"),
            ("POST", "/a", "x[0][0]=1&x[0][1]=2"),
        ] {
            assert_ne!(
                of(method, path, form),
                of("POST", "/a", "x[]=1&x[]=2"),
                "{method} {path} {form}"
            );
        }
        assert_ne!(
            of("POST", "/a", "x[0][0]=1&x[0][1]=2"),
            of("POST", "/a", "x[0][0]=1&x[1]=2")
        );
    }
}
