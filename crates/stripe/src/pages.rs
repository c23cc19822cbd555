//! Lists page by page. <https://docs.stripe.com/api/pagination>
//!
//! [`Pages`] is the state machine: it makes the next page's request, takes its answer and gives the objects, one after another.
//! [`PageFetch`] brings a page through a [`Session`](inflight_core::Session), ahead of its need; [`PageStream`] is both as a
//! `Stream`.
//!
//! ```
//! use inflight_stripe::pages::Pages;
//! use inflight_stripe::{Operation, Params, RequestOptions};
//!
//! let list = Operation::by_name("product.list").unwrap();
//! let mut pages = Pages::new(list, &[], Params::new().with("limit", 2), &RequestOptions::new())?;
//! assert_eq!(pages.next_request()?.unwrap().target, "/v1/products?limit=2");
//!
//! pages.accept(br#"{"data":[{"id":"prod_9"},{"id":"prod_8"}],"has_more":true}"#)?;
//! assert_eq!(pages.next_object().unwrap().get(), r#"{"id":"prod_9"}"#);
//! assert_eq!(pages.next_request()?.unwrap().target, "/v1/products?limit=2&starting_after=prod_8");
//! # Ok::<(), inflight_stripe::pages::PageError>(())
//! ```

mod answer;
mod cursor;
mod fetch;
mod stream;

use std::collections::VecDeque;

use inflight_core::{Method, Request};
use serde_json::value::RawValue;

use self::answer::{Answer, Item};
use self::cursor::{Cursor, Repeats};
pub use self::fetch::{FetchError, PageFetch};
pub use self::stream::{PageStream, StreamError};
use crate::api_path::is_api_path;
use crate::catalogue::Operation;
use crate::options::RequestOptions;
use crate::request::BuildError;
use crate::value::{Params, Value};

/// The most objects that a page of API v1 has, and what pages are asked for unless the parameters say otherwise: the fewest
/// requests. <https://docs.stripe.com/api/pagination#pagination-limit>
pub const PAGE_SIZE_MAX: i64 = 100;

