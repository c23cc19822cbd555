//! A list that holds what a request created: how all of it is gone through, and whether all of it is shown.

use std::ops::RangeInclusive;

use inflight_core::Request;

use super::look_up::Seen;
use super::{ReconcileError, is_form};
use crate::catalogue::{Operation, Param};
use crate::form;
use crate::value::{Params, Value};

/// A page has at most so many objects. <https://docs.stripe.com/api/pagination>
const PAGE: usize = 100;

/// How many pages are looked through: 100,000 objects.
const PAGES_MAX: u32 = 1000;

/// How a list is to be asked, so that it hides nothing.
struct Habits {
    path: &'static str,
    /// The list is gone through once with each of these filters.
    passes: &'static [&'static str],
    /// Parameters of the creation. The list is asked for the first one of them that was given: what belongs to a test clock is shown only
    /// so. Its time of creation is then the clock's, not ours. <https://docs.stripe.com/billing/testing/test-clocks>
    shown_by: &'static [&'static str],
    hides: Hides,
}

/// Whether there may be objects that the list does not show all the same.
#[derive(Clone, Copy)]
enum Hides {
    Nothing,
    /// Those of test clocks, where the creation names nothing that the list can be asked for.
    Clocked,
    More,
}

const ONCE: &[&str] = &[""];
const CUSTOMER: &[&str] = &["customer", "customer_account"];

/// The lists that are not simply asked for everything that was created in the time.
const HABITS: [Habits; 16] = [
    list("/v1/billing/credit_grants", ONCE, CUSTOMER, Hides::Nothing),
    list("/v1/charges", ONCE, &["customer"], Hides::Nothing),
    list("/v1/checkout/sessions", ONCE, CUSTOMER, Hides::Nothing),
    list("/v1/credit_notes", ONCE, &["invoice"], Hides::Clocked),
    // <https://docs.stripe.com/api/customers/list>
    list("/v1/customers", ONCE, &["test_clock"], Hides::Nothing),
    // Those that were canceled, which no filter of this old list shows.
    list("/v1/customers/{customer}/subscriptions", ONCE, &[], Hides::More),
    list(
        "/v1/invoiceitems",
        ONCE,
        &["customer", "customer_account", "invoice"],
        Hides::Clocked,
    ),
    list("/v1/invoices", ONCE, CUSTOMER, Hides::Clocked),
    list("/v1/payment_intents", ONCE, CUSTOMER, Hides::Nothing),
    // Not its `customer`: that is whose payment method was copied. Custom ones are shown only by their type; whether those that belong to
    // nobody are shown is not documented. <https://docs.stripe.com/api/payment_methods/list>
    list("/v1/payment_methods", ONCE, &["type"], Hides::More),
    // Only active ones, unless it is asked for the others. <https://docs.stripe.com/api/prices/list>
    list("/v1/prices", &["&active=true", "&active=false"], &[], Hides::Nothing),
    // <https://docs.stripe.com/api/quotes/list>
    list(
        "/v1/quotes",
        ONCE,
        &["test_clock", "customer", "customer_account"],
        Hides::Clocked,
    ),
    list("/v1/refunds", ONCE, &["payment_intent", "charge"], Hides::Nothing),
    list("/v1/setup_intents", ONCE, CUSTOMER, Hides::Nothing),
    list("/v1/subscription_schedules", ONCE, CUSTOMER, Hides::Clocked),
    // Only those that are not canceled, unless it is asked for all; those of deleted customers are said to be among the canceled ones.
    // <https://docs.stripe.com/api/subscriptions/list>
    list(
        "/v1/subscriptions",
        &["&status=all", "&status=canceled"],
        CUSTOMER,
        Hides::Clocked,
    ),
];

const fn list(
    path: &'static str,
    passes: &'static [&'static str],
    shown_by: &'static [&'static str],
    hides: Hides,
) -> Habits {
    Habits {
        path,
        passes,
        shown_by,
        hides,
    }
}

