//! The builder that `new_product()` and its kin give: one type for every resource, led by the catalogue.

use std::collections::BTreeSet;
use std::sync::Arc;

use inflight_rhai::{invalid_argument, locals_of};
use inflight_stripe::{
    API_VERSION, Method, Operation, ParamError, Params, RequestOptions, Resource, Value, nearest, resources,
};
use rhai::{Dynamic, EvalAltResult, FuncRegistration, ImmutableString, Map, Module, NativeCallContext, Shared};

use crate::Answer;
use crate::call::StripeCall;
use crate::convert::{parameter, parameter_of};
use crate::host::{StripeConfig, StripeHost};
use crate::options::{OPTION_SETTERS, add_options, set_option};
use crate::pages::{self, StripePages};

/// Names that scripts use for parameters which Stripe spells otherwise: resource, name, Stripe's name.
const ALIASES: [(&str, &str, &str); 1] = [("price", "amount", "unit_amount")];

/// Whether this operation's blocking form gives the object itself: where it reads, or makes nothing that has an id. The others give the
/// object's id.
pub(crate) fn gives_object(operation: &Operation) -> bool {
    operation.method == Method::Get || operation.verb() == "create_preview"
}

/// A request to one of Stripe's resources in the making.
///
/// A setter changes the builder that it is called on and gives it back, so that calls can be chained.
#[derive(Clone)]
pub struct StripeBuilder {
    resource: &'static Resource,
    // Shared until it is changed: a chain of setters copies no parameters.
    parts: Shared<Parts>,
}

#[derive(Clone, Default)]
struct Parts {
    params: Params,
    options: RequestOptions,
}

impl StripeBuilder {
    pub(crate) fn new(resource: &'static Resource) -> Self {
        Self {
            resource,
            parts: Shared::default(),
        }
    }

    /// The resource: `product`.
    #[must_use]
    pub fn resource(&self) -> &'static str {
        self.resource.name
    }

    fn set(&mut self, ctx: &NativeCallContext, host: &StripeHost, name: &str, value: &Dynamic) -> Answer<()> {
        if is_option(self.resource, name) {
            return set_option(&mut Shared::make_mut(&mut self.parts).options, name, value);
        }
        let Some((name, operation)) = setter(self.resource, name) else {
            return Err(unknown_setter(self.resource, name));
        };
        let value = parameter_of(operation, host, name, value)?;
        if let Some(value) = &value
            && let Err(error) = check_value(self.resource, operation, name, value)
            && self.is_of_catalogue(ctx, host)
        {
            return Err(invalid_argument(&error.to_string()));
        }
        self.set_or_remove(name, value);
        Ok(())
    }

    /// Sets what a map names. In another version of Stripe's API that may be anything.
    fn set_named(&mut self, ctx: &NativeCallContext, host: &StripeHost, name: &str, value: &Dynamic) -> Answer<()> {
        let is_known = is_option(self.resource, name) || setter(self.resource, name).is_some();
        if is_known || self.is_of_catalogue(ctx, host) {
            return self.set(ctx, host, name, value);
        }
        let value = parameter(value).map_err(|error| invalid_argument(&format!("`{name}`: {error}")))?;
        self.set_or_remove(name, value);
        Ok(())
    }

    fn set_or_remove(&mut self, name: &str, value: Option<Value>) {
        let params = &mut Shared::make_mut(&mut self.parts).params;
        match value {
            None => {
                params.remove(name);
            }
            Some(value) => params.set(name, value),
        }
    }

    fn set_metadata(&mut self, key: &str, value: Option<Value>) {
        let params = &mut Shared::make_mut(&mut self.parts).params;
        match value {
            None => {
                if let Some(Value::Map(entries)) = params.get_mut("metadata") {
                    entries.remove(key);
                }
            }
            Some(value) => params.set_in("metadata", key, value),
        }
    }

    /// Whether the request is to ask for the catalogue's version of Stripe's API, as far as is known now.
    fn is_of_catalogue(&self, ctx: &NativeCallContext, host: &StripeHost) -> bool {
        if self.parts.options.stripe_version.is_some() {
            return self.parts.options.is_of_catalogue();
        }
        let config = locals_of(ctx).map(|locals| StripeConfig::of(&locals, host));
        let configured = config.as_ref().ok().and_then(|config| config.api_version.as_deref());
        configured.is_none_or(|version| version == API_VERSION)
    }

    /// Submits the request for this verb and gives its id at once.
    fn submit(&self, ctx: &NativeCallContext, host: &StripeHost, verb: &str, ids: &[&str]) -> Answer<ImmutableString> {
        StripeCall::submit(|| self.to_call(verb, ids), ctx, host)
    }

    /// Submits the request for this verb and waits for its ending.
    fn call(&self, ctx: &NativeCallContext, host: &StripeHost, verb: &str, ids: &[&str]) -> Answer<Dynamic> {
        let whole_object = self.resource.operation(verb).is_some_and(gives_object);
        StripeCall::wait(|| self.to_call(verb, ids), ctx, host, whole_object)
    }

    /// The objects of all pages that this list has.
    pub(crate) fn pages(
        &self,
        ctx: &NativeCallContext,
        host: &StripeHost,
        name: &str,
        ids: &[&str],
        settings: &Map,
    ) -> Answer<StripePages> {
        let operation = pages::paged(self.resource, name).ok_or_else(|| unknown_setter(self.resource, name))?;
        let Parts { params, options } = &*self.parts;
        StripePages::open(ctx, host, (operation, ids), params.clone(), options.clone(), settings)
    }

    fn to_call<'a>(&self, verb: &str, ids: &'a [&'a str]) -> Answer<StripeCall<'a>> {
        let operation = self
            .resource
            .operation(verb)
            .ok_or_else(|| unknown_setter(self.resource, verb))?;
        Ok(StripeCall::Known {
            operation,
            ids,
            params: self.parts.params.clone(),
            options: self.parts.options.clone(),
            token: None,
        })
    }
}

