//! `stripe::<resource>::<method>(…)` for every operation that has a name, and `stripe::raw(…)`.

use std::collections::BTreeMap;
use std::sync::Arc;

use inflight_core::Request;
use inflight_rhai::{call_request, invalid_argument, submit_request, text_argument, wrong_type};
use inflight_stripe::pages::Pages;
use inflight_stripe::{Method, Operation, Params, RequestOptions, nearest, operations, resources};
use rhai::{Dynamic, FuncRegistration, ImmutableString, Map, Module, NativeCallContext, RhaiFunc, Shared};

use crate::Answer;
use crate::call::StripeCall;
use crate::convert::{Unset, parameters, parameters_of};
use crate::host::StripeHost;
use crate::key::ApiKey;
use crate::options::{SESSION_TOKEN, add_options, options_of, shortened};
use crate::pages::{self, StripePages};
use crate::webhook;

/// The name of the root module.
pub(crate) const ROOT: &str = "stripe";

/// The constant that clears a parameter.
pub(crate) const UNSET: &str = "unset";

/// What a function's name ends with that only starts a request.
pub(crate) const ASYNC: &str = "_async";

/// The module `stripe`: a sub-module for each resource, nested as its name is, and `raw`.
///
/// Further sub-modules and functions beside the operations are added here.
pub(crate) fn root_module(host: &Arc<StripeHost>) -> Module {
    let mut tree = Tree::default();
    for resource in resources() {
        let module = tree.at(resource.name);
        for operation in resource.operations {
            add_operation(module, operation, host);
        }
    }
    let mut root = tree.into_module();
    add_raw(&mut root, host);
    root.set_sub_module(webhook::NAME, webhook::module(host));
    root.set_var(UNSET, Unset);
    root.set_id(ROOT);
    root.build_index();
    root
}

/// Modules in the making, with those within them.
#[derive(Default)]
struct Tree {
    module: Module,
    within: BTreeMap<&'static str, Tree>,
}

impl Tree {
    /// The module of this dotted name.
    fn at(&mut self, name: &'static str) -> &mut Module {
        let place = name
            .split('.')
            .fold(self, |tree, step| tree.within.entry(step).or_default());
        &mut place.module
    }

    fn into_module(mut self) -> Module {
        for (name, tree) in self.within {
            self.module.set_sub_module(name, tree.into_module());
        }
        self.module
    }
}

fn add_operation(module: &mut Module, operation: &'static Operation, host: &Arc<StripeHost>) {
    let ids = operation.path_params.len();
    let now = Arc::clone(host);
    add(module, operation.verb(), ids, ids + 2, move |ctx, args| {
        call_request(ctx, request(operation, ctx, &now, args)?, true)
    });
    if Pages::gives(operation) {
        add_pages(module, operation, host);
    }
    let later = Arc::clone(host);
    let name = format!("{}{ASYNC}", operation.verb());
    add(module, &name, ids, ids + 2, move |ctx, args| {
        submit_request(ctx, request(operation, ctx, &later, args)?).map(Dynamic::from)
    });
}

/// The request of this operation. What it is made of is the script's, which lets go of it before it waits.
fn request(
    operation: &'static Operation,
    ctx: &NativeCallContext,
    host: &StripeHost,
    args: &mut [&mut Dynamic],
) -> Answer<Box<Request>> {
    let given = arguments(operation, host, args, options_of(operation))?;
    let ids: Vec<&str> = given.ids.iter().map(ImmutableString::as_str).collect();
    StripeCall::request(|| Ok(given.parts.call(operation, &ids)), ctx, host)
}

/// `list_all(ids, params, options)`, and `search_all`: all pages of it, for a `for` loop. Its options are those of the iteration and
/// of its requests.
fn add_pages(module: &mut Module, operation: &'static Operation, host: &Arc<StripeHost>) {
    let ids = operation.path_params.len();
    let host = Arc::clone(host);
    let name = format!("{}{}", operation.verb(), pages::SUFFIX);
    add(module, &name, ids, ids + 2, move |ctx, args| {
        let mut settings = Map::new();
        if let Some(given) = args.get_mut(ids + 1)
            && let Some(both) = map(Some(&**given), "options")?
        {
            let of_pages = |name: &str| pages::SETTINGS.contains(&name);
            let (own, of_requests): (Map, Map) = both.into_iter().partition(|(name, _)| of_pages(name));
            settings = own;
            **given = of_requests.into();
        }
        let Arguments { ids, parts } = arguments(operation, &host, args, &pages::SETTINGS)?;
        let ids: Vec<&str> = ids.iter().map(ImmutableString::as_str).collect();
        StripePages::open(ctx, &host, (operation, &ids), parts.params, parts.options, &settings).map(Dynamic::from)
    });
}