/// Why there are no further objects, though there should be.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// The operation gives no list.
    #[error("{0} gives no list that has pages")]
    NotAList(&'static str),
    /// The request cannot be made.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The answer is no page.
    #[error("the answer is no page of a list: {0}")]
    NotAPage(String),
    /// The server says that there is more, and the page does not say where.
    #[error("the server says that there is more, and its page has no {0} to go on from")]
    NoWay(&'static str),
    /// The server names a next page that is not one of this list. The key is sent nowhere else.
    #[error("the server names a next page that is not one of this list: it is not followed")]
    Elsewhere,
    /// The server sends us in a circle.
    #[error("the server gives the same page again and again: it begins at `{0}`")]
    Repeats(String),
    /// The text is no cursor of this list.
    #[error("this is no cursor of this list: {0}")]
    Cursor(&'static str),
}

/// How a list says where its next page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// `starting_after` the last object's id.
    Forward,
    /// `ending_before` the first object's id, each page from its end to its beginning.
    Backward,
    /// `page`, as the answer's `next_page` says.
    Search,
    /// The URL that the answer's `next_page_url` says.
    Url,
}

impl Walk {
    fn of(operation: &Operation, params: &Params) -> Option<Self> {
        if operation.method != Method::Get {
            return None;
        }
        let takes = |name: &str| operation.param(name).is_some();
        if operation.path.starts_with("/v2/") {
            let lists = operation.verb().contains("list") || takes("limit");
            return lists.then_some(Self::Url);
        }
        match (takes("page"), takes("starting_after"), params.get("ending_before")) {
            (true, ..) => Some(Self::Search),
            (_, true, Some(_)) if takes("ending_before") => Some(Self::Backward),
            (_, true, _) => Some(Self::Forward),
            _ => None,
        }
    }
}

/// Where a page begins, or the next object lies.
#[derive(Debug, Clone)]
enum Place {
    /// Where the parameters say.
    Start,
    /// Where this token says: an id, a page's name, or a URL, as the list has it.
    At(String),
    /// There is nothing more.
    End,
    /// The server does not let us go on.
    Stuck(PageError),
}

/// A list's objects, page by page: what to ask for next, and what was given.
///
/// Every filter stays as it is from page to page. Objects come in the list's order; with `ending_before` they come backwards, away
/// from it, as in the official SDKs.
#[derive(Debug, Clone)]
pub struct Pages {
    operation: &'static Operation,
    path_args: Vec<String>,
    params: Params,
    options: RequestOptions,
    walk: Walk,
    max: Option<u64>,
    /// How many objects were given, before the cursor too.
    given: u64,
    /// The pages that were accepted and not given to their end.
    pages: VecDeque<Page>,
    /// Where the first page that was not accepted begins.
    next: Place,
    /// After the last object that was given: a place, and how many objects after it.
    position: (Place, u64),
    repeats: Repeats,
}

#[derive(Debug, Clone)]
struct Page {
    items: VecDeque<Item>,
    size: usize,
    /// Where the page after it begins.
    next: Place,
}

impl Pages {
    /// The objects of this list. Nothing is checked before the first [`next_request`](Self::next_request).
    ///
    /// # Errors
    /// [`PageError::NotAList`].
    pub fn new(
        operation: &'static Operation,
        path_args: &[&str],
        params: Params,
        options: &RequestOptions,
    ) -> Result<Self, PageError> {
        let walk = Walk::of(operation, &params).ok_or(PageError::NotAList(operation.name))?;
        Ok(Self {
            operation,
            path_args: path_args.iter().map(|id| (*id).to_owned()).collect(),
            params,
            options: options.clone(),
            walk,
            max: None,
            given: 0,
            pages: VecDeque::new(),
            next: Place::Start,
            position: (Place::Start, 0),
            repeats: Repeats::default(),
        })
    }

    /// Whether this operation gives a list that has pages.
    #[must_use]
    pub fn gives(operation: &Operation) -> bool {
        Walk::of(operation, &Params::new()).is_some()
    }

    /// Gives at most so many objects in all, those before a cursor included, and asks for no page beyond. By default all.
    #[must_use]
    pub fn max(mut self, objects: u64) -> Self {
        self.max = Some(objects);
        self
    }

    /// Goes on where [`cursor`](Self::cursor) was taken, from the same operation and parameters.
    ///
    /// # Errors
    /// [`PageError::Cursor`] where the text is no cursor of this list.
    pub fn resume(mut self, cursor: &str) -> Result<Self, PageError> {
        let cursor = Cursor::parse(cursor, self.operation.name, self.walk)?;
        if let Some(token) = &cursor.at
            && self.walk == Walk::Url
        {
            self.check_url(token)?;
        }
        self.given = cursor.given;
        self.next = match cursor.at {
            _ if cursor.end => Place::End,
            Some(token) => Place::At(token),
            None => Place::Start,
        };
        self.position = (self.next.clone(), cursor.skip);
        Ok(self)
    }

    /// Where the next object lies, as a text that [`resume`](Self::resume) takes: after a failure, in another process, later.
    #[must_use]
    pub fn cursor(&self) -> String {
        let (place, skip) = &self.position;
        let cursor = Cursor {
            list: self.operation.name.to_owned(),
            back: self.walk == Walk::Backward,
            at: match place {
                Place::At(token) => Some(token.clone()),
                _ => None,
            },
            skip: *skip,
            given: self.given,
            end: matches!(place, Place::End),
        };
        cursor.text()
    }

    /// How many objects were given, those before a cursor included.
    #[must_use]
    pub fn given(&self) -> u64 {
        self.given
    }

    /// How many objects are here and not given yet.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.pages.iter().map(|page| page.items.len()).sum()
    }

    /// Whether the next page should be on its way: half of the last one was given.
    #[must_use]
    pub fn is_running_low(&self) -> bool {
        self.pages.back().is_none_or(|last| self.buffered() * 2 <= last.size)
    }

    /// The request for the next page; `None` where no further page is needed.
    ///
    /// # Errors
    /// [`PageError`] where the request cannot be made, or the server does not let us go on.
    pub fn next_request(&self) -> Result<Option<Request>, PageError> {
        let token = match &self.next {
            Place::Start => None,
            Place::At(token) => Some(token.as_str()),
            Place::End => return Ok(None),
            // What is here is given first.
            Place::Stuck(_) if !self.pages.is_empty() => return Ok(None),
            Place::Stuck(error) => return Err(error.clone()),
        };
        let left = self.left().map(|left| left.saturating_sub(self.buffered() as u64));
        if left == Some(0) {
            return Ok(None);
        }
        let mut params = self.params.clone();
        self.set_size(&mut params, left);
        if let Some(token) = token {
            match self.walk {
                Walk::Forward => params.set("starting_after", token),
                Walk::Backward => params.set("ending_before", token),
                Walk::Search => params.set("page", token),
                Walk::Url => {}
            }
        }
        let path_args: Vec<&str> = self.path_args.iter().map(String::as_str).collect();
        let mut request = self.operation.request(&path_args, params, &self.options)?;
        if let (Walk::Url, Some(url)) = (self.walk, token) {
            url.clone_into(&mut request.target);
        }
        Ok(Some(request))
    }

    /// Takes the answer to [`next_request`](Self::next_request).
    ///
    /// # Errors
    /// [`PageError`] where it is no page, and then nothing has changed; or where it is the same page once more.
    pub fn accept(&mut self, body: &[u8]) -> Result<(), PageError> {
        let mut answer = Answer::read(body, matches!(self.walk, Walk::Forward | Walk::Backward))?;
        let next = self.after(&answer);
        if let Place::At(token) = &next
            && self.repeats.again(&self.next, token)
        {
            let error = PageError::Repeats(token.clone());
            self.next = Place::Stuck(error.clone());
            return Err(error);
        }
        if self.walk == Walk::Backward {
            answer.items.reverse();
        }
        let mut items: VecDeque<Item> = answer.items.into();
        if self.pages.is_empty() {
            // Objects of a resumed page that were given before the cursor was taken. After an id they begin with the page.
            let before = usize::try_from(self.position.1).unwrap_or(usize::MAX).min(items.len());
            items.drain(..before);
        }
        self.next = next.clone();
        if items.is_empty() {
            // An empty page, in the middle or at the end.
            match self.pages.back_mut() {
                Some(page) => page.next = next,
                None => self.move_on(next),
            }
        } else {
            self.pages.push_back(Page {
                size: items.len(),
                items,
                next,
            });
        }
        Ok(())
    }

    /// The object that [`next_object`](Self::next_object) gives next; the cursor still lies before it.
    #[must_use]
    pub fn peek_object(&self) -> Option<&RawValue> {
        if self.left() == Some(0) {
            return None;
        }
        self.pages.front()?.items.front().map(|item| &*item.json)
    }

    /// The next object as JSON; `None` where a further page has to be accepted first, or nothing is left.
    pub fn next_object(&mut self) -> Option<Box<RawValue>> {
        if self.left() == Some(0) {
            return None;
        }
        let page = self.pages.front_mut()?;
        let item = page.items.pop_front()?;
        self.given += 1;
        match item.id {
            Some(id) => self.position = (Place::At(id), 0),
            None => self.position.1 += 1,
        }
        if page.items.is_empty()
            && let Some(page) = self.pages.pop_front()
        {
            self.move_on(page.next);
        }
        Some(item.json)
    }

    /// A page was given to its end. Where an object's id says where we are, it goes on doing so.
    fn move_on(&mut self, next: Place) {
        match next {
            Place::End => self.position = (Place::End, 0),
            Place::At(_) if matches!(self.walk, Walk::Search | Walk::Url) => self.position = (next, 0),
            _ => {}
        }
    }

    fn left(&self) -> Option<u64> {
        self.max.map(|max| max.saturating_sub(self.given))
    }

    /// How large the next page shall be: as the parameters say, or as large as it may be; no larger than what is left.
    fn set_size(&self, params: &mut Params, left: Option<u64>) {
        let size = match params.get("limit") {
            None if self.walk != Walk::Url && self.operation.param("limit").is_some() => PAGE_SIZE_MAX,
            Some(Value::Integer(size)) => *size,
            // Whatever else it is, Stripe says what it thinks of it.
            _ => return,
        };
        // A page's name goes with its size: only ids say where they are whatever the size.
        let left = match self.walk {
            Walk::Forward | Walk::Backward => left,
            Walk::Search | Walk::Url => self.max,
        };
        let left = left.map_or(i64::MAX, |left| i64::try_from(left).unwrap_or(i64::MAX));
        params.set("limit", size.min(left));
    }

    /// Where the page after this one begins.
    fn after(&self, answer: &Answer) -> Place {
        if self.walk == Walk::Url {
            return match &answer.next_page_url {
                None => Place::End,
                Some(url) => match self.check_url(url) {
                    Ok(()) => Place::At(url.clone()),
                    Err(_) => Place::Stuck(PageError::Elsewhere),
                },
            };
        }
        if !answer.has_more {
            return Place::End;
        }
        let (token, missing) = match self.walk {
            Walk::Search => (answer.next_page.clone(), "`next_page`"),
            Walk::Backward => (answer.items.first().and_then(|item| item.id.clone()), "id"),
            Walk::Forward | Walk::Url => (answer.items.last().and_then(|item| item.id.clone()), "id"),
        };
        token.map_or(Place::Stuck(PageError::NoWay(missing)), Place::At)
    }

    /// Takes another page of the same list, and nothing else: the same path, whatever its query.
    fn check_url(&self, url: &str) -> Result<(), PageError> {
        let path_args: Vec<&str> = self.path_args.iter().map(String::as_str).collect();
        let first = self.operation.request(&path_args, self.params.clone(), &self.options)?;
        fn path(target: &str) -> &str {
            target.split('?').next().unwrap_or_default()
        }
        if is_api_path(url) && path(url) == path(&first.target) {
            Ok(())
        } else {
            Err(PageError::Cursor("it leads elsewhere"))
        }
    }
}

#[cfg(test)]
mod tests;