impl std::fmt::Debug for StripeBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StripeBuilder")
            .field("resource", &self.resource.name)
            .field("params", &self.parts.params)
            .finish_non_exhaustive()
    }
}

/// The name that a script calls to make a builder for this resource: `new_payment_intent`, `new_checkout_session`.
#[must_use]
pub fn constructor_name(resource: &Resource) -> String {
    format!("new_{}", resource.name.replace('.', "_"))
}

/// The resource whose builder this function makes.
#[must_use]
pub fn constructed_by(function: &str) -> Option<&'static Resource> {
    resources()
        .iter()
        .find(|resource| constructor_name(resource) == function)
}

/// The parameter that a setter of this name sets, and an operation that takes it.
#[must_use]
pub fn setter<'a>(resource: &'static Resource, name: &'a str) -> Option<(&'a str, &'static Operation)> {
    let preferred = ["create", "update", "list"]
        .into_iter()
        .filter_map(|verb| resource.operation(verb));
    let taking = |name: &str| {
        preferred
            .clone()
            .chain(resource.operations)
            .find(|operation| operation.param(name).is_some())
    };
    if let Some(operation) = taking(name) {
        return Some((name, operation));
    }
    let (_, spelled) = aliases(resource).find(|(alias, _)| *alias == name)?;
    Some((spelled, taking(spelled)?))
}

/// What is wrong with a parameter's value. It is not known yet which operation a builder becomes: wrong is what none of them takes.
pub(crate) fn check_value(
    resource: &'static Resource,
    operation: &'static Operation,
    name: &str,
    value: &Value,
) -> Result<(), ParamError> {
    operation.check(name, value).or_else(|error| {
        let mut others = resource.operations.iter();
        if others.any(|other| other.check(name, value).is_ok()) {
            Ok(())
        } else {
            Err(error)
        }
    })
}

/// Whether a setter of this name says how a request is sent. A parameter of the same name goes first; `request_options` sets the option then.
pub(crate) fn is_option(resource: &'static Resource, name: &str) -> bool {
    OPTION_SETTERS.contains(&name) && setter(resource, name).is_none()
}

/// Further names that this resource's builder takes for parameters: the name that scripts may use, and Stripe's.
pub fn aliases(resource: &Resource) -> impl Iterator<Item = (&'static str, &'static str)> {
    let name = resource.name;
    ALIASES
        .iter()
        .filter(move |(of, ..)| *of == name)
        .map(|(_, alias, spelled)| (*alias, *spelled))
}

