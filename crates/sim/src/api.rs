//! The simulator without its socket: one request in, one answer out.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use inflight_stripe::{API_VERSION, Method};

use crate::auth::authenticate;
use crate::error::ApiError;
use crate::faults::{self, Decision, Fault, Faults, Injector, RateLimitReason};
use crate::idempotency::{Known, Saved, fingerprint};
use crate::incoming::{
    Route, account, add_owner, contents_of, decode, error_body, idempotency_key, key_in_use, key_of_other_request,
    route,
};
use crate::latency::Latency;
use crate::random::Random;
use crate::resources::{Answered, Context, execute};
use crate::schema::SchemaId;
use crate::state::{self, StateError};
use crate::store::DataSet;

/// Tells the present as Unix time in seconds.
pub(crate) type UnixClock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A request as it came over the wire. Absent headers are `None`.
///
/// ```
/// use inflight_sim::ApiRequest;
///
/// let request = ApiRequest { method: "GET", path: "/v1/products", ..ApiRequest::default() };
/// assert_eq!(request.body, b"");
/// ```
#[derive(Clone, Copy, Default)]
pub struct ApiRequest<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The query, without its question mark.
    pub query: &'a str,
    /// `Authorization`
    pub authorization: Option<&'a str>,
    /// `Content-Type`
    pub content_type: Option<&'a str>,
    /// `Idempotency-Key`
    pub idempotency_key: Option<&'a str>,
    /// `Stripe-Account`
    pub stripe_account: Option<&'a str>,
    /// `Stripe-Context`: an account, or a path to one (`acct_1/acct_2`).
    pub stripe_context: Option<&'a str>,
    /// `Stripe-Version`
    pub stripe_version: Option<&'a str>,
    /// The whole body.
    pub body: &'a [u8],
}

impl fmt::Debug for ApiRequest<'_> {
    /// Without the key and without the body, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiRequest")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What the simulator answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiResponse {
    /// The HTTP status.
    pub status: u16,
    /// JSON, or a file.
    pub body: Bytes,
    /// `Content-Type`
    pub content_type: &'static str,
    /// `Request-Id`
    pub request_id: String,
    /// `Stripe-Version`
    pub stripe_version: String,
    /// The id of the request whose saved answer this is (`Idempotent-Replayed: true`).
    pub replay_of: Option<String>,
    /// The operation's name, if the route is known: `product.create`.
    pub operation: Option<&'static str>,
    /// How long to wait before answering.
    pub latency: Duration,
    /// `Stripe-Rate-Limited-Reason`
    pub rate_limited_reason: Option<&'static str>,
    /// `Stripe-Should-Retry`
    pub should_retry: Option<bool>,
    /// What is to become of the answer on its way.
    pub fault: Option<Fault>,
    /// Whether it says what became of the request: it was carried out, now or before, and the server did not fail over it.
    pub(crate) is_conclusive: bool,
}

impl ApiResponse {
    /// An answer in JSON that no operation gave.
    pub(crate) fn of(status: u16, body: Bytes) -> Self {
        Self {
            status,
            body,
            content_type: "application/json",
            request_id: String::new(),
            stripe_version: API_VERSION.to_owned(),
            replay_of: None,
            operation: None,
            latency: Duration::ZERO,
            rate_limited_reason: None,
            should_retry: None,
            fault: None,
            is_conclusive: false,
        }
    }
}

/// How often something happened since the start or the last reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Requests, of whatever kind.
    pub requests: u64,
    /// Requests that changed something. However often a request is repeated under one key, it counts once.
    pub effects: u64,
    /// Answers that were saved under an idempotency key and given again.
    pub replays: u64,
    /// Requests whose key belonged to another request that was still being carried out (409).
    pub conflicts: u64,
    /// All other answers that were not 2xx.
    pub refused: u64,
}

/// The simulator without its socket, for benchmarks and for other ways to reach it.
///
/// ```
/// use std::time::Instant;
/// use inflight_sim::{Api, ApiRequest};
///
/// let mut api = Api::new(7);
/// let request = ApiRequest {
///     method: "POST",
///     path: "/v1/products",
///     authorization: Some("Bearer sk_test_1"),
///     body: b"name=Mug",
///     ..ApiRequest::default()
/// };
/// let response = api.handle(&request, Instant::now());
/// assert_eq!((response.status, api.counts().effects), (200, 1));
/// ```
pub struct Api {
    seed: u64,
    random: Random,
    latency: Latency,
    clock: UnixClock,
    /// By `Stripe-Account`; the empty name is the account of all keys.
    accounts: HashMap<Box<str>, DataSet>,
    counts: Counts,
    injector: Option<Injector>,
    /// How far the clock was moved.
    moved: Duration,
    /// How often each operation was asked for, by name, or by path where it has no name.
    operations: BTreeMap<&'static str, u64>,
}

