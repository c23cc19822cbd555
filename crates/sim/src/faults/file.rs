//! Faults as a file: JSON. And those that have a name.

use std::time::Duration;

use inflight_stripe::Operation;
use serde::Deserialize;

use super::{Fault, Faults, RateLimitReason, RateLimits, Rule};
use crate::latency::Latency;

/// Why a text says no faults.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FaultsError {
    /// It is not JSON, or has a name in it that means nothing.
    #[error("the faults cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A rule that can mean nothing.
    #[error("rule {rule} of the faults: {reason}")]
    Rule {
        /// Which one, counted from 1.
        rule: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// The faults that have a name, to be parsed as [`Faults`].
pub const PROFILES: [&str; 5] = ["none", "mild", "chaos", "outage", "limits"];

/// What a profile's name stands for.
fn profile(name: &str) -> Option<&'static str> {
    Some(match name {
        "none" => "{}",
        "mild" => {
            r#"{ "object_locks": true, "rules": [
                { "fault": "delay", "rate": 0.2, "mean_ms": 50 }, { "fault": "rate_limited", "rate": 0.01 },
                { "fault": "error_before", "rate": 0.005 }, { "fault": "reset_after", "rate": 0.005 } ] }"#
        }
        "outage" => {
            r#"{ "rules": [ { "fault": "down", "seconds": 5, "nth": 50 }, { "fault": "error_before", "rate": 0.3 } ] }"#
        }
        "limits" => r#"{ "object_locks": true, "rate_limits": "documented" }"#,
        _ => return None,
    })
}