/// Everything that can be called on a builder of this resource, for suggestions.
pub(crate) fn known_names(resource: &'static Resource) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = OPTION_SETTERS.map(str::to_owned).into();
    names.extend(["params".to_owned(), "request_options".to_owned()]);
    for operation in resource.operations {
        names.insert(operation.verb().to_owned());
        names.insert(format!("{}_async", operation.verb()));
        names.extend(operation.known_params().map(|param| param.name.to_owned()));
    }
    names.extend(pages::paged_names(resource).map(|(name, _)| name));
    names.extend(aliases(resource).map(|(alias, _)| alias.to_owned()));
    names
}

/// Whether a builder of this resource knows a method of this name.
#[must_use]
pub fn knows(resource: &'static Resource, name: &str) -> bool {
    matches!(name, "params" | "request_options")
        || OPTION_SETTERS.contains(&name)
        || setter(resource, name).is_some()
        || pages::paged(resource, name).is_some()
        || resource
            .operation(name.strip_suffix("_async").unwrap_or(name))
            .is_some()
}

/// What is wrong with a method that a builder of this resource does not know, with the nearest name that it knows.
#[must_use]
pub fn unknown_method(resource: &'static Resource, name: &str) -> String {
    let known = known_names(resource);
    let hint = nearest(name, known.iter().map(String::as_str)).map_or_else(
        || format!("see `inflight api {}`", resource.name),
        |near| format!("did you mean `{near}`?"),
    );
    format!(
        "`{name}` is neither a parameter nor an operation of {}: {hint}",
        resource.name
    )
}

fn unknown_setter(resource: &'static Resource, name: &str) -> Box<EvalAltResult> {
    inflight_rhai::unknown_function_error("unknown_method", &unknown_method(resource, name), name)
}

/// The error for a function that does not exist, called on a builder or like a constructor. Rhai asks at every failed call.
pub(crate) fn on_unknown_function(name: &str, first: Option<&Dynamic>) -> Answer<()> {
    if let Some(builder) = first.and_then(|value| value.read_lock::<StripeBuilder>()) {
        if !knows(builder.resource, name) {
            return Err(unknown_setter(builder.resource, name));
        }
        // Known, and called with other arguments, or called well and failed: Rhai's own error says it.
        return Ok(());
    }
    if first.is_none() && name.starts_with("new_") && constructed_by(name).is_none() {
        return Err(inflight_rhai::unknown_function_error(
            "unknown_function",
            &unknown_constructor(name),
            name,
        ));
    }
    Ok(())
}