impl Api {
    /// Nothing created yet; ids follow from the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let now = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |age| age.as_secs().cast_signed())
        };
        Self {
            seed,
            random: Random::new(seed),
            latency: Latency::default(),
            clock: Arc::new(now),
            accounts: HashMap::new(),
            counts: Counts::default(),
            operations: BTreeMap::new(),
            injector: None,
            moved: Duration::ZERO,
        }
    }

    /// Sets what goes wrong. By default nothing.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.set_faults(faults);
        self
    }

    /// The same while it runs; what was counted of faults is forgotten.
    pub fn set_faults(&mut self, faults: Faults) {
        self.injector = (faults != Faults::default()).then(|| Injector::new(faults, self.seed));
    }

    pub(crate) fn has_faults(&self) -> bool {
        self.injector.is_some()
    }

    /// How often each fault happened, by name.
    #[must_use]
    pub fn injected(&self) -> BTreeMap<&'static str, u64> {
        self.injector
            .as_ref()
            .map(|injector| injector.injected().clone())
            .unwrap_or_default()
    }

    /// Moves the clock forward: idempotency keys age, and what is created is younger.
    pub fn advance(&mut self, time: Duration) {
        self.moved += time;
    }

    /// Whether a client was sent in full what became of the request with this key. Known only where there are faults.
    #[must_use]
    pub fn was_told(&self, key: &str) -> bool {
        self.injector.as_ref().is_some_and(|injector| injector.was_told(key))
    }

    pub(crate) fn tell(&mut self, key: &str) {
        if let Some(injector) = &mut self.injector {
            injector.tell(key);
        }
    }

    /// Sets what ids and latencies follow from.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self.random = Random::new(seed);
        self
    }

    /// Sets how long answers take. By default no time.
    #[must_use]
    pub fn latency(mut self, latency: Latency) -> Self {
        self.latency = latency;
        self
    }

    /// Sets the clock that `created` is read from, in Unix seconds. By default the system's.
    #[must_use]
    pub fn unix_clock(mut self, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How often what happened.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Forgets everything; ids start again from the seed.
    pub fn reset(&mut self) {
        self.accounts.clear();
        self.counts = Counts::default();
        self.operations.clear();
        self.random = Random::new(self.seed);
    }

    /// All objects of a type (`product`) in the keys' own account, oldest first. Empty for types that do not exist.
    ///
    /// A type is what the objects' `object` says: `checkout.session`. Events are left out; `GET /v1/events` lists them.
    #[must_use]
    pub fn objects(&self, r#type: &str) -> Vec<serde_json::Value> {
        let (Some(data), Some(schema)) = (self.accounts.get(""), SchemaId::by_object(r#type)) else {
            return Vec::new();
        };
        let json = |object: &crate::object::Object| {
            let mut out = String::new();
            object.push_json(&mut out, data);
            serde_json::from_str(&out).unwrap_or_default()
        };
        data.table(schema).iter().map(json).collect()
    }

    /// How many objects of a type there are in the keys' own account.
    #[must_use]
    pub fn count(&self, r#type: &str) -> usize {
        match (self.accounts.get(""), SchemaId::by_object(r#type)) {
            (Some(data), Some(crate::generated::EVENT)) => data.events.len(),
            (Some(data), Some(schema)) => data.table(schema).len(),
            _ => 0,
        }
    }

    /// How often each operation was asked for since the start or the last reset, by its name in the SDKs: `product.create`. Old
    /// aliases without a name stand by their path.
    #[must_use]
    pub fn operations(&self) -> &BTreeMap<&'static str, u64> {
        &self.operations
    }

    /// How many objects of each type there are in the keys' own account.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<&'static str, usize> {
        self.accounts.get("").map(DataSet::totals).unwrap_or_default()
    }

    /// Everything that the simulator holds, as text. Idempotency keys and counts are left out.
    ///
    /// # Errors
    /// What is held cannot be written as JSON, which does not happen.
    pub fn save(&self) -> Result<String, StateError> {
        state::to_json(self.random.state(), &self.accounts)
    }

    /// Holds what a text of [`save`](Self::save) says, and nothing else.
    ///
    /// # Errors
    /// The text is no such text, or one of another format. Then nothing changes.
    pub fn load(&mut self, text: &str) -> Result<(), StateError> {
        let (random, accounts) = state::from_json(text)?;
        self.random = Random::new(random);
        self.accounts = accounts;
        Ok(())
    }

    /// Whether a request with this idempotency key changed something in the keys' own account. `None` for unknown keys.
    #[must_use]
    pub fn effect_of_key(&self, key: &str) -> Option<bool> {
        Some(self.accounts.get("")?.keys.get(key)?.effect)
    }

    /// Carries out a request at once. The answer says how long to hold it back; until then the request's key counts as in
    /// flight.
    pub fn handle(&mut self, request: &ApiRequest<'_>, now: Instant) -> ApiResponse {
        let now = now + self.moved;
        let mut latency = self.latency.draw(&mut self.random);
        let decision = match &mut self.injector {
            Some(injector) => injector.decide(request, latency, now),
            None => Decision::default(),
        };
        latency += decision.delay;
        let mut response = ApiResponse::of(200, Bytes::new());
        response.request_id = self.random.id("req_", 14);
        response.latency = latency;
        response.fault = decision.spoilt;
        if let Some(version) = request.stripe_version {
            version.clone_into(&mut response.stripe_version);
        }
        self.counts.requests += 1;
        let refused = decision.refusal.map(|refusal| {
            response.rate_limited_reason = refusal.reason.map(RateLimitReason::as_str);
            response.should_retry = refusal.should_retry;
            refusal.error
        });
        let is_carried_out = !matches!(decision.spoilt, Some(Fault::ResetBefore | Fault::Down(_)));
        let answered = match refused {
            Some(error) => Err(error),
            None if is_carried_out => self.answer(request, now, decision.fails_after, &mut response),
            None => return response,
        };
        if let Err(error) = answered {
            response.status = error.status;
            response.body = error_body(&error, request.path).into();
        }
        match response.status {
            _ if response.replay_of.is_some() => self.counts.replays += 1,
            200..300 => {}
            409 => self.counts.conflicts += 1,
            _ => self.counts.refused += 1,
        }
        response
    }

    /// Fills in the response. What fails here fails before execution and is saved under no key.
    fn answer(
        &mut self,
        request: &ApiRequest<'_>,
        now: Instant,
        fails_after: bool,
        response: &mut ApiResponse,
    ) -> Result<(), ApiError> {
        authenticate(request.authorization)?;
        let account = account(request)?;
        if let Some(id) = contents_of(request) {
            return self.contents(account, id, response);
        }
        let Route { operation, plan, ids } = route(request)?;
        response.operation = Some(operation.name);
        let name = if operation.name.is_empty() {
            operation.path
        } else {
            operation.name
        };
        *self.operations.entry(name).or_default() += 1;
        let mut params = decode(request, operation)?;
        let key = idempotency_key(request)?;
        if !self.accounts.contains_key(account) {
            self.accounts.insert(account.into(), DataSet::default());
        }
        let Some(data) = self.accounts.get_mut(account) else {
            return Err(ApiError::invalid("No such account."));
        };
        let fingerprint = key.map_or(0, |_| fingerprint(request.method, request.path, &params));
        if let Some(key) = key {
            match data.keys.look_up(key, fingerprint, now) {
                Known::New => {}
                Known::Replay(saved) => {
                    response.status = saved.status;
                    response.body = saved.body.clone();
                    response.replay_of = Some(saved.request_id.to_string());
                    response.is_conclusive = saved.status < 500;
                    return Ok(());
                }
                Known::InFlight => return Err(key_in_use(key)),
                Known::OtherRequest => return Err(key_of_other_request(key)),
            }
        }
        operation.check_all_listed(&params)?;
        add_owner(operation, plan, &ids, &mut params);

        if operation.method != Method::Get {
            data.events.caused_by(&response.request_id, key);
        }
        // Execution begins: from here on success and failure are saved.
        let mut context = Context {
            account,
            operation,
            plan,
            ids: &ids,
            params: &params,
            data,
            random: &mut self.random,
            now: (self.clock)().saturating_add(self.moved.as_secs().cast_signed()),
            effect: false,
        };
        (response.status, response.body) = match execute(&mut context) {
            Ok(Answered::Json(json)) => (200, json.into()),
            Ok(Answered::File(bytes, kind)) => {
                response.content_type = kind;
                (200, bytes)
            }
            Err(error) => (error.status, error_body(&error, request.path).into()),
        };
        let effect = context.effect;
        if fails_after {
            let error = faults::server_error();
            (response.status, response.body) = (error.status, error_body(&error, request.path).into());
        }
        response.is_conclusive = !fails_after;
        self.counts.effects += u64::from(effect);
        if let Some(key) = key {
            let ready_at = now + response.latency;
            let mut saved = Saved::new(
                fingerprint,
                ready_at,
                response.status,
                // The answer was written into more room than it needs; it is kept for long.
                Bytes::copy_from_slice(&response.body),
                &response.request_id,
            );
            saved.effect = effect;
            data.keys.save(key, request.path.starts_with("/v2/"), now, saved);
        }
        Ok(())
    }

    /// What was uploaded: the one route that the specification leaves out.
    fn contents(&self, account: &str, id: &str, response: &mut ApiResponse) -> Result<(), ApiError> {
        let contents = self.accounts.get(account).and_then(|data| data.contents.get(id));
        response.body = contents
            .cloned()
            .ok_or_else(|| ApiError::no_such("file", id, "file").status(404))?;
        response.content_type = "application/octet-stream";
        Ok(())
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("seed", &self.seed)
            .field("latency", &self.latency)
            .field("accounts", &self.accounts.len())
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}