/// The share of requests that the profile `chaos` spoils.
const CHAOS_SHARE: f64 = 0.2;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct File {
    rules: Vec<FileRule>,
    object_locks: bool,
    rate_limits: Option<FileLimits>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRule {
    fault: String,
    operation: Option<String>,
    method: Option<String>,
    path: Option<String>,
    rate: Option<f64>,
    nth: Option<u64>,
    every: Option<u64>,
    times: Option<u64>,
    /// Of `rate_limited`.
    reason: Option<String>,
    /// Of `delay`: between these.
    between_ms: Option<[u64; 2]>,
    /// Of `delay`: exponentially distributed around this.
    mean_ms: Option<u64>,
    /// Of `slow` and `down`.
    seconds: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FileLimits {
    Named(String),
    Given(RateLimits),
}

pub(super) fn parse(text: &str) -> Result<Faults, FaultsError> {
    let text = text.trim();
    if text == "chaos" {
        return Ok(Faults::chaos(CHAOS_SHARE));
    }
    let text = profile(text).unwrap_or(text);
    let file: File = serde_json::from_str(text)?;
    let mut faults = Faults::new().object_locks(file.object_locks);
    if let Some(limits) = file.rate_limits {
        faults = faults.rate_limits(limits_of(limits)?);
    }
    for (index, rule) in file.rules.into_iter().enumerate() {
        let rule = rule_of(rule).map_err(|reason| FaultsError::Rule {
            rule: index + 1,
            reason,
        })?;
        faults = faults.rule(rule);
    }
    Ok(faults)
}

fn limits_of(limits: FileLimits) -> Result<RateLimits, FaultsError> {
    match limits {
        FileLimits::Given(limits) => Ok(limits),
        FileLimits::Named(name) if name == "documented" => Ok(RateLimits::documented()),
        FileLimits::Named(name) => Err(FaultsError::Rule {
            rule: 0,
            reason: format!("rate_limits is \"documented\" or a map, not {name:?}"),
        }),
    }
}

fn rule_of(rule: FileRule) -> Result<Rule, String> {
    let rate = rule.rate.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&rate) {
        return Err(format!("rate is a share between 0 and 1, not {rate}"));
    }
    if rule.nth == Some(0) || rule.every == Some(0) {
        return Err("nth and every count from 1".to_owned());
    }
    if let Some(name) = &rule.operation {
        Operation::by_name(name).map_err(|error| error.to_string())?;
    }
    Ok(Rule {
        fault: fault_of(&rule)?,
        operation: rule.operation,
        method: rule.method.map(|method| method.to_ascii_uppercase()),
        path: rule.path,
        rate,
        nth: rule.nth,
        every: rule.every,
        times: rule.times,
    })
}

fn fault_of(rule: &FileRule) -> Result<Fault, String> {
    let time = |default: f64| {
        let seconds = rule.seconds.unwrap_or(default);
        Duration::try_from_secs_f64(seconds).map_err(|_| format!("seconds is a time, not {seconds}"))
    };
    Ok(match rule.fault.as_str() {
        "delay" => Fault::Delay(delay_of(rule)),
        "rate_limited" => Fault::RateLimited(reason_of(rule.reason.as_deref())?),
        "lock_timeout" => Fault::LockTimeout,
        "error_before" => Fault::ErrorBefore,
        "error_after" => Fault::ErrorAfter,
        "down" => Fault::Down(time(1.0)?),
        "reset_before" => Fault::ResetBefore,
        "reset_after" => Fault::ResetAfter,
        "half_body" => Fault::HalfBody,
        "hang" => Fault::Hang,
        "slow" => Fault::Slow(time(5.0)?),
        "short_length" => Fault::ShortLength,
        "long_length" => Fault::LongLength,
        "invalid_json" => Fault::InvalidJson,
        "gzip" => Fault::Gzip,
        other => return Err(format!("there is no fault {other:?}")),
    })
}

fn delay_of(rule: &FileRule) -> Latency {
    let ms = Duration::from_millis;
    match (rule.between_ms, rule.mean_ms) {
        (Some([from, to]), _) => Latency::range(ms(from)..ms(to)),
        (None, Some(mean)) => Latency::exponential(ms(mean)),
        (None, None) => Latency::exponential(ms(100)),
    }
}

fn reason_of(name: Option<&str>) -> Result<Option<RateLimitReason>, String> {
    let Some(name) = name else { return Ok(None) };
    let known = RateLimitReason::ALL.into_iter().find(|reason| reason.as_str() == name);
    known.map(Some).ok_or_else(|| format!("there is no reason {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_and_every_fault_can_be_read() {
        for name in PROFILES {
            assert!(parse(name).is_ok(), "{name}");
        }
        let faults = parse(
            r#"{ "rules": [
                { "fault": "delay", "between_ms": [5, 9], "rate": 0.5 },
                { "fault": "rate_limited", "reason": "endpoint-rate", "operation": "product.create", "nth": 3 },
                { "fault": "slow", "seconds": 0.5, "method": "post", "path": "/v1/prices", "every": 10, "times": 2 } ],
              "rate_limits": { "account": 100, "endpoint": 25 } }"#,
        );
        let expected = Faults::new()
            .rule(
                Rule::new(Fault::Delay(Latency::range(
                    Duration::from_millis(5)..Duration::from_millis(9),
                )))
                .rate(0.5),
            )
            .rule(
                Rule::new(Fault::RateLimited(Some(RateLimitReason::EndpointRate)))
                    .operation("product.create")
                    .nth(3),
            )
            .rule(
                Rule::new(Fault::Slow(Duration::from_millis(500)))
                    .method("POST")
                    .path("/v1/prices")
                    .every(10)
                    .times(2),
            )
            .rate_limits(RateLimits::new().account(100.0).endpoint(25.0));
        assert_eq!(faults.unwrap(), expected);
    }

    #[test]
    fn what_means_nothing_is_said() {
        for (text, words) in [
            ("nothing", "cannot be read"),
            (r#"{ "ruels": [] }"#, "unknown field `ruels`"),
            (
                r#"{ "rules": [ { "fault": "explode" } ] }"#,
                "rule 1 of the faults: there is no fault \"explode\"",
            ),
            (r#"{ "rules": [ { "fault": "hang", "rate": 2 } ] }"#, "between 0 and 1"),
            (
                r#"{ "rules": [ { "fault": "hang", "operation": "product.creat" } ] }"#,
                "product.create",
            ),
            (r#"{ "rules": [ { "fault": "hang", "nth": 0 } ] }"#, "count from 1"),
            (r#"{ "rules": [ { "fault": "down", "seconds": -1 } ] }"#, "is a time"),
            (
                r#"{ "rules": [ { "fault": "rate_limited", "reason": "x" } ] }"#,
                "no reason",
            ),
        ] {
            let said = parse(text).unwrap_err().to_string();
            assert!(said.contains(words), "{text}: {said}");
        }
    }
}