/// What is wrong with a constructor that does not exist, with the nearest that does.
#[must_use]
pub fn unknown_constructor(name: &str) -> String {
    let known: Vec<String> = resources().iter().map(constructor_name).collect();
    let hint = nearest(name, known.iter().map(String::as_str)).map_or_else(
        || "see `inflight api`".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    format!("there is no `{name}`: {hint}")
}

pub(crate) fn register(module: &mut Module, host: &Arc<StripeHost>) {
    for resource in resources() {
        FuncRegistration::new(constructor_name(resource))
            .in_global_namespace()
            .set_into_module(module, move || StripeBuilder::new(resource));
    }
    let mut setters: BTreeSet<&str> = OPTION_SETTERS.into();
    let mut verbs = BTreeSet::new();
    for operation in resources().iter().flat_map(|resource| resource.operations) {
        setters.extend(operation.known_params().map(|param| param.name));
        verbs.insert((operation.verb(), operation.path_params.len()));
    }
    setters.extend(ALIASES.map(|(_, alias, _)| alias));
    for (verb, ids) in verbs {
        register_verb(module, verb, ids, host);
    }
    // After the verbs: what is both is called as both.
    for name in setters {
        register_setter(module, name, host);
    }
    register_rest(module, host);
}

/// `name(value)`. Where the resource has an operation of that name on one object, a text is the object's id:
/// `new_payment_intent().confirm("pi_…")` confirms one, `.confirm(true)` creates a confirmed one.
fn register_setter(module: &mut Module, name: &'static str, host: &Arc<StripeHost>) {
    let host = Arc::clone(host);
    let call_or_set = move |ctx: NativeCallContext, builder: &mut StripeBuilder, value: Dynamic| -> Answer<Dynamic> {
        let on_object = builder
            .resource
            .operation(name)
            .is_some_and(|o| o.path_params.len() == 1);
        if on_object && let Some(id) = value.read_lock::<ImmutableString>() {
            return builder.call(&ctx, &host, name, &[&id]);
        }
        builder.set(&ctx, &host, name, &value)?;
        Ok(Dynamic::from(builder.clone()))
    };
    let with_text = call_or_set.clone();
    FuncRegistration::new(name)
        .in_global_namespace()
        .set_into_module(module, call_or_set);
    // Rhai prefers a function of the very types: this one replaces a verb's, which takes a text.
    FuncRegistration::new(name).in_global_namespace().set_into_module(
        module,
        move |ctx: NativeCallContext, builder: &mut StripeBuilder, value: ImmutableString| -> Answer<Dynamic> {
            with_text(ctx, builder, value.into())
        },
    );
}

fn register_verb(module: &mut Module, verb: &'static str, ids: usize, host: &Arc<StripeHost>) {
    let background = format!("{verb}_async");
    let (now, later) = (Arc::clone(host), Arc::clone(host));
    let function = |name: &str| FuncRegistration::new(name).in_global_namespace();
    match ids {
        0 => {
            function(verb).set_into_module(module, move |ctx: NativeCallContext, builder: &mut StripeBuilder| {
                builder.call(&ctx, &now, verb, &[])
            });
            function(&background)
                .set_into_module(module, move |ctx: NativeCallContext, builder: &mut StripeBuilder| {
                    builder.submit(&ctx, &later, verb, &[])
                });
        }
        1 => {
            function(verb).set_into_module(
                module,
                move |ctx: NativeCallContext, builder: &mut StripeBuilder, id: ImmutableString| {
                    builder.call(&ctx, &now, verb, &[&id])
                },
            );
            function(&background).set_into_module(
                module,
                move |ctx: NativeCallContext, builder: &mut StripeBuilder, id: ImmutableString| {
                    builder.submit(&ctx, &later, verb, &[&id])
                },
            );
        }
        // An operation on an object of an object names both.
        _ => {
            function(verb).set_into_module(
                module,
                move |ctx: NativeCallContext,
                      builder: &mut StripeBuilder,
                      outer: ImmutableString,
                      id: ImmutableString| { builder.call(&ctx, &now, verb, &[&outer, &id]) },
            );
            function(&background).set_into_module(
                module,
                move |ctx: NativeCallContext,
                      builder: &mut StripeBuilder,
                      outer: ImmutableString,
                      id: ImmutableString| { builder.submit(&ctx, &later, verb, &[&outer, &id]) },
            );
        }
    }
}

/// `metadata(key, value)`, `params(map)`, and the builder's text.
fn register_rest(module: &mut Module, host: &Arc<StripeHost>) {
    let host = Arc::clone(host);
    FuncRegistration::new("metadata").in_global_namespace().set_into_module(
        module,
        |builder: &mut StripeBuilder, key: ImmutableString, value: Dynamic| -> Answer<StripeBuilder> {
            if setter(builder.resource, "metadata").is_none() {
                return Err(unknown_setter(builder.resource, "metadata"));
            }
            let value = parameter(&value).map_err(|error| invalid_argument(&format!("`metadata`: {error}")))?;
            builder.set_metadata(&key, value);
            Ok(builder.clone())
        },
    );
    FuncRegistration::new("params").in_global_namespace().set_into_module(
        module,
        move |ctx: NativeCallContext, builder: &mut StripeBuilder, map: Map| -> Answer<StripeBuilder> {
            for (name, value) in &map {
                builder.set_named(&ctx, &host, name, value)?;
            }
            Ok(builder.clone())
        },
    );
    FuncRegistration::new("request_options")
        .in_global_namespace()
        .set_into_module(
            module,
            |builder: &mut StripeBuilder, map: Map| -> Answer<StripeBuilder> {
                add_options(&mut Shared::make_mut(&mut builder.parts).options, &map, &[])?;
                Ok(builder.clone())
            },
        );
    for name in ["to_string", "to_debug", "print", "debug"] {
        FuncRegistration::new(name)
            .in_global_namespace()
            .with_purity(true)
            .set_into_module(module, |builder: &mut StripeBuilder| {
                ImmutableString::from(format!("{}()", constructor_name(builder.resource)))
            });
    }
}
