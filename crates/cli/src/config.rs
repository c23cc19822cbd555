//! Where settings come from: in rising order of precedence the defaults, a file, the environment, the command line. All four are
//! one definition, the command line's.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};
use toml::{Table, Value};
use url::{Host, Url};

use crate::args::Arguments;
use crate::durable::shown;

/// How long a file of settings may be.
const MOST_SETTINGS: u64 = 1024 * 1024;

/// The file that is read if it is there.
const FILE: &str = "inflight.toml";

/// What only the command line decides: a file or a variable that lies about must not send a script's requests to Stripe.
const COMMAND_LINE_ONLY: [&str; 1] = ["live"];

/// Flags that are no settings.
const NO_SETTINGS: [&str; 3] = ["help", "config", "version"];

/// The commands that have settings.
pub(crate) const CONFIGURED: [&str; 2] = ["run", "sim"];

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("the settings' file {path} cannot be read: {source}")]
    Read { path: String, source: io::Error },
    #[error("{path} is not TOML: {source}")]
    Syntax { path: String, source: toml::de::Error },
    #[error("{path}: {problem}")]
    Content { path: String, problem: String },
}

/// What a command line asks for, with what the file and the environment say. `words` come after the program's name.
pub(crate) fn arguments(words: impl IntoIterator<Item = OsString>) -> Result<Arguments, ConfigError> {
    let line: Vec<OsString> = std::iter::once("inflight".into()).chain(words).collect();
    let mut matches = parse(command(), &line, None)?;
    let settings = Settings::load(matches.get_one::<PathBuf>("config").map(PathBuf::as_path))?;
    if let Some(settings) = &settings {
        matches = parse(settings.apply(command())?, &line, Some(settings))?;
    }
    Arguments::from_arg_matches(&matches).map_err(|error| error.exit())
}

/// The command line's definition, with a variable for each setting.
pub(crate) fn command() -> Command {
    let with_variables = |name: &'static str| {
        move |command: Command| {
            command.mut_args(move |arg| match arg.get_long() {
                Some(long) if !COMMAND_LINE_ONLY.contains(&long) && !NO_SETTINGS.contains(&long) => {
                    let variable = variable(name, long);
                    arg.env(variable).hide_env_values(true)
                }
                _ => arg,
            })
        }
    };
    CONFIGURED.into_iter().fold(Arguments::command(), |all, name| {
        all.mut_subcommand(name, with_variables(name))
    })
}

/// The variable of a setting, such as `INFLIGHT_RUN_BASE_URL`.
fn variable(command: &str, setting: &str) -> String {
    format!("INFLIGHT_{command}_{setting}").replace('-', "_").to_uppercase()
}

/// The arguments, or the end of the program with a message.
fn parse(command: Command, line: &[OsString], settings: Option<&Settings>) -> Result<ArgMatches, ConfigError> {
    command.try_get_matches_from(line).map_err(|error| match settings {
        // It was well without the file.
        Some(settings) => settings.problem(error.to_string().trim_start_matches("error: ").trim_end()),
        None => error.exit(),
    })
}

/// What a file says.
#[derive(Debug)]
pub(crate) struct Settings {
    path: PathBuf,
    /// Whether someone named the file, and it does not just lie where the program was started.
    is_named: bool,
    /// By command and setting.
    values: BTreeMap<(String, String), String>,
}

impl Settings {
    /// The file that the command line or the environment names, or the one in the current folder if it is there.
    fn load(named: Option<&Path>) -> Result<Option<Self>, ConfigError> {
        let path = named.unwrap_or(Path::new(FILE));
        let shown = || path.display().to_string();
        let text = match read_small(path) {
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|source| ConfigError::Read { path: shown(), source })?,
        };
        let table: Table = text
            .parse()
            .map_err(|source| ConfigError::Syntax { path: shown(), source })?;
        let mut settings = Self {
            path: path.to_owned(),
            is_named: named.is_some(),
            values: BTreeMap::new(),
        };
        for (command, values) in table {
            settings.take(&command, values)?;
        }
        Ok(Some(settings))
    }

    fn take(&mut self, command: &str, values: Value) -> Result<(), ConfigError> {
        let tables = CONFIGURED.map(|name| format!("[{name}]")).join(" and ");
        let Value::Table(values) = values else {
            return Err(self.problem(&format!(
                "`{command}` is outside of the tables that there are, {tables}"
            )));
        };
        if !CONFIGURED.contains(&command) {
            return Err(self.problem(&format!("there is no [{command}]; there are {tables}")));
        }
        for (setting, value) in values {
            let setting = setting.replace('_', "-");
            let text = match value {
                Value::String(text) => text,
                Value::Integer(number) => number.to_string(),
                Value::Float(number) => number.to_string(),
                Value::Boolean(on) => on.to_string(),
                _ => return Err(self.problem(&format!("`{setting}` in [{command}] is no single value"))),
            };
            self.values.insert((command.to_owned(), setting), text);
        }
        Ok(())
    }

    /// The command line's definition with what the file says for its defaults.
    fn apply(&self, all: Command) -> Result<Command, ConfigError> {
        let mut all = all;
        for ((command, setting), value) in &self.values {
            self.check(&all, command, setting, value)?;
            all = all.mut_subcommand(command, |command| {
                command.mut_args(|arg| match arg.get_long() {
                    Some(long) if long == setting => arg.default_value(value.clone()),
                    _ => arg,
                })
            });
        }
        Ok(all)
    }

    fn check(&self, all: &Command, command: &str, setting: &str, value: &str) -> Result<(), ConfigError> {
        if COMMAND_LINE_ONLY.contains(&setting) {
            return Err(self.problem(&format!("`{setting}` can be given on the command line only")));
        }
        let subcommand = all.find_subcommand(command);
        let known = subcommand.into_iter().flat_map(Command::get_arguments);
        let known: Vec<&str> = known
            .filter_map(|arg| arg.get_long())
            .filter(|long| !NO_SETTINGS.contains(long) && !COMMAND_LINE_ONLY.contains(long))
            .collect();
        if !known.contains(&setting) {
            let nearest = known
                .iter()
                .max_by(|a, b| strsim::jaro_winkler(a, setting).total_cmp(&strsim::jaro_winkler(b, setting)));
            let nearest = nearest.map_or(String::new(), |name| format!("; is it `{name}`?"));
            return Err(self.problem(&format!("[{command}] has no setting `{setting}`{nearest}")));
        }
        if !self.is_named
            && let Some(what) = needs_a_named_file(setting, value)
        {
            let problem = format!(
                "a file that is found and not named may not {what} (`{setting}` in [{command}]): give --{setting}, or name the file \
                 with --config"
            );
            return Err(self.problem(&problem));
        }
        Ok(())
    }

    fn problem(&self, problem: &str) -> ConfigError {
        ConfigError::Content {
            path: self.path.display().to_string(),
            problem: problem.to_owned(),
        }
    }
}

