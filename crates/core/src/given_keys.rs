//! The idempotency keys that callers have given, so that one that is used for two different requests is found before it is sent.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::{IdempotencyKey, Request, RequestId};

/// Keys of requests that are not known any more are forgotten when there are so many, and then whenever the number has doubled.
const FIRST_SWEEP: usize = 1024;

/// Which request each key belongs to.
///
/// A key counts within its [`Request::key_scope`]. Only hashes are kept.
#[derive(Debug)]
pub(crate) struct GivenKeys {
    hasher: RandomState,
    by_key: HashMap<u64, Claim>,
    sweep_at: usize,
}

#[derive(Debug)]
struct Claim {
    content: u128,
    /// Who has submitted it: the same request may be submitted several times.
    ids: Vec<RequestId>,
}

impl Default for GivenKeys {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            by_key: HashMap::new(),
            sweep_at: FIRST_SWEEP,
        }
    }
}

impl GivenKeys {
    /// Notes the key of a request. Gives `false` where another one that is known has it and says something else; the same request
    /// may be submitted again under its key.
    pub(crate) fn claim(&mut self, id: RequestId, request: &Request, is_known: impl Fn(RequestId) -> bool) -> bool {
        let IdempotencyKey::Given(key) = &request.idempotency_key else {
            return true;
        };
        let key = self.hasher.hash_one((key, request.key_scope()));
        let content = request.fingerprint();
        let claim = self.by_key.entry(key).or_insert_with(|| Claim {
            content,
            ids: Vec::new(),
        });
        if claim.content != content {
            if claim.ids.iter().any(|id| is_known(*id)) {
                return false;
            }
            claim.content = content;
            claim.ids.clear();
        }
        if claim.ids.len() == claim.ids.capacity() {
            claim.ids.retain(|id| is_known(*id));
        }
        claim.ids.push(id);
        if self.by_key.len() >= self.sweep_at {
            self.by_key
                .retain(|_, claim| claim.ids.iter().any(|known| *known == id || is_known(*known)));
            self.sweep_at = (self.by_key.len() * 2).max(FIRST_SWEEP);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Method;

    fn request(key: &str, body: &'static str) -> Request {
        Request::new(Method::Post, "/v1/products")
            .body("text/plain", body)
            .idempotency_key(IdempotencyKey::Given(key.into()))
    }

    #[test]
    fn a_key_belongs_to_one_request() {
        let mut keys = GivenKeys::default();
        let mut claim = |request: &Request| keys.claim(RequestId::random(), request, |_| true);
        assert!(claim(&request("a", "1")));
        assert!(claim(&request("a", "1")), "the same again");
        assert!(!claim(&request("a", "2")));
        assert!(claim(&request("b", "2")));
        assert!(claim(&request("a", "2").credential("other")), "another account");
        assert!(
            claim(&request("a", "2").header("Stripe-Account", "acct_1")),
            "another account"
        );
        let mut elsewhere = request("a", "1");
        elsewhere.target = "/v1/prices".into();
        assert!(!claim(&elsewhere));
    }

    #[test]
    fn a_key_is_its_requests_until_none_of_them_is_known() {
        let mut keys = GivenKeys::default();
        let (first, second) = (RequestId::random(), RequestId::random());
        assert!(keys.claim(first, &request("a", "1"), |_| true));
        assert!(keys.claim(second, &request("a", "1"), |_| true));
        let only_the_first = |id| id == first;
        assert!(!keys.claim(RequestId::random(), &request("a", "2"), only_the_first));
        assert!(keys.claim(RequestId::random(), &request("a", "2"), |_| false));
    }

    #[test]
    fn what_is_not_known_any_more_frees_its_key() {
        let mut keys = GivenKeys::default();
        assert!(keys.claim(RequestId::random(), &request("a", "1"), |_| true));
        assert!(keys.claim(RequestId::random(), &request("a", "2"), |_| false));
        for number in 0..10_000 {
            assert!(keys.claim(RequestId::random(), &request(&number.to_string(), "1"), |_| false));
        }
        assert!(keys.by_key.len() <= FIRST_SWEEP);
    }
}
