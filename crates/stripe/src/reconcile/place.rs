//! Where the trace of a request is looked for.

use std::ops::RangeInclusive;

use inflight_core::{Method, Request, RequestId};

use super::listing::Listing;
use super::{CHANGE_TAG, ReconcileError, TAG, is_tagged};
use crate::catalogue::{Answer, Operation, is_v2};
use crate::form;
use crate::route::{operation_of, path_of};

/// Actions that write the metadata which they are given to the object that they act on, the first one in their path. Others write it
/// elsewhere, such as to a reader's refund, or to a payout that reverses this one.
/// <https://docs.stripe.com/api/payment_intents/capture>, <https://docs.stripe.com/api/issuing/authorizations/approve>,
/// <https://docs.stripe.com/api/issuing/disputes/submit>
const ON_THE_OBJECT: [&str; 5] = [
    "issuing.authorization.approve",
    "issuing.authorization.decline",
    "issuing.dispute.submit",
    "payment_intent.capture",
    "payment_intent.increment_authorization",
];

#[derive(Debug)]
pub(super) enum Place {
    /// The object that was changed.
    Changed,
    /// The object that was deleted, by its id. One that `stays` is there afterwards, such as a subscription that was canceled.
    /// <https://docs.stripe.com/api/subscriptions/cancel>. Of a name that `may_return` there may be another one by now.
    Deleted { id: String, stays: bool, may_return: bool },
    /// The list that holds what was created.
    List(Listing),
}

impl Place {
    /// Where this request has left its trace, with the path to ask for.
    pub(super) fn of(
        request: &Request,
        id: RequestId,
        created: Option<RangeInclusive<u64>>,
    ) -> Result<(&str, Self), ReconcileError> {
        let path = path_of(request);
        if is_v2(path) {
            return Err(ReconcileError::Impossible("objects of API v2 are not looked up"));
        }
        let operation = operation_of(request).ok_or(ReconcileError::Impossible("its operation is not known"))?;
        let get = get_at(operation, path);
        let gives = |answer: Answer| get.filter(|get| get.answer == answer);
        if request.method == Method::Delete {
            // What belongs to an object, such as its discount, may be gone while the object is there.
            gives(Answer::Object).ok_or(ReconcileError::Impossible("what it deletes cannot be asked for"))?;
            return Ok((path, Self::deleted(operation, path)));
        }
        let name = tag_of(operation, path);
        if !request.body.as_ref().is_some_and(|body| is_tagged(body, name, id)) {
            return Err(ReconcileError::Impossible("it does not carry its id in its metadata"));
        }
        if let Some(list) = gives(Answer::List) {
            return Ok((path, Self::List(Listing::of(list, request, created)?)));
        }
        if gives(Answer::Object).is_some() {
            return Ok((path, Self::Changed));
        }
        let object =
            acted_on(operation, path).ok_or(ReconcileError::Impossible("what it writes cannot be asked for"))?;
        Ok((object, Self::Changed))
    }

    fn deleted(operation: &Operation, path: &str) -> Self {
        let segment = path.rsplit('/').next().unwrap_or_default();
        let id = form::decode_segment(segment).unwrap_or_else(|| segment.to_owned());
        Self::Deleted {
            stays: operation.answer == Answer::Object,
            may_return: may_return(operation, &id),
            id,
        }
    }
}

/// Under which name a request writes its id into the metadata of what it makes: what is created is found in its list.
pub(super) fn tag_of(operation: &Operation, path: &str) -> &'static str {
    match get_at(operation, path) {
        Some(get) if get.answer == Answer::List => TAG,
        _ => CHANGE_TAG,
    }
}

/// Whether there may be another object of the same name after this one was deleted: the one of its kind that an object has, such as a
/// customer's discount, or one whose name the account has chosen.
fn may_return(operation: &Operation, id: &str) -> bool {
    let is_only_one = !operation.path.ends_with('}');
    let is_chosen = match operation.name {
        "coupon.delete" | "plan.delete" => true,
        "product.delete" => !id.starts_with("prod_"),
        _ => false,
    };
    is_only_one || is_chosen || !is_made_by_stripe(id)
}

/// `cus_NffrFeUfNV2Hib`: a prefix, and at least eight letters and digits.
fn is_made_by_stripe(id: &str) -> bool {
    id.rsplit_once('_').is_some_and(|(prefix, rest)| {
        !prefix.is_empty() && rest.len() >= 8 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// What gives what this very path names. `/v1/tax/transactions/create_reversal` is no transaction, although a name would fit there.
fn get_at(operation: &Operation, path: &str) -> Option<&'static Operation> {
    let (get, _) = Operation::by_route(Method::Get, path)?;
    let is_param = |segment: &str| segment.starts_with('{');
    let mut pairs = get.path.split('/').zip(operation.path.split('/'));
    pairs
        .all(|(one, other)| is_param(one) == is_param(other))
        .then_some(get)
}

/// The path of the object that bears the metadata of an action on it.
fn acted_on<'p>(operation: &Operation, path: &'p str) -> Option<&'p str> {
    if !ON_THE_OBJECT.contains(&operation.name) {
        return None;
    }
    let at = operation.path.split('/').position(|segment| segment.starts_with('{'))?;
    let end = path.match_indices('/').nth(at).map_or(path.len(), |(end, _)| end);
    let object = &path[..end];
    let (found, _) = Operation::by_route(Method::Get, object)?;
    (found.answer == Answer::Object).then_some(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_actions_are_such_as_take_metadata_and_give_the_object() {
        for name in ON_THE_OBJECT {
            let operation = Operation::by_name(name).unwrap();
            assert!(operation.param("metadata").is_some(), "{name}");
            let path = operation.path.replace(['{', '}'], "");
            assert!(acted_on(operation, &path).is_some(), "{name}");
        }
    }
}