/// A list on its way through.
#[derive(Debug)]
pub(super) struct Listing {
    /// What all pages are asked for by.
    filters: String,
    /// The passes that are left, the present one last.
    passes: Vec<&'static str>,
    /// The last object that was seen in the present pass.
    last: Option<String>,
    pages_left: u32,
    /// Whether what is in none of the passes is nowhere.
    is_complete: bool,
}

impl Listing {
    /// The list that `list` gives, for what this request created.
    pub(super) fn of(
        list: &'static Operation,
        request: &Request,
        created: Option<RangeInclusive<u64>>,
    ) -> Result<Self, ReconcileError> {
        let form = form_of(request);
        let given = |name: &str| form.get(name).and_then(Value::as_text).filter(|text| !text.is_empty());
        let mut filters = String::new();
        let mut ask_for = |name: &str, value: &str| {
            filters.push_str(&format!("&{name}={}", form::percent_encode(value)));
        };
        for param in list.query.iter().filter(|param| param.required) {
            let missing = ReconcileError::Impossible("its list is asked for by what the request does not name");
            ask_for(param.name, given(param.name).ok_or(missing)?);
        }
        let habits = HABITS.iter().find(|habits| habits.path == list.path);
        let mut shown_by = habits.map_or(&[][..], |habits| habits.shown_by).iter();
        let shown_by = shown_by.find_map(|name| Some((*name, given(name)?)));
        if let Some((name, value)) = shown_by {
            ask_for(name, value);
        } else if let Some(created) = created.filter(|_| Param::find(list.query, "created").is_some()) {
            let (from, to) = (created.start(), created.end());
            filters.push_str(&format!("&created[gte]={from}&created[lte]={to}"));
        }
        Ok(Self {
            filters,
            passes: habits
                .map_or(ONCE, |habits| habits.passes)
                .iter()
                .rev()
                .copied()
                .collect(),
            last: None,
            pages_left: PAGES_MAX,
            is_complete: match habits.map_or(Hides::Nothing, |habits| habits.hides) {
                Hides::Nothing => true,
                Hides::Clocked => shown_by.is_some(),
                Hides::More => false,
            },
        })
    }

    /// The query of the next page.
    pub(super) fn query(&self) -> String {
        let pass = self.passes.last().copied().unwrap_or_default();
        let mut query = format!("?limit={PAGE}{}{pass}", self.filters);
        if let Some(last) = &self.last {
            query.push_str(&format!("&starting_after={}", form::percent_encode(last)));
        }
        query
    }

    /// What a page says that did not have it, and whose last object is `last`. `None` where there is more to ask for.
    pub(super) fn not_on_page(&mut self, has_more: bool, last: Option<String>) -> Option<Seen> {
        self.pages_left = self.pages_left.saturating_sub(1);
        self.last = None;
        match (has_more, last) {
            // There is more, and no way to it.
            (true, None) => Some(Seen::Unclear),
            (true, Some(_)) if self.pages_left == 0 => Some(Seen::Unclear),
            (true, last) => {
                self.last = last;
                None
            }
            (false, _) => {
                self.passes.pop();
                match self.passes.is_empty() {
                    false => None,
                    true if self.is_complete => Some(Seen::Absent),
                    true => Some(Seen::Unclear),
                }
            }
        }
    }
}

/// The request's parameters, as far as they can be read.
fn form_of(request: &Request) -> Params {
    let body = request.body.as_ref().filter(|body| is_form(body));
    let text = body.and_then(|body| std::str::from_utf8(&body.bytes).ok());
    text.and_then(|text| form::decode(text).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use inflight_core::Method;

    use super::*;

    #[test]
    fn lists_are_asked_for_what_they_know() {
        for habits in &HABITS {
            let (list, _) = Operation::by_route(Method::Get, habits.path).unwrap();
            let (create, _) = Operation::by_route(Method::Post, habits.path).unwrap();
            for name in habits.shown_by {
                let known = list.param(name).is_some() && create.param(name).is_some();
                assert!(known, "{} {name}", habits.path);
            }
            for pass in habits.passes.iter().filter(|pass| !pass.is_empty()) {
                let (name, _) = pass[1..].split_once('=').unwrap();
                assert!(list.param(name).is_some(), "{} {name}", habits.path);
            }
        }
    }
}
