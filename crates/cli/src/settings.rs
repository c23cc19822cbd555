//! `inflight config` and `inflight completions`: what the program's settings are, for people and for shells.

use std::env;
use std::path::Path;

use inflight::stripe_rhai::ApiKey;

use crate::OK;
use crate::args::ConfigArguments;
use crate::config::{CONFIGURED, Effective, command, effective};
use crate::dashboard::TOKEN_VARIABLE;
use crate::stream::say;
use crate::target::KEY_VARIABLE;
use crate::text::printable;

/// Secrets, which come from the environment alone.
const SECRETS: [&str; 2] = [KEY_VARIABLE, TOKEN_VARIABLE];

#[derive(Debug, thiserror::Error)]
#[error("`{command}` has no settings; {} have", CONFIGURED.join(" and "))]
struct NoSettings {
    command: String,
}

/// Shows what is in effect.
pub(crate) fn settings(arguments: &ConfigArguments, file: Option<&Path>) -> Result<u8, Box<dyn std::error::Error>> {
    if let Some(first) = arguments.line.first()
        && !CONFIGURED.iter().any(|name| first == name)
    {
        let command = printable(&first.to_string_lossy()).into_owned();
        return Err(NoSettings { command }.into());
    }
    let mut text = render(&effective(file, &arguments.line)?);
    text.push_str("\n# secrets, from the environment alone\n");
    for name in SECRETS {
        text.push_str(&format!("{name:<26}{}\n", masked(env::var(name).ok().as_deref())));
    }
    say(&text);
    Ok(OK)
}

/// What kind of secret there is, never the secret.
fn masked(value: Option<&str>) -> String {
    match value {
        None | Some("") => "not set".to_owned(),
        Some(text) => match ApiKey::new(text) {
            Ok(key) if key.is_live() => "set: a live key".to_owned(),
            Ok(_) => "set: a test key".to_owned(),
            Err(_) => "set".to_owned(),
        },
    }
}

/// As a settings' file with a comment for each line.
fn render(effective: &[Effective]) -> String {
    let mut text = String::new();
    let mut command = "";
    for setting in effective {
        if setting.command != command {
            command = setting.command;
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}[{command}]\n"));
        }
        let line = match &setting.value {
            Some(value) => format!("{} = {}", setting.setting, toml_value(value)),
            None => format!("# {}", setting.setting),
        };
        text.push_str(&format!("{line:<32} # {}\n", printable(&setting.source)));
    }
    text
}

/// A number or a switch as it is, anything else in quotes.
fn toml_value(value: &str) -> String {
    let plain = value.parse::<i64>().is_ok() || matches!(value, "true" | "false");
    if plain {
        value.to_owned()
    } else {
        toml::Value::String(printable(value).into_owned()).to_string()
    }
}

/// Prints a completion script.
pub(crate) fn completions(shell: clap_complete::Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "inflight", &mut script);
    say(&String::from_utf8_lossy(&script));
    OK
}
