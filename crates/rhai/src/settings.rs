//! The options of `batch` and `each`.

use inflight_core::{BatchOptions, OnFailure, Priority};
use rhai::{Dynamic, FnPtr, Map};

use crate::argument::{invalid_argument, text_argument, wrong_type};
use crate::package::Answer;

/// The options that `batch` takes.
pub const BATCH_OPTIONS: [&str; 3] = ["concurrency", "on_failure", "priority"];

/// The options that `each` takes.
pub const EACH_OPTIONS: [&str; 5] = ["concurrency", "on_failure", "on_progress", "on_result", "priority"];

/// How requests are sent together.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) batch: BatchOptions,
    pub(crate) priority: Option<Priority>,
    pub(crate) on_result: Option<FnPtr>,
    pub(crate) on_progress: Option<FnPtr>,
}

impl Settings {
    /// What a script's map says, which may have these options; `()` leaves one out.
    pub(crate) fn of(map: &Map, known: &[&str]) -> Answer<Self> {
        let mut settings = Self::default();
        for (name, value) in map {
            if !known.contains(&name.as_str()) {
                let name: String = name.chars().take(80).collect();
                let known = known.join(", ");
                return Err(invalid_argument(&format!("`{name}` is no option: known are {known}")));
            }
            if !value.is_unit() {
                settings.set(name, value)?;
            }
        }
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: &Dynamic) -> Answer<()> {
        match name {
            "concurrency" => self.batch.concurrency = Some(concurrency(value)?),
            "on_failure" => {
                self.batch.on_failure = match text_argument(format_args!("`{name}`"), value)?.as_str() {
                    "stop" => OnFailure::Stop,
                    "carry_on" => OnFailure::CarryOn,
                    _ => return Err(invalid_argument("`on_failure` must be stop or carry_on")),
                }
            }
            "priority" => {
                let priority = Priority::from_name(&text_argument(format_args!("`{name}`"), value)?);
                self.priority =
                    Some(priority.ok_or_else(|| invalid_argument("`priority` must be high, normal or low"))?);
            }
            "on_result" => self.on_result = Some(callback(name, value)?),
            _ => self.on_progress = Some(callback(name, value)?),
        }
        Ok(())
    }
}

fn concurrency(value: &Dynamic) -> Answer<usize> {
    let number = value.as_int().ok().filter(|number| *number > 0);
    let number = number.ok_or_else(|| invalid_argument("`concurrency` must be a whole number, one or more"))?;
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

fn callback(name: &str, value: &Dynamic) -> Answer<FnPtr> {
    let function = value.read_lock::<FnPtr>().map(|function| function.clone());
    function.ok_or_else(|| wrong_type(format_args!("`{name}`"), "a function", value))
}
