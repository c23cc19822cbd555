//! `list_all` and its kin: a list's objects for Rhai's `for`, fetched as the loop goes on.

use std::any::TypeId;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};

use inflight_core::Session;
use inflight_rhai::{
    batch_priority, call_for_text, failure_error, invalid_argument, locals_of, script_error, session_of, uncharged,
    uncharged_unless_err, wait,
};
use inflight_stripe::pages::{FetchError, PageError, PageFetch, Pages};
use inflight_stripe::{Operation, Params, RequestOptions, Resource};
use rhai::{Dynamic, EvalAltResult, FuncRegistration, INT, ImmutableString, Map, Module, NativeCallContext};

use crate::Answer;
use crate::builder::StripeBuilder;
use crate::error::with_field;
use crate::host::{StripeConfig, StripeHost};
use crate::options::unknown_name;

/// What turns an operation that gives one page into the iterator over all of them: `list` into `list_all`.
pub(crate) const SUFFIX: &str = "_all";

/// What the map of options may hold.
pub(crate) const SETTINGS: [&str; 3] = ["cursor", "max", "prefetch"];

/// A list's objects, page by page. Clones are the same iteration: a loop that ended early is gone on with by another one.
#[derive(Clone)]
pub struct StripePages {
    list: &'static str,
    // Taken out by whoever waits for a page, so that no lock is held meanwhile.
    walk: Arc<Mutex<Option<Walk>>>,
}

struct Walk {
    pages: Pages,
    fetch: Option<Fetch>,
    prefetch: bool,
}

/// How pages come.
enum Fetch {
    /// The next one is asked for before the last one is used up.
    Ahead(PageFetch),
    /// In a run that can be replayed: one after another, so that each is asked for in the same place of the script.
    InTurn(Session),
}