/// `raw(method, path, params, options)`, of which the last two may be left out.
fn add_raw(module: &mut Module, host: &Arc<StripeHost>) {
    let now = Arc::clone(host);
    add(module, "raw", 2, 4, move |ctx, args| {
        call_request(ctx, raw_request(ctx, &now, args)?, true)
    });
    let later = Arc::clone(host);
    add(module, "raw_async", 2, 4, move |ctx, args| {
        submit_request(ctx, raw_request(ctx, &later, args)?).map(Dynamic::from)
    });
}

/// As [`request`].
fn raw_request(ctx: &NativeCallContext, host: &StripeHost, args: &mut [&mut Dynamic]) -> Answer<Box<Request>> {
    let (method, path, params, options) = raw_arguments(host, args)?;
    let call = || StripeCall::Raw {
        method,
        path: &path,
        params: params.clone(),
        options: options.clone(),
    };
    StripeCall::request(|| Ok(call()), ctx, host)
}

/// One function for every number of arguments from the one to the other. They are of any type, so that a wrong one is answered in
/// our own words.
fn add(
    module: &mut Module,
    name: &str,
    from: usize,
    to: usize,
    body: impl Fn(&NativeCallContext, &mut [&mut Dynamic]) -> Answer<Dynamic> + Send + Sync + 'static,
) {
    let body = Shared::new(
        move |ctx: Option<NativeCallContext>, args: &mut [&mut Dynamic]| match &ctx {
            Some(ctx) => body(ctx, args),
            None => Err(invalid_argument("the function was called without a context")),
        },
    );
    for count in from..=to {
        let function = RhaiFunc::Pure {
            func: body.clone(),
            has_context: true,
            is_pure: false,
            is_volatile: true,
        };
        FuncRegistration::new(name).set_into_module_raw(
            module,
            vec![std::any::TypeId::of::<Dynamic>(); count],
            function,
        );
    }
}

/// What an operation was called with.
struct Arguments {
    ids: Vec<ImmutableString>,
    parts: Parts,
}

/// What does not belong to the path.
struct Parts {
    params: Params,
    options: RequestOptions,
    token: Option<ApiKey>,
}

impl Parts {
    fn call<'a>(&self, operation: &'static Operation, ids: &'a [&'a str]) -> StripeCall<'a> {
        StripeCall::Known {
            operation,
            ids,
            params: self.params.clone(),
            options: self.options.clone(),
            token: self.token.clone(),
        }
    }
}

/// The ids in the path, the parameters and the options. `further` are the options that this function has beside those of a request.
fn arguments(
    operation: &'static Operation,
    host: &StripeHost,
    args: &mut [&mut Dynamic],
    further: &[&str],
) -> Answer<Arguments> {
    let (ids, rest) = args.split_at_mut(operation.path_params.len());
    let ids = ids.iter().zip(operation.path_params);
    let ids = ids
        .map(|(id, name)| text_argument(format_args!("`{name}`"), id))
        .collect::<Answer<Vec<_>>>()?;
    let params = match map(rest.first().map(|arg| &**arg), "parameters")? {
        Some(map) => parameters_of(operation, host, &map)?,
        None => Params::new(),
    };
    let mut given = map(rest.get(1).map(|arg| &**arg), "options")?.unwrap_or_default();
    let token = further.contains(&SESSION_TOKEN).then(|| given.remove(SESSION_TOKEN));
    let token = token.flatten().filter(|token| !token.is_unit());
    let mut options = RequestOptions::new();
    add_options(&mut options, &given, further)?;
    let parts = Parts {
        params,
        options,
        token: token.map(|token| session_token(&token)).transpose()?,
    };
    Ok(Arguments { ids, parts })
}

fn session_token(value: &Dynamic) -> Answer<ApiKey> {
    let text = value.read_lock::<ImmutableString>();
    let token = text.and_then(|text| ApiKey::of_session(&text));
    token.ok_or_else(|| {
        invalid_argument(&format!(
            "`{SESSION_TOKEN}` must be the authentication_token of a session"
        ))
    })
}

fn raw_arguments(
    host: &StripeHost,
    args: &mut [&mut Dynamic],
) -> Answer<(Method, ImmutableString, Params, RequestOptions)> {
    let arg = |at: usize| args.get(at).map(|arg| &**arg);
    let method = text_argument("`method`", arg(0).unwrap_or(&Dynamic::UNIT))?;
    let path = text_argument("`path`", arg(1).unwrap_or(&Dynamic::UNIT))?;
    let params = match map(arg(2), "parameters")? {
        Some(map) => parameters(host, &map)?,
        None => Params::new(),
    };
    let method = match method.to_ascii_uppercase().as_str() {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        _ => {
            return Err(invalid_argument(&format!(
                "the method must be GET, POST, PUT, PATCH or DELETE, not `{}`",
                shortened(&method)
            )));
        }
    };
    Ok((method, path, params, options(arg(3))?))
}

