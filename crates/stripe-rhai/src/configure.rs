//! `configure_stripe`: with a key, or with a map of settings.

use std::sync::Arc;

use inflight_core::Priority;
use inflight_rhai::{duration, invalid_argument, locals_of, script_error, text_argument, wrong_type};
use rhai::{Dynamic, FuncRegistration, Map, Module, NativeCallContext};

use crate::Answer;
use crate::host::{AccountKey, StripeConfig, StripeHost};
use crate::key::{ApiKey, key_of};
use crate::options::{shortened, unknown_name};

/// What the map may hold.
pub(crate) const SETTINGS: [&str; 8] = [
    "account",
    "api_key",
    "api_version",
    "base_url",
    "context",
    "currency",
    "priority",
    "timeout",
];

pub(crate) fn register(module: &mut Module, host: &Arc<StripeHost>) {
    let with_key = Arc::clone(host);
    FuncRegistration::new("configure_stripe")
        .in_global_namespace()
        .set_into_module(module, move |ctx: NativeCallContext, key: Dynamic| -> Answer<()> {
            let mut settings = Map::new();
            settings.insert("api_key".into(), key);
            configure(&ctx, &with_key, &settings)
        });
    let with_map = Arc::clone(host);
    FuncRegistration::new("configure_stripe")
        .in_global_namespace()
        .set_into_module(module, move |ctx: NativeCallContext, settings: Map| -> Answer<()> {
            configure(&ctx, &with_map, &settings)
        });
}

/// Replaces the script's configuration: what the map does not name is as the host has it. Without a key, the one in force stays.
fn configure(ctx: &NativeCallContext, host: &StripeHost, settings: &Map) -> Answer<()> {
    let locals = locals_of(ctx)?;
    let mut config = StripeConfig {
        account_key: StripeConfig::of(&locals, host).account_key.clone(),
        ..host.initial()
    };
    if let Some(unknown) = settings.keys().find(|name| !SETTINGS.contains(&name.as_str())) {
        return Err(invalid_argument(&unknown_setting(unknown)));
    }
    let base_url = text(settings, "base_url")?;
    if base_url.is_some() && !host.options().allow_base_url {
        return Err(script_error(
            "not_allowed",
            "base_url is not allowed here: a script that could choose it could send the key anywhere",
        ));
    }
    if let Some(key) = settings.get("api_key") {
        let key = accepted(host, key)?;
        config.account_key = Some(AccountKey::new(host, key, base_url.as_deref()));
    } else if base_url.is_some() {
        return Err(invalid_argument(
            "base_url needs an api_key beside it: a key belongs to one server",
        ));
    }
    config.account = text(settings, "account")?;
    config.context = text(settings, "context")?;
    if config.account.is_some() && config.context.is_some() {
        return Err(invalid_argument("give either an account or a context, not both"));
    }
    config.api_version = text(settings, "api_version")?;
    if let Some(currency) = text(settings, "currency")? {
        config.currency = currency;
    }
    if let Some(priority) = text(settings, "priority")? {
        config.priority = Some(priority_of(&priority)?);
    }
    if let Some(seconds) = settings.get("timeout") {
        config.timeout = Some(timeout_of(seconds)?);
    }
    locals.set(config);
    Ok(())
}

/// What is wrong with a setting that does not exist.
pub(crate) fn unknown_setting(name: &str) -> String {
    unknown_name(name, "setting of configure_stripe", &SETTINGS)
}

fn accepted(host: &StripeHost, value: &Dynamic) -> Answer<ApiKey> {
    let key = key_of(value)
        .ok_or_else(|| wrong_type("the API key", "STRIPE_API_KEY or a text", value))?
        .map_err(|error| script_error("invalid_key", &error.to_string()))?;
    if key.is_live() && !host.options().allow_live_keys {
        return Err(script_error(
            "not_allowed",
            &format!(
                "the live key {key} is not allowed here: a script may configure one only where the host allows it \
                 (`inflight run --live`; in Rust `allow_live_keys`)"
            ),
        ));
    }
    Ok(key)
}

/// The priority of that name.
pub(crate) fn priority_of(name: &str) -> Answer<Priority> {
    Priority::from_name(name).ok_or_else(|| {
        invalid_argument(&format!(
            "the priority must be high, normal or low, not `{}`",
            shortened(name)
        ))
    })
}

/// A time in seconds, as an integer or a float, above zero.
pub(crate) fn timeout_of(seconds: &Dynamic) -> Answer<std::time::Duration> {
    let number = seconds
        .as_float()
        .or_else(|_| seconds.as_int().map(|whole| whole as f64))
        .map_err(|_| wrong_type("the timeout", "a number of seconds", seconds))?;
    if number <= 0.0 {
        return Err(invalid_argument("the timeout must be more than zero"));
    }
    duration(number, "the timeout")
}

fn text(settings: &Map, name: &str) -> Answer<Option<String>> {
    match settings.get(name) {
        None => Ok(None),
        Some(value) if value.is_unit() => Ok(None),
        Some(value) => Ok(Some(text_argument(format_args!("`{name}`"), value)?.to_string())),
    }
}