impl StripePages {
    /// All objects that this operation lists. Everything that can be wrong with the parameters is told here.
    pub(crate) fn open(
        ctx: &NativeCallContext,
        host: &StripeHost,
        (operation, ids): (&'static Operation, &[&str]),
        params: Params,
        options: RequestOptions,
        settings: &Map,
    ) -> Answer<Self> {
        let locals = locals_of(ctx)?;
        let config = StripeConfig::of(&locals, host);
        let options = config.request_options(&locals, host, operation.server, batch_priority(), options, None)?;
        let wrong = |error: PageError| invalid_argument(&error.to_string());
        let pages = Pages::new(operation, ids, params, &options).map_err(wrong)?;
        let (pages, prefetch) = set_up(pages, settings)?;
        pages.next_request().map_err(wrong)?;
        Ok(Self {
            list: operation.name,
            walk: Arc::new(Mutex::new(Some(Walk::new(pages, session_of(ctx)?, prefetch)))),
        })
    }

    /// The next object; `None` at the end. Suspends the script where a page has to be fetched.
    fn next(&self) -> Option<Answer<Dynamic>> {
        let taken = self.lock(Option::take);
        let Some(mut walk) = taken else {
            return Some(Err(in_use()));
        };
        let next = walk.next();
        self.lock(|place| *place = Some(walk));
        next
    }

    fn ask<T>(&self, question: impl FnOnce(&Pages) -> T) -> Answer<T> {
        self.lock(|place| place.as_ref().map(|walk| question(&walk.pages)))
            .ok_or_else(in_use)
    }

    fn lock<T>(&self, body: impl FnOnce(&mut Option<Walk>) -> T) -> T {
        body(&mut self.walk.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn in_use() -> Box<EvalAltResult> {
    script_error("in_use", "these pages are in use by a task that waits for the next one")
}

impl Walk {
    fn new(pages: Pages, session: Session, prefetch: bool) -> Self {
        let fetch = if session.is_of_run() {
            Fetch::InTurn(session)
        } else {
            Fetch::Ahead(PageFetch::new(session))
        };
        Self {
            pages,
            fetch: Some(fetch),
            prefetch,
        }
    }

    fn next(&mut self) -> Option<Answer<Dynamic>> {
        loop {
            if let Some(object) = self.pages.peek_object() {
                let object = serde_json::from_str(object.get());
                // What cannot be read lies after the cursor of its error.
                let object = object.map_err(|error| self.error(&PageError::NotAPage(error.to_string()).into()));
                self.pages.next_object();
                if self.prefetch
                    && let Some(Fetch::Ahead(fetch)) = &mut self.fetch
                    && self.pages.is_running_low()
                {
                    uncharged(|| fetch.start(&self.pages));
                }
                return Some(object);
            }
            match self.fetch_page() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Gives whether there was a further page.
    fn fetch_page(&mut self) -> Answer<bool> {
        let pages = &self.pages;
        let accepted = match &mut self.fetch {
            None => return Ok(false),
            Some(Fetch::Ahead(fetch)) => {
                // Requests and answers come from and go to other threads: they are not the script's memory. What is kept of them is.
                let body = match wait(poll_fn(|cx| uncharged(|| fetch.poll(pages, cx))))? {
                    Ok(Some(body)) => body,
                    Ok(None) => return Ok(false),
                    Err(error) => {
                        let thrown = self.error(&error);
                        uncharged(|| drop(error));
                        return Err(thrown);
                    }
                };
                let accepted = self.pages.accept(&body);
                uncharged(|| drop(body));
                accepted
            }
            Some(Fetch::InTurn(session)) => {
                let session = session.clone();
                let request =
                    uncharged_unless_err(|| pages.next_request()).map_err(|error| self.error(&error.into()))?;
                let Some(request) = request else { return Ok(false) };
                let body = call_for_text(&session, request).map_err(|error| self.with_cursor(error))?;
                self.pages.accept(body.as_bytes())
            }
        };
        accepted.map_err(|error| self.error(&error.into()))?;
        Ok(true)
    }

    /// What a script catches: as of any request, with the cursor to go on from.
    fn error(&self, error: &FetchError) -> Box<EvalAltResult> {
        let thrown = match error {
            FetchError::Failed(failure) => failure_error(failure),
            FetchError::Page(PageError::Build(error)) => invalid_argument(&error.to_string()),
            FetchError::Page(error) => script_error("invalid_response", &error.to_string()),
            other => script_error("shutdown", &other.to_string()),
        };
        self.with_cursor(thrown)
    }

    fn with_cursor(&self, thrown: Box<EvalAltResult>) -> Box<EvalAltResult> {
        with_field(thrown, "cursor", self.pages.cursor().into())
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        uncharged(|| drop(self.fetch.take()));
    }
}

impl fmt::Display for StripePages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pages of {}", self.list)
    }
}

impl fmt::Debug for StripePages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripePages")
            .field("list", &self.list)
            .finish_non_exhaustive()
    }
}

fn set_up(mut pages: Pages, settings: &Map) -> Answer<(Pages, bool)> {
    if let Some(unknown) = settings.keys().find(|name| !SETTINGS.contains(&name.as_str())) {
        return Err(invalid_argument(&unknown_name(
            unknown,
            "option of these pages",
            &SETTINGS,
        )));
    }
    let setting = |name: &str| settings.get(name).filter(|value| !value.is_unit());
    let wrong = |name: &str, what: &str| invalid_argument(&format!("`{name}` must be {what}"));
    if let Some(max) = setting("max") {
        let max = max.as_int().ok().and_then(|max| u64::try_from(max).ok());
        pages = pages.max(max.ok_or_else(|| wrong("max", "a whole number of objects, zero or more"))?);
    }
    if let Some(cursor) = setting("cursor") {
        let cursor = cursor.read_lock::<ImmutableString>().map(|cursor| cursor.clone());
        let cursor = cursor.ok_or_else(|| wrong("cursor", "a text that cursor() gave"))?;
        pages = pages
            .resume(&cursor)
            .map_err(|error| invalid_argument(&error.to_string()))?;
    }
    let prefetch = match setting("prefetch") {
        None => true,
        Some(flag) => flag.as_bool().map_err(|_| wrong("prefetch", "true or false"))?,
    };
    Ok((pages, prefetch))
}

/// The operation whose pages a function of this name goes through: `list` for `list_all`.
pub(crate) fn paged(resource: &'static Resource, name: &str) -> Option<&'static Operation> {
    let operation = resource.operation(name.strip_suffix(SUFFIX)?)?;
    Pages::gives(operation).then_some(operation)
}

/// The functions of this resource that go through pages, with the operation of each.
pub(crate) fn paged_names(resource: &'static Resource) -> impl Iterator<Item = (String, &'static Operation)> {
    let operations = resource.operations.iter().filter(|operation| Pages::gives(operation));
    operations.map(|operation| (format!("{}{SUFFIX}", operation.verb()), operation))
}

/// `list_all` and its kin on builders, and what can be done with the pages that they give.
pub(crate) fn register(module: &mut Module, host: &Arc<StripeHost>) {
    let resources = inflight_stripe::resources().iter();
    let mut names: Vec<_> = resources
        .flat_map(paged_names)
        .map(|(name, operation)| (name, operation.path_params.len()))
        .collect();
    names.sort();
    names.dedup();
    for (name, ids) in names {
        register_on_builders(module, &name, ids, host);
    }
    module.set_iter_result(TypeId::of::<StripePages>(), |pages| {
        // After an error this loop is over: Rhai's own goes on through errors where its body is empty.
        let mut pages = pages.try_cast::<StripePages>();
        Box::new(std::iter::from_fn(move || {
            let next = pages.as_ref()?.next();
            if !matches!(next, Some(Ok(_))) {
                pages = None;
            }
            next
        }))
    });
    let method = |name: &str| FuncRegistration::new(name).in_global_namespace().with_purity(true);
    method("next").set_into_module(module, |pages: &mut StripePages| {
        pages.next().unwrap_or(Ok(Dynamic::UNIT))
    });
    method("cursor").set_into_module(module, |pages: &mut StripePages| pages.ask(Pages::cursor));
    method("given").set_into_module(module, |pages: &mut StripePages| -> Answer<INT> {
        pages.ask(|pages| INT::try_from(pages.given()).unwrap_or(INT::MAX))
    });
    for name in ["to_string", "to_debug", "print", "debug"] {
        method(name).set_into_module(module, |pages: &mut StripePages| {
            ImmutableString::from(pages.to_string())
        });
    }
}

/// With and without options; an operation below an object names it first.
fn register_on_builders(module: &mut Module, name: &str, ids: usize, host: &Arc<StripeHost>) {
    let function = || FuncRegistration::new(name).in_global_namespace();
    let (plain, with_settings) = (Arc::clone(host), Arc::clone(host));
    let (verb, verb_too) = (name.to_owned(), name.to_owned());
    if ids == 0 {
        function().set_into_module(module, move |ctx: NativeCallContext, builder: &mut StripeBuilder| {
            builder.pages(&ctx, &plain, &verb, &[], &Map::new())
        });
        function().set_into_module(
            module,
            move |ctx: NativeCallContext, builder: &mut StripeBuilder, settings: Map| {
                builder.pages(&ctx, &with_settings, &verb_too, &[], &settings)
            },
        );
    } else {
        function().set_into_module(
            module,
            move |ctx: NativeCallContext, builder: &mut StripeBuilder, id: ImmutableString| {
                builder.pages(&ctx, &plain, &verb, &[&id], &Map::new())
            },
        );
        function().set_into_module(
            module,
            move |ctx: NativeCallContext, builder: &mut StripeBuilder, id: ImmutableString, settings: Map| {
                builder.pages(&ctx, &with_settings, &verb_too, &[&id], &settings)
            },
        );
    }
}