/// A map, or nothing for `()`.
fn map(value: Option<&Dynamic>, what: &str) -> Answer<Option<Map>> {
    let Some(value) = value.filter(|value| !value.is_unit()) else {
        return Ok(None);
    };
    match value.read_lock::<Map>() {
        Some(map) => Ok(Some(map.clone())),
        None => Err(wrong_type(format_args!("the {what}"), "a map", value)),
    }
}

fn options(value: Option<&Dynamic>) -> Answer<RequestOptions> {
    let mut options = RequestOptions::new();
    if let Some(map) = map(value, "options")? {
        add_options(&mut options, &map, &[])?;
    }
    Ok(options)
}

/// The operation that `stripe::a::b::c` calls, without its root: `["a", "b"]` and `c`, `c_async` or `c_all`.
pub(crate) fn operation_of(path: &[&str], function: &str) -> Option<&'static Operation> {
    let resource = inflight_stripe::Resource::by_name(&path.join("."))?;
    let by_verb = |verb: &str| resource.operation(verb);
    by_verb(function)
        .or_else(|| by_verb(function.strip_suffix(ASYNC)?))
        .or_else(|| pages::paged(resource, function))
}

/// What the module `stripe` holds beside its operations: names, and what each takes or is.
///
/// ```
/// let mut names = inflight_stripe_rhai::beside_operations().map(|(name, _)| name);
/// assert!(names.any(|name| name == "stripe::webhook::construct_event"));
/// ```
pub fn beside_operations() -> impl Iterator<Item = (String, &'static str)> {
    const RAW: &str = "(method, path, #{…}, options): any request; nothing of it is checked";
    let own = [
        ("raw", RAW),
        ("raw_async", RAW),
        (UNSET, "clears a parameter that is set to it"),
    ];
    let webhooks =
        webhook::FUNCTIONS.map(|(name, arguments)| (format!("{ROOT}::{}::{name}", webhook::NAME), arguments));
    let own = own.map(|(name, what)| (format!("{ROOT}::{name}"), what));
    own.into_iter().chain(webhooks)
}

/// What is wrong with `stripe::a::b::c`, which does not exist, with the nearest that does.
pub(crate) fn unknown_function(path: &[&str], function: &str) -> String {
    let called = format!("{ROOT}::{}", [path, &[function]].concat().join("::"));
    let called = shortened(&called);
    let (suffix, verb) = match function.strip_suffix(ASYNC) {
        Some(verb) => (ASYNC, verb),
        None => ("", function),
    };
    if path == [webhook::NAME] {
        let names = webhook::FUNCTIONS.map(|(name, _)| name);
        return match nearest(function, names) {
            Some(near) => format!("there is no `{called}`: did you mean `{near}`?"),
            None => format!("there is no `{called}`: {} has {}", webhook::NAME, names.join(", ")),
        };
    }
    let dotted = path.join(".");
    if let Some(resource) = inflight_stripe::Resource::by_name(&dotted) {
        let verbs = || resource.operations.iter().map(Operation::verb);
        return match nearest(verb, verbs()) {
            Some(near) => format!("there is no `{called}`: did you mean `{near}{suffix}`?"),
            None => {
                let verbs: Vec<&str> = verbs().collect();
                format!("there is no `{called}`: {} has {}", resource.name, verbs.join(", "))
            }
        };
    }
    let wanted = format!("{dotted}.{verb}");
    let near = nearest(&wanted, operations().map(|operation| operation.name))
        .or_else(|| nearest(&dotted, resources().iter().map(|resource| resource.name)));
    match near {
        Some(near) => {
            let near = near.replace('.', "::");
            let suffix = if Operation::by_name(&near.replace("::", ".")).is_ok() {
                suffix
            } else {
                ""
            };
            format!("there is no `{called}`: did you mean `{ROOT}::{near}{suffix}`?")
        }
        None => format!("there is no `{called}`: see `inflight api`"),
    }
}

/// Rhai's error for a call of `stripe::…::…()` that does not exist, or exists with other arguments, in better words: Rhai asks nobody
/// before it gives up on a qualified name.
///
/// ```
/// let words = inflight_stripe_rhai::reword("Function not found: stripe::product::creat (map)").unwrap();
/// assert_eq!(words, "there is no `stripe::product::creat`: did you mean `create`?");
/// ```
#[must_use]
pub fn reword(message: &str) -> Option<String> {
    let called = message.strip_prefix("Function not found: ")?.split(" (").next()?;
    let mut path: Vec<&str> = called.split("::").collect();
    let function = path.pop()?;
    let (&ROOT, path) = path.split_first()? else {
        return None;
    };
    Some(match operation_of(path, function) {
        Some(operation) => crate::check::namespaced::wrong_arguments(operation, called),
        None if path.is_empty() && function.starts_with("raw") => {
            format!("`{called}` takes (method, path, parameters, options), of which the last two may be left out")
        }
        None => match webhook::arguments_of(path, function) {
            Some(arguments) => format!("`{called}` takes {arguments}"),
            None => unknown_function(path, function),
        },
    })
}