/// A text of a length that settings may have: the file may be anything.
fn read_small(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?
        .take(MOST_SETTINGS + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MOST_SETTINGS {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than 1 MiB"));
    }
    Ok(text)
}

/// What a setting does that goes beyond this machine or costs a file, if it does: a file that just lies about may not ask for it.
fn needs_a_named_file(setting: &str, value: &str) -> Option<&'static str> {
    let what = match setting {
        "base-url" if !is_this_machine(value) => "send requests elsewhere",
        "store" if !value.starts_with("sqlite:") && !is_database_here(value) => "keep data elsewhere",
        "metrics" | "dashboard" | "listen" if value.parse::<SocketAddr>().is_ok_and(|at| !at.ip().is_loopback()) => {
            "open a port to others"
        }
        // Standard output.
        "json" if value == "-" => return None,
        // Whatever they name is written anew, and a path within the folder may be a link that leads out.
        "json" | "report" | "state" => "overwrite files",
        _ => return None,
    };
    Some(what)
}

fn is_this_machine(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| url.host().is_some_and(is_host_here))
}

fn is_host_here(host: Host<&str>) -> bool {
    match host {
        // For a database's scheme an address is a name too.
        Host::Domain(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// A database's address may name its host in the query too, and that is the one which counts. A folder is one of sockets.
fn is_database_here(address: &str) -> bool {
    let Ok(url) = Url::parse(address) else { return false };
    let hosts = url
        .query_pairs()
        .filter(|(name, _)| name == "host" || name == "hostaddr");
    let hosts: Vec<_> = hosts.map(|(_, host)| host).collect();
    let all_folders = hosts.iter().all(|host| host.starts_with('/'));
    all_folders && url.host().map_or(!hosts.is_empty(), is_host_here)
}

/// One setting as it is in effect.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Effective {
    pub(crate) command: &'static str,
    pub(crate) setting: String,
    /// `None` where it is not set.
    pub(crate) value: Option<String>,
    pub(crate) source: String,
}

/// The settings of all commands, or of the one that `line` begins with, with its arguments.
pub(crate) fn effective(file: Option<&Path>, line: &[OsString]) -> Result<Vec<Effective>, ConfigError> {
    let settings = Settings::load(file)?;
    let all = match &settings {
        Some(settings) => settings.apply(command())?,
        None => command(),
    };
    // A command without its scripts is a question about its settings.
    let all = CONFIGURED.into_iter().fold(all, |all, name| {
        all.mut_subcommand(name, |command| command.mut_args(|arg| arg.required(false)))
    });
    let mut effective = Vec::new();
    for name in CONFIGURED {
        let asked: Vec<OsString> = match line.first() {
            None => vec![name.into()],
            Some(first) if first == name => line.to_vec(),
            Some(_) => continue,
        };
        let words = std::iter::once("inflight".into()).chain(asked);
        let words: Vec<OsString> = words.collect();
        let matches = parse(all.clone(), &words, settings.as_ref().filter(|_| line.is_empty()))?;
        let arguments = all.find_subcommand(name).into_iter().flat_map(Command::get_arguments);
        if let Some((_, matches)) = matches.subcommand() {
            effective.extend(arguments.filter_map(|arg| in_effect(name, arg, matches, settings.as_ref())));
        }
    }
    Ok(effective)
}

fn in_effect(command: &'static str, arg: &Arg, matches: &ArgMatches, settings: Option<&Settings>) -> Option<Effective> {
    let long = arg.get_long().filter(|long| !NO_SETTINGS.contains(long))?;
    let id = arg.get_id().as_str();
    let key = (command.to_owned(), long.to_owned());
    let file = settings.filter(|settings| settings.values.contains_key(&key));
    let source = match (matches.value_source(id), file) {
        (Some(ValueSource::CommandLine), _) => format!("--{long}"),
        (Some(ValueSource::EnvVariable), _) => variable(command, long),
        (Some(_), Some(settings)) => settings.path.display().to_string(),
        (Some(_), None) => "default".to_owned(),
        (None, _) => "not set".to_owned(),
    };
    let value = matches.get_raw(id).map(|values| {
        let texts: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
        let text = texts.join(" ");
        if long == "store" { shown(&text) } else { text }
    });
    Some(Effective {
        command,
        setting: long.to_owned(),
        value,
        source,
    })
}
